"""A watched Service as it stands, out of what is told of it: slices, probes, findings, and that nothing is known.

Theory. Everything that happens is told with its time, on one thread, and becomes events; what was unavailable is kept
by `availability`. An endpoint is available while the slices say ready and its probes, where there are any, answer. One
that has not been ready yet is starting, one that terminates is leaving: neither is missed. The Service is available
while it has an endpoint that can be used and an entry, where any can be reached from here, that answers. While nothing
is known of changes the endpoints are unknown; entries are still observed.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.finding import Finding
from svcdoctor.model.observed import Met, Sample
from svcdoctor.model.service import Service
from svcdoctor.path.endpoints import ports_meant
from svcdoctor.probe.watch.availability import Availability, Spell, Spells, State
from svcdoctor.probe.watch.endpoints import Readiness, SliceState, lacking, slice_states
from svcdoctor.probe.watch.events import (
    ChangesUnknown,
    EndpointChanged,
    Event,
    FindingChanged,
    FindingSummary,
    ProbeChanged,
    ServiceChanged,
    WatchSummary,
)
from svcdoctor.probe.watch.subjects import EndpointView, EntryName, EntryView, SubjectView
from svcdoctor.probe.watch.target import ProbeTarget, TargetName

GONE_KEPT = 500
"""Endpoints that have left and are still listed; a watch may last for days."""

FINDINGS_KEPT = 500


class ServiceView:
    """``endpoints`` and ``entries`` by their names, in the order in which they came."""

    def __init__(self, namespace: str, name: str, port: str, at: float) -> None:
        self.namespace, self.name, self.port = namespace, name, port
        self.started = at
        self.endpoints: dict[str, EndpointView] = {}
        self.entries: dict[str, EntryView] = {}
        self.targets: dict[TargetName, ProbeTarget] = {}
        self.findings: dict[tuple[str, tuple[str, ...]], tuple[Finding, Availability]] = {}
        self.service: Service | None = None
        self.availability = Availability()
        self.fewest: tuple[int, float] | None = None
        self.silent_since: float | None = None
        self.silent_why = ""
        self.forgotten = 0
        self._forgotten_count = 0
        self._silent = Spells()
        self._lacking = ""
        self._seen = False
        self._reached: set[tuple[str, int]] = set()

    @property
    def ready(self) -> int:
        return sum(e.readiness is Readiness.READY for e in self.endpoints.values())

    @property
    def present(self) -> tuple[EndpointView, ...]:
        """The endpoints that the slices name."""
        return tuple(e for e in self.endpoints.values() if e.readiness is not Readiness.GONE)

    # --- what is told

    def changed(self, at: float, service: Service | None, slices: Sequence[EndpointSlice]) -> list[Event]:
        """The Service (None where there is none) and its slices are these."""
        self.service = service
        ports = ports_meant(service, self.port) if service is not None else ()
        states = slice_states(slices, ports) if service is not None else {}
        if service is None:
            self._lacking = "there is no such Service any more"
        elif service.ports and not ports:
            self._lacking = f"the Service has no port {self.port} any more"
        else:
            self._lacking = lacking(service, slices, ports)
        events: list[Event] = []
        for name, state in states.items():
            events += self._endpoint(at, name, state)
        for view in self.endpoints.values():
            if view.name not in states and view.readiness is not Readiness.GONE:
                events += self._becomes(at, view, Readiness.GONE)
                view.left = at
        self._forget()
        self._seen = True
        for view in self.endpoints.values():
            self._note_endpoint(at, view)
        self._count(at)
        return events + self._note_service(at)

    def silent(self, at: float, since: float, why: str) -> list[Event]:
        """Since then changes are not known."""
        if self.silent_since is not None:
            return []
        last = self._silent.kept[-1].end if self._silent.kept else None
        self.silent_since = since = max(min(since, at), last or self.started)
        self.silent_why = why
        for view in self.endpoints.values():
            self._note_endpoint(since, view)
        return [ChangesUnknown(at, since, why), *self._note_service(since)]

    def heard(self, at: float) -> list[Event]:
        """Changes are known again, and all that there were have been told."""
        if self.silent_since is None:
            return []
        since, self.silent_since = self.silent_since, None
        self._silent.add(since, at, self.silent_why)
        for view in self.endpoints.values():
            self._note_endpoint(at, view)
        self._count(at)
        return [ChangesUnknown(at, since, None), *self._note_service(at)]

    def probed(self, at: float, name: TargetName, sample: Sample) -> list[Event]:
        """A probe that was sent ``at`` met this."""
        target = self.targets.get(name)
        if target is None:  # it has left meanwhile
            return []
        was = target.met
        events: list[Event] = []
        if target.note(at, sample):
            events.append(ProbeChanged(at, name, was, sample.met, sample.detail, sample.seconds))
        if sample.met is Met.ANSWERED and name.reach not in self._reached:
            self._reached.add(name.reach)
            for other in (*self.endpoints.values(), *self.entries.values()):
                self._note(at, other)
        elif (view := self._subject(name)) is None or not self._note(at, view):
            return events
        return events + self._note_service(at)

    def entries_are(self, at: float, entries: Iterable[EntryName]) -> None:
        """The entries to observe are these."""
        wanted = {entry.target.subject: entry for entry in entries}
        came = at if self.entries else None
        for subject, entry in wanted.items():
            view = self.entries.get(subject)
            if view is None:
                view = self.entries[subject] = EntryView(entry, at, came)
            view.left, view.expected = None, entry.expected
            self.targets.setdefault(entry.target, ProbeTarget(entry.target))
        for view in self.entries.values():
            if view.name not in wanted and view.left is None:
                view.left = at
                view.availability.note(at, State.AWAY)

    def found(self, at: float, findings: Sequence[Finding]) -> list[Event]:
        """The findings are these, by what was known ``at`` this time."""
        events: list[Event] = []
        now = {(f.code, f.subjects): f for f in findings}
        for key, finding in now.items():
            seen = self.findings[key][1] if key in self.findings else Availability()
            self.findings.pop(key, None)  # the newest stand last
            self.findings[key] = finding, seen
            if seen.note(at, State.UNAVAILABLE):
                events.append(FindingChanged(at, finding, True))
        for key, (finding, seen) in self.findings.items():
            if key not in now and seen.note(at, State.AVAILABLE):
                events.append(FindingChanged(at, finding, False))
        while len(self.findings) > max(FINDINGS_KEPT, len(now)):
            del self.findings[next(iter(self.findings))]
        return events

    def tick(self) -> None:
        """Time passes: the histories grow."""
        for view in self.present:
            view.history.append(view.readiness if self.silent_since is None else None)

    # --- what follows

    def _endpoint(self, at: float, name: str, state: SliceState) -> list[Event]:
        view = self.endpoints.get(name)
        if view is None:
            view = self.endpoints[name] = EndpointView(name, at, at if self._seen else None)
        if not set(state.ips) < set(view.ips):  # it leaves one family's slice after the other's
            view.ips = state.ips
        view.where = state.node or view.where
        targets = tuple(TargetName(name, "endpoint", ip, port) for ip, port in state.targets)
        for old in set(view.targets) - set(targets):
            del self.targets[old]
        for target in targets:
            self.targets.setdefault(target, ProbeTarget(target))
        view.targets = targets
        return self._becomes(at, view, self._readiness(view, state))

    def _readiness(self, view: EndpointView, state: SliceState) -> Readiness:
        if state.terminating:
            return Readiness.TERMINATING
        if state.ready:
            return Readiness.READY
        was_ready = view.readiness in (Readiness.READY, Readiness.NOT_READY)
        return Readiness.NOT_READY if was_ready or not self._seen else Readiness.STARTING

    def _becomes(self, at: float, view: EndpointView, now: Readiness) -> list[Event]:
        new = view.availability.state is None
        if view.readiness is now and not new:
            return []
        was = None if new else view.readiness
        view.readiness, view.since, view.left = now, at, None
        if now is Readiness.GONE:
            view.past = tuple(self.targets.pop(target) for target in view.targets)
            view.targets = ()
        return [EndpointChanged(at, view.name, view.ips, view.where, was, now)]

    def _subject(self, name: TargetName) -> SubjectView | None:
        found = self.endpoints if name.way == "endpoint" else self.entries
        return found.get(name.subject)

    def _note(self, at: float, view: SubjectView) -> bool:
        if isinstance(view, EndpointView):
            return self._note_endpoint(at, view)
        return isinstance(view, EntryView) and self._note_entry(at, view)

    def _note_endpoint(self, at: float, view: EndpointView) -> bool:
        note = view.availability.note
        if view.readiness in (Readiness.GONE, Readiness.TERMINATING, Readiness.STARTING):
            return note(at, State.AWAY, str(view.readiness))
        if self.silent_since is not None:
            return note(at, State.UNKNOWN, self.silent_why)
        if view.readiness is Readiness.NOT_READY:
            return note(at, State.UNAVAILABLE, "not ready")
        failing = self._failing(view)
        if failing is not None:
            return note(at, State.UNAVAILABLE, f"{failing.name.address} {failing.met}")
        return note(at, State.AVAILABLE)

    def _note_entry(self, at: float, view: EntryView) -> bool:
        target = self.targets[view.targets[0]]
        if target.met is Met.ANSWERED:
            return view.availability.note(at, State.AVAILABLE)
        if target.failing(target.name.reach in self._reached and view.expected):
            return view.availability.note(at, State.UNAVAILABLE, str(target.met))
        return view.availability.note(at, State.UNKNOWN if target.answered else State.AWAY)

    def _failing(self, view: EndpointView) -> ProbeTarget | None:
        """A target that does not answer since the endpoint is ready: what it did before does not count."""
        held = (self.targets[name] for name in view.targets)
        return next(
            (t for t in held if t.at >= view.since and t.failing(t.name.reach in self._reached)), None
        )

    def _note_service(self, at: float) -> list[Event]:
        was = self.availability.state
        state, why = self._service_state()
        if not self.availability.note(at, state, why):
            return []
        return [ServiceChanged(at, was, state, why, self.ready, len(self.present))]

    def _service_state(self) -> tuple[State, str]:
        entries = [e.availability.state for e in self.entries.values()]
        answering = State.AVAILABLE in entries
        refusing = not answering and State.UNAVAILABLE in entries
        if self.silent_since is not None and not refusing:
            return (State.AVAILABLE, "") if answering else (State.UNKNOWN, self.silent_why)
        if self._lacking and self.silent_since is None:
            return State.UNAVAILABLE, self._lacking
        if refusing:
            return State.UNAVAILABLE, "no entry answers"
        ready = [e for e in self.endpoints.values() if e.readiness is Readiness.READY]
        if ready and not answering and all(e.availability.state is State.UNAVAILABLE for e in ready):
            return State.UNAVAILABLE, "no endpoint answers"
        return State.AVAILABLE, ""

    def _count(self, at: float) -> None:
        if self.silent_since is None and (self.fewest is None or self.ready < self.fewest[0]):
            self.fewest = self.ready, at

    def _forget(self) -> None:
        """Drop the endpoints that left longest ago where they are too many."""
        gone = [e for e in self.endpoints.values() if e.readiness is Readiness.GONE]
        for view in sorted(gone, key=lambda e: e.left or 0)[: max(0, len(gone) - GONE_KEPT)]:
            self.forgotten += 1
            self._forgotten_count += view.availability.counted(0.0)[0]
            del self.endpoints[view.name]

    # --- the end

    def summary(self, at: float) -> WatchSummary:
        """What there was until ``at``."""
        count, total = self.availability.counted(at)
        silent = tuple(self._silent.kept)
        if self.silent_since is not None:
            silent += (Spell(self.silent_since, None, self.silent_why),)
        return WatchSummary(
            self.started,
            at,
            self.namespace,
            self.name,
            self.port,
            self.availability.state or State.UNKNOWN,
            self.availability.when_unavailable(),
            count,
            total,
            self.availability.when_unknown(),
            self.fewest,
            tuple(e.summary(str(e.readiness), self.targets, at) for e in self.endpoints.values()),
            self.forgotten,
            self._forgotten_count,
            tuple(
                e.summary(str(e.availability.state or State.AWAY), self.targets, at)
                for e in self.entries.values()
            ),
            tuple(FindingSummary(f, seen.when_unavailable()) for f, seen in self.findings.values()),
            silent,
        )
