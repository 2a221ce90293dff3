"""A long fuzz of the sessions, by hand: ``python tests/tunnel/fuzz.py [count] [seed]``.

Each round takes a recorded or a made session, changes, drops, doubles and mixes bytes, feeds it in random pieces to
every machine, and asks of each: nothing but its own error, the same events for any pieces, one `Ended` and it last,
one end for a handle, and no more held than the limits.
"""

from __future__ import annotations

import random
import sys

from websockets.protocol import Side
from wire import recorded

from svcdoctor.tunnel.channels import ChannelClient, ChannelServer
from svcdoctor.tunnel.events import Data, DialFailed, Ended, Event, Opened, RemoteEnd, Reset, StreamError
from svcdoctor.tunnel.forwardserver import ForwardServer
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.spdy import Data as Bytes
from svcdoctor.tunnel.spdy import FrameWriter, GoAway, Headers, Ping, RstStream, SynReply, SynStream
from svcdoctor.tunnel.websocket import WebSocket

Machine = ForwardClient | ForwardServer | ChannelClient | ChannelServer
LAST = (RemoteEnd, DialFailed, StreamError, Reset)


def machines() -> list[Machine]:
    client = ForwardClient(max_frame=5000, max_headers=500)
    for port in (8080, 8080, 9090, 8080, 7):
        client.open(port)
    server = ForwardServer(max_forwards=3, max_frame=5000, max_headers=500)
    return [client, server, ChannelClient((8080, 7)), ChannelServer((8080, 7))]


def seeds() -> list[bytes]:
    found = []
    for name in ("port-forward.spdy", "port-forward.websocket-tunnel", "port-forward.v4-channel"):
        for direction, (_, pieces) in recorded(name).items():
            found.append(b"".join(pieces))
            if "tunnel" in name:
                peer = WebSocket(Side.SERVER if direction == "client" else Side.CLIENT)
                found.append(b"".join(message.data for message in peer.receive(b"".join(pieces))))
    return found


def made(chance: random.Random) -> bytes:
    """Well-formed frames in an order that nobody would send."""
    writer, out = FrameWriter(), b""
    for _ in range(chance.randint(1, 30)):
        stream = chance.randint(0, 21)
        headers = (
            ("streamtype", chance.choice(("error", "data", "stdin"))),
            ("port", chance.choice(("80", "7", "0", "x"))),
            ("requestid", str(chance.randint(0, 3))),
        )
        fin = chance.random() < 0.3
        out += writer.encode(
            chance.choice(
                (
                    SynStream(stream, headers[: chance.randint(0, 3)], fin),
                    SynStream(stream, headers, fin),
                    SynReply(stream, (), fin),
                    Headers(stream, (), fin),
                    RstStream(stream, chance.choice((1, 3, 5))),
                    Ping(chance.randint(0, 9)),
                    GoAway(stream, 0),
                    Bytes(stream, chance.randbytes(chance.randint(0, 50)), fin),
                    Bytes(stream, b"connection refused", fin),
                )
            )
        )
    return out


def changed(data: bytes, chance: random.Random) -> bytes:
    raw = bytearray(data)
    for _ in range(chance.choice((0, 1, 1, 2, 5, 40))):
        at = chance.randrange(len(raw) + 1)
        end = at + chance.randint(0, 20)
        match chance.randrange(5):
            case 0 if at < len(raw):
                raw[at] ^= 1 << chance.randrange(8)
            case 1:
                raw[at:at] = chance.randbytes(chance.randint(1, 12))
            case 2:
                del raw[at:end]
            case 3:
                raw[at:at] = raw[at:end]
            case 4:
                raw[at : at + 4] = chance.choice((b"\xff\xff\xff\xff", bytes(4), b"\x80\x03\x00\x01"))
    return bytes(raw)


def events_of(machine: Machine, data: bytes, chance: random.Random | None) -> list[Event]:
    events: list[Event] = []
    at = 0
    while at < len(data):
        size = chance.choice((1, 3, 8, 100, 5000)) if chance else len(data)
        events += machine.receive(data[at : at + size])
        at += size
    events += machine.receive_end()
    if isinstance(machine, ForwardClient | ForwardServer):
        assert machine._reader.held < 5000 + 8
    while machine.outgoing():
        pass
    return events


def check(events: list[Event]) -> None:
    over: dict[int, type[Event]] = {}
    for event in events:
        if isinstance(event, (Opened, Data, *LAST)):
            # Only a server is told of a reset after the client's end.
            assert over.get(event.handle) in (None, RemoteEnd if isinstance(event, Reset) else None), event
        if isinstance(event, LAST):
            over[event.handle] = type(event)
    assert sum(isinstance(event, Ended) for event in events) == 1
    assert isinstance(events[-1], Ended)


def main(count: int, seed: int) -> None:
    chance = random.Random(seed)
    known = seeds()
    total = 0
    for number in range(count):
        data = changed(made(chance) if chance.random() < 0.5 else chance.choice(known), chance)
        for one, other in zip(machines(), machines(), strict=True):
            whole, pieces = events_of(one, data, None), events_of(other, data, chance)
            assert list(map(repr, whole)) == list(map(repr, pieces)), (seed, number, type(one).__name__)
            check(whole)
            total += len(whole)
    print(f"{count:,} rounds with seed {seed}, {total:,} events, all as they should be")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
