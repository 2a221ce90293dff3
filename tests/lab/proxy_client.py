"""Clients of what is served: ``python proxy_client.py WHAT IP PORT …``. Each tells what it met as a line of JSON.

``pages``: asks for pages, eight clients one after the other each, until a line comes in.
``crowd N``: opens N connections to ``proxy_server`` and tells; from then on each line that comes in is done to all that
are open: ``talk`` sends a word and waits for it, ``drip`` sends a part of a line, ``close`` ends them.
``give BYTES STREAMS``, ``take BYTES STREAMS``: transfers, checked by their hashes.
"""

import asyncio
import hashlib
import json
import os
import sys
import time
from collections import Counter

CLIENTS = 8
TOGETHER = 2000  # that connect at once
PATIENCE = 20.0


def tell(**what):
    print(json.dumps(what), flush=True)


def why(error):
    return type(error).__name__


async def lines():
    """What comes in."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer
    )
    while line := await reader.readline():
        yield json.loads(line)


async def pages(ip, port):
    failed, pods, slowest = Counter(), Counter(), 0.0
    over = False

    async def client():
        nonlocal slowest
        while not over:
            begun = time.monotonic()
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(ip, port)
                    writer.write(b"GET / HTTP/1.0\r\n\r\n")
                    page = await reader.read()
                    writer.close()
                    await writer.wait_closed()
                pods[page.partition(b"\r\n\r\n")[2].split()[0].decode().rpartition("-")[2]] += 1
            except (OSError, TimeoutError, IndexError) as e:
                failed[why(e)] += 1
                await asyncio.sleep(0.02)
            slowest = max(slowest, time.monotonic() - begun)

    clients = [asyncio.create_task(client()) for _ in range(CLIENTS)]
    tell(begun=True)
    async for _ in lines():
        over = True
        break
    await asyncio.gather(*clients)
    tell(failed=failed, pods=pods, slowest=slowest)


class Member:
    """One of a crowd."""

    def __init__(self, reader, writer, pod):
        self.reader, self.writer, self.pod = reader, writer, pod

    async def do(self, what):
        if what == "talk":
            self.writer.write(b"word\n")
            while not (line := await self.reader.readline()).endswith(b"word\n"):
                if not line:
                    raise ConnectionResetError
        elif what == "drip":
            self.writer.write(b".")
            await self.writer.drain()
        else:
            self.writer.close()


async def crowd(ip, port, count):
    turn = asyncio.Semaphore(TOGETHER)
    failed, open_ = Counter(), []

    async def come():
        async with turn:
            try:
                async with asyncio.timeout(PATIENCE):
                    reader, writer = await asyncio.open_connection(ip, port)
                    writer.write(b"hello\n")
                    pod = (await reader.readline()).strip().decode()
                    if not pod:
                        raise ConnectionResetError
                    open_.append(Member(reader, writer, pod))
            except (OSError, TimeoutError) as e:
                failed[why(e)] += 1

    begun = time.monotonic()
    await asyncio.gather(*(come() for _ in range(int(count))))
    tell(open=Counter(m.pod for m in open_), failed=failed, seconds=time.monotonic() - begun)
    async for what in lines():
        begun = time.monotonic()
        done = await asyncio.gather(
            *(asyncio.wait_for(m.do(what), PATIENCE) for m in open_), return_exceptions=True
        )
        failed = Counter(why(e) for e in done if e is not None)
        open_ = [m for m, e in zip(open_, done, strict=True) if e is None]
        tell(open=Counter(m.pod for m in open_), failed=failed, seconds=time.monotonic() - begun)
        if what == "close":
            return


async def give(ip, port, count):
    reader, writer = await asyncio.open_connection(ip, port, limit=1 << 20)
    writer.write(f"give {count}\n".encode())
    digest, left = hashlib.sha256(), count
    while left:
        block = await reader.read(min(left, 1 << 20))
        if not block:
            return False
        digest.update(block)
        left -= len(block)
    right = digest.digest() == await reader.read()
    writer.close()
    return right


async def take(ip, port, count):
    reader, writer = await asyncio.open_connection(ip, port)
    writer.write(b"take\n")
    digest, left, block, number = hashlib.sha256(), count, os.urandom(1 << 20), 0
    while left:
        part = (number.to_bytes(8, "big") + block)[:left]
        digest.update(part)
        writer.write(part)
        await writer.drain()
        left, number = left - len(part), number + 1
    writer.write_eof()
    answer = await reader.read()  # it comes when the server has seen the end, and then a while
    writer.close()
    return answer.decode().split() == [digest.hexdigest(), str(count)]


async def transfers(transfer, ip, port, count, streams):
    begun = time.monotonic()
    done = await asyncio.gather(
        *(transfer(ip, port, int(count)) for _ in range(int(streams))), return_exceptions=True
    )
    tell(
        right=sum(d is True for d in done),
        wrong=[str(d) for d in done if d is not True],
        seconds=time.monotonic() - begun,
    )


what, address, number, *more = sys.argv[1:]
if what in ("give", "take"):
    asyncio.run(transfers(give if what == "give" else take, address, int(number), *more))
else:
    asyncio.run({"pages": pages, "crowd": crowd}[what](address, int(number), *more))
