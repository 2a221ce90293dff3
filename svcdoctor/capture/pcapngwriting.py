"""Writing pcapng blocks: interfaces with their names, packets with comments, and what was lost.

Specification: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html
"""

from __future__ import annotations

from struct import Struct, pack

from svcdoctor.capture.pcapng import (
    BYTE_ORDER,
    IF_NAME,
    IF_RESOLUTION,
    INTERFACE,
    ISB_OS_DROPPED,
    ISB_RECEIVED,
    OPTION_COMMENT,
    OPTION_FLAGS,
    PACKET,
    SECTION_BLOCK,
    STATISTICS,
)

_NANOSECONDS = 9  # powers of ten
_SHB_OS, _SHB_APPLICATION = 3, 4
_END = bytes(4)
_HEAD = Struct("<7I").pack
_TAIL = Struct("<I").pack
_FLAGS = (b"", pack("<HHI", OPTION_FLAGS, 4, 2), pack("<HHI", OPTION_FLAGS, 4, 1))
_PADDING = (b"", bytes(3), bytes(2), bytes(1))


def section_block(application: str, comment: str) -> bytes:
    """What begins a file."""
    options = _option(OPTION_COMMENT, comment) + _option(_SHB_APPLICATION, application)
    return _block(SECTION_BLOCK, pack("<IHHq", BYTE_ORDER, 1, 0, -1) + options + _END)


def interface_block(name: str, link: int) -> bytes:
    """An interface; those of a file are counted from 0."""
    options = _option(IF_NAME, name) + pack("<HHB3x", IF_RESOLUTION, 1, _NANOSECONDS) + _END
    return _block(INTERFACE, pack("<HHI", link, 0, 0) + options)


def comment_option(comment: str) -> bytes:
    """A comment, as `packet_block` takes it."""
    return _option(OPTION_COMMENT, comment)


def packet_block(interface: int, time: int, frame: bytes, wire: int, comment: bytes, way: int) -> bytes:
    """A packet: its time in nanoseconds since 1970, its length on the wire, and the way that it went (1 out of this
    node, 2 into it, 0 not known)."""
    size = len(frame)
    end = _PADDING[size & 3] + comment + _FLAGS[way] + _END
    length = 32 + size + len(end)
    head = _HEAD(PACKET, length, interface, time >> 32, time & 0xFFFFFFFF, size, wire)
    return b"".join((head, frame, end, _TAIL(length)))


def statistics_block(interface: int, time: int, received: int, dropped: int | None, comment: str) -> bytes:
    """How many packets were taken from an interface, and how many the kernel dropped where that is known."""
    body = pack("<III", interface, time >> 32, time & 0xFFFFFFFF)
    body += pack("<HHQ", ISB_RECEIVED, 8, received)
    if dropped is not None:
        body += pack("<HHQ", ISB_OS_DROPPED, 8, dropped)
    return _block(STATISTICS, body + (_option(OPTION_COMMENT, comment) if comment else b"") + _END)


def _option(code: int, text: str) -> bytes:
    data = text.encode("utf-8", "replace")[:65535]
    return pack("<HH", code, len(data)) + data + _PADDING[len(data) & 3]


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return pack("<II", kind, length) + body + pack("<I", length)
