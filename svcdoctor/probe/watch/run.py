"""Running ``watch``: objects are watched, targets probed, the Service diagnosed again when something changes.

Theory. Three kinds of threads find something out: the watchers, the probes, the diagnosis. They put what they found,
with its time, into one queue; the thread that calls `run` takes it from there into the `ServiceView`, and tells what
follows. Times are the machine's at the beginning and from then on count evenly, whatever happens to its clock.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence

from svcdoctor.checks.diagnose import diagnose
from svcdoctor.model.errors import Forbidden, SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.observed import Sample
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import EntryKind, Trace, Verdict
from svcdoctor.path.endpoints import ports_meant
from svcdoctor.probe.here import Here
from svcdoctor.probe.watch.events import Event, WatchBegan, WatchSummary, WatchTroubled
from svcdoctor.probe.watch.objects import WatchedObjects
from svcdoctor.probe.watch.rounds import ProbeRounds, pace
from svcdoctor.probe.watch.subjects import EntryName
from svcdoctor.probe.watch.target import TargetName
from svcdoctor.probe.watch.view import ServiceView
from svcdoctor.sources.live import LiveSource

TICK_SECONDS = 0.5
"""Between two pictures, and two marks in the histories."""

SETTLE_SECONDS = 0.5
"""From when the server answers again until all that happened meanwhile has been told."""

DIAGNOSE_PAUSE = 0.5
"""Between two diagnoses, at least."""

AGAIN_SECONDS = 30.0
"""After which a diagnosis is made though nothing has changed that is watched."""

ENTRIES = frozenset(
    {EntryKind.CLUSTER_IP, EntryKind.NODE_PORT, EntryKind.LOAD_BALANCER, EntryKind.EXTERNAL_IP}
)


NEEDED = (Kind.SERVICE, Kind.ENDPOINT_SLICE)
"""Without these nothing is known of the endpoints."""


def _counted() -> float:
    """Seconds that count evenly, also while the machine sleeps where its clock can tell."""
    boot = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boot is None else time.clock_gettime(boot)


class WatchRun:
    """One run of the command. ``tell`` gets the events and ``draw`` the view twice a second, both on the thread that
    calls `run`. ``interval`` is the seconds between two probes of a target, None to send nothing; ``seconds`` is when
    it ends by itself."""

    def __init__(
        self,
        live: LiveSource,
        target: ObjectTarget,
        interval: float | None,
        seconds: float | None,
        tell: Callable[[Event], None],
        draw: Callable[[ServiceView, float], None] = lambda view, now: None,
    ) -> None:
        self._offset = time.time() - _counted()
        self._live = live
        self._target = target
        self._interval = interval
        self._seconds = seconds
        self._tell = tell
        self._draw = draw
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._view = ServiceView(target.namespace, target.name, target.port or "", self._now())
        self._objects = WatchedObjects(
            live,
            target.namespace,
            target.name,
            changed=lambda kind, at: self._inbox.put(lambda: self._changed(kind, at)),
            outage=lambda kind, error, known: self._inbox.put(lambda: self._outage(kind, error, known)),
            failed=lambda kind, error, at: self._inbox.put(lambda: self._failed(kind, error, at)),
            polling=lambda kind, error, at: self._inbox.put(lambda: self._polling(kind, error, at)),
            clock=self._now,
        )
        self._probes = ProbeRounds(Here(), interval, self._met, self._now) if interval is not None else None
        self._dirty = threading.Event()
        self._diagnosing = threading.Thread(target=self._diagnose, name="diagnosis", daemon=True)
        self._began = False
        self._over = False
        self._out: set[Kind] = set()
        self._back_at: float | None = None
        self._said: set[str] = set()

    def run(self) -> WatchSummary:
        """Watch until a signal comes, or the time is over. Raises SvcdoctorError where that cannot begin."""
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            numbers.append(signal.SIGHUP)
        before = {number: signal.signal(number, self._interrupted) for number in numbers}
        try:
            self._objects.start()
            self._take()
            return self._view.summary(self._now())
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._over = True
            self._dirty.set()
            if self._probes is not None:
                self._probes.close()
            self._objects.close()

    def end(self) -> None:
        """End the run; from any thread."""
        self._inbox.put(self._stop)

    def _now(self) -> float:
        return _counted() + self._offset

    def _take(self) -> None:
        """Takes what was found until it is over."""
        end = self._now() + self._seconds if self._seconds is not None else float("inf")
        tick = self._now()
        while not self._over:
            now = self._now()
            if now >= end:
                return
            if now >= tick:
                tick = max(tick + TICK_SECONDS, now)
                self._tick(now)
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=max(0.0, min(tick, end) - self._now()))()

    def _tick(self, now: float) -> None:
        if (
            self._back_at is not None
            and now >= self._back_at + SETTLE_SECONDS
            and not self._out.intersection(NEEDED)
        ):
            self._back_at = None
            self._emit(self._view.heard(now))
            self._dirty.set()
        if self._began:
            self._view.tick()
            self._draw(self._view, now)

    def _stop(self) -> None:
        self._over = True

    def _interrupted(self, number: int, frame: object) -> None:
        if not self._began:  # a question to the API server is not waited for
            raise SystemExit(128 + number)
        self._inbox.put(self._stop)

    def _emit(self, events: Sequence[Event]) -> None:
        for event in events:
            self._tell(event)

    # --- what watchers tell

    def _changed(self, kind: Kind, at: float) -> None:
        if not self._began and not self._begin(at):
            return
        self._dirty.set()
        if kind in NEEDED:
            self._emit(self._view.changed(at, self._objects.service, self._objects.slices))
            self._aim()

    def _begin(self, at: float) -> bool:
        """When the Service and its slices are known. Raises SvcdoctorError for what cannot be watched."""
        if self._objects.missing.keys() & set(NEEDED):
            return self._refused()
        if not self._objects.told(Kind.SERVICE):
            return False
        service, named = self._objects.service, self._target
        if service is None:
            raise SvcdoctorError(f"no service/{named.name} in namespace {named.namespace}", 1)
        if service.type == "ExternalName":
            raise SvcdoctorError(
                f"service/{named.name} has no endpoints: it is a DNS name for "
                f"{service.spec.external_name or 'another host'}"
            )
        if service.ports and not ports_meant(service, named.port or ""):
            has = ", ".join(f"{p.port}{f' ({p.name})' if p.name else ''}" for p in service.ports)
            raise SvcdoctorError(f"service/{named.name} has no port {named.port}; it has {has}")
        if not self._objects.told(Kind.ENDPOINT_SLICE):
            return False
        self._began = True
        self._tell(WatchBegan(at, named.namespace, named.name, named.port or "", self._interval))
        self._emit(self._view.changed(at, service, self._objects.slices))
        self._diagnosing.start()
        if self._probes is not None:
            self._probes.start()
        return True

    def _outage(self, kind: Kind, error: SvcdoctorError | None, known_until: float) -> None:
        if not self._began:
            if error is not None and not self._objects.told(kind):
                raise error
            return
        now = self._now()
        if error is None:
            self._out.discard(kind)
            self._back_at = now
            return
        self._out.add(kind)
        if kind in NEEDED:
            self._back_at = None
            self._emit(self._view.silent(now, known_until, error.message))
        elif isinstance(error, Forbidden):  # the others answer
            self._trouble(now, f"{kind} objects are no longer seen: {error.message}")

    def _failed(self, kind: Kind, error: SvcdoctorError, at: float) -> None:
        """Without the Service and its slices nothing is known; pods and nodes can be done without."""
        if kind in NEEDED:
            self._refused()
            return
        self._trouble(at, f"{kind} objects are not seen, and findings may be missing: {error.message}")
        self._dirty.set()

    def _refused(self) -> bool:
        """Raises SvcdoctorError for what is missing, when all of it is known, so that all can be granted at once."""
        missing = self._objects.missing
        errors = [missing[kind] for kind in NEEDED if kind in missing]
        if self._began or self._objects.told(*NEEDED):
            raise SvcdoctorError("; and ".join(e.message for e in errors), errors[0].exit_code)
        return False

    def _polling(self, kind: Kind, error: SvcdoctorError, at: float) -> None:
        self._trouble(at, f"{kind} objects are listed every 5 s and not watched: {error.message}")

    def _trouble(self, at: float, why: str) -> None:
        if why not in self._said:
            self._said.add(why)
            self._tell(WatchTroubled(at, why))

    # --- probes

    def _aim(self) -> None:
        """Probe what there is now."""
        if self._probes is not None:
            self._probes.targets = tuple(self._view.targets)

    def _met(self, at: float, target: TargetName, sample: Sample) -> None:
        self._inbox.put(lambda: self._emit(self._view.probed(at, target, sample)))

    @property
    def pace(self) -> float | None:
        """Seconds between two probes of a target, now."""
        return None if self._interval is None else pace(self._interval, len(self._view.targets))

    # --- the diagnosis

    def _diagnose(self) -> None:
        """On its thread: again and again, as things change."""
        request = Request(self._target)
        while not self._over:
            if self._objects.complete:
                self._dirty.clear()
                self._inbox.put(self._answered(request))
            time.sleep(DIAGNOSE_PAUSE)
            self._dirty.wait(AGAIN_SECONDS)

    def _answered(self, request: Request) -> Callable[[], None]:
        at = self._now()
        try:
            answer = diagnose(self._objects, request, self._target.namespace)
        except SvcdoctorError as e:
            why = f"no findings: {e.message}"
            return lambda: self._undiagnosed(at, why)
        return lambda: self._diagnosed(at, answer)

    def _diagnosed(self, at: float, answer: Trace) -> None:
        if self._view.silent_since is None:
            self._emit(self._view.found(at, answer.findings))
            if self._probes is not None:
                self._view.entries_are(at, _entries(answer))
                self._aim()

    def _undiagnosed(self, at: float, why: str) -> None:
        if not self._out:
            self._trouble(at, why)


def _entries(answer: Trace) -> list[EntryName]:
    """The addresses of the trace's entries that a connection can be made to."""
    found: dict[tuple[str, int], EntryName] = {}
    for path in answer.paths:
        entry = path.entry
        ip = canonical_or_none(entry.address or "")
        if entry.kind not in ENTRIES or ip is None or not entry.port or entry.protocol != "TCP":
            continue
        shown = f"[{ip}]:{entry.port}" if ":" in ip else f"{ip}:{entry.port}"
        target = TargetName(f"{entry.kind} {shown}", str(entry.kind), ip, entry.port)
        node = entry.node if entry.kind is EntryKind.NODE_PORT else None
        found.setdefault((ip, entry.port), EntryName(target, node or "", path.verdict is not Verdict.BROKEN))
    return list(found.values())
