"""What both sides of a SPDY session do alike: frames in, calls of a side's methods; pings, the end.

Theory. A session lives until its connection ends or the other side breaks the protocol; then every forward that
is left is reset and `Ended` is reported, once. Nothing that happens to one stream ends the session: frames for
streams that are not known here belong to forwards that are over and are passed by.

Sending never waits for a window. SETTINGS, WINDOW_UPDATE and types without a name are read and have no effect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from svcdoctor.tunnel.errors import SpdyError, TunnelError
from svcdoctor.tunnel.events import Ended, Event, GoingAway, Pong
from svcdoctor.tunnel.outbox import TAKE, Outbox
from svcdoctor.tunnel.spdy import (
    MAX_FRAME,
    Away,
    Data,
    Frame,
    FrameReader,
    FrameWriter,
    GoAway,
    Headers,
    Ping,
    RstStream,
    Status,
    SynReply,
    SynStream,
    data_head,
)
from svcdoctor.tunnel.spdyheaders import MAX_HEADERS

_LAST_PING = 0xFFFFFFFF


def _data_frame(out: bytearray, stream: int, data: memoryview, last: bool) -> None:
    out += data_head(stream, len(data), last)
    out += data


class Session(ABC):
    """One side of a connection that speaks SPDY. ``first`` is the first id of a ping: 1 of clients, 2 of servers."""

    def __init__(self, first: int, max_frame: int = MAX_FRAME, max_headers: int = MAX_HEADERS) -> None:
        self._reader = FrameReader(max_frame, max_headers)
        self._writer = FrameWriter()
        self._outbox = Outbox(_data_frame)
        self._events: list[Event] = []
        self._first = first
        self._next_ping = first
        self._last_seen = 0  # the last stream that the other side opened
        self._away = False  # one side has said that there shall be no new streams
        self._over = False

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """What the bytes bring. A malformed frame ends the session after the events before it."""
        if self._over:
            return []
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except TunnelError as error:
            self._outbox.control(self._writer.encode(GoAway(self._last_seen, Away.PROTOCOL_ERROR)))
            self._end(error)
        return self._reported()

    def receive_end(self) -> list[Event]:
        """The connection has ended, as it were after the last byte."""
        if not self._over:
            self._end(SpdyError("the connection was cut within a frame") if self._reader.held else None)
        return self._reported()

    def outgoing(self, limit: int = TAKE) -> bytearray:
        """What to write to the connection now, about ``limit`` bytes; to be asked for again when all is written."""
        return self._outbox.take(limit)

    @property
    def sends(self) -> bool:
        """Whether `outgoing` has something to write."""
        return bool(self._outbox)

    def pending(self, handle: int) -> int:
        """Bytes of the forward that `outgoing` has not given away yet. Nothing bounds them but the owner."""
        return self._outbox.pending(handle)

    def send(self, handle: int, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes; of a forward that is over they go nowhere, since its event may not have been seen yet.

        Raises ValueError after `half_close`.
        """
        self._outbox.send(handle, data)

    def ping(self) -> int:
        """Asks for a `Pong` with the id that is returned."""
        number = self._next_ping
        self._next_ping = number + 2 if number + 2 <= _LAST_PING else self._first
        self._write(Ping(number))
        return number

    def close(self) -> None:
        """Tells the other side that there will be no new forwards; those that are there go on."""
        if not self._away:
            self._away = True
            self._write(GoAway(self._last_seen, Away.OK))

    def _take(self, frame: Frame) -> None:
        match frame:
            case Data(stream, data, fin):
                if data:
                    self._on_bytes(stream, data)
                if fin:
                    self._on_fin(stream)
            case SynStream():
                self._on_new(frame)
            case SynReply(stream, _, fin):
                self._on_reply(stream)
                if fin:
                    self._on_fin(stream)
            case Headers(stream, _, True):
                self._on_fin(stream)
            case RstStream(stream, status):
                self._on_reset(stream, status)
            case Ping(number) if number % 2 == self._first % 2:
                self._events.append(Pong(number))
            case Ping():
                self._outbox.answer(self._writer.encode(frame))
            case GoAway(last):
                self._away = True
                self._events.append(GoingAway())
                self._on_away(last)

    def _end(self, error: TunnelError | None) -> None:
        self._over = self._away = True
        self._on_end()
        self._events.append(Ended(error))

    def _reported(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _write(self, *frames: Frame) -> None:
        for frame in frames:
            self._outbox.control(self._writer.encode(frame))

    def _refuse(self, stream: int, status: Status) -> None:
        self._outbox.answer(self._writer.encode(RstStream(stream, status)))

    # What a side makes of the frames.

    @abstractmethod
    def _on_bytes(self, stream: int, data: bytes) -> None: ...

    @abstractmethod
    def _on_fin(self, stream: int) -> None: ...

    @abstractmethod
    def _on_reset(self, stream: int, status: int) -> None: ...

    @abstractmethod
    def _on_new(self, frame: SynStream) -> None: ...

    @abstractmethod
    def _on_reply(self, stream: int) -> None: ...

    @abstractmethod
    def _on_away(self, last: int) -> None: ...

    @abstractmethod
    def _on_end(self) -> None: ...
