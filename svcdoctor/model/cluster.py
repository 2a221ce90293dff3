"""Node, Namespace, ServiceCIDR, ConfigMap and Event."""

from __future__ import annotations

import msgspec

from svcdoctor.model.base import AnnotatedMeta, Base, KubeObject, Labels
from svcdoctor.model.endpoints import ObjectReference
from svcdoctor.model.pod import Condition


class NodeSpec(Base, frozen=True):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")
    provider_id: str = msgspec.field(default="", name="providerID")


class NodeAddress(Base, frozen=True):
    type: str = ""
    address: str = ""


class NodeStatus(Base, frozen=True):
    addresses: tuple[NodeAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None


class Node(KubeObject, frozen=True):
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()

    @property
    def zone(self) -> str:
        return self.labels.get("topology.kubernetes.io/zone", "")

    def addresses(self, *types: str) -> tuple[str, ...]:
        """The node's addresses of the given types, InternalIP before others, in the API's order."""
        wanted = types or ("InternalIP", "ExternalIP")
        return tuple(a.address for t in wanted for a in self.status.addresses or () if a.type == t)

    @property
    def ready(self) -> bool:
        """Ready or not known: a node without conditions (a would-be node) counts as ready."""
        c = next((c for c in self.status.conditions or () if c.type == "Ready"), None)
        return c is None or c.status == "True"

    @property
    def pod_cidrs(self) -> tuple[str, ...]:
        return self.spec.pod_cidrs or ((self.spec.pod_cidr,) if self.spec.pod_cidr else ())


class Namespace(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()


class Event(KubeObject, frozen=True):
    involved_object: ObjectReference = ObjectReference()
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    count: int | None = None
    last_timestamp: str | None = None


class ConfigMap(KubeObject, frozen=True):
    data: Labels | None = None


class ServiceCIDRSpec(Base, frozen=True):
    cidrs: tuple[str, ...] | None = None


class ServiceCIDR(KubeObject, frozen=True):
    spec: ServiceCIDRSpec = ServiceCIDRSpec()
