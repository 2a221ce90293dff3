"""Single changes to a real cluster: each must be found, and the finding must name what was changed.

The captures hold Services that are broken on purpose; what was found before a change does not count. How many changes
were found is printed (pytest -n 0), and those that were not are listed there and here, with the reason.
"""

from __future__ import annotations

import re
from functools import cache

import pytest
from mutations import (
    AddObject,
    AppendTo,
    Capture,
    Change,
    DeleteElements,
    DeleteField,
    DeleteLines,
    DeleteObject,
    DeleteRules,
    EditJson,
    InsertLine,
    NoNodes,
    ReplaceInTables,
    ReplaceLines,
    SetField,
    SetSysctl,
    capture,
)

from svcdoctor.checks.checkup import checkup
from svcdoctor.model.checkup import Checkup, Reported
from svcdoctor.model.snapshot import Snapshot

NS = "truth"
POD1, POD2 = "web-6bdc9b754-7ppw7", "web-6bdc9b754-9fwxn"


class Held:
    """A source that holds everything from the start."""

    def __init__(self, held: Snapshot) -> None:
        self.held = held

    def snapshot(self) -> Snapshot:
        return self.held

    def refill(self, snapshot, needs):
        return snapshot


def service(name: str, path: str, value: object) -> SetField:
    return SetField("Service", NS, name, path, value)


def pod(name: str, path: str, value: object) -> SetField:
    return SetField("Pod", NS, name, path, value)


def policy(name: str, **spec: object) -> AddObject:
    metadata = {"name": name, "namespace": NS}
    return AddObject(
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    )


def other_service(name: str, **spec: object) -> AddObject:
    metadata = {"name": name, "namespace": NS}
    return AddObject({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


WEB = {"matchLabels": {"app": "web"}}

OBJECTS: dict[str, Change] = {
    # Services
    "a letter is missing in the selector": service("web-clusterip", "spec.selector.app", "we"),
    "the selector's key has another case": service("web-clusterip", "spec.selector", {"App": "web"}),
    "the selector asks for one label more": service("np-cluster", "spec.selector.tier", "front"),
    "the selector has a prefix too much": service(
        "np-cluster", "spec.selector", {"app.kubernetes.io/app": "web"}
    ),
    "the selector is that of an older release": service("half-ready", "spec.selector", {"app": "half-old"}),
    "the targetPort is a number nobody declares": service("web-clusterip", "spec.ports[0].targetPort", 8081),
    "the targetPort is a name nobody has": service("web-clusterip", "spec.ports[1].targetPort", "admn"),
    "the targetPort's name is UDP's": service("web-clusterip", "spec.ports[0].targetPort", "dns"),
    "the protocol is the other one": service("web-clusterip", "spec.ports[0].protocol", "UDP"),
    "the UDP Service says TCP": service("udp", "spec.ports[0].protocol", "TCP"),
    "the Service became headless": service("web-clusterip", "spec.clusterIP", "None"),
    "the Service became an ExternalName": service("web-clusterip", "spec.type", "ExternalName"),
    "traffic from outside stays on the node": service("hostnet", "spec.externalTrafficPolicy", "Local"),
    "traffic from inside stays on the node": service("half-ready", "spec.internalTrafficPolicy", "Local"),
    "a label hands it to another proxy": service(
        "web-clusterip", "metadata.labels['service.kubernetes.io/service-proxy-name']", "other"
    ),
    "an external IP that another Service has": AppendTo(
        "Service", NS, "web-clusterip", "spec.externalIPs", "172.31.0.50"
    ),
    "unready pods are published": service("half-ready", "spec.publishNotReadyAddresses", True),
    "only some may come to the load balancer": service(
        "lb-local", "spec.loadBalancerSourceRanges", ["198.51.100.0/24"]
    ),
    "the load balancer lost its address": service("lb", "status.loadBalancer", {}),
    "the Service is gone that an Ingress names": DeleteObject("Service", NS, "web-clusterip"),
    "another Service claims its pods with a wrong port": other_service(
        "copied", clusterIP="10.96.1.77", ports=[{"port": 80, "targetPort": 8088}], selector={"app": "web"}
    ),
    "a Service for pods that are nowhere": other_service(
        "lost", clusterIP="10.96.1.78", ports=[{"port": 80}], selector={"app": "edeg"}
    ),
    "a Service without selector and slices": other_service(
        "bare", clusterIP="10.96.1.79", ports=[{"port": 80}]
    ),
    # EndpointSlices
    "the slice is gone": DeleteObject("EndpointSlice", NS, "np-local-pqlzb"),
    "the slice has lost its label": DeleteField(
        "EndpointSlice", NS, "np-local-pqlzb", "metadata.labels['kubernetes.io/service-name']"
    ),
    "the slice's port has another name": SetField("EndpointSlice", NS, "manual-1", "ports[0].name", "web"),
    "the slice's port is another": SetField("EndpointSlice", NS, "np-local-pqlzb", "ports[0].port", 9999),
    "the slice has an endpoint that was never there": AppendTo(
        "EndpointSlice",
        NS,
        "np-local-pqlzb",
        "endpoints",
        {
            "addresses": ["10.244.2.222"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node2",
            "targetRef": {"kind": "Pod", "name": "edge-9", "namespace": NS},
        },
    ),
    "the slice lacks all endpoints": SetField("EndpointSlice", NS, "itp-local-ns46l", "endpoints", []),
    # Pods
    "a pod lost the label": pod("edge-1", "metadata.labels.app", "egde"),
    "a pod is not Ready": pod(POD1, "status.conditions", [{"type": "Ready", "status": "False"}]),
    "a pod is in CrashLoopBackOff": pod(
        POD2,
        "status",
        {
            "phase": "Running",
            "podIP": "10.244.2.2",
            "podIPs": [{"ip": "10.244.2.2"}],
            "conditions": [{"type": "Ready", "status": "False"}],
            "containerStatuses": [
                {"name": "main", "restartCount": 7, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            ],
        },
    ),
    "a pod failed": pod("edge-2", "status.phase", "Failed"),
    "a pod is gone": DeleteObject("Pod", NS, "edge-2"),
    "a pod's port lost its name": DeleteField("Pod", NS, "named-a", "spec.containers[0].ports[0].name"),
    "a pod declares another port": pod("edge-1", "spec.containers[0].ports[0].containerPort", 8088),
    "a pod's address is another": pod("edge-1", "status.podIPs", [{"ip": "10.244.1.200"}]),
    # Nodes
    "a node is not Ready": SetField(
        "Node", "", "node2", "status.conditions", [{"type": "Ready", "status": "False"}]
    ),
    "a node is gone": DeleteObject("Node", "", "node3"),
    # Ingress
    "the Ingress names a Service with a typo": SetField(
        "Ingress", NS, "web", "spec.rules[0].http.paths[0].backend.service.name", "web-clustrip"
    ),
    "the Ingress names a port that is none": SetField(
        "Ingress", NS, "web", "spec.rules[0].http.paths[0].backend.service.port", {"number": 8888}
    ),
    "the Ingress names a port's name that is none": SetField(
        "Ingress", NS, "web", "spec.rules[0].http.paths[0].backend.service.port", {"name": "htpp"}
    ),
    # NetworkPolicies
    "a policy lets nobody in": policy("deny-all", podSelector={}, policyTypes=["Ingress"]),
    "a policy names the Service's port": policy(
        "service-port",
        podSelector=WEB,
        policyTypes=["Ingress"],
        ingress=[{"ports": [{"port": 80, "protocol": "TCP"}]}],
    ),
    "a policy lets in pods that are nowhere": policy(
        "nobody",
        podSelector=WEB,
        policyTypes=["Ingress"],
        ingress=[{"from": [{"podSelector": {"matchLabels": {"app": "prbe"}}}]}],
    ),
    "a policy lets nothing out, not even to DNS": policy(
        "no-dns", podSelector={}, policyTypes=["Egress"], egress=[]
    ),
}

SAVE = "iptables-save*.txt"


def _without_route(destination):
    def edit(routes):
        routes[:] = [r for r in routes if r.get("dst") != destination]

    return edit


# What a node's dumps say, or objects that no longer fit them.
RULES: dict[str, dict[str, Change]] = {
    "iptables": {
        "the cluster IP is another": service("web-clusterip", "spec.clusterIPs", ["10.96.1.99"]),
        "the cluster IP is another Service's": service("web-clusterip", "spec.clusterIPs", ["10.96.1.3"]),
        "the port is another": service("web-clusterip", "spec.ports[0].port", 81),
        "the nodePort is another": service("np-cluster", "spec.ports[0].nodePort", 30999),
        "the nodePort is another Service's": service("np-cluster", "spec.ports[0].nodePort", 30102),
        "a node has another address": SetField(
            "Node", "", "node1", "status.addresses", [{"type": "InternalIP", "address": "172.30.0.99"}]
        ),
        "a node lacks a cluster IP": DeleteLines(
            "node2", SAVE, r"-A KUBE-SERVICES -d 10\.96\.1\.2/32 .*web-clusterip:http"
        ),
        "a node lacks a nodePort": DeleteLines("node1", SAVE, r"-A KUBE-NODEPORTS .*np-cluster:http"),
        "a node lacks a load balancer's address": DeleteLines(
            "node3", SAVE, r"-A KUBE-SERVICES .*truth/lb:http loadbalancer"
        ),
        "a node lacks one endpoint": DeleteLines(
            "node3", SAVE, r"-A KUBE-SVC-\S+ .*np-local:http -> 10\.244\.1"
        ),
        "a node sends to an address that is gone": ReplaceLines(
            "node1", SAVE, r"--to-destination 10\.244\.1\.2:8080", "--to-destination 10.244.1.222:8080"
        ),
        "a node sends to a wrong port": ReplaceLines(
            "node1", SAVE, r"--to-destination 10\.244\.1\.6:8080", "--to-destination 10.244.1.6:8089"
        ),
        "kube-proxy's jump for what comes in is gone": DeleteLines(
            "node3", SAVE, r"-A PREROUTING .*KUBE-SERVICES"
        ),
        "kube-proxy's jump for what a node sends is gone": DeleteLines(
            "node3", SAVE, r"-A OUTPUT .*portals.*KUBE-SERVICES"
        ),
        "all rules of kube-proxy are gone": DeleteLines("node1", SAVE, r"KUBE-"),
        "nothing masquerades": DeleteLines("node1", SAVE, r"-A KUBE-POSTROUTING .*MASQUERADE"),
        "the jump to masquerading is gone": DeleteLines("node2", SAVE, r"-A POSTROUTING .*KUBE-POSTROUTING"),
        "a firewall drops forwarded packets": InsertLine(
            "node2",
            SAVE,
            "-A FORWARD -p tcp -m tcp --dport 8080 -j DROP",
            before=r"-A FORWARD .*KUBE-FORWARD",
        ),
        "a firewall drops a nodePort": InsertLine(
            "node1",
            SAVE,
            "-A PREROUTING -p tcp -m tcp --dport 30080 -j DROP",
            before="COMMIT",
            table="mangle",
        ),
        "forwarding is dropped by default": ReplaceLines("node2", SAVE, r"^:FORWARD ACCEPT", ":FORWARD DROP"),
        "a node forwards nothing": SetSysctl("node1", "net.ipv4.ip_forward", "0"),
        "the connection table is full": SetSysctl("node2", "net.netfilter.nf_conntrack_count", "262144"),
        "a route to another node's pods is gone": EditJson(
            "node1", "ip-route.json", _without_route("10.244.2.0/24")
        ),
        "a stale UDP connection leads to a pod that is gone": InsertLine(
            "node2",
            "conntrack.txt",
            "udp 17 100 src=10.244.2.3 dst=10.96.1.18 sport=4000 dport=53 src=10.244.2.77 dst=10.244.2.3 "
            "sport=5353 dport=4000 [ASSURED] mark=0 use=1",
        ),
    },
    "nftables": {
        "a node lacks a cluster IP": DeleteElements("node2", "ip", "service-ips", "web-clusterip/tcp/http"),
        "a node lacks a nodePort": DeleteElements("node1", "ip", "service-nodeports", "np-cluster/tcp/http"),
        "a node sends to a wrong port": ReplaceInTables(
            "node3", "ip", "service-TWK2RW66-truth/np-local/tcp/http", "8080", "8089"
        ),
        "a node sends to an address that is gone": ReplaceInTables(
            "node1", "ip", "service-TWK2RW66-truth/np-local/tcp/http", "10.244.1.2", "10.244.1.222"
        ),
        "a node refuses a Service that has endpoints": ReplaceInTables(
            "node2", "ip", "service-ips", "service-HEBVEW5F-truth/web-clusterip/tcp/http", "reject-chain"
        ),
        "kube-proxy's jump for what comes in is gone": DeleteRules("node3", "ip", "nat-prerouting", ""),
        "a Service's chain is empty": DeleteRules(
            "node1", "ip", "service-HEBVEW5F-truth/web-clusterip/tcp/http", ""
        ),
        "a node forwards nothing": SetSysctl("node1", "net.ipv4.ip_forward", "0"),
        "a node lost a Service's v6 rules": DeleteElements("node2", "ip6", "service-ips", "truth/dual"),
    },
}

# Found by nobody, and why nothing of a cluster's objects or dumps could tell.
UNFOUND: dict[str, str] = {
    "only some may come to the load balancer": "whom a Service is meant for, nobody told",
    "the cluster IP is another Service's": "both have the same pods and ports: every request ends where it should",
}
# What is gone cannot be named; what it belonged to is.
BELONGED_TO = {"the slice is gone": f"Service/{NS}/np-local"}


@cache
def before(mode: str, objects_only: bool) -> Checkup:
    return checkup(Held(captured(mode, objects_only).snapshot), NS)


@cache
def captured(mode: str, objects_only: bool) -> Capture:
    return capture(mode).changed(NoNodes()) if objects_only else capture(mode)


def about(found: Reported) -> set[tuple[str, str]]:
    return {(found.finding.code, s) for s in (*found.finding.subjects, *found.affects)}


def new_findings(mode: str, change: Change, objects_only: bool) -> list[Reported]:
    """What is found after a change and was not before."""
    known = set().union(*(about(r) for r in before(mode, objects_only).findings))
    found = checkup(Held(captured(mode, objects_only).changed(change).snapshot), NS).findings
    return [r for r in found if not about(r) <= known]


def names(found: Reported, touched: str) -> bool:
    """Whether a finding names an object: as what it is about, as what suffers, or in its words."""
    if touched in found.finding.subjects or touched in found.affects:
        return True
    name = touched.rpartition("/")[2]
    texts = (*found.finding.evidence, found.finding.explanation)
    return any(name in re.findall(r"[A-Za-z0-9][-A-Za-z0-9.]*", text) for text in texts)


CASES = [("iptables", name, change, True) for name, change in OBJECTS.items()]
CASES += [(mode, name, change, False) for mode, changes in RULES.items() for name, change in changes.items()]


@pytest.mark.parametrize(
    ("mode", "name", "change", "objects_only"), CASES, ids=[f"{c[0]}: {c[1]}" for c in CASES]
)
def test_a_single_change_is_found_and_named(mode, name, change, objects_only):
    found = new_findings(mode, change, objects_only)
    named = [r.finding.code for r in found if names(r, BELONGED_TO.get(name, change.touches))]
    if name in UNFOUND:
        assert not named, "found now: take it out of UNFOUND"
        return
    assert named, [(r.finding.code, r.finding.subjects) for r in found]


def test_there_are_enough_changes_and_nearly_all_are_found(capsys):
    assert len(CASES) >= 60
    assert set(UNFOUND) <= {c[1] for c in CASES}
    with capsys.disabled():
        print(f"\nsingle changes: {len(CASES) - len(UNFOUND)} of {len(CASES)} found")
        for name, why in UNFOUND.items():
            print(f"  not found: {name}: {why}")
