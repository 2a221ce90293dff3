"""Pods that share their node's ports, and policies that mean pods with the node's network."""

import copy

import pytest
from twins import found, objects, one

POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "edge-from-office", "namespace": "shop"},
    "spec": {
        "podSelector": {"matchLabels": {"app": "edge"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}],
    },
}


def policy(**spec):
    return POLICY | {"spec": POLICY["spec"] | spec}


@pytest.mark.parametrize(
    ("made", "severity"),
    [
        (policy(), "warning"),
        (policy(podSelector={}), "info"),
        (policy(podSelector={"matchLabels": {"app": "edges"}}), None),
        (
            policy(podSelector={"matchExpressions": [{"key": "app", "operator": "In", "values": ["edge"]}]}),
            "warning",
        ),
        (POLICY | {"metadata": {"name": "elsewhere", "namespace": "default"}}, None),
    ],
)
def test_a_policy_does_not_reach_pods_on_the_nodes_network(made, severity):
    findings = found("OBJ031", [*objects("OBJ031"), made])
    assert [f.severity.value for f in findings] == ([severity] if severity else [])
    if findings:
        assert findings[0].subjects == ("Service/shop/edge", f"NetworkPolicy/shop/{made['metadata']['name']}")


def test_the_same_policy_is_fine_over_pods_of_their_own_network():
    assert found("EXT001", [*objects("EXT001"), policy(podSelector={"matchLabels": {"app": "www"}})]) == []


def second(held, **spec):
    pod = copy.deepcopy(one(held, "Pod", "edge-"))
    pod["metadata"] |= {"name": "proxy", "uid": "other", "labels": {"app": "proxy"}}
    pod["metadata"].pop("ownerReferences")
    pod["spec"] |= spec
    held.append(pod)
    return pod


@pytest.mark.parametrize(
    ("ports", "clash"),
    [
        ([{"containerPort": 8080, "hostPort": 8080, "protocol": "TCP"}], True),
        ([{"containerPort": 8080, "hostPort": 8080, "protocol": "UDP"}], False),
        ([{"containerPort": 8081, "hostPort": 8081, "protocol": "TCP"}], False),
        ([{"containerPort": 8080, "hostPort": 8080, "protocol": "TCP", "hostIP": "127.0.0.1"}], True),
    ],
)
def test_two_pods_want_one_port_of_a_node(ports, clash):
    held = objects("OBJ031")
    second(held)["spec"]["containers"][0]["ports"] = ports
    findings = found("OBJ031", held)
    assert len(findings) == clash
    if clash:
        node = one(held, "Pod", "proxy")["spec"]["nodeName"]
        assert f"want port 8080/TCP of {node}" in findings[0].evidence[0]
        assert "Pod/shop/proxy" in findings[0].subjects


def test_pods_of_two_nodes_or_bound_to_two_addresses_do_not_clash():
    held = objects("OBJ031")
    second(held, nodeName="worker-z")
    assert found("OBJ031", held) == []
    held = objects("OBJ031")
    second(held)["spec"]["containers"][0]["ports"][0]["hostIP"] = "127.0.0.1"
    for pod in held:
        if pod["kind"] == "Pod" and pod["metadata"]["name"].startswith("edge-"):
            pod["spec"]["containers"][0]["ports"][0]["hostIP"] = "192.0.2.11"
    assert found("OBJ031", held) == []


def test_a_pod_that_waits_for_something_else_is_not_this():
    held = objects("OBJ031", "broken")
    waiting = one(held, "Pod", "edge-92wjl8nhm-t2n8x")
    waiting["status"]["conditions"][0]["message"] = "0/3 nodes are available: 3 Insufficient cpu."
    assert found("OBJ031", held) == []


def test_it_is_an_error_where_no_pod_is_ready():
    held = objects("OBJ031", "broken")
    one(held, "EndpointSlice", "edge")["endpoints"] = []
    assert [f.severity.value for f in found("OBJ031", held)] == ["error"]
