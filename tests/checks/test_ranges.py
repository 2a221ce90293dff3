"""The Service range against pods, nodes and routes."""

import json

import pytest
from ordinary_world import snapshot_of
from twins import found, objects, one

from svcdoctor.model.nodefacts import Dump
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.ranges import Whose
from svcdoctor.path.world import World
from svcdoctor.sources.nodedumps import node_facts

TWIN = "EXT005"  # Services 10.96.0.0/12, pods 10.112.N.0/24, nodes 192.0.2.1N


def cidrs(held, *names):
    one(held, "ServiceCIDR", "kubernetes")["spec"]["cidrs"] = list(names)


def no_range(held):
    held.remove(one(held, "ServiceCIDR", "kubernetes"))


def node_pods(held, cidr, name="worker-b"):
    one(held, "Node", name)["spec"] |= {"podCIDR": cidr, "podCIDRs": [cidr]}


def node_address(held, address):
    one(held, "Node", "worker-b")["status"]["addresses"].append({"type": "InternalIP", "address": address})


def endpoint(held, address):
    one(held, "EndpointSlice", "billing")["endpoints"][0]["addresses"] = [address]


def cluster_ip(held):
    return one(held, "Service", "billing")["spec"]["clusterIP"]


@pytest.mark.parametrize(
    ("change", "severity", "says"),
    [
        (lambda held: None, None, ""),
        (lambda held: cidrs(held, "10.96.0.0/11"), "warning", "pod range 10.112.1.0/24 of worker-a"),
        (lambda held: cidrs(held, "10.96.0.0/12", "10.112.3.128/25"), "warning", "of worker-c"),
        (lambda held: cidrs(held, "10.96.0.0/12", "fd00:10:96::/112"), None, ""),
        (lambda held: node_pods(held, "10.111.0.0/16"), "warning", "pod range 10.111.0.0/16 of worker-b"),
        (lambda held: node_pods(held, "10.0.0.0/8"), "warning", "pod range 10.0.0.0/8 of worker-b"),
        (lambda held: node_pods(held, "fd00:10:96::/64"), None, ""),
        (lambda held: node_address(held, "10.97.0.4"), "warning", "10.97.0.4 is an address of worker-b"),
        (lambda held: node_address(held, cluster_ip(held)), "error", "is also an address of node worker-b"),
        (lambda held: endpoint(held, "10.99.1.1"), "warning", "10.99.1.1 is an endpoint"),
        (
            lambda held: endpoint(held, "10.96.0.10"),
            "error",
            "the cluster IP of Service kube-system/kube-dns",
        ),
        (
            lambda held: one(held, "Service", "billing")["spec"].update(
                clusterIP="None", clusterIPs=["None"]
            ),
            None,
            "",
        ),
    ],
)
def test_overlaps_of_the_range(change, severity, says):
    held = objects(TWIN)
    change(held)
    findings = found(TWIN, held)
    assert [f.severity.value for f in findings] == ([severity] if severity else [])
    if findings:
        assert any(says in e for e in findings[0].evidence), findings[0].evidence
        assert findings[0].subjects[0] == "ServiceCIDR/kubernetes"


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        (lambda held: None, None),
        (lambda held: node_pods(held, "10.96.80.0/24"), "warning"),
        (lambda held: node_pods(held, "10.96.81.0/24"), None),
        (lambda held: node_address(held, cluster_ip(held)), "error"),
    ],
)
def test_without_a_known_range_the_services_own_addresses_tell(change, severity):
    held = objects(TWIN)
    no_range(held)
    change(held)
    findings = found(TWIN, held)
    assert [f.severity.value for f in findings] == ([severity] if severity else [])
    if findings:
        assert (
            findings[0].subjects == ("Service/shop/billing",)
            or findings[0].subjects[0] == "Service/shop/billing"
        )


@pytest.mark.parametrize(
    ("service_range", "address", "inside"),
    [
        ("fd00:10:96::/112", "fd00:10:96::77", True),
        ("fd00:10:96::/112", "fd00:10:97::77", False),
        ("fd00:10:96::/120", "fd00:10:96::1:7", False),
        ("fd00:10:96::/120", "fd00:10:96::7", True),
    ],
)
def test_endpoints_of_ipv6_in_the_range(service_range, address, inside):
    held = objects(TWIN)
    cidrs(held, service_range)
    billing = one(held, "EndpointSlice", "billing")
    billing["addressType"] = "IPv6"
    for n, e in enumerate(billing["endpoints"]):
        e["addresses"] = [f"fd00:10:96::1:{9 + n}"]
    billing["endpoints"][1]["addresses"] = [address]
    overlaps = [o.other for o in World(snapshot_of(held)).overlaps]
    assert any(address in o for o in overlaps) is inside


ROUTES = {
    "a part of it behind a VPN": ({"dst": "10.98.0.0/16", "dev": "tun0"}, False),
    "all of it by a gateway": ({"dst": "10.96.0.0/12", "gateway": "192.0.2.1", "dev": "eth0"}, False),
    "all of it on the link": ({"dst": "10.96.0.0/12", "dev": "eth0"}, None),
    "more than it": ({"dst": "10.0.0.0/8", "dev": "wg0"}, True),
    "beside it": ({"dst": "10.112.0.0/12", "dev": "tun0"}, None),
    "the default": ({"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"}, None),
    "announced by the CNI": ({"type": "blackhole", "dst": "10.96.0.0/12"}, None),
    "of the ipvs mode": ({"dst": "10.96.0.10", "dev": "kube-ipvs0"}, None),
}


@pytest.mark.parametrize("what", ROUTES)
def test_routes_into_the_range(what):
    route, wider = ROUTES[what]
    raw = {
        "iptables-save.txt": Dump("worker-a/iptables-save.txt", b"*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n"),
        "ip-route.json": Dump("worker-a/ip-route.json", json.dumps([route]).encode()),
    }
    held = snapshot_of(objects(TWIN)).with_nodes({"worker-a": node_facts("worker-a", raw)})
    overlaps = World(held).overlaps
    assert [(o.whose, o.nodes, o.wider) for o in overlaps] == (
        [(Whose.ROUTE, ("worker-a",), wider)] if wider is not None else []
    )


def test_ten_thousand_services_and_a_thousand_nodes_are_compared_once():
    """Linear: what is looked at is counted, not timed."""
    nodes = [
        {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": f"n{i}"},
            "spec": {"podCIDR": f"10.{i % 90}.{i // 90}.0/24"},
        }
        for i in range(1000)
    ]
    services = [
        {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": f"s{i}", "namespace": "x"},
            "spec": {
                "clusterIP": f"10.{100 + i // 60000}.{i // 250 % 240}.{i % 250 + 1}",
                "ports": [{"port": 80}],
            },
        }
        for i in range(10_000)
    ]
    world = World(snapshot_of([*nodes, *services]))
    assert world.overlaps == ()
    assert world.overlaps is world.overlaps
    assert isinstance(world.snapshot, Snapshot)
