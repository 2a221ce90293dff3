"""Forwards over SPDY: the server's side by tables, and both sides together in random orders."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire import frames_of

from svcdoctor.tunnel.events import (
    Data,
    DialFailed,
    Ended,
    Event,
    GoingAway,
    Opened,
    Pong,
    RemoteEnd,
    Reset,
    StreamError,
)
from svcdoctor.tunnel.failures import Reason
from svcdoctor.tunnel.forwardserver import ForwardServer
from svcdoctor.tunnel.outbox import FRAME
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.spdy import Data as Bytes
from svcdoctor.tunnel.spdy import Frame, FrameWriter, GoAway, Ping, RstStream, SynReply, SynStream


class Client:
    """A server, and a client whose frames are written down."""

    def __init__(self, server: ForwardServer | None = None) -> None:
        self.server = server or ForwardServer()
        self._writer = FrameWriter()
        self._all = b""

    def sends(self, *frames: Frame) -> list[Event]:
        return self.server.receive(b"".join(self._writer.encode(frame) for frame in frames))

    def got(self) -> list[Frame]:
        before = len(frames_of(self._all))
        self._all += self.server.outgoing()
        return frames_of(self._all)[before:]

    def opens(self, port: int = 80) -> None:
        assert self.sends(syn(1, "error", port), Bytes(1, b"", True), syn(3, "data", port)) == [
            Opened(3, port)
        ]
        assert self.got() == [SynReply(1, ()), SynReply(3, ())]


def syn(stream: int, kind: str, port: object = 80, request: object = 0) -> SynStream:
    return SynStream(
        stream, (("streamtype", kind), ("port", str(port)), ("requestid", str(request)))
    )  # fmt: skip


def test_streams_are_paired_by_their_requestid() -> None:
    client = Client()
    frames = [
        syn(1, "error", 80, "a"),
        syn(3, "error", 443, "b"),
        syn(5, "data", 443, "b"),
        syn(7, "data", 80, "a"),
    ]
    assert client.sends(*frames) == [Opened(5, 443), Opened(7, 80)]
    assert client.got() == [SynReply(stream, ()) for stream in (1, 3, 5, 7)]
    assert client.server.live == 2


@pytest.mark.parametrize(
    ("frames", "answer"),
    [
        ([syn(2, "error")], [RstStream(2, 1)]),
        ([syn(0, "error")], [RstStream(0, 1)]),
        ([syn(1, "error"), syn(1, "data")], [SynReply(1, ()), RstStream(1, 1)]),
        ([syn(5, "error"), syn(3, "data")], [SynReply(5, ()), RstStream(3, 1)]),
        ([syn(1, "data")], [RstStream(1, 1)]),
        ([syn(1, "error"), syn(3, "data", 81)], [SynReply(1, ()), RstStream(3, 1)]),
        ([syn(1, "error"), syn(3, "error")], [SynReply(1, ()), RstStream(3, 1)]),
        ([syn(1, "stdin")], [RstStream(1, 1)]),
        ([syn(1, "error", 0)], [RstStream(1, 1)]),
        ([syn(1, "error", 65536)], [RstStream(1, 1)]),
        ([syn(1, "error", -1)], [RstStream(1, 1)]),
        ([syn(1, "error", "¹")], [RstStream(1, 1)]),
        ([syn(1, "error", "9" * 5000)], [RstStream(1, 1)]),
        ([SynStream(1, (("streamtype", "error"), ("port", "80")))], [RstStream(1, 1)]),
        ([syn(1, "error"), RstStream(1, 5), syn(3, "data")], [SynReply(1, ()), RstStream(3, 1)]),
        ([GoAway(0, 0), syn(1, "error")], [RstStream(1, 3)]),
        ([SynReply(1, ()), Bytes(9, b"x", True), RstStream(9, 5)], []),
    ],
)
def test_what_is_no_forward_is_refused_alone(frames: list[Frame], answer: list[Frame]) -> None:
    client = Client()
    assert [event for event in client.sends(*frames) if event != GoingAway()] == []
    assert client.got() == answer
    assert client.server.live == 0


def test_forwards_are_bounded_with_those_that_are_half_announced() -> None:
    client = Client(ForwardServer(max_forwards=2))
    client.sends(
        syn(1, "error", 80, 1), syn(3, "data", 80, 1), syn(5, "error", 80, 2), syn(7, "error", 80, 3)
    )
    assert client.got()[-1] == RstStream(7, 3)
    client.server.reset(3)
    client.got()
    client.sends(syn(9, "error", 80, 3))
    assert client.got() == [SynReply(9, ())]


@pytest.mark.parametrize("client_first", [True, False])
def test_both_directions_end_and_the_error_stream_with_the_later(client_first: bool) -> None:
    client = Client()
    client.opens()
    client.server.send(3, b"answer")
    if client_first:
        assert client.sends(Bytes(3, b"q", True)) == [Data(3, b"q"), RemoteEnd(3)]
        client.server.half_close(3)
        assert client.got() == [Bytes(1, b"", True), Bytes(3, b"answer", True)]
    else:
        client.server.half_close(3)
        assert client.got() == [Bytes(3, b"answer", True)]
        assert client.sends(Bytes(3, b"q", True)) == [Data(3, b"q"), RemoteEnd(3)]
        assert client.got() == [Bytes(1, b"", True)]
    assert client.server.live == 0


@pytest.mark.parametrize(
    ("taken", "ended", "event"),
    [
        (True, True, RemoteEnd(3)),  # the client's answer to our end
        (False, True, Reset(3)),  # our bytes never left
        (True, False, Reset(3)),
    ],
)
def test_what_a_clients_reset_means(taken: bool, ended: bool, event: Event) -> None:
    client = Client()
    client.opens()
    client.server.send(3, b"answer")
    if ended:
        client.server.half_close(3)
    if taken:
        client.got()
    assert client.sends(RstStream(3, 5)) == [event]
    assert client.got() == [Bytes(1, b"", True)]
    assert (client.server.live, client.server.pending(3)) == (0, 0)


def test_a_reset_after_all_was_said_drops_what_waits() -> None:
    client = Client()
    client.opens()
    client.server.send(3, bytes(10 * FRAME))
    client.server.half_close(3)
    assert client.sends(Bytes(3, b"", True)) == [RemoteEnd(3)]
    assert (client.server.live, client.server.pending(3)) == (0, 10 * FRAME)
    assert client.sends(RstStream(3, 5)) == []
    assert client.server.pending(3) == 0


def test_a_failure_is_told_before_the_streams_are_reset() -> None:
    client = Client()
    client.opens()
    client.server.send(3, b"dropped")
    client.server.fail(3, "connection refused")
    client.server.fail(3, "once is enough")
    assert client.got() == [Bytes(1, b"connection refused"), RstStream(3, 5), RstStream(1, 5)]
    assert client.sends(Bytes(3, b"late", True)) == []


def test_pings_and_the_end() -> None:
    client = Client()
    client.opens()
    assert client.server.ping() == 2
    assert client.sends(Ping(2), Ping(5)) == [Pong(2)]
    assert client.got() == [Ping(2), Ping(5)]
    client.server.close()
    assert client.got() == [GoAway(3, 0)]
    assert client.server.receive_end() == [Reset(3), Ended(None)]


class Pair:
    """Both sides, a connection that passes on pieces of any size, and the owners of both."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.client, self.server = ForwardClient(), ForwardServer()
        self._wires = {id(self.client): bytearray(), id(self.server): bytearray()}
        self.up: dict[int, bytearray] = {}
        self.down: dict[int, bytearray] = {}
        self.last: dict[int, Event] = {}  # what the client was told last
        self.served: set[int] = set()

    def move(self, whole: bool = False) -> None:
        """Some bytes, or all that there are, go both ways."""
        for source, target in ((self.client, self.server), (self.server, self.client)):
            wire = self._wires[id(source)]
            if whole or self.random.random() < 0.5:
                wire += source.outgoing(self.random.randint(1, 100_000))
            size = len(wire) if whole else self.random.randint(0, len(wire))
            piece = bytes(wire[:size])
            del wire[:size]
            for event in target.receive(piece):
                self._told(target, event)

    def settle(self) -> None:
        while self.client.sends or self.server.sends or any(self._wires.values()):
            self.move(whole=True)

    def _told(self, side: ForwardClient | ForwardServer, event: Event) -> None:
        assert not isinstance(event, Ended | GoingAway | Pong)
        handle = event.handle
        if isinstance(event, Data):
            into = self.up if side is self.server else self.down
            into.setdefault(handle, bytearray()).extend(event.data)
        elif side is self.server:
            if isinstance(event, Opened):
                self.served.add(handle)
        else:
            assert not isinstance(self.last.get(handle), RemoteEnd | DialFailed | StreamError | Reset)
            self.last[handle] = event


WAYS = ["answer", "question first", "fails", "fails late", "client resets", "server resets"]


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(WAYS), min_size=1, max_size=6))
def test_any_order_of_both_sides_delivers_every_byte(seed: int, ways: list[str]) -> None:
    pair = Pair(seed)
    plan: dict[int, tuple[str, bytearray, bytearray]] = {}
    sent: dict[int, tuple[bytes, bytes]] = {}
    for way in ways:
        handle = pair.client.open(80)
        question, answer = (pair.random.randbytes(pair.random.choice((0, 1, 500, 90_000))) for _ in "qa")
        plan[handle] = (way, bytearray(question), bytearray(answer))
        sent[handle] = (question, answer)
    while plan:
        handle = pair.random.choice(list(plan))
        way, question, answer = plan[handle]
        if question:
            take = pair.random.randint(1, 40_000)
            pair.client.send(handle, question[:take])
            del question[:take]
        elif handle in pair.served and way in ("fails", "client resets", "server resets"):
            if way == "client resets":
                pair.client.reset(handle)
            elif way == "fails":
                pair.server.fail(handle, "dial tcp4 127.0.0.1:80: connect: connection refused")
            else:
                pair.server.reset(handle)
            del plan[handle]
        elif (
            handle in pair.served
            and way == "question first"
            and len(pair.up.get(handle, b"")) < len(sent[handle][0])
        ):
            pair.client.half_close(handle)
        elif handle in pair.served and answer:
            take = pair.random.randint(1, 40_000)
            pair.server.send(handle, answer[:take])
            del answer[:take]
        elif handle in pair.served:
            if way == "fails late":
                while pair.server.pending(handle):
                    pair.move()
                pair.server.fail(handle, "write tcp4 127.0.0.1:4->127.0.0.1:80: write: broken pipe")
            else:
                pair.client.half_close(handle)
                while len(pair.up.get(handle, b"")) < len(sent[handle][0]):
                    pair.move()
                pair.server.half_close(handle)
            del plan[handle]
        pair.move()
    pair.settle()
    for handle, way in zip(sent, ways, strict=True):
        question, answer = sent[handle]
        last = pair.last.get(handle)
        if way in ("answer", "question first"):
            assert (pair.up.get(handle, b""), pair.down.get(handle, b"")) == (question, answer)
            assert last == RemoteEnd(handle)
        elif way == "fails":
            assert isinstance(last, DialFailed)
            assert last.reason is Reason.REFUSED
        elif way == "fails late":
            assert pair.down.get(handle, b"") == answer
            assert isinstance(last, StreamError)
        elif way == "server resets":
            assert last == Reset(handle)
        assert question.startswith(bytes(pair.up.get(handle, b"")))
        assert answer.startswith(bytes(pair.down.get(handle, b"")))
    assert (pair.client.live, pair.server.live) == (0, 0)
