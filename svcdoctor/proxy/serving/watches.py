"""Services, EndpointSlices and the node's own object, watched through the API server for as long as it is served.

Theory. The node's name is given, or found once among all nodes by this machine's addresses and host name; from then on
only that one is watched. kube-proxy's configuration is read once, as kube-proxy reads it. What cannot be read ends the
run only at its beginning: later, or where workers of an earlier run serve already, it is asked for again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import cast

from svcdoctor.model.base import KubeObject
from svcdoctor.model.cluster import ConfigMap, Node
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import Service
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.serving.choosing import Selection
from svcdoctor.proxy.serving.kubeproxy import CONFIG_MAP, configured
from svcdoctor.proxy.serving.planned import NODE_CIDR, Own
from svcdoctor.proxy.serving.store import Store
from svcdoctor.sources.localnode import node_here
from svcdoctor.sources.session import ApiSession
from svcdoctor.sources.watching import Watcher

AGAIN_SECONDS = 30.0
"""Between two attempts to watch what may not be read."""


class Watches:
    """Fills the store. On the loop: ``changed`` is called after that, ``tell`` with lines for the user, and ``failed``
    where a kind cannot be read. It is tried again after that. ``kube_proxy`` says that kube-proxy's settings matter;
    ``watcher`` makes watches, with the time of tests."""

    def __init__(
        self,
        loop: Loop,
        session: ApiSession,
        selection: Selection,
        node: str,
        store: Store,
        kube_proxy: bool,
        *,
        changed: Callable[[], None],
        tell: Callable[[str], None],
        failed: Callable[[SvcdoctorError], None],
        watcher: Callable[..., Watcher] = Watcher,
    ) -> None:
        self._loop = loop
        self._made = watcher
        self._session = session
        self._selection = selection
        self._node = node
        self._store = store
        self._changed, self._tell, self._failed = changed, tell, failed
        self._watchers: dict[Kind, Watcher] = {}
        self._ending: list[threading.Thread] = []
        self._timers: dict[Kind, Timer] = {}
        self._away: set[Kind] = set()
        self._settings = None if kube_proxy else NODE_CIDR
        self._own: Own | None = None

    def start(self) -> None:
        """Begin; call it once."""
        for kind in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.NODE):
            self._watch(kind)
        if self._settings is None:
            self._watch(Kind.CONFIG_MAP)

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
        elif kind is Kind.CONFIG_MAP:
            namespace, name, labels = *CONFIG_MAP, ""
        watcher: Watcher = self._made(
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
            case Kind.CONFIG_MAP:
                self._end(self._watchers.pop(kind))
                self._away.discard(kind)
                self._take_own(self._own, configured(cast("tuple[ConfigMap, ...]", objects)))
            case _:
                self._take_nodes(cast("tuple[Node, ...]", objects))
        self._changed()

    def _take_nodes(self, nodes: tuple[Node, ...]) -> None:
        if self._node:
            if not nodes:
                self._tell(
                    f"no node {self._node} in the cluster: no endpoint counts as local, and no zone as its own"
                )
            self._take_own(Own(self._node, nodes[0] if nodes else None), self._settings)
            return
        self._end(self._watchers.pop(Kind.NODE))
        self._node = node_here(nodes)
        self._take_own(
            Own(self._node, next((n for n in nodes if n.name == self._node), None)), self._settings
        )
        if self._node:
            self._watch(Kind.NODE)

    def _take_own(self, own: Own | None, settings: ProxySettings | None) -> None:
        """Both count when both are known."""
        self._own, self._settings = own, settings
        if own is not None and settings is not None:
            self._store.set_own(replace(own, kube_proxy=settings))

    def _refused(self, kind: Kind, error: SvcdoctorError) -> None:
        del self._watchers[kind]
        if kind is Kind.CONFIG_MAP:
            self._away.discard(kind)
            self._tell(f"{error.message}; kube-proxy is taken to have its defaults")
            self._take_own(self._own, NODE_CIDR)
            self._changed()
            return
        self._timers[kind] = self._loop.call_later(AGAIN_SECONDS, lambda: self._watch(kind))
        if kind is not Kind.NODE:
            self._failed(error)
            return
        if self._own is None:
            without = "its zone is not known" if self._node else "say which node this is with --node"
            self._tell(f"{error.message}; {without}")
        self._take_own(Own(self._node), self._settings)
        self._changed()

    def _outage(self, kind: Kind, error: SvcdoctorError | None) -> None:
        """All fall silent together: one line is enough."""
        before = bool(self._away)
        if error is None:
            self._away.discard(kind)
        else:
            self._away.add(kind)
        if error is not None and not before:
            self._tell(f"{error.message}; what was served last goes on being served")
        elif before and not self._away:
            self._tell("the API server tells of changes again")
