"""Faults that only real traffic shows: in sockets, in what passes a link, in front of the nodes, in what is spoken.

By objects and Service rules the lab is healthy with them; ``trace --probe`` finds them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from svcdoctor.lab.certificates import Authority
from svcdoctor.lab.net.controller import KINDS
from svcdoctor.lab.net.lab import Lab
from svcdoctor.lab.net.spaces import CLIENT
from svcdoctor.lab.net.world import NODES, PODS, LabNode, LabPod

NODE = "k8s-node1"
SERVICE = ("default", "bq-api-service-1")
WEB = tuple(p for p in PODS if ("app", "bq-api-service") in p.labels)
POD = next(p for p in WEB if p.node == NODE)
OTHER_PORT = 9090
HEALTH_PORT = 32500
NARROW = 1300  # bytes that the narrow link takes; below 1280 it would have no IPv6
NODE_PORT = 31372

ONLY_BY_TRAFFIC = ("NOD007", "NOD011", "NOD012", "NOD015", "EXT003", "EXT010", "EXT013", "EXT014")

Object = dict[str, Any]


def _served(
    lab: Lab, code: str, changed: Callable[[LabPod], LabPod], bind: str = "*", tls: Path | None = None
) -> None:
    """The pods' applications anew, as they are for as long as the fault lasts."""

    def start(made: Callable[[LabPod], None]) -> None:
        for pod in WEB:
            made(pod)
        for pod in WEB:  # until it listens: state 0A of proc_net_tcp
            wait = "until grep -q ' 0A ' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done"
            lab.spaces.run(pod.key, "timeout", "20", "sh", "-c", wait)

    start(lambda pod: lab.serve(changed(pod), bind, tls))
    lab.on_fix(code, lambda: start(lab.serve))


def nothing_listens(lab: Lab) -> None:
    def elsewhere(pod: LabPod) -> LabPod:
        ports = tuple((n, OTHER_PORT if proto == "TCP" else number, proto) for n, number, proto in pod.ports)
        return replace(pod, ports=ports)

    _served(lab, "NOD011", elsewhere)


def one_family(lab: Lab) -> None:
    _served(lab, "NOD015", lambda pod: pod, "0.0.0.0")


def narrow_link(lab: Lab) -> None:
    """A bridge drops what is too long for one of its ports, and tells nobody.

    Senders hand whole segments to virtual links and let them be cut later; as no hardware cuts them here, each packet
    is made as long as a real link would take it.
    """
    link = f"veth{PODS.index(POD)}"
    # The bridge takes the least MTU of its ports unless it was given another one, and would then answer with ICMP.
    lab.run(
        "NOD007",
        NODE,
        f"ip link set {link} mtu {NARROW} && ip link set cni0 mtu 1500",
        f"ip link set {link} mtu 1500",
    )
    for space in (CLIENT, *(n.name for n in NODES), *(p.key for p in PODS)):
        one = "ip link set eth0 gso_max_segs "
        lab.run("NOD007", space, f"{one}1", f"{one}65535")


def isolated(lab: Lab) -> None:
    """A policy that allows nothing, and what a network plugin makes of it: each node drops what it would forward to
    the pods, and lets its own packets in, the kubelet's."""
    policy: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny-all", "namespace": SERVICE[0]},
        "spec": {"podSelector": {"matchLabels": {"app": "bq-api-service"}}, "policyTypes": ["Ingress"]},
    }
    for node in NODES:
        _frozen(lab, "NOD012", node)
        for pod in (p for p in WEB if p.node == node.name):
            for program, ip in ((_iptables(lab, 4), pod.ip4), (_iptables(lab, 6), pod.ip6)):
                rule = f"FORWARD -d {ip} -m comment --comment 'policy deny-all' -j DROP"
                lab.run("NOD012", node.name, f"{program} -I {rule}", f"{program} -D {rule}")
    lab.store.create(policy)

    def undo() -> None:
        lab.store.delete(KINDS["NetworkPolicy"], SERVICE[0], "deny-all")

    lab.on_fix("NOD012", undo)


def _frozen(lab: Lab, code: str, node: LabNode) -> None:
    """The node's rules as they are: writing them anew would remove what others added."""
    lab.controller.frozen.add(node.name)

    def thaw() -> None:
        lab.controller.frozen.discard(node.name)
        lab.controller.forget(node.name)

    lab.on_fix(code, thaw)


def _iptables(lab: Lab, family: int) -> str:
    backend = "legacy" if lab.mode == "iptables-legacy" else "nft"
    return f"ip{'6' if family == 6 else ''}tables-{backend}"


def speaks_tls(lab: Lab) -> None:
    """The Service says http, and the application speaks TLS."""
    lab.change("EXT010", "Service", *SERVICE, lambda o: o["spec"]["ports"][0].update(appProtocol="http"))
    folder = Path(tempfile.mkdtemp())
    certificate, key = Authority(folder).issue_server([f"{SERVICE[1]}.{SERVICE[0]}.svc"])
    both = folder / "server.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    _served(lab, "EXT010", lambda pod: pod, tls=both)


def health_check_fails(lab: Lab) -> None:
    """externalTrafficPolicy Local with the port that load balancers ask, and nothing that serves it on one node."""

    def edit(service: Object) -> None:
        service["spec"].update(
            type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=HEALTH_PORT
        )
        service["status"] = {"loadBalancer": {"ingress": [{"hostname": "lb.example.com"}]}}

    lab.change("EXT003", "Service", *SERVICE, edit)
    lab.controller.sync()
    for node in NODES:
        if node.name == NODE:
            continue
        local = sum(p.node == node.name for p in WEB)
        words = ["-m", "svcdoctor.lab.net.healthserver", str(HEALTH_PORT), *SERVICE, str(local)]
        process = lab.spaces.start(node.name, sys.executable, *words)
        wait = f"until ss -Hltn sport = {HEALTH_PORT} | grep -q .; do sleep 0.05; done"
        lab.spaces.run(node.name, "timeout", "20", "sh", "-c", wait)

        def undo(process: Any = process) -> None:
            process.kill()
            process.wait()

        lab.on_fix("EXT003", undo)


def _providers(lab: Lab, code: str, provider: str) -> None:
    for node in NODES:
        identity = f"{provider}{node.name}"
        lab.change(code, "Node", "", node.name, lambda o, i=identity: o["spec"].update(providerID=i))  # type: ignore[misc]


def nodes_elsewhere(lab: Lab) -> None:
    """Nodes in a network that the client has no way to, as kind's are on a machine of somebody else."""
    _providers(lab, "EXT013", "kind://docker/lab/")
    nets = [net for n in NODES for net in (n.pods4, n.pods6)]
    nets += [address for n in NODES for address in (n.ip4, n.ip6)]
    away = "; ".join(f"ip route add unreachable {net} metric 1" for net in nets)
    back = "; ".join(f"ip route del unreachable {net} metric 1" for net in nets)
    lab.run("EXT013", CLIENT, away, back)


def cloud_firewall(lab: Lab) -> None:
    """What is between the client and the nodes lets nothing to the nodePort."""
    _providers(lab, "EXT014", "aws:///eu-central-1a/i-")
    table = (
        "table bridge cloud { chain forward { type filter hook forward priority 0; "
        f'iifname "c0" tcp dport {NODE_PORT} drop; }}; }}'
    )
    lab.spaces.run(None, "nft", "-f", "-", stdin=table)

    def undo() -> None:
        lab.spaces.run(None, "nft", "delete", "table", "bridge", "cloud")

    lab.on_fix("EXT014", undo)
