"""portforward.k8s.io over SPDY, the client's side: a session of forwards, bytes in, events out. No I/O, no clock.

Theory. A forward is two streams that a header `requestid` pairs: `error` first, which the client half-closes at
once, then `data`. Both and the first bytes go out in one write; waiting for the replies, as kubectl does, costs
two round trips. What goes wrong on the server's side is one text on the error stream, and it is a matter of that
forward alone: kubectl ends the whole session then, this does not.

A forward is in states of what the *server* still sends; the table below says how they follow each other:

    OPEN         both streams
    DATA_ENDED   the error stream; what it says decides whether this was an end or a failure
    ERROR_ENDED  the data stream, and there was no error

When the server ends the data stream the client resets it, unless its own direction has ended too: nobody reads
what would still come, and unread bytes would block the server's other streams. The error stream is then read to
its end, because runtimes write why a dial failed after they have closed the data stream. So an end or a failure
is reported when both streams are through, and it is one event.

What may live here: which frame means what to a forward, in which order. The form of frames is in `spdy`, what
waits to be sent in `outbox`.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect POST
requests to portforward), and what kubectl, API server and runtimes were seen to do: fixtures/wire.
"""

from __future__ import annotations

from enum import Enum, auto

from svcdoctor.tunnel.errors import SpdyError
from svcdoctor.tunnel.events import Data, DialFailed, Opened, RemoteEnd, Reset, StreamError
from svcdoctor.tunnel.failures import MAX_TEXT, before_connection, reason_of
from svcdoctor.tunnel.spdy import MAX_FRAME, MAX_STREAM, RstStream, Status, SynStream
from svcdoctor.tunnel.spdy import Data as DataFrame
from svcdoctor.tunnel.spdyheaders import MAX_HEADERS
from svcdoctor.tunnel.spdysession import Session

PROTOCOL = "portforward.k8s.io"
MAX_FORWARDS = 512
"""Forwards of one session at a time."""


class _State(Enum):
    OPEN = auto()
    DATA_ENDED = auto()
    ERROR_ENDED = auto()
    ENDED = auto()
    FAILED = auto()
    CUT = auto()


class _Seen(Enum):
    DATA_END = auto()  # FIN on the data stream
    DATA_RESET = auto()  # RST_STREAM on it, or on an error stream that was refused
    QUIET_END = auto()  # FIN or RST_STREAM on the error stream, which brought nothing
    TEXT_END = auto()  # either stream ended or was reset, and the error stream had brought a text


_TRANSITIONS = {
    (_State.OPEN, _Seen.DATA_END): _State.DATA_ENDED,
    (_State.OPEN, _Seen.DATA_RESET): _State.CUT,
    (_State.OPEN, _Seen.QUIET_END): _State.ERROR_ENDED,
    (_State.OPEN, _Seen.TEXT_END): _State.FAILED,
    (_State.DATA_ENDED, _Seen.DATA_RESET): _State.ENDED,
    (_State.DATA_ENDED, _Seen.QUIET_END): _State.ENDED,
    (_State.DATA_ENDED, _Seen.TEXT_END): _State.FAILED,
    (_State.ERROR_ENDED, _Seen.DATA_END): _State.ENDED,
    (_State.ERROR_ENDED, _Seen.DATA_RESET): _State.CUT,
}  # what is not here changes nothing


class _Forward:
    __slots__ = ("data", "error", "opened", "port", "received", "state", "text")

    def __init__(self, error: int, data: int, port: int) -> None:
        self.error = error
        self.data = data
        self.port = port
        self.state = _State.OPEN
        self.opened = False
        self.received = False
        self.text = bytearray()


class ForwardClient(Session):
    """The client's side of one connection. A handle is the id of the forward's data stream."""

    def __init__(
        self, max_forwards: int = MAX_FORWARDS, max_frame: int = MAX_FRAME, max_headers: int = MAX_HEADERS
    ) -> None:
        super().__init__(1, max_frame, max_headers)
        self._max = max_forwards
        self._next = 1
        self._forwards: dict[int, _Forward] = {}  # by both streams

    @property
    def live(self) -> int:
        """Forwards that are not over."""
        return len(self._forwards) // 2

    @property
    def accepts(self) -> bool:
        """Whether `open` may be called."""
        return not (self._away or self.live >= self._max or self._next + 2 > MAX_STREAM or self._outbox.full)

    def open(self, port: int) -> int:
        """Begins a forward to the port and gives its handle; bytes may be sent at once.

        Raises SpdyError where the session takes no more, see `accepts`.
        """
        if not self.accepts:
            raise SpdyError("the session takes no more forwards")
        forward = _Forward(self._next, self._next + 2, port)
        request = str((self._next - 1) // 4)
        self._next += 4
        self._forwards[forward.error] = self._forwards[forward.data] = forward
        rest = (("port", str(port)), ("requestid", request))
        self._write(
            SynStream(forward.error, (("streamtype", "error"), *rest)),
            DataFrame(forward.error, b"", fin=True),
            SynStream(forward.data, (("streamtype", "data"), *rest)),
        )
        self._outbox.add(forward.data)
        return forward.data

    def half_close(self, handle: int) -> None:
        """Sends the end of our direction after what waits. The container runtime cuts the other 1 s later."""
        self._outbox.end(handle)

    def reset(self, handle: int) -> None:
        """Drops the forward, what waits with it. No event follows for it."""
        forward = self._forwards.get(handle)
        if forward is not None:
            self._outbox.discard(forward.data)
            self._write(RstStream(forward.data, Status.CANCEL))
            self._forget(forward)

    def _on_bytes(self, stream: int, data: bytes) -> None:
        forward = self._forwards.get(stream)
        if forward is None:
            return
        if stream == forward.error:
            forward.text += data[: MAX_TEXT - len(forward.text)]
        elif forward.state is not _State.DATA_ENDED:
            forward.received = True
            self._events.append(Data(stream, data))

    def _on_fin(self, stream: int) -> None:
        forward = self._forwards.get(stream)
        if forward is None:
            return
        if stream == forward.data:
            self._step(forward, _Seen.DATA_END)
        else:
            self._step(forward, _Seen.TEXT_END if forward.text else _Seen.QUIET_END)

    def _on_reset(self, stream: int, status: int) -> None:
        forward = self._forwards.get(stream)
        if forward is None:
            return
        refused = status == Status.REFUSED_STREAM
        if stream == forward.data:
            self._outbox.discard(stream)
        if forward.text:
            self._step(forward, _Seen.TEXT_END)
        elif stream == forward.error and status == Status.CANCEL:
            self._step(forward, _Seen.QUIET_END)
        else:
            self._step(forward, _Seen.DATA_RESET, refused and not forward.received)

    def _on_new(self, frame: SynStream) -> None:
        self._refuse(frame.stream, Status.REFUSED_STREAM)  # a server has nothing to open

    def _on_reply(self, stream: int) -> None:
        forward = self._forwards.get(stream)
        if forward is not None and stream == forward.data and not forward.opened:
            forward.opened = True
            self._events.append(Opened(stream, forward.port))

    def _on_away(self, last: int) -> None:
        for forward in self._all():
            if forward.data > last and not forward.opened and not forward.received:
                self._outbox.discard(forward.data)
                self._forget(forward)
                self._events.append(Reset(forward.data, refused=True))

    def _on_end(self) -> None:
        for forward in self._all():
            self._outbox.discard(forward.data)
            self._forget(forward)
            self._events.append(_failure(forward) if forward.text else Reset(forward.data))

    def _step(self, forward: _Forward, seen: _Seen, refused: bool = False) -> None:
        state = _TRANSITIONS.get((forward.state, seen))
        if state is None:
            return
        forward.state = state
        if state is _State.ERROR_ENDED:
            return
        if self._outbox.discard(forward.data):
            self._write(RstStream(forward.data, Status.CANCEL))
        if state is _State.DATA_ENDED:
            return
        self._forget(forward)
        if state is _State.ENDED:
            self._events.append(RemoteEnd(forward.data))
        elif state is _State.FAILED:
            self._events.append(_failure(forward))
        else:
            self._events.append(Reset(forward.data, refused))

    def _all(self) -> list[_Forward]:
        return [forward for stream, forward in self._forwards.items() if stream == forward.data]

    def _forget(self, forward: _Forward) -> None:
        del self._forwards[forward.error], self._forwards[forward.data]


def _failure(forward: _Forward) -> DialFailed | StreamError:
    text = forward.text.decode(errors="replace")
    kind = DialFailed if before_connection(text) and not forward.received else StreamError
    return kind(forward.data, forward.port, reason_of(text), text)
