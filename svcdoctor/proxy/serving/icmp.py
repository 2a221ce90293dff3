"""ICMP errors passed on to UDP clients: what an endpoint's host answered, said for the address that the client sent to.

Theory. An application's socket learns of ICMP only by the ports and addresses in the packet that the error quotes;
that packet is made up here, as the client has sent it. It takes a raw socket (CAP_NET_RAW); without the right to one,
clients are told nothing and wait, as they would for a lost datagram.

Specification: RFC 792 (Destination Unreachable), RFC 4443, 3.1; ip(7), IP_PKTINFO
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable

from svcdoctor.proxy.listener import Address

A_SECOND = 100
"""Errors that are sent in a second at most, as kernels limit them."""

# Codes of unreachable (type 3), and of ICMPv6's (type 1), by what the endpoint's socket said.
_CODES = {errno.ECONNREFUSED: 3, errno.EHOSTUNREACH: 1, errno.ENETUNREACH: 0, errno.EACCES: 13}
_CODES6 = {errno.ECONNREFUSED: 4, errno.EHOSTUNREACH: 3, errno.ENETUNREACH: 0, errno.EACCES: 1}

_ICMP_FILTER = (255, 1)  # SOL_RAW, ICMP_FILTER; ICMP6_FILTER has the same number
_IP_PKTINFO = 8
_UDP = struct.Struct("!HHHH")


class IcmpErrors:
    """``clock`` gives seconds. `close` releases the sockets."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second = 0.0
        self._sent = 0
        self._sockets: dict[socket.AddressFamily, socket.socket] = {}
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                self._sockets[family] = _raw(family)
            except OSError:
                continue

    def tell(self, client: Address, local: Address, error: int) -> bool:
        """Tell a client that what it sent to ``local`` was answered with an errno. Returns whether that was sent."""
        family = socket.AF_INET6 if ":" in local[0] else socket.AF_INET
        sock = self._sockets.get(family)
        codes = _CODES if family == socket.AF_INET else _CODES6
        if sock is None or error not in codes or not self._admit():
            return False
        ip, _, scope = client[0].partition("%")
        source, target = socket.inet_pton(family, ip), socket.inet_pton(family, local[0].partition("%")[0])
        udp = _UDP.pack(client[1], local[1], _UDP.size, 0)
        if family == socket.AF_INET:
            body = struct.pack("!BBHI", 3, codes[error], 0, 0) + _packet(source, target) + udp
            body = body[:2] + _checksum(body).to_bytes(2, "big") + body[4:]
            from_here = (socket.IPPROTO_IP, _IP_PKTINFO, bytes(4) + target + bytes(4))
            to: tuple[str, int] | tuple[str, int, int, int] = (ip, 0)
        else:
            head = struct.pack("!IHBB", 6 << 28, len(udp), socket.IPPROTO_UDP, 64)
            body = struct.pack("!BBHI", 1, codes[error], 0, 0) + head + source + target + udp
            from_here = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, target + bytes(4))
            to = (ip, 0, 0, int(scope or 0))
        try:
            sock.sendmsg([body], [from_here], 0, to)
        except OSError:
            return False
        return True

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()

    def _admit(self) -> bool:
        now = self._clock()
        if now - self._second >= 1.0:
            self._second, self._sent = now, 0
        self._sent += 1
        return self._sent <= A_SECOND


def _raw(family: socket.AddressFamily) -> socket.socket:
    """A socket for errors that hears none. Raises OSError."""
    protocol = socket.IPPROTO_ICMP if family == socket.AF_INET else socket.IPPROTO_ICMPV6
    sock = socket.socket(family, socket.SOCK_RAW, protocol)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET:
            sock.setsockopt(*_ICMP_FILTER, b"\xff" * 4)
        else:
            sock.setsockopt(socket.IPPROTO_ICMPV6, _ICMP_FILTER[1], b"\xff" * 32)
    except OSError:
        sock.close()
        raise
    return sock


def _packet(source: bytes, target: bytes) -> bytes:
    """The header of an IPv4 packet with UDP."""
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0, 64, socket.IPPROTO_UDP, 0) + source + target
    return head[:10] + _checksum(head).to_bytes(2, "big") + head[12:]


def _checksum(data: bytes) -> int:
    """RFC 1071's, of an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF
