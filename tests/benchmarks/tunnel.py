"""Benchmark of port-forward's machines in memory, run by hand: python tests/benchmarks/tunnel.py [MEBIBYTES]

Both sides of a session in one process and no connection between them: what the protocol itself costs. Bulk on one
stream from client to server and back in pieces of 64 KiB, plain and through the WebSocket tunnel (where the client
masks), and short forwards: open, question, answer, both ends. Printed are the best of three.
"""

import os
import sys
import time

from websockets.protocol import Side

from svcdoctor.tunnel.channels import ChannelClient, ChannelServer
from svcdoctor.tunnel.events import Data, RemoteEnd
from svcdoctor.tunnel.forwardserver import ForwardServer
from svcdoctor.tunnel.outbox import FRAME
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.websocket import WebSocket

PIECE = 64 << 10
BLOCK = os.urandom(FRAME)


def forward():
    client, server = ForwardClient(), ForwardServer()
    handle = client.open(80)
    server.receive(client.outgoing())
    client.receive(server.outgoing())
    return client, server, handle


def channel():
    client, server = ChannelClient((80,)), ChannelServer((80,))
    client.receive(server.outgoing())
    return client, server, 0


def bulk(sender, receiver, handle, size, wrap=bytes, unwrap=lambda piece: [piece]):
    """Bytes per second."""
    got, start = 0, time.perf_counter()
    while got < size:
        while sender.pending(handle) < 4 * FRAME:
            sender.send(handle, BLOCK)
        sent = memoryview(wrap(sender.outgoing()))
        for at in range(0, len(sent), PIECE):
            for data in unwrap(sent[at : at + PIECE]):
                got += sum(len(e.data) for e in receiver.receive(data) if isinstance(e, Data))
    return got / (time.perf_counter() - start)


def tunnel(side):
    left, right = WebSocket(side), WebSocket(Side(1 - side))

    def wrap(data):
        left.send(data)
        return left.outgoing()

    return wrap, lambda piece: [message.data for message in right.receive(piece)]


def short(count):
    """Forwards per second."""
    client, server = ForwardClient(), ForwardServer()
    start = time.perf_counter()
    for _ in range(count):
        handle = client.open(80)
        client.send(handle, bytes(100))
        server.receive(client.outgoing())
        server.send(handle, bytes(200))
        server.half_close(handle)
        client.half_close(handle)
        server.receive(client.outgoing())
        assert client.receive(server.outgoing())[-1] == RemoteEnd(handle)
    return count / (time.perf_counter() - start)


def main(size):
    for name, pair, wrapped in (
        ("SPDY", forward, False),
        ("SPDY in WebSocket", forward, True),
        ("v4", channel, False),
    ):
        best = {"up": 0.0, "down": 0.0}
        for _ in range(3):
            client, server, handle = pair()
            for way, ends, side in (
                ("up", (client, server), Side.CLIENT),
                ("down", (server, client), Side.SERVER),
            ):
                speed = bulk(*ends, handle, size, *(tunnel(side) if wrapped else ()))
                best[way] = max(best[way], speed)
        print(f"{name:18} up {best['up'] / 1e6:6,.0f} MB/s   down {best['down'] / 1e6:6,.0f} MB/s")
    print(f"short forwards     {max(short(3000) for _ in range(3)):,.0f} a second, both sides")


if __name__ == "__main__":
    main((int(sys.argv[1]) if len(sys.argv) > 1 else 512) << 20)
