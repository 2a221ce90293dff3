"""ICMP and ICMPv6 errors: what they say, and of which packet (RFC 792, RFC 1191, RFC 4443)."""

from __future__ import annotations

from dataclasses import dataclass
from struct import unpack_from

from svcdoctor.capture.frame import WITH_PORTS, packet

_UNREACHABLE = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    5: "source route failed",
    9: "network prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
_EXCEEDED = {0: "time to live exceeded", 1: "fragments not reassembled in time"}
_V4 = {3: _UNREACHABLE, 5: {}, 11: _EXCEEDED, 12: {}}
_V4_NAMES = {3: "destination unreachable", 5: "redirect", 11: "time exceeded", 12: "parameter problem"}
_UNREACHABLE6 = {
    0: "no route",
    1: "administratively prohibited",
    2: "beyond the scope of the source",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address refused by policy",
    6: "route rejects it",
}
_V6 = {1: _UNREACHABLE6, 2: {}, 3: {0: "hop limit exceeded", 1: _EXCEEDED[1]}, 4: {}}
_V6_NAMES = {1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem"}

ERRORS = tuple(_V4)
ERRORS6 = tuple(_V6)
"""The types that are errors about a packet."""


@dataclass(frozen=True, slots=True)
class IcmpError:
    """What it says, with the MTU where it names one, and protocol and key of the packet that it is about.

    ``refuses`` tells whether the packet's way ends there for good, rather than for its size or its hops.
    """

    words: str
    refuses: bool
    protocol: int
    key: bytes


def icmp_error(buf: bytes, l4: int, end: int, six: bool) -> IcmpError | None:
    """The error at ``l4``, ``None`` for other messages and where what it is about was cut off."""
    if end < l4 + 8:
        return None
    kind, code = buf[l4], buf[l4 + 1]
    codes, names = (_V6, _V6_NAMES) if six else (_V4, _V4_NAMES)
    if kind not in codes:
        return None
    inner = packet(buf, l4 + 8, end)
    if inner is None or inner[0] not in WITH_PORTS:
        return None
    words = codes[kind].get(code, names[kind])
    if (six, kind, code) == (False, 3, 4):
        words += f", MTU {unpack_from('>H', buf, l4 + 6)[0]}"
    elif six and kind == 2:
        words += f", MTU {unpack_from('>I', buf, l4 + 4)[0]}"
    refuses = kind == 1 if six else kind == 3 and code != 4
    return IcmpError(words, refuses, inner[0], inner[1])
