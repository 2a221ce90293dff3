"""Services, EndpointSlices and the node's own object, watched through the API server for as long as it is served.

Theory. The node's name is given, or found once among all nodes by this machine's addresses and host name; from then on
only that one is watched. What cannot be read ends the run only at its beginning: later, or where workers of an earlier
run serve already, it is asked for again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

from svcdoctor.model.base import KubeObject
from svcdoctor.model.cluster import Node
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.planned import Own
from svcdoctor.proxy.serving.store import Store
from svcdoctor.sources.localnode import node_here
from svcdoctor.sources.session import ApiSession
from svcdoctor.sources.watching import Watcher

AGAIN_SECONDS = 30.0
"""Between two attempts to watch what may not be read."""


class Watches:
    """Fills the store. On the loop: ``changed`` is called after that, ``tell`` with lines for the user, and ``failed``
    where a kind cannot be read. It is tried again after that."""

    def __init__(
        self,
        loop: Loop,
        session: ApiSession,
        selection: Selection,
        node: str,
        store: Store,
        *,
        changed: Callable[[], None],
        tell: Callable[[str], None],
        failed: Callable[[SvcdoctorError], None],
    ) -> None:
        self._loop = loop
        self._session = session
        self._selection = selection
        self._node = node
        self._store = store
        self._changed, self._tell, self._failed = changed, tell, failed
        self._watchers: dict[Kind, Watcher] = {}
        self._ending: list[threading.Thread] = []
        self._timers: dict[Kind, Timer] = {}
        self._away: set[Kind] = set()

    def start(self) -> None:
        """Begin; call it once."""
        for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE):
            self._watch(kind)

    def close(self) -> None:
        """End; the store is not filled any more."""
        for timer in self._timers.values():
            timer.cancel()
        watchers, self._watchers = self._watchers, {}
        for watcher in watchers.values():
            self._end(watcher)
        for thread in self._ending:
            thread.join()

    def _watch(self, kind: Kind) -> None:
        chosen = self._selection
        namespace, name, labels = chosen.namespace, chosen.name, chosen.labels
        if kind is Kind.ENDPOINT_SLICE:
            name, labels = "", chosen.slice_labels
        elif kind is Kind.NODE:
            namespace, name, labels = "", self._node, ""
        watcher = Watcher(
            self._session,
            kind,
            namespace,
            name=name,
            labels=labels,
            changed=lambda objects: self._soon(kind, watcher, lambda: self._take(kind, objects)),
            failed=lambda error: self._soon(kind, watcher, lambda: self._refused(kind, error)),
            outage=lambda error: self._soon(kind, watcher, lambda: self._outage(kind, error)),
            polling=lambda error: self._soon(kind, watcher, lambda: self._tell(error.message)),
        )
        self._watchers[kind] = watcher
        watcher.start()

    def _soon(self, kind: Kind, watcher: Watcher, call: Callable[[], None]) -> None:
        """On the loop, unless the watch has been replaced by then."""

        def now() -> None:
            if self._watchers.get(kind) is watcher:
                call()

        self._loop.call_soon_threadsafe(now)

    def _end(self, watcher: Watcher) -> None:
        """Ends a watch without waiting for the server."""
        thread = threading.Thread(target=watcher.close, name="end of a watch", daemon=True)
        thread.start()
        self._ending.append(thread)

    def _take(self, kind: Kind, objects: tuple[KubeObject, ...]) -> None:
        match kind:
            case Kind.SERVICE:
                self._store.set_services(cast("tuple[Service, ...]", objects))
            case Kind.ENDPOINT_SLICE:
                self._store.set_slices(cast("tuple[EndpointSlice, ...]", objects))
            case _:
                self._take_nodes(cast("tuple[Node, ...]", objects))
        self._changed()

    def _take_nodes(self, nodes: tuple[Node, ...]) -> None:
        if self._node:
            if not nodes:
                self._tell(
                    f"no node {self._node} in the cluster: no endpoint counts as local, and no zone as its own"
                )
            self._store.set_own(Own(self._node, nodes[0] if nodes else None))
            return
        self._end(self._watchers.pop(Kind.NODE))
        self._node = node_here(nodes)
        self._store.set_own(Own(self._node, next((n for n in nodes if n.name == self._node), None)))
        if self._node:
            self._watch(Kind.NODE)

    def _refused(self, kind: Kind, error: SvcdoctorError) -> None:
        del self._watchers[kind]
        self._timers[kind] = self._loop.call_later(AGAIN_SECONDS, lambda: self._watch(kind))
        if kind is not Kind.NODE:
            self._failed(error)
            return
        if not self._store.heard_own:
            without = "its zone is not known" if self._node else "say which node this is with --node"
            self._tell(f"{error.message}; {without}")
        self._store.set_own(Own(self._node))
        self._changed()

    def _outage(self, kind: Kind, error: SvcdoctorError | None) -> None:
        """The three fall silent together: one line is enough."""
        before = bool(self._away)
        if error is None:
            self._away.discard(kind)
        else:
            self._away.add(kind)
        if error is not None and not before:
            self._tell(f"{error.message}; what was served last goes on being served")
        elif before and not self._away:
            self._tell("the API server tells of changes again")
