"""The control process: has served what the store says, until it is told to end.

Theory. Everything happens on one loop. What is served follows from the store, which watches fill, a snapshot, or nobody
where endpoints are given; a plane serves it: workers, or the kernel. Until there is a state of its own the plane goes
on with that of an earlier run, if one is left. The first interruption drains, the second ends at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.choosing import Selection, chosen
from svcdoctor.proxy.serving.planned import Options, Own, why_unserved
from svcdoctor.proxy.serving.served import ServedPort
from svcdoctor.proxy.serving.store import Store
from svcdoctor.proxy.serving.watches import Watches
from svcdoctor.sources.session import ApiSession


@dataclass(frozen=True, slots=True)
class Note:
    """A line for the user."""

    text: str


@dataclass(frozen=True, slots=True)
class Serving:
    """These ports are served from now on, the first time in this run. ``earlier`` tells that they are those of an
    earlier run, and what there is now is not known yet."""

    ports: tuple[ServedPort, ...]
    earlier: bool


@dataclass(frozen=True, slots=True)
class Changed:
    """What is served was changed; the plane is told."""

    put: tuple[ServedPort, ...]
    removed: tuple[str, ...]


Event = Note | Serving | Changed


class Plane(Protocol):
    """What carries the traffic."""

    def start(self) -> None:
        """Begin, with what is left of an earlier run if there is something."""

    def put(self, ports: Iterable[ServedPort], whole: bool = False) -> None:
        """Serve these from now on; with ``whole`` no others."""

    def remove(self, keys: Iterable[str]) -> None:
        """Serve these no longer."""

    def drain(self, ended: Callable[[], None]) -> None:
        """End when the last connection does, and tell the user what becomes of those that there are."""

    def stop(self, ended: Callable[[], None]) -> None:
        """End now."""

    def abandon(self, ended: Callable[[], None]) -> None:
        """End what this run began, and leave to itself what it found."""


class Control:
    """One run. ``tell`` gets its events, on the thread that calls `run`."""

    def __init__(self, loop: Loop, options: Options, tell: Callable[[Event], None]) -> None:
        self.loop = loop
        self.store = Store(options)
        self._tell = tell
        self._plane: Plane | None = None
        self._watches: Watches | None = None
        self._name = ""
        self._current: dict[str, ServedPort] | None = None
        self._ours = False
        self._holds = False
        self._told = False
        self._applying = False
        self._interruptions = 0
        self._refusal = ""
        self._error: SvcdoctorError | None = None

    # --- what is to be served

    def watch(self, session: ApiSession, selection: Selection, node: str, kube_proxy: bool = False) -> None:
        """What the API server says of the selected Services; ``node`` is this machine's, empty to find it out, and
        ``kube_proxy`` says that its kube-proxy's settings matter."""
        self._name = f"{selection.namespace}/{selection.name}" if selection.name else ""
        self._watches = Watches(
            self.loop,
            session,
            selection,
            node,
            self.store,
            kube_proxy,
            changed=self._soon,
            tell=self.note,
            failed=self._unreadable,
        )

    def take(self, snapshot: Snapshot, selection: Selection, own: Own) -> None:
        """What a Snapshot says of the selected Services."""
        self._name = f"{selection.namespace}/{selection.name}" if selection.name else ""
        services, slices = chosen(snapshot, selection)
        self.store.set_services(services)
        self.store.set_slices(slices)
        self.store.set_own(own)
        self._soon()

    def fix(self, ports: Iterable[ServedPort]) -> None:
        """These ports, which nothing changes."""
        self._current, self._ours = {port.key: port for port in ports}, True

    # --- the plane's reports

    def note(self, text: str) -> None:
        """A line for the user."""
        self._tell(Note(text))

    def held(self) -> None:
        """All that was put is served."""
        self._holds = True
        if not self._told:
            self._told = True
            self._tell(Serving(tuple((self._current or {}).values()), not self._ours))

    def recalled(self, ports: tuple[ServedPort, ...]) -> None:
        """The plane goes on with these of an earlier run."""
        self._current = {port.key: port for port in ports}

    def failed(self, error: SvcdoctorError) -> None:
        """It cannot go on."""
        if self._error is None and self._plane is not None:
            self._error = error
            self._plane.abandon(self.loop.stop)

    # --- running

    @property
    def ports(self) -> tuple[ServedPort, ...]:
        """What is served, as far as it is known."""
        return tuple((self._current or {}).values())

    @property
    def healthy(self) -> bool:
        """Whether the state is known, and all of it is served."""
        return self._ours and self._holds

    def run(self, plane: Plane) -> None:
        """Serve until it is interrupted. Raises SvcdoctorError for what ends it before."""
        self._plane = plane
        try:
            plane.start()
            if self._ours:
                plane.put(self.ports, whole=True)
            if self._watches is not None:
                self._watches.start()
            self.loop.run()
        finally:
            if self._watches is not None:
                self._watches.close()
        if self._error is not None:
            raise self._error

    def interrupted(self) -> None:
        """End, the first time when the connections do; for other threads and handlers of signals, too."""
        self.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self._interruptions += 1
        if self._plane is not None and self._interruptions == 1:
            self._plane.drain(self.loop.stop)
        elif self._plane is not None:
            self._plane.stop(self.loop.stop)

    def _soon(self) -> None:
        """Several changes of one turn are one."""
        if not self._applying:
            self._applying = True
            self.loop.call_soon(self._apply)

    def _apply(self) -> None:
        self._applying = False
        plane = self._plane
        if plane is None or self._interruptions or not self.store.complete:
            return
        change = self.store.changes()
        for text in change.notes:
            self.note(text)
        if not self._ours:
            if self._name and not change.put:
                self._nothing_to_serve(plane)
            else:
                self._begin(plane, change.put)
        elif change.put or change.removed:
            self._became(change.put, change.removed)
            # What listened before must not be in the way of what listens now.
            if change.removed:
                plane.remove(change.removed)
            if change.put:
                plane.put(change.put)

    def _begin(self, plane: Plane, ports: tuple[ServedPort, ...]) -> None:
        """The first state; of an earlier run's, what is the same is no news."""
        self._ours = True
        current, keys = self._current or {}, {port.key for port in ports}
        changed = tuple(port for port in ports if current.get(port.key) != port)
        self._became(changed, tuple(key for key in current if key not in keys))
        plane.put(ports, whole=True)

    def _became(self, put: tuple[ServedPort, ...], removed: tuple[str, ...]) -> None:
        self._holds = False
        gone = frozenset(removed)
        self._current = {key: port for key, port in (self._current or {}).items() if key not in gone}
        self._current.update((port.key, port) for port in put)
        if self._told and (put or removed):
            self._tell(Changed(put, removed))

    def _nothing_to_serve(self, plane: Plane) -> None:
        """The one Service that was asked for cannot be served: not even by an earlier run."""
        found = next(iter(self.store.services), None)
        if found is None:
            self._error = SvcdoctorError(f"no service {self._name}", 1)
        else:
            self._error = SvcdoctorError(f"service {found.namespace}/{found.name} {why_unserved(found)}")
        plane.stop(self.loop.stop)

    def _unreadable(self, error: SvcdoctorError) -> None:
        if self._current is None:
            self.failed(error)
        elif error.message != self._refusal:  # which comes again and again
            self._refusal = error.message
            self.note(f"{error.message}; what was served last goes on being served")
