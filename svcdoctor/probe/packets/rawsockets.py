"""Sockets for SYNs of our own making, and the answers to them.

SYNs go out through the kernel's OUTPUT hooks and routing like any program's, so on a node kube-proxy's rules apply to
them. Answers are heard twice: where they come in by an interface, as they were on the wire, before this machine's own
NAT and rules; and where programs would hear them, behind those. Their difference tells who answered behind a Service's
address, and whether this machine's rules let the answer in. A SYN-ACK is ended with RST by the kernel itself, for no
connection waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from svcdoctor.model.packetpath import Said, SynAnswer
from svcdoctor.probe.packets.synfilter import (
    attach,
    draw_sequence,
    draw_sequences,
    packets_with,
    segments_with,
)

if TYPE_CHECKING:
    from svcdoctor.probe.packets.scapypackets import Heard

PER_SECOND = 250  # SYNs of all flows together
DEFAULT_TTL = 64
LEAST_PATIENCE = 0.2  # seconds for an answer, however near the end is

ETH_P = {socket.AF_INET: 0x0800, socket.AF_INET6: 0x86DD}
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3  # linux/in.h, in6.h


class NoRawSockets(Exception):
    """They may not be opened here; the text says what to grant."""


def _refused(reason: OSError) -> NoRawSockets:
    if reason.errno not in (errno.EPERM, errno.EACCES):
        return NoRawSockets(f"no raw sockets here ({reason.strerror})")
    interpreter = os.path.realpath(sys.executable)
    return NoRawSockets(
        "raw sockets need CAP_NET_RAW (sudo; in a pod capabilities.add: [NET_RAW]; or, for every script of this "
        f"interpreter, setcap cap_net_raw+ep {interpreter})"
    )


@dataclass(slots=True, eq=False)
class Flow:
    """A source port that nobody else uses meanwhile, and the connection attempt that its SYNs are."""

    source: str
    sport: int
    ip: str
    port: int
    sequence: int
    held: socket.socket
    number: int = 0

    def close(self) -> None:
        self.held.close()


@dataclass(slots=True, eq=False)
class _Asked:
    flow: Flow
    number: int
    size: int
    sent: float
    future: asyncio.Future[Heard]
    arrived: Heard | None = None
    let_in: bool = False


class RawSockets:
    """For one family of addresses, on the running loop. Raises NoRawSockets. `close` gives them back."""

    def __init__(self, family: socket.AddressFamily) -> None:
        self._family = family
        self._asked: list[_Asked] = []
        self._next = 0.0
        self._sequences = draw_sequences()
        self._sockets: list[socket.socket] = []
        self._reading: list[int] = []
        if sys.platform != "linux":
            raise NoRawSockets("raw sockets that hear TCP need Linux")
        try:
            self._sending = self._open(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
            if family == socket.AF_INET6:
                # A larger packet than the kernel has learnt of the path is wanted here.
                self._sending.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
            else:
                self._sending.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
            wire = self._open(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P[family]))
            tcp = self._open(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
            icmp = self._open(family, socket.SOCK_RAW, _icmp(family))
            attach(wire, packets_with(family, self._sequences))
            attach(tcp, segments_with(family, self._sequences))
        except OSError as e:
            self.close()
            raise _refused(e) from None
        # Loaded only now: it takes a while, and who may not open raw sockets does without.
        from svcdoctor.probe.packets.scapypackets import decode

        self._decode = decode
        self._read(wire, lambda data, _: data, let_in=False)
        self._read(tcp, _with_header(family, socket.IPPROTO_TCP), let_in=True)
        self._read(icmp, _with_header(family, _icmp(family)), let_in=True)

    def _open(self, family: socket.AddressFamily, kind: socket.SocketKind, protocol: int) -> socket.socket:
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
        self._sockets.append(sock)
        return sock

    def _read(self, sock: socket.socket, whole: Callable[[bytes, str], bytes], *, let_in: bool) -> None:
        def readable() -> None:
            with contextlib.suppress(OSError):  # there is no more, or what was heard is an error
                while True:
                    data, address = sock.recvfrom(1 << 16)
                    if heard := self._decode(whole(data, address[0])):
                        self._hear(heard, let_in)

        asyncio.get_running_loop().add_reader(sock, readable)
        self._reading.append(sock.fileno())

    def close(self) -> None:
        for fd in self._reading:
            asyncio.get_running_loop().remove_reader(fd)
        for sock in self._sockets:
            sock.close()

    def flow(self, ip: str, port: int, sport: int = 0) -> Flow:
        """A flow from a free source port, or from ``sport``. Raises OSError where it is taken, or without a route."""
        with socket.socket(self._family, socket.SOCK_DGRAM) as routed:
            routed.connect((ip, port))
            source = routed.getsockname()[0]
        held = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            held.bind((source, sport))
        except OSError:
            held.close()
            raise
        return Flow(source, held.getsockname()[1], ip, port, draw_sequence(self._sequences), held)

    async def ask(self, flow: Flow, seconds: float, ttl: int = 0, size: int = 0, mss: int = 1460) -> Answer:
        """Send one SYN of the flow and wait for what it meets. Several with TTLs that end on the way may be under way
        at once; of those that arrive, one at a time."""
        from svcdoctor.probe.packets.scapypackets import Syn, encode

        await self._pace()
        flow.number += 1
        syn = Syn(
            flow.source,
            flow.ip,
            flow.sport,
            flow.port,
            flow.sequence,
            flow.number,
            ttl or DEFAULT_TTL,
            size,
            mss,
        )
        packet = encode(syn)
        loop = asyncio.get_running_loop()
        asked = _Asked(flow, flow.number, len(packet), loop.time(), loop.create_future())
        self._asked.append(asked)
        refused: OSError | None = None
        try:
            try:
                self._sending.sendto(packet, (flow.ip, 0))
            except OSError as e:
                # A REJECT in OUTPUT fails here, too, and sends its error all the same.
                refused, seconds = e, min(seconds, 0.05)
            with contextlib.suppress(TimeoutError):
                heard = await asyncio.wait_for(asked.future, seconds)
                return _answer(asked, heard, ttl, loop.time())
        finally:
            self._asked.remove(asked)
        if refused is not None:
            return Answer(SynAnswer(Said.NOT_SENT, flow.sport, ttl, detail=_why_not_sent(refused)))
        if asked.arrived is not None:
            return _answer(asked, asked.arrived, ttl, loop.time()).not_let_in()
        return Answer(SynAnswer(Said.SILENCE, flow.sport, ttl))

    async def _pace(self) -> None:
        now = time.monotonic()
        self._next = max(self._next, now) + 1 / PER_SECOND
        if (delay := self._next - now - 1 / PER_SECOND) > 0:
            await asyncio.sleep(delay)

    def _hear(self, heard: Heard, let_in: bool) -> None:
        asked = self._meant(heard)
        if asked is None or asked.future.done():
            return
        asked.let_in |= let_in
        if not let_in and asked.arrived is None:
            asked.arrived = heard
        if asked.let_in and asked.arrived is not None:
            asked.future.set_result(asked.arrived)

    def _meant(self, heard: Heard) -> _Asked | None:
        """The SYN that an answer is to."""
        if heard.acknowledged is not None:  # a RST acknowledges the filling, too
            found = [a for a in self._asked if _acknowledges(heard.acknowledged, a)]
            return found[-1] if found else None
        of_flow = [a for a in self._asked if a.flow.sequence == heard.sequence]
        exact = [a for a in of_flow if a.number == heard.number]
        return exact[0] if exact else of_flow[0] if len(of_flow) == 1 else None


def raw_sockets(opened: contextlib.ExitStack, family: socket.AddressFamily) -> RawSockets | NoRawSockets:
    """They, until ``opened`` ends, or why there are none."""
    try:
        sockets = RawSockets(family)
    except NoRawSockets as e:
        return e
    opened.callback(sockets.close)
    return sockets


@dataclass(frozen=True, slots=True)
class Answer:
    """A SYN's answer, and the MSS that a SYN-ACK announced."""

    syn: SynAnswer
    mss: int | None = None

    def not_let_in(self) -> Answer:
        """The same, dropped by this machine's own rules."""
        said = self.syn
        detail = f"{said.code or said.said} from {said.by}"
        kept = SynAnswer(
            Said.NOT_LET_IN, said.sport, said.ttl, said.by, said.by_port, mtu=said.mtu, detail=detail
        )
        return Answer(kept, self.mss)


def _answer(asked: _Asked, heard: Heard, ttl: int, now: float) -> Answer:
    begin = next(start for start in (64, 128, 255) if heard.ttl <= start)
    tcp = heard.acknowledged is not None
    syn = SynAnswer(
        heard.said,
        asked.flow.sport,
        ttl,
        by=heard.by,
        by_port=heard.by_port,
        code=heard.code,
        seconds=now - asked.sent,
        back=begin - heard.ttl if tcp else None,
        mtu=heard.mtu,
    )
    return Answer(syn, heard.mss)


def _acknowledges(number: int, asked: _Asked) -> bool:
    return 1 <= (number - asked.flow.sequence) % (1 << 32) <= asked.size


def _why_not_sent(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "a rule of its OUTPUT chain drops it"
    return error.strerror or str(error)


def _icmp(family: socket.AddressFamily) -> int:
    return socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP


def _with_header(family: socket.AddressFamily, protocol: int) -> Callable[[bytes, str], bytes]:
    """IPv6's raw sockets leave the header away; IPv4's do not."""

    def whole(data: bytes, source: str) -> bytes:
        address = socket.inet_pton(socket.AF_INET6, source.partition("%")[0])
        return struct.pack("!IHBB", 6 << 28, len(data), protocol, 0) + address + bytes(16) + data

    return whole if family == socket.AF_INET6 else lambda data, _: data
