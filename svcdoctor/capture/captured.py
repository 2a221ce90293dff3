"""Reading captures: what every kind of file has in common, and which kind a file is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from struct import Struct

from svcdoctor.model.errors import SvcdoctorError

LONGEST = 16 << 20
"""The most bytes of a record or block; what says that it is longer is garbage."""

CHUNK = 1 << 20
"""How many bytes are read at once."""

Read = Callable[[int], bytes]
"""Gives at most so many bytes, none at the end."""

Frame = tuple[bytes, int, int, int, int, int, int, int]
"""Buffer, the frame's start and end in it, its length on the wire, nanoseconds since 1970, interface, way, link type;
as the joiner takes them."""

_SLL = Struct(">H").unpack_from
_SLL2 = Struct(">I").unpack_from
OUTGOING = 4


class Cut(Exception):
    """The file is not whole from here on; the message says why."""


@dataclass(slots=True)
class Window:
    """A stretch of the file: `need` makes sure that so many bytes from ``at`` on are in ``buf``."""

    read: Read
    buf: bytes = b""
    at: int = 0
    before: int = 0  # bytes of the file before ``buf``
    ended: bool = False

    def need(self, size: int) -> bool:
        """Whether there are so many bytes."""
        while len(self.buf) - self.at < size and not self.ended:
            more = self.read(max(CHUNK, size))
            self.ended = not more
            self.before += self.at
            self.buf = self.buf[self.at :] + more
            self.at = 0
        return len(self.buf) - self.at >= size

    @property
    def offset(self) -> int:
        """Where in the file ``at`` is."""
        return self.before + self.at


@dataclass(slots=True)
class Capture:
    """A file that is being read. ``cut`` says in words where it is not whole, when its frames have been taken.

    ``interfaces``, names by their numbers, grow while it is read; ``dropped`` are packets that it says the system lost.
    """

    window: Window
    interfaces: dict[int, str] = field(default_factory=dict)
    cut: str = ""
    dropped: int = 0

    def cooked(self, interface: int, buf: bytes, start: int, end: int, link: int) -> tuple[int, int]:
        """Interface and way of a frame of Linux's cooked captures, which tell them (LINKTYPE_LINUX_SLL, _SLL2)."""
        if link == 113:
            return interface, 1 if end - start >= 2 and _SLL(buf, start)[0] == OUTGOING else 2
        if end - start < 12:
            return interface, 0
        index = _SLL2(buf, start + 4)[0]
        own = interface + (index << 16)
        if own not in self.interfaces:
            self.interfaces[own] = f"interface {index}"
        return own, 1 if buf[start + 10] == OUTGOING else 2


def frames_of(capture: Capture, name: str) -> Iterator[Frame]:
    """Every whole frame of a pcap or pcapng file. Raises SvcdoctorError for what is neither."""
    from svcdoctor.capture.pcap import MAGICS, pcap_frames
    from svcdoctor.capture.pcapng import SECTION, pcapng_frames

    window = capture.window
    if not window.need(4):
        what = "is empty" if not window.buf else "is no capture: it has less than four bytes"
        raise SvcdoctorError(f"{name} {what}")
    magic = window.buf[:4]
    if magic == SECTION:
        frames = pcapng_frames(capture)
    elif magic in MAGICS:
        frames = pcap_frames(capture)
    else:
        raise SvcdoctorError(_unknown(name, magic))
    return _until_cut(capture, frames, name)


def _until_cut(capture: Capture, frames: Iterator[Frame], name: str) -> Iterator[Frame]:
    try:
        yield from frames
    except Cut as e:
        capture.cut = f"{name} is cut at byte {capture.window.offset:,}: {e}"


def _unknown(name: str, magic: bytes) -> str:
    if magic[:2] == b"\x1f\x8b" or magic in (b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"):
        return f"{name} is compressed; uncompress it first (gunzip, zstd -d, lz4 -d)"
    return f"{name} is no capture of tcpdump or Wireshark: it is neither pcap nor pcapng (begins with {magic.hex()})"
