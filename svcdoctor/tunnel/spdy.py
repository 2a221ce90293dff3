"""SPDY/3.1 frames, both directions: bytes in, frames out, and frames in, bytes out. No I/O.

Theory. A session is a row of frames, each with a head of eight bytes whose last three are the length of what
follows. The first bit tells data (31 bits of stream) from control (15 bits of version, 16 of type). Two things
outlive a frame: the bytes of one that is not complete, and the inflated past of the header blocks. Both are
bounded here: a frame that announces more than the limit ends the session before its bytes are awaited.

What may live here: the form of frames. What a stream or a session may do next is not known to this file; it
reads every well-formed frame, also of types that nobody needs, and loses none.

Specification: SPDY Protocol, draft 3.1, section 2. Not read: SETTINGS' and WINDOW_UPDATE's effect, because
Kubernetes' servers have no flow control and never send a window.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from svcdoctor.tunnel.errors import SpdyError
from svcdoctor.tunnel.spdyheaders import MAX_HEADERS, HeaderDecoder, HeaderEncoder, HeaderList

MAX_FRAME = 1 << 20
"""Bytes after a frame's head; clients and servers of port-forward make 32 KiB, the format allows 16 MiB."""

MAX_STREAM = 0x7FFFFFFF
"""The last id of a stream."""

_HEAD = struct.Struct(">II")
_U32 = struct.Struct(">I")
_PAIR = _HEAD
_SYN = struct.Struct(">IIBB")
_CONTROL_BIT = 0x80000000
_CONTROL = _CONTROL_BIT | 3 << 16  # and the version
_FIN, _UNIDIRECTIONAL, _CLEAR = 1, 2, 1


class Kind(IntEnum):
    """Types of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


class Status(IntEnum):
    """Why a stream is reset (RST_STREAM)."""

    PROTOCOL_ERROR = 1
    REFUSED_STREAM = 3
    CANCEL = 5


class Away(IntEnum):
    """Why a session ends (GOAWAY)."""

    OK = 0
    PROTOCOL_ERROR = 1


@dataclass(frozen=True, slots=True)
class SynStream:
    """A new stream; it may be closed from the first (``fin``) or never be answered (``unidirectional``)."""

    stream: int
    headers: HeaderList
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0  # 0 is the highest; a server queues by it, so SYN_STREAM and data must not differ
    slot: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """The other side takes the stream."""

    stream: int
    headers: HeaderList
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Headers:
    """More headers on a stream."""

    stream: int
    headers: HeaderList
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    """The stream is gone, in both directions. ``status`` is a Status, or one that is not known here."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Wishes of the other side: (flags, id, value) each. ``clear``: forget earlier ones."""

    values: tuple[tuple[int, int, int], ...]
    clear: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is by the side that did not make it; clients' ids are odd."""

    id: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No new streams; those up to ``last`` were seen. ``status`` is an Away, or one that is not known here."""

    last: int
    status: int


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """The other side has room for so many more bytes on the stream."""

    stream: int
    delta: int


@dataclass(frozen=True, slots=True)
class Unknown:
    """A control frame of a type that this file has no name for; to be ignored, says the draft."""

    kind: int
    flags: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream, the last of their direction with ``fin``."""

    stream: int
    data: bytes
    fin: bool = False


Frame = SynStream | SynReply | Headers | RstStream | Settings | Ping | GoAway | WindowUpdate | Unknown | Data


class FrameReader:
    """Frames out of bytes in any pieces. Holds at most one frame that is not complete."""

    def __init__(self, max_frame: int = MAX_FRAME, max_headers: int = MAX_HEADERS) -> None:
        self._max_frame = max_frame
        self._headers = HeaderDecoder(max_headers)
        self._buffer = bytearray()
        self._broken: SpdyError | None = None

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete: fewer than ``max_frame`` and a head."""
        return len(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[Frame]:
        """The frames that are complete with ``data``; to be iterated to the end, or bytes are lost.

        Payloads are copies: ``data`` may be reused afterwards. Raises SpdyError after the frames before the
        malformed one, and again from then on.
        """
        if self._broken:
            raise self._broken
        try:
            with memoryview(data) as view:
                at = 0
                if self._buffer:  # copied twice, as no other frame is
                    at = self._fill(view)
                    if len(self._buffer) < self._size(self._buffer, 0):
                        return
                    frame = self._frame(self._buffer, 0, len(self._buffer))
                    self._buffer.clear()
                    yield frame
                while len(view) - at >= (size := self._size(view, at)):
                    frame = self._frame(view, at, size)
                    at += size
                    yield frame
                self._buffer += view[at:]
        except SpdyError as e:
            self._broken = e
            raise

    def _fill(self, view: memoryview) -> int:
        """Appends what the held frame lacks; where the view goes on after it, as far as it reaches."""
        at = 0
        for _ in range(2):  # the head, and then what it announces
            lacks = self._size(self._buffer, 0) - len(self._buffer)
            self._buffer += view[at : at + lacks]
            at += lacks
        return at

    def _size(self, source: bytearray | memoryview, at: int) -> int:
        """Bytes of the frame that begins there, or of its head while that is not complete.

        Raises SpdyError for what need not be awaited.
        """
        if len(source) - at < _HEAD.size:
            return _HEAD.size
        first, second = _HEAD.unpack_from(source, at)
        size: int = second & 0xFFFFFF
        if size > self._max_frame:
            raise SpdyError(f"a frame of {size:,} bytes; at most {self._max_frame:,} are accepted")
        if first & _CONTROL_BIT and first & 0xFFFF0000 != _CONTROL:
            raise SpdyError(f"a control frame of SPDY version {first >> 16 & 0x7FFF} instead of 3")
        return _HEAD.size + size

    def _frame(self, source: bytearray | memoryview, at: int, size: int) -> Frame:
        first, second = _HEAD.unpack_from(source, at)
        flags, payload = second >> 24, bytes(memoryview(source)[at + _HEAD.size : at + size])
        if not first & _CONTROL_BIT:
            return Data(first, payload, bool(flags & _FIN))
        kind, fin = first & 0xFFFF, bool(flags & _FIN)
        if kind == Kind.SYN_STREAM:
            stream, associated, priority, slot = _unpack(_SYN, kind, payload)
            headers = self._headers.decode(payload[_SYN.size :])
            once = bool(flags & _UNIDIRECTIONAL)
            return SynStream(_id(stream), headers, fin, once, _id(associated), priority >> 5, slot)
        if kind == Kind.SYN_REPLY or kind == Kind.HEADERS:
            (stream,) = _unpack(_U32, kind, payload)
            headers = self._headers.decode(payload[_U32.size :])
            return (SynReply if kind == Kind.SYN_REPLY else Headers)(_id(stream), headers, fin)
        if kind == Kind.PING:
            return Ping(*_unpack(_U32, kind, payload, exact=True))
        if kind == Kind.SETTINGS:
            return _settings(flags, payload)
        if kind in _PAIRS:
            left, right = _unpack(_PAIR, kind, payload, exact=True)
            return _PAIRS[kind](_id(left), right)
        return Unknown(kind, flags, payload)


_PAIRS: dict[int, type[RstStream | GoAway | WindowUpdate]] = {
    Kind.RST_STREAM: RstStream,
    Kind.GOAWAY: GoAway,
    Kind.WINDOW_UPDATE: WindowUpdate,
}


def _unpack(form: struct.Struct, kind: int, payload: bytes, exact: bool = False) -> tuple[int, ...]:
    if len(payload) < form.size or (exact and len(payload) != form.size):
        raise SpdyError(f"a {Kind(kind).name} frame of {len(payload)} bytes")
    return form.unpack_from(payload)


def _id(value: int) -> int:
    return value & MAX_STREAM  # the highest bit is reserved


def _settings(flags: int, payload: bytes) -> Settings:
    (count,) = _unpack(_U32, Kind.SETTINGS, payload)
    if len(payload) != _U32.size + count * _PAIR.size:
        raise SpdyError(f"a SETTINGS frame of {len(payload)} bytes for {count} values")
    pairs = _PAIR.iter_unpack(payload[_U32.size :])
    return Settings(
        tuple((head >> 24, head & 0xFFFFFF, value) for head, value in pairs), bool(flags & _CLEAR)
    )


class FrameWriter:
    """Bytes of frames; header blocks must be sent in the order in which they were made."""

    def __init__(self) -> None:
        self._headers = HeaderEncoder()

    def encode(self, frame: Frame) -> bytes:
        """The frame on the wire."""
        match frame:
            case Data(stream, data, fin):
                return data_head(stream, len(data), fin) + data
            case SynStream(stream, headers, fin, once, associated, priority, slot):
                head = _SYN.pack(stream, associated, priority << 5, slot)
                flags = fin * _FIN | once * _UNIDIRECTIONAL
                return _control(Kind.SYN_STREAM, flags, head + self._headers.encode(headers))
            case SynReply(stream, headers, fin):
                return _control(Kind.SYN_REPLY, fin * _FIN, _U32.pack(stream) + self._headers.encode(headers))
            case Headers(stream, headers, fin):
                return _control(Kind.HEADERS, fin * _FIN, _U32.pack(stream) + self._headers.encode(headers))
            case RstStream(stream, status):
                return _control(Kind.RST_STREAM, 0, _PAIR.pack(stream, status))
            case Settings(values, clear):
                entries = b"".join(_PAIR.pack(flags << 24 | key, value) for flags, key, value in values)
                return _control(Kind.SETTINGS, clear * _CLEAR, _U32.pack(len(values)) + entries)
            case Ping(number):
                return _control(Kind.PING, 0, _U32.pack(number))
            case GoAway(last, status):
                return _control(Kind.GOAWAY, 0, _PAIR.pack(last, status))
            case WindowUpdate(stream, delta):
                return _control(Kind.WINDOW_UPDATE, 0, _PAIR.pack(stream, delta))
            case Unknown(kind, flags, payload):
                return _control(kind, flags, payload)


def data_head(stream: int, size: int, fin: bool) -> bytes:
    """The head of a data frame; the ``size`` bytes of its payload follow."""
    return _HEAD.pack(stream, fin << 24 | size)


def _control(kind: int, flags: int, payload: bytes) -> bytes:
    return _HEAD.pack(_CONTROL | kind, flags << 24 | len(payload)) + payload
