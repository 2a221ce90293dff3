"""What one packet on two legs has in common, and whether that is enough.

NAT leaves TCP's sequence and acknowledgement numbers, window and length and the IP header's identification alone, of
UDP the payload, of SCTP the tags and chunks.
"""

from __future__ import annotations

from svcdoctor.capture.connection import Half
from svcdoctor.capture.doors import Role
from svcdoctor.capture.frame import SCTP, TCP, UDP

TRIES = 8
"""Packets of a leg by which its other legs are looked for."""

LONG = 12
"""Bytes of a datagram that are hardly equal by accident."""

_SYN, _ACK = 2, 16
_INIT, _INIT_ACK = 1, 2  # types of SCTP's chunks
_HELLO = 64  # bytes of a datagram that tell it from others


def opening(protocol: int, buf: bytes, l4: int, end: int) -> bool | None:
    """Whether a packet opens a connection; ``False`` for the answer to that, ``None`` for any other packet."""
    if protocol == TCP and end > l4 + 13:
        flags = buf[l4 + 13]
        return not flags & _ACK if flags & _SYN else None
    if protocol == SCTP and end > l4 + 12 and buf[l4 + 12] in (_INIT, _INIT_ACK):
        return buf[l4 + 12] == _INIT
    return None


def identity(protocol: int, buf: bytes, l3: int, l4: int, stop: int, end: int) -> bytes:
    """What NAT leaves alone of a packet; empty where it says too little."""
    mark = buf[l3 + 4 : l3 + 6] if buf[l3] >> 4 == 4 else buf[l3 + 2 : l3 + 4]
    if protocol == TCP:
        return (
            buf[l4 + 4 : l4 + 16] + mark + (stop - l4 & 0xFFFFFF).to_bytes(3, "big")
            if end >= l4 + 16
            else b""
        )
    if protocol == UDP:
        return buf[l4 + 4 : l4 + 6] + mark + buf[l4 + 8 : min(l4 + 8 + _HELLO, end)]
    return buf[l4 + 4 : l4 + 8] + mark + buf[l4 + 12 : min(l4 + 12 + _HELLO, end)]


def plausible(one: Half, other: Half, mark: bytes) -> bool:
    """Whether two connections whose halves have an equal packet may be one.

    A connection has two ends on each side, before and after translation, and enters the Service by one door and ends
    at one endpoint: scanners' packets and health checks are alike in all but that.
    """
    legs = [*one.leg.connection.legs, *other.leg.connection.legs]
    if len({leg.source for leg in legs}) > 2 or len({leg.destination for leg in legs}) > 2:
        return False
    doors = [leg.entered for leg in legs if leg.entered is not None]
    entered = [door for door in doors if door.role is not Role.ENDPOINT]
    endpoints = {door for door in doors if door.role is Role.ENDPOINT}
    if len(entered) > 1 or len(endpoints) > 1:
        return False
    if one.leg.connection.protocol != UDP:
        return True
    number, payload = mark[2:4], mark[4:]
    shared = one.source == other.source or one.destination == other.destination
    return any(number) or len(payload) >= LONG or shared or bool(entered and endpoints)
