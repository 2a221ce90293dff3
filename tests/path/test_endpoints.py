"""Which endpoints a node uses: the cases of kube-proxy's CategorizeEndpoints, v4 and v6."""

import pytest

from svcdoctor.model.base import Meta
from svcdoctor.model.endpoints import (
    EndpointAddress,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Named,
    SliceEndpoint,
)
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.service import Service, ServicePort, ServiceSpec
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.endpoints import choose, endpoints_of

READY = EndpointConditions(ready=True, serving=True, terminating=False)
UNREADY = EndpointConditions(ready=False, serving=False, terminating=False)
DRAINING = EndpointConditions(ready=False, serving=True, terminating=True)
GONE = EndpointConditions(ready=False, serving=False, terminating=True)
HTTP = (EndpointPort(name="http", port=8080),)
PORT = ServicePort(port=80, name="http", target_port=8080)


def service(**spec):
    spec.setdefault("type", "NodePort")
    spec.setdefault("ports", (PORT,))
    return Service(metadata=Meta(name="web", namespace="shop"), spec=ServiceSpec(**spec))


def endpoint(ip, conditions=READY, node="a", zones=(), nodes=()):
    hints = EndpointHints(
        for_zones=tuple(Named(name=z) for z in zones) or None,
        for_nodes=tuple(Named(name=n) for n in nodes) or None,
    )
    return SliceEndpoint(addresses=(ip,), conditions=conditions, node_name=node, hints=hints)


def a_slice(*endpoints, family="IPv4", ports=HTTP, name="web"):
    return EndpointSlice(
        metadata=Meta(
            name=f"s{id(endpoints)}", namespace="shop", labels={"kubernetes.io/service-name": name}
        ),
        address_type=family,
        endpoints=endpoints,
        ports=ports,
    )


def snapshot(*slices, endpoints=()):
    facts = {Kind.ENDPOINT_SLICE: (Known(),)} if slices or not endpoints else {}
    return Snapshot({Kind.ENDPOINT_SLICE: slices, Kind.ENDPOINTS: tuple(endpoints)}, facts)


def chosen(svc, slices, node, zone="", family=4):
    return choose(svc, endpoints_of(snapshot(*slices), svc, PORT, family), node, zone)


def ips(endpoints):
    return [e.ip for e in endpoints]


ONE, TWO, THREE = "10.0.0.1", "10.0.0.2", "10.0.0.3"


@pytest.mark.parametrize(
    ("endpoints", "cluster"),
    [
        ([(ONE, READY), (TWO, UNREADY)], [ONE]),
        ([(ONE, READY), (TWO, DRAINING)], [ONE]),
        ([(ONE, UNREADY), (TWO, DRAINING)], [TWO]),
        ([(ONE, GONE), (TWO, UNREADY)], []),
        ([(ONE, EndpointConditions())], [ONE]),  # nothing set means ready
        ([(ONE, EndpointConditions(ready=True, serving=False))], [ONE]),  # publishNotReadyAddresses
    ],
)
def test_ready_ones_else_terminating_ones_that_serve(endpoints, cluster):
    slices = [a_slice(*(endpoint(ip, c) for ip, c in endpoints))]
    choice = chosen(service(), slices, "a")
    assert ips(choice.cluster) == cluster
    assert choice.any is bool(cluster)


def test_local_falls_back_to_terminating_on_its_own():
    """The local set's fallback is decided per node, even where another node has a ready endpoint."""
    slices = [a_slice(endpoint(ONE, READY, "a"), endpoint(TWO, DRAINING, "b"))]
    local = service(external_traffic_policy="Local")
    assert ips(chosen(local, slices, "a").local) == [ONE]
    assert ips(chosen(local, slices, "b").local) == [TWO]
    assert ips(chosen(local, slices, "b").cluster) == [ONE]
    assert chosen(local, slices, "c").local == ()
    assert chosen(local, slices, "c").any


def test_internal_local_only_has_no_cluster_set():
    slices = [a_slice(endpoint(ONE, READY, "a"))]
    svc = service(type="ClusterIP", internal_traffic_policy="Local")
    assert chosen(svc, slices, "b").cluster == ()
    assert chosen(svc, slices, "b").any, "there are endpoints elsewhere: dropped, not refused"
    assert not chosen(svc, [a_slice(endpoint(ONE, UNREADY, "a"))], "b").any


@pytest.mark.parametrize(
    ("hints", "node", "zone", "expected", "topology"),
    [
        ([((), ()), ((), ())], "a", "z1", [ONE, TWO], ""),
        ([(("z1",), ()), (("z2",), ())], "a", "z1", [ONE], "zone"),
        ([(("z1",), ()), ((), ())], "a", "z1", [ONE, TWO], ""),  # one without hints: all hints are ignored
        ([(("z1",), ()), (("z2",), ())], "a", "z3", [ONE, TWO], ""),  # none for this zone
        ([(("z1",), ()), (("z2",), ())], "a", "", [ONE, TWO], ""),  # a node without a zone
        ([(("z1",), ("a",)), (("z1",), ("b",))], "a", "z1", [ONE], "node"),
        ([(("z1",), ("a",)), (("z1",), ("b",))], "c", "z1", [ONE, TWO], "zone"),
    ],
)
def test_topology_hints(hints, node, zone, expected, topology):
    endpoints = [
        endpoint(ip, READY, n, zones, nodes)
        for ip, n, (zones, nodes) in zip((ONE, TWO), "ab", hints, strict=True)
    ]
    choice = chosen(service(), [a_slice(*endpoints)], node, zone)
    assert ips(choice.cluster) == expected
    assert choice.topology == topology


def test_an_address_in_two_slices_counts_once_in_its_better_state():
    slices = [a_slice(endpoint(ONE, UNREADY)), a_slice(endpoint(ONE, READY), endpoint(TWO))]
    assert ips(chosen(service(), slices, "a").cluster) == [ONE, TWO]


def test_families_are_apart():
    slices = [a_slice(endpoint(ONE)), a_slice(endpoint("fd00::0001"), family="IPv6")]
    assert ips(chosen(service(), slices, "a", family=6).cluster) == ["fd00::1"]
    assert ips(chosen(service(), slices, "a", family=4).cluster) == [ONE]


@pytest.mark.parametrize(
    "ports",
    [
        None,
        (),
        (EndpointPort(name="other", port=8080),),
        (EndpointPort(name="http", port=8080, protocol="UDP"),),
    ],
)
def test_a_slice_without_the_port_gives_no_endpoints(ports):
    assert chosen(service(), [a_slice(endpoint(ONE), ports=ports)], "a").cluster == ()


def test_another_services_slice_is_not_ours():
    assert chosen(service(), [a_slice(endpoint(ONE), name="other")], "a").cluster == ()


def test_v1_endpoints_serve_only_where_no_slices_are_held():
    old = Endpoints(
        metadata=Meta(name="web", namespace="shop"),
        subsets=(
            EndpointSubset(
                addresses=(EndpointAddress(ip=ONE), EndpointAddress(ip="fd00::1")),
                not_ready_addresses=(EndpointAddress(ip=TWO),),
                ports=(EndpointPort(name="http", port=8080),),
            ),
        ),
    )
    svc = service()
    found = endpoints_of(snapshot(endpoints=[old]), svc, PORT, 4)
    assert [(e.ip, e.ready) for e in found] == [(ONE, True), (TWO, False)]
    assert ips(endpoints_of(snapshot(endpoints=[old]), svc, PORT, 6)) == ["fd00::1"]
    with_slices = Snapshot(
        {Kind.ENDPOINT_SLICE: (), Kind.ENDPOINTS: (old,)}, {Kind.ENDPOINT_SLICE: (Known(),)}
    )
    assert endpoints_of(with_slices, svc, PORT, 4) == ()
