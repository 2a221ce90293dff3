"""Pods with something behind them: the real kubectl's exec and logs, and pods that come and go."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab_client import VIEWER, Kubectl, role_binding

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podprocess import run_process
from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime, running, set_status, status_of
from svcdoctor.lab.podsecurity import LABEL
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore


class Here(PodRuntime):
    """Runs commands on this machine, in the pod's one directory."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.ended = threading.Event()

    def created(self, pod: Object) -> Object | None:
        self.events.append(f"+{pod['metadata']['name']}")
        return None if pod["metadata"]["name"] == "idle" else running(pod)

    def deleted(self, pod: Object) -> None:
        self.events.append(f"-{pod['metadata']['name']}")

    def execute(self, call: Call) -> int:
        if call.arguments == ("refuse",):
            raise NotStarted("no such thing")
        try:
            return run_process(call, call.arguments)
        finally:
            self.ended.set()

    def log(self, namespace: str, pod: str, container: str) -> bytes:
        return f"{namespace} {pod} {container}\nlast\n".encode()


def pod(name: str, *containers: str, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "truth"},
        "spec": {"containers": [{"name": c, "image": "i:1"} for c in containers], **spec},
    }


@pytest.fixture
def runtime() -> Here:
    return Here()


@pytest.fixture
def server(runtime: Here) -> Iterator[ApiServer]:
    guarded = {"name": "guarded", "labels": {LABEL: "restricted"}}
    objects = [
        pod("web", "app"),
        pod("two", "app", "side"),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": guarded},
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "truth"}},
        *(VIEWER, role_binding("alice", "viewer", "truth")),
    ]
    users = (ADMIN, User("alice"))
    with ApiServer(ObjectStore(objects), users=users, runtime=runtime) as server:
        yield server


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def test_kubectl_exec(kubectl: Kubectl) -> None:
    words = ("sh", "-c", "echo out; echo err >&2; exit 3")
    code, out, err = ended(kubectl("exec", "web", "--", *words))
    assert (code, out) == (3, "out\n")
    assert err == "err\ncommand terminated with exit code 3\n"
    assert ended(kubectl("exec", "two", "-c", "side", "--", "echo", "hi")) == (0, "hi\n", "")
    assert ended(kubectl("exec", "web", "--", "printf", "%s", "a b&c=ü")) == (0, "a b&c=ü", "")


def test_kubectl_exec_with_input(kubectl: Kubectl) -> None:
    assert ended(kubectl("exec", "-i", "web", "--", "wc", "-c", stdin="x" * 100_000)) == (0, "100000\n", "")
    assert ended(kubectl("exec", "-i", "web", "--", "cat", stdin="ä\n")) == (0, "ä\n", "")


def test_kubectl_exec_of_what_is_not_there(kubectl: Kubectl) -> None:
    code, _, err = ended(kubectl("exec", "web", "--", "nosuch"))
    assert code == 1
    assert 'exec: "nosuch": executable file not found in $PATH: unknown' in err
    assert "no such thing" in kubectl("exec", "web", "--", "refuse").stderr
    assert 'pods "gone" not found' in kubectl("exec", "gone", "--", "ls").stderr
    assert (
        "container nope is not valid for pod web" in kubectl("exec", "web", "-c", "nope", "--", "ls").stderr
    )
    refused = kubectl("exec", "web", "--", "ls", user="alice")
    assert 'User "alice" cannot create resource "pods/exec"' in refused.stderr, "kubectl tries SPDY then"


def test_large_output_is_exact(kubectl: Kubectl, tmp_path: Path) -> None:
    data = os.urandom(1_500_000).hex()
    (tmp_path / "data").write_text(data)
    assert kubectl("exec", "web", "--", "cat", str(tmp_path / "data")).stdout == data


def test_a_client_that_leaves_ends_the_command(
    server: ApiServer, runtime: Here, kubectl_environment: dict[str, str], tmp_path: Path
) -> None:
    server.write_kubeconfig(tmp_path / "config", namespace="truth")
    client = subprocess.Popen(
        [
            "kubectl",
            "--kubeconfig",
            tmp_path / "config",
            "exec",
            "web",
            "--",
            "sh",
            "-c",
            "echo up; sleep 60",
        ],
        env=kubectl_environment,
        stdout=subprocess.PIPE,
    )
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"up\n"
        client.kill()
    assert runtime.ended.wait(10)


def test_a_server_that_stops_ends_its_commands(runtime: Here, tmp_path: Path) -> None:
    from svcdoctor.sources.connection import Connection, open_connection
    from svcdoctor.sources.podexec import Container, ExecError, Streams, execute

    before = threading.active_count()
    with ApiServer(ObjectStore([pod("web", "app")]), runtime=runtime) as server:
        server.write_kubeconfig(tmp_path / "config")
        session = open_connection(Connection(kubeconfig=tmp_path / "config"))
        threading.Timer(0.3, server.stop).start()
        with pytest.raises(ExecError, match="cut"):
            execute(
                session,
                Container("truth", "web", ""),
                ["sleep", "60"],
                seconds=20,
                limit=9,
                streams=Streams(),
            )
        assert runtime.ended.wait(10)
    until(lambda: threading.active_count() <= before)


def test_kubectl_logs(kubectl: Kubectl) -> None:
    assert ended(kubectl("logs", "web")) == (0, "truth web app\nlast\n", "")
    assert ended(kubectl("logs", "two", "-c", "side", "--tail=1")) == (0, "last\n", "")
    assert ended(kubectl("logs", "web", "--limit-bytes=5")) == (0, "truth", "")
    assert 'cannot get resource "pods/log"' in kubectl("logs", "web", user="alice").stderr


def test_pods_come_and_go(server: ApiServer, runtime: Here, kubectl: Kubectl) -> None:
    assert kubectl("run", "new", "--image=i:1").returncode == 0
    until(lambda: "1/1" in kubectl("get", "pod", "new").stdout)
    server.store.create(pod("idle", "app"))
    until(lambda: "+idle" in runtime.events)
    stopped = {"app": {"terminated": {"exitCode": 1, "reason": "Error"}}}
    set_status(server.store, "truth", "idle", status_of(pod("idle", "app"), stopped))
    assert "Error" in kubectl("get", "pod", "idle").stdout
    set_status(server.store, "truth", "gone", {})
    assert kubectl("delete", "pod", "new", "idle").returncode == 0
    until(lambda: len(runtime.events) == 4)
    assert runtime.events == ["+new", "+idle", "-new", "-idle"]
    server.store.compact()
    server.store.create(pod("later", "app"))
    until(lambda: server.store.get(PODS, "truth", "later").get("status", {}).get("phase") == "Running")


def test_pod_security(server: ApiServer, kubectl: Kubectl) -> None:
    overrides = '{"spec": {"hostNetwork": true}}'
    refused = kubectl("run", "x", "--image=i:1", "-n", "guarded", f"--overrides={overrides}")
    assert refused.stderr == (
        'Error from server (Forbidden): pods "x" is forbidden: violates PodSecurity "restricted:latest": host '
        "namespaces (hostNetwork=true)\n"
    )
    assert kubectl("run", "x", "--image=i:1", "-n", "guarded").returncode == 0
    assert kubectl("run", "x", "--image=i:1", "-n", "truth", f"--overrides={overrides}").returncode == 0


def test_without_a_runtime_there_is_no_exec(tmp_path: Path, kubectl_environment: dict[str, str]) -> None:
    with ApiServer(ObjectStore([pod("web", "app")])) as server:
        server.write_kubeconfig(tmp_path / "config", namespace="truth")
        done = subprocess.run(
            ["kubectl", "--kubeconfig", tmp_path / "config", "exec", "web", "--", "ls"],
            env=kubectl_environment,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert done.returncode == 1
        assert done.stderr
