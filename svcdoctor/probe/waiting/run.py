"""Running ``wait``: the objects behind a Service are watched, and looked at when something changes.

Theory. Watchers put what they hear into one queue; a thread of its own looks at the Service whenever something has
changed, and puts what it saw there too. The thread that calls `run` takes it from the queue until there is nothing more
to wait for, or the time is over. What can only be tried (connections, names) is tried again after short pauses; what no
watch tells (a NetworkPolicy, another Service) is asked for again with every change, and once in a while.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from svcdoctor.checks.diagnose import diagnosed
from svcdoctor.checks.rollouts import ROLLED_OUT
from svcdoctor.checks.waiting import (
    absent,
    explained,
    lacking,
    never_known,
    ready_words,
    without_endpoint,
)
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.trace import Verdict
from svcdoctor.model.waiting import AwaitedPod, WaitAnswer, WaitEnd, WaitFor
from svcdoctor.probe.waiting.looks import Look, check_meant
from svcdoctor.probe.waiting.names import resolve
from svcdoctor.probe.waiting.reach import reach
from svcdoctor.probe.watch.objects import WatchedObjects
from svcdoctor.sources.forwarding import ForwardOpener
from svcdoctor.sources.live import LiveSource

NEEDED = (Kind.SERVICE, Kind.ENDPOINT_SLICE)
"""Without these nothing is known."""

ONE_LOOK_SECONDS = 30.0
"""After which one look is given up, where something that it needs is never told."""

AGAIN_SECONDS = 10.0
"""After which a look is taken though nothing has changed that is watched."""

FIRST_PAUSE, LAST_PAUSE = 0.1, 0.5
"""Between two attempts; doubled each time, until something changes."""

REST_SECONDS = 0.2
"""Between two looks, at least: changes come in bursts."""

EXPLAIN_SECONDS = 3.0
"""That the last look may take when the time is over."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is waited for. ``seconds`` is how long at most, 0 for one look; ``server`` is the DNS server to ask."""

    what: WaitFor
    target: ObjectTarget
    seconds: float
    server: tuple[str, int] | None = None


class WaitRun:
    """One run of the command. ``tell`` hears, on the thread that calls `run`, after how many seconds which things are
    lacking, whenever they are others."""

    def __init__(
        self, live: LiveSource, asked: Waiting, tell: Callable[[float, tuple[str, ...]], None]
    ) -> None:
        self._live = live
        self._asked = asked
        self._tell = tell
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._objects = WatchedObjects(
            live,
            asked.target.namespace,
            asked.target.name,
            changed=lambda kind, at: self._changed.set(),
            outage=lambda kind, error, known: self._inbox.put(lambda: self._outage(kind, error)),
            failed=lambda kind, error, at: self._inbox.put(self._refused),
            polling=lambda kind, error, at: None,
            clock=time.monotonic,
            also=ROLLED_OUT,
            stale=0.0,
            old=AGAIN_SECONDS / 2,
        )
        self._changed = threading.Event()
        self._over = False
        self._looking = threading.Thread(target=self._looks, name="looks", daemon=True)
        self._began = time.monotonic()
        self._took = 0.0
        self._silent: dict[Kind, SvcdoctorError] = {}
        self._last: Look | None = None
        self._told: tuple[str, ...] = ()

    def run(self) -> WaitAnswer:
        """Wait. Raises SvcdoctorError for what cannot be waited for, or where the API server cannot be asked."""
        try:
            self._objects.start()
            self._looking.start()
            while not self._over:
                if (left := self._left()) <= 0:
                    self._took = self._seconds
                    return self._in_vain()
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=left)()
            assert self._last is not None
            self._took = self._seconds
            return self._answer(WaitEnd.UNKNOWN if self._last.lacking else WaitEnd.MET, self._last)
        finally:
            self._over = True
            self._changed.set()
            self._objects.close()

    @property
    def busy(self) -> bool:
        """Whether a request is still under way that nobody waits for any more."""
        return self._looking.is_alive()

    @property
    def _seconds(self) -> float:
        return time.monotonic() - self._began

    def _left(self) -> float:
        if not self._asked.seconds:
            return ONE_LOOK_SECONDS - self._seconds if self._last is None else 0.0
        return self._asked.seconds - self._seconds

    # --- what watchers tell

    def _outage(self, kind: Kind, error: SvcdoctorError | None) -> None:
        if error is None:
            self._silent.pop(kind, None)
            self._changed.set()
            return
        if kind in NEEDED and not self._objects.told(kind):
            raise error
        if kind in NEEDED:
            self._silent[kind] = error
            self._say((f"the API server is not heard: {error.message}",))

    def _refused(self) -> None:
        """Raises SvcdoctorError for what is needed and cannot be had, all of it, so that it is granted at once."""
        missing = [e for k, e in self._objects.missing.items() if k in NEEDED]
        if missing and self._objects.told(*NEEDED):
            raise SvcdoctorError("; and ".join(e.message for e in missing), missing[0].exit_code)
        self._changed.set()

    # --- looking, on its thread

    def _looks(self) -> None:
        pause = FIRST_PAUSE
        while not self._over:
            if self._changed.is_set():
                pause = FIRST_PAUSE
            self._changed.clear()
            if not self._objects.complete or self._objects.missing.keys() & set(NEEDED):
                self._changed.wait(AGAIN_SECONDS)
                continue
            try:
                look = self._look()
            except Exception as e:  # is raised where `run` was called
                self._inbox.put(_raising(e))
                return
            self._inbox.put(lambda seen=look: self._seen(seen))  # type: ignore[misc]
            if look.final or not look.lacking:
                return
            time.sleep(REST_SECONDS)
            self._changed.wait(pause if look.tried else AGAIN_SECONDS)
            pause = min(LAST_PAUSE, pause * 2)

    def _look(self) -> Look:
        """Raises SvcdoctorError for a Service of which this cannot be waited for."""
        what, target, objects = self._asked.what, self._asked.target, self._objects
        service = objects.service
        if service is not None:
            check_meant(what, service)
        if service is None or (gone := absent(service, target)):
            return Look((absent(None, target) if service is None else gone,))
        try:
            if what is WaitFor.DNS:
                return resolve(objects, target, self._live.session, self._asked.server)
            if what is WaitFor.REACHABLE:
                if nowhere := tuple(without_endpoint(objects.snapshot(), service, target)):
                    return Look(nowhere)
                return reach(objects, target, ForwardOpener(self._live.session).open)
            traced, snapshot = diagnosed(objects, objects.snapshot(), Request(target), target.namespace)
        except SvcdoctorError as e:
            return Look((e.message,), tried=what is not WaitFor.READY, determined=e.exit_code != 3)
        lacks = lacking(traced, snapshot, target)
        known = traced.verdict is not Verdict.UNKNOWN
        final = never_known(traced, lacks)
        return Look(
            lacks, ready_words(snapshot, service), False, known, final, traced.findings, traced.unknowns
        )

    # --- what was seen

    def _seen(self, look: Look) -> None:
        self._last = look
        if look.lacking:
            self._say(look.lacking)
        self._over = look.final or not look.lacking

    def _say(self, words: tuple[str, ...]) -> None:
        if words != self._told:
            self._told = words
            self._tell(self._seconds, words)

    # --- the end

    def _in_vain(self) -> WaitAnswer:
        """When the time is over: with the explanation of what is still missing."""
        look = self._last
        if look is None:
            return self._answer(WaitEnd.UNKNOWN, Look((f"no answer of {self._live.session.place} yet",)))
        if self._silent:
            error = next(iter(self._silent.values()))
            return self._answer(WaitEnd.UNKNOWN, Look((error.message, *look.lacking)))
        end = WaitEnd.TIMED_OUT if look.determined else WaitEnd.UNKNOWN
        return self._explained(end, look)

    def _explained(self, end: WaitEnd, look: Look) -> WaitAnswer:
        """The answer with findings and pods as they are now, as far as they can be had quickly."""
        found: list[WaitAnswer] = []
        target = self._asked.target

        def explain() -> None:
            with contextlib.suppress(SvcdoctorError):
                traced, _, pods = explained(self._live, target)
                of_names = self._asked.what is WaitFor.DNS and look.findings
                explaining = (
                    look if of_names else replace(look, findings=traced.findings, unknowns=traced.unknowns)
                )
                found.append(self._answer(end, explaining, pods))

        thread = threading.Thread(target=explain, name="explanation", daemon=True)
        thread.start()
        thread.join(EXPLAIN_SECONDS)
        return found[0] if found else self._answer(end, look)

    def _answer(self, end: WaitEnd, look: Look, pods: tuple[AwaitedPod, ...] = ()) -> WaitAnswer:
        what, target = self._asked.what, self._asked.target
        return WaitAnswer(
            what,
            target.namespace,
            target.name,
            target.port or "",
            end,
            self._took,
            look.how,
            look.lacking,
            pods,
            look.findings,
            look.unknowns,
        )


def _raising(error: Exception) -> Callable[[], None]:
    def again() -> None:
        raise error

    return again
