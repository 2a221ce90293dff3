"""portforward.k8s.io over SPDY, the server's side: a session of forwards, bytes in, events out. No I/O, no clock.

Theory. The other half of `portforward`. A client announces a forward by two streams, `error` and then `data`,
which the header `requestid` pairs; both are answered at once, whether or not anything listens on the port. A
forward has two directions, each open or ended; the error stream ends with the later one. What goes wrong is told
by a text on the error stream, and then both streams are reset.

A client that is told the end of our direction resets the data stream where its own direction is open: then that
reset is its end, and not a failure.

What a client asks for is bounded: forwards, half-announced ones among them, and answers that it does not read.
"""

from __future__ import annotations

from enum import Enum, auto

from svcdoctor.tunnel.events import Data, Opened, RemoteEnd, Reset
from svcdoctor.tunnel.failures import MAX_TEXT
from svcdoctor.tunnel.portforward import MAX_FORWARDS
from svcdoctor.tunnel.spdy import MAX_FRAME, RstStream, Status, SynReply, SynStream
from svcdoctor.tunnel.spdy import Data as DataFrame
from svcdoctor.tunnel.spdyheaders import MAX_HEADERS
from svcdoctor.tunnel.spdysession import Session


class _Side(Enum):
    OPEN = auto()
    REMOTE_ENDED = auto()
    LOCAL_ENDED = auto()
    ENDED = auto()


class _Done(Enum):
    REMOTE_END = auto()
    LOCAL_END = auto()


_TRANSITIONS = {
    (_Side.OPEN, _Done.REMOTE_END): _Side.REMOTE_ENDED,
    (_Side.OPEN, _Done.LOCAL_END): _Side.LOCAL_ENDED,
    (_Side.REMOTE_ENDED, _Done.LOCAL_END): _Side.ENDED,
    (_Side.LOCAL_ENDED, _Done.REMOTE_END): _Side.ENDED,
}  # what is not here changes nothing


class _Served:
    __slots__ = ("data", "error", "side")

    def __init__(self, error: int, data: int) -> None:
        self.error = error
        self.data = data
        self.side = _Side.OPEN


class ForwardServer(Session):
    """The server's side of one connection. A handle is the id of the forward's data stream."""

    def __init__(
        self, max_forwards: int = MAX_FORWARDS, max_frame: int = MAX_FRAME, max_headers: int = MAX_HEADERS
    ) -> None:
        super().__init__(2, max_frame, max_headers)
        self._max = max_forwards
        self._waiting: dict[
            str, tuple[int, int]
        ] = {}  # requestid: error stream and port, without data stream
        self._served: dict[int, _Served] = {}  # by data stream

    @property
    def live(self) -> int:
        """Forwards that are not over."""
        return len(self._served)

    def half_close(self, handle: int) -> None:
        """Sends the end of our direction after what waits."""
        served = self._served.get(handle)
        if served is not None:
            self._outbox.end(handle)
            self._step(served, _Done.LOCAL_END)

    def fail(self, handle: int, text: str) -> None:
        """Tells the client what went wrong and drops the forward. No event follows for it."""
        served = self._served.pop(handle, None)
        if served is not None:
            self._outbox.discard(handle)
            self._write(
                DataFrame(served.error, text.encode()[:MAX_TEXT]),
                RstStream(handle, Status.CANCEL),
                RstStream(served.error, Status.CANCEL),
            )

    def reset(self, handle: int) -> None:
        """Drops the forward, what waits with it. No event follows for it."""
        served = self._served.pop(handle, None)
        if served is not None:
            self._outbox.discard(handle)
            self._write(RstStream(handle, Status.CANCEL), RstStream(served.error, Status.CANCEL))

    def _on_new(self, frame: SynStream) -> None:
        stream = frame.stream
        if stream % 2 == 0 or stream <= self._last_seen:
            self._refuse(stream, Status.PROTOCOL_ERROR)
            return
        self._last_seen = stream
        headers = dict(frame.headers)
        kind, request, port = (
            headers.get("streamtype"),
            headers.get("requestid"),
            _port(headers.get("port", "")),
        )
        if request is None or not port:
            self._refuse(stream, Status.PROTOCOL_ERROR)
        elif kind == "error" and request not in self._waiting:
            if self._away or self.live + len(self._waiting) >= self._max:
                self._refuse(stream, Status.REFUSED_STREAM)
                return
            self._waiting[request] = (stream, port)
            self._outbox.answer(self._writer.encode(SynReply(stream, ())))
        elif kind == "data" and self._waiting.get(request, (0, 0))[1] == port:
            error, _ = self._waiting.pop(request)
            self._served[stream] = _Served(error, stream)
            self._outbox.add(stream)
            self._outbox.answer(self._writer.encode(SynReply(stream, ())))
            self._events.append(Opened(stream, port))
            if frame.fin:
                self._on_fin(stream)
        else:
            self._refuse(stream, Status.PROTOCOL_ERROR)

    def _on_bytes(self, stream: int, data: bytes) -> None:
        served = self._served.get(stream)
        if served is not None and served.side in (_Side.OPEN, _Side.LOCAL_ENDED):
            self._events.append(Data(stream, data))

    def _on_fin(self, stream: int) -> None:
        served = self._served.get(stream)
        if served is not None and served.side in (_Side.OPEN, _Side.LOCAL_ENDED):
            self._events.append(RemoteEnd(stream))
            self._step(served, _Done.REMOTE_END)

    def _on_reset(self, stream: int, status: int) -> None:
        waits = self._outbox.discard(stream)  # also of a forward that is over but for bytes that wait
        served = self._served.get(stream)
        if served is None:
            self._waiting = {key: pair for key, pair in self._waiting.items() if pair[0] != stream}
        elif served.side is _Side.LOCAL_ENDED and not waits:
            self._on_fin(stream)  # how clients answer the end of our direction
        else:
            self._close(served)
            self._events.append(Reset(stream))

    def _on_reply(self, stream: int) -> None:
        """A server opens no streams that could be answered."""

    def _on_away(self, last: int) -> None:
        """It says nothing about the forwards that are there."""

    def _on_end(self) -> None:
        for stream in self._served:
            self._outbox.discard(stream)
            self._events.append(Reset(stream))
        self._served.clear()
        self._waiting.clear()

    def _step(self, served: _Served, done: _Done) -> None:
        served.side = _TRANSITIONS.get((served.side, done), served.side)
        if served.side is _Side.ENDED:
            self._close(served)

    def _close(self, served: _Served) -> None:
        del self._served[served.data]
        self._write(DataFrame(served.error, b"", fin=True))


def _port(text: str) -> int:
    """The port's number, 0 where it is none."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 5 else 0
    return number if number <= 65535 else 0
