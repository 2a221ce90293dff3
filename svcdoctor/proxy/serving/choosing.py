"""Which Services are served: one by its name, those with labels, or all of a namespace or of the cluster."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from svcdoctor.cluster.labelselector import parse_labels
from svcdoctor.model.base import Meta
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.endpoints import slices_from

SERVICE_LABEL = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Selection:
    """An empty ``namespace`` is all of them; ``labels`` is a selector as the API takes it."""

    namespace: str = ""
    name: str = ""
    labels: str = ""

    @property
    def slice_labels(self) -> str:
        """A selector for the slices that may be needed: kube-proxy's, or those of the one Service."""
        return f"{SERVICE_LABEL}={self.name}" if self.name else "!service.kubernetes.io/headless"

    def takes(self, service: Service) -> bool:
        """Whether the Service is one of them. Raises SelectorError for labels that are no selector."""
        return (
            self.namespace in ("", service.namespace)
            and self.name in ("", service.name)
            and all(r.matches(service.labels) for r in parse_labels(self.labels))
        )


def chosen(snapshot: Snapshot, selection: Selection) -> tuple[tuple[Service, ...], tuple[EndpointSlice, ...]]:
    """The Snapshot's Services that are selected, and their slices; made of v1 Endpoints where it has no slices."""
    services = tuple(service for service in snapshot.services if selection.takes(service))
    slices: list[EndpointSlice] = []
    for service in services:
        found = snapshot.slices(service.namespace, service.name)
        if not found and not snapshot.knows(Kind.ENDPOINT_SLICE):
            old = snapshot.endpoints(service.namespace, service.name)
            made = slices_from(old) if old is not None else ()
            found = tuple(_owned(s, service, number) for number, s in enumerate(made))
        slices.extend(found)
    return services, tuple(slices)


def _owned(made: EndpointSlice, service: Service, number: int) -> EndpointSlice:
    labels = {SERVICE_LABEL: service.name}
    meta = Meta(name=f"{service.name}-{number}", namespace=service.namespace, labels=labels)
    return structs.replace(made, metadata=meta)
