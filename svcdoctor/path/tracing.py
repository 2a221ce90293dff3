"""One question being traced: its client, its packets, and how a path is put together."""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.facts import Kind, Scope, selector_scope
from svcdoctor.model.request import ClientSpec, Request
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import (
    ROUTED,
    Basis,
    Client,
    ClientKind,
    Entry,
    EntryKind,
    Hop,
    HopKind,
    Outcome,
    Path,
    Status,
    verdict_of,
)
from svcdoctor.path import hops as h
from svcdoctor.path.byrules import by_rules, placed
from svcdoctor.path.clients import client_of, node_address, source_of
from svcdoctor.path.deliver import Delivery, Packet, Source, to_frontend
from svcdoctor.path.endpoints import SERVICE_LABEL
from svcdoctor.path.mesh import outsider, refused
from svcdoctor.path.policed import policed
from svcdoctor.path.view import View
from svcdoctor.path.world import Frontend

ANY_POD = ClientSpec(ClientKind.POD)
OUTSIDE = ClientSpec(ClientKind.EXTERNAL)
_FAMILIES = {"IPv4": 4, "IPv6": 6}
_ROUTE = "taken for granted: the network routes the Service range to a node"


class Tracing:
    """One question to one Snapshot. ``namespace`` is the client's, for short names."""

    def __init__(self, view: View, request: Request, namespace: str) -> None:
        self.view = view
        self.snapshot = view.snapshot
        self.world = view.world
        self.request = request
        self.namespace = namespace
        self.notes: list[str] = []
        self.services: dict[tuple[str, str], None] = {}
        self.only: frozenset[EntryKind] = frozenset()  # what the target itself leaves of the entries
        self.record: str | None = None  # one pod's record of a headless Service

    @property
    def stand_in(self) -> str | None:
        """The node whose rules stand for all where the question names none."""
        return self.request.node or next(iter(self.world.hosts.names), None)

    def wants(self, kind: EntryKind) -> bool:
        """Whether paths by this entry were asked for: all are, unless ``via`` or a DNS name says less."""
        if self.only and kind not in self.only:
            return False
        return not self.request.via or kind in self.request.via

    def prefetch(self, namespace: str, name: str) -> None:
        """Notes what a trace of this Service will surely need, before the Service itself is known."""
        if self.snapshot.service(namespace, name) is None:
            self.view.complete(Kind.ENDPOINT_SLICE, Scope(namespace, ((SERVICE_LABEL, name),)))
            self.view.complete(Kind.NODE)
            self.view.complete(Kind.INGRESS, Scope(namespace))
            self.view.complete(Kind.NETWORK_POLICY, Scope(namespace))

    def families(self, service: Service) -> tuple[int, ...]:
        named = service.spec.ip_families or tuple(
            "IPv6" if ":" in ip else "IPv4" for ip in service.cluster_ips
        )
        found = tuple(_FAMILIES[f] for f in named if f in _FAMILIES) or (4,)
        wanted = self.request.family
        return found if wanted is None else tuple(f for f in found if f == wanted)

    def source(self, default: ClientSpec, family: int, node: str | None) -> tuple[Client, Source]:
        spec = self.request.client or default
        source = source_of(self.view, spec, self.namespace, family)
        if source.pod is not None:
            self.view.complete(Kind.NETWORK_POLICY, Scope(source.pod[0]))
        if spec.kind is ClientKind.POD and spec.name is None:
            source = replace(source, node=node)
        return client_of(spec, source, self.namespace), source

    def fronted(
        self,
        frontend: Frontend,
        address: str | None,
        number: int,
        default: ClientSpec,
        node: str | None,
        kind: EntryKind | None = None,
        family: int | None = None,
        stand_in: str | None = None,
    ) -> Path:
        """The path through one frontend; ``node`` is the entry's node, or the client's for a cluster IP.

        ``stand_in`` is the node whose rules stand for all where ``node`` is ``None``.
        """
        port = frontend.port
        family = family or (6 if address is not None and ":" in address else 4)
        client, source = self.source(default, family, node)
        inside = frontend.kind is EntryKind.CLUSTER_IP
        packet = Packet(
            source,
            address or ("::" if family == 6 else "0.0.0.0"),
            number,
            port.protocol,
            None if inside else node,
        )
        at = node if frontend.kind is EntryKind.NODE_PORT else source.node or (None if inside else node)
        delivery = to_frontend(self.world, packet, frontend, at)
        if address is not None:
            delivery = self.ruled(packet, delivery, stand_in or self.stand_in)
        delivery = policed(self.view, packet, delivery)
        entry_node = node if node is not None or not inside else source.node
        known = self.snapshot.node(entry_node) if entry_node and not inside else None
        if known is not None and not known.ready:
            delivery = replace(delivery, outcomes=tuple(map(_doubtful, delivery.outcomes)))
        entry = Entry(kind or frontend.kind, entry_node, address, number or None, port.protocol)
        return self.assemble(client, entry, frontend, delivery)

    def ruled(self, packet: Packet, believed: Delivery, stand_in: str | None = None) -> Delivery:
        """The delivery by the nodes' own rules where those were collected, else the objects'."""
        if not self.world.hosts.names or canonical_or_none(packet.ip) is None:
            return believed
        return by_rules(self.world, placed(self.world, packet, believed, stand_in), believed) or believed

    def assemble(self, client: Client, entry: Entry, frontend: Frontend, delivery: Delivery) -> Path:
        service, port = frontend.service, frontend.port
        steps = [h.client_hop(client)]
        if frontend.kind is EntryKind.CLUSTER_IP:
            if client.kind is ClientKind.POD:
                client_ns = client.name.partition("/")[0] if client.name else service.namespace
                steps.append(h.dns_hop(service, entry.address, client_ns))
            route = _ROUTE if client.kind is ClientKind.EXTERNAL else ""
            steps.append(Hop(HopKind.CLUSTER_IP, "cluster IP", entry.address, entry.port, Status.OK, route))
        elif frontend.kind is EntryKind.NODE_PORT:
            steps.append(h.node_hop(self.snapshot, entry.node, entry.address))
            title = f"nodePort {port.node_port or 'that the API server picks'}"
            steps.append(Hop(HopKind.NODE_PORT, title, entry.address, entry.port))
        else:
            hop = HopKind.LOAD_BALANCER if frontend.kind is EntryKind.LOAD_BALANCER else HopKind.EXTERNAL_IP
            title = "load balancer" if hop is HopKind.LOAD_BALANCER else "external IP"
            steps.append(Hop(hop, title, entry.address, entry.port))
            if entry.node is not None:
                steps.append(
                    h.node_hop(self.snapshot, entry.node, node_address(self.snapshot, entry.node, 4))
                )
        steps.append(h.service_hop(service, port))
        steps.append(
            h.policy_hop(service, frontend.kind, delivery, 6 if entry.address and ":" in entry.address else 4)
        )
        steps += delivery.policies
        steps += h.backend_hops(delivery.outcomes)
        steps = h.with_rules(steps, delivery)
        return self.path(client, entry, service, port, steps, delivery.outcomes, basis_of(delivery))

    def path(
        self,
        client: Client,
        entry: Entry,
        service: Service | None,
        port: ServicePort | None,
        steps: list[Hop],
        outcomes: tuple[Outcome, ...],
        basis: Basis = Basis.OBJECTS,
    ) -> Path:
        told = outcomes
        if entry.kind not in ROUTED:  # there another proxy is the client
            told = refused(self.view, outcomes, lambda: outsider(self.view, client))
        if told is not outcomes:
            steps, outcomes = h.with_ends(steps, told), told
        verdict = verdict_of(o.status for o in outcomes)
        view = h.port_view(service, port, outcomes) if service is not None and port is not None else None
        return Path(client, entry, view, verdict, basis, tuple(steps), outcomes)

    def ask_for(self, service: Service) -> None:
        """Notes what a trace of this Service needs and does not have."""
        ns = service.namespace
        self.services[ns, service.name] = None
        view = self.view
        if service.type == "ExternalName":
            return
        slices = Scope(ns, ((SERVICE_LABEL, service.name),))
        if not view.complete(Kind.ENDPOINT_SLICE, slices) and view.snapshot.why_unknown(
            Kind.ENDPOINT_SLICE, slices
        ):
            old = Scope(ns, name=service.name)
            if not view.complete(Kind.ENDPOINTS, old):
                view.complete(Kind.ENDPOINT_SLICE, slices, required=True)
        if service.spec.selector:
            view.complete(Kind.POD, selector_scope(ns, service.spec.selector), required=True)
        view.complete(Kind.NODE)
        view.complete(Kind.NETWORK_POLICY, Scope(ns))


def basis_of(delivery: Delivery) -> Basis:
    """What a delivery rests on."""
    return Basis.RULES if delivery.ends else Basis.OBJECTS


def _doubtful(outcome: Outcome) -> Outcome:
    """The same outcome through a node that is NotReady: it may not arrive there at all."""
    if outcome.status is not Status.OK:
        return outcome
    return replace(outcome, status=Status.WARN, code="NOD009")
