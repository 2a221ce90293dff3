"""What differs of one Service itself: its fields, and the endpoints that it sends to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from svcdoctor.checks.changes.fields import Difference, differences, flat
from svcdoctor.model.endpoints import SliceEndpoint
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot

_PREFIX = "service.kubernetes.io/"  # labels and annotations that kube-proxy and controllers go by


def service_differences(before: Service, after: Service) -> Iterator[Difference]:
    """The fields in which a Service differs, with its load balancer's addresses."""
    if before is not after and before != after:
        yield from differences(_fields(before), _fields(after))


def _fields(service: Service) -> dict[str, str]:
    found = flat(service.spec, "spec")
    if "spec.clusterIPs" in found:
        found.pop("spec.clusterIP", None)  # its first one
    points = (f"{i.ip or i.hostname}" for i in service.ingress_points)
    if addresses := ", ".join(points):
        found["status.loadBalancer.ingress"] = addresses
    for name, values in (("labels", service.labels), ("annotations", service.metadata.annotations or {})):
        found |= {f"metadata.{name}['{k}']": v for k, v in values.items() if k.startswith(_PREFIX)}
    if service.metadata.deletion_timestamp is not None:
        found["metadata.deletionTimestamp"] = service.metadata.deletion_timestamp
    return found


def endpoints(snapshot: Snapshot, service: Service) -> dict[str, str]:
    """The Service's endpoints by their pod's name, or by address: where they are, and whether they are used."""
    found: dict[str, dict[str, list[str]]] = {}
    slices = snapshot.slices(service.namespace, service.name)
    for s in slices:
        for e in s.endpoints or ():
            where = f" on {e.node_name}" if e.node_name else ""
            for address in e.addresses or ():
                name = e.target_ref.name if e.target_ref is not None else address
                states = found.setdefault(name, {})
                states.setdefault(f"{where}, {_state(e)}", []).append(address)
    old = snapshot.endpoints(service.namespace, service.name) if not slices else None
    for subset in (old.subsets or ()) if old is not None else ():
        for state, addresses in (("ready", subset.addresses), ("not ready", subset.not_ready_addresses)):
            for a in addresses or ():
                name = a.target_ref.name if a.target_ref is not None else a.ip
                where = f" on {a.node_name}" if a.node_name else ""
                found.setdefault(name, {}).setdefault(f"{where}, {state}", []).append(a.ip)
    return {name: _joined(states) for name, states in found.items()}


def _joined(states: dict[str, list[str]]) -> str:
    parts = (f"{', '.join(sorted(set(addresses)))}{state}" for state, addresses in sorted(states.items()))
    return "; ".join(parts)


def _state(e: SliceEndpoint) -> str:
    if e.terminating:
        return "terminating, still serving" if e.serving else "terminating"
    return "ready" if e.ready else "not ready"


def endpoint_ports(snapshot: Snapshot, service: Service) -> str | None:
    """The ports of the Service's slices in words, ``None`` where it has none with endpoints."""
    slices = [s for s in snapshot.slices(service.namespace, service.name) if s.endpoints]
    ports = {(p.name or "", p.port or 0, p.protocol or "TCP") for s in slices for p in s.ports or ()}
    return _port_words(sorted(ports)) if slices else None


def _port_words(ports: Iterable[tuple[str, int, str]]) -> str:
    words = (f"{name + ' ' if name else ''}{number}/{protocol}" for name, number, protocol in ports)
    return ", ".join(words) or "none"


def nodes_of(snapshot: Snapshot, service: Service) -> set[str]:
    """The nodes that the Service's endpoints are on."""
    slices = snapshot.slices(service.namespace, service.name)
    return {e.node_name for s in slices for e in s.endpoints or () if e.node_name}
