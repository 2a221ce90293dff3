"""What happens to a watched Service, one value for each kind of event, and the summary at the end.

Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from svcdoctor.model.finding import Finding
from svcdoctor.model.observed import Latency, Met
from svcdoctor.probe.watch.availability import Spell, State
from svcdoctor.probe.watch.endpoints import Readiness
from svcdoctor.probe.watch.target import TargetName


@dataclass(frozen=True, slots=True)
class WatchBegan:
    """``interval`` is the seconds between two probes of a target, None where nothing is sent."""

    at: float
    namespace: str
    service: str
    port: str
    interval: float | None


@dataclass(frozen=True, slots=True)
class EndpointChanged:
    """``was`` is None for an endpoint that had not been seen before. ``name`` is ``namespace/pod`` or an address."""

    at: float
    name: str
    ips: tuple[str, ...]
    node: str
    was: Readiness | None
    now: Readiness


@dataclass(frozen=True, slots=True)
class ServiceChanged:
    """``was`` is None at the beginning."""

    at: float
    was: State | None
    now: State
    why: str
    ready: int
    endpoints: int


@dataclass(frozen=True, slots=True)
class ProbeChanged:
    """A target meets something else than before; ``seconds`` is what an answer took."""

    at: float
    target: TargetName
    was: Met | None
    now: Met
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class FindingChanged:
    at: float
    finding: Finding
    there: bool


@dataclass(frozen=True, slots=True)
class ChangesUnknown:
    """Since ``since`` nothing is known of changes; with ``why`` None that is over."""

    at: float
    since: float
    why: str | None


@dataclass(frozen=True, slots=True)
class WatchTroubled:
    """What keeps a part of the picture away, and what to do."""

    at: float
    why: str


Event: TypeAlias = (
    WatchBegan
    | EndpointChanged
    | ServiceChanged
    | ProbeChanged
    | FindingChanged
    | ChangesUnknown
    | WatchTroubled
)


@dataclass(frozen=True, slots=True)
class ProbeSummary:
    target: TargetName
    sent: int
    failed: int
    answered: bool
    latency: Latency | None


@dataclass(frozen=True, slots=True)
class SubjectSummary:
    """An endpoint or entry. ``count`` and ``total`` (seconds) are of all unavailability, ``unavailable`` its newest
    spells. ``came`` and ``left`` are None where it was there from the beginning, and until the end."""

    name: str
    where: str
    state: str
    came: float | None
    left: float | None
    unavailable: tuple[Spell, ...]
    unknown: tuple[Spell, ...]
    count: int
    total: float
    probes: tuple[ProbeSummary, ...]


@dataclass(frozen=True, slots=True)
class FindingSummary:
    """``spells`` are when it was there."""

    finding: Finding
    spells: tuple[Spell, ...]


@dataclass(frozen=True, slots=True)
class WatchSummary:
    """``fewest`` is the smallest number of ready endpoints, and when that was first. ``forgotten`` counts endpoints
    that left and are not listed, ``forgotten_count`` their unavailability; ``silent`` is when changes were not known.
    """

    start: float
    end: float
    namespace: str
    service: str
    port: str
    state: State
    unavailable: tuple[Spell, ...]
    count: int
    total: float
    unknown: tuple[Spell, ...]
    fewest: tuple[int, float] | None
    endpoints: tuple[SubjectSummary, ...]
    forgotten: int
    forgotten_count: int
    entries: tuple[SubjectSummary, ...]
    findings: tuple[FindingSummary, ...]
    silent: tuple[Spell, ...]

    @property
    def exit_code(self) -> int:
        """1 where something was unavailable, else 3 where something was not known, else 0."""
        subjects = (*self.endpoints, *self.entries)
        if self.count or self.forgotten_count or any(s.count for s in subjects):
            return 1
        return 3 if self.silent or self.unknown or self.fewest is None else 0
