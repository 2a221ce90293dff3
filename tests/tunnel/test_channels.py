"""v4 channels: both sides together, failures of one port, and what no server may send."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from wire import cut_up

from svcdoctor.tunnel.channels import ChannelClient, ChannelServer
from svcdoctor.tunnel.errors import ChannelError, WebSocketError
from svcdoctor.tunnel.events import (
    Data,
    DialFailed,
    Ended,
    Event,
    Opened,
    Pong,
    RemoteEnd,
    Reset,
    StreamError,
)
from svcdoctor.tunnel.failures import Reason


def pair(*ports: int) -> tuple[ChannelClient, ChannelServer]:
    client, server = ChannelClient(ports), ChannelServer(ports)
    opened: list[Event] = [Opened(handle, port) for handle, port in enumerate(ports)]
    assert client.receive(server.outgoing()) == opened
    return client, server


def binary(data: bytes) -> bytes:
    return Frame(Opcode.BINARY, data).serialize(mask=False)


def test_a_port_fails_and_the_other_goes_on() -> None:
    client, server = pair(8080, 7)
    server.fail(1, "dial tcp6 [::1]:7: connect: connection refused")
    server.fail(1, "once is enough")
    client.send(0, b"GET")
    client.send(1, b"lost")
    assert server.receive(client.outgoing()) == [Data(0, b"GET")]
    server.send(0, b"answer")
    server.send(1, b"lost")
    text = "dial tcp6 [::1]:7: connect: connection refused"
    assert client.receive(server.outgoing()) == [DialFailed(1, 7, Reason.REFUSED, text), Data(0, b"answer")]
    assert (client.live, server.live) == (1, 1)
    client.send(1, b"lost")
    assert client.pending(1) == 0


def test_an_error_after_bytes_is_no_failure_to_dial() -> None:
    client, server = pair(80)
    server.send(0, b"half")
    assert client.receive(server.outgoing()) == [Data(0, b"half")]
    server.fail(0, "read: connection reset by peer")
    assert client.receive(server.outgoing()) == [
        StreamError(0, 80, Reason.CUT, "read: connection reset by peer")
    ]


@pytest.mark.parametrize("closing", ["client", "server"])
def test_the_end_comes_after_all_that_waits(closing: str) -> None:
    client, server = pair(80)
    left, right = (client, server) if closing == "client" else (server, client)
    left.send(0, bytes(100_000))
    left.close()
    events = []
    while left.sends:
        events += right.receive(left.outgoing(1))
    assert sum(len(event.data) for event in events[:-2] if isinstance(event, Data)) == 100_000
    assert events[-2:] == [RemoteEnd(0), Ended(None)]
    assert left.receive(right.outgoing()) == [RemoteEnd(0), Ended(None)]
    assert left.receive_end() == right.receive_end() == []


def test_pings() -> None:
    client, server = pair(80)
    assert (client.ping(), client.ping(), server.ping()) == (1, 2, 1)
    assert server.receive(client.outgoing()) == []
    assert (client.sends, server.sends) == (False, True)
    assert client.receive(server.outgoing()) == [Pong(1), Pong(2)]
    assert (client.sends, server.sends) == (True, False)
    assert server.receive(client.outgoing()) == [Pong(1)]


def test_a_cut_connection() -> None:
    client, server = pair(80, 443)
    client.reset(1)
    client.reset(1)
    *each, ended = client.receive_end()
    assert each == [Reset(0)]
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, ChannelError)
    server.close()
    assert server.receive_end() == [Reset(0), Reset(1), Ended(None)]


PORTS = [b"\0\x50\0", b"\1\x50\0"]


@pytest.mark.parametrize(
    ("messages", "kind", "problem"),
    [
        ([b"\2\x50\0"], ChannelError, "a message on channel 2; there are 2"),
        ([b"\xff\0"], ChannelError, "a message on channel 255"),
        ([b"\0\x51\0"], ChannelError, "channel 0 does not begin with its port, 80"),
        ([b"\1HTTP"], ChannelError, "channel 1 does not begin with its port, 80"),
        ([b"\0"], ChannelError, "channel 0 does not begin"),
    ],
)
def test_a_server_that_speaks_something_else(
    messages: list[bytes], kind: type[Exception], problem: str
) -> None:
    client = ChannelClient((80,))
    reset, ended = client.receive(b"".join(binary(message) for message in messages))
    assert reset == Reset(0)
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, kind)
    assert problem in str(ended.error)
    assert client.outgoing()[0] == 0x88
    assert client.receive(binary(PORTS[0])) == []


def test_no_websocket_at_all() -> None:
    client = ChannelClient((80,))
    sent = b"".join(map(binary, [*PORTS, b"", b"\0", b"\0hi"])) + b"HTTP/1.1 502 Bad Gateway\r\n" * 4
    *events, reset, ended = client.receive(sent)
    assert events == [Opened(0, 80), Data(0, b"hi")]
    assert reset == Reset(0)
    assert isinstance(ended, Ended)
    assert isinstance(ended.error, WebSocketError)


def test_a_close_with_a_reason_is_no_orderly_end() -> None:
    client, _ = pair(80)
    reset, ended = client.receive(b"\x88\x06\x03\xf3oops")
    assert reset == Reset(0)
    assert isinstance(ended, Ended)
    assert "oops" in str(ended.error)


@pytest.mark.parametrize("ports", [(), tuple(range(1, 129))])
def test_a_channel_is_one_byte(ports: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=f"{len(ports)} ports"):
        ChannelClient(ports)
    with pytest.raises(ValueError, match=f"{len(ports)} ports"):
        ChannelServer(ports)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 4), st.lists(st.integers(1, 50_000), min_size=1, max_size=4))
def test_any_order_of_both_sides_delivers_every_byte(seed: int, count: int, sizes: list[int]) -> None:
    chance = random.Random(seed)
    client, server = pair(*range(80, 80 + count))
    sent = {(side, handle): b"" for side in (client, server) for handle in range(count)}
    got = dict.fromkeys(sent, b"")
    for _ in range(12):
        side, other = chance.choice([(client, server), (server, client)])
        handle, data = chance.randrange(count), chance.randbytes(chance.choice((1, 700, 70_000)))
        side.send(handle, data)
        sent[side, handle] += data
        for piece in cut_up(bytes(side.outgoing(chance.randint(1, 100_000))), sizes):
            for event in other.receive(piece):
                assert isinstance(event, Data)
                got[side, event.handle] += event.data
    for side, other in ((client, server), (server, client)):
        while data := side.outgoing():
            for event in other.receive(data):
                assert isinstance(event, Data)
                got[side, event.handle] += event.data
    assert got == sent
