"""Packets as bytes: what the oracle sends and what it finds again.

Every packet carries its number, so that whatever arrives, and every error about it, tells which one it was.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address
from typing import NamedTuple

ICMP, TCP, UDP, ICMPV6, SCTP = 1, 6, 17, 58, 132
PROTOCOLS = {"tcp": TCP, "udp": UDP, "sctp": SCTP}
SYN, RST, ACK, FIN = 2, 4, 16, 1
UNREACHABLE4, UNREACHABLE6 = 3, 1
STEP = 8  # numbers are this far apart in TCP's sequence space


class Sent(NamedTuple):
    """A packet to send. ``iface`` is the node's interface that it comes in by; ``""``: made on the node."""

    number: int
    iface: str
    proto: str
    src: str
    dst: str
    sport: int = 0
    dport: int = 0
    mark: int = 0
    flags: int = SYN

    @property
    def family(self) -> int:
        return 6 if ":" in self.src else 4

    def __str__(self) -> str:
        way = f"in by {self.iface}" if self.iface else "made on the node"
        extra = f" mark {self.mark:#x}" * bool(self.mark) + f" tcp flags {self.flags}" * (self.flags != SYN)
        return f"{self.proto} {self.src} port {self.sport} → {self.dst} port {self.dport} {way}{extra}"


class Found(NamedTuple):
    """A packet that was seen. ``error`` is ICMP's (type, code) or ``"tcp-reset"``, about packet ``number``."""

    number: int
    proto: int = 0
    src: str = ""
    dst: str = ""
    sport: int = 0
    dport: int = 0
    error: tuple[int, int] | str | None = None


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _crc32c_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _crc32c_table()


def crc32c(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 255]
    return struct.pack("<I", crc ^ 0xFFFFFFFF)


def encode(sent: Sent) -> bytes:
    """The whole IP packet."""
    src, dst = ip_address(sent.src).packed, ip_address(sent.dst).packed
    family = sent.family
    proto = PROTOCOLS.get(sent.proto) or (ICMP if family == 4 else ICMPV6)
    body = _body(sent, proto)
    if proto == SCTP:
        body = body[:8] + crc32c(body) + body[12:]
    else:
        pseudo = b"" if proto == ICMP else src + dst + struct.pack("!II", len(body), proto)
        at = {TCP: 16, UDP: 6, ICMP: 2, ICMPV6: 2}[proto]
        body = body[:at] + struct.pack("!H", checksum(pseudo + body)) + body[at + 2 :]
    if family == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), proto, 64) + src + dst + body
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, 0, 64, proto, 0, src, dst)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def _body(sent: Sent, proto: int) -> bytes:
    ports = struct.pack("!HH", sent.sport, sent.dport)
    number = sent.number * STEP
    if proto == UDP:
        return ports + struct.pack("!HHI", 12, 0, number)
    if proto == TCP:
        return ports + struct.pack("!IIBBHHH", number, number, 5 << 4, sent.flags, 1024, 0, 0)
    if proto == SCTP:  # INIT
        return (
            ports + struct.pack("!II", 0, 0) + struct.pack("!BBHIIHHI", 1, 0, 20, number, 65536, 1, 1, number)
        )
    request = 8 if proto == ICMP else 128
    return struct.pack("!BBHHHI", request, 0, 0, sent.number & 0xFFFF, 1, number)


def decode(data: bytes) -> Found | None:
    """What a packet says, ``None`` for one that the oracle did not send and that is no error about one."""
    try:
        if data[0] >> 4 == 4:
            at, proto, width, begin = (data[0] & 15) * 4, data[9], 4, 12
        else:
            at, proto, width, begin = 40, data[6], 16, 8
        src, dst = (ip_address(data[i : i + width]) for i in (begin, begin + width))
        return _transport(data[at:], proto, str(src), str(dst))
    except (struct.error, IndexError, ValueError):
        return None


def _transport(body: bytes, proto: int, src: str, dst: str) -> Found | None:
    if proto in (ICMP, ICMPV6):
        kind, code = body[:2]
        if kind == (UNREACHABLE4 if proto == ICMP else UNREACHABLE6):
            inner = decode(body[8:])
            return inner and Found(inner.number, inner.proto, src, dst, error=(kind, code))
        if kind not in (8, 128):
            return None
        return Found(struct.unpack_from("!I", body, 8)[0] // STEP, proto, src, dst)
    sport, dport = struct.unpack_from("!HH", body)
    if proto == TCP:
        sequence, acknowledged, _, flags = struct.unpack_from("!IIBB", body, 4)
        if flags & RST and not flags & SYN:
            number = (acknowledged if flags & ACK else sequence) // STEP
            return Found(number, proto, src, dst, error="tcp-reset")
        return Found(sequence // STEP, proto, src, dst, sport, dport)
    at = {UDP: 8, SCTP: 16}.get(proto)
    if at is None:
        return None
    return Found(struct.unpack_from("!I", body, at)[0] // STEP, proto, src, dst, sport, dport)
