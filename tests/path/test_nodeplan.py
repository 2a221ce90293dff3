"""What kube-proxy programs of one Service: from its own objects as among all others."""

import pytest
from msgspec import structs

from svcdoctor.model.base import AnnotatedMeta, Meta
from svcdoctor.model.cluster import Node, NodeAddress, NodeStatus
from svcdoctor.model.endpoints import EndpointPort, EndpointSlice, SliceEndpoint
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.nodeplan import plan, service_plan
from svcdoctor.path.world import World

IPS = {4: ("10.96.0.10", "10.1.0.1", "10.1.1.1"), 6: ("fd00:96::10", "fd00:1::1", "fd00:1:1::1")}
PORTS = (ServicePort(port=80, name="http"), ServicePort(port=53, name="dns", protocol="UDP"))


def service(family, name="cart", **spec):
    ip = IPS[family][0]
    spec = {"cluster_ip": ip, "cluster_ips": (ip,), "ports": PORTS} | spec
    return Service(metadata=AnnotatedMeta(name=name, namespace="shop"), spec=ServiceSpec(**spec))


def endpoint_slice(family, name="cart"):
    _, here, there = IPS[family]
    return EndpointSlice(
        metadata=Meta(name=name, namespace="shop", labels={"kubernetes.io/service-name": name}),
        address_type=f"IPv{family}",
        endpoints=(
            SliceEndpoint(addresses=(here,), node_name="node1"),
            SliceEndpoint(addresses=(there,), node_name="node2"),
        ),
        ports=(EndpointPort(name="http", port=8080), EndpointPort(name="dns", port=5353, protocol="UDP")),
    )


def snapshot(*services, slices, nodes=()):
    objects = {Kind.SERVICE: services, Kind.ENDPOINT_SLICE: tuple(slices), Kind.NODE: tuple(nodes)}
    return Snapshot(objects, {Kind.ENDPOINT_SLICE: (Known(),)})


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"internal_traffic_policy": "Local"},
        {"external_ips": ("198.51.100.1", "2001:db8::1"), "external_traffic_policy": "Local"},
        {"session_affinity": "ClientIP"},
    ],
)
def test_one_service_alone_is_planned_as_among_all(family, spec):
    one, others = service(family, **spec), [service(family, "a"), service(family, "b")]
    slices = {name: endpoint_slice(family, name) for name in ("a", "b", "cart")}
    node = Node(
        metadata=Meta(name="node1"),
        status=NodeStatus(addresses=(NodeAddress(type="InternalIP", address="192.168.0.1"),)),
    )
    whole = plan(
        snapshot(*others, one, slices=slices.values(), nodes=[node]),
        "node1",
        ProxySettings("nftables"),
        family,
    )
    alone = World(snapshot(one, slices=[slices["cart"]], nodes=[node]))
    found = service_plan(alone, one, "node1", family)
    assert found == tuple(p for p in whole.ports if p.name.name == "cart")
    assert [p.name.port for p in found] == ["http", "dns"]
    assert [p.known for p in found] == [2, 2]
    assert whole.endpoints == 12


@pytest.mark.parametrize("family", [4, 6])
def test_on_a_machine_that_is_no_node_no_policy_is_local(family):
    external = ("198.51.100.1", "2001:db8::1")
    one = service(
        family, external_ips=external, internal_traffic_policy="Local", external_traffic_policy="Local"
    )
    world = World(snapshot(one, slices=[endpoint_slice(family)]))
    for found in service_plan(world, one, None, family):
        assert {e.ip for e in found.cluster} == set(IPS[family][1:])
        assert (found.local, found.internal_local, found.external_local) == ((), False, False)
    elsewhere = service_plan(world, one, "node3", family)
    assert [(p.local, p.has_endpoints) for p in elsewhere] == [((), True)] * 2


def test_services_that_kube_proxy_leaves_alone_have_no_plan():
    labelled = structs.replace(
        service(4),
        metadata=AnnotatedMeta(
            name="cart", namespace="shop", labels={"service.kubernetes.io/service-proxy-name": "x"}
        ),
    )
    headless = service(4, cluster_ip="None", cluster_ips=("None",))
    for one in (labelled, headless, service(4, type="ExternalName"), service(6)):
        assert service_plan(World(snapshot(one, slices=[endpoint_slice(4)])), one, "node1", 4) == ()
