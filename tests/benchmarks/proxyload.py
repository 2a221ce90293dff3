"""The loads of the benchmark of proxies that iperf3 and wrk do not have, each a process of its own.

late PORT              a server that answers 1.5 seconds after its client has said all
halfclose HOST PORT    100 clients that say all, and how many of them hear the answer
idle HOST PORT COUNT   opens connections, says so by a line, and holds them until its input ends
"""

from __future__ import annotations

import asyncio
import socket
import sys

LATE = 1.5
CLIENTS = 100


async def _late(port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said = await reader.read()
        await asyncio.sleep(LATE)
        writer.write(said)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "0.0.0.0", port, backlog=1024)
    await server.serve_forever()


async def _halfclose(host: str, port: int) -> int:
    async def ask(number: int) -> bool:
        try:
            async with asyncio.timeout(LATE + 3):
                reader, writer = await asyncio.open_connection(host, port)
                said = f"client {number}".encode()
                writer.write(said)
                writer.write_eof()
                heard = await reader.read()
                writer.close()
                return heard == said
        except (OSError, TimeoutError):
            return False

    return sum(await asyncio.gather(*map(ask, range(CLIENTS))))


def main(words: list[str]) -> None:
    match words:
        case ["late", port]:
            asyncio.run(_late(int(port)))
        case ["halfclose", host, port]:
            print(asyncio.run(_halfclose(host, int(port))))
        case ["idle", host, port, count]:
            held = [socket.create_connection((host, int(port))) for _ in range(int(count))]
            print(len(held), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1:])
