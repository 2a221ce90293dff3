"""Whether endpoints answer, found out by a TCP connection to each at intervals.

Theory. One that takes no connection three times in a row does not answer; one that takes one does, at once. Checks are
spread over the interval. Where there are more than can be under way, they wait, and a round takes longer.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.dialing import Dialed, Dialing
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop, Timer

FAILURES = 3
"""Checks in vain, one after the other, after which an endpoint does not answer."""

PATIENCE = 2.0
"""Seconds that a connection may take, if the interval is not shorter."""

AT_ONCE = 256
"""Checks that are under way together."""


@dataclass(slots=True)
class _Checked:
    """An endpoint, and when or how far its next check is."""

    failures: int = 0
    timer: Timer | None = None
    dialing: Dialing | None = None


class Checks:
    """Checks every ``seconds``. ``changed`` is called with an endpoint that answers no longer, or again, from the loop;
    ``draw`` gives numbers in [0, 1)."""

    def __init__(
        self,
        loop: Loop,
        seconds: float,
        changed: Callable[[Endpoint], None],
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._loop = loop
        self._seconds = seconds
        self._changed = changed
        self._draw = draw
        self._dialer = DirectDialer(loop, min(seconds, PATIENCE))
        self._checked: dict[Endpoint, _Checked] = {}
        self._waiting: deque[Endpoint] = deque()
        self._under_way = 0

    def begin(self, endpoint: Endpoint) -> None:
        """Check this one from now on; until then it counts as one that answers."""
        if endpoint not in self._checked:
            checked = self._checked[endpoint] = _Checked()
            self._after(endpoint, checked, self._seconds * self._draw())

    def end(self, endpoints: Iterable[Endpoint]) -> None:
        """Check these no longer."""
        for endpoint in endpoints:
            checked = self._checked.pop(endpoint, None)
            if checked is None:
                continue
            if checked.timer is not None:
                checked.timer.cancel()
            if checked.dialing is not None:
                checked.dialing.cancel()
                self._one_less()

    def close(self) -> None:
        """Check none any longer."""
        self._waiting.clear()
        self.end(list(self._checked))

    def answers(self, endpoint: Endpoint) -> bool:
        """Whether it does, as far as is known."""
        checked = self._checked.get(endpoint)
        return checked is None or checked.failures < FAILURES

    @property
    def silent(self) -> int:
        """How many do not answer."""
        return sum(checked.failures >= FAILURES for checked in self._checked.values())

    def _after(self, endpoint: Endpoint, checked: _Checked, seconds: float) -> None:
        checked.timer = self._loop.call_later(seconds, lambda: self._due(endpoint, checked))

    def _due(self, endpoint: Endpoint, checked: _Checked) -> None:
        checked.timer = None
        if self._under_way >= AT_ONCE:
            self._waiting.append(endpoint)
            return
        self._under_way += 1
        checked.dialing = self._dialer.dial(endpoint, lambda result: self._told(endpoint, checked, result))

    def _told(self, endpoint: Endpoint, checked: _Checked, result: Dialed) -> None:
        checked.dialing = None
        before = checked.failures >= FAILURES
        if isinstance(result, int):
            self._loop.close(result)
            checked.failures = 0
        else:
            checked.failures = min(checked.failures + 1, FAILURES)
        self._after(endpoint, checked, self._seconds)
        self._one_less()
        if before != (checked.failures >= FAILURES):
            self._changed(endpoint)

    def _one_less(self) -> None:
        self._under_way -= 1
        while self._waiting and self._under_way < AT_ONCE:
            endpoint = self._waiting.popleft()
            checked = self._checked.get(endpoint)
            if checked is not None and checked.timer is None and checked.dialing is None:
                self._due(endpoint, checked)
