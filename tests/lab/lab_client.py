"""Ways to talk to a server under test, and what is in it besides the recorded cluster."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.resources import Object

FIXTURES = Path(__file__).parents[2] / "fixtures" / "api"
NOW = datetime(2026, 11, 21, 0, 37, tzinfo=UTC)


def role_binding(user: str, role: str, namespace: str = "") -> Object:
    """A binding of a ClusterRole to a user, in one namespace or in all."""
    metadata = {"name": f"{user}-{role}"} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}],
    }


VIEWER: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "viewer"},
    "rules": [
        {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list"]},
    ],
}


@dataclass
class Reply:
    """An answer whose body has been read."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


Call = Callable[..., Reply]


def connect(server: ApiServer, user: str = "admin", *, by_certificate: bool = False) -> Any:
    """A connection to the server and the headers that say who speaks, from the user's own kubeconfig."""
    config = yaml.safe_load(server.kubeconfig(user, by_certificate=by_certificate))
    cluster, credentials = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    headers = {}
    if by_certificate:
        server_files = server._credentials[user]
        context.load_cert_chain(server_files.certificate, server_files.key)
    else:
        headers["Authorization"] = f"Bearer {credentials['token']}"
    host, _, port = server.address.rpartition(":")
    connection = http.client.HTTPSConnection(host.strip("[]"), int(port), context=context, timeout=10)
    return connection, headers


Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]
