"""`forward` on a node of the real lab: without its API server, by the node's own files, namespaces and rules."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from test_lab_network import BIN, NODE, PODS, Lab, possible, who  # noqa: F401 (possible is a fixture)

from svcdoctor.lab.net.world import PODS as WORLD

APP = "bq-api-service-deploy-sample-f448cf6ff"
HERE, ELSEWHERE = f"pod/{APP}-tkxck", f"pod/{APP}-vvkt9"
SERVICE = "svc/bq-api-service-1"
ASK = "for i in 1 2 3 4 5 6; do curl -s -m 4 http://$SVCDOCTOR_ADDRESS/; done"
DATAGRAM = (
    "import os, socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(4); "
    "s.connect(('127.0.0.1', int(os.environ['SVCDOCTOR_PORT']))); s.send(b'x'); print(s.recv(99).decode())"
)
RESOLVE = (
    "import os, socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(4); "
    "s.connect(('127.0.0.1', int(os.environ['SVCDOCTOR_PORT']))); "
    "s.send(bytes.fromhex('00070100000100000000000003646e7300') + b'\\0\\1\\0\\1'); print(s.recv(512)[:2])"
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("lab"))
    made("up")
    yield made
    made("down")


@pytest.fixture
def away(lab):
    """The API server is stopped."""
    lab("break", "api")
    yield lab
    lab("fix")


def forward(lab, *words, command=("sh", "-c", ASK), where=NODE, before=()):
    return lab.shell(*before, "svcdoctor", "forward", *words, "--", *command, where=where)


def asked(done):
    """Which pods answered, and from where each saw the client."""
    assert done.returncode == 0, done.stdout + done.stderr
    return {m[1]: m[2] for m in re.finditer(r"^\S+-(\w+) on \S+ saw (\S+)$", done.stdout, re.M)}


def test_each_node_has_its_own_pods_files(lab):
    before = sorted(Path("/var/log").iterdir())
    for node in ("k8s-node0", "k8s-node1", "k8s-node3"):
        names = {"_".join(p.key.split("/")) for p in WORLD if p.node == node}
        names.add(f"kube-system_kube-proxy-{node}")
        listed = lab.shell("ls", "/var/log/pods", where=node).stdout.split()
        assert {name.rpartition("_")[0] for name in listed} == names
        cgroups = lab.shell("sh", "-c", "cat /proc/[0-9]*/cgroup", where=node).stdout
        for name in listed:
            uid = name.rpartition("_")[2].replace("-", "_")
            assert len(re.findall(rf"^0::/kubepods.slice/.*-pod{uid}\.slice/", cgroups, re.M)) == 1
    assert "lab-logs" not in Path("/proc/self/mountinfo").read_text()
    assert sorted(Path("/var/log").iterdir()) == before  # the machine's own is as it was


def test_an_application_on_its_own_localhost_without_the_control_plane(lab):
    lab("break", "NOD010")
    lab("break", "api")
    try:
        assert lab.shell("kubectl", "get", "pods", where=NODE).returncode
        assert lab.get("http://10.244.1.45:8080/") == 7  # nothing but its own localhost leads there
        done = forward(lab, "--dial", "netns", HERE, "0:8080")
        assert asked(done) == {"tkxck": "127.0.0.1"}
        assert "found in the files of this node; the API server cannot be asked: " in done.stderr
        # A Service's other endpoints are refused, and their clients come to the one that can be had.
        done = forward(lab, "--dial", "netns", SERVICE, "0:32111")
        assert asked(done) == {"tkxck": "127.0.0.1"} and done.stdout.count(" saw ") == 6
    finally:
        assert set(lab("fix").stdout.split()) == {"fixed:", "NOD010,", "API"}


@pytest.mark.parametrize("words", [["0:8080-port"], ["32111", "--dial", "netns"]])
def test_a_service_s_endpoints_come_from_the_node_s_rules(away, words):
    done = forward(away, SERVICE, *words)
    assert asked(done) == {"tkxck": "127.0.0.1", "c8zlp": "192.168.0.44", "vvkt9": "192.168.0.44"}
    assert (
        "found in the rules of this node: 3 endpoints, 1 on this node; the API server cannot" in done.stderr
    )
    assert "Reaching pods in their network namespaces on this node, elsewhere by their" in done.stderr
    assert "-> 8080" in done.stdout and ("127.0.0.1:32111" in done.stdout) == (words[0] == "32111")


def test_without_any_kubeconfig(away):
    bare = ("env", "-u", "KUBECONFIG", "HOME=/nonexistent")
    done = forward(away, HERE, "0:8080", before=bare)
    assert asked(done) == {"tkxck": "127.0.0.1"}
    assert "the API server cannot be asked: no kubeconfig found" in done.stderr
    named = forward(away, HERE, "0:8080", "--kubeconfig", "/nonexistent", before=bare)
    assert named.returncode == 2 and "/nonexistent" in named.stderr


def test_other_namespaces_host_network_and_udp(away):
    done = forward(
        away, "-n", "kube-system", "svc/kube-dns", "0:dns/udp", command=[sys.executable, "-c", RESOLVE]
    )
    assert "b'\\x00\\x07'" in done.stdout, done.stderr
    page = ("sh", "-c", "curl -s http://$SVCDOCTOR_ADDRESS/proxyMode")
    done = forward(away, "-n", "kube-system", f"pod/kube-proxy-{NODE}", "0:10249", command=page)
    assert done.stdout.endswith("iptables"), done.stderr
    done = forward(away, HERE, "0:5353/udp", command=[sys.executable, "-c", DATAGRAM])
    assert f"{APP}-tkxck on {NODE} saw 10.244.1.45" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([ELSEWHERE, "8080"], 3, "/var/log/pods has nothing of it; run svcdoctor on the pod's node (the API"),
        ([HERE, "8080", "--dial", "tunnel"], 3, "refused the connection: nothing listens there"),
    ],
)
def test_what_a_node_cannot_know(away, words, code, said):
    done = forward(away, *words, command=("true",))
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_ways_carry_with_the_api_server(lab):
    done = forward(lab, "--dial", "direct", HERE, "0:5353/udp", command=[sys.executable, "-c", DATAGRAM])
    assert f"-tkxck on {NODE} saw 10.244.1.1\n" in done.stdout, done.stderr
    done = forward(lab, "--dial", "tunnel", HERE, "0:5353/udp")
    assert done.returncode == 2
    assert "carries TCP only; use --dial netns on the pod's node (as root), or --dial direct" in done.stderr
    done = forward(lab, "--dial", "netns", ELSEWHERE, "0:8080")
    assert done.returncode == 3 and "runs on node k8s-node3, and /var/log/pods here" in done.stderr


class Running:
    """A forward that goes on, and its lines."""

    def __init__(self, lab, *words):
        self.lines = []
        self.process = subprocess.Popen(
            ["svcdoctor", "lab", "shell", "--in", NODE, "--", "svcdoctor", "forward", *words],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=lab.env, start_new_session=True,
        )  # fmt: skip
        self.thread = threading.Thread(target=lambda: self.lines.extend(iter(self._line, "")))
        self.thread.start()

    def _line(self):
        return self.process.stdout.readline()

    def said(self, what, seconds=20):
        until = time.monotonic() + seconds
        while not any(what in line for line in list(self.lines)):
            assert time.monotonic() < until and self.process.poll() is None, self.lines
            time.sleep(0.02)

    def close(self):
        os.killpg(self.process.pid, signal.SIGINT)
        assert self.process.wait(10) in (0, 130)
        self.thread.join()
        self.process.stdout.close()


def test_the_api_server_comes_back_and_goes_again(away):
    lab = away
    running = Running(lab, SERVICE, "18080:32111")
    try:
        running.said("found in the rules of this node: 3 endpoints")
        running.said("Forwarding from [::1]:18080")

        def answers():
            once = "curl -s -m 4 http://127.0.0.1:18080/"
            done = lab.shell("sh", "-c", f"for i in 1 2 3 4 5 6; do {once}; done", where=NODE)
            return [who(line) for line in done.stdout.splitlines()]

        assert set(answers()) == PODS and len(answers()) == 6
        lab("fix")
        running.said("the API server answers again")
        # From now on the API tells: a pod that is not ready gets nothing any more.
        lab("break", "OBJ009")
        running.said("no pod is ready")
        lab("fix")
        deadline = time.monotonic() + 10
        while set(answers()) != PODS:
            assert time.monotonic() < deadline
        lab("break", "api")
        assert set(answers()) == PODS and len(answers()) == 6
        assert running.process.poll() is None
    finally:
        running.close()


def test_without_root_in_nftables_mode(tmp_path):
    script = (
        f"svcdoctor lab up --mode nftables && svcdoctor lab break api && svcdoctor lab shell --in {NODE} -- "
        f"svcdoctor forward {SERVICE} 0:8080-port -- sh -c '{ASK}'; svcdoctor lab down"
    )
    words = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "bash", "-c", script]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert asked(done) == {"tkxck": "127.0.0.1", "c8zlp": "192.168.0.44", "vvkt9": "192.168.0.44"}
    assert "3 endpoints, 1 on this node" in done.stderr
