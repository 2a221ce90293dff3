"""Random Services, and the rules that kube-proxy writes for them on the oracle's node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import strategies as st
from oracle import Rules
from oracle_draw import Draw
from oracle_packets import BANDS, OWN, PEERS, PORTS, SERVICES, SOURCES, peers
from oracle_wire import Sent

from svcdoctor.lab.proxyiptables import iptables_rules
from svcdoctor.lab.proxynftables import nftables_rules
from svcdoctor.model.base import AnnotatedMeta, Meta
from svcdoctor.model.cluster import Node, NodeAddress, NodeSpec, NodeStatus
from svcdoctor.model.endpoints import EndpointConditions, EndpointPort, EndpointSlice, SliceEndpoint
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import (
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from svcdoctor.model.snapshot import Snapshot

NODE_PORTS = (30080, 31000)
OUTSIDE = {4: ("203.0.113.80", "203.0.113.81"), 6: ("2001:db8:99::80", "2001:db8:99::81")}
POD_CIDRS = {4: "10.244.0.0/16", 6: "fd00:244::/32"}
RANGES = {
    4: ("192.0.2.0/28", "10.244.0.0/16", "198.51.100.10/32"),
    6: ("2001:db8:1::/120", "fd00:244::/32", "2001:db8:2::10/128"),
}
# Who runs where: pods of this node are behind cni0, the other node's behind eth1.
PODS = {f: (*((a, "here") for a in PEERS[f]["cni0"]), (PEERS[f]["eth1"][1], "there")) for f in (4, 6)}
DETECTION = (
    {"cluster_cidrs": tuple(POD_CIDRS.values())},
    {"detect_local": "BridgeInterface", "pod_interface": "cni0"},
    {"detect_local": "InterfaceNamePrefix", "pod_interface": "cni"},
    {"detect_local": "NodeCIDR"},
    {"masquerade_all": True},
    {},
)


class World(NamedTuple):
    services: list[Service]
    snapshot: Snapshot
    settings: ProxySettings


class Case(NamedTuple):
    rules: Rules
    packets: list[Sent]
    anew: bool  # whether every packet draws anew, whatever came before


def cases(mode: str, family: int, size: int) -> st.SearchStrategy[Case]:
    """``mode`` is ``nftables``, or iptables' backend ``nft`` or ``legacy``."""

    @st.composite
    def make(draw: Any) -> Case:
        d = Draw(draw, family)
        world = a_world(d)
        services = world.services
        proxy = replace(world.settings, mode="nftables" if mode == "nftables" else "iptables")
        write = nftables_rules if mode == "nftables" else iptables_rules
        text = write(world.snapshot, "here", proxy, family, OWN[family])
        rules = Rules(nft=text) if mode == "nftables" else Rules(saves=((f"{mode} {family}", text),))
        anew = all(service.spec.session_affinity == "None" for service in services)
        return Case(rules, [a_packet(d, services) for _ in range(size)], anew)

    return make()


def a_world(d: Draw) -> World:
    """Up to three Services with their endpoints, and kube-proxy's settings."""
    services = [_service(d, number) for number in range(d.number(1, 3))]
    slices = [_endpoints(d, service) for service in services]
    settings: dict[str, Any] = dict(d.one(DETECTION))
    if d.chance(20):
        settings["node_port_addresses"] = ("primary",)
    if d.chance(20):
        settings["localhost_node_ports"] = False
    return World(services, _snapshot(services, slices), ProxySettings("nftables", **settings))


def _service(d: Draw, number: int) -> Service:
    family = d.family
    ports = tuple(
        ServicePort(
            port=PORTS[number * 2 + index],
            name=f"p{index}",
            protocol=d.one(("TCP", "UDP", "SCTP")),
            node_port=NODE_PORTS[index] + number,
        )
        for index in range(d.number(1, 2))
    )
    balanced = d.chance(50)
    return Service(
        metadata=AnnotatedMeta(name=f"s{number}", namespace="shop"),
        spec=ServiceSpec(
            type="LoadBalancer" if balanced else "NodePort",
            ports=ports,
            cluster_ip=SERVICES[family][number],
            external_ips=(OUTSIDE[family][0],) if number == 0 and d.chance(30) else (),
            external_traffic_policy=d.one(("Cluster", "Local")),
            internal_traffic_policy=d.one(("Cluster", "Cluster", "Local")),
            session_affinity=d.one(("None", "None", "ClientIP")),
            load_balancer_source_ranges=tuple(d.some(RANGES[family], 1, 2)) if d.chance(40) else (),
        ),
        status=ServiceStatus(
            LoadBalancerStatus(
                (LoadBalancerIngress(ip=OUTSIDE[family][1]),) if balanced and number < 2 else ()
            )
        ),
    )


def _endpoints(d: Draw, service: Service) -> EndpointSlice:
    pods = d.some(PODS[d.family], 0, 4)
    ready = EndpointConditions(ready=True, serving=True, terminating=False)
    return EndpointSlice(
        metadata=Meta(
            name=service.metadata.name,
            namespace="shop",
            labels={"kubernetes.io/service-name": service.metadata.name},
        ),
        address_type=f"IPv{d.family}",
        ports=tuple(
            EndpointPort(name=p.name, port=8080, protocol=p.protocol) for p in service.spec.ports or ()
        ),
        endpoints=tuple(
            SliceEndpoint(addresses=(ip,), conditions=ready, node_name=node) for ip, node in pods
        ),
    )


def _snapshot(services: list[Service], slices: list[EndpointSlice]) -> Snapshot:
    nodes = tuple(
        Node(
            metadata=Meta(name=name),
            spec=NodeSpec(pod_cidrs=cidrs),
            status=NodeStatus(addresses=tuple(NodeAddress("InternalIP", ip) for ip in ips)),
        )
        for name, cidrs, ips in (
            ("here", ("10.244.1.0/24", "fd00:244:1::/64"), ("192.0.2.1", "2001:db8:1::1")),
            ("there", ("10.244.2.0/24", "fd00:244:2::/64"), ("198.51.100.20", "2001:db8:2::20")),
        )
    )
    return Snapshot(
        {Kind.SERVICE: tuple(services), Kind.ENDPOINT_SLICE: tuple(slices), Kind.NODE: nodes},
        {kind: (Known(),) for kind in Kind},
    )


def a_packet(d: Draw, services: list[Service]) -> Sent:
    """To one of a Service's addresses mostly, with its protocol mostly."""
    family = d.family
    service = d.one(services)
    port = d.one(service.spec.ports or ())
    iface, source = d.one(SOURCES[family])
    where = d.number(0, 9)
    proto = port.protocol.lower() if d.chance(90) else "udp"
    number = port.port if d.chance(90) else 9
    if where < 4:
        target = service.spec.cluster_ip
    elif where < 6:
        target = d.one(OUTSIDE[family])
    elif where < 9:
        target, number = d.one(OWN[family]), port.node_port if d.chance(90) else 9
    else:
        target, number = d.one(peers(family)), 8080
    return Sent(0, iface, proto, source, target, d.one(BANDS), number)
