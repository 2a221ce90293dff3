"""SYN probes: what one flow's SYN meets, hop by hop, and which backend flows take.

`syn_ways` is for aims that a connection does not reach: it tells a firewall's refusal from the application's, and the
last hop that was heard of where nothing answers. `syn_flows` sends SYNs from many source ports, each more than once:
where svcdoctor runs on the node that chooses the backend, each answer names it. Nothing reaches an application: no
handshake is ended. Where raw sockets may not be opened, connect() stands in.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from svcdoctor.model.observed import Aim
from svcdoctor.model.packetpath import Said, SynAnswer, SynWay
from svcdoctor.probe.packets.inside import inside
from svcdoctor.probe.packets.rawsockets import LEAST_PATIENCE, Flow, NoRawSockets, RawSockets, raw_sockets
from svcdoctor.probe.packets.synconnect import connected
from svcdoctor.proxy.descriptors import family_of

MAX_HOPS = 30
AT_ONCE = 32  # flows
SILENT_HOPS = 3  # after more that say nothing the way is given up, where its end answers
WAVE = 6  # TTLs at once where its end does not
TRIES = 2


def syn_ways(
    aims: Sequence[Aim], *, seconds: float = 1.0, sports: Sequence[int] = (), namespace: Path | None = None
) -> tuple[SynWay, ...]:
    """The way of one flow to each aim, in their order.

    ``seconds`` is the wait for one answer; a silent aim takes three times as long, and 32 aims together hardly
    longer than one. ``sports`` are the source ports, a free one where it is 0 or missing. ``namespace`` is a network
    namespace to start from, as `inside` takes it.
    """
    ports = [*sports, *[0] * (len(aims) - len(sports))]
    return inside(namespace, lambda: asyncio.run(ways_of(list(zip(aims, ports, strict=True)), seconds)))


def syn_flows(
    aim: Aim, *, flows: int = 16, repeat: int = 2, seconds: float = 1.0, namespace: Path | None = None
) -> tuple[tuple[SynAnswer, ...], ...]:
    """What ``repeat`` SYNs of each of ``flows`` source ports met.

    On a node ``by`` tells the backend of each: the same for all ports is affinity to the client's address, the same
    for a port's repeats is a choice by the flow's hash, and a change among them a choice for each connection.
    """
    return inside(namespace, lambda: asyncio.run(flows_of(aim, flows, repeat, seconds)))


async def ways_of(aims: Sequence[tuple[Aim, int]], seconds: float) -> tuple[SynWay, ...]:
    """`syn_ways` for callers that have a loop, of aims with source ports."""
    gate = asyncio.Semaphore(AT_ONCE)
    with contextlib.ExitStack() as opened:
        sockets = {f: raw_sockets(opened, f) for f in {family_of(aim.ip) for aim, _ in aims}}

        async def one(aim: Aim, sport: int) -> SynWay:
            async with gate:
                return await _way(sockets[family_of(aim.ip)], aim, sport, seconds)

        return tuple(await asyncio.gather(*(one(aim, sport) for aim, sport in aims)))


async def flows_of(aim: Aim, flows: int, repeat: int, seconds: float) -> tuple[tuple[SynAnswer, ...], ...]:
    """`syn_flows` for callers that have a loop."""
    gate = asyncio.Semaphore(AT_ONCE)
    with contextlib.ExitStack() as opened:
        sockets = raw_sockets(opened, family_of(aim.ip))

        async def one() -> tuple[SynAnswer, ...]:
            async with gate:
                return await _repeated(sockets, aim, repeat, seconds)

        return tuple(await asyncio.gather(*(one() for _ in range(flows))))


async def _repeated(
    sockets: RawSockets | NoRawSockets, aim: Aim, repeat: int, seconds: float
) -> tuple[SynAnswer, ...]:
    if isinstance(sockets, NoRawSockets):
        answers = [await connected(aim, 0, seconds)]
        while len(answers) < repeat:
            answers.append(await connected(aim, answers[0].sport, seconds))
        return tuple(answers)
    try:
        flow = sockets.flow(aim.ip, aim.port)
    except OSError as e:
        return (_no_flow(0, e),)
    with contextlib.closing(flow):
        return tuple([(await sockets.ask(flow, seconds)).syn for _ in range(repeat)])


def _no_flow(sport: int, error: OSError) -> SynAnswer:
    return SynAnswer(Said.NOT_SENT, sport, detail=error.strerror or str(error))


async def _way(sockets: RawSockets | NoRawSockets, aim: Aim, sport: int, seconds: float) -> SynWay:
    if isinstance(sockets, NoRawSockets):
        return SynWay(
            aim,
            await connected(aim, sport, seconds),
            raw=False,
            note=f"{sockets}: connect() was used instead",
        )
    try:
        flow = sockets.flow(aim.ip, aim.port, sport)
    except OSError as e:
        return SynWay(aim, _no_flow(sport, e))
    with contextlib.closing(flow):
        end = (await sockets.ask(flow, seconds)).syn
        if end.said is Said.SILENCE:  # or lost; the wave's last SYNs try again
            hops = await _silent_way(sockets, flow, seconds)
            if not (met := _met(hops)):
                return SynWay(aim, end, hops)
            end = structs.replace(met[-1], ttl=0)
        if end.said is Said.NOT_SENT:
            return SynWay(aim, end)
        patience = min(seconds, max(LEAST_PATIENCE, 4 * (end.seconds or seconds)))
        return SynWay(aim, end, await _answered_way(sockets, flow, end, patience))


async def _answered_way(
    sockets: RawSockets, flow: Flow, end: SynAnswer, seconds: float
) -> tuple[SynAnswer, ...]:
    """Hop after hop until one meets what the end met: two SYNs that arrive could not be told apart."""
    hops: list[SynAnswer] = []
    for ttl in range(1, MAX_HOPS + 1):
        answer = await _tried(sockets, flow, ttl, seconds)
        hops.append(answer)
        if (answer.said, answer.by) == (end.said, end.by) or answer.said is Said.SYN_ACK:
            break
        if not any(hop.heard for hop in hops[-SILENT_HOPS - 1 :]) and len(hops) > SILENT_HOPS:
            break
    return _without_silence(hops)


async def _silent_way(sockets: RawSockets, flow: Flow, seconds: float) -> tuple[SynAnswer, ...]:
    """Hops in waves: where only routers answer they name the SYN that it is about."""
    hops: list[SynAnswer] = []
    for first in range(1, MAX_HOPS + 1, WAVE):
        ttls = range(first, first + WAVE)
        wave = await asyncio.gather(*(_tried(sockets, flow, ttl, seconds) for ttl in ttls))
        hops += wave
        if not any(hop.heard for hop in wave[-SILENT_HOPS:]) or _met(hops):
            break
    return _without_silence(hops)


def _met(hops: Sequence[SynAnswer]) -> list[SynAnswer]:
    """What is no router that passed the SYN on."""
    return [hop for hop in hops if hop.heard and hop.said is not Said.TIME_EXCEEDED]


async def _tried(sockets: RawSockets, flow: Flow, ttl: int, seconds: float) -> SynAnswer:
    """One TTL's answer; a SYN may be lost."""
    answer = SynAnswer(Said.SILENCE, flow.sport, ttl)
    for _ in range(TRIES):
        answer = (await sockets.ask(flow, seconds, ttl)).syn
        if answer.said is not Said.SILENCE:
            break
    return answer


def _without_silence(hops: list[SynAnswer]) -> tuple[SynAnswer, ...]:
    while hops and not hops[-1].heard:
        hops.pop()
    return tuple(hops)
