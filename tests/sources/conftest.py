"""Servers to connect to: a lab API server over a small cluster, and one that answers by a script."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.store import ObjectStore

Play = Callable[[BaseHTTPRequestHandler], None]


def reply(status: int = 200, body: Any = "", **headers: str) -> Play:
    """Answer with this body, JSON where it is no text."""
    data = body.encode() if isinstance(body, str) else json.dumps(body).encode()

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    return play


def refuse(status: int, message: str = "", reason: str = "", **headers: str) -> Play:
    """Answer with a Status object, as the API server does."""
    return reply(
        status, {"kind": "Status", "apiVersion": "v1", "message": message, "reason": reason}, **headers
    )


def cut(body: str, *, framed: bool = True) -> Play:
    """Answer with the beginning of a body and close the connection; unframed, HTTP cannot notice."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        if framed:
            handler.send_header("Content-Length", str(len(body) + 100))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.wfile.write(body.encode())
        handler.close_connection = True

    return play


def page(kind: str, *items: dict[str, Any], token: str = "") -> Play:
    """Answer with a typed list, whose items carry no kind, as the API server's do not."""
    return reply(
        200, {"kind": f"{kind}List", "apiVersion": "v1", "metadata": {"continue": token}, "items": items}
    )


@dataclass
class Script:
    """A real HTTP server that plays one step for each request, the last one for ever."""

    url: str = ""
    steps: list[Play] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[Any] = field(default_factory=list)

    def next(self, handler: BaseHTTPRequestHandler, path: str) -> None:
        self.paths.append(path)
        self.headers.append(handler.headers)
        (self.steps.pop(0) if len(self.steps) > 1 else self.steps[0])(handler)


@pytest.fixture
def script() -> Iterator[Script]:
    script = Script()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            script.next(self, self.path)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            script.next(self, f"POST {self.path}")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Clients that hang up are what the tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    script.url = f"http://127.0.0.1:{server.server_port}"
    yield script
    server.shutdown()
    server.server_close()
    thread.join()


def kubeconfig(
    path: Path,
    server: str = "https://10.0.0.1:6443",
    *,
    name: str = "prod",
    cluster: dict[str, Any] | None = None,
    user: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    current: str | None = None,
) -> Path:
    """Write a kubeconfig with one cluster, user and context of the same name."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": server} | (cluster or {})}],
        "users": [{"name": name, "user": {"token": f"token-of-{name}"} if user is None else user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name} | (context or {})}],
        "current-context": name if current is None else current,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def pod(namespace: str, name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {"nodeName": "n1"},
    }


def service(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"clusterIP": "10.96.0.10"},
    }


def config_map(namespace: str, name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"namespace": namespace, "name": name},
        "data": {"Corefile": ".:53"},
    }


def role_binding(user: str, namespace: str, *resources: str) -> list[dict[str, Any]]:
    """A role to get and list these resources of one namespace, bound to a user."""
    rbac = "rbac.authorization.k8s.io"
    return [
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "Role",
            "metadata": {"name": f"{user}-reads", "namespace": namespace},
            "rules": [{"apiGroups": ["*"], "resources": list(resources), "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "RoleBinding",
            "metadata": {"name": f"{user}-reads", "namespace": namespace},
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": f"{user}-reads"},
            "subjects": [{"kind": "User", "name": user, "apiGroup": rbac}],
        },
    ]


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """The lab's API server over two namespaces; alice may read pods and services of ``shop``, bob only
    those of ``web``, and carol nothing."""
    objects = [
        service("shop", "cart"),
        service("web", "front"),
        *(pod("shop", f"cart-{n}", app="cart") for n in range(3)),
        pod("shop", "db-0", app="db"),
        pod("web", "front-0", app="front"),
        config_map("kube-system", "coredns"),
        config_map("kube-system", "kube-proxy"),
        config_map("kube-system", "private"),
        *role_binding("alice", "shop", "pods", "services"),
        *role_binding("bob", "web", "pods"),
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}},
    ]
    users = (ADMIN, User("alice", ("developers",)), User("bob"), User("carol"))
    with ApiServer(ObjectStore(objects), users=users) as server:
        yield server
