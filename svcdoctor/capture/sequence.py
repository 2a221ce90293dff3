"""TCP's sequence numbers: which segments were seen before, and which fill a gap (RFC 9293, section 3.4).

A segment that fills a gap soon after it was torn came out of order; later it was sent again, because it was lost before
the place where packets are looked at.
"""

from __future__ import annotations

from enum import Enum, auto

from svcdoctor.capture.connection import Half

MASK = 0xFFFFFFFF
HALF = 0x80000000
REORDERED = 3_000_000
"""Nanoseconds within which a segment that fills a gap counts as out of order; Wireshark's figure."""
_GAPS = 8


class Arrival(Enum):
    """What a segment is."""

    NEW = auto()
    AGAIN = auto()
    LATE = auto()
    OUT_OF_ORDER = auto()


def arrived(half: Half, seq: int, length: int, time: int) -> Arrival:
    """Takes a segment of ``length`` sequence numbers (SYN and FIN count one each) that is not simply the next one."""
    if half.expected < 0:
        half.expected = (seq + length) & MASK
        return Arrival.NEW
    end = (seq + length) & MASK
    ahead = (seq - half.expected) & MASK
    if ahead < HALF:
        if ahead and length:
            half.gaps = (*half.gaps[1 - _GAPS :], (half.expected, seq, time))
        if length:
            half.expected = end
        return Arrival.NEW
    if not length or (length == 1 and (seq + 1) & MASK == half.expected):
        return Arrival.NEW  # a bare acknowledgement, or a keep-alive
    for i, (low, high, torn) in enumerate(half.gaps):
        if (seq - low) & MASK < (high - low) & MASK:
            rest = [(low, seq, torn)] if seq != low else []
            if (high - end) & MASK < HALF and end != high:
                rest.append((end, high, torn))
            half.gaps = (*half.gaps[:i], *rest, *half.gaps[i + 1 :])
            if time - torn <= REORDERED:
                return Arrival.OUT_OF_ORDER
            half.late += 1
            return Arrival.LATE
    if (end - half.expected) & MASK < HALF and end != half.expected:
        half.expected = end  # it begins with what was seen and goes on
    half.again += 1
    return Arrival.AGAIN
