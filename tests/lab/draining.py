"""A program that drains on SIGTERM: python draining.py NAME. Prints its port; answers a line with its name, and ends.

On SIGTERM it goes on accepting for a moment, as Pods do that wait until nobody sends them anything new; then it
listens no more, finishes what it has begun, and ends.
"""

import asyncio
import signal
import sys

GRACE = 0.4
WORK = 0.003


async def main(name: str) -> None:
    begun = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begun.add(asyncio.current_task())
        try:
            line = await reader.readline()
            await asyncio.sleep(WORK)
            writer.write(name.encode() + b" " + line)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        except ConnectionError:
            pass
        finally:
            begun.discard(asyncio.current_task())

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    print(server.sockets[0].getsockname()[1], flush=True)
    await told.wait()
    await asyncio.sleep(GRACE)
    server.close()
    while begun:
        await asyncio.sleep(0.01)


asyncio.run(main(sys.argv[1]))
