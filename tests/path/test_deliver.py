"""What one packet meets: the documented behaviour of kube-proxy, as a table, in IPv4 and IPv6."""

import pytest

from svcdoctor.cluster.decode import decode_documents
from svcdoctor.cluster.yamldoc import load_documents
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.nodefacts import Listener, NodeFacts, ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import ClientKind, Result, SourceSeen
from svcdoctor.path.deliver import Packet, Source, deliver
from svcdoctor.path.world import World

NODES = {
    "n1": ("192.0.2.1", "2001:db8::1"),
    "n2": ("192.0.2.2", "2001:db8::2"),
    "n3": ("192.0.2.3", "2001:db8::3"),
}
PODS = {"web-1": ("n1", "10.1.0.5", "fd00:1::5"), "web-2": ("n2", "10.2.0.5", "fd00:2::5")}
CIDRS = ("10.0.0.0/8", "fd00::/16")


def node(name, v4, v6):
    return f"""
kind: Node
metadata: {{name: {name}}}
spec: {{podCIDRs: [10.{name[1]}.0.0/24, "fd00:{name[1]}::/64"]}}
status: {{addresses: [{{type: InternalIP, address: {v4}}}, {{type: InternalIP, address: "{v6}"}}]}}
"""


def pod(name, node_name, v4, v6, extra=""):
    return f"""
kind: Pod
metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}
spec: {{nodeName: {node_name}, containers: [{{name: c, ports: [{{containerPort: 8080{extra}}}]}}]}}
status:
  phase: Running
  podIPs: [{{ip: {v4}}}, {{ip: "{v6}"}}]
  conditions: [{{type: Ready, status: "True"}}]
"""


def slices(name, endpoints):
    text = ""
    for family, index in (("IPv4", 1), ("IPv6", 2)):
        listed = ", ".join(
            f'{{addresses: ["{PODS[p][index]}"], nodeName: {PODS[p][0]}, '
            f"targetRef: {{kind: Pod, namespace: shop, name: {p}}}}}"
            for p in endpoints
        )
        text += f"""
---
kind: EndpointSlice
metadata: {{name: {name}-{family.lower()}, namespace: shop, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: {family}
endpoints: [{listed}]
ports: [{{name: http, port: 8080, protocol: TCP}}]
"""
    return text


def service(name, number, spec="", status=""):
    return f"""
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec:
  clusterIP: 10.96.0.{number}
  clusterIPs: [10.96.0.{number}, "fd96::{number}"]
  ipFamilies: [IPv4, IPv6]
  ports: [{{name: http, port: 80, targetPort: 8080, nodePort: {30000 + number}}}]
  {spec}
status: {{loadBalancer: {{{status}}}}}
"""


CLUSTER = "\n---\n".join(
    [
        *(node(n, *a) for n, a in NODES.items()),
        *(pod(p, *a, extra=", hostPort: 9000" if p == "web-1" else "") for p, a in PODS.items()),
        service("cluster", 1, "type: NodePort"),
        service("local", 2, "type: NodePort\n  externalTrafficPolicy: Local"),
        service("inner", 3, "type: ClusterIP\n  internalTrafficPolicy: Local"),
        service("none", 4, "type: NodePort"),
        service(
            "lb",
            5,
            "type: LoadBalancer\n  loadBalancerSourceRanges: [203.0.113.0/24, 10.1.0.0/24]",
            'ingress: [{ip: 198.51.100.5}, {ip: "2001:db8:5::5"}]',
        ),
        service("proxied", 6, "type: LoadBalancer", "ingress: [{ip: 198.51.100.6, ipMode: Proxy}]"),
        service("foreign", 7, "type: ClusterIP").replace(
            "namespace: shop}", "namespace: shop, labels: {service.kubernetes.io/service-proxy-name: other}}"
        ),
        service("ext", 8, "type: ClusterIP\n  externalIPs: [198.51.100.8]"),
        service("draining", 9, "type: NodePort\n  externalTrafficPolicy: Local"),
        "kind: ServiceCIDR\nmetadata: {name: kubernetes}\nspec: {cidrs: [10.96.0.0/24, 'fd96::/112']}\n",
        "kind: Pod\nmetadata: {name: client, namespace: shop}\nspec: {nodeName: n3, containers: [{name: c}]}\n"
        "status: {podIPs: [{ip: 10.3.0.9}, {ip: 'fd00:3::9'}]}\n",
    ]
)
CLUSTER += "".join(
    slices(n, ["web-1", "web-2"]) for n in ("cluster", "inner", "lb", "proxied", "foreign", "ext")
)
CLUSTER += slices("local", ["web-1"])
CLUSTER += slices("draining", ["web-1", "web-2"]).replace(
    "nodeName: n2,", "nodeName: n2, conditions: {ready: false, serving: true, terminating: true},"
)


def world(settings=None, listeners=None):
    objects = {}
    for o in decode_documents(load_documents(CLUSTER, "test"), "test"):
        objects.setdefault(Kind(o.kind), []).append(o)
    facts = {}
    if settings is not None or listeners is not None:
        facts = {
            n: NodeFacts(n, settings, (*a, "127.0.0.1", "::1", f"10.{n[1]}.0.1"), listeners)
            for n, a in NODES.items()
        }
    return World(Snapshot({k: tuple(v) for k, v in objects.items()}, {k: (Known(),) for k in Kind}, facts))


IPTABLES = ProxySettings("iptables", cluster_cidrs=CIDRS)
NFTABLES = ProxySettings("nftables", cluster_cidrs=CIDRS)
WORLDS = {"objects": world(), "iptables": world(IPTABLES), "nftables": world(NFTABLES)}

OUTSIDE = Source(ClientKind.EXTERNAL, "203.0.113.9")
OTHERS = Source(ClientKind.EXTERNAL, "198.18.0.9")
OUTSIDE6 = Source(ClientKind.EXTERNAL, "2001:db8:f::9")
CLIENT = Source(ClientKind.POD, "10.3.0.9", "n3", ("shop", "client"))
CLIENT6 = Source(ClientKind.POD, "fd00:3::9", "n3", ("shop", "client"))
WEB1 = Source(ClientKind.POD, "10.1.0.5", "n1", ("shop", "web-1"))
NODE1 = Source(ClientKind.NODE, "192.0.2.1", "n1")
NODE3 = Source(ClientKind.NODE, "192.0.2.3", "n3")
BOTH = {"shop/web-1", "shop/web-2"}


def ask(where, source, ip, port, enter=None, protocol="TCP"):
    delivery = deliver(
        WORLDS[where] if isinstance(where, str) else where, Packet(source, ip, port, protocol, enter)
    )
    assert sum(o.probability for o in delivery.outcomes) == pytest.approx(1)
    return delivery.outcomes


def results(outcomes):
    return {o.result for o in outcomes}


def pods(outcomes):
    return {o.backend.pod for o in outcomes if o.result is Result.DELIVERED}


@pytest.mark.parametrize(
    ("source", "ip", "port", "enter", "reached"),
    [
        (CLIENT, "10.96.0.1", 80, None, BOTH),
        (CLIENT6, "fd96::1", 80, None, BOTH),
        (NODE3, "10.96.0.1", 80, None, BOTH),
        (OUTSIDE, "192.0.2.3", 30001, None, BOTH),
        (OUTSIDE6, "2001:db8::3", 30001, None, BOTH),
        (CLIENT, "192.0.2.1", 30001, None, BOTH),
        (OUTSIDE, "192.0.2.1", 30002, None, {"shop/web-1"}),  # Local: its own endpoint
        (OUTSIDE6, "2001:db8::1", 30002, None, {"shop/web-1"}),
        (NODE1, "192.0.2.1", 30002, None, {"shop/web-1"}),
        (WEB1, "10.96.0.3", 80, None, {"shop/web-1"}),  # internalTrafficPolicy Local
        (OUTSIDE, "198.51.100.5", 80, "n3", BOTH),
        (OUTSIDE, "198.51.100.8", 80, "n2", BOTH),
        (OUTSIDE6, "2001:db8:5::5", 80, "n1", BOTH),  # the ranges are IPv4: they say nothing of IPv6
        (CLIENT, "10.1.0.5", 8080, None, {"shop/web-1"}),
        (OUTSIDE, "192.0.2.1", 9000, None, {"shop/web-1"}),  # hostPort
        (OUTSIDE, "192.0.2.2", 30009, None, {"shop/web-2"}),  # Local falls back to terminating by itself
        (OUTSIDE, "192.0.2.1", 30009, None, {"shop/web-1"}),
        (CLIENT, "10.96.0.9", 80, None, {"shop/web-1"}),  # the ready one only
    ],
)
@pytest.mark.parametrize("where", WORLDS)
def test_delivered(where, source, ip, port, enter, reached):
    outcomes = ask(where, source, ip, port, enter)
    assert results(outcomes) == {Result.DELIVERED}
    assert pods(outcomes) == reached


@pytest.mark.parametrize(
    ("source", "ip", "port", "enter", "result", "code"),
    [
        (CLIENT, "10.96.0.4", 80, None, Result.REFUSED, None),  # no endpoints: REJECT
        (CLIENT6, "fd96::4", 80, None, Result.REFUSED, None),
        (OUTSIDE, "192.0.2.2", 30004, None, Result.REFUSED, None),
        (OUTSIDE, "192.0.2.3", 30002, None, Result.DROPPED, "RUL009"),
        (OUTSIDE6, "2001:db8::3", 30002, None, Result.DROPPED, "RUL009"),
        (NODE3, "192.0.2.2", 30002, None, Result.DROPPED, "RUL009"),  # another node's: not short-cut
        (CLIENT, "10.96.0.3", 80, None, Result.DROPPED, "RUL010"),
        (CLIENT6, "fd96::3", 80, None, Result.DROPPED, "RUL010"),
        (OTHERS, "198.51.100.5", 80, "n1", Result.DROPPED, "EXT002"),
        (OUTSIDE6, "198.51.100.5", 80, "n1", Result.DROPPED, "EXT004"),  # another family
        (CLIENT, "198.51.100.5", 80, None, Result.DROPPED, "EXT002"),  # pods of other ranges too
        (NODE1, "198.51.100.5", 80, None, Result.DROPPED, "EXT002"),
        (OUTSIDE, "198.51.100.6", 80, "n1", Result.DROPPED, None),  # ipMode Proxy has no rules
        (CLIENT, "10.96.0.200", 80, None, Result.DROPPED, None),  # unused in the Service range
        (OUTSIDE, "192.0.2.1", 31999, None, Result.REFUSED, None),  # no Service has this nodePort
        (OUTSIDE, "198.51.100.5", 81, "n1", Result.DROPPED, "OBJ016"),
    ],
)
@pytest.mark.parametrize("where", WORLDS)
def test_not_delivered(where, source, ip, port, enter, result, code):
    outcomes = ask(where, source, ip, port, enter)
    assert results(outcomes) == {result}
    assert outcomes[0].code == code


@pytest.mark.parametrize(
    ("source", "ip", "port", "enter", "by_mode"),
    [
        # another port of a cluster IP: nowhere in iptables mode, rejected in nftables mode
        (CLIENT, "10.96.0.1", 81, None, ("unknown", "dropped", "refused")),
        (CLIENT, "10.96.0.1", 80, "UDP", ("unknown", "dropped", "refused")),
        # localhost: iptables mode only, IPv4 only
        (NODE1, "127.0.0.1", 30001, None, ("unknown", "delivered", "refused")),
        (NODE1, "::1", 30001, None, ("refused", "refused", "refused")),
    ],
)
def test_modes_differ(source, ip, port, enter, by_mode):
    protocol = "UDP" if enter == "UDP" else "TCP"
    found = [ask(w, source, ip, port, None, protocol) for w in ("objects", "iptables", "nftables")]
    assert tuple(o[0].result for o in found) == by_mode


def test_other_local_addresses_answer_in_iptables_mode_only():
    assert results(ask("iptables", OUTSIDE, "10.3.0.1", 30001)) == {Result.DELIVERED}
    assert results(ask("nftables", OUTSIDE, "10.3.0.1", 30001)) == {Result.REFUSED}


@pytest.mark.parametrize(
    ("addresses", "loopback", "primary"),
    [
        (("primary",), "refused", "delivered"),
        (("192.0.2.0/24",), "refused", "delivered"),
        (("10.0.0.0/8",), "refused", "refused"),
    ],
)
def test_nodeport_addresses(addresses, loopback, primary):
    w = world(ProxySettings("iptables", cluster_cidrs=CIDRS, node_port_addresses=addresses))
    assert results(ask(w, NODE1, "127.0.0.1", 30001)) == {loopback}
    assert results(ask(w, OUTSIDE, "192.0.2.1", 30001)) == {primary}


def seen(outcomes):
    return {o.backend.pod.split("/")[1]: o.source_seen for o in outcomes if o.result is Result.DELIVERED}


C, N, U = SourceSeen.CLIENT, SourceSeen.NODE, SourceSeen.UNKNOWN


@pytest.mark.parametrize(
    ("settings", "source", "ip", "port", "expected"),
    [
        (IPTABLES, CLIENT, "10.96.0.1", 80, {"web-1": C, "web-2": C}),
        (IPTABLES, WEB1, "10.96.0.1", 80, {"web-1": N, "web-2": C}),  # hairpin is masqueraded
        (IPTABLES, OUTSIDE, "192.0.2.1", 30001, {"web-1": N, "web-2": N}),  # policy Cluster
        (IPTABLES, OUTSIDE, "192.0.2.1", 30002, {"web-1": C}),  # policy Local keeps the client
        (IPTABLES, OUTSIDE, "198.51.100.5", 80, {"web-1": N, "web-2": N}),
        # A node's own packet gets its own address; towards its own pods that of the pod's link.
        (IPTABLES, NODE1, "10.96.0.1", 80, {"web-1": U, "web-2": C}),
        (IPTABLES, OUTSIDE, "10.1.0.5", 8080, {"web-1": C}),
        (
            ProxySettings("iptables", cluster_cidrs=CIDRS, masquerade_all=True),
            CLIENT,
            "10.96.0.1",
            80,
            {"web-1": N, "web-2": N},
        ),
        (None, CLIENT, "10.96.0.1", 80, {"web-1": C, "web-2": C}),
        (
            ProxySettings("iptables", detect_local="NodeCIDR"),
            CLIENT,
            "10.96.0.1",
            80,
            {"web-1": C, "web-2": C},
        ),
    ],
)
def test_whose_address_the_application_sees(settings, source, ip, port, expected):
    enter = "n1" if source.kind is ClientKind.EXTERNAL else None
    assert seen(ask(world(settings), source, ip, port, enter)) == expected


def test_a_pod_asking_another_nodes_local_nodeport_depends_on_the_cni():
    """With policy Local only the endpoint of that node is certain (RUL011); with NodeCIDR no short cut exists."""
    outcomes = ask("iptables", CLIENT, "192.0.2.1", 30009)
    assert [(o.backend.pod, o.result, o.code) for o in outcomes] == [("shop/web-1", Result.DELIVERED, None)]
    two = world(IPTABLES)
    both = deliver(two, Packet(CLIENT, "192.0.2.2", 30009)).outcomes
    assert {o.code for o in both if o.result is Result.UNKNOWN} == {"RUL011"}
    node_cidr = world(ProxySettings("iptables", detect_local="NodeCIDR"))
    assert pods(ask(node_cidr, CLIENT, "192.0.2.2", 30009)) == {"shop/web-2"}


def test_a_foreign_proxys_service_is_not_guessed():
    outcomes = ask("iptables", CLIENT, "10.96.0.7", 80)
    assert results(outcomes) == {Result.UNKNOWN}
    assert outcomes[0].code == "OBJ029"


def test_a_host_port_answers_on_its_own_node_only():
    assert ask("objects", OUTSIDE, "192.0.2.2", 9000)[0].code == "OBJ030"
    assert results(ask("objects", OUTSIDE, "192.0.2.2", 9000)) == {Result.REFUSED}


def test_listening_sockets_decide_for_other_ports():
    known = world(
        listeners=(Listener("TCP", "0.0.0.0", 22, "sshd"), Listener("TCP", "127.0.0.1", 10248, "kubelet"))
    )
    assert results(ask(known, OUTSIDE, "192.0.2.1", 22)) == {Result.DELIVERED}
    assert results(ask(known, OUTSIDE, "192.0.2.1", 23)) == {Result.REFUSED}
    assert results(ask(known, OUTSIDE, "192.0.2.1", 10248)) == {Result.REFUSED}
    assert results(ask("objects", OUTSIDE, "192.0.2.1", 22)) == {Result.UNKNOWN}
