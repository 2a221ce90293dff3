"""Load balancers that dial nodePorts, and those that do not."""

import pytest
from twins import found, objects, one

TARGET_TYPE = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type"


def portal(held):
    return one(held, "Service", "portal")


def provider(held, name):
    for o in held:
        if o["kind"] == "Node":
            o["spec"]["providerID"] = f"{name}://somewhere/{o['metadata']['name']}"


def note(held, key, value):
    portal(held)["metadata"]["annotations"] = {key: value}


def pending(held):
    portal(held)["status"] = {"loadBalancer": {}}


def complaint(held, message="Error syncing load balancer: port http has no NodePort", kind="Service"):
    held.append(
        {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "portal.1", "namespace": "shop"},
            "involvedObject": {"kind": kind, "name": "portal", "namespace": "shop"},
            "type": "Warning",
            "reason": "SyncLoadBalancerFailed",
            "message": message,
        }
    )


@pytest.mark.parametrize(
    ("changes", "severity"),
    [
        ([], "warning"),
        ([lambda held: portal(held)["spec"].update(allocateLoadBalancerNodePorts=True)], None),
        ([lambda held: portal(held)["spec"].pop("allocateLoadBalancerNodePorts")], None),
        ([lambda held: portal(held)["spec"]["ports"][0].update(nodePort=31080)], None),
        ([lambda held: portal(held)["spec"].update(type="ClusterIP")], None),
        ([lambda held: provider(held, "gce")], None),
        ([lambda held: provider(held, "kind")], "warning"),
        ([lambda held: provider(held, "aws")], "warning"),
        ([lambda held: provider(held, "aws"), lambda held: note(held, TARGET_TYPE, "ip")], None),
        ([lambda held: provider(held, "aws"), lambda held: note(held, TARGET_TYPE, "instance")], "warning"),
        ([lambda held: note(held, "metallb.io/ip-allocated-from-pool", "public")], None),
        ([lambda held: portal(held)["spec"].update(loadBalancerClass="io.cilium/bgp-control-plane")], None),
        ([lambda held: provider(held, "gce"), pending, complaint], "error"),
        ([lambda held: provider(held, "gce"), pending, lambda held: complaint(held, "quota exceeded")], None),
        ([lambda held: provider(held, "gce"), lambda held: complaint(held, kind="Pod")], None),
        (
            [
                lambda held: provider(held, "gce"),
                lambda held: portal(held)["status"]["loadBalancer"]["ingress"][0].update(ipMode="Proxy"),
            ],
            "warning",
        ),
    ],
)
def test_whether_the_balancer_needs_node_ports(changes, severity):
    held = objects("EXT006", "broken")
    for change in changes:
        change(held)
    findings = found("EXT006", held)
    assert [f.severity.value for f in findings] == ([severity] if severity else [])
    for f in findings:
        assert f.field == "spec.allocateLoadBalancerNodePorts"
        assert f.subjects == ("Service/shop/portal",)
