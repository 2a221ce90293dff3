"""What kube-proxy programs on one node, before it is spelt in rules: which Service ports, where, to whom.

Theory. For each IP family kube-proxy goes over the Service ports that are its own and decides, from the
traffic policies and the endpoints, which chains a port has and what its addresses meet. That decision is the
same in iptables and in nftables mode; only the spelling differs (the lab's ``proxyiptables`` and
``proxynftables``), and whoever serves Services in kube-proxy's place goes by the same decision. The endpoints
come from ``path.endpoints``, as for the trace.

What may live here: the decisions that all of them share. Specified by kube-proxy 1.36 (pkg/proxy) and the
Kubernetes documentation (Virtual IPs and Service Proxies).
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none, in_networks, network
from svcdoctor.model.trace import EntryKind
from svcdoctor.node.chainnames import ServicePortName
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.world import World, service_addresses

MASQUERADE_MARK = 0x4000
"""The bit of the packet mark that asks for masquerading: masqueradeBit 14, kube-proxy's default."""


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """How packets of pods are told from others: by source ``network``, or by ``interface``.

    With ``prefix`` the interface is the beginning of the names.
    """

    network: str = ""
    interface: str = ""
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One Service port on one node in one IP family.

    ``cluster`` and ``local`` are the endpoints under the policies Cluster and Local, in kube-proxy's order,
    empty where no traffic goes by that policy. ``has_endpoints`` counts usable endpoints on any node, ``known`` all
    of them, usable or not.
    """

    name: ServicePortName
    cluster_ip: str
    port: int
    node_port: int
    external_ips: tuple[str, ...]
    load_balancer_ips: tuple[str, ...]
    allowed_sources: tuple[str, ...]
    health_check_node_port: int
    affinity_seconds: int
    internal_local: bool
    external_local: bool
    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    has_endpoints: bool
    known: int

    @property
    def has_internal_endpoints(self) -> bool:
        return self.has_endpoints and (bool(self.local) or not self.internal_local)

    @property
    def has_external_endpoints(self) -> bool:
        return self.has_endpoints and (bool(self.local) or not self.external_local)

    @property
    def externally_accessible(self) -> bool:
        return bool(self.node_port or self.load_balancer_ips or self.external_ips)

    @property
    def filtered(self) -> bool:
        """Whether loadBalancerSourceRanges guard the load balancer's addresses."""
        return bool(self.load_balancer_ips and self.allowed_sources)

    @property
    def reachable(self) -> tuple[Endpoint, ...]:
        """Every endpoint that this node may send to, under either policy."""
        return tuple({e.address: e for e in (*self.cluster, *self.local)}.values())


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """Everything kube-proxy programs on one node in one IP family.

    ``pods`` is ``None`` where pod traffic cannot be told from other traffic. ``node_port_addresses`` is
    ``None`` where nodePorts answer on every local address. ``endpoints`` counts all, usable or not.
    """

    family: int
    ports: tuple[PortPlan, ...]
    endpoints: int
    pods: PodTraffic | None
    masquerade_all: bool
    localhost_node_ports: bool
    node_port_addresses: tuple[str, ...] | None
    service_cidrs: tuple[str, ...]


def plan(
    snapshot: Snapshot, node: str, settings: ProxySettings, family: int, addresses: tuple[str, ...] = ()
) -> ProxyPlan:
    """What kube-proxy with ``settings`` programs on ``node`` for IP ``family`` (4 or 6).

    ``addresses`` are the node's own addresses, which a network in nodePortAddresses selects from; without
    them those of the Node object count. Linear in Services and endpoints.
    """
    world = World(snapshot)
    ports = [p for service in snapshot.services for p in service_plan(world, service, node, family)]
    return ProxyPlan(
        family,
        tuple(ports),
        sum(p.known for p in ports),
        pod_traffic(world, node, settings, family),
        settings.masquerade_all,
        settings.localhost_node_ports,
        node_port_addresses(world, node, settings, family, addresses),
        tuple(sorted(_of_family(snapshot.service_cidrs, family))),
    )


def service_plan(world: World, service: Service, node: str | None, family: int) -> tuple[PortPlan, ...]:
    """What kube-proxy on ``node`` programs for one Service, a plan for each of its ports; none for Services that it
    leaves alone. The world may hold no more than the Service, its slices and the node.

    On a machine that is no node (``None``) no endpoint is local, and no traffic goes by a policy Local.
    """
    if service.type == "ExternalName" or service.headless or service.foreign_proxy:
        return ()
    served = _addresses(service, family)
    if EntryKind.CLUSTER_IP not in served:
        return ()
    if node is None and (service.internal_local or service.external_local):
        spec = structs.replace(service.spec, internal_traffic_policy="", external_traffic_policy="")
        service = structs.replace(service, spec=spec)
    return tuple(_port(world, service, port, family, node, served) for port in service.ports)


def _port(
    world: World,
    service: Service,
    port: ServicePort,
    family: int,
    node: str | None,
    served: dict[EntryKind, tuple[str, ...]],
) -> PortPlan:
    choice = world.choice(service, port, family, node)
    load_balancer_ips = served.get(EntryKind.LOAD_BALANCER, ())
    external_ips = served.get(EntryKind.EXTERNAL_IP, ())
    external = bool(port.node_port or load_balancer_ips or external_ips)
    uses_cluster = external or not service.internal_local
    uses_local = service.internal_local or (external and service.external_local)
    health_check = service.type == "LoadBalancer" and service.external_local
    return PortPlan(
        ServicePortName(service.namespace, service.name, port.name, port.protocol.lower()),
        served[EntryKind.CLUSTER_IP][0],
        port.port,
        port.node_port,
        external_ips,
        load_balancer_ips,
        _allowed_sources(world, service, family, node, load_balancer_ips),
        service.spec.health_check_node_port if health_check else 0,
        service.affinity_seconds,
        service.internal_local,
        service.external_local,
        _ordered(choice.cluster) if uses_cluster else (),
        _ordered(choice.local) if uses_local else (),
        choice.any,
        len(world.endpoints(service, port, family)),
    )


def _ordered(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Endpoints by the text of address and port, so that 10.0.0.10 comes before 10.0.0.9."""
    return tuple(sorted(endpoints, key=lambda e: e.address))


def _addresses(service: Service, family: int) -> dict[EntryKind, tuple[str, ...]]:
    """The addresses that kube-proxy serves, by kind; a load balancer's with ipMode Proxy left out."""
    found: dict[EntryKind, tuple[str, ...]] = {}
    for kind, ip, proxied in service_addresses(service):
        if proxied and (":" in ip) == (family == 6):
            found[kind] = (*found.get(kind, ()), ip)
    return found


def _allowed_sources(
    world: World, service: Service, family: int, node: str | None, load_balancer_ips: tuple[str, ...]
) -> tuple[str, ...]:
    """Who may use the load balancer's addresses: the ranges, and for a node within them those addresses.

    A load balancer's address is often set on the node itself; then the node's own packets to it carry it as
    their source.
    """
    ranges = tuple(str(n) for r in service.source_ranges(family) if (n := network(r)) is not None)
    own = _of_family(tuple(world.primary_addresses.get(node or "", ())), family)
    if ranges and any(in_networks(ip, ranges) for ip in own):
        return (*ranges, *load_balancer_ips)
    return ranges


def pod_traffic(world: World, node: str, settings: ProxySettings, family: int) -> PodTraffic | None:
    """How kube-proxy on ``node`` tells pods' packets, ``None`` where it cannot."""
    if settings.detect_local == "BridgeInterface":
        return PodTraffic(interface=settings.pod_interface) if settings.pod_interface else None
    if settings.detect_local == "InterfaceNamePrefix":
        return PodTraffic(interface=settings.pod_interface, prefix=True) if settings.pod_interface else None
    cidrs = settings.cluster_cidrs
    if settings.detect_local == "NodeCIDR":
        cidrs = world.pod_cidrs.get(node, ())
    own = _of_family(cidrs, family)
    return PodTraffic(network=own[0]) if own else None


def node_port_addresses(
    world: World, node: str, settings: ProxySettings, family: int, addresses: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The addresses on which nodePorts answer, ``None`` for every local one.

    An IP family for which nodePortAddresses name nothing is not restricted. Loopback addresses are among
    them only where nodePorts work on localhost: in iptables mode, IPv4, unless switched off.
    """
    wanted = settings.node_port_addresses or (("primary",) if settings.mode == "nftables" else ())
    if wanted == ("primary",):
        return _of_family(tuple(world.primary_addresses.get(node, ())), family) or None
    networks = _of_family(wanted, family)
    if not networks or any((n := network(w)) is not None and n.prefixlen == 0 for w in networks):
        return None
    node_object = world.snapshot.node(node)
    own = addresses or (node_object.addresses() if node_object else ())
    found = dict.fromkeys(ip for a in own if (ip := canonical_or_none(a)) and in_networks(ip, networks))
    if settings.mode == "iptables" and family == 4 and settings.localhost_node_ports:
        return tuple(found)
    return tuple(ip for ip in found if not in_networks(ip, ("127.0.0.0/8", "::1/128")))


def _of_family(texts: tuple[str, ...], family: int) -> tuple[str, ...]:
    return tuple(t for t in texts if (":" in t) == (family == 6))
