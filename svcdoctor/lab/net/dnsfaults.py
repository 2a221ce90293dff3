"""The faults of DNS that ``lab break`` injects, each for real: in pods' resolv.conf, in CoreDNS, on the way to it.

What a pod asks then really fails or waits: ``svcdoctor lab shell --in pod/client -- getent hosts NAME``. ASKED are the
names that show each fault.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from svcdoctor.lab.net.lab import DNS_POD, Lab
from svcdoctor.lab.net.upstream import OUTSIDE
from svcdoctor.lab.net.world import CLIENT4, NODES, PODS

Object = dict[str, Any]

ASKING = next(p for p in PODS if p.name == "client")
WEB = tuple(p for p in PODS if ("app", "bq-api-service") in p.labels)
NAME = "bq-api-service-1"
OTHER_DOMAIN = "lab.internal"
STALE = "10.105.158.99"
SHOP = ("shop", "payments")
HEADLESS = "bq-pods"
SLOW = 0.12  # seconds that the server outside thinks about each name that it does not have

ASKED = {
    "DNS001": SHOP[1],
    "DNS002": OUTSIDE,
    "DNS003": f"{NAME}.default.svc.cluster.local",
    "DNS008": SHOP[1],
    "DNS011": f"web-1.{HEADLESS}",
}
"""Which name meets a fault; NAME where none stands here."""


def _asking(lab: Lab, code: str, **changes: Any) -> None:
    """Change the spec of the pod that asks."""
    lab.change(code, "Pod", ASKING.namespace, ASKING.name, lambda o: o["spec"].update(changes))


def _corefile(lab: Lab, code: str, old: str, new: str) -> None:
    def edit(config: Object) -> None:
        config["data"]["Corefile"] = config["data"]["Corefile"].replace(old, new)

    lab.change(code, "ConfigMap", "kube-system", "coredns", edit)


def _shop(lab: Lab, code: str) -> None:
    """Another namespace with a Service."""
    namespace, name = SHOP
    metadata = {"name": namespace, "labels": {"kubernetes.io/metadata.name": namespace}}
    lab.add(code, {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    _service(
        lab, code, namespace, name, clusterIP="10.100.7.7", clusterIPs=["10.100.7.7"], selector={"app": name}
    )


def _service(lab: Lab, code: str, namespace: str, name: str, **spec: Any) -> None:
    ports = [{"name": "http", "port": 8080, "targetPort": 8080, "protocol": "TCP"}]
    whole = {"type": "ClusterIP", "ports": ports, "ipFamilies": ["IPv4"], **spec}
    metadata = {"name": name, "namespace": namespace}
    lab.add(code, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": whole, "status": {}})


def short_name(lab: Lab) -> None:
    _shop(lab, "DNS001")


def slow_search(lab: Lab) -> None:
    _asking(lab, "DNS002", dnsConfig={"searches": ["corp.example", "eu.corp.example"]})
    lab.upstream.delay = SLOW
    lab.on_fix("DNS002", lambda: setattr(lab.upstream, "delay", 0.0))


def other_domain(lab: Lab) -> None:
    before = lab.kubelets.domain
    lab.kubelets.domain = OTHER_DOMAIN
    lab.on_fix("DNS003", lambda: setattr(lab.kubelets, "domain", before))
    _corefile(lab, "DNS003", f"kubernetes {before}", f"kubernetes {OTHER_DOMAIN}")


def node_resolver(lab: Lab) -> None:
    _asking(lab, "DNS004", dnsPolicy="Default")


def not_ready(lab: Lab) -> None:
    def edit(pod: Object) -> None:
        for condition in pod["status"]["conditions"]:
            condition |= {"status": "False", "reason": "ContainersNotReady"}

    lab.change("DNS005", "Pod", DNS_POD.namespace, DNS_POD.name, edit)
    lab.controller.sync()
    for node in (
        NODES
    ):  # as kube-proxy does: tracked queries would go on to the pod, and a new one may have their port
        lab.spaces.run(node.name, "sh", "-c", "conntrack -D -p udp --orig-port-dst 53 2>&1 || true")


def policy(lab: Lab) -> None:
    """The policy, and what a network plugin makes of it on the pod's interface."""
    rule = {"ports": [{"protocol": "TCP", "port": 8080}]}
    spec = {"podSelector": {"matchLabels": dict(ASKING.labels)}, "policyTypes": ["Egress"], "egress": [rule]}
    metadata = {"name": "only-web", "namespace": ASKING.namespace}
    api = "networking.k8s.io/v1"
    lab.add("DNS006", {"apiVersion": api, "kind": "NetworkPolicy", "metadata": metadata, "spec": spec})
    sent = f"-s {ASKING.ip4} --dport 53"
    _filter(
        lab,
        "DNS006",
        [f"ip saddr {ASKING.ip4} meta l4proto {{ tcp, udp }} th dport 53 drop"],
        [f"-p {protocol} {sent} -j DROP" for protocol in ("udp", "tcp")],
    )


def lost_queries(lab: Lab) -> None:
    """Of what leaves by one socket the second query is lost: what the race of two that leave together comes to."""
    sent = f"-p udp -s {ASKING.ip4} --dport 53"
    nft = f"ip saddr {ASKING.ip4} udp dport 53"
    _filter(
        lab,
        "DNS007",
        [f"{nft} ct mark 53 ct mark set 54 drop", f"{nft} ct mark 0 ct mark set 53"],
        [
            f"{sent} -m connmark --mark 53 -j MARK --set-mark 53",
            f"{sent} -m mark --mark 53 -j CONNMARK --set-mark 54",
            f"{sent} -m mark --mark 53 -j DROP",
            f"{sent} -m connmark --mark 0 -j CONNMARK --set-mark 53",
        ],
    )


def _filter(lab: Lab, code: str, nft: list[str], iptables: list[str]) -> None:
    """Rules on the asking pod's node for what comes in from the pod: a drop there is one that nobody is told of."""
    node = ASKING.node
    if lab.mode == "nftables":
        chain = "chain sent { type filter hook prerouting priority -150; " + "; ".join(nft) + "; }"
        lab.run(code, node, f"nft 'table ip fault {{ {chain} }}'", "nft delete table ip fault")
        return
    lab.controller.frozen.add(node)  # writing the rules anew would remove these

    def thaw() -> None:
        lab.controller.frozen.discard(node)
        lab.controller.forget(node)

    lab.on_fix(code, thaw)
    program = "iptables-legacy" if lab.mode == "iptables-legacy" else "iptables-nft"
    for rule in iptables:
        add, delete = (f"{program} -t mangle -{verb} PREROUTING {rule}" for verb in "AD")
        lab.run(code, node, add, delete)


def beyond_limits(lab: Lab) -> None:
    """The 33rd entry of the search list is the one that leads to the Service."""
    _shop(lab, "DNS008")
    searches = [f"team-{n}.svc.cluster.local" for n in range(1, 30)]
    _asking(lab, "DNS008", dnsConfig={"searches": [*searches, f"{SHOP[0]}.svc.cluster.local"]})


def wrong_zone(lab: Lab) -> None:
    _corefile(lab, "DNS009", "kubernetes cluster.local", "kubernetes cluster.lokal")


def other_nameserver(lab: Lab) -> None:
    before = lab.kubelets.cluster_dns[ASKING.node]
    lab.kubelets.cluster_dns[ASKING.node] = (CLIENT4,)
    lab.on_fix("DNS010", lambda: lab.kubelets.cluster_dns.update({ASKING.node: before}))


def no_record(lab: Lab) -> None:
    """A headless Service, of whose pods the second is not ready."""
    _service(
        lab,
        "DNS011",
        "default",
        HEADLESS,
        clusterIP="None",
        clusterIPs=["None"],
        selector=dict(WEB[0].labels[:1]),
    )
    for number, pod in enumerate(WEB):

        def edit(o: Object, number: int = number) -> None:
            o["spec"].update(hostname=f"web-{number}", subdomain=HEADLESS)
            if number == 1:
                for condition in o["status"]["conditions"]:
                    condition |= {"status": "False", "reason": "ContainersNotReady"}

        lab.change("DNS011", "Pod", pod.namespace, pod.name, edit)


def stale_answer(lab: Lab) -> None:
    """The Service was made anew with another address, and CoreDNS has lost its watch."""
    lab.controller.sync()
    lab.dns.freeze()
    lab.on_fix("DNS012", lambda: setattr(lab.dns, "frozen", None))
    lab.change(
        "DNS012",
        "Service",
        "default",
        NAME,
        lambda o: o["spec"].update(clusterIP=STALE, clusterIPs=[STALE, "fd00:10:96::9999"]),
    )


DNS_FAULTS: tuple[tuple[str, str, Callable[[Lab], None]], ...] = (
    ("DNS001", f"{SHOP[1]} is a Service of another namespace ({SHOP[0]})", short_name),
    ("DNS002", f"five search domains and a slow server outside before {OUTSIDE} is found", slow_search),
    ("DNS003", f"the cluster domain is {OTHER_DOMAIN}", other_domain),
    ("DNS004", f"pod {ASKING.name} has dnsPolicy Default", node_resolver),
    ("DNS005", "CoreDNS has no ready endpoint", not_ready),
    ("DNS006", f"a NetworkPolicy lets pod {ASKING.name} send to port 8080 only", policy),
    ("DNS007", f"of two queries of pod {ASKING.name} that leave together one is lost", lost_queries),
    ("DNS008", f"pod {ASKING.name} has more search domains than kubelet writes", beyond_limits),
    ("DNS009", "the Corefile has a misspelt zone", wrong_zone),
    ("DNS010", f"kubelet of {ASKING.node} has a clusterDNS that is nobody", other_nameserver),
    ("DNS011", f"a headless Service {HEADLESS}, of whose pods one is not ready", no_record),
    ("DNS012", f"CoreDNS answers with the address that {NAME} had before", stale_answer),
)
"""Code, title and injection of each."""
