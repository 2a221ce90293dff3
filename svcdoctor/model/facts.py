"""What is known, and how far: three-valued facts.

Theory. A Snapshot never pretends: for each kind of object it says for which *scope* the objects that it
holds are complete (``Known``), or why they could not be read (``Unknown``). A list of pods that was asked
with a selector is known for that selector only. A pure step that lacks something does not fetch it: it
notes a ``Need``; the source refills the Snapshot and the step runs again.

What may live here: values and the algebra of scopes. No object types, no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The kinds of objects that a Snapshot holds, by their Kubernetes names."""

    SERVICE = "Service"
    ENDPOINT_SLICE = "EndpointSlice"
    ENDPOINTS = "Endpoints"
    POD = "Pod"
    NODE = "Node"
    NAMESPACE = "Namespace"
    DEPLOYMENT = "Deployment"
    REPLICA_SET = "ReplicaSet"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"
    JOB = "Job"
    REPLICATION_CONTROLLER = "ReplicationController"
    INGRESS = "Ingress"
    INGRESS_CLASS = "IngressClass"
    NETWORK_POLICY = "NetworkPolicy"
    EVENT = "Event"
    CONFIG_MAP = "ConfigMap"
    SERVICE_CIDR = "ServiceCIDR"
    GATEWAY_CLASS = "GatewayClass"
    GATEWAY = "Gateway"
    HTTP_ROUTE = "HTTPRoute"
    GRPC_ROUTE = "GRPCRoute"
    REFERENCE_GRANT = "ReferenceGrant"
    PEER_AUTHENTICATION = "PeerAuthentication"


WORKLOADS = (
    Kind.DEPLOYMENT,
    Kind.REPLICA_SET,
    Kind.STATEFUL_SET,
    Kind.DAEMON_SET,
    Kind.JOB,
    Kind.REPLICATION_CONTROLLER,
)


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of all objects of one kind; an empty field does not restrict.

    ``labels`` is an equality selector (label, value pairs, sorted), ``name`` one object's name.
    """

    namespace: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    name: str | None = None

    def covers(self, other: Scope) -> bool:
        """Whether every object in ``other`` is also in this scope."""
        if self.namespace is not None and self.namespace != other.namespace:
            return False
        if self.name is not None and self.name != other.name:
            return False
        return set(self.labels) <= set(other.labels)

    def __str__(self) -> str:
        parts = ["all namespaces" if self.namespace is None else f"namespace {self.namespace}"]
        if self.name is not None:
            parts.append(f"name {self.name}")
        if self.labels:
            parts.append("labels " + ",".join(f"{k}={v}" for k, v in self.labels))
        return ", ".join(parts)


EVERYTHING = Scope()


def selector_scope(namespace: str, selector: dict[str, str]) -> Scope:
    """The scope of the objects of ``namespace`` that carry all labels of ``selector``."""
    return Scope(namespace, tuple(sorted(selector.items())))


@dataclass(frozen=True, slots=True)
class Known:
    """All objects of a kind within ``scope`` are in the Snapshot."""

    scope: Scope = EVERYTHING


@dataclass(frozen=True, slots=True)
class Unknown:
    """Objects of a kind within ``scope`` could not be read. ``grant`` says what to grant or run.

    ``narrower`` is true where a smaller scope may still be readable: a list of all namespaces was refused,
    which says nothing of one namespace.
    """

    reason: str
    grant: str = ""
    scope: Scope = EVERYTHING
    narrower: bool = False


@dataclass(frozen=True, slots=True)
class Need:
    """A pure step lacks the objects of ``kind`` within ``scope``."""

    kind: Kind
    scope: Scope


@dataclass(frozen=True, slots=True)
class MissingFact:
    """A fact that an answer does without, or lacks: what, why, and what to grant or run to have it.

    ``required`` tells whether its absence keeps the verdict from being determined.
    """

    fact: str
    reason: str
    grant: str
    required: bool = False
