"""Messages of the kernel's connection tracking over netlink, as far as they tell how addresses are translated.

Specification: linux/netfilter/nfnetlink.h, nfnetlink_conntrack.h
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from svcdoctor.capture.frame import reverse

NEW, GET, DELETE = 0x100, 0x101, 0x102  # IPCTNL_MSG_CT_NEW, _GET, _DELETE of NFNL_SUBSYS_CTNETLINK
ERROR, DONE = 2, 3
REQUEST, DUMP = 1, 0x300
GROUP_NEW = 1
"""The bit of the group that tells of new connections (NFNLGRP_CONNTRACK_NEW)."""

ASSURED, SENT_ELSEWHERE = 1 << 2, 1 << 5
"""Bits of a connection's status: it is more than a question and its answer, and its destination was translated
(IPS_ASSURED, IPS_DST_NAT)."""

_ORIGINAL, _REPLY, _STATUS, _PROTOCOL_INFO = 1, 2, 3, 4  # CTA_TUPLE_ORIG, _REPLY, CTA_STATUS, _PROTOINFO
_IP, _PROTOCOL = 1, 2  # CTA_TUPLE_IP, _PROTO
_NESTED = 0x8000  # NLA_F_NESTED
_HEADER = Struct("=IHHII")
_FAMILY = Struct("=BBH")
_ATTRIBUTE = Struct("=HH")
_INT = Struct("=i")
_STATUS_BITS = Struct("!I")


@dataclass(frozen=True, slots=True)
class Translation:
    """A connection: what its client sends, and what becomes of that, as keys of ``frame``.

    ``status`` are the kernel's bits of it, ``tcp_state`` is the state of a TCP connection (TCP_CONNTRACK_SYN_SENT is
    1), 0 of others.
    """

    protocol: int
    original: bytes
    translated: bytes
    status: int = 0
    tcp_state: int = 0


@dataclass(frozen=True, slots=True)
class End:
    """The end of a listing; ``error`` is 0 or what went wrong, as errno has it."""

    error: int


def listing_request(sequence: int, status: int = 0) -> bytes:
    """Asks for all connections of both families. With bits of ``status`` newer kernels tell those that have them all;
    older ones tell the others, too."""
    body = _FAMILY.pack(0, 0, 0)
    if status:
        body += _attribute(_STATUS, _STATUS_BITS.pack(status))
    return _HEADER.pack(_HEADER.size + len(body), GET, REQUEST | DUMP, sequence, 0) + body


def deletion_request(sequence: int, connection: Translation) -> bytes:
    """Asks to forget a connection; nothing is answered where that can be done."""
    size = (len(connection.original) - 4) // 2
    source, destination = connection.original[:size], connection.original[size : 2 * size]
    ports = connection.original[2 * size :]
    first = 1 if size == 4 else 3  # CTA_IP_V4_SRC, CTA_IP_V6_SRC; the destination follows
    ip = _attribute(first, source) + _attribute(first + 1, destination)
    protocol = b"".join(
        (_attribute(1, bytes((connection.protocol,))), _attribute(2, ports[:2]), _attribute(3, ports[2:]))
    )
    tuple_ = _attribute(_IP | _NESTED, ip) + _attribute(_PROTOCOL | _NESTED, protocol)
    family = 2 if size == 4 else 10
    body = _FAMILY.pack(family, 0, 0) + _attribute(_ORIGINAL | _NESTED, tuple_)
    return _HEADER.pack(_HEADER.size + len(body), DELETE, REQUEST, sequence, 0) + body


def messages(data: bytes) -> Iterator[Translation | End]:
    """What is in the data of one receive: connections with ports, and the end of the listing."""
    at = 0
    while at + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        if length < _HEADER.size or at + length > len(data):
            return
        body = data[at + _HEADER.size : at + length]
        if kind == NEW and len(body) >= _FAMILY.size:
            found = _translation(body[_FAMILY.size :])
            if found is not None:
                yield found
        elif kind in (ERROR, DONE):
            yield End(-_INT.unpack_from(body)[0] if len(body) >= 4 else 0)
        at += (length + 3) & ~3


def _translation(data: bytes) -> Translation | None:
    tuples = dict(_attributes(data))
    original, reply = (_tuple(tuples.get(kind, b"")) for kind in (_ORIGINAL, _REPLY))
    if original is None or reply is None:
        return None
    status = tuples.get(_STATUS, b"")
    return Translation(
        original[0],
        original[1],
        reverse(reply[1]),
        _STATUS_BITS.unpack(status)[0] if len(status) == _STATUS_BITS.size else 0,
        _tcp_state(tuples.get(_PROTOCOL_INFO, b"")),
    )


def _tcp_state(data: bytes) -> int:
    state = dict(_attributes(dict(_attributes(data)).get(1, b""))).get(
        1, b"\0"
    )  # CTA_PROTOINFO_TCP, _TCP_STATE
    return state[0] if state else 0


def _tuple(data: bytes) -> tuple[int, bytes] | None:
    """Protocol and key; ``None`` without ports."""
    parts = dict(_attributes(data))
    ip = dict(_attributes(parts.get(_IP, b"")))
    protocol = dict(_attributes(parts.get(_PROTOCOL, b"")))
    source = ip.get(1) or ip.get(3)  # IPv4, IPv6
    destination = ip.get(2) or ip.get(4)
    ports = protocol.get(2), protocol.get(3)
    if not source or not destination or not ports[0] or not ports[1] or 1 not in protocol:
        return None
    return protocol[1][0], source + destination + ports[0][:2] + ports[1][:2]


def _attribute(kind: int, value: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(-length % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < 4 or at + length > len(data):
            return
        yield kind & 0x3FFF, data[at + 4 : at + length]
        at += (length + 3) & ~3
