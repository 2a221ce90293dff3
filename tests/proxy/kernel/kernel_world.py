"""A node between a client outside and three pods, in network namespaces. Pods a and b are its own, c another's."""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from piping import Namespaces

from svcdoctor.path.nodeplan import PodTraffic
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.serving.served import Backend, Kind, Listen, ServedPort, served_key

NODE = {4: "192.0.2.1", 6: "2001:db8:1::1"}
CLIENT = {4: "192.0.2.10", 6: "2001:db8:1::10"}
PODS = {
    4: {"a": "10.244.1.2", "b": "10.244.1.6", "c": "10.244.2.2"},
    6: {"a": "fd00:244:1:a::2", "b": "fd00:244:1:b::2", "c": "fd00:244:2::2"},
}
GATEWAYS = {
    4: {"a": "10.244.1.1", "b": "10.244.1.5", "c": "10.244.2.1"},
    6: {"a": "fd00:244:1:a::1", "b": "fd00:244:1:b::1", "c": "fd00:244:2::1"},
}
"""The node's address on each pod's link: whom a pod sees where the node masquerades."""
CLUSTER_IP = {4: "10.96.0.1", 6: "fd00:96::1"}
VIP = {4: "203.0.113.8", 6: "2001:db8:99::8"}
SITE = Site({4: PodTraffic("10.244.0.0/16"), 6: PodTraffic("fd00:244::/32")})
NODE_PORT = 30080
SYSCTLS = (
    *("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1", "net.ipv4.icmp_ratemask=0"),
    *("net.ipv4.icmp_msgs_per_sec=1000000", "net.ipv6.icmp.ratelimit=0"),
)
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def inside(pid: int) -> Iterator[None]:
    """This thread, and what it starts, in the network namespace of a process."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        assert not _libc.setns(other, _CLONE_NEWNET)
        yield
    finally:
        assert not _libc.setns(own, _CLONE_NEWNET)
        os.close(own)
        os.close(other)


class KernelWorld:
    def __init__(self, namespaces: Namespaces) -> None:
        self.node = namespaces.add(*(f"sysctl -qw {setting}" for setting in SYSCTLS))
        self.client = namespaces.add()
        self.pods = {name: namespaces.add() for name in ("a", "b", "c")}
        self.servers: list[subprocess.Popen[bytes]] = []
        with inside(self.node):
            self._link("eth0", self.client, ((NODE[4], CLIENT[4]), (NODE[6], CLIENT[6])), (24, 64))
            for name, pid in self.pods.items():
                ends = ((GATEWAYS[4][name], PODS[4][name]), (GATEWAYS[6][name], PODS[6][name]))
                self._link(f"veth{name}", pid, ends, (30, 64))
            for ip in ("192.0.2.254", "2001:db8:1::fe"):  # nobody: what no rule takes leaves by it
                route(ip)
        with inside(self.client):
            for ip in NODE.values():
                route(ip)
        for name, pid in self.pods.items():
            with inside(pid):
                for gateways in GATEWAYS.values():
                    route(gateways[name])
        for name, pid in self.pods.items():
            with inside(pid):
                words = (sys.executable, str(Path(__file__).with_name("pod_server.py")), name)
                self.servers.append(subprocess.Popen(words, stdout=subprocess.PIPE))
        for server in self.servers:
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
        with inside(self.client):  # links need a moment
            assert all(
                ask(ip, 8080, seconds=10).startswith(p) for of in PODS.values() for p, ip in of.items()
            )

    def _link(self, name: str, peer: int, ends: tuple[tuple[str, str], ...], bits: tuple[int, int]) -> None:
        run("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(peer))
        for (here, there), length in zip(ends, bits, strict=True):
            nodad = ["nodad"] if ":" in here else []
            run("ip", "addr", "add", f"{here}/{length}", "dev", name, *nodad)
            with inside(peer):
                run("ip", "addr", "add", f"{there}/{length}", "dev", "eth0", *nodad)
                run("ip", "link", "set", "eth0", "up")
        run("ip", "link", "set", name, "up")

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()
            assert server.stdout is not None
            server.stdout.close()

    def of(self, who: str) -> int:
        """The process that holds the namespace of ``client``, ``node``, or a pod."""
        return {"client": self.client, "node": self.node, **self.pods}[who]

    def clear(self) -> None:
        """No rules, no connections."""
        with inside(self.node):
            run("nft", "flush", "ruleset")
            run("conntrack", "-F")


def run(*words: str, text: str = "") -> str:
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=False)
    assert not done.returncode, f"{' '.join(words)}: {done.stderr}"
    return done.stdout


def route(gateway: str) -> None:
    run("ip", "-6" if ":" in gateway else "-4", "route", "add", "default", "via", gateway)


def drop(hook: str, family: int, ip: str, *more: str) -> str:
    """A table of somebody else's that drops packets to an address."""
    rule = f'{"ip6" if family == 6 else "ip"} daddr {ip} {" ".join(more)} drop comment "policy of the house"'
    return f"table inet fire {{\nchain wall {{\ntype filter hook {hook} priority 0;\n{rule}\n}}\n}}\n"


def listing() -> str:
    """The whole ruleset, without what counts and ages."""
    return run("nft", "-s", "list", "ruleset")


def served(
    family: int = 4,
    protocol: str = "TCP",
    cluster: str = "abc",
    here: str = "",
    name: str = "web",
    listens: tuple[tuple[str, int, Kind], ...] | None = None,
    **more: object,
) -> ServedPort:
    """A Service port on the cluster IP, unless told otherwise; ``cluster`` and ``here`` are pods."""
    if listens is None:
        listens = ((CLUSTER_IP[family], 80, "clusterIP"),)
    backends = {
        p: Backend(ip, 8080, f"shop/{p}", "there" if p == "c" else "here") for p, ip in PODS[family].items()
    }
    more.setdefault("has_endpoints", bool(cluster or here))
    return ServedPort(
        served_key("shop", name, 80, protocol, family),
        protocol,
        tuple(Listen(*listen) for listen in listens),
        tuple(backends[p] for p in cluster),
        tuple(backends[p] for p in here),
        **more,  # type: ignore[arg-type]
    )


def ask(ip: str, port: int = 80, protocol: str = "TCP", seconds: float = 1.5) -> str:
    """The pod that answers and whom it sees: ``a 192.0.2.10``; or ``refused`` or ``timeout``."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    kind = socket.SOCK_DGRAM if protocol == "UDP" else socket.SOCK_STREAM
    with socket.socket(family, kind) as sock:
        sock.settimeout(seconds)
        try:
            sock.connect((ip, port))
            if protocol == "UDP":
                sock.send(b"who")
            return sock.recv(100).decode().strip()
        except (ConnectionError, PermissionError):  # EPERM: the kernel dropped this host's own datagram
            return "refused"
        except TimeoutError:
            return "timeout"
