"""Where Services are listened for, by the user's words and the Service's."""

import re

import pytest
from msgspec import structs
from served_world import IPS, node, service

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import LoadBalancerIngress, LoadBalancerStatus, ServicePort, ServiceStatus
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.nodeplan import service_plan
from svcdoctor.path.world import World
from svcdoctor.proxy.arguments import ListenAddress
from svcdoctor.proxy.serving.addresses import (
    Where,
    node_port_addresses,
    parse_endpoints,
    parse_listen,
)
from svcdoctor.proxy.serving.planned import Own

NODE = Own("node1", node())
MACHINE = ("192.168.0.1", "172.17.0.1", "fd00:1::1")
DNS = (
    ServicePort(port=53, name="dns", protocol="UDP"),
    ServicePort(port=53, name="dns-tcp"),
    ServicePort(port=9153, name="metrics"),
)


def listens(where, made, own=NODE):
    """All of a Service's, as text."""
    world = World(Snapshot({Kind.SERVICE: (made,)}, {}))
    found = []
    for family in (4, 6):
        for plan in service_plan(world, made, own.name or None, family):
            found += [f"{at} {at.kind}" for at in where.listens(made, plan, family, own)]
    return found


def on(*ips, **more):
    return Where(tuple(map(ListenAddress, ips)), **more)


def balanced():
    """A load balancer's Service with everything."""
    made = service(
        families=(4, 6),
        type="LoadBalancer",
        external_ips=("198.51.100.7",),
        ports=(ServicePort(port=80, name="http", node_port=30080),),
    )
    ingress = (LoadBalancerIngress(ip="203.0.113.5"), LoadBalancerIngress(ip="203.0.113.6", ip_mode="Proxy"))
    return structs.replace(made, status=ServiceStatus(LoadBalancerStatus(ingress)))


def test_addresses_of_the_users_choice():
    made = service(families=(4, 6), ports=DNS)
    assert listens(on("127.0.0.1", "::1"), made) == [
        "127.0.0.1:53 local",
        "127.0.0.1:53 local",
        "127.0.0.1:9153 local",
        "[::1]:53 local",
        "[::1]:53 local",
        "[::1]:9153 local",
    ]
    assert listens(on("::1", port=8000, only="metrics"), made) == ["[::1]:8000 local"]
    assert listens(on("::1", port=5353, only="53"), made) == ["[::1]:5353 local"] * 2
    assert listens(on("::1", only="53", protocol="UDP"), made) == ["[::1]:53 local"]
    assert listens(on("::1", port=5353), made) == [], "which one?"
    assert listens(on("::1"), service()) == [], "of the other family"


def test_a_services_own_addresses():
    made = balanced()
    assert listens(Where(cluster_ips=True), made) == [f"{IPS[4]}:80 clusterIP", f"[{IPS[6]}]:80 clusterIP"]
    assert listens(Where(node_ports=True, machine=MACHINE), made) == [
        "192.168.0.1:30080 nodePort",
        "[fd00:1::1]:30080 nodePort",
    ]
    assert listens(Where(others=True), made) == ["203.0.113.5:80 loadBalancer", "198.51.100.7:80 externalIP"]


def test_the_api_servers_cluster_ip_is_never_held():
    made = structs.replace(
        service(), metadata=structs.replace(service().metadata, name="kubernetes", namespace="default")
    )
    everything = Where(cluster_ips=True, others=True)
    assert listens(everything, made) == []
    assert listens(Where(cluster_ips=True, user_space=False), made) == [f"{IPS[4]}:80 clusterIP"]
    assert listens(on("127.0.0.1"), made) == ["127.0.0.1:80 local"]


def test_node_ports_are_at_the_nodes_addresses():
    assert node_port_addresses(NODE, MACHINE, 4) == ("192.168.0.1",)
    assert node_port_addresses(NODE, MACHINE, 6) == ("fd00:1::1",)
    assert node_port_addresses(Own(), MACHINE, 4) == ("192.168.0.1", "172.17.0.1"), "which node is not known"
    elsewhere = Own("node1", node(addresses=("192.168.0.99", "172.17.0.1")))
    assert node_port_addresses(elsewhere, MACHINE, 4) == ("172.17.0.1",), "the first that this machine has"


@pytest.mark.parametrize(
    "mode, wanted, four, six",
    [
        ("nftables", (), ("192.168.0.1",), ("fd00:1::1",)),
        ("nftables", ("primary",), ("192.168.0.1",), ("fd00:1::1",)),
        ("iptables", (), ("192.168.0.1", "172.17.0.1"), ("fd00:1::1",)),
        ("ipvs", ("0.0.0.0/0", "::/0"), ("192.168.0.1", "172.17.0.1"), ("fd00:1::1",)),
        ("iptables", ("172.16.0.0/12",), ("172.17.0.1",), ("fd00:1::1",)),
        ("iptables", ("10.0.0.0/8", "fd00:2::/64"), (), ()),
        ("nftables", ("172.17.0.1/32", "192.168.0.0/24"), ("192.168.0.1", "172.17.0.1"), ("fd00:1::1",)),
        ("iptables", ("127.0.0.0/8",), (), ("fd00:1::1",)),
    ],
)
def test_node_ports_are_where_kube_proxys_configuration_has_them(mode, wanted, four, six):
    own = Own("node1", node(), ProxySettings(mode, node_port_addresses=wanted))
    assert set(node_port_addresses(own, MACHINE, 4)) == set(four)
    assert node_port_addresses(own, MACHINE, 6) == six


@pytest.mark.parametrize(
    "where, made, problem",
    [
        (on("::1", only="https"), service(), "service shop/cart has no port https; it has 80/TCP (http)"),
        (
            on("::1", port=5353),
            service(families=(6,), ports=DNS),
            "service shop/cart has the ports 53/UDP (dns), 53/TCP (dns-tcp), 9153/TCP (metrics): say which one with "
            "svc/cart:PORT, or leave the port of --listen out",
        ),
        (
            Where(node_ports=True, machine=MACHINE),
            service(),
            "service shop/cart is of type ClusterIP and has no nodePort; use --clusterip or --listen",
        ),
        (
            Where(node_ports=True),
            balanced(),
            "service shop/cart: no address of this machine to open its nodePort on; use --listen",
        ),
        (on("::1"), service(), "service shop/cart has IPv4 alone; listen on an IPv4 address"),
        (
            on("127.0.0.1"),
            service(families=(6,)),
            "service shop/cart has IPv6 alone; listen on an IPv6 address",
        ),
        (
            on("127.0.0.1"),
            service(ports=(ServicePort(port=3868, protocol="SCTP"),)),
            "service shop/cart is of SCTP, which user space does not carry; kernel mode does: --mode nftables",
        ),
        (on("127.0.0.1"), service(type="ExternalName"), ""),
    ],
)
def test_why_a_service_is_listened_for_nowhere(where, made, problem):
    assert where.problem(made) == problem


@pytest.mark.parametrize(
    "text, found",
    [
        ("8080", (["127.0.0.1", "::1"], 8080, "")),
        ("10.0.0.1:80", (["10.0.0.1"], 80, "")),
        ("[::]:53/udp", (["::"], 53, "UDP")),
        ("0.0.0.0", (["0.0.0.0"], 0, "")),
        ("fd00::1", (["fd00::1"], 0, "")),
        ("[fd00::1]", (["fd00::1"], 0, "")),
        ("localhost", (["127.0.0.1", "::1"], 0, "")),
    ],
)
def test_listen(text, found):
    addresses, port, protocol = parse_listen(text)
    assert ([a.ip for a in addresses], port, protocol) == found


@pytest.mark.parametrize(
    "text, problem",
    [
        ("web:80", "address 'web' is not an IP address"),
        ("10.0.0.1:http", "--listen '10.0.0.1:http': say PORT, IP:PORT or [IPV6]:PORT"),
        ("fd00::1:99999", "--listen 'fd00::1:99999': say PORT, IP:PORT or [IPV6]:PORT"),
        ("10.0.0.1:0", "--listen '10.0.0.1:0': name the port, from 1 on"),
        ("80/sctp", "--listen '80/sctp': 'sctp' is no protocol; say /tcp or /udp"),
    ],
)
def test_listen_on_what_is_none(text, problem):
    with pytest.raises(SvcdoctorError, match=re.escape(problem)):
        parse_listen(text)


def test_endpoints():
    found = parse_endpoints("10.0.0.1:80, [fd00::1]:8080,10.0.0.1:80")
    assert found == (("10.0.0.1", 80), ("fd00::1", 8080))
    for text in (
        "10.0.0.1",
        "10.0.0.1:",
        "web:80",
        "fd00::1:80",
        "10.0.0.1:0",
        "10.0.0.1:65536",
        "10.0.0.1:80,",
        "",
    ):
        with pytest.raises(SvcdoctorError, match="is no endpoint; say IP:PORT or"):
            parse_endpoints(text)
