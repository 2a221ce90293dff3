"""The connectivity table: Services of every kind, and who answers each asker on node k8s-node1, as kube-proxy has it.

One pod is on each node: c8zlp on k8s-node0, tkxck on k8s-node1, vvkt9 on k8s-node3. Each Service has a TCP and a UDP
port in both IP families, and a nodePort for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

NODE = "k8s-node1"
NODE4, NODE6 = "192.168.0.44", "fd00:192:168::44"
CLIENT4, CLIENT6 = "192.168.0.100", "fd00:192:168::100"
DEPLOYMENT = "bq-api-service-deploy-sample-f448cf6ff"
PODS = {
    "c8zlp": ("k8s-node0", "10.244.2.104", "fd00:10:244:2::104"),
    "tkxck": ("k8s-node1", "10.244.1.45", "fd00:10:244:1::45"),
    "vvkt9": ("k8s-node3", "10.244.3.54", "fd00:10:244:3::54"),
}
HERE = f"{DEPLOYMENT}-tkxck"
"""The pod that is an endpoint and on the node."""

BALANCER4, BALANCER6 = "198.51.100.{}", "2001:db8:51::{}"
ALL, AWAY, ONLY = frozenset(PODS), frozenset({"c8zlp", "vvkt9"}), frozenset({"tkxck"})
REFUSED, SILENT = frozenset({"refused"}), frozenset({"silent"})

# Endpoints: each pod's state.
READY, LEAVING, UNREADY = (True, True, False), (False, True, True), (False, False, False)
EVERYBODY = dict.fromkeys(PODS, READY)
ELSEWHERE = dict.fromkeys(sorted(AWAY), READY)


@dataclass(frozen=True, slots=True)
class Row:
    """A Service, and who answers: at its cluster IP, and at its other addresses outside askers and those that are
    ``inside``, the node and pods.

    ``balancer`` are who answers at its load balancer's or external address, for a Service that has one. ``one`` tells
    that an asker gets the same endpoint again and again.
    """

    name: str
    internal: frozenset[str]
    outside: frozenset[str]
    inside: frozenset[str]
    spec: Object = field(default_factory=dict)
    endpoints: dict[str, tuple[bool, bool, bool]] = field(default_factory=lambda: EVERYBODY)
    one: bool = False
    hints: bool = False
    balancer: dict[str, frozenset[str]] | None = None


E_LOCAL, I_LOCAL = {"externalTrafficPolicy": "Local"}, {"internalTrafficPolicy": "Local"}
BALANCED = {"type": "LoadBalancer"}
RANGES = {"loadBalancerSourceRanges": [f"{CLIENT4}/32", f"{CLIENT6}/128"]}
STICKY = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}}}

ROWS = (
    Row("plain", ALL, ALL, ALL),
    Row("external-local", ALL, ONLY, ALL, E_LOCAL),
    Row("external-local-away", AWAY, SILENT, AWAY, E_LOCAL, ELSEWHERE),
    Row("internal-local", ONLY, ALL, ALL, I_LOCAL),
    Row("internal-local-away", SILENT, AWAY, AWAY, I_LOCAL, ELSEWHERE),
    Row("nobody", REFUSED, REFUSED, REFUSED, endpoints={}),
    Row("nobody-ready", REFUSED, REFUSED, REFUSED, E_LOCAL, dict.fromkeys(PODS, UNREADY)),
    Row("one-unready", AWAY, AWAY, AWAY, endpoints=EVERYBODY | {"tkxck": UNREADY}),
    Row("leaving", ALL, ALL, ALL, endpoints=dict.fromkeys(PODS, LEAVING)),
    Row("leaving-here", ONLY, ONLY, frozenset({"c8zlp"}), E_LOCAL | I_LOCAL, {"c8zlp": READY, "tkxck": LEAVING}),
    Row("hinted", ONLY, ONLY, ONLY, hints=True),
    Row("sticky", ALL, ALL, ALL, STICKY, one=True),
    Row("balanced", ALL, ALL, ALL, BALANCED | RANGES, balancer={"outside": ALL, "inside": SILENT}),
    Row("balanced-local", ALL, ONLY, ALL, BALANCED | E_LOCAL, balancer={"outside": ONLY, "inside": ALL}),
    Row("external-ip", ALL, ALL, ALL, {"externalIPs": ["198.51.100.99", "2001:db8:51::99"]},
        balancer={"outside": ALL, "inside": ALL}),
    Row("balanced-nobody", REFUSED, REFUSED, REFUSED, BALANCED, {}, balancer={"outside": REFUSED, "inside": REFUSED}),
)  # fmt: skip

FOREIGN = "10.97.0.71"
"""The cluster IP of a Service that is another proxy's."""

OUTSIDE, INSIDE = ("client", "k8s-node0"), (NODE, "pod/client")
ASKERS = (*OUTSIDE, *INSIDE, f"pod/{HERE}", f"pod/{DEPLOYMENT}-c8zlp")


@dataclass(frozen=True, slots=True)
class Case:
    """One question: who asks for which of a Service's addresses, and who answers."""

    row: Row
    kind: str
    asker: str
    protocol: str
    ip: str
    port: int
    answer: frozenset[str]
    seen: str = ""  # kept or masked; empty where an address does not tell

    @property
    def name(self) -> str:
        return f"{self.row.name} {self.kind} {self.protocol} v{6 if ':' in self.ip else 4} from {self.asker}"


def numbered(row: Row) -> int:
    return 10 + ROWS.index(row)


def cluster_ips(number: int) -> list[str]:
    return [f"10.97.0.{number}", f"fd00:10:96::97{number:02}"]


def balancer_ips(row: Row) -> list[str]:
    given = row.spec.get("externalIPs")
    return given or [BALANCER4.format(numbered(row)), BALANCER6.format(numbered(row))]


def cases() -> Iterator[Case]:
    """All of them."""
    for row in ROWS:
        number = numbered(row)
        for family, protocol in ((4, "TCP"), (4, "UDP"), (6, "TCP"), (6, "UDP")):
            port = 80 if protocol == "TCP" else 53
            own = cluster_ips(number)[family == 6]
            for asker in ("client", NODE, "pod/client", f"pod/{HERE}"):
                seen = {"client": "masked", "pod/client": "kept"}.get(asker, "")
                yield Case(row, "clusterIP", asker, protocol, own, port, row.internal, seen)
            node, node_port = (NODE4, NODE6)[family == 6], 30000 + 10 * number + (protocol == "UDP")
            for asker in (*OUTSIDE, *INSIDE):
                yield _external(row, "nodePort", asker, protocol, node, node_port)
            if not row.spec.get("externalTrafficPolicy"):  # else endpoints would answer it past the node
                asker = f"pod/{DEPLOYMENT}-c8zlp"
                yield _external(row, "nodePort", asker, protocol, node, node_port)
            if row.balancer is not None:
                kind = "externalIP" if "externalIPs" in row.spec else "loadBalancer"
                for asker in ("client", *INSIDE):
                    if asker == NODE and row.internal == REFUSED:
                        continue  # kube-proxy's iptables mode does not reject what the node itself sends there
                    yield _external(row, kind, asker, protocol, balancer_ips(row)[family == 6], port)


def _external(row: Row, kind: str, asker: str, protocol: str, ip: str, port: int) -> Case:
    where = "outside" if asker in OUTSIDE else "inside"
    answers = (
        row.balancer
        if kind != "nodePort" and row.balancer is not None
        else {"outside": row.outside, "inside": row.inside}
    )
    seen = "masked"
    if row.spec.get("externalTrafficPolicy") == "Local":
        seen = "kept"
    return Case(row, kind, asker, protocol, ip, port, answers[where], "" if asker == NODE else seen)


def objects() -> Iterator[Object]:
    """The Services, their slices, and Services that every proxy leaves alone."""
    for row in ROWS:
        yield from served(row.name, numbered(row), row.endpoints, row.spec, row.hints)
    yield from served(
        "headless", 70, EVERYBODY, {"clusterIP": "None", "clusterIPs": ["None"], "type": "ClusterIP"}
    )
    label = {"service.kubernetes.io/service-proxy-name": "another"}
    foreign, *slices = served("foreign", 71, EVERYBODY, {})
    yield foreign | {"metadata": foreign["metadata"] | {"labels": label}}
    yield from slices


def served(
    name: str, number: int, endpoints: dict[str, tuple[bool, bool, bool]], spec: Object, hints: bool = False
) -> Iterator[Object]:
    """A Service without a selector, and its slices."""
    ports: list[Object] = [
        {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30000 + 10 * number},
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353, "nodePort": 30001 + 10 * number},
    ]
    if spec.get("type") == "ClusterIP":
        ports = [{k: v for k, v in p.items() if k != "nodePort"} for p in ports]
    ips = cluster_ips(number)
    whole = {
        "type": "NodePort",
        "clusterIP": ips[0],
        "clusterIPs": ips,
        "ipFamilies": ["IPv4", "IPv6"],
        "ipFamilyPolicy": "PreferDualStack",
        "internalTrafficPolicy": "Cluster",
        "sessionAffinity": "None",
        "ports": ports,
    }
    made: Object = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": whole | spec,
    }
    if spec.get("type") == "LoadBalancer":
        ingress = [{"ip": BALANCER4.format(number)}, {"ip": BALANCER6.format(number)}]
        made["status"] = {"loadBalancer": {"ingress": [i | {"ipMode": "VIP"} for i in ingress]}}
    yield made
    for family in (4, 6):
        yield endpoint_slice(name, family, endpoints, {"http": (8080, "TCP"), "dns": (5353, "UDP")}, hints)


def endpoint_slice(
    owner: str,
    family: int,
    endpoints: dict[str, tuple[bool, bool, bool]],
    ports: dict[str, tuple[int, str]],
    hints: bool = False,
) -> Object:
    made = []
    for pod, (ready, serving, terminating) in endpoints.items():
        node, *ips = PODS[pod]
        found: Object = {
            "addresses": [ips[family == 6]],
            "nodeName": node,
            "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
            "targetRef": {"kind": "Pod", "namespace": "default", "name": f"{DEPLOYMENT}-{pod}"},
        }
        if hints:
            found["hints"] = {"forNodes": [{"name": node}]}
        made.append(found)
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{owner}-{family}",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": owner},
        },
        "addressType": f"IPv{family}",
        "endpoints": made,
        "ports": [{"name": n, "port": port, "protocol": p} for n, (port, p) in ports.items()],
    }
