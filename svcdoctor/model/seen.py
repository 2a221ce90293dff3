"""What was observed, beside what was predicted: of a path, of each of its hops, and of each endpoint.

The field names are those of the JSON contract. Times are seconds.
"""

from __future__ import annotations

from svcdoctor.model.observed import Latency, Met, Place, ProbeKind
from svcdoctor.model.trace import Status, Value


class PathSeen(Value, frozen=True):
    """What requests by this path met. ``sent`` leaves out those that could not be tried; ``arrived`` are those that
    a process answered in any way, ``answered`` those that it answered as was asked.

    ``agrees`` tells whether the prediction holds, ``None`` where it foresaw nothing certain; ``differs`` says how it
    does not. ``large`` is the same with a large payload, of ``payload_size`` bytes.
    """

    place: Place
    kind: ProbeKind
    sent: int
    arrived: int
    answered: int
    met: tuple[tuple[Met, int], ...]
    who: tuple[tuple[str, int], ...] = ()
    latency: Latency | None = None
    detail: str = ""
    agrees: bool | None = None
    differs: str = ""
    payload_size: int = 0
    large: PathSeen | None = None


class HopSeen(Value, frozen=True):
    """What was observed of a hop, and what had been predicted of it."""

    predicted: Status
    status: Status
    detail: str = ""


class EndSeen(Value, frozen=True):
    """What was observed of an endpoint: how many answers of the path's it gave (``None`` where answers name
    nobody), of how many that name somebody; what its own address met, and what a tunnel into its pod met."""

    answers: int | None = None
    named: int = 0
    direct: Met | None = None
    tunnel: Met | None = None

    @property
    def share(self) -> float | None:
        """The endpoint's part of the answers that name somebody."""
        return self.answers / self.named if self.answers is not None and self.named else None
