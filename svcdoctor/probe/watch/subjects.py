"""What is watched of a Service, each with its availability: endpoints, and entries that may be probed.

Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from svcdoctor.probe.watch.availability import Availability
from svcdoctor.probe.watch.endpoints import Readiness
from svcdoctor.probe.watch.events import ProbeSummary, SubjectSummary
from svcdoctor.probe.watch.target import HISTORY, ProbeTarget, TargetName


@dataclass(frozen=True, slots=True)
class EntryName:
    """An entry that may be probed. ``expected`` is false where the trace says that nothing is delivered by it."""

    target: TargetName
    node: str
    expected: bool


class SubjectView:
    """An endpoint or entry. ``since`` is when it became what it is, ``past`` what is no longer probed."""

    def __init__(self, name: str, at: float, came: float | None) -> None:
        self.name = name
        self.where = ""
        self.came = came
        self.left: float | None = None
        self.since = at
        self.availability = Availability()
        self.targets: tuple[TargetName, ...] = ()
        self.past: tuple[ProbeTarget, ...] = ()

    def summary(self, state: str, targets: Mapping[TargetName, ProbeTarget], at: float) -> SubjectSummary:
        """What became of it until ``at``."""
        count, total = self.availability.counted(at)
        held = [targets[name] for name in self.targets] or self.past
        return SubjectSummary(
            self.name,
            self.where,
            state,
            self.came,
            self.left,
            self.availability.when_unavailable(),
            self.availability.when_unknown(),
            count,
            total,
            tuple(ProbeSummary(t.name, t.sent, t.failed, t.answered, t.latency) for t in held if t.sent),
        )


class EndpointView(SubjectView):
    """``history`` has what the slices said at each tick, None where that was not known."""

    def __init__(self, name: str, at: float, came: float | None) -> None:
        super().__init__(name, at, came)
        self.ips: tuple[str, ...] = ()
        self.readiness = Readiness.GONE
        self.history: deque[Readiness | None] = deque(maxlen=HISTORY)


class EntryView(SubjectView):
    def __init__(self, entry: EntryName, at: float, came: float | None) -> None:
        super().__init__(entry.target.subject, at, came)
        self.where = entry.node
        self.expected = entry.expected
        self.targets = (entry.target,)
