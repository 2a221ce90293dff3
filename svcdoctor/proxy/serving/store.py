"""The objects that Services are served by, and which ports are served by them.

Theory. Services, EndpointSlices and the node's own object come as a watch tells them: all of a kind, of which mostly
one has changed. What is the same as before is passed over; what has changed names its Service, and that one is planned
anew. Only what differs from what is served is told. Nothing is told before all three kinds were heard of, so that a
Service never seems to be without endpoints because they come later.

What may live here: keeping and comparing. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from svcdoctor.model.base import KubeObject
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.service import Service
from svcdoctor.proxy.serving.planned import HealthCheck, Options, Own, Planned, planned, why_unserved
from svcdoctor.proxy.serving.served import ServedPort

Name = tuple[str, str]
"""A namespace and a name in it."""

T = TypeVar("T", bound=KubeObject)

_NOTHING = Planned()


@dataclass(frozen=True, slots=True)
class Change:
    """What is served differently from now on, and lines for the user."""

    put: tuple[ServedPort, ...] = ()
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Store:
    """Keeps the objects, and the ports that are served by them."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._services: dict[Name, Service] | None = None
        self._slices: dict[Name, EndpointSlice] | None = None
        self._by_service: dict[Name, dict[str, EndpointSlice]] = {}
        self._own: Own | None = None
        self._planned: dict[Name, Planned] = {}
        self._changed: dict[Name, None] = {}

    @property
    def complete(self) -> bool:
        """Whether Services, slices and the node were heard of."""
        return self._services is not None and self._slices is not None and self._own is not None

    @property
    def own(self) -> Own:
        """The node that this machine is, as far as it was heard of."""
        return self._own or Own()

    @property
    def services(self) -> tuple[Service, ...]:
        return tuple((self._services or {}).values())

    @property
    def ports(self) -> tuple[ServedPort, ...]:
        """All that is served."""
        return tuple(port for found in self._planned.values() for port in found.ports.values())

    @property
    def health_checks(self) -> tuple[HealthCheck, ...]:
        return tuple(check for found in self._planned.values() for check in found.checks)

    def set_services(self, services: Iterable[Service]) -> None:
        """There are these Services, and no others."""
        old, new = self._services or {}, {(s.namespace, s.name): s for s in services}
        self._services = new
        self._changed.update(dict.fromkeys(_different(old, new)))

    def set_slices(self, slices: Iterable[EndpointSlice]) -> None:
        """There are these EndpointSlices, and no others."""
        old, new = self._slices or {}, {(s.namespace, s.name): s for s in slices}
        self._slices = new
        for name in _different(old, new):
            before, now = old.get(name), new.get(name)
            if before is not None:
                self._of(before).pop(name[1])
            if now is not None:
                self._of(now)[name[1]] = now

    def _of(self, found: EndpointSlice) -> dict[str, EndpointSlice]:
        """The slices of the slice's Service, which is to be planned anew."""
        owner = (found.namespace, found.service_name)
        self._changed[owner] = None
        return self._by_service.setdefault(owner, {})

    def set_own(self, own: Own) -> None:
        """This machine is that node."""
        if self._own is None or self._own.matters != own.matters:
            self._changed.update(dict.fromkeys(self._services or ()))
        self._own = own

    def changes(self) -> Change:
        """What has changed since the last time; nothing until it is `complete`."""
        if not self.complete:
            return Change()
        put: list[ServedPort] = []
        removed: list[str] = []
        notes: list[str] = []
        for name in self._changed:
            before, now = self._planned.get(name, _NOTHING), self._plan(name)
            put += [port for key, port in now.ports.items() if before.ports.get(key) != port]
            removed += [key for key in before.ports if key not in now.ports]
            notes += [note for note in now.notes if note not in before.notes]
            if before.ports and not now.ports:
                why = why_unserved((self._services or {}).get(name))
                notes.append(f"{name[0]}/{name[1]} {why}: it is served no longer, its connections go on")
            self._planned[name] = now
            if now == _NOTHING:
                del self._planned[name]
            if not self._by_service.get(name, True):
                del self._by_service[name]
        self._changed.clear()
        return Change(tuple(put), tuple(removed), tuple(notes))

    def _plan(self, name: Name) -> Planned:
        service = (self._services or {}).get(name)
        if service is None:
            return _NOTHING
        return planned(service, tuple(self._by_service.get(name, {}).values()), self.own, self._options)


def _different(old: Mapping[Name, T], new: Mapping[Name, T]) -> Iterator[Name]:
    """The names of what is only in one of them, or not the same in both."""
    for name, obj in new.items():
        before = old.get(name)
        if before is not obj and before != obj:
            yield name
    yield from (name for name in old if name not in new)
