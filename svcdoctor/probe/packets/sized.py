"""Packets of a chosen size that may not be fragmented, and what becomes of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.packetpath import MtuLimit, Said
from svcdoctor.probe.packets.rawsockets import LEAST_PATIENCE, Flow, RawSockets

TRIES = 2


@dataclass(frozen=True, slots=True)
class Sized:
    """``arrived`` at the other end; or a router names its ``limit`` (``kept_out``: in an error that this machine's own
    rules drop); or the packet's TTL ended at ``reached``; or none of these. ``mss`` is what a SYN-ACK announced."""

    arrived: bool = False
    limit: MtuLimit | None = None
    kept_out: bool = False
    reached: str = ""
    mss: int | None = None


class Sizes(Protocol):
    """A way to send them."""

    async def ask(self, size: int, ttl: int = 0, tries: int = TRIES) -> Sized:
        """Send one, at most ``tries`` times where nothing answers. Sizes are bytes of the IP packet."""


class SizedSyns:
    """SYNs with filling. ``seconds`` is the wait for an answer, less when it is known how long one takes."""

    def __init__(self, sockets: RawSockets, flow: Flow, seconds: float, mss: int) -> None:
        from svcdoctor.probe.packets.scapypackets import least_size

        self.least = least_size(flow.ip)
        self._sockets = sockets
        self._flow = flow
        self._seconds = seconds
        self._mss = mss

    async def ask(self, size: int, ttl: int = 0, tries: int = TRIES) -> Sized:
        for _ in range(tries):
            answer = await self._sockets.ask(self._flow, self._seconds, ttl, size, self._mss)
            syn = answer.syn
            if syn.seconds is not None:
                self._seconds = min(self._seconds, max(LEAST_PATIENCE, 4 * syn.seconds))
            if syn.said is Said.SILENCE:
                continue
            if syn.mtu is not None:
                kept_out = syn.said is Said.NOT_LET_IN
                return Sized(limit=MtuLimit(syn.by, syn.mtu), kept_out=kept_out)
            if syn.said is Said.TIME_EXCEEDED:
                return Sized(reached=syn.by)
            # A host that refuses with an ICMP error got the packet; a router that does got no further.
            arrived = syn.said is not Said.NOT_SENT and (
                syn.said is not Said.UNREACHABLE or syn.by == self._flow.ip
            )
            return Sized(arrived, mss=answer.mss)
        return Sized()
