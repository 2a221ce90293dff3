"""Asks addresses who answers there: ``python proxy_asker.py``. A line is a list of questions, its answer a list of
counts.

A question is [TCP or UDP, ip, port, wanted, patience, most]: it is asked once, then four times at once, until all that
is wanted was met, or something else, or it was asked ``most`` times. What is met is a pod with ``kept`` where it saw
the asker's own address and ``masked`` where it did not (``c8zlp kept``); or ``refused``, ``reset``, ``silent``.
``wanted`` names pods without that, or one of the other words.
"""

import asyncio
import contextlib
import json
import socket
import sys
from collections import Counter

TOGETHER = 4  # connections of one question
QUESTIONS = 24  # asked at once


async def tcp(sock, loop):
    await loop.sock_sendall(sock, b"GET / HTTP/1.0\r\n\r\n")
    page = b""
    while more := await loop.sock_recv(sock, 4096):
        page += more
    return page.partition(b"\r\n\r\n")[2]


async def udp(sock, loop):
    with contextlib.suppress(PermissionError):  # a rule of this node takes it: what comes back tells which
        await loop.sock_sendall(sock, b"who?")
    return await loop.sock_recv(sock, 4096)


async def once(protocol, ip, port, patience):
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    kind, ask = (socket.SOCK_STREAM, tcp) if protocol == "TCP" else (socket.SOCK_DGRAM, udp)
    with socket.socket(family, kind) as sock:
        sock.setblocking(False)
        try:
            async with asyncio.timeout(patience):
                await loop.sock_connect(sock, (ip, port))
                answer = (await ask(sock, loop)).decode()
        except TimeoutError:
            return "silent"
        except ConnectionRefusedError:
            return "refused"
        except ConnectionError:
            return "reset"
        except OSError as e:
            return f"error {e.errno}"
        if not answer:
            return "reset"
        name, _, _, _, saw = answer.split()  # NAME on NODE saw ADDRESS
        return f"{name.rpartition('-')[2]} {'kept' if saw == sock.getsockname()[0] else 'masked'}"


async def ask(question, turn):
    protocol, ip, port, wanted, patience, most = question
    met = Counter()
    while met.total() < most:
        async with turn:
            together = TOGETHER if met else 1  # the first one alone: affinity goes by it
            met.update(await asyncio.gather(*(once(protocol, ip, port, patience) for _ in range(together))))
        who = {word.partition(" ")[0] for word in met}
        if who >= set(wanted) or who - set(wanted):
            break
    return met


async def main():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        turn = asyncio.Semaphore(QUESTIONS)
        print(json.dumps(await asyncio.gather(*(ask(q, turn) for q in json.loads(line)))), flush=True)


asyncio.run(main())
