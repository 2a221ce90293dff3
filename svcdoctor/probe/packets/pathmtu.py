"""The path MTU to an address: the largest packet that arrives unfragmented, and who or what limits it.

Packets that may not be fragmented are sent in the interface's full size. A router that cannot pass one on says so and
names its limit (RFC 1191, RFC 8201); where such errors are filtered large packets vanish (RFC 2923 calls it a black
hole), and a binary search finds the size that still arrives and the hop behind which larger ones vanish. The packets
are SYNs with filling: they take the Service's own way, and TCP answers them before any application sees them. Where
raw sockets may not be opened, or something drops SYNs with filling, UDP and the kernel's error queue stand in. Only
the way to the address is measured, not the answers' way back.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from svcdoctor.model.observed import Aim
from svcdoctor.model.packetpath import MtuLimit, PathMtu
from svcdoctor.probe.packets.inside import inside
from svcdoctor.probe.packets.outroute import OutRoute, out_route
from svcdoctor.probe.packets.rawsockets import NoRawSockets, RawSockets, raw_sockets
from svcdoctor.probe.packets.sized import Sized, SizedSyns, Sizes
from svcdoctor.probe.packets.sizedudp import SizedDatagrams, known_mtu
from svcdoctor.proxy.descriptors import family_of

AT_ONCE = 16  # addresses
MAX_HOPS = 30
MUTE_HOPS = 3
SURE = 4  # tries before silence is more than a loss
ROUNDS = 6
LARGEST = 65535  # an IPv4 packet
SMALL = {4: 576, 6: 1280}  # what every path must pass (RFC 791, RFC 8200)
HEADERS = {4: 40, 6: 60}  # of IP and TCP: what the MSS does not count


def path_mtus(
    aims: Sequence[Aim], *, seconds: float = 1.0, namespace: Path | None = None
) -> tuple[PathMtu, ...]:
    """The path MTU to each aim, in their order.

    ``seconds`` is the wait for one answer. A healthy path takes a few round trips, a black hole some seconds.
    ``namespace`` is a network namespace to start from, as `inside` takes it.
    """
    return inside(namespace, lambda: asyncio.run(mtus_of(aims, seconds)))


async def mtus_of(aims: Sequence[Aim], seconds: float) -> tuple[PathMtu, ...]:
    """`path_mtus` for callers that have a loop."""
    if sys.platform != "linux":
        return tuple(PathMtu(aim, None, raw=False, note="measuring the path MTU needs Linux") for aim in aims)
    gate = asyncio.Semaphore(AT_ONCE)
    with contextlib.ExitStack() as opened:
        sockets = {f: raw_sockets(opened, f) for f in {family_of(aim.ip) for aim in aims}}

        async def one(aim: Aim) -> PathMtu:
            async with gate:
                try:
                    return await _path_mtu(sockets[family_of(aim.ip)], aim, seconds)
                except OSError as e:
                    return PathMtu(aim, None, note=f"not sent: {e.strerror}")

        return tuple(await asyncio.gather(*(one(aim) for aim in aims)))


async def _path_mtu(sockets: RawSockets | NoRawSockets, aim: Aim, seconds: float) -> PathMtu:
    out = out_route(aim.ip)
    if out is None:
        return PathMtu(aim, None, note="no route to it here")
    if isinstance(sockets, NoRawSockets):
        return await _by_datagrams(aim, out, seconds, f"{sockets}: UDP was used instead")
    version = 6 if ":" in aim.ip else 4
    with contextlib.closing(sockets.flow(aim.ip, aim.port)) as flow:
        syns = SizedSyns(sockets, flow, seconds, mss=min(out.mtu, LARGEST) - HEADERS[version])
        first = await syns.ask(syns.least, tries=SURE)
        if not first.arrived:
            return _found(aim, out, Search(syns), note="no SYN to it is answered")
        if (await syns.ask(SMALL[version], tries=SURE)).arrived:
            search = Search(syns)
            await search.run(SMALL[version], min(out.mtu, LARGEST))
            return _found(aim, out, search, announced=first.mss and first.mss + HEADERS[version])
    return await _by_datagrams(
        aim, out, seconds, "something on the way drops SYNs with filling: UDP was used instead"
    )


async def _by_datagrams(aim: Aim, out: OutRoute, seconds: float, note: str) -> PathMtu:
    small = SMALL[6 if ":" in aim.ip else 4]
    with contextlib.closing(SizedDatagrams(aim.ip, seconds)) as datagrams:
        search = Search(datagrams)
        await search.run(small, min(out.mtu, LARGEST))
    return _found(aim, out, search, raw=False, note=note)


def _found(
    aim: Aim, out: OutRoute, search: Search, *, announced: int | None = None, raw: bool = True, note: str = ""
) -> PathMtu:
    return PathMtu(
        aim,
        search.size,
        interface=out.interface,
        interface_mtu=out.mtu,
        known=known_mtu(aim.ip),
        announced=announced,
        limits=tuple(search.limits),
        black_hole=search.black_hole,
        behind=search.behind,
        kept_out=search.kept_out,
        raw=raw,
        note=note,
    )


@dataclass(slots=True)
class Search:
    """Finds the largest size that arrives."""

    sizes: Sizes
    size: int | None = None
    limits: list[MtuLimit] = field(default_factory=list)
    black_hole: bool = False
    behind: str = ""
    kept_out: bool = False

    async def run(self, small: int, large: int) -> None:
        """Between ``small``, which is tried where something vanishes, and ``large``."""
        top, told = await self._as_named(small, large)
        self.black_hole = self.kept_out
        if told.arrived:
            self.size = top
            return
        if not (await self.sizes.ask(small, tries=SURE)).arrived:
            return
        arrives, vanishes, silent = small, top, told.limit is None
        for _ in range(ROUNDS):
            arrives, vanishes, silent = await self._bisected(arrives, top, silent)
            if not silent:
                break
            again = await self.sizes.ask(vanishes, tries=SURE)
            if not again.arrived:
                self._limit(again)
                silent = again.limit is None
                break
            arrives, silent = vanishes, vanishes < top  # it had been lost, and not been too large
        else:
            silent = False  # with so many losses nothing is told
        self.size = arrives
        self.black_hole = silent or self.kept_out
        if silent:
            await self._locate(small, vanishes)

    async def _as_named(self, small: int, large: int) -> tuple[int, Sized]:
        """The size that is left when every named limit is kept, and what becomes of it."""
        while (told := await self.sizes.ask(large)).limit is not None:
            self._limit(told)
            if not small <= told.limit.mtu < large:
                break  # a router of before RFC 1191 names none
            large = told.limit.mtu
        return large, told

    async def _bisected(self, arrives: int, vanishes: int, silent: bool) -> tuple[int, int, bool]:
        """The two sizes next to each other, and whether the larger one vanishes without a word."""
        while vanishes - arrives > 1:
            middle = (arrives + vanishes) // 2
            told = await self.sizes.ask(middle)
            if told.arrived:
                arrives = middle
                continue
            vanishes, silent = middle, told.limit is None
            if told.limit is not None:
                self._limit(told)
                if arrives <= told.limit.mtu < middle:
                    vanishes = told.limit.mtu + 1
        return arrives, vanishes, silent

    def _limit(self, told: Sized) -> None:
        self.kept_out |= told.kept_out
        if told.limit is not None and told.limit not in self.limits:
            self.limits.append(told.limit)

    async def _locate(self, small: int, large: int) -> None:
        """The last hop that a packet of ``large`` bytes reaches."""
        mute = 0
        for ttl in range(1, MAX_HOPS + 1):
            if hop := (await self.sizes.ask(large, ttl, SURE)).reached:
                self.behind = hop
                continue
            control = await self.sizes.ask(small, ttl)
            mute += 1  # a router that does not tell when a TTL ends
            if control.reached or control.arrived or mute > MUTE_HOPS:
                return
