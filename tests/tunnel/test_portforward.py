"""Forwards over SPDY, the client's side: what each order of frames comes to, and what goes out for it."""

from __future__ import annotations

import pytest
from wire import frames_of

from svcdoctor.tunnel.errors import SpdyError
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
from svcdoctor.tunnel.failures import MAX_TEXT, Reason
from svcdoctor.tunnel.outbox import FRAME, MAX_CONTROL
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.spdy import Data as Bytes
from svcdoctor.tunnel.spdy import (
    Frame,
    FrameWriter,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Settings,
    SynReply,
    SynStream,
    Unknown,
    WindowUpdate,
)

REFUSED = (
    "failed to connect to localhost:80 inside namespace, IPv4: dial tcp4 127.0.0.1:80: connection refused"
)
REFUSED_V6 = (
    "failed to connect to localhost:80 inside namespace: dial tcp6 [::1]:80: connect: connection refused"
)
BROKEN = "write tcp4 127.0.0.1:4->127.0.0.1:80: write: broken pipe"
ERROR, DATA = 1, 3  # the streams of a session's first forward
CANCEL = RstStream(DATA, 5)
REPLIES = (SynReply(ERROR, ()), SynReply(DATA, ()))


class Peer:
    """A client, and a server whose frames are written down."""

    def __init__(self, client: ForwardClient | None = None) -> None:
        self.client = client or ForwardClient()
        self._writer = FrameWriter()
        self._headers = b""

    def sends(self, *frames: Frame) -> list[Event]:
        return self.client.receive(b"".join(self._writer.encode(frame) for frame in frames))

    def got(self) -> list[Frame]:
        """What the client wrote since the last time; header blocks need all that came before."""
        before = len(frames_of(self._headers))
        self._headers += self.client.outgoing()
        return frames_of(self._headers)[before:]


def test_both_streams_and_the_first_bytes_go_out_in_one_write() -> None:
    peer = Peer()
    handle = peer.client.open(8080)
    peer.client.send(handle, b"GET /")
    rest = (("port", "8080"), ("requestid", "0"))
    assert peer.got() == [
        SynStream(1, (("streamtype", "error"), *rest)),
        Bytes(1, b"", fin=True),
        SynStream(3, (("streamtype", "data"), *rest)),
        Bytes(3, b"GET /"),
    ]
    assert peer.client.open(443) == 7
    assert [frame.stream for frame in peer.got() if isinstance(frame, SynStream)] == [5, 7]
    assert peer.client.live == 2


ONE = DialFailed(DATA, 80, Reason.REFUSED, REFUSED)
SIX = DialFailed(DATA, 80, Reason.REFUSED, REFUSED_V6)
CUT = StreamError(DATA, 80, Reason.CUT, BROKEN)
LATE = StreamError(DATA, 80, Reason.REFUSED, REFUSED)


@pytest.mark.parametrize(
    ("frames", "events", "answer"),
    [
        # An end: of both streams, in either order.
        ([Bytes(DATA, b"hi", fin=True)], [Data(DATA, b"hi")], [CANCEL]),
        ([Bytes(DATA, b"", True), Bytes(ERROR, b"", True)], [RemoteEnd(DATA)], [CANCEL]),
        ([Bytes(DATA, b"hi", True), Bytes(ERROR, b"", True)], [Data(DATA, b"hi"), RemoteEnd(DATA)], [CANCEL]),
        ([Bytes(ERROR, b"", True)], [], []),
        ([Bytes(ERROR, b"", True), Bytes(DATA, b"hi", True)], [Data(DATA, b"hi"), RemoteEnd(DATA)], [CANCEL]),
        ([Bytes(DATA, b"", True), RstStream(ERROR, 5)], [RemoteEnd(DATA)], [CANCEL]),
        ([Bytes(DATA, b"", True), RstStream(DATA, 5)], [RemoteEnd(DATA)], [CANCEL]),
        ([Headers(DATA, (), True), Headers(ERROR, (), True)], [RemoteEnd(DATA)], [CANCEL]),
        # A failure to dial, as it is recorded, and in other orders.
        ([Bytes(DATA, b"", True), Bytes(ERROR, REFUSED.encode()), RstStream(ERROR, 5)], [ONE], [CANCEL]),
        ([Bytes(ERROR, REFUSED_V6.encode(), True)], [SIX], [CANCEL]),
        ([Bytes(ERROR, REFUSED.encode()), RstStream(DATA, 5), RstStream(ERROR, 5)], [ONE], []),
        ([Bytes(ERROR, REFUSED[:9].encode()), Bytes(ERROR, REFUSED[9:].encode(), True)], [ONE], [CANCEL]),
        ([Bytes(ERROR, REFUSED.encode())], [], []),
        # A failure later: what was received decides where the text does not.
        ([Bytes(DATA, b"hi", True), Bytes(ERROR, BROKEN.encode(), True)], [Data(DATA, b"hi"), CUT], [CANCEL]),
        ([Bytes(DATA, b"hi"), Bytes(ERROR, REFUSED.encode(), True)], [Data(DATA, b"hi"), LATE], [CANCEL]),
        ([Bytes(ERROR, BROKEN.encode(), True)], [CUT], [CANCEL]),
        # A reset.
        ([RstStream(DATA, 5)], [Reset(DATA)], []),
        ([RstStream(DATA, 3)], [Reset(DATA, refused=True)], []),
        ([RstStream(ERROR, 3)], [Reset(DATA, refused=True)], [CANCEL]),
        ([RstStream(ERROR, 1)], [Reset(DATA)], [CANCEL]),
        ([Bytes(DATA, b"hi"), RstStream(DATA, 3)], [Data(DATA, b"hi"), Reset(DATA)], []),
        ([Bytes(ERROR, b"", True), RstStream(DATA, 5)], [Reset(DATA)], []),
        # Nothing comes of what comes after an end.
        ([Bytes(DATA, b"", True), Bytes(DATA, b"more"), Bytes(DATA, b"", True)], [], [CANCEL]),
        ([RstStream(DATA, 5), Bytes(DATA, b"x", True), Bytes(ERROR, b"x", True)], [Reset(DATA)], []),
    ],
)
def test_what_a_server_may_do_with_a_forward(
    frames: list[Frame], events: list[Event], answer: list[Frame]
) -> None:
    peer = Peer()
    assert peer.client.open(80) == DATA
    peer.got()
    assert peer.sends(*REPLIES) == [Opened(DATA, 80)]
    assert peer.sends(*frames) == events
    assert peer.got() == answer
    over = bool(events) and not isinstance(events[-1], Data)
    assert peer.client.live == (not over)


def test_our_own_end_goes_first_and_then_nothing_is_reset() -> None:
    peer = Peer()
    handle = peer.client.open(80)
    peer.client.send(handle, b"question")
    peer.client.half_close(handle)
    assert peer.got()[-1] == Bytes(DATA, b"question", fin=True)
    assert peer.sends(*REPLIES, Bytes(DATA, b"answer")) == [Opened(DATA, 80), Data(DATA, b"answer")]
    assert peer.sends(Bytes(DATA, b"", True), Bytes(ERROR, b"", True)) == [RemoteEnd(DATA)]
    assert peer.got() == []


def test_an_end_of_ours_that_still_waits_is_overtaken_by_the_reset() -> None:
    peer = Peer()
    handle = peer.client.open(80)
    peer.got()
    peer.client.send(handle, b"question")
    peer.client.half_close(handle)
    peer.sends(Bytes(DATA, b"", True))
    peer.client.send(handle, b"the owner has not seen the end yet")
    assert peer.got() == [CANCEL]


def test_one_forward_fails_and_the_others_go_on() -> None:
    peer = Peer()
    good, bad, other = (peer.client.open(port) for port in (8080, 7, 9090))
    peer.got()
    peer.sends(*(SynReply(stream, ()) for stream in (1, 3, 5, 7, 9, 11)))
    refused = REFUSED.replace(":80 ", ":7 ")
    got = peer.sends(Bytes(bad, b"", True), Bytes(bad - 2, refused.encode()), RstStream(bad - 2, 5))
    assert got == [DialFailed(bad, 7, Reason.REFUSED, refused)]
    assert peer.sends(Bytes(good, b"a"), Bytes(other, b"b")) == [Data(good, b"a"), Data(other, b"b")]
    peer.client.send(good, b"more")
    assert peer.got() == [RstStream(bad, 5), Bytes(good, b"more")]
    assert (peer.client.live, peer.client.accepts) == (2, True)


def test_a_text_without_end_is_cut() -> None:
    peer = Peer()
    peer.client.open(80)
    (event,) = peer.sends(*(Bytes(ERROR, b"\xff" * 1000) for _ in range(100)), Bytes(ERROR, b"", True))
    assert isinstance(event, StreamError)
    assert (event.reason, event.text) == (Reason.OTHER, "\ufffd" * MAX_TEXT)


def test_the_owner_resets() -> None:
    peer = Peer()
    handle = peer.client.open(80)
    peer.got()
    peer.client.send(handle, bytes(100_000))
    assert peer.client.pending(handle) == 100_000
    peer.client.reset(handle)
    peer.client.reset(handle)
    assert peer.got() == [CANCEL]
    assert (peer.client.live, peer.client.pending(handle)) == (0, 0)
    assert peer.sends(*REPLIES, Bytes(DATA, b"late"), Bytes(ERROR, b"late", True)) == []
    peer.client.send(handle, b"late")
    peer.client.half_close(handle)
    assert not peer.client.sends


def test_bulk_and_small_take_turns_and_waiting_bytes_are_measured() -> None:
    peer = Peer()
    bulk, small = peer.client.open(80), peer.client.open(80)
    peer.got()
    peer.client.send(bulk, bytes(10 * FRAME))
    peer.client.send(small, b"x")
    first = peer.client.outgoing(FRAME + 10)
    assert [(frame.stream, len(frame.data)) for frame in frames_of(first)] == [(bulk, FRAME), (small, 1)]
    assert (peer.client.pending(bulk), peer.client.pending(small)) == (9 * FRAME, 0)


def test_no_window_holds_anything_back() -> None:
    peer = Peer()
    handle = peer.client.open(80)
    peer.got()
    assert peer.sends(Settings(((0, 7, 1), (0, 4, 1))), WindowUpdate(handle, 1), Unknown(10, 0, b"?")) == []
    peer.client.send(handle, bytes(1 << 20))
    assert sum(len(frame.data) for _ in range(5) for frame in peer.got()) == 1 << 20


def test_pings_of_each_side() -> None:
    peer = Peer()
    assert (peer.client.ping(), peer.client.ping()) == (1, 3)
    assert peer.got() == [Ping(1), Ping(3)]
    assert peer.sends(Ping(1), Ping(2), Ping(0), Ping(3)) == [Pong(1), Pong(3)]
    assert peer.got() == [Ping(2), Ping(0)]


def test_pings_that_are_not_read() -> None:
    peer = Peer()
    ping = FrameWriter().encode(Ping(2))
    got: list[Event] = []
    for _ in range(MAX_CONTROL // (1000 * len(ping)) + 2):
        got += peer.client.receive(ping * 1000)
    assert isinstance(got[-1], Ended)
    assert "asks without reading" in str(got[-1].error)
    assert len(peer.client.outgoing()) < MAX_CONTROL + 100


def test_a_server_may_not_open_streams() -> None:
    peer = Peer()
    assert peer.sends(SynStream(2, (("streamtype", "data"),))) == []
    assert peer.got() == [RstStream(2, 3)]


def test_going_away_refuses_new_forwards_and_those_that_were_not_seen() -> None:
    peer = Peer()
    taken, unseen = peer.client.open(80), peer.client.open(80)
    peer.client.send(unseen, b"lost")
    peer.sends(*REPLIES)
    assert peer.sends(GoAway(taken, 0)) == [GoingAway(), Reset(unseen, refused=True)]
    assert not peer.client.accepts
    with pytest.raises(SpdyError, match="takes no more forwards"):
        peer.client.open(80)
    assert peer.sends(Bytes(taken, b"goes on")) == [Data(taken, b"goes on")]
    assert peer.client.live == 1


def test_a_forward_that_answers_was_seen_whatever_the_last_id_says() -> None:
    peer = Peer()
    handle = peer.client.open(80)
    peer.sends(*REPLIES)
    assert peer.sends(GoAway(0, 0)) == [GoingAway()]
    assert peer.client.live == 1
    assert peer.sends(Bytes(handle, b"x")) == [Data(handle, b"x")]


def test_closing_tells_the_server_once() -> None:
    peer = Peer()
    peer.client.close()
    peer.client.close()
    assert peer.got() == [GoAway(0, 0)]
    assert not peer.client.accepts


def test_forwards_are_bounded() -> None:
    peer = Peer(ForwardClient(max_forwards=2))
    first, _ = peer.client.open(80), peer.client.open(80)
    assert not peer.client.accepts
    with pytest.raises(SpdyError):
        peer.client.open(80)
    peer.client.reset(first)
    assert peer.client.accepts


def test_a_connection_that_stalls_takes_no_new_forwards() -> None:
    client = ForwardClient()
    for _ in range(MAX_CONTROL):
        if not client.accepts:
            break
        client.reset(client.open(80))
    assert not client.accepts
    assert client.live == 0
    client.outgoing()
    assert client.accepts


@pytest.mark.parametrize(
    ("ending", "error"),
    [
        (b"", None),
        (b"\x80\x03\x00", "cut within a frame"),
    ],
)
def test_the_end_of_the_connection(ending: bytes, error: str | None) -> None:
    peer = Peer()
    first, second, third = peer.client.open(80), peer.client.open(80), peer.client.open(80)
    peer.sends(Bytes(second - 2, REFUSED.encode()))
    assert peer.client.receive(ending) == []
    *each, ended = peer.client.receive_end()
    assert each == [Reset(first), DialFailed(second, 80, Reason.REFUSED, REFUSED), Reset(third)]
    assert isinstance(ended, Ended)
    assert (ended.error is None) if error is None else (error in str(ended.error))
    assert peer.client.receive_end() == peer.client.receive(b"\0") == []
    assert (peer.client.live, peer.client.accepts) == (0, False)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"\x80\x02\x00\x01" + bytes(4), "SPDY version 2"),
        (b"\x80\x03\x00\x06" + bytes(4), "a PING frame of 0 bytes"),
        (b"HTTP/1.1 502 Bad Gateway\r\n", "bytes; at most"),
        (b"\x80\x03\x00\x02\x00\x00\x00\x05" + bytes(5), "header block"),
    ],
)
def test_what_is_malformed_ends_all_forwards_after_what_came_before(data: bytes, problem: str) -> None:
    peer = Peer()
    handle = peer.client.open(80)
    peer.got()
    peer.client.send(handle, b"waits")
    got = peer.client.receive(b"\0\0\0\3\0\0\0\2hi" + data)
    assert got[:2] == [Data(handle, b"hi"), Reset(handle)]
    assert isinstance(got[2], Ended)
    assert isinstance(got[2].error, SpdyError)
    assert problem in str(got[2].error)
    assert peer.got() == [GoAway(0, 1)]
    assert peer.client.receive(b"\0\0\0\3\0\0\0\2hi") == []
