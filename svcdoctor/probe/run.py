"""Probing: aims from places, with counts, bounds and progress; what came of it as Observations."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, Met, Observation, Place, Sample
from svcdoctor.probe.origin import Order, Origin
from svcdoctor.probe.tally import Tally

Progress = Callable[[int, int], None]
"""Hears how many tries are done, of how many."""

Plan = Sequence[tuple[Origin, Sequence[Aim]]]

MOST = 100_000
"""Tries of one call."""


def probe(
    aims: Sequence[Aim],
    origin: Origin,
    *,
    count: int = 1,
    seconds: float = 5.0,
    concurrency: int = 256,
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Observation, ...]:
    """One Observation for each aim, in their order.

    Each aim is tried ``count`` times, each try for at most ``seconds``, ``concurrency`` of them at once. ``names``
    are those of the pods that may answer. Raises SvcdoctorError where nothing can be tried from there at all.
    """
    order = Order(count, seconds, concurrency, tuple(names))
    return asyncio.run(_observed(origin, aims, order, _Counting([(origin, aims)], order, progress)))


def probe_all(
    plan: Plan,
    *,
    count: int = 1,
    seconds: float = 5.0,
    concurrency: int = 256,
    names: Sequence[str] = (),
    progress: Progress | None = None,
) -> tuple[Observation, ...]:
    """`probe` from several places at once, ``concurrency`` tries from each. The Observations of a place that nothing
    can be tried from say why."""
    return asyncio.run(probing(plan, Order(count, seconds, concurrency, tuple(names)), progress))


async def probing(plan: Plan, order: Order, progress: Progress | None = None) -> tuple[Observation, ...]:
    """`probe_all` for callers that have a loop."""
    counting = _Counting(plan, order, progress)

    async def observed(origin: Origin, aims: Sequence[Aim]) -> tuple[Observation, ...]:
        try:
            return await _observed(origin, aims, order, counting)
        except SvcdoctorError as e:
            return tuple(_untried(aim, origin.place, order.count, e.message) for aim in aims)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(observed(origin, aims)) for origin, aims in plan]
    return tuple(one for task in running for one in task.result())


class _Counting:
    """The progress of all places together. Raises SvcdoctorError for aims that cannot be meant."""

    def __init__(self, plan: Plan, order: Order, progress: Progress | None) -> None:
        self._done = 0
        self._all = sum(len(aims) for _, aims in plan) * order.count
        self._progress = progress
        if min(order.count, order.concurrency) < 1 or not 0 < order.seconds <= 3600:
            raise SvcdoctorError("a probe takes a count and a concurrency from 1 on, and up to 3600 seconds")
        if self._all > MOST:
            raise SvcdoctorError(
                f"{self._all:,} tries are more than the {MOST:,} that one run makes: lower the count"
            )
        for aim in {aim for _, aims in plan for aim in aims}:
            _check(aim)

    def one_more(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._all)


def _check(aim: Aim) -> None:
    try:
        ipaddress.ip_address(aim.ip)
    except ValueError:
        raise SvcdoctorError(f"{aim.ip!r} is no IP address; a probe does not resolve names") from None
    if not 0 < aim.port < 65536:
        raise SvcdoctorError(f"{aim.port} is no port: ports are 1 to 65535")
    if any(not " " < c < "\x7f" for c in aim.host + aim.path):
        raise SvcdoctorError(
            f"{aim.host or aim.path!r} cannot be sent: names and paths are ASCII without spaces"
        )


async def _observed(
    origin: Origin, aims: Sequence[Aim], order: Order, counting: _Counting
) -> tuple[Observation, ...]:
    tallies = [Tally() for _ in aims]

    def tell(position: int, sample: Sample) -> None:
        tallies[position].add(sample)
        counting.one_more()

    await origin.observe(aims, order, tell)
    return tuple(tally.observation(aim, origin.place) for tally, aim in zip(tallies, aims, strict=True))


def _untried(aim: Aim, place: Place, count: int, why: str) -> Observation:
    return Observation(aim, place, count, {Met.ERROR: count}, detail=why)
