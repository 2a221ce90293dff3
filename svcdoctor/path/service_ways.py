"""The ways into a Service: by cluster IP, nodePort, external IP, DNS name, Ingress."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import ClientKind, EntryKind, Path
from svcdoctor.path.address_ways import address_path
from svcdoctor.path.balancer import load_balancer_paths
from svcdoctor.path.clients import node_address
from svcdoctor.path.deliver import Packet, Source, to_frontend
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.ingress import backend_port, routes
from svcdoctor.path.ingress_ways import routed_path
from svcdoctor.path.named_ways import external_name_path, headless_paths, portless_paths
from svcdoctor.path.tracing import ANY_POD, OUTSIDE, Tracing
from svcdoctor.path.world import Frontend


def service_paths(t: Tracing, service: Service, port: str | None = None) -> list[Path]:
    """Every path into the Service, by each of its ports, or the one named."""
    ns = service.namespace
    view = t.view
    t.ask_for(service)
    ports = _ports(t, service, port)
    if not ports and port is not None and service.cluster_ips and port.isdecimal():
        return [address_path(t, service.cluster_ips[0], int(port), t.request.protocol or "TCP")]
    paths: list[Path] = []
    if service.headless and not service.ports and port is None:
        return portless_paths(t, service)
    if service.type == "ExternalName":
        return [external_name_path(t, service)] if t.wants(EntryKind.DNS) else []
    for p in ports:
        if service.headless:
            paths += headless_paths(t, service, p)
            continue
        paths += _cluster_ip(t, service, p)
        # A manifest need not say the number: the API server picks one. A load balancer may do without.
        has_node_port = service.type == "NodePort" or (service.type == "LoadBalancer" and p.node_port)
        if has_node_port and t.wants(EntryKind.NODE_PORT):
            paths += _node_ports(t, service, p)
        if service.type == "LoadBalancer" and t.wants(EntryKind.LOAD_BALANCER):
            paths += load_balancer_paths(t, service, p)
        if t.wants(EntryKind.EXTERNAL_IP):
            for ip in service.spec.external_ips or ():
                canonical = canonical_or_none(ip)
                if canonical is not None and (6 if ":" in canonical else 4) in t.families(service):
                    frontend = Frontend(EntryKind.EXTERNAL_IP, service, p)
                    paths.append(t.fronted(frontend, canonical, p.port, OUTSIDE, t.request.node))
    if t.wants(EntryKind.INGRESS) and t.request.client is None:
        for ingress in t.snapshot.of(Kind.INGRESS) if view.complete(Kind.INGRESS, Scope(ns)) else ():
            if ingress.namespace == ns:
                for route in routes(ingress):
                    backend = route.backend.target
                    if backend is not None and backend.name == service.name:
                        chosen = backend_port(service, backend.port)
                        if chosen is not None and chosen in ports:
                            paths.append(routed_path(t, ingress.name, ns, route, service, chosen))
    return paths


def _ports(t: Tracing, service: Service, port: str | None) -> list[ServicePort]:
    protocol = t.request.protocol
    return [
        p
        for p in service.ports
        if (protocol is None or p.protocol == protocol)
        and (port is None or p.name == port or (port.isdecimal() and p.port == int(port)))
    ]


def _cluster_ip(t: Tracing, service: Service, port: ServicePort) -> list[Path]:
    kind = (
        EntryKind.DNS
        if t.wants(EntryKind.DNS) and not t.wants(EntryKind.CLUSTER_IP)
        else EntryKind.CLUSTER_IP
    )
    if not t.wants(kind):
        return []
    found = []
    for ip in service.cluster_ips:
        canonical = canonical_or_none(ip)
        if canonical is None or (6 if ":" in canonical else 4) not in t.families(service):
            continue
        frontend = Frontend(EntryKind.CLUSTER_IP, service, port)
        for node, detail in _nodes_that_differ(t, service, port, 6 if ":" in canonical else 4):
            path = t.fronted(frontend, canonical, port.port, ANY_POD, node, kind)
            if detail:
                path = replace(path, hops=(replace(path.hops[0], detail=detail), *path.hops[1:]))
            found.append(path)
    return found


def _nodes_that_differ(
    t: Tracing, service: Service, port: ServicePort, family: int
) -> Iterable[tuple[str | None, str]]:
    """The nodes on which a cluster IP behaves differently, one of each, with who behaves alike."""
    client = t.request.client
    if client is not None and client.name is not None:
        return [(None, "")]
    if t.request.node is not None:
        return [(t.request.node, f"on node {t.request.node}")]
    endpoints = t.world.endpoints(service, port, family)
    hints = any(e.zones or e.nodes for e in endpoints)
    if t.world.hosts.names:
        return _nodes_with_other_rules(t, service, port, family)
    if not (service.internal_local or hints):
        return [(None, "")]
    names: list[str | None] = [*t.snapshot.node_names]
    if not names:
        names = _nodes_with_endpoints(t, endpoints)
    groups: dict[tuple[tuple[Endpoint, ...], ...], list[str | None]] = {}
    for name in names:
        choice = t.world.choice(service, port, family, name)
        groups.setdefault((choice.cluster, choice.local), []).append(name)
    if len(groups) == 1:
        return [(names[0] if service.internal_local else None, "")]
    return [(members[0], _where(members)) for members in groups.values()]


def _nodes_with_other_rules(
    t: Tracing, service: Service, port: ServicePort, family: int
) -> Iterable[tuple[str | None, str]]:
    """The nodes whose own rules treat a pod's packet to the cluster IP differently, one of each."""
    ip = next(c for i in service.cluster_ips if (c := canonical_or_none(i)) and (":" in c) == (family == 6))
    frontend = Frontend(EntryKind.CLUSTER_IP, service, port)
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in t.world.hosts.names:
        packet = Packet(Source(ClientKind.POD, None, name), ip, port.port, port.protocol)
        delivery = t.ruled(packet, to_frontend(t.world, packet, frontend, name))
        signature = tuple((o.result, o.backend, o.code) for o in delivery.outcomes)
        groups.setdefault(signature, []).append(name)
    if len(groups) == 1:
        return [(t.stand_in if service.internal_local else None, "")]
    return [(members[0], _where(members)) for members in groups.values()]


def _where(members: Sequence[str | None]) -> str:
    shown = ", ".join(m or "any other node" for m in members[:6])
    more = f" and {len(members) - 6} more" if len(members) > 6 else ""
    return f"on {shown}{more}"


def _node_ports(t: Tracing, service: Service, port: ServicePort) -> list[Path]:
    frontend = Frontend(EntryKind.NODE_PORT, service, port)
    found = []
    for family in t.families(service):
        for node in _entry_nodes(t, service, port, family):
            address = node_address(t.snapshot, node, family) if node else None
            if node is not None and address is None and t.snapshot.node(node) is not None:
                continue
            found.append(t.fronted(frontend, address, port.node_port, OUTSIDE, node, family=family))
    return found


def _entry_nodes(t: Tracing, service: Service, port: ServicePort, family: int) -> list[str | None]:
    wanted = t.request.node
    names = t.snapshot.node_names
    if wanted is not None:
        if names and t.view.complete(Kind.NODE) and wanted not in names:
            raise SvcdoctorError(f"--node {wanted}: no such node (there are {', '.join(names[:8])})")
        return [wanted]
    if names:
        return _different(t, service, port, family) if t.request.brief else [*names]
    if service.external_local:
        endpoints = t.world.endpoints(service, port, family)
        return _nodes_with_endpoints(t, endpoints)
    return [None]


def _different(t: Tracing, service: Service, port: ServicePort, family: int) -> list[str | None]:
    """The nodes that a nodePort behaves differently on: where all send to the same endpoints, one Ready one and
    all others."""
    names = t.snapshot.node_names
    endpoints = t.world.endpoints(service, port, family)
    special = (
        service.external_local
        or t.world.hosts.names
        or (port.protocol, port.node_port) in t.world.host_ports
        or any(e.zones or e.nodes for e in endpoints)
    )
    if special:
        return [*names]
    ready = [n for n in names if (node := t.snapshot.node(n)) is not None and node.ready]
    return [*ready[:1], *(n for n in names if n not in frozenset(ready))]


def _nodes_with_endpoints(t: Tracing, endpoints: tuple[Endpoint, ...]) -> list[str | None]:
    """The nodes that are known by their endpoints, where nodes themselves may not be listed."""
    names: list[str | None] = [*sorted({e.node for e in endpoints if e.node})]
    if names:
        t.notes.append("nodes are not known: traffic on a node without an endpoint is dropped (policy Local)")
    return names or [None]
