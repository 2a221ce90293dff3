"""The hops of a path: each step in words, with real addresses.

What may live here: turning a decided delivery into the steps that a person reads. Nothing is decided here.
"""

from __future__ import annotations

from functools import lru_cache

from msgspec.structs import replace

from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import (
    Client,
    ClientKind,
    EntryKind,
    Hop,
    HopKind,
    Outcome,
    PortView,
    Result,
    SourceSeen,
    Status,
)
from svcdoctor.path.deliver import Delivery
from svcdoctor.path.names import full_name


def client_hop(client: Client) -> Hop:
    what = {ClientKind.EXTERNAL: "client outside the cluster", ClientKind.NODE: "node", ClientKind.POD: "pod"}
    if client.kind is ClientKind.EXTERNAL:
        title = what[client.kind]
    elif client.name is None:
        title = f"any {what[client.kind]}"
    else:
        title = f"{what[client.kind]} {client.name}"
    return Hop(HopKind.CLIENT, title, client.ip)


def dns_hop(service: Service, address: str | None, client_namespace: str) -> Hop:
    """The name of a Service, and the short form that the search list of the client's namespace completes."""
    short = service.name if client_namespace == service.namespace else f"{service.name}.{service.namespace}"
    detail = f"{short} is completed by the search list of namespace {client_namespace}"
    return Hop(HopKind.DNS, full_name(service), address, None, Status.OK, detail)


def node_hop(snapshot: Snapshot, node: str | None, address: str | None) -> Hop:
    if node is None:
        return Hop(HopKind.NODE, "<any node>", address, None, Status.OK)
    known = snapshot.node(node)
    if known is not None and not known.ready:
        return Hop(HopKind.NODE, f"node {node}", address, None, Status.WARN, "the node is NotReady")
    return Hop(HopKind.NODE, f"node {node}", address)


def service_hop(service: Service, port: ServicePort) -> Hop:
    name = f" {port.name}" if port.name else ""
    address = next(iter(service.cluster_ips), None)
    title = f"Service {service.namespace}/{service.name}{name}"
    detail = f"targetPort {port.target}" if not service.headless else "headless: no translation"
    return Hop(HopKind.SERVICE, title, address, port.port, Status.OK, detail)


def policy_hop(service: Service, kind: EntryKind, delivery: Delivery, family: int) -> Hop:
    """Which endpoints the entry may use, affinity, and whether the client's address survives."""
    external = kind in (EntryKind.NODE_PORT, EntryKind.LOAD_BALANCER, EntryKind.EXTERNAL_IP)
    policy = "externalTrafficPolicy" if external else "internalTrafficPolicy"
    value = (
        service.spec.external_traffic_policy if external else service.spec.internal_traffic_policy
    ) or "Cluster"
    parts = ["endpoints of every node" if value == "Cluster" else "endpoints of this node only"]
    elsewhere = {o.backend.node for o in delivery.outcomes if o.backend} - {delivery.node}
    if value == "Local" and external and elsewhere and delivery.node is not None:
        parts = ["endpoints of every node: the policy does not hold for pods and the node itself"]
    choice = delivery.choice
    if choice is not None and choice.topology:
        parts.append(f"narrowed to this {choice.topology} by topology hints")
    if choice is not None and choice.draining:
        parts.append("no endpoint is ready: terminating ones that still serve are used")
    if service.affinity_seconds:
        parts.append(
            f"a client keeps its endpoint for {service.affinity_seconds} s (sessionAffinity ClientIP)"
        )
    seen = {o.source_seen for o in delivery.outcomes if o.result is Result.DELIVERED}
    if seen == {SourceSeen.NODE, SourceSeen.CLIENT}:
        parts.append("SNAT for some: not every pod sees the client's address")
    elif SourceSeen.NODE in seen:
        parts.append("SNAT: the pod sees a node's address, not the client's")
    elif seen == {SourceSeen.CLIENT}:
        parts.append("no SNAT: the pod sees the client's address")
    ranges = service.source_ranges(family)
    if kind is EntryKind.LOAD_BALANCER and ranges:
        parts.append(f"only from {', '.join(ranges)}")
    codes = {o.code for o in delivery.outcomes}
    bad = codes & {"RUL009", "RUL010", "EXT002"}
    return Hop(
        HopKind.POLICY,
        f"{policy} {value}",
        None,
        None,
        Status.FAIL if bad else Status.OK,
        "; ".join(parts),
    )


def port_view(service: Service, port: ServicePort, outcomes: tuple[Outcome, ...]) -> PortView:
    """The Service port with its targetPort, resolved where every endpoint has the same number."""
    numbers = {o.backend.port for o in outcomes if o.backend is not None}
    name = port.target if isinstance(port.target, str) else None
    if service.headless:
        number = port.target if isinstance(port.target, int) else None
    elif len(numbers) == 1:
        number = next(iter(numbers))
    else:
        number = port.target if isinstance(port.target, int) else None
    return PortView(port.name, port.port, number, name)


def backend_hops(outcomes: tuple[Outcome, ...]) -> tuple[Hop, ...]:
    """The endpoint summary, then each backend's pod and container; or where the way ends before that."""
    with_backend = [o for o in outcomes if o.backend is not None]
    if not with_backend:
        return tuple(
            Hop(
                HopKind.ENDPOINT,
                f"no endpoint: {o.result}",
                None,
                None,
                Status.UNKNOWN if o.status is Status.UNKNOWN else Status.FAIL,
                o.reason,
            )
            for o in outcomes
        )
    hops = [_endpoint_hop(with_backend)]
    for outcome in with_backend:
        backend = outcome.backend
        if backend is None:
            continue
        share = percent(outcome.probability)
        where = f" on {backend.node}" if backend.node else ""
        if backend.pod is None:
            title = f"host {backend.host}" if backend.host else f"address {backend.ip}"
            detail = f"{share}{where}; {outcome.reason}"
            hops.append(Hop(HopKind.ENDPOINT, title, backend.ip, backend.port, outcome.status, detail))
            continue
        hops.append(
            Hop(
                HopKind.POD, f"pod {backend.pod}", backend.ip, backend.port, outcome.status, f"{share}{where}"
            )
        )
        hops.append(Hop(HopKind.CONTAINER, "container", None, backend.port, outcome.status, outcome.reason))
    return tuple(hops)


def with_ends(steps: list[Hop], outcomes: tuple[Outcome, ...]) -> list[Hop]:
    """The steps with the hops of the backends, the last ones, made anew for outcomes that changed; rules stay."""
    ends = backend_hops(outcomes)
    before = len(steps) - len(ends)
    return [*steps[:before], *(replace(e, rules=s.rules) for e, s in zip(ends, steps[before:], strict=True))]


def _endpoint_hop(outcomes: list[Outcome]) -> Hop:
    n = len(outcomes)
    shares = {percent(o.probability) for o in outcomes}
    each = f"{shares.pop()} each" if len(shares) == 1 and n > 1 else ""
    good = sum(o.status is Status.OK for o in outcomes)
    status = Status.OK if good == n else Status.WARN if good else outcomes[0].status
    return Hop(HopKind.ENDPOINT, f"{n} endpoint{'s' if n != 1 else ''}", None, None, status, each)


@lru_cache(maxsize=4096)
def percent(probability: float) -> str:
    """A share as people write it: ``33.3 %``, ``50 %``."""
    text = f"{probability * 100:.1f}".removesuffix(".0")
    return f"{text} %"


ENTRIES = frozenset(
    {HopKind.CLUSTER_IP, HopKind.NODE_PORT, HopKind.LOAD_BALANCER, HopKind.EXTERNAL_IP, HopKind.HOST_PORT}
)


def with_rules(steps: list[Hop], delivery: Delivery) -> list[Hop]:
    """The hops with the rules that decide them: what all ways share at the entry, the rest at its pod."""
    ways = [[f"{p.node}: {rule}" for p in end.passages for rule in p.rules] for end in delivery.ends]
    if not ways:
        return steps
    shared = 0
    while all(len(w) > shared and w[shared] == ways[0][shared] for w in ways):
        shared += 1
    found = []
    rest = iter([tuple(w[shared:]) for w in ways])
    entered = False
    for hop in steps:
        if hop.kind in ENTRIES and not entered:
            entered = True
            hop = replace(hop, rules=tuple(ways[0][:shared]))
        elif hop.kind is HopKind.POD or (hop.kind is HopKind.ENDPOINT and not _counts(hop)):
            hop = replace(hop, rules=next(rest, ()))
        found.append(hop)
    return found


def _counts(hop: Hop) -> bool:
    """Whether the hop is the line that counts the endpoints, not one of them."""
    return hop.title.endswith((" endpoint", " endpoints"))
