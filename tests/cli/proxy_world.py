"""A node and a client as network namespaces, with an API server and pods on the node, for ``svcdoctor proxy``."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from forward_command import Running

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.resources import Object
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import ObjectStore
from svcdoctor.proxy.netns import setns

NODE4, NODE6 = "10.9.0.1", "fd00:9::1"
CLIENT4, CLIENT6 = "10.9.0.9", "fd00:9::9"
CLUSTER4, CLUSTER6 = "10.96.0.10", "fd00:96::10"
NODE_PORT = 30080
PODS = {"web-1": ("10.244.1.11", "fd00:244::11"), "web-2": ("10.244.1.12", "fd00:244::12")}
SECONDS = 20.0

NODE = """
set -e
mount -t tmpfs none /run
ip link set lo up
ip link add eth0 type veth peer name peer
ip addr add {node4}/24 dev eth0
ip addr add {node6}/64 dev eth0 nodad
ip link set eth0 up
ip route add default via {client4}
ip route add default via {client6}
{pods}
echo up
exec sleep 600
"""

CLIENT = """
set -e
ip link set lo up
ip link set eth0 up
ip addr add {client4}/24 dev eth0
ip addr add {client6}/64 dev eth0 nodad
ip route add 10.96.0.0/16 dev eth0
ip route add fd00:96::/64 via {node6}
"""


class ProxyWorld:
    """``server`` is the API server, ``store`` its objects; every pod answers a line with its name."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.environment = environment
        self._stack = contextlib.ExitStack()
        addresses = "\n".join(f"ip addr add {ip} dev lo" for pod in PODS.values() for ip in pod)
        self.node = self._space(
            NODE.format(node4=NODE4, node6=NODE6, client4=CLIENT4, client6=CLIENT6, pods=addresses)
        )
        self.client = self._space("ip link set lo up; echo up; exec sleep 600")
        self.ip(self.node, f"link set peer netns {self.client} name eth0")
        self.sh(self.client, CLIENT.format(client4=CLIENT4, client6=CLIENT6, node6=NODE6))
        self._running: list[Running] = []
        self.store = ObjectStore(objects())
        self.server = ApiServer(self.store)
        with within(self.node):
            self.server.start()
        self._stack.callback(self.server.stop)
        self.kubeconfig = folder / "kubeconfig"
        self.server.write_kubeconfig(self.kubeconfig, namespace="shop")
        for name, ips in PODS.items():
            for ip in ips:
                self.answer(name, ip)

    def close(self) -> None:
        self.end()
        self._stack.close()

    def end(self) -> None:
        """End what was started, and have the objects as they were."""
        while self._running:
            self._running.pop().close()
        for pid in self.workers():
            os.kill(pid, signal.SIGKILL)
        for obj in objects():
            with contextlib.suppress(ApiError):
                self.store.create(obj)
            self.store.update(obj)

    def _space(self, script: str) -> int:
        holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        self._stack.callback(holder.wait)
        self._stack.callback(holder.kill)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "up\n"
        holder.stdout.close()
        return holder.pid

    def sh(self, space: int, script: str) -> str:
        """What a shell prints there."""
        words = [*entering(space), "sh", "-c", script]
        return subprocess.run(words, check=True, capture_output=True, text=True, timeout=SECONDS).stdout

    def ip(self, space: int, words: str) -> str:
        return self.sh(space, f"ip {words}")

    # --- the program

    def workers(self) -> list[int]:
        """The workers that live on the node."""
        own = Path(f"/proc/{self.node}/ns/net").readlink()
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if (process / "ns/net").readlink() == own and b"serving.worker" in (
                    process / "cmdline"
                ).read_bytes():
                    found.append(int(process.name))
        return found

    def command(self, *words: str, before: tuple[str, ...] = ()) -> list[str]:
        return [*entering(self.node), *before, "svcdoctor", "proxy", *words]

    def proxy(self, *words: str, api: bool = True, before: tuple[str, ...] = ()) -> Running:
        """Start it on the node."""
        environment = self.environment | ({"KUBECONFIG": str(self.kubeconfig)} if api else {})
        self._running.append(Running(self.command(*words, before=before), environment, self.folder))
        return self._running[-1]

    def serving(self, *words: str, **more: Any) -> Running:
        """Start it, and wait until it serves."""
        running = self.proxy(*words, **more)
        running.until(
            lambda: (
                any(line.startswith("Serving") for line in running.out) or running.process.poll() is not None
            )
        )
        assert running.process.poll() is None, running.err
        return running

    # --- traffic

    def answer(self, name: str, ip: str, port: int = 8080) -> None:
        """Let a pod answer."""
        with within(self.node):
            listening = socket.create_server((ip, port), family=family_of(ip), backlog=64)
        self._stack.callback(listening.close)
        self._stack.callback(listening.shutdown, socket.SHUT_RDWR)
        threading.Thread(target=_serve, args=(listening, name), daemon=True).start()

    def connect(self, ip: str, port: int, space: int = 0) -> socket.socket:
        with within(space or self.client):
            return socket.create_connection((ip, port), 3)

    def ask(self, ip: str, port: int, space: int = 0) -> str:
        """Which pod answers the client; "refused" or "silent" where none does."""
        try:
            with self.connect(ip, port, space) as sock:
                sock.sendall(b"?\n")
                return sock.recv(100).decode().partition(" ")[0] or "closed"
        except ConnectionRefusedError:
            return "refused"
        except (TimeoutError, OSError):
            return "silent"

    # --- objects

    def put(self, obj: Object) -> None:
        self.store.update(obj)


def entering(space: int) -> list[str]:
    return ["nsenter", "-t", str(space), "-n", "-m"]


@contextlib.contextmanager
def within(space: int) -> Iterator[None]:
    """In another network namespace, as far as this thread goes."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    other = os.open(f"/proc/{space}/ns/net", os.O_RDONLY)
    try:
        setns(other)
        try:
            yield
        finally:
            setns(own)
    finally:
        os.close(own)
        os.close(other)


def family_of(ip: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def _serve(listening: socket.socket, name: str) -> None:
    while True:
        try:
            sock, peer = listening.accept()
        except OSError:
            return
        threading.Thread(target=_talk, args=(sock, name, peer[0]), daemon=True).start()


def _talk(sock: socket.socket, name: str, peer: str) -> None:
    with contextlib.suppress(OSError), sock:
        while sock.recv(4096):
            sock.sendall(f"{name} {peer}\n".encode())


def service(**spec: Any) -> Object:
    """shop/web."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080, "nodePort": NODE_PORT, "protocol": "TCP"}]
    base = {
        "type": "NodePort",
        "clusterIP": CLUSTER4,
        "clusterIPs": [CLUSTER4, CLUSTER6],
        "ipFamilies": ["IPv4", "IPv6"],
        "ports": ports,
    }
    return _object("v1", "Service", "web", spec=base | spec)


def slices(*pods: str) -> list[Object]:
    """Of shop/web, in both families."""
    made = []
    for family, at in (("IPv4", 0), ("IPv6", 1)):
        labels = {"kubernetes.io/service-name": "web"}
        found = [
            {
                "addresses": [PODS[pod][at]],
                "conditions": {"ready": True, "serving": True},
                "nodeName": "n1",
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": pod},
            }
            for pod in pods
        ]
        made.append(
            _object(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                f"web-{family.lower()}",
                labels=labels,
                addressType=family,
                ports=[{"name": "http", "port": 8080, "protocol": "TCP"}],
                endpoints=found,
            )
        )
    return made


def objects() -> list[Object]:
    addresses = [{"type": "InternalIP", "address": ip} for ip in (NODE4, NODE6)]
    api = {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 443, "name": "https"}]}
    return [
        service(),
        *slices(*PODS),
        _object("v1", "Service", "kubernetes", namespace="default", spec=api),
        _object("v1", "Node", "n1", namespace="", status={"addresses": addresses}),
    ]


def _object(version: str, kind: str, name: str, *, namespace: str = "shop", **fields: Any) -> Object:
    meta: dict[str, Any] = {"name": name}
    if namespace:
        meta["namespace"] = namespace
    if "labels" in fields:
        meta["labels"] = fields.pop("labels")
    return {"apiVersion": version, "kind": kind, "metadata": meta, **fields}


PROGRAMS = f"{Path(sys.executable).parent}:/usr/sbin:/sbin"
