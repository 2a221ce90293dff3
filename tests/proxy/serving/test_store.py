"""What is served of Services: kube-proxy's choices from the objects alone, and only what has changed."""

from dataclasses import replace

import pytest
from msgspec import structs
from served_world import (
    DRAINING,
    HTTP,
    NODE,
    OPTIONS,
    UNREADY,
    endpoint,
    endpoint_slice,
    every_listen,
    node,
    own,
    service,
)

from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import (
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ServicePort,
    ServiceStatus,
    SessionAffinityConfig,
)
from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.serving.planned import HealthCheck, Options, Own
from svcdoctor.proxy.serving.served import Backend, Listen
from svcdoctor.proxy.serving.store import Change, Store

HERE, THERE = endpoint("10.1.0.1"), endpoint("10.1.0.2", node="node2")
SLICES = (endpoint_slice(HERE, THERE),)


def store_of(*services, slices=SLICES, options=OPTIONS, this=None):
    store = Store(options)
    store.set_services(services)
    store.set_slices(slices)
    store.set_own(own() if this is None else this)
    return store


def one(*services, **more):
    """The only port that is served."""
    (port,) = store_of(*services, **more).changes().put
    return port


def ips(backends):
    return [b.ip for b in backends]


def balanced(**more):
    """A load balancer's Service."""
    made = service(type="LoadBalancer", ports=(structs.replace(HTTP, node_port=30080),), **more)
    ingress = LoadBalancerStatus(ingress=(LoadBalancerIngress(ip="203.0.113.9"),))
    return structs.replace(made, status=ServiceStatus(load_balancer=ingress))


@pytest.mark.parametrize("family", [4, 6])
def test_a_port_is_planned_with_its_addresses_and_endpoints(family):
    ip = {4: "10.1.0.1", 6: "fd00:10:1::1"}[family]
    port = one(
        service(families=(family,), external_ips=("198.51.100.7", "2001:db8::7")),
        slices=(endpoint_slice(endpoint(ip), family=family),),
    )
    assert port.key == f"shop/cart:80/TCP/{family}"
    cluster_ip, external = {4: ("10.96.0.10", "198.51.100.7"), 6: ("fd00:96::10", "2001:db8::7")}[family]
    assert port.listens == (Listen(cluster_ip, 80, "clusterIP"), Listen(external, 80, "externalIP"))
    assert port.cluster == (Backend(ip, 8080, f"shop/cart-{ip.rpartition('.')[2]}", NODE),)
    assert port.has_endpoints
    assert port.balance is BalancerPolicy.RANDOM


def test_both_families_are_served_by_their_own_endpoints():
    slices = (endpoint_slice(HERE), endpoint_slice(endpoint("fd00:10:1::1"), family=6))
    ports = store_of(service(families=(4, 6)), slices=slices).changes().put
    assert [(p.key[-1], ips(p.cluster)) for p in ports] == [("4", ["10.1.0.1"]), ("6", ["fd00:10:1::1"])]


def test_policies_are_as_kube_proxy_has_them():
    internal = one(service(internal_traffic_policy="Local"))
    assert (internal.internal_local, ips(internal.local), internal.cluster) == (True, ["10.1.0.1"], ())
    external = one(balanced(external_traffic_policy="Local"))
    assert external.external_local
    assert (ips(external.local), ips(external.cluster)) == (["10.1.0.1"], ["10.1.0.1", "10.1.0.2"])
    # The node's own packets to the balancer's address come from that address.
    assert external.inside == ("127.0.0.0/8", "192.168.0.1/32", "203.0.113.9/32", "10.1.0.0/24")
    assert one(balanced()).inside == ()


def test_pods_are_told_by_kube_proxys_settings_where_they_are_known():
    cluster = ProxySettings("iptables", "ClusterCIDR", cluster_cidrs=("10.0.0.0/8", "fd00:10::/32"))
    bridge = ProxySettings("iptables", "BridgeInterface", pod_interface="cni0")
    wanted = [(cluster, "10.0.0.0/8"), (bridge, "10.1.0.0/24")]
    for settings, pods in wanted:
        port = one(balanced(external_traffic_policy="Local"), this=replace(own(), kube_proxy=settings))
        assert port.inside[-1] == pods


def test_a_node_without_local_endpoints_is_told_from_none_anywhere():
    far = one(service(internal_traffic_policy="Local"), slices=(endpoint_slice(THERE),))
    assert (far.local, far.has_endpoints) == ((), True)
    none = one(service(internal_traffic_policy="Local"), slices=())
    assert (none.local, none.has_endpoints) == ((), False)


def test_a_machine_that_is_no_node_uses_any_endpoint_and_says_so():
    store = store_of(service(internal_traffic_policy="Local"), this=Own())
    change = store.changes()
    assert ips(change.put[0].cluster) == ["10.1.0.1", "10.1.0.2"]
    assert not change.put[0].internal_local
    (note,) = change.notes
    assert note.startswith("shop/cart: its traffic policy is Local and this machine is no node")


def test_conditions_and_hints_choose_endpoints():
    assert ips(
        one(service(), slices=(endpoint_slice(HERE, endpoint("10.1.0.3", conditions=UNREADY)),)).cluster
    ) == ["10.1.0.1"]
    ending = (
        endpoint_slice(endpoint("10.1.0.3", conditions=DRAINING), endpoint("10.1.0.4", conditions=UNREADY)),
    )
    assert ips(one(service(), slices=ending).cluster) == ["10.1.0.3"]
    zoned = (endpoint_slice(endpoint("10.1.0.1", zones=("a",)), endpoint("10.1.0.2", zones=("b",))),)
    assert ips(one(service(), slices=zoned).cluster) == ["10.1.0.1"]
    assert ips(one(service(), slices=zoned, this=own(zone="b")).cluster) == ["10.1.0.2"]
    assert ips(one(service(), slices=zoned, this=Own(NODE)).cluster) == ["10.1.0.1", "10.1.0.2"]


def test_affinity_ranges_and_options_are_carried_over():
    config = SessionAffinityConfig(client_ip=ClientIPConfig(timeout_seconds=60))
    options = Options(every_listen, balance=BalancerPolicy.LEAST_CONN, limit=7, proxy_protocol=True)
    port = one(
        balanced(
            session_affinity="ClientIP",
            session_affinity_config=config,
            load_balancer_source_ranges=("192.168.0.0/16", "2001:db8::/32"),
        ),
        options=options,
    )
    assert (port.affinity_seconds, port.balance, port.limit, port.proxy_protocol) == (
        60,
        BalancerPolicy.LEAST_CONN,
        7,
        True,
    )
    # The node lies within the ranges, so that its own packets to the address are let in.
    assert port.sources == ("192.168.0.0/16", "203.0.113.9")


def test_health_checks_count_ready_endpoints_on_the_node():
    made = balanced(external_traffic_policy="Local", health_check_node_port=32000)
    slices = (endpoint_slice(HERE, THERE, endpoint("10.1.0.3", conditions=DRAINING)),)
    store = store_of(made, slices=slices)
    store.changes()
    assert store.health_checks == (HealthCheck("shop", "cart", 32000, 4, 1),)


def test_nothing_is_told_before_all_was_heard_of():
    store = Store(OPTIONS)
    store.set_services([service()])
    store.set_own(own())
    assert store.changes() == Change()
    store.set_slices([])
    assert [p.cluster for p in store.changes().put] == [()]


def test_only_what_has_changed_is_told():
    cart, shop = service(), service("shop")
    slices = [endpoint_slice(HERE), endpoint_slice(HERE, owner="shop")]
    store = store_of(cart, shop, slices=slices)
    assert len(store.changes().put) == 2
    store.set_slices([slices[0], endpoint_slice(HERE, THERE, owner="shop")])
    change = store.changes()
    assert [(p.key, ips(p.cluster)) for p in change.put] == [("shop/shop:80/TCP/4", ["10.1.0.1", "10.1.0.2"])]
    assert not change.removed
    # A new object that says the same, and one that changes nothing that is served.
    store.set_slices([endpoint_slice(HERE), endpoint_slice(HERE, THERE, owner="shop")])
    store.set_services([cart, service("shop", labels={"new": "label"})])
    assert store.changes() == Change()
    assert {p.key for p in store.ports} == {"shop/cart:80/TCP/4", "shop/shop:80/TCP/4"}


def test_a_slice_that_changes_owner_leaves_the_one_and_joins_the_other():
    store = store_of(service(), service("shop"), slices=[endpoint_slice(HERE, name="s")])
    store.changes()
    store.set_slices([endpoint_slice(HERE, owner="shop", name="s")])
    assert {p.key: ips(p.cluster) for p in store.changes().put} == {
        "shop/cart:80/TCP/4": [],
        "shop/shop:80/TCP/4": ["10.1.0.1"],
    }


def test_the_node_plans_everything_anew_where_it_matters():
    zoned = (endpoint_slice(endpoint("10.1.0.1", zones=("a",)), endpoint("10.1.0.2", zones=("b",))),)
    store = store_of(service(), slices=zoned)
    store.changes()
    store.set_own(Own(NODE, structs.replace(node(), status=structs.replace(node().status, conditions=()))))
    assert store.changes() == Change()
    store.set_own(own(zone="b"))
    assert [ips(p.cluster) for p in store.changes().put] == [["10.1.0.2"]]


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ([], "is gone"),
        ([service(type="ExternalName", external_name="example.org")], "is of type ExternalName"),
        ([service(cluster_ip="None", cluster_ips=("None",))], "is headless"),
        (
            [service(labels={"service.kubernetes.io/service-proxy-name": "x"})],
            "is another proxy's by its label",
        ),
        ([service(cluster_ip="", cluster_ips=None)], "has no cluster IP yet"),
    ],
)
def test_a_service_that_can_be_served_no_longer_is_removed_and_said(now, why):
    store = store_of(service())
    store.changes()
    store.set_services(now)
    change = store.changes()
    assert (change.put, change.removed) == ((), ("shop/cart:80/TCP/4",))
    (note,) = change.notes
    assert note.startswith(f"shop/cart {why}")
    assert note.endswith("it is served no longer, its connections go on")
    store.set_services([service()])
    assert [ips(p.cluster) for p in store.changes().put] == [["10.1.0.1", "10.1.0.2"]]


def test_a_protocol_that_is_not_carried_is_said_once():
    ports = (HTTP, ServicePort(port=132, name="sctp", protocol="SCTP"))
    store = store_of(service(ports=ports))
    change = store.changes()
    assert [p.key for p in change.put] == ["shop/cart:80/TCP/4"]
    assert change.notes == (
        "shop/cart: port 132 is of SCTP, which user space does not carry; kernel mode does: --mode nftables",
    )
    store.set_slices([endpoint_slice(HERE)])
    assert store.changes().notes == ()
    kernel = Options(every_listen, protocols=frozenset({"TCP", "UDP", "SCTP"}))
    assert len(store_of(service(ports=ports), options=kernel).changes().put) == 2


def test_a_port_that_is_listened_for_nowhere_is_not_served():
    store = store_of(service(), options=Options(lambda *_: ()))
    assert store.changes() == Change()
    assert store.ports == ()
