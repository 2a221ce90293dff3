"""A small real cluster, a server over it, and ways to talk to that server."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from lab_client import FIXTURES, NOW, VIEWER, Call, Kubectl, Reply, connect, role_binding

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import Object
from svcdoctor.lab.store import ObjectStore


@pytest.fixture(scope="session")
def objects() -> list[Object]:
    lines = (FIXTURES / "cluster.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def store(objects: list[Object]) -> ObjectStore:
    return ObjectStore([*objects, VIEWER, role_binding("alice", "viewer", "truth")], now=lambda: NOW)


@pytest.fixture
def server(store: ObjectStore) -> Iterator[ApiServer]:
    users = (ADMIN, User("alice", ("developers",)))
    with ApiServer(store, users=users, now=lambda: NOW, bookmark_interval=0.1) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5  # a thread that was told to end may need its turn
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before


@pytest.fixture
def call(server: ApiServer) -> Iterator[Call]:
    """Make one request: `call("/api/v1/pods", user="alice", headers={…}, body={…})`."""
    connections: dict[tuple[str, bool], Any] = {}

    def make(
        path: str,
        *,
        method: str = "GET",
        user: str = "admin",
        by_certificate: bool = False,
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Reply:
        key = (user, by_certificate)
        if key not in connections:
            connections[key] = connect(server, user, by_certificate=by_certificate)
        connection, identity = connections[key]
        sent = identity | {"Accept": accept} | dict(headers or {})
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path.replace(" ", "%20"), body=data, headers=sent)
            response = connection.getresponse()
            return Reply(response.status, dict(response.headers), response.read())
        except Exception:
            connections.pop(key)
            connection.close()
            raise

    yield make
    for connection, _ in connections.values():
        connection.close()


@pytest.fixture
def kubectl_environment(tmp_path: Path) -> dict[str, str]:
    if shutil.which("kubectl") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("kubectl is not installed, and CI must not skip these tests")
        pytest.skip("kubectl is not installed")
    # Its own HOME, so that neither a cache nor somebody's configuration takes part.
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


@pytest.fixture
def kubectl(server: ApiServer, tmp_path: Path, kubectl_environment: dict[str, str]) -> Kubectl:
    """Run the real kubectl against the server and return what it printed."""

    def run(
        *arguments: str, user: str = "admin", by_certificate: bool = False, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        path = tmp_path / f"{user}-{by_certificate}.kubeconfig"
        server.write_kubeconfig(path, user, by_certificate=by_certificate, namespace="truth")
        return subprocess.run(
            ["kubectl", "--kubeconfig", str(path), *arguments],
            env=kubectl_environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
        )

    return run
