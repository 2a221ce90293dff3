"""Reading pcapng files, as Wireshark, dumpcap and ``svcdoctor capture -w`` write them.

Specification: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from svcdoctor.capture.captured import LONGEST, Capture, Cut, Frame
from svcdoctor.capture.frame import SLL, SLL2

SECTION = b"\x0a\x0d\x0d\x0a"
SECTION_BLOCK, INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, PACKET = 0x0A0D0D0A, 1, 2, 3, 5, 6
BYTE_ORDER = 0x1A2B3C4D
OPTION_END, OPTION_COMMENT, OPTION_FLAGS = 0, 1, 2
IF_NAME, IF_RESOLUTION, IF_OFFSET = 2, 9, 14
ISB_RECEIVED, ISB_OS_DROPPED = 4, 7

_LATEST = (1 << 63) - 1


@dataclass(slots=True)
class _Times:
    """How an interface's timestamps become nanoseconds."""

    number: int
    link: int
    snaplen: int
    up: int = 1000  # a timestamp times ``up`` by ``down``; microseconds where nothing is said
    down: int = 1
    offset: int = 0


class _Section:
    """What a section's blocks are read by."""

    def __init__(self, order: str) -> None:
        self.order = order
        self.block = Struct(order + "II").unpack_from
        self.packet = Struct(order + "IIIII").unpack_from
        self.old = Struct(order + "HHIIII").unpack_from
        self.short = Struct(order + "HH").unpack_from
        self.word = Struct(order + "I").unpack_from
        self.long = Struct(order + "Q").unpack_from
        self.interfaces: list[_Times] = []


def pcapng_frames(capture: Capture) -> Iterator[Frame]:
    """The frames. Raises Cut where the file is not whole."""
    window = capture.window
    section = _Section("<")
    while window.need(12):
        if window.buf[window.at : window.at + 4] == SECTION:
            section = _section(window.buf, window.at)
        kind, length = section.block(window.buf, window.at)
        if length % 4 or not 12 <= length <= LONGEST:
            raise Cut(f"a block there says that it has {length:,} bytes")
        if not window.need(length):
            raise Cut("its last block is not whole")
        buf, at = window.buf, window.at
        end = at + length - 4
        if section.word(buf, end)[0] != length:
            raise Cut("the two lengths of a block there differ")
        if kind == PACKET:
            if length < 32:
                raise Cut("a packet's block there is too short")
            number, high, low, captured, wire = section.packet(buf, at + 8)
            yield _frame(capture, section, number, high << 32 | low, at + 28, captured, wire, end)
        elif kind == INTERFACE:
            _interface(capture, section, buf, at + 8, end)
        elif kind == SIMPLE_PACKET and length >= 16:
            wire = section.word(buf, at + 8)[0]
            snaplen = section.interfaces[0].snaplen if section.interfaces else 0
            captured = min(wire, snaplen or wire, end - at - 12)
            yield _frame(capture, section, 0, 0, at + 12, captured, wire, end)
        elif kind == OLD_PACKET and length >= 32:
            number, _, high, low, captured, wire = section.old(buf, at + 8)
            yield _frame(capture, section, number, high << 32 | low, at + 28, captured, wire, end)
        elif kind == STATISTICS:
            for code, value in _options(section, buf, at + 20, end):
                if code == ISB_OS_DROPPED and len(value) == 8:
                    capture.dropped += section.long(value)[0]
        window.at = at + length
    if len(window.buf) > window.at:
        raise Cut("its last block is not whole")


def _section(buf: bytes, at: int) -> _Section:
    for order in ("<", ">"):
        if Struct(order + "I").unpack_from(buf, at + 8)[0] == BYTE_ORDER:
            return _Section(order)
    raise Cut("a section there has no byte order")


def _interface(capture: Capture, section: _Section, buf: bytes, at: int, end: int) -> None:
    if end - at < 8:
        raise Cut("an interface's block there is too short")
    link = section.short(buf, at)[0]
    number = len(capture.interfaces)
    while number in capture.interfaces:  # those of cooked captures have numbers of their own
        number += 1
    times = _Times(number, link, section.word(buf, at + 4)[0])
    name = ""
    for code, value in _options(section, buf, at + 8, end):
        if code == IF_NAME:
            name = value.decode("utf-8", "replace")
        elif code == IF_RESOLUTION and len(value) == 1:
            power = value[0] & 0x7F
            units = 2**power if value[0] & 0x80 else 10**power
            times.up, times.down = (1_000_000_000, units) if power else (1_000_000_000, 1)
        elif code == IF_OFFSET and len(value) == 8:
            times.offset = Struct(section.order + "q").unpack(value)[0] * 1_000_000_000
    section.interfaces.append(times)
    capture.interfaces[number] = name


def _frame(
    capture: Capture, section: _Section, number: int, stamp: int, start: int, captured: int, wire: int, end: int
) -> Frame:  # fmt: skip
    if number >= len(section.interfaces):
        raise Cut(f"a packet there is of interface {number}, which the file does not describe")
    if start + captured > end:
        raise Cut("a packet there is longer than its block")
    times = section.interfaces[number]
    buf = capture.window.buf
    interface, way = times.number, 0
    if times.link in (SLL, SLL2):
        interface, way = capture.cooked(interface, buf, start, start + captured, times.link)
    elif start + captured < end:
        for code, value in _options(section, buf, start + (captured + 3 & ~3), end):
            if code == OPTION_FLAGS and len(value) == 4:
                way = (0, 2, 1, 0)[section.word(value)[0] & 3]  # 1 is inbound, 2 outbound
    time = min(max(times.offset + stamp * times.up // times.down, 0), _LATEST)
    return buf, start, start + captured, wire, time, interface, way, times.link


def _options(section: _Section, buf: bytes, at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Options as far as they are whole: what a packet says beside itself is no reason to leave it out."""
    while at + 4 <= end:
        code, length = section.short(buf, at)
        if code == OPTION_END or at + 4 + length > end:
            return
        yield code, buf[at + 4 : at + 4 + length]
        at += 4 + (length + 3 & ~3)
