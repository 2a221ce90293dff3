"""EndpointSlice (discovery.k8s.io/v1) and Endpoints (core/v1, deprecated from 1.33)."""

from __future__ import annotations

from svcdoctor.model.base import AnnotatedMeta, Base, KubeObject


class ObjectReference(Base, frozen=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""
    uid: str = ""


class EndpointConditions(Base, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Named(Base, frozen=True):
    name: str = ""


class EndpointHints(Base, frozen=True):
    for_zones: tuple[Named, ...] | None = None
    for_nodes: tuple[Named, ...] | None = None


class SliceEndpoint(Base, frozen=True):
    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    target_ref: ObjectReference | None = None
    hints: EndpointHints | None = None

    @property
    def ready(self) -> bool:
        """Unset means ready (EndpointSlice API: conditions.ready)."""
        return self.conditions.ready is not False

    @property
    def serving(self) -> bool:
        """Unset means the same as ready (EndpointSlice API: conditions.serving)."""
        return self.ready if self.conditions.serving is None else self.conditions.serving

    @property
    def terminating(self) -> bool:
        return self.conditions.terminating is True


class EndpointPort(Base, frozen=True):
    name: str | None = ""
    port: int | None = None
    protocol: str | None = "TCP"
    app_protocol: str | None = None


class EndpointSlice(KubeObject, frozen=True):
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service_name(self) -> str:
        """The Service that owns the slice, by its label (EndpointSlice API: ownership)."""
        return self.labels.get("kubernetes.io/service-name", "")


class EndpointAddress(Base, frozen=True):
    ip: str = ""
    hostname: str | None = None
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointSubset(Base, frozen=True):
    addresses: tuple[EndpointAddress, ...] | None = None
    not_ready_addresses: tuple[EndpointAddress, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Endpoints(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    subsets: tuple[EndpointSubset, ...] | None = None
