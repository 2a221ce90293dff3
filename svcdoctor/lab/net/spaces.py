"""Network namespaces: each is held by a process that sleeps in it, and ends with it.

Nothing is named or mounted, so nothing can be left behind: when the lab's first process ends, the kernel ends all
others of its PID namespace, and with the last process of a network namespace its links, routes and rules.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from svcdoctor.lab.net.world import CLIENT4, CLIENT6, MASTER4, MASTER6, NODES, PODS, LabNode, LabPod
from svcdoctor.model.errors import SvcdoctorError

BRIDGE = "lan0"
CLIENT = "client"
SECONDS = 60.0  # for one command


class Spaces:
    """The lab's network namespaces by name: ``client``, a node's name, ``namespace/pod``.

    ``environment`` is what every command in them gets beside the daemon's own.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = {**os.environ, **environment}
        self._holders: dict[str, subprocess.Popen[bytes]] = {}

    def add(self, name: str, *, mounts: bool = False) -> None:
        """Make a namespace; with ``mounts`` it sees mounts of its own."""
        own = ["--mount"] if mounts else []
        holder = subprocess.Popen(
            ["unshare", "--net", *own, "sh", "-c", "echo; exec sleep infinity"], stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        holder.stdout.readline()  # from here on it is in its own namespace
        holder.stdout.close()
        self._holders[name] = holder

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._holders)

    def pid(self, name: str) -> int:
        """The process that holds a namespace. Raises SvcdoctorError for a name that there is not."""
        holder = self._holders.get(name)
        if holder is None:
            raise SvcdoctorError(f"the lab has no {name} (there are {', '.join(self._holders)})")
        return holder.pid

    def command(self, name: str, words: Sequence[str], *, mounts: bool = False) -> list[str]:
        """The command that runs ``words`` in a namespace, with ``mounts`` among its own files."""
        own = ["--mount"] if mounts else []
        return ["nsenter", "--target", str(self.pid(name)), "--net", *own, *words]

    def run(self, name: str | None, *words: str, stdin: str = "", check: bool = True) -> str:
        """Run a command in a namespace, or in the lab's own (the LAN). Raises SvcdoctorError with its message."""
        command = self.command(name, words) if name is not None else list(words)
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=SECONDS,
            check=False,
        )
        if check and done.returncode:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise SvcdoctorError(
                f"{' '.join(words)[:80]} in {name or 'the lab'}: {said[-1] if said else 'failed'}"
            )
        return done.stdout

    def start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        """Start a process in a namespace."""
        return subprocess.Popen(self.command(name, words), env=self.environment, stdin=subprocess.DEVNULL)

    def batch(self, name: str | None, *lines: str) -> None:
        """Several ``ip`` commands in a namespace."""
        self.run(name, "ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def build(spaces: Spaces) -> None:
    """The LAN with the nodes and the client, and each node's pods behind its bridge cni0."""
    settings = [
        "net.ipv4.icmp_ratelimit=0", "net.ipv4.icmp_msgs_per_sec=100000", "net.ipv6.icmp.ratelimit=0",
        "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0",
    ]  # fmt: skip
    spaces.batch(
        None,
        "link set lo up",
        f"link add {BRIDGE} type bridge",
        f"link set {BRIDGE} up",
        f"addr add {MASTER4}/24 dev {BRIDGE}",
        f"addr add {MASTER6}/64 dev {BRIDGE} nodad",
    )
    for number, node in enumerate(NODES):
        spaces.add(node.name, mounts=True)
        _set(spaces, node.name, settings)
        _plug(spaces, node.name, f"n{number}", node.ip4, node.ip6)
        _node(spaces, node)
    spaces.add(CLIENT)
    _set(spaces, CLIENT, settings)
    _plug(spaces, CLIENT, "c0", CLIENT4, CLIENT6)
    # The client's way to the Services' addresses, as a static route on the LAN would give it.
    spaces.batch(
        CLIENT,
        f"route add 10.96.0.0/12 via {NODES[0].ip4}",
        f"route add fd00:10:96::/112 via {NODES[0].ip6}",
        *(f"route add {n.pods4} via {n.ip4}" for n in NODES),
        *(f"route add {n.pods6} via {n.ip6}" for n in NODES),
    )
    spaces.batch(
        None,
        *(f"route add {n.pods4} via {n.ip4}" for n in NODES),
        *(f"route add {n.pods6} via {n.ip6}" for n in NODES),
    )
    for number, pod in enumerate(PODS):
        add_pod(spaces, pod, number)


def _set(spaces: Spaces, name: str, settings: Sequence[str]) -> None:
    """Settings of a new namespace; one that an older kernel does not have per namespace is left."""
    spaces.run(name, "sysctl", "-q", "-e", "-w", *settings, check=False)


def _plug(spaces: Spaces, name: str, link: str, ip4: str, ip6: str) -> None:
    """Connect a namespace to the LAN by its eth0."""
    pid = spaces.pid(name)
    spaces.batch(
        None,
        f"link add {link} type veth peer name eth0 netns {pid}",
        f"link set {link} master {BRIDGE}",
        f"link set {link} up",
    )
    spaces.batch(
        name,
        "link set lo up",
        "link set eth0 up",
        f"addr add {ip4}/24 dev eth0",
        f"addr add {ip6}/64 dev eth0 nodad",
        f"route add default via {MASTER4}",
        f"route add default via {MASTER6}",
    )


def _node(spaces: Spaces, node: LabNode) -> None:
    others = [n for n in NODES if n is not node]
    spaces.run(
        node.name, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
        "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
        "net.ipv4.conf.all.route_localnet=1", "net.ipv4.conf.all.send_redirects=0",
        "net.ipv4.conf.default.send_redirects=0",
    )  # fmt: skip
    spaces.batch(
        node.name,
        "link add cni0 type bridge",
        "link set cni0 up",
        f"addr add {node.gateway4}/24 dev cni0",
        f"addr add {node.gateway6}/64 dev cni0 nodad",
        *(f"route add {n.pods4} via {n.ip4}" for n in others),
        *(f"route add {n.pods6} via {n.ip6}" for n in others),
    )
    # Pods of one node reach each other through the bridge; their answers must meet the rules all the same.
    spaces.run(
        node.name, "sysctl", "-q", "-e", "-w", "net.bridge.bridge-nf-call-iptables=1",
        "net.bridge.bridge-nf-call-ip6tables=1", check=False,
    )  # fmt: skip


def add_pod(spaces: Spaces, pod: LabPod, number: int) -> None:
    """A pod's namespace, behind its node's bridge, with hairpin on as the bridge plugin sets it."""
    node = next(n for n in NODES if n.name == pod.node)
    link = f"veth{number}"
    spaces.add(pod.key, mounts=True)
    spaces.batch(
        node.name,
        f"link add {link} type veth peer name eth0 netns {spaces.pid(pod.key)}",
        f"link set {link} master cni0",
        f"link set {link} type bridge_slave hairpin on",
        f"link set {link} up",
    )
    spaces.batch(
        pod.key,
        "link set lo up",
        "link set eth0 up",
        f"addr add {pod.ip4}/24 dev eth0",
        f"addr add {pod.ip6}/64 dev eth0 nodad",
        f"route add default via {node.gateway4}",
        f"route add default via {node.gateway6}",
    )
