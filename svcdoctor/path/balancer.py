"""The ways into a Service through its load balancer."""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import (
    ClientKind,
    Entry,
    EntryKind,
    Hop,
    HopKind,
    Path,
    Result,
    Status,
)
from svcdoctor.path import hops as h
from svcdoctor.path.byrules import merged
from svcdoctor.path.clients import node_address
from svcdoctor.path.deliver import Packet, Source, failed, in_source_ranges, to_frontend
from svcdoctor.path.policed import policed
from svcdoctor.path.tracing import OUTSIDE, Tracing
from svcdoctor.path.world import Frontend

SPREAD = 32  # nodes over which a balancer's requests are followed by their rules


def load_balancer_paths(t: Tracing, service: Service, port: ServicePort) -> list[Path]:
    points = service.ingress_points
    if not points and t.snapshot.would_be and not t.request.via:
        return []  # the address that it will have is in no manifest
    if not points:
        client, _ = t.source(OUTSIDE, 4, None)
        reason = "the load balancer has no address yet (EXTERNAL-IP <pending>)"
        outcome = failed(Result.UNKNOWN, reason, "EXT001", Status.WARN)
        entry = Entry(EntryKind.LOAD_BALANCER, None, None, port.port, port.protocol)
        hop = Hop(HopKind.LOAD_BALANCER, "load balancer", None, port.port, Status.WARN, reason)
        return [t.path(client, entry, service, port, [h.client_hop(client), hop], (outcome,))]
    found = []
    for point in points:
        address = canonical_or_none(point.ip) if point.ip else None
        frontend = Frontend(EntryKind.LOAD_BALANCER, service, port, point.ip_mode != "Proxy")
        asker = t.request.client
        if asker is not None and asker.kind is not ClientKind.EXTERNAL and address is not None:
            found.append(t.fronted(frontend, address, port.port, OUTSIDE, t.request.node))
        else:
            families = (6 if ":" in address else 4,) if address else t.families(service)[:1]
            found += [balanced_path(t, frontend, address or point.hostname, family) for family in families]
    return found


def balanced_path(t: Tracing, frontend: Frontend, address: str, family: int) -> Path:
    """From outside through the balancer, which sends to the nodes that pass its health check."""
    service, port = frontend.service, frontend.port
    client, source = t.source(OUTSIDE, family, None)
    direct = replace(frontend, proxied=True)
    packet = Packet(source, address, port.port, port.protocol)
    healthy: list[str | None] = [t.request.node]
    detail = ""
    if service.external_local and t.request.node is None:
        endpoints = t.world.endpoints(service, port, family)
        names = t.snapshot.node_names or tuple(sorted({e.node for e in endpoints if e.node}))
        healthy = [n for n in names if t.world.choice(service, port, family, n).local]
        if healthy:
            detail = f"health checks choose the nodes with an endpoint: {', '.join(map(str, healthy))}"
    elif t.request.node is None and t.world.hosts.names:
        healthy = list(t.world.hosts.names[:SPREAD])
    if healthy:
        deliveries = []
        for node in healthy:
            sent = _towards(t, packet, frontend, node)
            delivery = t.ruled(sent, to_frontend(t.world, packet, direct, node))
            deliveries.append(policed(t.view, sent, delivery))
        outcomes = tuple(
            replace(o, probability=o.probability / len(deliveries)) for d in deliveries for o in d.outcomes
        )
        ends = tuple(e for d in deliveries for e in d.ends) if all(d.ends for d in deliveries) else ()
        if ends:
            outcomes, ends = merged(outcomes, ends)
        policies = tuple(dict.fromkeys(h for d in deliveries for h in d.policies))
        delivery = replace(deliveries[0], outcomes=outcomes, ends=ends, policies=policies)
    else:
        delivery = policed(t.view, packet, to_frontend(t.world, packet, direct, None))
    entry = Entry(EntryKind.LOAD_BALANCER, t.request.node, address, port.port, port.protocol)
    path = t.assemble(client, entry, direct, delivery)
    if detail:
        steps = tuple(replace(s, detail=detail) if s.kind is HopKind.LOAD_BALANCER else s for s in path.hops)
        path = replace(path, hops=steps)
    if source.ip is None and in_source_ranges(service, None, family) is None:
        t.notes.append("clients outside loadBalancerSourceRanges are dropped; ask with --from external/IP")
    return path


def _towards(t: Tracing, packet: Packet, frontend: Frontend, node: str | None) -> Packet:
    """What the balancer sends to a node: the client's packet, or with ipMode Proxy one of its own to the nodePort.

    Specification: https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-ip-mode
    """
    address = node_address(t.snapshot, node, packet.family) if node is not None else None
    if frontend.proxied or address is None or not frontend.port.node_port:
        return replace(packet, enter=node)
    return replace(
        packet,
        source=Source(ClientKind.EXTERNAL),
        ip=address,
        port=frontend.port.node_port,
        enter=node,
    )
