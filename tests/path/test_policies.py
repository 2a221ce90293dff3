"""Whether NetworkPolicies let a pod reach another one's port: the rows of the API's documentation."""

import json

import pytest

from svcdoctor.cluster.decode import decode_json
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.policies import blocked
from svcdoctor.path.view import View

DNS = {"k8s-app": "kube-dns"}


def pod(namespace, name, labels, ip, ports=(), **spec):
    containers = [
        {"name": "c", "ports": [{"name": n, "containerPort": p, "protocol": t} for n, p, t in ports]}
    ]
    status = {"podIP": ip, "podIPs": [{"ip": ip}, {"ip": "fd00::9"}]}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": metadata,
        "spec": {"containers": containers, **spec},
        "status": status,
    }


def policy(namespace, selector, **spec):
    return {
        "kind": "NetworkPolicy",
        "apiVersion": "networking.k8s.io/v1",
        "metadata": {"name": "p", "namespace": namespace},
        "spec": {"podSelector": selector, **spec},
    }


def port(number, protocol=None, end=None):
    found = {"port": number}
    if protocol:
        found["protocol"] = protocol
    if end:
        found["endPort"] = end
    return {"ports": [found]}


def egress(*rules, types=("Egress",)):
    return policy("shop", {"matchLabels": {"app": "web"}}, policyTypes=list(types), egress=list(rules))


def asked(*policies, labels=None, protocol="UDP", family=4, **spec):
    client = pod("shop", "web-1", labels or {"app": "web"}, "10.0.0.1", **spec)
    server = pod("kube-system", "dns-1", DNS, "10.0.0.2", (("dns", 53, "UDP"), ("dns-tcp", 53, "TCP")))
    namespaces = [
        {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": n, "labels": {"team": t}}}
        for n, t in (("shop", "a"), ("kube-system", "infra"))
    ]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [client, server, *namespaces, *policies]})
    found = {}
    for obj in decode_json(text.encode(), "test"):
        found.setdefault(Kind(obj.kind), []).append(obj)
    view = View(Snapshot({k: tuple(v) for k, v in found.items()}, {k: (Known(),) for k in Kind}))
    snapshot = view.snapshot
    web, dns = snapshot.pod("shop", "web-1"), snapshot.pod("kube-system", "dns-1")
    return blocked(view, web, dns, 53, protocol, family)


PEER = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}


@pytest.mark.parametrize(
    ("rules", "direction"),
    [
        ([], "egress"),  # isolated, and nothing allowed
        ([{}], None),  # an empty rule allows all
        ([port(53, "UDP")], None),
        ([port(53)], "egress"),  # TCP is the default
        ([port(53, "TCP")], "egress"),
        ([port(1, "UDP", 100)], None),
        ([port(54, "UDP", 100)], "egress"),
        ([port("dns", "UDP")], None),
        ([port("dns-tcp", "UDP")], "egress"),
        ([port(8080, "TCP"), port(53, "UDP")], None),
        ([{"to": [PEER]}], None),
        ([{"to": [{"namespaceSelector": {}}]}], None),
        ([{"to": [{"namespaceSelector": {"matchLabels": {"team": "infra"}}}]}], None),
        ([{"to": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}], "egress"),
        ([{"to": [{"podSelector": {"matchLabels": DNS}}]}], "egress"),  # of the policy's own namespace
        ([{"to": [PEER | {"podSelector": {"matchLabels": DNS}}]}], None),
        ([{"to": [PEER | {"podSelector": {"matchLabels": {"k8s-app": "other"}}}]}], "egress"),
        ([{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}], None),
        ([{"to": [{"ipBlock": {"cidr": "10.0.0.0/24", "except": ["10.0.0.2/32"]}}]}], "egress"),
        ([{"to": [{"ipBlock": {"cidr": "fd00::/64"}}]}], "egress"),  # the packet is an IPv4 one
        ([{"to": [PEER], "ports": [{"port": 53, "protocol": "TCP"}]}], "egress"),
    ],
)
def test_egress(rules, direction):
    found = asked(egress(*rules))
    assert (found.direction if found else None) == direction
    if found:
        assert [p.name for p in found.policies] == ["p"]


def test_each_family_goes_by_its_own_addresses():
    assert asked(egress({"to": [{"ipBlock": {"cidr": "fd00::/64"}}]}), family=6) is None
    assert asked(egress({"to": [{"ipBlock": {"cidr": "fd01::/64"}}]}), family=6) is not None
    assert asked(egress({"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}]}), family=6) is not None


def test_policies_add_up():
    assert asked(egress(port(8080))) is not None
    assert (
        asked(egress(port(8080)), egress(port(53, "UDP")) | {"metadata": {"name": "q", "namespace": "shop"}})
        is None
    )


def test_who_is_selected():
    assert asked(egress(), labels={"app": "other"}) is None
    everyone = policy("shop", {}, policyTypes=["Egress"])
    assert asked(everyone, labels={"app": "other"}) is not None
    expression = {"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}
    assert asked(policy("shop", expression, policyTypes=["Egress"])) is None
    assert asked(policy("shop", expression, policyTypes=["Egress"]), labels={"app": "x"}) is not None
    assert asked(policy("elsewhere", {}, policyTypes=["Egress"])) is None


def test_directions():
    assert asked(egress(types=("Ingress",))) is None
    # Without policyTypes a policy is for ingress, and for egress where it has such rules.
    assert asked(policy("shop", {})) is None
    assert asked(policy("shop", {}, egress=[])) is None  # an empty list is no rule to the API server
    assert asked(policy("shop", {}, egress=[port(8080)])) is not None
    closed = policy("kube-system", {"matchLabels": DNS}, policyTypes=["Ingress"])
    assert asked(closed).direction == "ingress"
    open_ = closed | {
        "spec": closed["spec"]
        | {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}]}
    }
    assert asked(open_) is None


def test_a_pod_on_its_nodes_network_is_left_out():
    assert asked(egress(), hostNetwork=True) is None
