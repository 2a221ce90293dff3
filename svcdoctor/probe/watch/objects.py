"""The objects behind one Service, watched, as a source of facts that is always up to date.

Theory. The Service, its slices, its pods and the nodes are watched; whatever else a diagnosis asks for is listed when
it asks, and listed again when that is old: sooner where something has changed since. So a diagnosis is the same as
`diagnose` on any other source, and costs no request as long as nothing else is needed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from svcdoctor.cluster.selectors import selector_text
from svcdoctor.model.base import KubeObject
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import EVERYTHING, Kind, Known, Need, Scope, selector_scope
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.watching import Watcher

SLICE_LABEL = "kubernetes.io/service-name"

OLD_SECONDS = 30.0
"""After which what is not watched is listed again."""

STALE_SECONDS = 5.0
"""The same, where something that is watched has changed since."""

Told = Callable[[Kind, float], None]
Problem = Callable[[Kind, SvcdoctorError, float], None]


class WatchedObjects:
    """A `Source`. Between `start` and `close` these are called, on the watchers' threads, with the time on ``clock``:
    ``changed`` when objects of a kind are others, ``outage`` with the error and the time up to which all changes are
    known (None when it is over), ``failed`` where a kind cannot be had, ``polling`` where it can only be listed.
    ``missing`` are the kinds that cannot be had, with why.

    ``also`` are kinds that are watched in the whole namespace. ``stale`` is the age in seconds after which what is not
    watched is listed again where something that is watched has changed, ``old`` where nothing has."""

    def __init__(
        self,
        live: LiveSource,
        namespace: str,
        name: str,
        *,
        changed: Told,
        outage: Callable[[Kind, SvcdoctorError | None, float], None],
        failed: Problem,
        polling: Problem,
        clock: Callable[[], float] = time.time,
        also: tuple[Kind, ...] = (),
        stale: float = STALE_SECONDS,
        old: float = OLD_SECONDS,
    ) -> None:
        self._live = live
        self._namespace, self._name = namespace, name
        self._changed, self._outage, self._failed, self._polling = changed, outage, failed, polling
        self._clock = clock
        self._also, self._stale, self._old = also, stale, old
        self._lock = threading.RLock()
        self._held: dict[Kind, tuple[KubeObject, ...]] = {}
        self._watched: dict[Kind, tuple[Scope, Watcher]] = {}
        self.missing: dict[Kind, SvcdoctorError] = {}
        self._rest = live.snapshot()
        self._rest_from = 0.0
        self._changed_at = 0.0

    def start(self) -> None:
        """Begin to watch; the pods are watched when the Service's selector is known."""
        name = self._name
        self._watch(Kind.SERVICE, Scope(self._namespace, name=name))
        self._watch(Kind.ENDPOINT_SLICE, Scope(self._namespace, ((SLICE_LABEL, name),)))
        self._watch(Kind.NODE, EVERYTHING)
        for kind in self._also:
            self._watch(kind, Scope(self._namespace))

    def close(self) -> None:
        """Watch no more. All at once: each may wait for a moment for a server that does not answer."""
        with self._lock:
            closing = [threading.Thread(target=watcher.close) for _, watcher in self._watched.values()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()

    @property
    def service(self) -> Service | None:
        """The Service, where there is one."""
        return next((o for o in self._held.get(Kind.SERVICE, ()) if isinstance(o, Service)), None)

    @property
    def slices(self) -> tuple[EndpointSlice, ...]:
        return tuple(o for o in self._held.get(Kind.ENDPOINT_SLICE, ()) if isinstance(o, EndpointSlice))

    def told(self, *kinds: Kind) -> bool:
        """Whether the objects of these kinds were had once, or cannot be had."""
        return all(kind in self._held or kind in self.missing for kind in kinds)

    @property
    def complete(self) -> bool:
        """Whether all that is watched was had once, or cannot be had."""
        return self.told(*self._watched)

    # --- as a source

    def snapshot(self) -> Snapshot:
        """What is held now."""
        with self._lock:
            old = self._stale if self._changed_at > self._rest_from else self._old
            if self._clock() - self._rest_from > old:
                self._rest = self._live.snapshot()
                self._rest_from = self._clock()
            return self._joined()

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        """What is held now, with the needs. Raises SvcdoctorError where the server cannot be asked."""
        rest = self._live.refill(self._rest, needs)
        with self._lock:
            self._rest = rest
            return self._joined()

    def _joined(self) -> Snapshot:
        objects: dict[Kind, tuple[KubeObject, ...]] = {}
        facts = {kind: tuple(held) for kind, held in self._rest.facts.items()}
        watched = {kind: scope for kind, (scope, _) in self._watched.items() if kind in self._held}
        for kind in Kind:
            others = self._rest.of(kind)
            if (scope := watched.get(kind)) is not None:
                others = tuple(o for o in others if not _within(o, scope))
                facts[kind] = (Known(scope), *facts.get(kind, ()))
            if held := (*others, *(self._held[kind] if scope is not None else ())):
                objects[kind] = held
        return Snapshot(objects, facts, source=self._rest.source)

    # --- what watchers tell

    def _watch(self, kind: Kind, scope: Scope) -> None:
        labels = selector_text({"matchLabels": dict(scope.labels)}) if scope.labels else ""
        watcher = Watcher(
            self._live.session,
            kind,
            scope.namespace or "",
            labels=labels,
            name=scope.name or "",
            changed=lambda objects: self._take(kind, scope, objects),
            failed=lambda error: self._lost(kind, error),
            outage=lambda error: self._outage(kind, error, watcher.known_until),
            polling=lambda error: self._polling(kind, error, self._clock()),
            clock=self._clock,
        )
        self._watched[kind] = scope, watcher
        watcher.start()

    def _take(self, kind: Kind, scope: Scope, objects: tuple[KubeObject, ...]) -> None:
        at = self._clock()
        old: Watcher | None = None
        with self._lock:
            if self._watched[kind][0] != scope:
                return  # of a selector that is no longer the Service's
            self._held[kind] = objects
            self._changed_at = at
            if kind is Kind.SERVICE:
                old = self._follow_pods()
        if old is not None:
            old.close()
        self._changed(kind, at)

    def _follow_pods(self) -> Watcher | None:
        """Watches the pods of the Service's selector; the watcher that is no longer needed."""
        selector = self.service.spec.selector if self.service is not None else None
        held = self._watched.get(Kind.POD)
        scope = selector_scope(self._namespace, selector) if selector else None
        if held is not None and held[0] == scope:
            return None
        self._held.pop(Kind.POD, None)
        self.missing.pop(Kind.POD, None)
        self._watched.pop(Kind.POD, None)
        if scope is not None:
            self._watch(Kind.POD, scope)
        return held[1] if held is not None else None

    def _lost(self, kind: Kind, error: SvcdoctorError) -> None:
        with self._lock:
            self._held.pop(kind, None)
            self.missing[kind] = error
        self._failed(kind, error, self._clock())


def _within(obj: KubeObject, scope: Scope) -> bool:
    """Whether an object is one of those that are watched."""
    if scope.namespace is not None and obj.namespace != scope.namespace:
        return False
    if scope.name is not None and obj.name != scope.name:
        return False
    return dict(scope.labels).items() <= obj.labels.items()
