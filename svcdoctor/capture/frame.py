"""Where a captured frame's addresses and ports are: link layers, VLAN tags, IPv4, IPv6 with its extension headers.

Theory. A frame stays where it is, in the buffer that it was read into; only offsets and the bytes that tell connections
apart are taken out of it. These bytes are the key of one direction of a connection: source and destination address,
source and destination port, as they stand in the packet, so that the usual packet costs one unpacking and one slice.

Nothing here trusts a length: what does not lie within the frame is not read, and the frame counts as not decoded.
"""

from __future__ import annotations

from struct import Struct

ETHERNET, RAW, SLL, IPV4, IPV6, SLL2 = 1, 101, 113, 228, 229, 276
RAWS = {12: RAW, 14: RAW, RAW: RAW, IPV4: RAW, IPV6: RAW}  # 12 and 14 are what some systems write for RAW
LINKS = frozenset({ETHERNET, SLL, SLL2, *RAWS})
"""The link types that are decoded (https://www.tcpdump.org/linktypes.html)."""

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
WITH_PORTS = frozenset({TCP, UDP, SCTP})
FRAGMENT = -1
"""In the place of a protocol: a fragment without ports; its key is that of ``Dissected``'s ``datagram``."""

Dissected = tuple[int, bytes, int, int, int, bytes | None]
"""Protocol, key, offsets of the IP header, the transport header and the packet's end (by its own length, so that it may
lie beyond what was captured), and for fragments what tells their datagram from others."""

_ETHERNET_IPV4 = Struct(
    ">12xHBxHxxHxB"
).unpack_from  # type, version and length, total length, fragment, protocol
_IPV4 = Struct(">BxHxxHxB").unpack_from
_IPV6_ETHERNET = Struct(">HB").unpack_from  # payload length, next header
_SHORT = Struct(">H").unpack_from
_TAGS = frozenset({0x8100, 0x88A8, 0x9100})
_CHAINED = frozenset({0, 43, 60, 135, 139, 140})  # extension headers that begin with next header and length
_FRAGMENTED, _AUTHENTICATED = 44, 51
_DEEPEST = 8  # VLAN tags, extension headers


def dissect(buf: bytes, start: int, end: int, link: int) -> Dissected | None:
    """The packet in ``buf[start:end]``, ``None`` for what is no IP packet or too short to be told apart."""
    if link == ETHERNET and end - start >= 58:
        kind, version, total, fragment, protocol = _ETHERNET_IPV4(buf, start)
        if kind == 0x0800:
            if version == 0x45 and not fragment & 0x3FFF and total >= 28:
                l3 = start + 14
                return protocol, buf[start + 26 : start + 38], l3, start + 34, l3 + total, None
        elif kind == 0x86DD and version >> 4 == 6:
            length, protocol = _IPV6_ETHERNET(buf, start + 18)
            if length and protocol in WITH_PORTS:
                l4 = start + 54
                return protocol, buf[start + 22 : start + 58], start + 14, l4, l4 + length, None
    found = network(buf, start, end, link)
    return None if found is None else packet(buf, found, end)


def network(buf: bytes, start: int, end: int, link: int) -> int | None:
    """Where the IP header begins, ``None`` where there is none."""
    if link in RAWS:
        return start
    if link == ETHERNET:
        at = start + 12
    elif link == SLL:
        at = start + 14
    elif link == SLL2:
        if end - start < 20:
            return None
        return _after(buf, end, _SHORT(buf, start)[0], start + 20)
    else:
        return None
    return None if end < at + 2 else _after(buf, end, _SHORT(buf, at)[0], at + 2)


def _after(buf: bytes, end: int, kind: int, at: int) -> int | None:
    """Behind VLAN tags, if an IP packet follows."""
    for _ in range(_DEEPEST):
        if kind in (0x0800, 0x86DD):
            return at
        if kind not in _TAGS or end < at + 4:
            return None
        kind = _SHORT(buf, at + 2)[0]
        at += 4
    return None


def packet(buf: bytes, l3: int, end: int) -> Dissected | None:
    """The packet whose IP header begins at ``l3``."""
    if end - l3 < 20:
        return None
    version = buf[l3] >> 4
    if version == 4:
        return _ipv4(buf, l3, end)
    return _ipv6(buf, l3, end) if version == 6 and end - l3 >= 40 else None


def _ipv4(buf: bytes, l3: int, end: int) -> Dissected | None:
    version, total, fragment, protocol = _IPV4(buf, l3)
    l4 = l3 + 4 * (version & 15)
    stop = l3 + total if total else end  # 0 where the network card is to cut it into segments
    if l4 < l3 + 20 or stop < l4:
        return None
    addresses = buf[l3 + 12 : l3 + 20]
    datagram = None
    if fragment & 0x3FFF:
        datagram = addresses + buf[l3 + 4 : l3 + 6] + bytes((protocol,))
        if fragment & 0x1FFF:
            return FRAGMENT, datagram, l3, l4, stop, datagram
    if end < l4 + 4:
        return None
    return protocol, addresses + buf[l4 : l4 + 4], l3, l4, stop, datagram


def _ipv6(buf: bytes, l3: int, end: int) -> Dissected | None:
    length, following = _IPV6_ETHERNET(buf, l3 + 4)
    addresses = buf[l3 + 8 : l3 + 40]
    l4 = l3 + 40
    stop = l4 + length if length else end
    datagram = None
    for _ in range(_DEEPEST):
        if following in _CHAINED or following == _AUTHENTICATED:
            if end < l4 + 2:
                return None
            size = 4 * (buf[l4 + 1] + 2) if following == _AUTHENTICATED else 8 * (buf[l4 + 1] + 1)
            following = buf[l4]
            l4 += size
        elif following == _FRAGMENTED:
            if end < l4 + 8:
                return None
            offset = _SHORT(buf, l4 + 2)[0]
            if offset & 0xFFF9:
                datagram = addresses + buf[l4 + 4 : l4 + 8]
                if offset & 0xFFF8:
                    return FRAGMENT, datagram, l3, l4 + 8, stop, datagram
            following = buf[l4]
            l4 += 8
        else:
            break
    if end < l4 + 4 or stop < l4:
        return None
    return following, addresses + buf[l4 : l4 + 4], l3, l4, stop, datagram


def reverse(key: bytes) -> bytes:
    """The key of the other direction."""
    size = (len(key) - 4) // 2
    return key[size : 2 * size] + key[:size] + key[-2:] + key[-4:-2]
