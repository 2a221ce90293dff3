"""Probing the same targets again and again, on a thread of its own.

Theory. Every interval each target is tried once, unless its last try still goes on: a target that is silent delays no
other one. So many targets that there would be more than `RATE` tries a second are tried less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, Met, Sample
from svcdoctor.probe.origin import Order, Origin
from svcdoctor.probe.watch.target import TargetName

RATE = 100.0
"""Tries a second, at most."""

PATIENCE = 2.0
"""Seconds for a connection: one lost SYN is sent again after one."""

Tell = Callable[[float, TargetName, Sample], None]


def pace(interval: float, targets: int) -> float:
    """Seconds between two tries of a target."""
    return max(interval, targets / RATE)


class ProbeRounds:
    """Between `start` and `close` calls ``tell`` on its thread with when a try began, its target and what it met.

    ``targets`` may be replaced at any time.
    """

    def __init__(
        self, origin: Origin, interval: float, tell: Tell, clock: Callable[[], float] = time.time
    ) -> None:
        self.targets: Sequence[TargetName] = ()
        self._origin = origin
        self._interval = interval
        self._tell = tell
        self._clock = clock
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._trying: set[TargetName] = set()
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End; connections that are being made are given up."""
        with contextlib.suppress(RuntimeError):  # it has ended already
            self._loop.call_soon_threadsafe(self._ended.set)
        if self._thread.is_alive():
            self._thread.join(1.0)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._rounds())
        finally:
            self._loop.close()

    async def _rounds(self) -> None:
        running: set[asyncio.Task[None]] = set()
        next_at = self._loop.time()
        while not self._ended.is_set():
            targets = [t for t in self.targets if t not in self._trying]
            if targets:
                task = self._loop.create_task(self._round(targets))
                running.add(task)
                task.add_done_callback(running.discard)
            next_at = max(self._loop.time(), next_at + pace(self._interval, len(self.targets)))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_at):
                    await self._ended.wait()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _round(self, targets: Sequence[TargetName]) -> None:
        self._trying.update(targets)

        def tell(position: int, sample: Sample) -> None:
            target = targets[position]
            self._trying.discard(target)
            self._tell(self._clock() - sample.seconds, target, sample)

        aims = [Aim(t.ip, t.port, pod=t.subject if t.way == "endpoint" else "") for t in targets]
        try:
            await self._origin.observe(aims, Order(1, PATIENCE), tell)
        except SvcdoctorError as e:
            for target in targets:
                if target in self._trying:
                    self._tell(self._clock(), target, Sample(Met.ERROR, 0.0, detail=e.message))
        finally:
            self._trying.difference_update(targets)
