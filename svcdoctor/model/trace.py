"""The answer to "where does this request go": a Trace of Paths of Hops and Outcomes.

The field names are those of the JSON contract (``apiVersion: svcdoctor/v1``, report/schema.json).
Enumerations are closed; the values are immutable.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from svcdoctor.model.facts import MissingFact, Need
from svcdoctor.model.finding import Finding

if TYPE_CHECKING:
    from svcdoctor.model.seen import EndSeen, HopSeen, PathSeen


class Value(msgspec.Struct, frozen=True, gc=False):
    """An immutable value. A struct, not a dataclass: making one takes a fifth of the time, and an answer holds
    hundreds."""


class Verdict(StrEnum):
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    BROKEN = "broken"
    UNKNOWN = "unknown"


class Basis(StrEnum):
    """What a path rests on: the API's objects, a node's real rules, or observed traffic."""

    OBJECTS = "objects"
    RULES = "rules"
    OBSERVED = "observed"


class ClientKind(StrEnum):
    EXTERNAL = "external"
    NODE = "node"
    POD = "pod"


class EntryKind(StrEnum):
    CLUSTER_IP = "clusterIP"
    NODE_PORT = "nodePort"
    LOAD_BALANCER = "loadBalancer"
    EXTERNAL_IP = "externalIP"
    HOST_PORT = "hostPort"
    DNS = "dns"
    INGRESS = "ingress"
    GATEWAY = "gateway"


# Where a proxy chooses the Service by the request's host and path: requests to an address alone tell nothing.
ROUTED = frozenset({EntryKind.INGRESS, EntryKind.GATEWAY})


class HopKind(StrEnum):
    CLIENT = "client"
    DNS = "dns"
    INGRESS = "ingress"
    GATEWAY = "gateway"
    LOAD_BALANCER = "loadBalancer"
    NODE = "node"
    NODE_PORT = "nodePort"
    EXTERNAL_IP = "externalIP"
    CLUSTER_IP = "clusterIP"
    HOST_PORT = "hostPort"
    POLICY = "policy"
    NETWORK_POLICY = "networkPolicy"
    SERVICE = "service"
    ENDPOINT = "endpoint"
    POD = "pod"
    CONTAINER = "container"


class Status(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"


class Result(StrEnum):
    DELIVERED = "delivered"
    REFUSED = "refused"
    DROPPED = "dropped"
    UNKNOWN = "unknown"


class SourceSeen(StrEnum):
    """Whose address the application sees: the client's, one of a node's, or not determined."""

    CLIENT = "client"
    NODE = "node"
    UNKNOWN = "unknown"


class Client(Value, frozen=True):
    """Who asks. ``name`` is a node's name or ``namespace/pod``; ``None`` stands for any."""

    kind: ClientKind
    name: str | None = None
    ip: str | None = None


class Entry(Value, frozen=True):
    """Where the request meets the cluster. ``node`` is ``None`` where every node behaves alike."""

    kind: EntryKind
    node: str | None
    address: str | None
    port: int | None
    protocol: str


class Backend(Value, frozen=True):
    """Where a request ends: ``pod`` is ``namespace/name``; ``host`` a name or node that is no pod."""

    pod: str | None = None
    ip: str | None = None
    port: int | None = None
    node: str | None = None
    host: str | None = None


class Outcome(Value, frozen=True):
    """What becomes of the request with this probability, and the object that decides it.

    ``code`` names the finding that explains a result other than delivered. ``status`` is how the outcome
    counts for the verdict: a wrong port on a cluster IP fails for certain although the objects cannot tell
    whether as a refusal or as a timeout, and an endpoint outside the cluster counts as fine although no
    object can tell whether it answers.
    """

    result: Result
    probability: float
    backend: Backend | None
    source_seen: SourceSeen
    reason: str
    code: str | None = None
    status: Status = Status.OK
    observed: EndSeen | None = None


class Hop(Value, frozen=True):
    """One step of the way. ``rules`` are a node's own rules that confirm or contradict it."""

    kind: HopKind
    title: str
    address: str | None = None
    port: int | None = None
    status: Status = Status.OK
    detail: str = ""
    rules: tuple[str, ...] = ()
    observed: HopSeen | None = None


class PortView(Value, frozen=True):
    """The Service port of a path. ``target_port`` is its number where it is one number."""

    name: str
    port: int
    target_port: int | None
    target_port_name: str | None


class Path(Value, frozen=True):
    client: Client
    entry: Entry
    service_port: PortView | None
    verdict: Verdict
    basis: Basis
    hops: tuple[Hop, ...]
    outcomes: tuple[Outcome, ...]
    observed: PathSeen | None = None


class TargetView(Value, frozen=True):
    """What was traced, after resolution: an object, and the names of its ports."""

    kind: str
    namespace: str
    name: str
    ports: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


class Trace(Value, frozen=True):
    """All ways of one request.

    ``services`` are the Services on the way, as (namespace, name). ``needs`` is what a further round would ask
    the source for.
    """

    verdict: Verdict
    target: TargetView
    paths: tuple[Path, ...]
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()
    notes: tuple[str, ...] = ()
    services: tuple[tuple[str, str], ...] = ()
    needs: tuple[Need, ...] = ()


def verdict_of(statuses: Iterable[Status]) -> Verdict:
    """The verdict of the outcomes' statuses: unknown is never green, one failure among others degrades."""
    seen = set(statuses)
    if not seen:
        return Verdict.UNKNOWN
    if seen == {Status.OK}:
        return Verdict.HEALTHY
    if seen == {Status.FAIL}:
        return Verdict.BROKEN
    return Verdict.DEGRADED if seen & {Status.FAIL, Status.WARN} else Verdict.UNKNOWN


def combined(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict of several paths: broken only when every one is, unknown before healthy."""
    seen = set(verdicts)
    if not seen:
        return Verdict.UNKNOWN
    if len(seen) == 1:
        return seen.pop()
    return Verdict.DEGRADED if seen & {Verdict.BROKEN, Verdict.DEGRADED} else Verdict.UNKNOWN
