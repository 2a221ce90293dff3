"""UDP datagrams of a chosen size, for who may not open raw sockets.

They go to a port that nobody listens on, whose ICMP port unreachable proves that one arrived. ICMP errors are read from
the socket's error queue (ip(7), IP_RECVERR), which any user may.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address

from svcdoctor.model.packetpath import MtuLimit
from svcdoctor.probe.packets.rawsockets import LEAST_PATIENCE
from svcdoctor.probe.packets.sized import TRIES, Sized
from svcdoctor.proxy.descriptors import family_of, unblocking_socket

PORT = 33434  # traceroute's

# linux/in.h, linux/in6.h, linux/errqueue.h
IP_TTL, IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 2, 10, 11, 14
IPV6_UNICAST_HOPS, IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 16, 23, 24, 25
PMTUDISC_PROBE = 3
_ERROR = struct.Struct("=IBBBBII")  # sock_extended_err; the offender's address follows
_SENT = struct.Struct("!I")

# Hosts answer six at once and then one a second (Linux' icmp_ratelimit); what they keep back would look like a loss.
AT_ONCE = 5
SPACING = 1.1  # seconds


def known_mtu(ip: str) -> int:
    """What the kernel holds of the path: learnt, the route's, or the interface's. Linux only. Raises OSError."""
    family = family_of(ip)
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((ip, PORT))
        if family == socket.AF_INET6:
            return sock.getsockopt(socket.IPPROTO_IPV6, IPV6_MTU)
        return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)


class SizedDatagrams:
    """To one address. ``seconds`` is the wait for an answer. Raises OSError. `close` ends it."""

    def __init__(self, ip: str, seconds: float) -> None:
        self._v6 = family_of(ip) == socket.AF_INET6
        self._ip = ip
        self._seconds = seconds
        self._number = 0
        self._answers = float(AT_ONCE)  # that may be had now
        self._counted = time.monotonic()
        self._headers = 48 if self._v6 else 28
        self._level = socket.IPPROTO_IPV6 if self._v6 else socket.IPPROTO_IP
        self._socket = unblocking_socket(family_of(ip), socket.SOCK_DGRAM)
        try:
            discover, errors = (
                (IPV6_MTU_DISCOVER, IPV6_RECVERR) if self._v6 else (IP_MTU_DISCOVER, IP_RECVERR)
            )
            self._socket.setsockopt(self._level, discover, PMTUDISC_PROBE)
            self._socket.setsockopt(self._level, errors, 1)
            self._socket.connect((ip, PORT))
        except OSError:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    async def ask(self, size: int, ttl: int = 0, tries: int = TRIES) -> Sized:
        self._socket.setsockopt(self._level, IPV6_UNICAST_HOPS if self._v6 else IP_TTL, ttl or 64)
        for tried in range(tries):
            await asyncio.sleep(SPACING if tried else self._until_answered())
            self._number += 1
            content = _SENT.pack(self._number) + bytes(size - self._headers - _SENT.size)
            if (answer := await self._sent(content)) is not None:
                return answer
        return Sized()

    def _until_answered(self) -> float:
        """Seconds until the other end answers again."""
        now = time.monotonic()
        self._answers = min(AT_ONCE, self._answers + (now - self._counted) / SPACING)
        self._counted = now
        return max(0.0, (1 - self._answers) * SPACING)

    async def _sent(self, content: bytes) -> Sized | None:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[Sized] = loop.create_future()

        def readable() -> None:
            answer = self._read()
            if answer is not None and not heard.done():
                heard.set_result(answer)

        loop.add_reader(self._socket, readable)
        try:
            begin = loop.time()
            # What an earlier error left behind is told by the next call, once.
            for _ in range(TRIES):
                with contextlib.suppress(OSError):
                    self._socket.send(content)
                    break
            async with asyncio.timeout(self._seconds):
                answer = await heard
            self._answers -= answer.arrived
            self._seconds = min(self._seconds, max(LEAST_PATIENCE, 4 * (loop.time() - begin)))
            return answer
        except TimeoutError:
            return None
        finally:
            loop.remove_reader(self._socket)

    def _read(self) -> Sized | None:
        with contextlib.suppress(OSError):
            self._socket.recv(1)
            return Sized(arrived=True)  # somebody listens there after all
        try:
            quoted, control, _, _ = self._socket.recvmsg(1 << 16, 512, socket.MSG_ERRQUEUE)
        except OSError:
            return None
        if len(quoted) >= _SENT.size and _SENT.unpack_from(quoted)[0] != self._number:
            return None  # about an earlier one
        return next((self._told(data) for _, _, data in control if len(data) > _ERROR.size), None)

    def _told(self, data: bytes) -> Sized | None:
        number, _, kind, _, _, mtu, _ = _ERROR.unpack_from(data)
        by = _offender(data[_ERROR.size :])
        if number == errno.EMSGSIZE:
            return Sized(limit=MtuLimit(by, mtu))
        if kind == (3 if self._v6 else 11):
            return Sized(reached=by)
        return Sized(arrived=by == self._ip)


def _offender(address: bytes) -> str:
    """From a sockaddr_in or sockaddr_in6."""
    if int.from_bytes(address[:2], "little") == socket.AF_INET6 or len(address) >= 28:
        return str(IPv6Address(address[8:24]))
    return str(IPv4Address(address[4:8]))
