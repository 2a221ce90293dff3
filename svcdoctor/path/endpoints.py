"""Which endpoints a Service port has, and which of them a node would use.

Theory. EndpointSlices are the truth: kube-proxy takes the slices that carry the Service's name in the
``kubernetes.io/service-name`` label, and of each the port with the Service port's name and protocol. v1
Endpoints are read only where no slices are held. For one node the endpoints fall into the *cluster* set
(ready ones, narrowed by topology hints; when none is left, terminating ones that still serve) and the *local*
set (the same on this node, decided separately). This is ``CategorizeEndpoints`` of kube-proxy
(KEP-1669, KEP-2086, KEP-2433, KEP-4444, KEP-3015).

What may live here: sets of endpoints. What a packet meets is in ``deliver``.
"""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.model.endpoints import (
    EndpointConditions,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    SliceEndpoint,
)
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import Value

SERVICE_LABEL = "kubernetes.io/service-name"


class Endpoint(Value, frozen=True):
    """One address and port that the Service may send to. ``pod`` is (namespace, name)."""

    ip: str
    port: int
    node: str | None
    ready: bool
    serving: bool
    terminating: bool
    pod: tuple[str, str] | None
    hostname: str | None
    zones: tuple[str, ...]
    nodes: tuple[str, ...]

    @property
    def draining(self) -> bool:
        """Terminating but still serving: the fallback when no endpoint is ready."""
        return self.serving and self.terminating

    @property
    def address(self) -> str:
        return f"[{self.ip}]:{self.port}" if ":" in self.ip else f"{self.ip}:{self.port}"


class Choice(Value, frozen=True):
    """What one node would use. ``any`` is false when the Service has no usable endpoint anywhere.

    ``topology`` is ``""``, ``"node"`` or ``"zone"``: which hints narrowed the cluster set.
    """

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    any: bool
    topology: str = ""
    draining: bool = False


def endpoints_known(snapshot: Snapshot, service: Service) -> bool:
    """Whether nothing is known to be hidden: an empty set of endpoints of what may not be read says nothing."""
    slices = Scope(service.namespace, ((SERVICE_LABEL, service.name),))
    if snapshot.why_unknown(Kind.ENDPOINT_SLICE, slices) is None:
        return True
    return snapshot.knows(Kind.ENDPOINTS, Scope(service.namespace, name=service.name))


def endpoints_of(
    snapshot: Snapshot, service: Service, port: ServicePort, family: int
) -> tuple[Endpoint, ...]:
    """Every endpoint of the port in the IP family (4 or 6), ready or not, without duplicates."""
    found: dict[tuple[str, int], Endpoint] = {}
    slices = snapshot.slices(service.namespace, service.name)
    if not slices and not snapshot.knows(Kind.ENDPOINT_SLICE):
        old = snapshot.endpoints(service.namespace, service.name)
        slices = slices_from(old) if old else ()
    for s in slices:
        if s.address_type != f"IPv{family}":
            continue
        number = port_of(s.ports or (), port)
        if number is None:
            continue
        for e in s.endpoints or ():
            for address in (e.addresses or ())[:1]:  # kube-proxy uses the first address only
                ip = canonical_or_none(address)
                if ip is not None:
                    known = found.get((ip, number))
                    new = _endpoint(e, ip, number)
                    # The same address in two slices: the better state wins, as in kube-proxy.
                    if known is None or (new.ready and not known.ready):
                        found[ip, number] = new
    return tuple(found.values())


def port_of(ports: Iterable[EndpointPort], port: ServicePort) -> int | None:
    """The slice port that belongs to a Service port: same name, same protocol, with a number."""
    for p in ports:
        if (p.name or "") == port.name and (p.protocol or "TCP") == port.protocol and p.port:
            return p.port
    return None


def ports_meant(service: Service, port: str) -> tuple[ServicePort, ...]:
    """The Service's ports, or the one of this name or number."""
    return tuple(p for p in service.ports if not port or port in (p.name, str(p.port)))


def _endpoint(e: SliceEndpoint, ip: str, port: int) -> Endpoint:
    ref = e.target_ref
    hints = e.hints
    return Endpoint(
        ip,
        port,
        e.node_name,
        e.ready,
        e.serving,
        e.terminating,
        (ref.namespace, ref.name) if ref is not None and ref.kind == "Pod" else None,
        e.hostname,
        tuple(z.name for z in hints.for_zones or ()) if hints else (),
        tuple(n.name for n in hints.for_nodes or ()) if hints else (),
    )


def slices_from(old: Endpoints) -> tuple[EndpointSlice, ...]:
    """v1 Endpoints in the shape of EndpointSlices."""
    slices = []
    for subset in old.subsets or ():
        for family in ("IPv4", "IPv6"):
            endpoints = [
                SliceEndpoint(
                    addresses=(a.ip,),
                    conditions=EndpointConditions(ready=ready, serving=ready, terminating=False),
                    hostname=a.hostname,
                    node_name=a.node_name,
                    target_ref=a.target_ref,
                )
                for ready, addresses in ((True, subset.addresses), (False, subset.not_ready_addresses))
                for a in addresses or ()
                if (":" in a.ip) == (family == "IPv6")
            ]
            if endpoints:
                slices.append(
                    EndpointSlice(address_type=family, endpoints=tuple(endpoints), ports=subset.ports)
                )
    return tuple(slices)


def uses_cluster(service: Service) -> bool:
    """Whether any traffic of the Service may go to endpoints of other nodes.

    True also for externalTrafficPolicy Local, whose traffic from pods and from the node is short-circuited
    to all endpoints.
    """
    return not service.internal_local or service.externally_accessible


def uses_local(service: Service) -> bool:
    return service.internal_local or (service.externally_accessible and service.external_local)


def choose(service: Service, endpoints: tuple[Endpoint, ...], node: str | None, zone: str) -> Choice:
    """What ``node`` in ``zone`` would use of ``endpoints``."""
    cluster: tuple[Endpoint, ...] = ()
    topology = ""
    draining = False
    if uses_cluster(service):
        ready = tuple(e for e in endpoints if e.ready)
        topology = _topology(ready, node, zone)
        if topology == "node":
            cluster = tuple(e for e in ready if node in e.nodes)
        elif topology == "zone":
            cluster = tuple(e for e in ready if zone in e.zones)
        else:
            cluster = ready
        if not cluster:
            cluster = tuple(e for e in endpoints if e.draining)
            draining = bool(cluster)
    if not uses_local(service):
        return Choice(cluster, (), bool(cluster), topology, draining)
    # Would-be pods have no node yet: with no node known they count as being where the client is.
    here = tuple(e for e in endpoints if e.node == node)
    local = tuple(e for e in here if e.ready)
    if not local:
        local = tuple(e for e in here if e.draining)
        draining = draining or bool(local)
    usable = any(e.ready or e.draining for e in endpoints)
    return Choice(cluster, local, bool(cluster) or bool(local) or usable, topology, draining)


def _topology(ready: tuple[Endpoint, ...], node: str | None, zone: str) -> str:
    """Which hints count: a node's only when all endpoints have them and one names this node, then zones'."""
    if not ready:
        return ""
    if node is not None and all(e.nodes for e in ready) and any(node in e.nodes for e in ready):
        return "node"
    if zone and all(e.zones for e in ready) and any(zone in e.zones for e in ready):
        return "zone"
    return ""
