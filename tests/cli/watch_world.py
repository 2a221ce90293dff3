"""A cluster on loopback for ``watch``: a Service whose slices say what a test says, and applications that can end."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

from lab_client import role_binding

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import SERVICES, Object
from svcdoctor.lab.store import ObjectStore

NAMESPACE = "truth"
PORT = 28080
READY, NOT, LEAVING = "ready", "not", "leaving"
NET = f"127.{(os.environ.get('PYTEST_XDIST_WORKER') or 'gw0')[2:]}"
"""Addresses of this process alone: others may run the same tests beside it."""
CLUSTER_IP = f"{NET}.2.1"  # nobody listens there, unless a test does

# Users and what they may.
LIST_WATCH = ["get", "list", "watch"]
ALL = {"": ["services", "pods", "nodes", "events"], "discovery.k8s.io": ["endpointslices"]}
ROLES: dict[str, dict[str, list[str]]] = {
    "nobody": {},
    "no-slices": {"services": LIST_WATCH, "pods": LIST_WATCH, "nodes": LIST_WATCH},
    "no-pods": {"services": ["get"], "endpointslices": LIST_WATCH},
    "no-watch": {"services": ["get", "list"], "endpointslices": ["get", "list"], "pods": LIST_WATCH},
}


class WatchWorld:
    """The cluster. ``connections`` counts what came to the pods' applications; ``runtime`` carries port-forwards."""

    def __init__(self, runtime: PodRuntime | None = None) -> None:
        self._stack = contextlib.ExitStack()
        users = (ADMIN, *map(User, ROLES))
        self.store = ObjectStore([*_objects(), *_roles()])
        self.runtime = runtime
        self.server = ApiServer(self.store, users=users, runtime=runtime)
        self._stack.enter_context(self.server)
        self._states: dict[str, str] = {}
        self._applications: dict[str, contextlib.ExitStack] = {}
        self._lock = threading.Lock()
        self.connections = 0

    def close(self) -> None:
        for name in list(self._applications):
            self.stop(name)
        self._stack.close()

    def kubeconfig(self, path: Path, user: str = ADMIN.name) -> Path:
        self.server.write_kubeconfig(path, user, namespace=NAMESPACE)
        return path

    def set(self, **pods: str) -> None:
        """Exactly these are the endpoints; w5 has the address NET.1.5."""
        for name in self._states.keys() - pods.keys():
            self.store.delete(_kind("Pod"), NAMESPACE, name)
        for name, state in pods.items():
            write = self.store.update if name in self._states else self.store.create
            write(_pod(name, state))
        write = self.store.update if self._held_slice() else self.store.create
        self._states = dict(pods)
        write(_slice(pods))

    def change(self, **pods: str) -> None:
        """These endpoints change."""
        self.set(**{**self._states, **pods})

    def _held_slice(self) -> bool:
        return bool(self.store.list_page(_kind("EndpointSlice")).items)

    def serve(self, *names: str) -> None:
        """Start applications on the addresses of pods, or the Service's (``svc``)."""
        for name in names:
            stack = self._applications[name] = contextlib.ExitStack()
            host = CLUSTER_IP if name == "svc" else address(name)
            stack.enter_context(_listening(host, self._came))

    def stop(self, name: str) -> None:
        self._applications.pop(name).close()

    def _came(self) -> None:
        with self._lock:
            self.connections += 1

    def delete_service(self) -> None:
        self.store.delete(SERVICES, NAMESPACE, "web")


@contextlib.contextmanager
def _listening(host: str, came):  # type: ignore[no-untyped-def]
    with socket.create_server((host, PORT), backlog=1024) as server:
        ended = threading.Event()

        def accept() -> None:
            with contextlib.suppress(OSError):
                while not ended.is_set():
                    connection, _ = server.accept()
                    came()
                    connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join()


def address(name: str) -> str:
    number = int(name.strip("abcdefghijklmnopqrstuvwxyz-"))
    return f"{NET}.{1 + (number >> 8)}.{number & 255}"


def _kind(kind: str):  # type: ignore[no-untyped-def]
    from svcdoctor.lab.net.controller import KINDS

    return KINDS[kind]


def _pod(name: str, state: str) -> Object:
    metadata: Object = {"name": name, "namespace": NAMESPACE, "labels": {"app": "web"}}
    if state == LEAVING:
        metadata["deletionTimestamp"] = "2026-11-21T00:00:00Z"
    ready = "True" if state == READY else "False"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "app", "image": "i:1", "ports": [{"containerPort": PORT}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": address(name),
            "podIPs": [{"ip": address(name)}],
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


def _slice(pods: dict[str, str]) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1",
            "namespace": NAMESPACE,
            "labels": {
                "kubernetes.io/service-name": "web",
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
        },
        "addressType": "IPv4",
        "ports": [{"name": "main", "port": PORT, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [address(name)],
                "conditions": {"ready": s == READY, "serving": s != NOT, "terminating": s == LEAVING},
                "nodeName": "n1",
                "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": name},
            }
            for name, s in pods.items()
        ],
    }


def _objects() -> list[Object]:
    port = {"name": "main", "port": PORT, "targetPort": PORT, "protocol": "TCP"}
    node = {"addresses": [{"type": "InternalIP", "address": f"{NET}.3.1"}]}
    node["conditions"] = [{"type": "Ready", "status": "True"}]
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}, "status": node},
        _service("web", {"selector": {"app": "web"}, "clusterIP": CLUSTER_IP, "ports": [port]}),
        _service("away", {"type": "ExternalName", "externalName": "db.example.com"}),
    ]


def _service(name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def _roles() -> list[Object]:
    made: list[Object] = []
    for user, granted in ROLES.items():
        rules = [
            {"apiGroups": [group], "resources": [resource], "verbs": verbs}
            for group, resources in ALL.items()
            for resource in resources
            if (verbs := granted.get(resource))
        ]
        made.append(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": {"name": user},
                "rules": rules,
            }
        )
        made.append(role_binding(user, user, NAMESPACE))
    return made
