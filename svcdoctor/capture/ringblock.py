"""A block of a TPACKET_V3 ring: the frames in it.

Specification: https://docs.kernel.org/networking/packet_mmap.html, linux/if_packet.h
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct, pack

from svcdoctor.capture.captured import OUTGOING, Frame
from svcdoctor.capture.frame import ETHERNET, RAW

STATUS = 8  # where a block says whose it is
KERNEL, USER = 0, 1

_BLOCK = Struct("=II").unpack_from  # number of packets, offset of the first one
# Offset of the next, seconds, nanoseconds, captured, wire, status, offsets of link and network layer, hash, VLAN tag
# and type; then, 48 bytes on, sockaddr_ll: protocol, interface, hardware, packet type.
_PACKET = Struct("=IIIIIIHHIIH").unpack_from
_ADDRESS = Struct("=2xHiHB").unpack_from
_TAGGED, _TAG_TYPED = 1 << 4, 1 << 6
_ETHERNETS = frozenset({1, 772})  # ARPHRD_ETHER, ARPHRD_LOOPBACK


def ring_frames(block: bytes) -> Iterator[Frame]:
    """The frames of a block, copied out of the ring. Those of interfaces without Ethernet begin with the IP header."""
    count, at = _BLOCK(block, 12)
    for _ in range(count):
        following, seconds, nano, captured, wire, status, mac, net, _, tag, kind = _PACKET(block, at)
        _, interface, hardware, sent = _ADDRESS(block, at + 48)
        start = at + mac
        end = start + captured
        time = seconds * 1_000_000_000 + nano
        way = 1 if sent == OUTGOING else 2
        if hardware not in _ETHERNETS:
            yield block, at + net, end, wire - (net - mac), time, interface, way, RAW
        elif status & _TAGGED and captured >= 12:
            # The kernel has taken the VLAN tag out of the frame.
            vlan = pack(">HH", kind if status & _TAG_TYPED else 0x8100, tag & 0xFFFF)
            frame = block[start : start + 12] + vlan + block[start + 12 : end]
            yield frame, 0, len(frame), wire + 4, time, interface, way, ETHERNET
        else:
            yield block, start, end, wire, time, interface, way, ETHERNET
        at += following
