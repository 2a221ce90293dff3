"""Pods' network namespaces: finding them, and connecting from within real ones."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from piping import Forwarding, Namespaces, connect, namespace_of
from test_dialing import wait

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.dial_netns import NamespaceDialer
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns_find import PodFinder

UID = "6c1c7ba4-26e1-4f0f-8bd4-6d2a0a4b6d02"
OLD = "0b5f7f6e-9c57-4f7c-b3c1-0d7d5d3c5a11"
STATIC = "f2a6cbf93f1c2d7d7a6de4a5b8e6c9d0"
ITS = UID.replace("-", "_")
CGROUPS = {
    "cgroupfs, v2": f"0::/kubepods/besteffort/pod{UID}/4f1f\n",
    "cgroupfs, v1": f"12:memory:/kubepods/burstable/pod{UID}/4f1f\n11:cpu:/kubepods/burstable/pod{UID}/4f1f\n",
    "systemd, v2": f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{ITS}.slice/crio-4f.scope\n",
    "systemd, guaranteed": f"0::/kubepods.slice/kubepods-pod{ITS}.slice/crio-4f.scope\n",
    "from another cgroup namespace": f"0::/../../pod{UID}/4f1f\n",
    "kind": f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{ITS}.slice/cri-containerd-4f.scope\n",
}


class Node:
    """A node's files, as far as a finder reads them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "var/log/pods").mkdir(parents=True)
        (root / "proc").mkdir()
        self.finder = PodFinder(root)

    def logs(self, namespace: str, pod: str, uid: str, age: int = 0) -> None:
        folder = self.root / "var/log/pods" / f"{namespace}_{pod}_{uid}"
        folder.mkdir()
        os.utime(folder, (1_700_000_000 - age,) * 2)

    def process(
        self, pid: int, cgroup: str, started: int, namespace: str | None = "/proc/self/ns/net"
    ) -> None:
        folder = self.root / "proc" / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "cgroup").write_text(cgroup)
        (folder / "stat").write_text(f"{pid} (a ) b) S {' '.join(['0'] * 18)} {started} 0 0\n")
        if namespace:
            (folder / "ns/net").symlink_to(namespace)

    def remove(self, pid: int) -> None:
        for file in ("cgroup", "stat", "ns/net"):
            (self.root / "proc" / str(pid) / file).unlink()

    def pid(self, namespace: str, pod: str) -> int:
        return int(self.finder.namespace(namespace, pod).parts[-3])


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


@pytest.mark.parametrize("cgroup", CGROUPS.values(), ids=CGROUPS)
def test_a_pod_is_found_by_either_cgroup_driver(node: Node, cgroup: str) -> None:
    node.logs("default", "web", UID)
    node.process(7, "0::/init.scope\n", 1)
    node.process(42, cgroup, 500)
    assert node.finder.namespace("default", "web") == node.root / "proc/42/ns/net"


def test_the_sandbox_is_taken_and_not_a_later_process(node: Node) -> None:
    node.logs("default", "web", UID)
    node.process(3, f"0::/kubepods/pod{UID}/app/docker/nested\n", 900)  # its number came round again
    node.process(42, f"0::/kubepods/pod{UID}/pause\n", 500)
    assert node.finder.processes(UID) == [42, 3]
    assert node.pid("default", "web") == 42


def test_names_are_not_mixed_up(node: Node) -> None:
    node.logs("default", "web-1", OLD)
    node.logs("default-web", "1", OLD + "0")
    node.logs("default", "web", UID)
    assert node.finder.uids("default", "web") == [UID]
    node.process(5, f"0::/kubepods/pod{UID}0/4f\n", 1)  # another pod's UID that begins alike
    with pytest.raises(SvcdoctorError):
        node.pid("default", "web")


def test_a_static_pod_is_found_by_the_hash_that_is_its_uid(node: Node) -> None:
    node.logs("kube-system", "kube-proxy-n1", STATIC)
    node.process(42, f"0::/kubepods.slice/kubepods-pod{STATIC}.slice/cri-containerd-4f.scope\n", 1)
    assert node.pid("kube-system", "kube-proxy-n1") == 42


def test_of_two_that_had_the_name_the_one_that_runs_is_taken(node: Node) -> None:
    node.logs("default", "db-0", OLD, age=0)  # its logs were rotated last
    node.logs("default", "db-0", UID, age=60)
    node.process(42, CGROUPS["systemd, v2"], 5)
    assert node.finder.uids("default", "db-0") == [OLD, UID]
    assert node.pid("default", "db-0") == 42


def test_a_process_that_is_gone_is_not_taken_twice(node: Node) -> None:
    node.logs("default", "db-0", UID)
    node.process(42, CGROUPS["cgroupfs, v2"], 5)
    assert node.pid("default", "db-0") == 42
    node.remove(42)
    node.process(43, CGROUPS["cgroupfs, v2"], 6, namespace=None)  # a zombie has none
    node.process(44, CGROUPS["cgroupfs, v2"], 7)
    assert node.pid("default", "db-0") == 44
    # Another pod's process has the number now.
    node.remove(44)
    (node.root / "proc/44/cgroup").write_text(f"0::/kubepods/pod{OLD}/4f\n")
    with pytest.raises(SvcdoctorError, match="no process of it is visible; wait until it runs"):
        node.pid("default", "db-0")


def test_a_pod_that_is_elsewhere_is_said_to_be(node: Node) -> None:
    with pytest.raises(SvcdoctorError) as told:
        node.pid("default", "web")
    assert told.value.message == (
        f"pod default/web: {node.root}/var/log/pods has nothing of it; run svcdoctor on the pod's node"
    )
    with pytest.raises(SvcdoctorError):
        PodFinder(node.root / "nowhere").namespace("default", "web")


SERVER = """
import socket, sys
socks = []
for host in sys.argv[2:]:
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, getattr(socket, sys.argv[1]))
    s.bind((host, 8080))
    if sys.argv[1] == "SOCK_STREAM":
        s.listen()
    socks.append(s)
print(flush=True)
import select
while True:
    for s in select.select(socks, [], [])[0]:
        if sys.argv[1] == "SOCK_STREAM":
            c, peer = s.accept()
            c.sendall(f"{s.getsockname()[0]} saw {peer[0]}".encode())
            c.close()
        else:
            data, peer = s.recvfrom(100)
            s.sendto(data + f" at {s.getsockname()[0]}".encode(), peer)
"""


class Pods:
    """Pods that are real network namespaces, with a server in them, and nothing else real."""

    def __init__(self, node: Node, namespaces: Namespaces) -> None:
        self.node = node
        self.namespaces = namespaces
        self.servers: list[subprocess.Popen[bytes]] = []

    def add(
        self, pod: str, uid: str, *hosts: str, kind: str = "SOCK_STREAM", setup: tuple[str, ...] = ()
    ) -> None:
        holder = self.namespaces.add(*setup)
        self.node.logs("default", pod, uid)
        self.node.process(holder, f"0::/kubepods/pod{uid}/4f\n", 1, f"/proc/{holder}/ns/net")
        if hosts:
            words = ["nsenter", "--target", str(holder), "--net", sys.executable, "-c", SERVER, kind, *hosts]
            self.servers.append(subprocess.Popen(words, stdout=subprocess.PIPE))
            assert self.servers[-1].stdout is not None
            self.servers[-1].stdout.readline()
            self.servers[-1].stdout.close()

    def close(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()


@pytest.fixture
def pods(node: Node, namespaces: Namespaces) -> Iterator[Pods]:
    made = Pods(node, namespaces)
    yield made
    made.close()


@pytest.fixture
def dialing(node: Node) -> Iterator[tuple[Loop, NamespaceDialer]]:
    loop = Loop()
    dialer = NamespaceDialer(loop, node.finder.namespace, timeout=3)
    yield loop, dialer
    dialer.close()
    loop.free()


def heard(loop: Loop, fd: int) -> str:
    with socket.socket(fileno=os.dup(fd)) as sock:
        loop.close(fd)
        sock.settimeout(5)
        return sock.recv(100).decode()


@pytest.mark.parametrize(
    ("hosts", "saw"),
    [
        (["127.0.0.1"], "127.0.0.1 saw 127.0.0.1"),
        (["::1"], "::1 saw ::1"),
        (["::1", "127.0.0.1"], "127.0.0.1 saw 127.0.0.1"),
        (["0.0.0.0"], "0.0.0.0 saw 127.0.0.1"),
    ],
    ids=["IPv4", "IPv6", "both", "any"],
)
def test_localhost_of_a_pod_is_reached_ipv4_first(
    pods: Pods, dialing: tuple[Loop, NamespaceDialer], hosts: list[str], saw: str
) -> None:
    pods.add("web", UID, *hosts)
    loop, dialer = dialing
    fd = wait(loop, dialer.dial, Endpoint("10.0.0.1", 8080, "default", "web"))
    assert isinstance(fd, int), fd
    assert heard(loop, fd) == saw


def test_no_thread_but_its_own_leaves_its_namespace(
    pods: Pods, dialing: tuple[Loop, NamespaceDialer]
) -> None:
    pods.add("web", UID, "127.0.0.1")
    pods.add("other", OLD, "::1")
    loop, dialer = dialing
    before = namespace_of()
    for name, saw in [("web", "127.0.0.1"), ("other", "::1"), ("web", "127.0.0.1")] * 5:
        fd = wait(loop, dialer.dial, Endpoint("10.0.0.1", 8080, "default", name))
        assert isinstance(fd, int), fd
        assert heard(loop, fd).startswith(saw)
        threads = [str(thread.native_id) for thread in threading.enumerate()]
        assert len(threads) >= 2
        assert {namespace_of(f"self/task/{thread}") for thread in threads} == {before}


def test_a_refusal_names_both_addresses(pods: Pods, dialing: tuple[Loop, NamespaceDialer]) -> None:
    pods.add("web", UID)
    loop, dialer = dialing
    result = wait(loop, dialer.dial, Endpoint("10.0.0.1", 8080, "default", "web"))
    assert isinstance(result, OSError)
    assert result.errno == errno.ECONNREFUSED
    assert result.strerror == (
        "127.0.0.1:8080 in the pod: Connection refused; [::1]:8080 in the pod: Connection refused"
    )


def test_a_pod_that_is_not_here_is_a_value(dialing: tuple[Loop, NamespaceDialer]) -> None:
    loop, dialer = dialing
    result = wait(loop, dialer.dial, Endpoint("10.0.0.1", 8080, "default", "web"))
    assert isinstance(result, OSError)
    assert result.errno == errno.ESRCH
    assert "run svcdoctor on the pod's node" in str(result.strerror)


def test_a_host_network_pod_is_reached_without_any_right(
    dialing: tuple[Loop, NamespaceDialer], node: Node
) -> None:
    node.logs("default", "agent", UID)
    node.process(42, CGROUPS["systemd, v2"], 1)
    loop, dialer = dialing
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = Endpoint("192.0.2.1", server.getsockname()[1], "default", "agent")
        fd = wait(loop, dialer.dial, endpoint)
        assert isinstance(fd, int), fd
        loop.close(fd)


def test_what_is_cancelled_is_not_told_and_leaves_nothing(
    pods: Pods, dialing: tuple[Loop, NamespaceDialer]
) -> None:
    pods.add("web", UID, "127.0.0.1")
    loop, dialer = dialing
    told: list[object] = []
    endpoint = Endpoint("10.0.0.1", 8080, "default", "web")
    early = dialer.dial(endpoint, told.append)
    early.cancel()
    udp = dialer.dial_udp(endpoint, told.append)
    udp.cancel()
    late = dialer.dial(endpoint, told.append)
    last: list[object] = []
    dialer.dial(endpoint, last.append)
    time.sleep(0.3)
    loop.turn(0)  # the sockets are made and connect, which the next turn would tell
    late.cancel()
    while not last:
        loop.turn(1)
    assert told == []
    assert isinstance(last[0], int)
    loop.close(last[0])


def test_udp_goes_to_the_pod_s_own_address(pods: Pods, dialing: tuple[Loop, NamespaceDialer]) -> None:
    setup = ("ip addr add 10.9.9.9/32 dev lo", "ip addr add fd00:9::9/128 dev lo nodad")
    pods.add("dns", UID, "10.9.9.9", "fd00:9::9", kind="SOCK_DGRAM", setup=setup)
    loop, dialer = dialing
    for ip in ("10.9.9.9", "fd00:9::9"):
        fd = wait(loop, dialer.dial_udp, Endpoint(ip, 8080, "default", "dns"))
        assert isinstance(fd, int), fd
        os.write(fd, b"query")
        os.set_blocking(fd, True)
        assert heard(loop, fd) == f"query at {ip}"


def test_a_relay_reaches_an_application_that_listens_on_localhost_only(
    pods: Pods, forwarding: Forwarding, node: Node
) -> None:
    pods.add("web", UID, "127.0.0.1")
    dialer = NamespaceDialer(forwarding.loop, node.finder.namespace)
    forwarding.dialer = dialer
    address = forwarding.to(Endpoint("10.0.0.1", 8080, "default", "web"))
    for _ in range(5):
        with connect(address) as sock:
            assert sock.recv(100) == b"127.0.0.1 saw 127.0.0.1"
    forwarding.wait_ended(5)
    dialer.close()
