"""Endpoints that refused or did not answer lately: they are passed by, and tried again after pauses that grow.

Theory. A failure is learned from clients' own connections; nothing is sent to find out. When an endpoint's pause is
over, one client's connection is the trial: others pass by until it succeeds, or has failed and the pause has doubled.
Failures of connections that were begun before the pause count once. Where nothing else is left, pauses count nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from svcdoctor.proxy.endpoint import Endpoint

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
TRIAL = 2.0
"""Seconds that a trial may take before another client may try, too."""

_FORGET = 300.0


@dataclass(slots=True)
class _Failing:
    pause: float
    until: float
    trial: bool = False


class Backoff:
    """``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failing: dict[Endpoint, _Failing] = {}
        self._avoided: Collection[Endpoint] = ()
        self._changes = 0.0  # when one of the pauses is over

    def __bool__(self) -> bool:
        """Whether any endpoint has failed."""
        return bool(self._failing)

    def avoided(self) -> Collection[Endpoint]:
        """Those to pass by now."""
        now = self._clock()
        if now >= self._changes:
            old = [e for e, failing in self._failing.items() if failing.until + _FORGET < now]
            for endpoint in old:
                del self._failing[endpoint]
            pausing = {e: failing.until for e, failing in self._failing.items() if failing.until > now}
            self._avoided = frozenset(pausing)
            self._changes = min(pausing.values(), default=now + _FORGET)
        return self._avoided

    def trying(self, endpoint: Endpoint) -> None:
        """A connection is begun to it."""
        failing = self._failing.get(endpoint)
        if failing is not None and failing.until <= self._clock():
            failing.trial = True
            failing.until = self._clock() + TRIAL
            self._changes = 0.0

    def failed(self, endpoint: Endpoint) -> None:
        """It refused a connection, or did not answer."""
        now = self._clock()
        failing = self._failing.get(endpoint)
        if failing is None:
            self._failing[endpoint] = _Failing(FIRST_PAUSE, now + FIRST_PAUSE)
        elif failing.trial or failing.until <= now:
            failing.pause = min(failing.pause * 2, LONGEST_PAUSE)
            failing.until = now + failing.pause
            failing.trial = False
        self._changes = 0.0

    def worked(self, endpoint: Endpoint) -> None:
        """It took a connection."""
        if self._failing.pop(endpoint, None) is not None:
            self._changes = 0.0
