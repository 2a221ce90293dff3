"""RUL017: traffic that should stay near, and does not, or too much of it does.

Theory. The EndpointSlice controller writes hints (for which zones, for which nodes an endpoint is meant), and
kube-proxy follows them only where every ready endpoint has one and some are for its own zone or node. One endpoint
without a hint, or a node without a zone, and all endpoints are used. Where hints work, a zone's clients share that
zone's endpoints, however few these are: how much each of them gets is reckoned here with clients spread evenly over
the Ready nodes that are no control plane.

Specification: KEP-2433, KEP-4444, KEP-3015, and
https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.cluster import Node
from svcdoctor.model.endpoints import SliceEndpoint
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.path.endpoints import uses_cluster
from svcdoctor.path.zoneload import node_hints, shares, zone_hints

TOO_MUCH = 2.0  # times the mean share from which an endpoint counts as overloaded
ANNOTATIONS = (  # the older one counts where both are set
    "service.kubernetes.io/topology-aware-hints",
    "service.kubernetes.io/topology-mode",
)
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the Service asks for: in words, by which field, and whether by the annotation's heuristics or per node."""

    words: str
    field: str
    auto: bool = False
    by_node: bool = False


def _wish(service: Service) -> Wish | None:
    annotations = service.metadata.annotations or {}
    for key in ANNOTATIONS:
        value = annotations.get(key)
        if value is not None:
            field = f"metadata.annotations['{key}']"
            if value in ("Auto", "auto"):
                return Wish(f"annotation {key}: {value}", field, auto=True)
            break  # any other value turns the annotation off
    value = service.spec.traffic_distribution
    if not value:
        return None
    return Wish(f"trafficDistribution {value}", "spec.trafficDistribution", by_node=value == "PreferSameNode")


def _misspelt(service: Service) -> tuple[str, str] | None:
    """The annotation that counts, where its value is none that Kubernetes knows."""
    annotations = service.metadata.annotations or {}
    for key in ANNOTATIONS:
        value = annotations.get(key)
        if value is not None:
            known = value in ("Auto", "auto", "Disabled", "disabled", "")
            return None if known or "/" in value or "." in value else (key, value)
    return None


@check(
    "RUL017",
    "Traffic is not kept near as the Service asks, or a zone is overloaded",
    Severity.WARNING,
    meaning=(
        "By spec.trafficDistribution or the annotation topology-mode kube-proxy prefers endpoints of the client's "
        "zone or node, as hints in the EndpointSlices say. Where an endpoint has no hint, or a node no zone, all "
        "endpoints are used; where hints work, a zone with few endpoints and many clients is overloaded while others "
        "idle."
    ),
    look=(
        "kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml (hints, zone); "
        "kubectl get nodes -L topology.kubernetes.io/zone"
    ),
    mend=(
        "Give every node the label topology.kubernetes.io/zone and every zone endpoints in proportion to its clients "
        "(topologySpreadConstraints in the workload's template), or leave the preference out."
    ),
    links=(
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#traffic-distribution",
        "https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/#safeguards",
        "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3015-prefer-same-node",
    ),
)
def kept_near(case: Case) -> Iterator[Raised]:
    if case.view.snapshot.would_be:
        return
    for service in case.services:
        misspelt = _misspelt(service)
        if misspelt is not None:
            yield _not_understood(service, *misspelt)
        wish = _wish(service)
        if wish is None or service.type == "ExternalName":
            continue
        if service.headless:
            yield Raised(
                (subject(service),),
                (wish.words, "clusterIP is None"),
                "Clients of a headless Service choose among all addresses of the DNS answer; kube-proxy, which would "
                "prefer near ones, is not involved.",
                f"kubectl -n {service.namespace} edit svc {service.name}",
                Severity.INFO,
                wish.field,
            )
        elif uses_cluster(service) and case.view.complete(Kind.NODE):
            yield from _judged(case, service, wish)


def _not_understood(service: Service, key: str, value: str) -> Raised:
    return Raised(
        (subject(service),),
        (f"annotation {key}: {value}",),
        "Kubernetes knows Auto and Disabled there: with any other value no hint is written.",
        f"kubectl -n {service.namespace} annotate svc {service.name} --overwrite {key}=Auto",
        field=f"metadata.annotations['{key}']",
    )


def _judged(case: Case, service: Service, wish: Wish) -> Iterator[Raised]:
    ready = _ready(case, service)
    zones = case.view.snapshot.nodes_by_zone
    named = sorted(z for z in zones if z)
    if not ready or not zones:
        return
    if not named:
        if len(zones[""]) > 1 and not wish.by_node:
            yield _said(
                service, wish, ("no node has a zone",), f"Without the label {ZONE_LABEL} on the nodes there is no "
                "nearer endpoint: all are used.", _label(zones[""][0].name), Severity.INFO,
            )  # fmt: skip
        return
    by_node = wish.by_node and all(node_hints(e) for e in ready)
    without = [e for e in ready if not zone_hints(e)]
    if by_node or not without:
        if not by_node and "" in zones and len(named) > 1:
            yield _nodes_without_zone(service, wish, zones[""])
        yield from _overloaded(service, wish, ready, zones, by_node)
        return
    yield _ignored(service, wish, ready, without, zones, named)


def _ready(case: Case, service: Service) -> list[SliceEndpoint]:
    """The ready endpoints with any port, of one family: hints do not differ between families."""
    slices = case.view.snapshot.slices(service.namespace, service.name)
    families = service.spec.ip_families or ("IPv4", "IPv6")
    for family in families:
        found = [
            e for s in slices if s.address_type == family and s.ports for e in s.endpoints or () if e.ready
        ]
        if found:
            return found
    return []


def _name(e: SliceEndpoint) -> str:
    return e.target_ref.name if e.target_ref is not None else (e.addresses or ("?",))[0]


def _label(node: str) -> str:
    return f"kubectl label node {node} {ZONE_LABEL}=ZONE"


def _said(
    service: Service,
    wish: Wish,
    evidence: tuple[str, ...],
    explanation: str,
    fix: str,
    severity: Severity | None = None,
    nodes: tuple[str, ...] = (),
) -> Raised:
    subjects = (subject(service), *(f"Node/{n}" for n in nodes[:5]))
    return Raised(subjects, (wish.words, *evidence), explanation, fix, severity, wish.field)


def _nodes_without_zone(service: Service, wish: Wish, nodes: tuple[Node, ...]) -> Raised:
    names = tuple(n.name for n in nodes)
    return _said(
        service, wish, (f"nodes without a zone: {listed(names)}",),
        "kube-proxy on these nodes does not know what is near: it uses all endpoints.",
        _label(names[0]), nodes=names,
    )  # fmt: skip


def _ignored(
    service: Service,
    wish: Wish,
    ready: list[SliceEndpoint],
    without: list[SliceEndpoint],
    zones: dict[str, tuple[Node, ...]],
    named: list[str],
) -> Raised:
    """Not every endpoint has a hint: kube-proxy then looks at none, and here is why one has none."""
    evidence = [f"{len(without)} of {len(ready)} ready endpoints have no hint: {listed(map(_name, without))}"]
    if not any(map(zone_hints, ready)):
        evidence = [f"none of the {len(ready)} ready endpoints has a hint"]
    homeless = [e for e in without if not e.zone]
    nodes = tuple(dict.fromkeys(e.node_name for e in homeless if e.node_name))
    severity, fix = None, f"kubectl -n {service.namespace} describe svc {service.name}"
    unlabelled = tuple(n.name for n in zones.get("", ()))
    if homeless:
        where = f", on {listed(nodes)}" if nodes else " and no node"
        evidence.append(f"without a zone: {listed(map(_name, homeless))}{where}")
        why = f"The controller takes an endpoint's zone from its node's label {ZONE_LABEL}."
        fix = _label(nodes[0]) if nodes else f"write zone and hints into the EndpointSlices of {service.name}"
    elif wish.auto and unlabelled:
        nodes = unlabelled
        evidence.append(f"nodes without a zone: {listed(unlabelled)}")
        why = "With Auto the controller writes no hints unless every node has a zone and reports its CPUs."
        fix = _label(unlabelled[0])
    elif wish.auto:
        severity = Severity.INFO
        evidence.append(f"{len(ready)} endpoints for {len(named)} zones: {', '.join(named[:6])}")
        why = (
            "With Auto the controller writes hints only where endpoints can be shared out in proportion to the "
            "zones' CPUs; with fewer than three endpoints in each zone that fails more often than not. "
            "trafficDistribution: PreferSameZone (before 1.34 PreferClose) has no such conditions."
        )
    else:
        why = (
            "All endpoints have a zone, yet nobody wrote hints: the cluster's controllers are older than the field "
            "(1.31; PreferSameZone and PreferSameNode 1.34), or the slices are not theirs."
        )
    return _said(
        service, wish, tuple(evidence), f"kube-proxy ignores all hints of the Service and uses every endpoint. {why}",
        fix, severity, nodes,
    )  # fmt: skip


def _overloaded(
    service: Service,
    wish: Wish,
    ready: list[SliceEndpoint],
    zones: dict[str, tuple[Node, ...]],
    by_node: bool,
) -> Iterator[Raised]:
    """Endpoints that get several times the mean, with clients spread evenly over the nodes."""
    parts, lines = shares(ready, zones, by_node)
    times = [round(part * len(ready), 6) for part in parts]
    worst = max(times)
    if worst < TOO_MUCH:
        return
    loaded = [_name(e) for e, n in zip(ready, times, strict=True) if n >= TOO_MUCH]
    yield _said(
        service,
        wish,
        (
            *lines[:6],
            f"most loaded: {listed(loaded)}, with {worst:.1f} times what an even spread over {len(ready)} "
            "endpoints would give",
        ),
        "Near clients share near endpoints, however few there are: these take more than their part while others "
        "idle. Clients are taken as spread evenly over the nodes.",
        "topologySpreadConstraints with topologyKey "
        f"{'kubernetes.io/hostname' if by_node else ZONE_LABEL} in the workload's template, or: "
        f"kubectl -n {service.namespace} "
        + (
            f"annotate svc {service.name} {wish.field.partition(chr(39))[2].rstrip(chr(39) + ']')}-"
            if wish.auto
            else f'patch svc {service.name} -p \'{{"spec":{{"trafficDistribution":null}}}}\''
        ),
    )
