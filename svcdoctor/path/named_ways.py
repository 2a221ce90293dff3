"""The ways that only DNS makes: headless Services and ExternalName, without a virtual address."""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.endpoints import SliceEndpoint
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.trace import (
    Backend,
    Entry,
    EntryKind,
    Hop,
    HopKind,
    Outcome,
    Path,
    Result,
    SourceSeen,
    Status,
)
from svcdoctor.path import hops as h
from svcdoctor.path.backends import endpoint_outcome
from svcdoctor.path.deliver import Delivery, Packet, none_ready
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.names import full_name
from svcdoctor.path.policed import policed
from svcdoctor.path.tracing import ANY_POD, Tracing


def headless_paths(t: Tracing, service: Service, port: ServicePort) -> list[Path]:
    """DNS answers with the pods' addresses; the client dials the port that it was given, untranslated."""
    if not t.wants(EntryKind.DNS):
        return []
    found = []
    for family in t.families(service):
        client, source = t.source(ANY_POD, family, None)
        endpoints = [e for e in t.world.endpoints(service, port, family) if e.ready]
        name = full_name(service)
        if t.record is not None:
            name = f"{t.record}.{name}"
            endpoints = [e for e in endpoints if e.hostname == t.record]
        share = 1.0 / len(endpoints) if endpoints else 0.0
        outcomes = tuple(_untranslated(t, e, port, share) for e in endpoints)
        if not outcomes:
            whose = f"no ready pod has the hostname {t.record}" if t.record else "no endpoint is ready"
            reason = f"{name} has no IPv{family} records: {whose}"
            outcomes = (none_ready(t.snapshot, service, reason, "DNS011" if t.record else None),)
        client_ns = client.name.partition("/")[0] if client.name else service.namespace
        dns = replace(h.dns_hop(service, None, client_ns), title=name)
        packet = Packet(source, "::" if family == 6 else "0.0.0.0", port.port, port.protocol)
        delivery = policed(t.view, packet, Delivery(outcomes))
        steps = [h.client_hop(client), dns, h.service_hop(service, port), *delivery.policies]
        steps += h.backend_hops(delivery.outcomes)
        entry = Entry(EntryKind.DNS, None, name, port.port, port.protocol)
        found.append(t.path(client, entry, service, port, steps, delivery.outcomes))
    return found


def portless_paths(t: Tracing, service: Service) -> list[Path]:
    """A headless Service without ports: DNS gives the pods' addresses, and the client chooses the port."""
    if not t.wants(EntryKind.DNS):
        return []
    found = []
    for family in t.families(service):
        client, _ = t.source(ANY_POD, family, None)
        ready = [
            e
            for s in t.snapshot.slices(service.namespace, service.name)
            if s.address_type == f"IPv{family}"
            for e in s.endpoints or ()
            if e.ready and e.addresses and t.record in (None, e.hostname)
        ]
        outcomes = tuple(_anywhere(e, 1.0 / len(ready)) for e in ready)
        if not outcomes:
            reason = f"{full_name(service)} has no IPv{family} records: no endpoint is ready"
            outcomes = (none_ready(t.snapshot, service, reason),)
        client_ns = client.name.partition("/")[0] if client.name else service.namespace
        steps = [h.client_hop(client), h.dns_hop(service, None, client_ns), *h.backend_hops(outcomes)]
        entry = Entry(EntryKind.DNS, None, full_name(service), None, "TCP")
        found.append(t.path(client, entry, service, None, steps, outcomes))
    return found


def _anywhere(endpoint: SliceEndpoint, share: float) -> Outcome:
    """A pod's address without a port."""
    ref = endpoint.target_ref
    pod = f"{ref.namespace}/{ref.name}" if ref is not None and ref.kind == "Pod" else None
    ip = next(iter(endpoint.addresses or ()), None)
    backend = Backend(pod, ip, None, endpoint.node_name)
    return Outcome(
        Result.DELIVERED,
        share,
        backend,
        SourceSeen.CLIENT,
        "the Service has no ports: the client chooses one",
    )


def _untranslated(t: Tracing, endpoint: Endpoint, port: ServicePort, share: float) -> Outcome:
    dialled = replace(endpoint, port=port.port)
    outcome = endpoint_outcome(t.world, dialled, port, share)
    if outcome.code == "OBJ013" and dialled.port != endpoint.port:
        reason = f"{outcome.reason}; targetPort {port.target} does not apply to a headless Service"
        return replace(outcome, reason=reason, code="OBJ025")
    return outcome


def external_name_path(t: Tracing, service: Service) -> Path:
    client, _ = t.source(ANY_POD, 4, None)
    target = service.spec.external_name
    client_ns = client.name.partition("/")[0] if client.name else service.namespace
    reason = f"DNS answers with a CNAME to {target}; what answers there is outside the cluster"
    backend = Backend(host=target or None)
    outcome = Outcome(Result.UNKNOWN, 1.0, backend, SourceSeen.UNKNOWN, reason, None, Status.OK)
    steps = [
        h.client_hop(client),
        h.dns_hop(service, None, client_ns),
        Hop(
            HopKind.SERVICE,
            f"Service {service.namespace}/{service.name}",
            None,
            None,
            Status.OK,
            "ExternalName: no proxying, no ports, no endpoints",
        ),
        Hop(HopKind.ENDPOINT, f"CNAME {target}", target, None, Status.OK, reason),
    ]
    entry = Entry(EntryKind.DNS, None, full_name(service), None, "TCP")
    return t.path(client, entry, service, None, steps, (outcome,))
