"""pcap files, as tcpdump writes them: microseconds or nanoseconds, of either byte order.

Specification: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-05.html
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

from svcdoctor.capture.captured import LONGEST, Capture, Cut, Frame
from svcdoctor.capture.frame import SLL, SLL2

# Magic: byte order, nanoseconds per unit of the fraction.
MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\xd4\xc3\xb2\xa1": ("<", 1000),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
HEADER, RECORD = 24, 16


def pcap_frames(capture: Capture) -> Iterator[Frame]:
    """The frames. Raises Cut where the file is not whole."""
    window = capture.window
    if not window.need(HEADER):
        raise Cut("its header is not whole")
    order, scale = MAGICS[window.buf[:4]]
    link = Struct(order + "I").unpack_from(window.buf, 20)[0] & 0xFFFF  # above are bits about checksums
    capture.interfaces[0] = ""
    cooked = link in (SLL, SLL2)
    record = Struct(order + "IIII").unpack_from
    window.at = HEADER
    interface = way = 0
    while window.need(RECORD):
        buf, at, size = window.buf, window.at, len(window.buf)
        while at + RECORD <= size:
            seconds, fraction, length, wire = record(buf, at)
            start = at + RECORD
            end = start + length
            if end > size:
                break
            if cooked:
                interface, way = capture.cooked(0, buf, start, end, link)
            yield buf, start, end, wire, seconds * 1_000_000_000 + fraction * scale, interface, way, link
            at = end
        window.at = at
        if at + RECORD <= size:
            if length > LONGEST:
                raise Cut(f"a packet there says that it has {length:,} bytes")
            if not window.need(RECORD + length):
                raise Cut("its last packet is not whole")
    if len(window.buf) > window.at:
        raise Cut("its last packet is not whole")
