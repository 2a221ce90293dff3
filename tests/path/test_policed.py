"""NetworkPolicies in the trace: on the recorded cluster as if something enforced them there, and on small ones."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import Dump
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import EntryKind, HopKind, Result, Status
from svcdoctor.path.batch import answers
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target
from svcdoctor.sources.files import yaml_objects

spec = importlib.util.spec_from_file_location("recorded", Path(__file__).with_name("test_truth.py"))
recorded = importlib.util.module_from_spec(spec)
spec.loader.exec_module(recorded)

CALICO = "calico-node"


def daemon_set(name, container="c"):
    return f"""
kind: DaemonSet
apiVersion: apps/v1
metadata: {{name: {name}, namespace: kube-system}}
spec: {{template: {{metadata: {{labels: {{app: x}}}}, spec: {{containers: [{{name: {container}}}]}}}}}}
---"""


def with_objects(held, text):
    """The snapshot with more objects, and everything known."""
    objects = {k: held.of(k) for k in Kind}
    for obj in yaml_objects(text, "test"):
        objects[Kind(obj.kind)] = (*objects[Kind(obj.kind)], obj)
    return Snapshot(objects, {k: (Known(),) for k in Kind}, held.node_facts)


# --- what pods really saw decides ------------------------------------------------------------------------------------

PROBES = {f"10.244.{n}.{ip}" for n, ip in ((1, 8), (2, 3), (3, 3))}  # the pods that edge-deny lets in
EDGES = {"truth/edge-1": 1, "truth/edge-2": 2}


def by_what_was_seen(peers, edge):
    """What policy edge-deny does, by the addresses that the pod was recorded to see: they are all that it goes by."""
    node = EDGES[edge]
    own = {f"172.30.0.1{node}", f"10.244.{node}.1"}
    pod = "10.244.1.2" if node == 1 else "10.244.2.8"
    found = {"own" if p in own else "let in" if p in PROBES or p == pod else "kept out" for p in peers}
    assert len(found) == 1, peers
    return found.pop()


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_trace_drops_what_the_recorded_source_addresses_say(mode):
    held = with_objects(recorded.snapshot_of(mode, "objects"), daemon_set(CALICO))
    probes = [
        p for p in recorded.probes_of(mode) if any(f"truth/{b}" in EDGES for b in p["peers_by_backend"])
    ]
    told = [json.loads(a) for a in answers(held, [recorded.question(p) for p in probes])]
    seen = {"let in": 0, "kept out": 0, "own": 0}
    for probe, answer in zip(probes, told, strict=True):
        ends = {o["backend"]["pod"]: o for o in answer["outcomes"] if o["backend"]}
        for name, peers in probe["peers_by_backend"].items():
            edge = f"truth/{name}"
            if edge not in EDGES or edge not in ends:
                continue
            outcome, met = ends[edge], by_what_was_seen(peers, edge)
            seen[met] += 1
            if met != "let in" and outcome["sourceSeen"] == "unknown":
                assert outcome["result"] in ("dropped", "unknown", "delivered")  # the CNI may masquerade
            elif met == "kept out":
                assert (outcome["result"], outcome["code"]) == ("dropped", "NOD012"), (probe, outcome)
            elif met == "let in":
                assert outcome["code"] is None, (probe, outcome)
            else:  # its own node: for itself always, in a client's place it is not defined
                assert outcome["result"] in ("delivered", "unknown"), (probe, outcome)
    assert all(count >= 5 for count in seen.values()), seen


def test_rules_that_let_a_packet_through_prove_that_nothing_enforces():
    held = recorded.snapshot_of("nftables", "rules")
    client = parse_client("pod/web-6bdc9b754-7ppw7")
    cluster_ip = frozenset({EntryKind.CLUSTER_IP})
    answer = answer_once(held, Request(parse_target("svc/lb-local", "truth"), client, cluster_ip), "truth")
    hops = [h for p in answer.paths for h in p.hops if h.kind is HopKind.NETWORK_POLICY]
    assert hops and {h.status for h in hops} == {Status.OK}
    assert "nothing enforces it here: the rules of node1 let the packet through" in hops[0].detail
    assert not answer.findings


def test_a_plugins_rule_that_drops_is_put_down_to_the_policy():
    held = recorded.snapshot_of("iptables", "rules")
    name = "iptables-save.txt"

    def with_rule(chain):
        """node1 as if Calico, or somebody, kept everybody out of edge-1."""
        facts = held.node_facts["node1"]
        old = facts.raw[name]
        text = old.data.decode()
        lines = f":{chain} - [0:0]\n-A FORWARD -d 10.244.1.2/32 -j {chain}\n-A {chain} -j DROP\n"
        head, filter_, rest = text.partition("*filter\n")
        chains, forward, rules = rest.partition("-A ")
        changed = Dump(old.where, (head + filter_ + chains + lines + forward + rules).encode())
        nodes = held.node_facts | {
            "node1": replace(
                facts, raw={k: d for k, d in facts.raw.items() if "counters" not in k} | {name: changed}
            )
        }
        return Snapshot({k: held.of(k) for k in held.facts}, held.facts, nodes)

    asked = Request(parse_target("svc/itp-local", "truth"), parse_client("pod/web-6bdc9b754-7ppw7"))
    [path] = answer_once(with_rule("cali-tw-cali123"), asked, "truth").paths[:1]
    [outcome] = path.outcomes
    assert (outcome.result, outcome.code) == (Result.DROPPED, "NOD012")
    assert (
        outcome.reason.startswith("dropped on node1 by") and "NetworkPolicy truth/edge-deny" in outcome.reason
    )
    [path] = answer_once(with_rule("SOMEBODY"), asked, "truth").paths[:1]
    assert path.outcomes[0].result is Result.DROPPED
    assert "NetworkPolicy" not in path.outcomes[0].reason


# --- small clusters, both families -----------------------------------------------------------------------------------

NODES = {"n1": ("192.0.2.1", "2001:db8::1"), "n2": ("192.0.2.2", "2001:db8::2")}


def world(policy, plugin=CALICO, policy_kind="Cluster", more=""):
    """Service web (80 → 8080, named http → web) with a pod on each of two nodes, and a client in its namespace."""
    text = daemon_set(plugin) + "\n" if plugin else ""
    text += "kind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n---\n"
    text += "kind: Namespace\nmetadata: {name: far, labels: {team: b}}\n---\n"
    for n, (name, (v4, v6)) in enumerate(NODES.items(), 1):
        text += f"""
kind: Node
metadata: {{name: {name}}}
spec: {{podCIDRs: [10.244.{n}.0/24, "fd00:{n}::/64"]}}
status: {{addresses: [{{type: InternalIP, address: {v4}}}, {{type: InternalIP, address: "{v6}"}}]}}
---"""
    pods = [("web-1", "shop", "web", 1, 5, "n1"), ("web-2", "shop", "web", 2, 5, "n2")]
    pods += [("front", "shop", "front", 1, 9, "n1"), ("stranger", "far", "front", 2, 9, "n2")]
    for name, ns, app, n, ip, node in pods:
        text += f"""
kind: Pod
metadata: {{name: {name}, namespace: {ns}, labels: {{app: {app}}}}}
spec: {{nodeName: {node}, containers: [{{name: c, ports: [{{name: web, containerPort: 8080}}]}}]}}
status:
  phase: Running
  podIPs: [{{ip: 10.244.{n}.{ip}}}, {{ip: "fd00:{n}::{ip}"}}]
  conditions: [{{type: Ready, status: "True"}}]
---"""
    text += f"""
kind: Service
metadata: {{name: web, namespace: shop}}
spec:
  type: NodePort
  externalTrafficPolicy: {policy_kind}
  clusterIP: 10.96.0.9
  clusterIPs: [10.96.0.9, "fd00:ffff::9"]
  ipFamilies: [IPv4, IPv6]
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: web, nodePort: 30080, protocol: TCP}}]
---"""
    for family, ips in (("IPv4", ("10.244.1.5", "10.244.2.5")), ("IPv6", ("'fd00:1::5'", "'fd00:2::5'"))):
        ends = ", ".join(
            f"{{addresses: [{ip}], nodeName: n{i}, conditions: {{ready: true}}, "
            f"targetRef: {{kind: Pod, namespace: shop, name: web-{i}}}}}"
            for i, ip in enumerate(ips, 1)
        )
        text += f"""
kind: EndpointSlice
metadata: {{name: web-{family.lower()}, namespace: shop, labels: {{kubernetes.io/service-name: web}}}}
addressType: {family}
endpoints: [{ends}]
ports: [{{name: http, port: 8080, protocol: TCP}}]
---"""
    for name, namespace, body in policy:
        text += f"""
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {{name: {name}, namespace: {namespace}}}
spec: {body}
---"""
    held = Snapshot({}, {})
    return with_objects(held, text + more)


def let(*peers, ports="", app="web"):
    """A policy of shop that lets these peers in."""
    rule = f"{{from: [{', '.join(peers)}]{f', ports: [{ports}]' if ports else ''}}}"
    body = f"{{podSelector: {{matchLabels: {{app: {app}}}}}, policyTypes: [Ingress], ingress: [{rule}]}}"
    return ("p", "shop", body)


def out(*rules):
    body = f"{{podSelector: {{matchLabels: {{app: front}}}}, policyTypes: [Egress], egress: [{', '.join(rules)}]}}"
    return ("e", "shop", body)


FRONT = "{podSelector: {matchLabels: {app: front}}}"
NOBODY = ("p", "shop", "{podSelector: {}, policyTypes: [Ingress]}")


def asked(held, client, *via, target="svc/web", node=None, family=None):
    request = Request(
        parse_target(target, "shop"),
        parse_client(client) if client else None,
        frozenset(EntryKind(v) for v in via),
        node=node,
        family=family,
    )
    return answer_once(held, request, "shop")


def results(answer):
    return sorted({(str(o.result), o.code) for p in answer.paths for o in p.outcomes}, key=str)


FINE, KEPT = [("delivered", None)], [("dropped", "NOD012")]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("policy", "client", "found"),
    [
        (let(FRONT), "pod/front", FINE),
        (let(FRONT), "pod/far/stranger", KEPT),  # the same labels, another namespace
        (let("{namespaceSelector: {}, podSelector: {matchLabels: {app: front}}}"), "pod/far/stranger", FINE),
        (let("{namespaceSelector: {matchLabels: {team: b}}}"), "pod/far/stranger", FINE),
        (let("{namespaceSelector: {matchLabels: {team: b}}}"), "pod/front", KEPT),
        (let(FRONT), None, FINE),  # some pod may
        (NOBODY, None, KEPT),  # no pod may
        (let(FRONT, ports="{port: 8080}"), "pod/front", FINE),
        (let(FRONT, ports="{port: web}"), "pod/front", FINE),
        (let(FRONT, ports="{port: 80}"), "pod/front", [("dropped", "NOD014")]),
        (let(FRONT, ports="{port: http}"), "pod/front", [("dropped", "NOD014")]),
        (let(FRONT, ports="{port: 80}"), None, [("dropped", "NOD014")]),
        (let(FRONT, ports="{port: 80}"), "pod/far/stranger", KEPT),  # it would be kept out all the same
        (out("{ports: [{port: 8080}]}"), "pod/front", FINE),
        (out("{ports: [{port: 80}]}"), "pod/front", [("dropped", "NOD014")]),
        (out("{to: [{podSelector: {matchLabels: {app: web}}}]}"), "pod/front", FINE),
        (out("{to: [{podSelector: {matchLabels: {app: db}}}]}"), "pod/front", KEPT),
        (out(), "pod/front", KEPT),
        (out(), "pod/far/stranger", FINE),
        (let(FRONT, app="front"), "pod/front", FINE),  # web itself is not isolated
    ],
)
def test_by_cluster_ip(policy, client, found, family):
    assert results(asked(world([policy]), client, "clusterIP", family=family)) == found


@pytest.mark.parametrize("family", [4, 6])
def test_nodes(family):
    held = world([NOBODY])
    answer = asked(held, "node/n1", "clusterIP", family=family)
    by_pod = {o.backend.pod: o for p in answer.paths for o in p.outcomes}
    assert by_pod["shop/web-1"].result is Result.DELIVERED  # from its own node always
    assert by_pod["shop/web-2"].code == "NOD012"


@pytest.mark.parametrize(("family", "client"), [(4, "203.0.113.9"), (6, "2001:db8:9::9")])
def test_masquerading_hides_a_client_outside(family, client):
    block = "{ipBlock: {cidr: 203.0.113.0/24}}" if family == 4 else "{ipBlock: {cidr: '2001:db8:9::/64'}}"
    answer = asked(world([let(block)]), f"external/{client}", "nodePort", family=family)
    for path in answer.paths:
        by_node = {o.backend.node: o for o in path.outcomes}
        there, here = by_node.pop(path.entry.node), next(iter(by_node.values()))
        assert there.result is Result.DELIVERED  # by the client's address or by its own node's
        assert (here.result, here.code) == (Result.DROPPED, "NOD013")
    assert [f.code for f in answer.findings] == ["NOD013"]
    local = asked(world([let(block)], policy_kind="Local"), f"external/{client}", "nodePort", family=family)
    assert (results(local), local.findings) == (FINE, ())


@pytest.mark.parametrize(("client", "code"), [("external/198.51.100.1", "NOD012"), ("external", "NOD013")])
def test_a_client_that_may_not_come_in_is_not_hidden(client, code):
    held = world([let("{ipBlock: {cidr: 203.0.113.0/24}}")])
    codes = {o.code for p in asked(held, client, "nodePort", family=4).paths for o in p.outcomes}
    assert code in codes and len(codes - {None}) == 1


def test_at_the_pod_of_the_node_that_masquerades_it_is_not_defined_which_of_the_two_is_seen():
    answer = asked(world([NOBODY]), "external/198.51.100.1", "nodePort", node="n1", family=4)
    by_node = {o.backend.node: o for o in answer.paths[0].outcomes}
    assert (by_node["n1"].result, by_node["n1"].status) == (Result.UNKNOWN, Status.WARN)
    assert "depends on the network plugin" in by_node["n1"].reason
    assert by_node["n2"].result is Result.DROPPED


def test_the_nodes_addresses_let_in_everybody_who_comes_by_them():
    held = world([let("{ipBlock: {cidr: 192.0.2.0/24}}", "{ipBlock: {cidr: 10.244.0.0/16}}")])
    assert results(asked(held, "external/198.51.100.1", "nodePort", node="n1", family=4)) == [
        ("delivered", None),
        ("unknown", "NOD012"),
    ]


def test_only_one_of_the_addresses_that_a_node_may_masquerade_with_decides_nothing():
    held = world([let("{ipBlock: {cidr: 192.0.2.0/24}}")])
    answer = asked(held, "external/198.51.100.1", "nodePort", node="n1", family=4)
    by_node = {o.backend.node: o for o in answer.paths[0].outcomes}
    assert by_node["n2"].result is Result.DELIVERED


def test_a_pods_packet_to_another_nodes_nodeport_is_still_on_its_way_to_the_node():
    allowed = out("{to: [{ipBlock: {cidr: 192.0.2.2/32}}], ports: [{port: 30080}]}")
    far = asked(world([allowed]), "pod/front", target="192.0.2.2:30080")
    assert not {"NOD012", "NOD014"} & {c for _, c in results(far)}
    assert (
        results(asked(world([out("{ports: [{port: 8080}]}")]), "pod/front", target="192.0.2.2:30080")) == KEPT
    )


@pytest.mark.parametrize(
    ("plugin", "container", "found", "severities"),
    [
        (CALICO, "c", KEPT, ["error"]),
        ("cilium", "c", KEPT, ["error"]),
        ("kube-flannel-ds", "c", FINE, []),
        ("kube-flannel-ds", "kube-network-policies", KEPT, ["error"]),
        ("aws-node", "c", [("delivered", "NOD012")], ["warning"]),
        ("my-own", "c", [("delivered", "NOD012")], ["warning"]),
    ],
)
def test_who_enforces(plugin, container, found, severities):
    held = world([NOBODY], plugin=None, more=daemon_set(plugin, container))
    answer = asked(held, "pod/front", "clusterIP")
    assert results(answer) == found
    assert [str(f.severity) for f in answer.findings] == severities


def test_a_plugin_is_known_by_its_pods_too():
    pod = """
kind: Pod
metadata:
  name: calico-node-x
  namespace: kube-system
  ownerReferences: [{kind: DaemonSet, name: calico-node, controller: true}]
spec: {containers: [{name: calico-node}]}
---"""
    assert results(asked(world([NOBODY], plugin=None, more=pod), "pod/front", "clusterIP")) == KEPT
    named_alike = pod.replace("kind: DaemonSet, name: calico-node", "kind: ReplicaSet, name: calico-node")
    assert results(asked(world([NOBODY], plugin=None, more=named_alike), "pod/front", "clusterIP")) != KEPT


def test_a_policy_that_is_not_known_may_allow_what_the_others_do_not():
    held = world([NOBODY])
    partly = Snapshot({k: held.of(k) for k in Kind}, held.facts | {Kind.NETWORK_POLICY: ()})
    answer = asked(partly, "pod/front", "clusterIP")
    assert results(answer) == FINE
    assert Kind.NETWORK_POLICY in {n.kind for n in answer.needs}


def test_the_hop_names_the_policy_that_allows():
    held = world([NOBODY, ("q", "shop", "{podSelector: {}, ingress: [{ports: [{port: 1}]}, {}]}")])
    [path] = asked(held, "pod/front", "clusterIP", family=4).paths
    hops = [h for h in path.hops if h.kind is HopKind.NETWORK_POLICY]
    assert [(h.title, h.status, h.detail) for h in hops] == [
        ("NetworkPolicy shop/q", Status.OK, "ingress: rule 2 allows it")
    ]


def test_a_cluster_without_policies_has_no_such_hop_and_asks_for_no_plugin():
    answer = asked(world([], plugin=None), "pod/front", "clusterIP")
    assert not [h for p in answer.paths for h in p.hops if h.kind is HopKind.NETWORK_POLICY]
    assert not answer.needs


INGRESS = """
kind: IngressClass
apiVersion: networking.k8s.io/v1
metadata: {name: nginx}
spec: {controller: k8s.io/ingress-nginx}
---
kind: Ingress
apiVersion: networking.k8s.io/v1
metadata: {name: site, namespace: shop}
spec:
  ingressClassName: nginx
  rules:
  - http:
      paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]
---
kind: Service
metadata:
  name: ingress-nginx-controller
  namespace: far
  labels: {app.kubernetes.io/name: ingress-nginx, app.kubernetes.io/component: controller}
spec:
  type: NodePort
  clusterIP: 10.96.0.50
  selector: {app: front}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
---"""


@pytest.mark.parametrize(
    ("policy", "code"),
    [
        (let("{namespaceSelector: {matchLabels: {team: b}}}"), None),
        (let("{namespaceSelector: {matchLabels: {team: a}}}"), "NOD012"),
        (let(FRONT), "NOD012"),
        (let("{namespaceSelector: {}}", ports="{port: 80}"), "NOD014"),
    ],
)
def test_an_ingress_controller_that_no_policy_lets_in(policy, code):
    answer = asked(world([policy], more=INGRESS), None, target="ingress/site")
    assert {o.code for p in answer.paths for o in p.outcomes} == {code}
    assert [f.code for f in answer.findings if f.code.startswith("NOD")] == ([code] if code else [])
    if code:
        named = [f for f in answer.findings if f.code == code]
        assert named[0].subjects[0] == "NetworkPolicy/shop/p"
