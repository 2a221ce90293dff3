"""SYNs and the answers to them, as bytes: scapy makes and reads the packets.

Every SYN of a flow has the same ports and the same sequence number, as a connection's retransmissions have, so that
firewalls, NAT and load balancers treat them alike. What tells them apart is their number: IPv4's identification, of
which routers quote enough; IPv6 has none, but there the TCP header is quoted whole (RFC 4443), and its window is it.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from svcdoctor.model.packetpath import Said
from svcdoctor.probe.packets.scapyquiet import quiet

with quiet():
    from scapy.layers.inet import ICMP, IP, TCP, IPerror
    from scapy.layers.inet6 import (
        ICMPv6DestUnreach,
        ICMPv6PacketTooBig,
        ICMPv6TimeExceeded,
        IPerror6,
        IPv6,
    )
    from scapy.packet import NoPayload, Packet, Raw

WINDOW = 1024  # of the SYN with number 0
SYN, RST, ACK = 2, 4, 16

# ICMP's errors by (type, code), as ``--reject-with`` names them (iptables-extensions(8)); the rest by number.
CODES4 = {
    0: "icmp-net-unreachable", 1: "icmp-host-unreachable", 2: "icmp-proto-unreachable", 3: "icmp-port-unreachable",
    9: "icmp-net-prohibited", 10: "icmp-host-prohibited", 13: "icmp-admin-prohibited",
}  # fmt: skip
CODES6 = {
    0: "icmp6-no-route", 1: "icmp6-adm-prohibited", 3: "icmp6-addr-unreachable", 4: "icmp6-port-unreachable",
    5: "icmp6-policy-fail", 6: "icmp6-reject-route",
}  # fmt: skip
FRAGMENTATION_NEEDED = 4


class Syn(NamedTuple):
    """A SYN to send. ``size`` is the whole packet's; it is filled up with zeros, which no server reads (they come
    before the connection stands). ``mss`` is announced."""

    source: str
    ip: str
    sport: int
    dport: int
    sequence: int
    number: int
    ttl: int
    size: int = 0
    mss: int = 1460


class Heard(NamedTuple):
    """An answer. A TCP answer has ``acknowledged``; an ICMP error quotes the SYN's ``sequence`` and ``number``."""

    said: Said
    by: str
    ttl: int
    by_port: int | None = None
    acknowledged: int | None = None
    mss: int | None = None
    sequence: int | None = None
    number: int | None = None
    code: str = ""
    mtu: int | None = None


def encode(syn: Syn) -> bytes:
    """The whole IP packet, which may not be fragmented."""
    options = [("MSS", syn.mss), ("SAckOK", b"")]
    tcp = TCP(sport=syn.sport, dport=syn.dport, seq=syn.sequence, flags=SYN, options=options)
    packet: Packet
    if ":" in syn.ip:
        tcp.window = WINDOW + syn.number
        packet = IPv6(src=syn.source, dst=syn.ip, hlim=syn.ttl) / tcp
    else:
        packet = IP(src=syn.source, dst=syn.ip, ttl=syn.ttl, id=syn.number, flags="DF") / tcp
    missing = syn.size - len(packet)
    return bytes(packet / Raw(bytes(missing)) if missing > 0 else packet)


def least_size(ip: str) -> int:
    """The bytes of a SYN without filling."""
    return 68 if ":" in ip else 48


def decode(data: bytes) -> Heard | None:
    """What an IP packet says; ``None`` for one that is no answer to a SYN."""
    try:
        return _decoded(data)
    except (struct.error, IndexError, ValueError):  # cut off within a header
        return None


def _decoded(data: bytes) -> Heard | None:
    if data[0] >> 4 == 6:
        packet: Packet = IPv6(data)
        ttl, body = packet.hlim, packet.payload
        if isinstance(body, ICMPv6DestUnreach | ICMPv6TimeExceeded | ICMPv6PacketTooBig):
            return _error6(body, packet.src, ttl)
    else:
        packet = IP(data)
        ttl, body = packet.ttl, packet.payload
        if isinstance(body, ICMP):
            return _error4(body, packet.src, ttl)
    return _tcp(body, packet.src, ttl) if isinstance(body, TCP) else None


def _tcp(tcp: TCP, by: str, ttl: int) -> Heard | None:
    flags = int(tcp.flags)
    if not flags & ACK or not flags & (SYN | RST):
        return None  # without an acknowledgement a RST ends no attempt (RFC 9293, 3.10.7.3)
    said = Said.RST if flags & RST else Said.SYN_ACK
    mss = dict(tcp.options).get("MSS") if said is Said.SYN_ACK else None
    return Heard(said, by, ttl, by_port=tcp.sport, acknowledged=tcp.ack, mss=mss)


def _error4(icmp: ICMP, by: str, ttl: int) -> Heard | None:
    inner = icmp.payload
    if icmp.type not in (3, 11) or not isinstance(inner, IPerror) or inner.proto != 6:
        return None
    sequence = _quoted(inner, 4, 4)
    if icmp.type == 11:
        said, code = Said.TIME_EXCEEDED, ""
    elif icmp.code == FRAGMENTATION_NEEDED:
        said, code = Said.TOO_BIG, ""
    else:
        said, code = Said.UNREACHABLE, CODES4.get(icmp.code, f"icmp unreachable, code {icmp.code}")
    mtu = icmp.nexthopmtu if said is Said.TOO_BIG else None
    return Heard(said, by, ttl, sequence=sequence, number=inner.id, code=code, mtu=mtu)


def _error6(icmp: Packet, by: str, ttl: int) -> Heard | None:
    inner = icmp.payload
    if not isinstance(inner, IPerror6) or inner.nh != 6:
        return None
    sequence, window = _quoted(inner, 4, 4), _quoted(inner, 14, 2)
    number = None if window is None else window - WINDOW
    if isinstance(icmp, ICMPv6TimeExceeded):
        return Heard(Said.TIME_EXCEEDED, by, ttl, sequence=sequence, number=number)
    if isinstance(icmp, ICMPv6PacketTooBig):
        return Heard(Said.TOO_BIG, by, ttl, sequence=sequence, number=number, mtu=icmp.mtu)
    code = CODES6.get(icmp.code, f"icmp6 unreachable, code {icmp.code}")
    return Heard(Said.UNREACHABLE, by, ttl, sequence=sequence, number=number, code=code)


def _quoted(inner: Packet, at: int, length: int) -> int | None:
    """A field of the TCP header that an error quotes, of which there may be 8 bytes only (RFC 792)."""
    payload = inner.payload
    quoted = b"" if isinstance(payload, NoPayload) else payload.original
    field = quoted[at : at + length]
    return int.from_bytes(field) if len(field) == length else None
