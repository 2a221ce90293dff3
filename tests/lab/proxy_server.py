"""What pods serve beside their pages: ``python proxy_server.py NAME PORT``. A client's first line says what it wants.

``hello``: the name, and then each line again. ``give N``: N bytes, their SHA-256 and the end. ``take``: everything up
to the client's end of writing, answered with its SHA-256 and the number of bytes a second later.
"""

import asyncio
import hashlib
import os
import sys

BLOCK = os.urandom(1 << 20)
LATE = 1.0  # seconds


async def give(writer, count):
    digest = hashlib.sha256()
    number = 0
    while count:
        block = (number.to_bytes(8, "big") + BLOCK)[:count]
        digest.update(block)
        writer.write(block)
        await writer.drain()
        count -= len(block)
        number += 1
    writer.write(digest.digest())


async def take(reader, writer):
    digest, count = hashlib.sha256(), 0
    while block := await reader.read(1 << 20):
        digest.update(block)
        count += len(block)
    await asyncio.sleep(LATE)
    writer.write(f"{digest.hexdigest()} {count}\n".encode())


async def main(name, port):
    async def served(reader, writer):
        try:
            words = (await reader.readline()).split()
            if words[:1] == [b"give"]:
                await give(writer, int(words[1]))
            elif words[:1] == [b"take"]:
                await take(reader, writer)
            elif words:
                writer.write(name.encode() + b"\n")
                while line := await reader.readline():
                    writer.write(line)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass

    servers = [
        await asyncio.start_server(served, ip, port, backlog=4096, limit=1 << 20) for ip in ("0.0.0.0", "::")
    ]
    print("ready", flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
