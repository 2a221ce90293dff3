"""Hints that count, hints that do not and why, and how much an endpoint then gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import found, objects, one

from svcdoctor.model.base import AnnotatedMeta
from svcdoctor.model.cluster import Node
from svcdoctor.model.endpoints import EndpointHints, Named, SliceEndpoint
from svcdoctor.path.zoneload import shares

ZONE = "topology.kubernetes.io/zone"
AUTO = "service.kubernetes.io/topology-mode"


def feeds(held):
    return one(held, "Service", "feeds")


def endpoints(held):
    return one(held, "EndpointSlice", "feeds")["endpoints"]


def annotated(held, value, key=AUTO):
    feeds(held)["spec"].pop("trafficDistribution", None)
    feeds(held)["metadata"]["annotations"] = {key: value}


def unhinted(held):
    for e in endpoints(held):
        e.pop("hints")


def node_without_zone(held, name="worker-d"):
    node = dict(one(held, "Node", "worker-c"))
    node["metadata"] = {"name": name, "labels": {}}
    held.append(node)


def no_zones(held):
    unhinted(held)
    for o in held:
        if o["kind"] == "Node":
            o["metadata"]["labels"].pop(ZONE)
        elif o["kind"] == "EndpointSlice":
            for e in o["endpoints"]:
                e.pop("zone", None)


def crowded(held, zone_a, zone_b):
    """So many endpoints in two of the three zones."""
    first, second, _ = endpoints(held)
    made = [first] * zone_a + [second] * zone_b
    one(held, "EndpointSlice", "feeds")["endpoints"] = [
        e | {"addresses": [f"10.244.1.{100 + i}"], "targetRef": None} for i, e in enumerate(made)
    ]


@pytest.mark.parametrize(
    ("changes", "severity", "says"),
    [
        ([], None, ""),
        ([unhinted], "warning", "none of the 3 ready endpoints has a hint"),
        ([node_without_zone], "warning", "nodes without a zone: worker-d"),
        ([no_zones], "info", "no node has a zone"),
        ([lambda held: annotated(held, "Auto")], None, ""),
        ([lambda held: annotated(held, "auto"), unhinted], "info", "3 endpoints for 3 zones"),
        (
            [lambda held: annotated(held, "Auto"), unhinted, node_without_zone],
            "warning",
            "nodes without a zone",
        ),
        ([lambda held: annotated(held, "Disabled"), unhinted], None, ""),
        ([lambda held: annotated(held, "true")], "warning", f"annotation {AUTO}: true"),
        ([lambda held: annotated(held, "example.com/nearest")], None, ""),
        (
            [lambda held: annotated(held, "auto", "service.kubernetes.io/topology-aware-hints"), unhinted],
            "info",
            "3 endpoints for 3 zones",
        ),
        ([lambda held: feeds(held)["spec"].update(internalTrafficPolicy="Local"), unhinted], None, ""),
        ([lambda held: feeds(held)["spec"].pop("trafficDistribution"), unhinted], None, ""),
        ([lambda held: crowded(held, 2, 1)], None, ""),
        (
            [lambda held: crowded(held, 4, 1)],
            "warning",
            "zone eu-west-1b: clients on 1 of 3 nodes share 1 of 5",
        ),
        ([lambda held: one(held, "EndpointSlice", "feeds").update(endpoints=[])], None, ""),
    ],
)
def test_hints_of_a_service_in_three_zones(changes, severity, says):
    held = objects("RUL017")
    for change in changes:
        change(held)
    findings = found("RUL017", held)
    assert [f.severity.value for f in findings] == ([severity] if severity else [])
    if findings:
        assert any(says in e for e in findings[0].evidence), findings[0].evidence


def test_a_node_that_runs_no_pods_needs_no_zone():
    held = objects("RUL017")
    node_without_zone(held)
    one(held, "Node", "worker-d")["metadata"]["labels"] = {"node-role.kubernetes.io/control-plane": ""}
    assert found("RUL017", held) == []


def test_a_headless_service_has_nobody_to_prefer_anything():
    held = objects("RUL017")
    feeds(held)["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
    feeds(held)["spec"]["ports"][0]["port"] = 8080
    assert [f.severity.value for f in found("RUL017", held)] == ["info"]


def node(name, zone):
    return Node(kind="Node", metadata=AnnotatedMeta(name=name, labels={ZONE: zone} if zone else {}))


def endpoint(zones=(), nodes=()):
    hints = EndpointHints(for_zones=tuple(map(_named, zones)), for_nodes=tuple(map(_named, nodes)))
    return SliceEndpoint(addresses=("10.0.0.1",), hints=hints)


def _named(name):
    return Named(name=name)


TWO = {"a": (node("a1", "a"), node("a2", "a")), "b": (node("b1", "b"), node("b2", "b"))}


@pytest.mark.parametrize(
    ("ready", "zones", "by_node", "expected"),
    [
        ([endpoint("a"), endpoint("b")], TWO, False, [1 / 2, 1 / 2]),
        ([endpoint("a"), endpoint("a"), endpoint("b")], TWO, False, [1 / 4, 1 / 4, 1 / 2]),
        ([endpoint("a"), endpoint("a")], TWO, False, [1 / 2, 1 / 2]),
        ([endpoint("ab"), endpoint("b")], TWO, False, [3 / 4, 1 / 4]),
        ([endpoint("a"), endpoint("")], TWO, False, [1 / 2, 1 / 2]),
        ([endpoint("a"), endpoint("b")], {**TWO, "": (node("x", ""),)}, False, [1 / 2, 1 / 2]),
        ([endpoint("a", ["a1"]), endpoint("b", ["b1"])], TWO, True, [1 / 2, 1 / 2]),
        (
            [endpoint("a", ["a1"]), endpoint("a", ["a1"]), endpoint("b", ["b1"])],
            TWO,
            True,
            [1 / 4, 1 / 4, 1 / 2],
        ),
        ([endpoint("", ["a1"]), endpoint("", ["b1"])], {"": TWO["a"] + TWO["b"]}, True, [1 / 2, 1 / 2]),
        ([endpoint("", ["a1"]), endpoint("", ["a2"])], TWO, True, [1 / 2, 1 / 2]),
    ],
)
def test_what_each_endpoint_gets(ready, zones, by_node, expected):
    parts, lines = shares(ready, zones, by_node)
    assert parts == pytest.approx(expected)
    assert lines


@given(
    st.lists(
        st.tuples(st.text("abc", max_size=2), st.lists(st.sampled_from(["a1", "b1", "c9"]), max_size=2))
    ),
    st.booleans(),
)
def test_all_traffic_goes_somewhere(drawn, by_node):
    ready = [endpoint(dict.fromkeys(zones), dict.fromkeys(nodes)) for zones, nodes in drawn]
    if ready:
        parts, _ = shares(ready, TWO, by_node)
        assert sum(parts) == pytest.approx(1)
        assert min(parts) >= 0
