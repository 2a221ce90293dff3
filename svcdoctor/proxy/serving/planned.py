"""What is served of one Service, planned from its own objects as kube-proxy on this node would.

Pure: no I/O. Which Services there are, and what has changed, is the store's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from svcdoctor.model.cluster import Node
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.nodeplan import PortPlan, pod_traffic, service_plan
from svcdoctor.path.world import World
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort, served_key

USER_SPACE = frozenset({"TCP", "UDP"})
"""The protocols that workers carry."""

KERNEL = USER_SPACE | {"SCTP"}
"""The protocols that rules carry."""

NODE_CIDR = ProxySettings("nftables", "NodeCIDR")
"""How pods are told where kube-proxy's settings are not known: by the node's own pod range."""

_LOOPBACK = {4: "127.0.0.0/8", 6: "::1/128"}
_HOST = {4: "/32", 6: "/128"}


@dataclass(frozen=True, slots=True)
class Options:
    """How ports are served. ``listens`` says where a plan is listened for in its IP family on that node, if anywhere;
    ``protocols`` are those that can be carried, ``workers`` how many processes carry them. The others are as in
    `ServedPort`."""

    listens: Callable[[Service, PortPlan, int, Own], tuple[Listen, ...]]
    protocols: frozenset[str] = USER_SPACE
    balance: BalancerPolicy = BalancerPolicy.RANDOM
    limit: int = 0
    proxy_protocol: bool = False
    workers: int = 0


@dataclass(frozen=True, slots=True)
class Own:
    """The node that this machine is: ``name`` is empty where it is none, ``node`` None where it cannot be read.
    ``kube_proxy`` are its kube-proxy's settings, as far as they are known."""

    name: str = ""
    node: Node | None = None
    kube_proxy: ProxySettings = NODE_CIDR

    @property
    def matters(self) -> tuple[object, ...]:
        """What of it Services are planned by."""
        node = self.node
        return (self.name, node and (node.zone, node.addresses(), node.pod_cidrs), self.kube_proxy)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """What a healthCheckNodePort tells: the Service's ready endpoints on this node in one IP family."""

    namespace: str
    name: str
    port: int
    family: int
    local_endpoints: int


@dataclass(frozen=True, slots=True)
class Planned:
    """One Service's ports by their keys, and in lines for the user what is served otherwise than expected."""

    ports: Mapping[str, ServedPort] = field(default_factory=dict)
    checks: tuple[HealthCheck, ...] = ()
    notes: tuple[str, ...] = ()


def planned(service: Service, slices: tuple[EndpointSlice, ...], own: Own, options: Options) -> Planned:
    """What is served of the Service; linear in its endpoints."""
    objects = {
        Kind.SERVICE: (service,),
        Kind.ENDPOINT_SLICE: slices,
        Kind.NODE: () if own.node is None else (own.node,),
    }
    world = World(Snapshot(objects, {Kind.ENDPOINT_SLICE: (Known(),)}))
    ports: dict[str, ServedPort] = {}
    checks: list[HealthCheck] = []
    notes: dict[str, None] = {}
    for family in (4, 6):
        plans = service_plan(world, service, own.name or None, family)
        for port, plan in zip(service.ports, plans, strict=False):
            listens = options.listens(service, plan, family, own)
            if port.protocol not in options.protocols:
                if listens:
                    notes[_not_carried(service, port)] = None
                continue
            if listens:
                key = served_key(service.namespace, service.name, port.port, port.protocol, family)
                ports[key] = _served(key, port, plan, listens, _inside(world, plan, own, family), options)
        if plans and plans[0].health_check_node_port:
            checks.append(_check(world, service, own, family))
        if any(key.endswith(f"/{family}") for key in ports) and _only_elsewhere(world, service, family):
            notes[
                f"{service.namespace}/{service.name}: its endpoints are of IPv{10 - family} alone: clients of its "
                f"IPv{family} addresses are refused"
            ] = None
    if not own.name and (service.internal_local or service.external_local) and ports:
        notes[
            f"{service.namespace}/{service.name}: its traffic policy is Local and this machine is no node of the "
            "cluster: any endpoint is used"
        ] = None
    return Planned(ports, tuple(checks), tuple(notes))


def _served(
    key: str,
    port: ServicePort,
    plan: PortPlan,
    listens: tuple[Listen, ...],
    inside: tuple[str, ...],
    options: Options,
) -> ServedPort:
    return ServedPort(
        key,
        port.protocol,
        listens,
        tuple(_backend(e) for e in plan.cluster),
        tuple(_backend(e) for e in plan.local),
        plan.internal_local,
        plan.external_local,
        inside,
        plan.has_endpoints,
        plan.affinity_seconds,
        plan.allowed_sources,
        options.balance,
        options.limit,
        options.proxy_protocol,
        options.workers if plan.affinity_seconds else 0,
    )


def _backend(endpoint: Endpoint) -> Backend:
    pod = "/".join(endpoint.pod) if endpoint.pod else ""
    return Backend(endpoint.ip, endpoint.port, pod, endpoint.node or "")


def _inside(world: World, plan: PortPlan, own: Own, family: int) -> tuple[str, ...]:
    """The networks whose clients kube-proxy sends to any endpoint whatever the external policy: this node's own
    addresses and the pods'. Pods that kube-proxy tells by their interface are told by the node's pod range."""
    if not (plan.external_local and plan.externally_accessible):
        return ()
    traffic = pod_traffic(world, own.name, own.kube_proxy, family)
    if traffic is None or not traffic.network:
        traffic = pod_traffic(world, own.name, NODE_CIDR, family)
    addresses = (canonical_or_none(a) for a in (own.node.addresses() if own.node is not None else ()))
    held = (
        *plan.load_balancer_ips,
        *plan.external_ips,
    )  # the node's own packets to such an address come from it
    mine = [
        f"{a}{_HOST[family]}" for a in (*addresses, *held) if a is not None and (":" in a) == (family == 6)
    ]
    pods = [traffic.network] if traffic is not None else []
    return tuple(dict.fromkeys([_LOOPBACK[family], *mine, *pods]))


def _check(world: World, service: Service, own: Own, family: int) -> HealthCheck:
    """Counts as kube-proxy does: addresses of ready endpoints, those that only serve until they end left out."""
    local = {
        e.ip
        for port in service.ports
        for e in world.endpoints(service, port, family)
        if e.ready and e.node == own.name
    }
    port = service.spec.health_check_node_port
    return HealthCheck(service.namespace, service.name, port, family, len(local))


def _only_elsewhere(world: World, service: Service, family: int) -> bool:
    """Whether all of the Service's endpoints are of the other IP family."""
    here, there = (
        {e for p in service.ports for e in world.endpoints(service, p, f)} for f in (family, 10 - family)
    )
    return not here and bool(there)


def _not_carried(service: Service, port: ServicePort) -> str:
    return (
        f"{service.namespace}/{service.name}: port {port.port} is of {port.protocol}, which user space does not "
        "carry; kernel mode does: --mode nftables"
    )


def why_unserved(service: Service | None) -> str:
    """Why a Service that was served is no longer, or cannot be, as the end of a sentence."""
    if service is None:
        return "is gone"
    if service.type == "ExternalName":
        return "is of type ExternalName, a name in DNS that nothing listens for"
    if service.headless:
        return "is headless: clients connect to its pods themselves"
    if service.foreign_proxy:
        return f"is another proxy's by its label {service.foreign_proxy}"
    if not service.cluster_ips:
        return "has no cluster IP yet"
    return "has no address of those that are listened for"
