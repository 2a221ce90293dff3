"""What has become of the clients of one local port, counted from the events that tell it.

Bytes of connections that are over come with their events; those of connections that live are asked for when the
counts are. Both are kept by pod, for so many pods that rollouts of weeks do not fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarding import Began, Ended, Event, Missed
from svcdoctor.proxy.reach import GONE

MOST_PODS = 256
"""Pods whose bytes are kept apart; of more, those that were not connected to for longest are left out."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes from clients, and to them."""

    up: int = 0
    down: int = 0

    def plus(self, up: int, down: int) -> Traffic:
        return Traffic(self.up + up, self.down + down)


@dataclass(frozen=True, slots=True)
class Counts:
    """``failed`` are connections that no pod took, or that broke off; ``retried`` attempts that another pod made
    good, or tried to. ``error`` is the last one, and ``since`` how many seconds ago it was."""

    accepted: int
    live: int
    failed: int
    retried: int
    total: Traffic
    pods: Mapping[str, Traffic]
    error: str
    since: float


class Tally:
    """Counts events, and passes them on to ``tell``. ``clock`` gives seconds."""

    def __init__(self, clock: Callable[[], float], tell: Callable[[Event], None]) -> None:
        self._clock = clock
        self._tell = tell
        self._accepted = self._over = self._failed = self._retried = 0
        self._total = Traffic()
        self._pods: dict[str, Traffic] = {}  # who was connected to last comes last
        self._error = ""
        self._at = 0.0

    def __call__(self, event: Event) -> None:
        match event:
            case Began():
                self._accepted += 1
            case Missed(_, _, endpoint, why):
                self._retried += 1
                self._went_wrong(endpoint, why)
            case Ended(_, _, endpoint, up, down, why):
                self._over += 1
                if endpoint is not None:
                    self._total = self._total.plus(up, down)
                    name = _name(endpoint)
                    self._pods[name] = self._pods.pop(name, Traffic()).plus(up, down)
                    if len(self._pods) > MOST_PODS:
                        del self._pods[next(iter(self._pods))]
                if why and why != GONE:
                    self._failed += 1
                    self._went_wrong(endpoint, why)
        self._tell(event)

    @property
    def live(self) -> int:
        return self._accepted - self._over

    def counts(self, moving: Iterable[tuple[Endpoint, int, int]]) -> Counts:
        """The counts now, with the connections that live: of each its endpoint, and the bytes from and to its
        client."""
        live: dict[str, list[int]] = {}
        for endpoint, up, down in moving:
            sums = live.setdefault(_name(endpoint), [0, 0])
            sums[0] += up
            sums[1] += down
        pods, total = dict(self._pods), self._total
        for pod, (up, down) in live.items():
            total = total.plus(up, down)
            pods[pod] = pods.get(pod, Traffic()).plus(up, down)
        since = self._clock() - self._at
        return Counts(self._accepted, self.live, self._failed, self._retried, total, pods, self._error, since)

    def _went_wrong(self, endpoint: Endpoint | None, why: str) -> None:
        where = f"{_name(endpoint)}: " if endpoint is not None else ""
        self._error, self._at = f"{where}{why}", self._clock()


def _name(endpoint: Endpoint) -> str:
    """The pod's, or where none is known its address."""
    return endpoint.pod or endpoint.ip
