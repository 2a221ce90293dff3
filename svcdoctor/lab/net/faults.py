"""The faults that ``lab break`` injects, each for real: in the objects, in a node's kernel, in a pod's process.

A fault changes something and says how that is undone; ``lab fix`` undoes all. Faults of rules change the text that
the lab's kube-proxy writes, or stop it from writing, so that they last.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from svcdoctor.lab.net import probefaults
from svcdoctor.lab.net.controller import restore_program
from svcdoctor.lab.net.dnsfaults import DNS_FAULTS
from svcdoctor.lab.net.lab import Lab
from svcdoctor.lab.net.world import CLIENT4, DNS_IP, MASTER4, NODES, PODS
from svcdoctor.lab.proxyiptables import iptables_rules
from svcdoctor.lab.proxynftables import nftables_rules
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.snapshot import Snapshot

NODE = "k8s-node1"  # where faults of nodes are
OTHER = "k8s-node3"
SERVICE = ("default", "bq-api-service-1")
PORT_NAME = "default/bq-api-service-1:8080-port"
WEB = tuple(p for p in PODS if ("app", "bq-api-service") in p.labels)
POD = next(p for p in WEB if p.node == NODE)
NODE_PORT = 31372
GONE = "10.244.3.99"
ASKING = next(p for p in PODS if p.name == "client")
SENT_FROM = 5300  # the port that ASKING's tracked questions come from

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: its code in the catalogue, what it does, and how. ``modes`` are those it exists in."""

    code: str
    title: str
    inject: Callable[[Lab], None]
    modes: tuple[str, ...] = ("iptables", "iptables-legacy", "nftables")


def _spec(lab: Lab, code: str, edit: Callable[[Object], None]) -> None:
    lab.change(code, "Service", *SERVICE, lambda o: edit(o["spec"]))


def _not_ready(lab: Lab, code: str, pods: tuple[Any, ...]) -> None:
    def edit(pod: Object) -> None:
        for condition in pod["status"]["conditions"]:
            condition["status"] = "False"
        pod["status"]["conditions"][0]["reason"] = "ContainersNotReady"

    for pod in pods:
        lab.change(code, "Pod", pod.namespace, pod.name, edit)


def selector_typo(lab: Lab) -> None:
    _spec(lab, "OBJ002", lambda spec: spec.update(selector={"app": "bq-api-servce"}))


def pods_not_ready(lab: Lab) -> None:
    _not_ready(lab, "OBJ006", WEB)


def scaled_to_zero(lab: Lab) -> None:
    for kind, name in (("Deployment", POD.owner.rpartition("-")[0]), ("ReplicaSet", POD.owner)):
        lab.change("OBJ009", kind, "default", name, lambda o: o["spec"].update(replicas=0))
    for pod in WEB:
        lab.delete("OBJ009", "Pod", pod.namespace, pod.name)


def named_port(lab: Lab) -> None:
    _spec(lab, "OBJ010", lambda spec: spec["ports"][0].update(targetPort="web"))


def wrong_number(lab: Lab) -> None:
    _spec(lab, "OBJ013", lambda spec: spec["ports"][0].update(targetPort=8081))


def _text(lab: Lab, code: str, change: Callable[[Snapshot, int, str], str]) -> None:
    """Change the text of the node's rules for as long as the fault lasts."""
    lab.controller.changes[NODE] = change
    lab.controller.sync()
    lab.on_fix(code, lambda: lab.controller.changes.pop(NODE, None) and None)


def _without(*words: str) -> Callable[[Snapshot, int, str], str]:
    def change(snapshot: Snapshot, family: int, text: str) -> str:
        return "".join(
            line for line in text.splitlines(keepends=True) if not any(word in line for word in words)
        )

    return change


def no_rules(lab: Lab) -> None:
    lab.controller.frozen.add(NODE)
    for family in (4, 6):
        if lab.mode == "nftables":
            lab.spaces.run(NODE, "nft", "delete", "table", "ip6" if family == 6 else "ip", "kube-proxy")
        else:
            empty = "".join(f"*{table}\nCOMMIT\n" for table in ("nat", "filter", "mangle"))
            lab.spaces.run(NODE, *restore_program(lab.mode, family), stdin=empty)

    def undo() -> None:
        lab.controller.frozen.discard(NODE)
        lab.controller.forget(NODE)

    lab.on_fix("RUL001", undo)


def rule_missing(lab: Lab) -> None:
    def change(snapshot: Snapshot, family: int, text: str) -> str:
        lines = []
        for line in text.splitlines(keepends=True):
            entry = line.startswith(("-A KUBE-SERVICES", "-A KUBE-NODEPORTS")) and PORT_NAME in line
            element = ": goto " in line and "bq-api-service-1" in line and "map {" not in line
            if not entry and not element:
                lines.append(line)
        # An element list must not be empty, nor end with a comma.
        left = re.sub(r"elements = \{\s*\}\n", "", "".join(lines))
        return re.sub(r",(\s*\})", r"\1", left)

    _text(lab, "RUL003", change)


def stale_endpoint(lab: Lab) -> None:
    old = next(p for p in WEB if p.node == OTHER).ip4
    _text(lab, "RUL004", lambda snapshot, family, text: text.replace(old, GONE))


def two_backends(lab: Lab) -> None:
    other = "iptables-legacy" if lab.mode == "iptables" else "iptables"
    for family in (4, 6):
        text = lab.controller.rules(NODE, family)
        lab.spaces.run(NODE, *restore_program(other, family), stdin=text)
    lab.on_fix("RUL005", lambda: _flush(lab, other))


def _flush(lab: Lab, mode: str) -> None:
    for family in (4, 6):
        empty = "".join(f"*{table}\nCOMMIT\n" for table in ("nat", "filter", "mangle"))
        lab.spaces.run(NODE, *restore_program(mode, family), stdin=empty)


def jump_missing(lab: Lab) -> None:
    def change(snapshot: Snapshot, family: int, text: str) -> str:
        found = []
        for line in text.splitlines(keepends=True):
            nat_jump = line.startswith(("-A PREROUTING", "-A OUTPUT")) and "-j KUBE-SERVICES" in line
            if (nat_jump and "ctstate" not in line) or line.strip() == "jump services":
                continue
            found.append(line)
        return "".join(found)

    _text(lab, "RUL006", change)


def left_over(lab: Lab) -> None:
    snapshot = lab.controller.snapshot
    own = ("10.244.1.1",)
    if lab.mode == "nftables":
        settings = ProxySettings("iptables", cluster_cidrs=lab.controller.settings[NODE].cluster_cidrs)
        text = iptables_rules(snapshot, NODE, settings, 4, own)
        lab.spaces.run(NODE, "iptables-nft-restore", stdin=text)
        lab.on_fix("RUL007", lambda: _flush(lab, "iptables"))
        return
    settings = ProxySettings("nftables", cluster_cidrs=lab.controller.settings[NODE].cluster_cidrs)
    lab.spaces.run(NODE, "nft", "-f", "-", stdin=nftables_rules(snapshot, NODE, settings, 4, own))

    def undo() -> None:
        lab.spaces.run(NODE, "nft", "delete", "table", "ip", "kube-proxy")

    lab.on_fix("RUL007", undo)


def stale_reject(lab: Lab) -> None:
    def change(snapshot: Snapshot, family: int, text: str) -> str:
        slices = [
            s for s in snapshot.of(Kind.ENDPOINT_SLICE)
            if s.metadata.labels.get("kubernetes.io/service-name") != SERVICE[1]
        ]  # fmt: skip
        before = Snapshot(
            {k: tuple(slices) if k is Kind.ENDPOINT_SLICE else snapshot.of(k) for k in Kind}, snapshot.facts
        )
        write = nftables_rules if lab.mode == "nftables" else iptables_rules
        node = next(n for n in NODES if n.name == NODE)
        return write(before, NODE, lab.controller.settings[NODE], family, (node.ip4, node.ip6))

    _text(lab, "RUL008", change)


def external_local(lab: Lab) -> None:
    _spec(lab, "RUL009", lambda spec: spec.update(externalTrafficPolicy="Local"))
    _not_ready(lab, "RUL009", (POD,))


def internal_local(lab: Lab) -> None:
    _spec(lab, "RUL010", lambda spec: spec.update(internalTrafficPolicy="Local"))
    _not_ready(lab, "RUL010", (POD,))


def _settings(lab: Lab, code: str, **changes: Any) -> None:
    before = lab.controller.settings[NODE]
    lab.controller.settings[NODE] = replace(before, **changes)
    lab.controller.sync()
    lab.on_fix(code, lambda: lab.controller.settings.update({NODE: before}))


def no_hairpin(lab: Lab) -> None:
    ports = " ".join(f"veth{number}" for number, pod in enumerate(PODS) if pod.node == NODE)
    every = f"for port in {ports}; do bridge link set dev $port hairpin"
    lab.run("RUL012", NODE, f"{every} off; done", f"{every} on; done")


def stale_connection(lab: Lab) -> None:
    """What is left when an endpoint goes and nobody deletes the entries that lead to it."""
    entry = f"-p udp --orig-src {ASKING.ip4} --sport {SENT_FROM} --orig-dst {DNS_IP} --dport 53"
    lab.run(
        "RUL013",
        NODE,
        f"conntrack -I {entry} --dst-nat {GONE} --timeout 600",
        f"conntrack -D {entry}",
    )


def other_addresses(lab: Lab) -> None:
    _settings(lab, "RUL018", node_port_addresses=("10.244.1.0/24", "fd00:10:244:1::/64"))


def wrong_cidr(lab: Lab) -> None:
    _settings(lab, "RUL022", cluster_cidrs=("10.99.0.0/16", "fd00:99::/48"))


def no_forwarding(lab: Lab) -> None:
    lab.run("NOD001", NODE, "sysctl -qw net.ipv4.ip_forward=0", "sysctl -qw net.ipv4.ip_forward=1")


def strict_rp_filter(lab: Lab) -> None:
    """Packets from outside come in by eth0, and the way back to their senders is by another interface."""
    lab.run(
        "NOD003",
        NODE,
        "sysctl -qw net.ipv4.conf.eth0.rp_filter=1 && ip route replace default dev cni0 && "
        f"ip route add {CLIENT4}/32 dev cni0",
        f"sysctl -qw net.ipv4.conf.eth0.rp_filter=0; ip route replace default via {MASTER4}; "
        f"ip route del {CLIENT4}/32 dev cni0",
    )


def _iptables(lab: Lab) -> str:
    return "iptables-legacy" if lab.mode == "iptables-legacy" else "iptables-nft"


def forward_drop(lab: Lab) -> None:
    program = _iptables(lab)
    lab.run("NOD004", NODE, f"{program} -P FORWARD DROP", f"{program} -P FORWARD ACCEPT")
    lab.controller.frozen.add(NODE)
    lab.on_fix("NOD004", lambda: _thaw(lab))


def _thaw(lab: Lab) -> None:
    lab.controller.frozen.discard(NODE)
    lab.controller.forget(NODE)


def host_firewall(lab: Lab) -> None:
    rule = "FORWARD -p tcp -m tcp --dport 8080 -j DROP"
    program = _iptables(lab)
    lab.run("NOD005", NODE, f"{program} -I {rule}", f"{program} -D {rule}")
    lab.controller.frozen.add(NODE)
    lab.on_fix("NOD005", lambda: _thaw(lab))


def taken_node_port(lab: Lab) -> None:
    words = ["-m", "svcdoctor.lab.net.podserver", "a-process", NODE, "0.0.0.0", f"{NODE_PORT}/TCP"]
    process = lab.spaces.start(NODE, sys.executable, *words)

    def undo() -> None:
        process.kill()
        process.wait()

    lab.on_fix("NOD006", undo)


def no_route(lab: Lab) -> None:
    node = next(n for n in NODES if n.name == OTHER)
    route = f"{node.pods4} via {node.ip4}"
    lab.run("NOD008", NODE, f"ip route del {route}", f"ip route add {route}")


def loopback_only(lab: Lab) -> None:
    def edit(pod: Object) -> None:
        pod["spec"]["containers"][0]["env"].append({"name": "BIND", "value": "127.0.0.1"})

    for pod in WEB:
        lab.change("NOD010", "Pod", pod.namespace, pod.name, edit)
        lab.serve(pod, "127.0.0.1")
        lab.on_fix("NOD010", lambda pod=pod: lab.serve(pod))  # type: ignore[misc]


def api_stopped(lab: Lab) -> None:
    lab.server.halt()
    lab.on_fix(API, lab.server.start)


API = "API"
OUTAGES = {API: Fault(API, "the control plane is down: the API server is stopped", api_stopped)}
"""What else can be broken, with a fault or without one. No code of the catalogue stands for it: nobody is left whom a
diagnosis could ask."""

FAULTS: dict[str, Fault] = {
    f.code: f
    for f in (
        Fault("OBJ002", "the Service's selector has a typo", selector_typo),
        Fault("OBJ006", "the pods are not ready", pods_not_ready),
        Fault("OBJ009", "the Deployment is scaled to zero", scaled_to_zero),
        Fault("OBJ010", "the targetPort is a name that no container has", named_port),
        Fault("OBJ013", "the targetPort is a number on which nothing listens", wrong_number),
        Fault("RUL001", f"{NODE} has no Service rules", no_rules),
        Fault("RUL003", f"{NODE} lacks the Service's rules", rule_missing),
        Fault("RUL004", f"{NODE} sends to an endpoint that is gone", stale_endpoint),
        Fault("RUL005", f"{NODE} has Service rules in both backends of iptables", two_backends,
              ("iptables", "iptables-legacy")),
        Fault("RUL006", f"on {NODE} the jump to kube-proxy's rules is missing", jump_missing),
        Fault("RUL007", f"{NODE} has rules of another proxy mode left over", left_over),
        Fault("RUL008", f"{NODE} still rejects the Service as if it had no endpoints", stale_reject),
        Fault("RUL009", f"externalTrafficPolicy is Local, and {NODE} has no ready endpoint", external_local),
        Fault("RUL010", f"internalTrafficPolicy is Local, and {NODE} has no ready endpoint", internal_local),
        Fault("RUL012", f"the bridge of {NODE} does not hairpin: a pod does not reach itself", no_hairpin),
        Fault("RUL013", f"{NODE} tracks a UDP connection to an endpoint that is gone", stale_connection),
        Fault("RUL018", f"{NODE} answers nodePorts on other addresses only", other_addresses),
        Fault("RUL022", f"kube-proxy of {NODE} has a wrong clusterCIDR", wrong_cidr),
        Fault("NOD001", f"{NODE} does not forward packets", no_forwarding),
        Fault("NOD003", f"{NODE} has a strict rp_filter and an asymmetric route", strict_rp_filter),
        Fault("NOD004", f"the FORWARD chain of {NODE} has policy DROP", forward_drop),
        Fault("NOD005", f"a firewall on {NODE} drops what is forwarded to the pods", host_firewall),
        Fault("NOD006", f"a process of {NODE} listens on the nodePort", taken_node_port),
        Fault("NOD008", f"{NODE} has no route to the pods of {OTHER}", no_route),
        Fault("NOD010", "the application listens on 127.0.0.1 only", loopback_only),
        *(Fault(*fault) for fault in DNS_FAULTS),
        Fault("NOD007", f"a link to a pod of {NODE} takes small packets only", probefaults.narrow_link),
        Fault("NOD011", "the application listens on another port", probefaults.nothing_listens),
        Fault("NOD012", "a NetworkPolicy allows nothing to the pods", probefaults.isolated),
        Fault("NOD015", "the application listens on IPv4 only", probefaults.one_family),
        Fault("EXT003", f"{NODE} does not answer on the Service's health check port", probefaults.health_check_fails),
        Fault("EXT010", "the application speaks TLS where its Service says http", probefaults.speaks_tls),
        Fault("EXT013", "the client has no way to the nodes' network", probefaults.nodes_elsewhere),
        Fault("EXT014", "a cloud's firewall lets nothing to the nodePort", probefaults.cloud_firewall),
    )
}  # fmt: skip
