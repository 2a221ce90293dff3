"""What runs in a pod: answers TCP, HTTP and UDP with its own name and the address of the client that it saw.

``python -m svcdoctor.lab.net.podserver NAME NODE BIND PORT/PROTOCOL… [--tls FILE]``. A TCP client that speaks HTTP gets
a page, any other one a line; ``/json`` answers as JSON. BIND is ``*`` or an address; FILE holds a certificate and its
key, and then TCP is TLS.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

PATIENCE = 1.0  # seconds that a TCP client may take to say something
LONGEST = 65536


class Answerer(asyncio.DatagramProtocol):
    """Answers each datagram."""

    def __init__(self, name: str, node: str) -> None:
        self.name = name
        self.node = node
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if self.transport is not None:
            self.transport.sendto(line(self.name, self.node, addr[0]).encode(), addr)


def line(name: str, node: str, client: str) -> str:
    return f"{name} on {node} saw {plain(client)}\n"


def plain(client: str) -> str:
    """The client's address; an IPv4 one that came by an IPv6 socket as IPv4."""
    return client.removeprefix("::ffff:").partition("%")[0]


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, node: str) -> None:
    """One TCP connection."""
    client = writer.get_extra_info("peername")[0]
    try:
        head = await asyncio.wait_for(reader.read(LONGEST), PATIENCE)
    except (TimeoutError, ConnectionError):
        head = b""
    words = head.split(b" ", 2)
    if len(words) == 3 and words[0] in (b"GET", b"HEAD", b"POST"):
        kind, body = "text/plain", line(name, node, client)
        if words[1] == b"/json":
            kind = "application/json"
            body = json.dumps({"pod": name, "node": node, "client": plain(client)}) + "\n"
        length = len(body.encode())
        text = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        writer.write((text + ("" if words[0] == b"HEAD" else body)).encode())
    else:
        writer.write(line(name, node, client).encode())
    try:
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    except ConnectionError:
        pass


async def serve(name: str, node: str, bind: str, ports: list[str], tls: str = "") -> None:
    """Serve until killed."""
    context = None
    if tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(tls)
    loop = asyncio.get_running_loop()
    hosts = ["0.0.0.0", "::"] if bind == "*" else [bind]
    for port in ports:
        number, _, protocol = port.partition("/")
        if protocol == "UDP":
            address = (hosts[-1], int(number))  # :: takes IPv4 too
            await loop.create_datagram_endpoint(lambda: Answerer(name, node), local_addr=address)
        else:
            await asyncio.start_server(lambda r, w: answer(r, w, name, node), hosts, int(number), ssl=context)
    await asyncio.Event().wait()


if __name__ == "__main__":
    words, _, file = "\0".join(sys.argv[1:]).partition("\0--tls\0")
    own_name, own_node, address, *served = words.split("\0")
    asyncio.run(serve(own_name, own_node, address, served, file))
