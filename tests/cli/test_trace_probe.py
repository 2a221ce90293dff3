"""``trace --probe`` as a user runs it, on loopback: a cluster whose addresses are servers of this process."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from answers import fits

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.certificates import Authority
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.podsandbox import sandbox_here
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.store import ObjectStore

NODE, BALANCER, PODS = "127.0.4.1", "127.0.4.9", ("127.0.4.11", "127.0.4.12")
SEES = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRole",
    "metadata": {"name": "sees"},
    "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]}],
}
BOUND = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "sees"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "sees"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "bob"}],
}


class Application:
    """An HTTP server that answers with a pod's name, in turn where it has several, and counts its connections."""

    def __init__(self, address, port, *names, tls=None):
        self.accepted = 0
        turn = iter(range(1 << 30))
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                body = f"Hostname: {names[next(turn) % len(names)]}\n".encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        class Server(ThreadingHTTPServer):
            def get_request(self):
                outer.accepted += 1
                return super().get_request()

            def server_bind(self):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                self.socket.bind(self.server_address)

        self.server = Server((address, port), Handler, bind_and_activate=False)
        self.server.server_bind()
        self.server.server_activate()
        if tls is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(*tls)
            self.server.socket = context.wrap_socket(
                self.server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


class Here(PodRuntime):
    """The pods' ports are servers on their addresses."""

    port = 0

    def sandbox(self, namespace, pod):
        number = {"web-1": 0, "web-2": 1}.get(pod)
        return None if number is None else sandbox_here(pod, {self.port: (PODS[number], self.port)})


def free_port(*addresses):
    for _ in range(100):
        with socket.socket() as first:
            first.bind((addresses[0], 0))
            port = first.getsockname()[1]
            try:
                for address in addresses[1:]:
                    with socket.socket() as other:
                        other.bind((address, port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free on all of these addresses")


def pod(number, port):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"web-{number}", "namespace": "default", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "app", "image": "x", "ports": [{"containerPort": port, "name": "http"}]}],
        },
        "status": {
            "phase": "Running",
            "podIP": PODS[number - 1],
            "podIPs": [{"ip": PODS[number - 1]}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "app", "ready": True, "state": {"running": {}}}],
        },
    }


def objects(port, name):
    ends = [
        {
            "addresses": [PODS[n - 1]],
            "conditions": {"ready": True},
            "nodeName": "n1",
            "targetRef": {"kind": "Pod", "namespace": "default", "name": f"web-{n}"},
        }
        for n in (1, 2)
    ]
    return [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": "n1"},
            "spec": {},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        },
        pod(1, port),
        pod(2, port),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "type": "LoadBalancer",
                "selector": {"app": "web"},
                "clusterIP": "10.96.0.7",
                "clusterIPs": ["10.96.0.7"],
                "ipFamilies": ["IPv4"],
                "allocateLoadBalancerNodePorts": False,
                "ports": [{"name": name, "port": port, "targetPort": port, "protocol": "TCP"}],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": BALANCER}]}},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "endpoints": ends,
            "ports": [{"name": name, "port": port, "protocol": "TCP"}],
        },
        SEES,
        BOUND,
    ]


class Cluster:
    """The cluster, with its applications running."""

    def __init__(self, folder, name="http", tls=None):
        self.tls = tls
        self.port = free_port(BALANCER, *PODS)
        runtime = Here()
        runtime.port = self.port
        self.applications = {}
        self.store = ObjectStore(objects(self.port, name))
        self.server = ApiServer(self.store, users=(ADMIN, User("bob")), runtime=runtime)
        self.server.start()
        self.folder = folder

        for user in ("admin", "bob"):
            self.server.write_kubeconfig(self.kubeconfig(user), user)

    def kubeconfig(self, user="admin"):
        return self.folder / f"kubeconfig-{user}"

    def start(self):
        for address, names in {
            BALANCER: ("web-1", "web-2"),
            PODS[0]: ("web-1",),
            PODS[1]: ("web-2",),
        }.items():
            if address not in self.applications:
                self.applications[address] = Application(address, self.port, *names, tls=self.tls)
            self.applications[address].accepted = 0

    def stop(self, address):
        self.applications.pop(address).close()

    def close(self):
        self.server.stop()
        for application in self.applications.values():
            application.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


@pytest.fixture
def cluster(whole):
    """All applications run, and nobody has asked them yet."""
    whole.start()
    return whole


PROBE = ("trace", "svc/web", "--via", "loadBalancer", "--probe")


def answered(done):
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    fits(answer)
    return answer


def test_without_probe_nothing_is_sent(run, cluster):
    done = run("trace", "svc/web", "--via", "loadBalancer", "-o", "json", kubeconfig=cluster.kubeconfig())
    assert answered(done)["verdict"] == "healthy"
    assert "observed" not in done.stdout
    assert {a.accepted for a in cluster.applications.values()} == {0}


def test_with_probe_as_much_is_sent_as_was_asked_for(run, cluster):
    done = run(*PROBE, "--count", "7", "-o", "json", kubeconfig=cluster.kubeconfig())
    answer = answered(done)
    [path] = answer["paths"]
    seen = path["observed"]
    assert (seen["sent"], seen["answered"], seen["agrees"], path["basis"]) == (7, 7, True, "observed")
    assert seen["who"].keys() == {"web-1", "web-2"} and sum(seen["who"].values()) == 7
    assert [o["observed"]["tunnel"] for o in path["outcomes"]] == ["answered"] * 2
    assert cluster.applications[BALANCER].accepted == 3 + 7, "three to see whether it is silent"
    assert {cluster.applications[ip].accepted for ip in PODS} == {3 + 3}, "directly and through the tunnel"
    assert (answer["verdict"], answer["findings"], done.returncode) == ("healthy", [], 0)


def test_a_load_balancer_that_leads_nowhere(run, cluster):
    cluster.stop(BALANCER)
    done = run(*PROBE, kubeconfig=cluster.kubeconfig())
    text = " ".join(done.stdout.split())
    assert done.returncode == 1
    assert "OBS001 error: What was observed is not what was predicted" in text
    assert f"loadBalancer {BALANCER}:{cluster.port}: all 20 requests did not arrive (20 refused)" in text
    assert f"from here the pods answer at their own addresses: {PODS[0]}:{cluster.port}" in text
    assert "observed: 20 requests from here, 0 answered; otherwise than predicted on 1 of 1 way" in text
    assert "basis: observed traffic" in text


def test_an_endpoint_that_refuses_has_a_cause_although_nobody_may_be_asked(run, cluster):
    cluster.stop(PODS[0])
    cluster.stop(BALANCER)
    done = run(*PROBE, "-o", "json", kubeconfig=cluster.kubeconfig())
    answer = answered(done)
    assert "NOD011" in [f["code"] for f in answer["findings"]]
    [unread] = [u for u in answer["unknowns"] if u["fact"].startswith("sockets")]
    assert unread["fact"] == "sockets of pods web-1" and unread["grant"] == "add --yes"


def test_who_may_not_forward_is_told_what_to_grant(run, cluster):
    done = run(*PROBE, "-o", "json", kubeconfig=cluster.kubeconfig("bob"))
    answer = answered(done)
    assert (answer["verdict"], done.returncode) == ("healthy", 0), "the other probes tell enough"
    [unknown] = [u for u in answer["unknowns"] if u["fact"] == "tunnels into pods"]
    assert "kubectl create role portforward" in unknown["grant"] and not unknown["required"]
    assert {o["observed"]["tunnel"] for o in answer["paths"][0]["outcomes"]} == {None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trace", "svc/web", "--count", "3"], "--count is for requests that are sent: add --probe"),
        (["trace", "svc/web", "--payload-size", "3"], "--payload-size is for requests"),
        ([*PROBE, "--count", "0"], "--count 0: say 1 to 1000"),
        ([*PROBE, "--count", "1001"], "--count 1001"),
        ([*PROBE, "--payload-size", "0"], "--payload-size 0: say 1 to 1048576 bytes"),
        ([*PROBE, "--snapshot", "fixtures/nodeport"], "leave --snapshot out"),
        ([*PROBE, "-f", "x.yaml"], "leave -f out"),
        (["trace", "--probe", "--batch", "-"], "leave --batch out"),
        ([*PROBE, "--from", "node"], "--probe --from node: which one? Say node/NAME"),
        ([*PROBE, "--from", "pod/web-1"], "Nobody can be asked without a terminal: add --yes"),
        ([*PROBE, "--from", "node/n1"], "Make a pod in namespace kube-system on node n1"),
        (
            [*PROBE, "--from", "node/n1", "--probe-namespace", "mine"],
            "Make a pod in namespace mine on node n1",
        ),
        ([*PROBE, "--from", "pod/none"], "no such pod"),
    ],
)
def test_mistakes_are_one_line(run, cluster, words, said):
    done = run(*words, kubeconfig=cluster.kubeconfig())
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr and len(done.stderr.splitlines()) == 1
    assert {a.accepted for a in cluster.applications.values()} == {0}


@pytest.mark.parametrize("name", ["web", "http"])
def test_a_guess_that_is_wrong_is_mended_and_what_is_said_is_held_to(run, tmp_path, name):
    """The applications speak TLS. The container's port is called http; of the Service's only http says so."""
    (tmp_path / "tls").mkdir()
    certificate = Authority(tmp_path / "tls").issue_server(["web.default.svc"])
    other = Cluster(tmp_path, name, certificate)
    other.start()
    try:
        answer = answered(run(*PROBE, "--count", "4", "-o", "json", kubeconfig=other.kubeconfig()))
    finally:
        other.close()
    seen = answer["paths"][0]["observed"]
    assert (seen["arrived"], seen["agrees"], seen["kind"]) == (4, True, "http")
    assert seen["answered"] == (4 if name == "web" else 0)
    assert [f["code"] for f in answer["findings"]] == ([] if name == "web" else ["EXT010"])
    assert [u["fact"] for u in answer["unknowns"]] == ["nodes/*/rules"]


def test_tables_have_columns_for_what_was_observed(run, cluster):
    done = run(*PROBE, "-o", "markdown", kubeconfig=cluster.kubeconfig())
    head = next(line for line in done.stdout.splitlines() if line.startswith("| CLIENT"))
    assert [c.strip() for c in head.strip("|").split("|")][-4:] == ["ANSWERED", "P50", "P99", "SEEN"]
    assert re.search(r"\| 20/20 +\| [\d.]+m?s +\| [\d.]+m?s +\| 50% ", done.stdout)


def test_an_interruption_ends_it(cluster, tmp_path):
    """Ctrl-C while requests wait for a server that never answers."""
    cluster.stop(BALANCER)
    with socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        silent.bind((BALANCER, cluster.port))
        silent.listen(64)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(tmp_path), "KUBECONFIG": str(cluster.kubeconfig())}
        process = subprocess.Popen(
            ["svcdoctor", *PROBE, "--count", "100"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        silent.settimeout(10)
        held = silent.accept()[0]
        process.send_signal(signal.SIGINT)
        start = time.monotonic()
        out, err = process.communicate(timeout=10)
        held.close()
    assert time.monotonic() - start < 5
    assert process.returncode == 130, (out, err)
    assert b"Traceback" not in err


def test_how_far_it_has_got_is_told_now_and_then(monkeypatch):
    """Not for each request, and not at all where it does not take long."""
    from svcdoctor.probe import evidence

    clock = iter([0.0, 1.9, 2.0, 2.0, 3.9, 4.1, 4.1])
    monkeypatch.setattr(evidence.time, "monotonic", lambda: next(clock))
    lines = []
    told = evidence._now_and_then(lines.append)
    for done in (10, 20, 30, 4000):
        told(done, 4000)
    assert lines == ["20 of 4,000 requests are done", "4,000 of 4,000 requests are done"]
