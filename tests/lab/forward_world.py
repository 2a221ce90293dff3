"""A cluster on loopback for `forward`: pods whose ports are applications of this process, and every kind of target."""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from forward_client import Serving, application
from lab_client import role_binding

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.listener import Listener
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.podsandbox import Sandbox, sandbox_here
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore

NAMESPACE = "truth"
PORTS = {28080: "web", 29090: "more"}
WORKLOADS = {
    "Deployment": "apps/v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
    "DaemonSet": "apps/v1",
}
WORKLOADS |= {"Job": "batch/v1", "ReplicationController": "v1"}
# Users and what they may; each may read everything else that a forward needs.
ROLES: dict[str, dict[str, list[str]]] = {
    "no-forward": {"pods": ["get", "list", "watch"]},
    "no-list": {"pods": ["get"], "pods/portforward": ["get", "create"]},
    "no-watch": {"pods": ["get", "list"], "pods/portforward": ["get", "create"]},
    "only-get": {"pods": ["get", "list", "watch"], "pods/portforward": ["get"]},
}


def named(pod: str, port: int) -> Serving:
    """Answers each line with the pod's name, the port and the line."""

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            for line in lines:
                connection.sendall(f"{pod} {port} ".encode() + line)

    return serve


class Here(PodRuntime):
    """Every pod's ports are addresses of this machine's loopback. A pod that it does not know has no sandbox."""

    def __init__(self) -> None:
        self.pods: dict[str, dict[int, tuple[str, int]]] = {}
        self.half_close = True

    def sandbox(self, namespace: str, pod: str) -> Sandbox | None:
        ports = self.pods.get(pod)
        name = f"{namespace}/{pod}"
        return None if ports is None else sandbox_here(name, ports, half_close=self.half_close)


class World:
    """The cluster. Pods of `app` are behind a Service and a workload of each kind."""

    def __init__(self, *pods: str) -> None:
        self.runtime = Here()
        self._stack = contextlib.ExitStack()
        self._applications: dict[str, contextlib.ExitStack] = {}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        users = (ADMIN, *map(User, ROLES))
        self.store = ObjectStore(list(objects()))
        self.server = ApiServer(self.store, users=users, runtime=self.runtime)
        self._stack.enter_context(self.server)
        for name in pods:
            self.add(name)

    def close(self) -> None:
        """End all."""
        self._stack.close()
        for stack in self._applications.values():
            stack.close()

    def kubeconfig(self, path: Path, user: str = ADMIN.name) -> Path:
        self.server.write_kubeconfig(path, user, namespace=NAMESPACE)
        return path

    def add(
        self,
        name: str,
        serving: Callable[[str, int], Serving] = named,
        *,
        ready: bool = True,
        app: str = "web",
        phase: str = "Running",
    ) -> None:
        """A pod and its applications."""
        stack = self._applications[name] = contextlib.ExitStack()
        self.runtime.pods[name] = {
            port: stack.enter_context(application(serving(name, port))) for port in PORTS
        }
        self.store.create(pod(name, ready=ready, app=app, phase=phase))

    def start(self, name: str, *, ready: bool = True) -> None:
        """A pod whose application is a process of its own, which drains on SIGTERM."""
        words = [sys.executable, "-I", str(Path(__file__).with_name("draining.py")), name]
        process = self._processes[name] = subprocess.Popen(words, stdout=subprocess.PIPE)
        stack = self._applications[name] = contextlib.ExitStack()
        assert process.stdout is not None
        stack.enter_context(process)
        stack.callback(process.kill)
        port = int(process.stdout.readline())
        self.runtime.pods[name] = dict.fromkeys(PORTS, ("127.0.0.1", port))
        self.store.create(pod(name, ready=ready))

    def terminate(self, name: str) -> None:
        """The pod is being deleted: its application is told, and when it has ended the pod is gone."""
        self.change(name, terminating=True)
        process = self._processes.pop(name)
        process.terminate()
        assert process.wait(20) == 0
        self.remove(name)

    def roll(self, names: Sequence[str], generation: int) -> list[str]:
        """Replace pods as a Deployment does, a new one first; the new names."""
        new = []
        for name in names:
            new.append(f"{name.partition('-')[0]}-{generation}-{len(new)}")
            self.start(new[-1], ready=False)
            self.change(new[-1])
            self.terminate(name)
        return new

    def change(self, name: str, *, ready: bool = True, terminating: bool = False) -> None:
        """Make a pod ready or not; or begin its end."""
        was = self.store.get(PODS, NAMESPACE, name)
        made = pod(name, ready=ready, app=was["metadata"]["labels"]["app"])
        if terminating:
            made["metadata"]["deletionTimestamp"] = "2026-11-21T00:00:00Z"
        self.store.update(made)

    def remove(self, name: str) -> None:
        """The pod goes, and its applications with it."""
        self.store.delete(PODS, NAMESPACE, name)
        del self.runtime.pods[name]
        self._applications.pop(name).close()

    def restart(self, seconds: float = 0.2) -> None:
        """The API server goes away and comes back on its port, with its certificates and tokens."""
        old = self.server._listener
        assert old is not None
        old.stopping.set()
        self.store.wake()
        old.stop()
        time.sleep(seconds)
        host, port = old.server_address[:2]
        self.server._listener = Listener(str(host), port, old._context, self.server._respond)
        self.server._listener.start()

    def new_token(self, token: str, user: str = ADMIN.name) -> None:
        """From now on the user's token is this one; the old one is refused."""
        held = self.server._credentials
        held[user] = dataclasses.replace(held[user], token=token)

    @property
    def tunnels(self) -> int:
        """How many tunnels ended; a tunnel is logged at its end."""
        return sum(r.path.endswith("/portforward") and r.status == 101 for r in self.server.requests)


def pod(
    name: str, *, ready: bool = True, app: str = "web", phase: str = "Running", node: str = "n1"
) -> Object:
    ports = [{"name": word, "containerPort": port} for port, word in PORTS.items()]
    ports.append({"name": "dns", "containerPort": 53, "protocol": "UDP"})
    condition = {"type": "Ready", "status": "True" if ready else "False"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": app}},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "i:1", "ports": ports}]},
        "status": {"phase": phase, "podIP": "10.0.0.9", "conditions": [condition]},
    }


def objects(app: str = "web") -> Iterator[Object]:
    """All but the pods: a Service and a workload of each kind with the name `app`, and who may what."""
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    metadata = {"name": app, "namespace": NAMESPACE}
    labels = {"app": app}
    template = {"metadata": {"labels": labels}, "spec": pod("x")["spec"]}
    for kind, version in WORKLOADS.items():
        selector = labels if kind == "ReplicationController" else {"matchLabels": labels}
        spec = {"selector": selector, "template": template}
        yield {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec}
    ports: list[Object] = [
        {"name": "main", "port": 80, "targetPort": "web", "protocol": "TCP"},
        {"name": "second", "port": 81, "targetPort": 29090, "protocol": "TCP"},
    ]
    yield service(app, labels, ports)
    own = [{"name": "main", "port": 28080, "targetPort": "web", "protocol": "TCP"}]
    headless = service("headless", labels, own)
    yield headless | {"spec": headless["spec"] | {"clusterIP": "None"}}
    yield service("by-hand", None, ports)
    yield from roles()


def service(name: str, selector: Object | None, ports: Sequence[Object]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"selector": selector, "clusterIP": "10.96.0.7", "ports": list(ports)},
    }


def roles() -> Iterator[Object]:
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
    for user, granted in ROLES.items():
        rules = [{"apiGroups": [""], "resources": [what], "verbs": verbs} for what, verbs in granted.items()]
        rules += [{"apiGroups": [group], "resources": ["*"], "verbs": ["get"]} for group in ("apps", "batch")]
        rules.append({"apiGroups": [""], "resources": ["services"], "verbs": ["get"]})
        yield kind | {"metadata": {"name": user}, "rules": rules}
        yield role_binding(user, user, NAMESPACE)
