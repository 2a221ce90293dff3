"""`pods/portforward` with the real kubectl, with its WebSocket tunnel and with SPDY."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from forward_client import Local, application, digest, echo, exactly, exchange, late, pod, resets
from lab_client import Kubectl, role_binding
from test_lab_network import Lab, unusable

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podsandbox import sandbox_of
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.store import ObjectStore

SIZE = 10 << 20
USERS = (ADMIN, User("getter"), User("creator"), User("both"))
MORE = {"getter": ["get"], "creator": ["create"], "both": ["get", "create"]}


@pytest.fixture(params=["true", "false"], ids=["websocket", "spdy"])
def websockets(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runtime() -> Local:
    return Local({})


@pytest.fixture
def server(runtime: Local) -> Iterator[ApiServer]:
    with ApiServer(ObjectStore(objects()), users=USERS, runtime=runtime) as server:
        yield server


def objects() -> list[Object]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod("x")["spec"]}
    selector = {"matchLabels": {"app": "web"}}
    port = {"name": "main", "port": 80, "targetPort": "web", "protocol": "TCP"}
    made: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "truth"}},
        pod("web", app="web"),
        pod("waiting", "Pending"),
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "truth"},
            "spec": {"replicas": 1, "selector": selector, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "truth"},
            "spec": {"selector": {"app": "web"}, "ports": [port], "clusterIP": "10.96.0.7"},
        },
    ]
    for user, verbs in MORE.items():
        rules = [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
            {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": verbs},
        ]
        metadata = {"name": user}
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole"}
        made += [kind | {"metadata": metadata, "rules": rules}, role_binding(user, user, "truth")]
    return made


class Forwarder:
    """A running `kubectl port-forward`. `ports` are local ports by the pod's."""

    def __init__(self, process: subprocess.Popen[str], count: int) -> None:
        self.process = process
        self.ports: dict[int, int] = {}
        self.printed: list[str] = []
        assert process.stdout is not None
        while len(self.ports) < count:
            line = process.stdout.readline()
            assert line, self.printed
            self.printed.append(line)
            if found := re.match(r"Forwarding from 127\.0\.0\.1:(\d+) -> (\d+)\n", line):
                self.ports[int(found[2])] = int(found[1])

    def connect(self, port: int = 8080) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports[port]), timeout=10)

    def rest(self) -> str:
        """What it prints until it has ended by itself."""
        out, _ = self.process.communicate(timeout=10)
        return "".join(self.printed) + out


Forward = Callable[..., Forwarder]


@pytest.fixture
def forward(
    server: ApiServer, websockets: str, kubectl_environment: dict[str, str], tmp_path: Path
) -> Iterator[Forward]:
    with contextlib.ExitStack() as stack:

        def start(*words: str, user: str = "admin") -> Forwarder:
            config = tmp_path / "config"
            server.write_kubeconfig(config, user, namespace="truth")
            process = subprocess.Popen(
                ["kubectl", "--kubeconfig", str(config), "port-forward", *words],
                env=kubectl_environment | {"KUBECTL_PORT_FORWARD_WEBSOCKETS": websockets},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            stack.callback(process.communicate)
            stack.callback(process.kill)
            return Forwarder(process, sum(":" in word for word in words))

        yield start


def methods(server: ApiServer) -> list[tuple[str, int]]:
    """The requests for tunnels that are over."""
    return [(r.method, r.status) for r in server.requests if r.path.endswith("/portforward")]


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("target", ["web", "svc/web", "deploy/web"])
def test_every_byte_arrives(
    server: ApiServer, forward: Forward, runtime: Local, target: str, websockets: str
) -> None:
    with application(digest) as first, application(echo, "::1") as second:
        runtime.ports.update({8080: first, 9090: second})
        running = forward(target, *([":main"] if target == "svc/web" else [":web", ":9090"]))

        def large(_: int) -> None:
            with running.connect() as connection:
                exchange(connection, SIZE if target == "web" else 1 << 20)

        def small(number: int) -> None:
            with running.connect(9090) as connection:
                for turn in range(20):
                    said = f"{number} {turn}".encode()
                    connection.sendall(said)
                    assert exactly(connection, len(said)) == said

        with ThreadPoolExecutor(12) as pool:
            done = [pool.submit(large, n) for n in range(2)]
            if 9090 in running.ports:
                done += [pool.submit(small, n) for n in range(10)]
            for future in done:
                future.result()
        assert running.process.poll() is None
        running.process.terminate()
        running.process.wait()
        until(lambda: methods(server) == [("GET" if websockets == "true" else "POST", 101)])


def test_a_port_where_nothing_listens(forward: Forward, runtime: Local) -> None:
    with application(echo) as address:
        runtime.ports.update({8080: address})
        running = forward("web", ":8080", ":7")
        with running.connect(7) as connection:
            assert connection.recv(1) == b""
        printed = running.rest()
    sandbox = re.search(r"error forwarding port 7 to pod ([0-9a-f]{64}), uid : ", printed)
    assert sandbox is not None, printed
    where = rf"failed to connect to localhost:7 inside namespace \"{sandbox[1]}\", "
    assert where.replace("\\", "") in printed.replace("\\", "")
    assert "IPv4: dial tcp4 127.0.0.1:7: connect: connection refused IPv6 dial tcp6" in printed
    assert "error: lost connection to pod" in printed, "kubectl gives up"
    assert running.process.returncode == 1


def test_an_application_that_resets(forward: Forward, runtime: Local) -> None:
    with application(resets) as address:
        runtime.ports.update({8080: address})
        running = forward("web", ":8080")
        with running.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b""
        assert re.search(
            r"read tcp4 127\.0\.0\.1:\d+->127\.0\.0\.1:8080: read: connection reset", running.rest()
        )


@pytest.mark.parametrize("half_close", [False, True])
def test_a_reply_after_the_clients_end(forward: Forward, runtime: Local, half_close: bool) -> None:
    runtime.half_close = half_close
    with application(late) as address:
        runtime.ports.update({8080: address})
        with forward("web", ":8080").connect() as connection:
            connection.sendall(b"x" * 100_000)
            connection.shutdown(socket.SHUT_WR)
            started = time.monotonic()
            answer = b"".join(iter(lambda: connection.recv(100), b""))
        if half_close:
            assert answer == b"100000 bytes"
        else:
            assert answer == b"", "containerd cuts it"
            assert time.monotonic() - started > 0.9


def test_a_pod_that_goes_away(server: ApiServer, forward: Forward, runtime: Local) -> None:
    with application(echo) as address:
        runtime.ports.update({8080: address})
        running = forward("web", ":8080")
        with running.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            server.store.delete(PODS, "truth", "web")
            with running.connect() as other:
                assert other.recv(1) == b""
        assert "in store: not found" in running.rest()


def test_pods_that_cannot_be_reached(server: ApiServer, kubectl: Kubectl, runtime: Local) -> None:
    server.store.create(pod("nowhere", node=""))
    server.store.create(pod("lost"))
    runtime.unknown = {"lost"}
    waiting = "error: unable to forward port because pod is not running. Current status=Pending\n"
    assert kubectl("port-forward", "waiting", ":80").stderr == waiting
    assert 'pods "gone" not found' in kubectl("port-forward", "gone", ":80").stderr
    assert "pod nowhere does not have a host assigned" in kubectl("port-forward", "nowhere", ":80").stderr
    assert "failed to find sandboxID for pod lost_truth(" in kubectl("port-forward", "lost", ":80").stderr


def test_without_a_runtime_no_sandbox_is_found(tmp_path: Path, kubectl_environment: dict[str, str]) -> None:
    with ApiServer(ObjectStore([pod("web")])) as server:
        server.write_kubeconfig(tmp_path / "config", namespace="truth")
        words = ["kubectl", "--kubeconfig", tmp_path / "config", "port-forward", "web", ":80"]
        done = subprocess.run(words, env=kubectl_environment, capture_output=True, text=True, timeout=30)
    assert (done.returncode, "failed to find sandboxID for pod web_truth(" in done.stderr) == (1, True)


def test_permissions(kubectl: Kubectl, forward: Forward, runtime: Local) -> None:
    denied = (
        'pods "web" is forbidden: User "{}" cannot create resource "pods/portforward" in API group "" in the '
        'namespace "truth"'
    )
    assert denied.format("getter") in kubectl("port-forward", "web", ":80", user="getter").stderr
    with application(echo) as address:
        runtime.ports.update({8080: address})
        for user in ("both", "creator"):  # whose WebSocket is refused, and kubectl tries SPDY then
            with forward("web", ":8080", user=user).connect() as connection:
                connection.sendall(b"x")
                assert connection.recv(1) == b"x"


def test_kubectl_goes_over_to_spdy(
    server: ApiServer, forward: Forward, runtime: Local, websockets: str
) -> None:
    server.forward_faults.refuse_websocket = True
    with application(echo) as address:
        runtime.ports.update({8080: address})
        running = forward("web", ":8080")
        with running.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
        running.process.terminate()
        first = [("GET", 400)] if websockets == "true" else []
        until(lambda: methods(server) == [*first, ("POST", 101)])


def test_a_server_that_speaks_neither(server: ApiServer, kubectl: Kubectl) -> None:
    server.forward_faults.refuse_websocket = server.forward_faults.refuse_spdy = True
    refused = kubectl("port-forward", "web", ":80")
    assert (refused.returncode, "Upgrade request required" in refused.stderr) == (1, True)


def test_a_server_that_stops_ends_its_tunnels(server: ApiServer, forward: Forward, runtime: Local) -> None:
    with application(echo) as address:
        runtime.ports.update({8080: address})
        running = forward("web", ":8080")
        with running.connect() as connection:
            connection.sendall(b"x")
            assert connection.recv(1) == b"x"
            server.stop()
            assert connection.recv(1) == b""
        assert "lost connection to pod" in running.rest()


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    why = unusable()
    if why is not None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(why)
    made = Lab(tmp_path_factory.mktemp("lab"))
    made("up", "--mode", "nftables")
    yield made
    made("down")


def test_in_the_labs_network(network: Lab) -> None:
    name = next(
        line.rpartition("/")[2]
        for line in network.shell("kubectl", "get", "pods", "-o", "name").stdout.split()
        if line.endswith("tkxck")
    )
    script = (
        "cd $(mktemp -d); KUBECTL_PORT_FORWARD_WEBSOCKETS=$3 kubectl port-forward $1 9091:$2 > printed 2>&1 & "
        "until grep -q 127 printed; do sleep 0.05; done; curl -s -m 5 http://127.0.0.1:9091/json; kill $!"
    )

    def page(target: str, port: str, websockets: str) -> str:
        done = network.shell("sh", "-c", script, "sh", target, port, websockets)
        return json.loads(done.stdout)["pod"] if done.stdout else done.stderr

    assert page("svc/bq-api-service-1", "32111", "true").startswith("bq-api-service-deploy-sample")
    network("break", "NOD010")
    try:
        assert network.get("http://10.105.158.88:32111/") == 7, "it listens on 127.0.0.1 only"
        until(lambda: page(name, "http", "false") == name)  # the application has just begun anew
    finally:
        network("fix")


def namespaces() -> set[str]:
    """The network namespaces of this process's threads."""
    found = set()
    for thread in threading.enumerate():
        with contextlib.suppress(FileNotFoundError):  # it has ended meanwhile
            found.add(str(Path(f"/proc/self/task/{thread.native_id}/ns/net").readlink()))
    return found


V6 = "import socket; s = socket.create_server(('::1', 8080), family=socket.AF_INET6); print(flush=True); {}"


def test_localhost_of_a_namespace_by_ipv4_and_then_ipv6(forward: Forward, runtime: Local) -> None:
    if os.getuid() or shutil.which("unshare") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs root and unshare")
    code = V6.format("c = s.accept()[0]; c.sendall(c.getpeername()[0].encode())")
    words = ["unshare", "--net", "sh", "-c", f'ip link set lo up; exec "{sys.executable}" -c "{code}"']
    before = namespaces()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as inside:
        assert inside.stdout is not None
        inside.stdout.readline()
        runtime.sandbox = lambda namespace, pod: sandbox_of("truth/web", inside.pid)  # type: ignore[method-assign]
        running = forward("web", ":8080")
        with running.connect() as connection:
            assert connection.recv(100) == b"::1"
            assert namespaces() == before
        inside.wait(5)
        with running.connect() as connection:
            assert connection.recv(1) == b"", "the namespace is gone with its process"
    assert "network namespace for sandbox" in running.rest()
