"""Network namespaces that stand for nodes, with real rules in them, and a lab whose pods run there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from svcdoctor.lab.podprocess import not_executable, run_process
from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime, status_of
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore

NEEDED = ("ip", "iptables-nft", "ip6tables-nft", "iptables-legacy", "nft", "iptables-legacy-save")

# The programs of kube-proxy's upstream image.
IMAGE = frozenset(
    {
        *("cat", "grep", "sleep", "nft", "ipset", "kube-proxy"),
        *(f"ip{six}tables{kind}-save" for six in ("", "6") for kind in ("", "-nft", "-legacy")),
    }
)

SCRIPT = """
set -e
ip link set lo up
ip link add eth0 type veth peer name peer0
ip link set peer0 up
ip addr add 10.9.0.{number}/24 dev eth0
ip addr add fd00:9::{number}/64 dev eth0 nodad
ip link set eth0 up
iptables-nft -t nat -N KUBE-SERVICES
iptables-nft -t nat -A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
iptables-nft -t nat -A KUBE-SERVICES -d 10.96.0.{number}/32 -p tcp --dport 80 -j DNAT --to-destination 10.244.0.9:8080
ip6tables-nft -t nat -N KUBE-SERVICES
ip6tables-nft -t nat -A KUBE-SERVICES -d fd00:96::{number}/128 -p tcp --dport 80 -j RETURN
iptables-legacy -t nat -A OUTPUT -d 10.77.0.{number} -j ACCEPT
nft add table inet node{number}
nft add chain inet node{number} own
nft add rule inet node{number} own ip daddr 10.96.0.{number} tcp dport 81 drop
"""


def skip_or_fail(reason: str) -> None:
    """Without what a test needs it is skipped, but not in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI must not skip these tests")
    pytest.skip(reason)


def check_possible() -> None:
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        skip_or_fail(f"needs {', '.join(missing)}")
    if os.geteuid() != 0 or subprocess.run(["unshare", "-n", "true"], check=False).returncode:
        skip_or_fail("needs root and network namespaces")


@dataclass
class Spaces:
    """A namespace for each node, ``n1`` being the first."""

    names: dict[str, str] = field(default_factory=dict)

    def make(self, *nodes: str) -> None:
        for number, node in enumerate(nodes, 1):
            space = f"svcdoctor-{os.getpid()}-{node}"
            subprocess.run(["ip", "netns", "add", space], check=True)
            self.names[node] = space
            self.run(node, "sh", "-c", SCRIPT.format(number=number))

    def close(self) -> None:
        for space in self.names.values():
            subprocess.run(["ip", "netns", "delete", space], check=True)

    def command(self, node: str, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.names[node], *words]

    def run(self, node: str, *words: str) -> bytes:
        return subprocess.run(self.command(node, *words), check=True, capture_output=True, timeout=30).stdout


def rules(save: bytes) -> list[bytes]:
    """A save's lines without dates and counters."""
    lines = [line for line in save.splitlines() if not line.startswith(b"#")]
    return [line.partition(b" [")[0] for line in lines]


def nft_rules(data: bytes) -> Any:
    """A ruleset without what counts packets."""
    return json.loads(data)


class Nodes(PodRuntime):
    """Runs pods' commands in their nodes' namespaces, with the programs of an image."""

    def __init__(self, spaces: Spaces, programs: frozenset[str] = IMAGE) -> None:
        self.spaces = spaces
        self.programs = programs
        self.store = ObjectStore()
        self.made: list[Object] = []
        self.hanging = threading.Event()
        self.reached = threading.Event()

    def created(self, pod: Object) -> Object:
        self.made.append(pod)
        states: dict[str, Object] = {
            container["name"]: {"running": {}}
            if container["command"][0] in self.programs
            else {"terminated": {"exitCode": 128, "reason": "StartError"}}
            for container in pod["spec"]["containers"]
        }
        return status_of(pod, states)

    def execute(self, call: Call) -> int:
        node = self.store.get(PODS, call.namespace, call.pod)["spec"]["nodeName"]
        if self.hanging.is_set():
            self.reached.set()
            return run_process(call, ("sleep", "60"))
        if call.arguments[0] not in self.programs:
            raise NotStarted(not_executable(call.arguments[0]))
        return run_process(call, self.spaces.command(node, *call.arguments))


def node(number: int) -> Object:
    addresses = [
        {"type": "InternalIP", "address": f"10.9.0.{number}"},
        {"type": "InternalIP", "address": f"fd00:9::{number}"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"n{number}", "labels": {"kubernetes.io/os": "linux"}},
        "status": {"addresses": addresses, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def kube_proxy(number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"kube-proxy-{number}",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-proxy"},
        },
        "spec": {
            "nodeName": f"n{number}",
            "hostNetwork": True,
            "containers": [
                {"name": "kube-proxy", "image": "registry/kube-proxy:v1", "command": ["kube-proxy"]}
            ],
        },
        "status": {"phase": "Running"},
    }


def service() -> list[Object]:
    """A Service with one ready endpoint on n1."""
    meta = {"name": "web", "namespace": "shop"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {
                "clusterIP": "10.96.0.1",
                "clusterIPs": ["10.96.0.1"],
                "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**meta, "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "ports": [{"port": 8080, "protocol": "TCP", "name": ""}],
            "endpoints": [
                {
                    "addresses": ["10.244.0.9"],
                    "conditions": {"ready": True, "serving": True},
                    "nodeName": "n1",
                    "targetRef": {"kind": "Pod", "name": "web-1", "namespace": "shop"},
                }
            ],
        },
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"nodeName": "n1", "containers": [{"name": "web", "ports": [{"containerPort": 8080}]}]},
            "status": {
                "phase": "Running",
                "podIP": "10.244.0.9",
                "podIPs": [{"ip": "10.244.0.9"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        },
    ]


def until(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass in time"
        time.sleep(0.02)


@contextlib.contextmanager
def nodes_made(*names: str) -> Any:
    spaces = Spaces()
    try:
        try:
            spaces.make(*names)
        except subprocess.CalledProcessError as e:
            skip_or_fail(f"needs veth links, iptables of both backends and nft: {e.stderr!r}")
        yield spaces
    finally:
        spaces.close()
