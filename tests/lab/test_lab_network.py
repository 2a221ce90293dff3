"""The lab's network as a user has it: up, reached, broken, found, fixed, and gone."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import pytest
import warm

from svcdoctor.lab.net.command import entering
from svcdoctor.lab.net.faults import FAULTS
from svcdoctor.lab.net.probefaults import ONLY_BY_TRAFFIC

BIN = Path(sys.executable).parent
NODES = ("192.168.0.6", "192.168.0.44", "192.168.0.45")
V6 = "fd00:192:168::44"
NODE = "k8s-node1"
PODS = {"c8zlp", "tkxck", "vvkt9"}
# Where a fault hangs on how the rules are made it is tried in every mode, else in one.
OF_RULES = ("RUL004", "RUL006")
OBJECTS = tuple(code for code in FAULTS if code.startswith("OBJ") or code in ("RUL009", "RUL010", "NOD010"))


def unusable():
    """Why no lab can be made here, ``None`` where one can."""
    programs = (
        "unshare",
        "nsenter",
        "ip",
        "iptables-nft-restore",
        "iptables-legacy-restore",
        "nft",
        "bridge",
        "conntrack",
        "kubectl",
        "curl",
    )
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    missing = [p for p in programs if shutil.which(p, path=path) is None]
    if missing:
        return f"{', '.join(missing)} not installed"
    done = subprocess.run(["unshare", "-nm", "true"], capture_output=True, check=False)
    return None if done.returncode == 0 else f"no namespaces: {done.stderr.decode().strip()}"


@pytest.fixture(scope="module", autouse=True)
def possible():
    why = unusable()
    if why is not None:
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)


class Lab:
    """A lab of its own folder, driven by the command line."""

    def __init__(self, folder):
        self.env = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}"}
        self.env.pop("KUBECONFIG", None)
        self._asking = threading.Lock()

    def __call__(self, *words, check=True):
        done = warm.run(["svcdoctor", "lab", *words], env=self.env, timeout=120)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def entering(self, where, *words):
        """How ``lab shell`` runs a command in one of the lab's places: the words, and the environment."""
        with self._asking, mock.patch.dict(os.environ, self.env):
            command, env = entering(where, words)
        return command, {name: env[name] for name in (*self.env, "KUBECONFIG")}

    def shell(self, *words, where="client"):
        command, env = self.entering(where, *words)
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=120, check=False)

    def get(self, url, seconds="2"):
        """The page, or curl's exit code: 7 refused, 28 timed out."""
        done = self.shell("curl", "-g", "-s", "-m", seconds, url)
        return done.stdout if done.returncode == 0 else done.returncode

    def answer(self, *words):
        """A JSON answer of svcdoctor as kubectl's plugin, asked from the client."""
        done = self.shell("kubectl", "svcdoctor", *words, "-o", "json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout), done.returncode

    def codes(self, *words):
        found, code = self.answer(*words)
        return {f["code"] for f in found["findings"]}, found["verdict"], code


@pytest.fixture(scope="module", params=["iptables", "iptables-legacy", "nftables"])
def lab(request, tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("lab"))
    made("up", "--mode", request.param)
    made.mode = request.param
    yield made
    made("down")


def who(page):
    assert isinstance(page, str), page
    return page.split()[0].rpartition("-")[2]


def test_every_pod_is_reached_through_every_node(lab):
    for address in NODES:
        ask = f"for i in $(seq 30); do curl -s -m 3 http://{address}:31372/; done"
        assert {who(line) for line in lab.shell("sh", "-c", ask).stdout.splitlines()} == PODS
    assert who(lab.get(f"http://[{V6}]:31372/")) in PODS
    assert json.loads(lab.get("http://10.105.158.88:32111/json"))["client"] in (*NODES, "10.244.2.1")


def test_the_healthy_lab_has_no_findings(lab):
    assert lab.codes("trace", "svc/bq-api-service-1", "--node-facts", "exec") == (set(), "healthy", 0)
    assert lab.codes("rules", "audit", "-A", "--node-facts", "exec") == (set(), "healthy", 0)


def test_dns_and_the_api_answer_in_a_pod(lab):
    if lab.mode != "iptables":
        return  # neither hangs on the mode
    names = {
        "bq-api-service-1": "10.105.158.88",
        "kube-dns.kube-system": "10.96.0.10",
        "bq-api-service-1.default.svc.cluster.local": "10.105.158.88",
    }
    for name, address in names.items():
        assert address in lab.shell("getent", "ahostsv4", name, where="pod/client").stdout
    assert lab.shell("getent", "hosts", "nobody.default.svc.cluster.local", where="pod/client").returncode
    code = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(2); "
        "s.sendto(b'x', ('10.244.3.54', 5353)); print(s.recv(99))"
    )
    assert "vvkt9" in lab.shell(sys.executable, "-c", code, where=NODE).stdout
    assert "k8s-node3" in lab.shell("kubectl", "get", "nodes", where="pod/client").stdout


@pytest.mark.parametrize("code", [c for c in FAULTS if c not in ONLY_BY_TRAFFIC and not c.startswith("DNS")])
def test_a_fault_is_real_is_named_and_is_fixed(lab, code):
    if lab.mode not in FAULTS[code].modes:
        refused = lab("break", code, check=False)
        assert refused.returncode == 2 and "does not exist" in refused.stderr
        return
    if lab.mode != "iptables" and code not in OF_RULES:
        return  # it does not hang on how rules are made
    lab("break", code)
    try:
        words = ["trace", *ASKED.get(code, ["svc/bq-api-service-1"])]
        if code not in OBJECTS:
            words += ["--node-facts", "exec"]
            if code != "NOD008":  # it shows by the other nodes' routes
                words += ["--node", NODE]
        found, verdict, ended = lab.codes(*words)
        assert code in found, (found, verdict)
        assert verdict != "healthy"
        if code in ("RUL004", "NOD008", "NOD003", "NOD005", "RUL001", "RUL008"):
            assert found == {code}, "one root cause"
            assert ended == 1
        page = f"http://{NODES[1]}:31372/"
        if code in MEETS:
            assert any(lab.get(page, "0.5" if MEETS[code] == 28 else "5") == MEETS[code] for _ in range(4))
        elif code not in SOMETIMES:
            assert isinstance(lab.get(page, "5"), str)
    finally:
        fixed = lab("fix").stdout
    assert code in fixed
    until = time.monotonic() + 10  # an application that is started again needs its time
    while not isinstance(page := lab.get(f"http://{NODES[1]}:31372/"), str) and time.monotonic() < until:
        time.sleep(0.1)
    assert who(page) in PODS


ASKED = {"RUL013": ["svc/kube-dns", "-n", "kube-system"]}

# What a client meets at the broken node: curl's exit code.
MEETS = dict.fromkeys(("OBJ002", "OBJ006", "OBJ009", "OBJ010", "OBJ013", "NOD010"), 7)
MEETS |= dict.fromkeys(("RUL001", "RUL003", "RUL006", "RUL008", "RUL018"), 7)
MEETS |= dict.fromkeys(("RUL009", "NOD001", "NOD003", "NOD005"), 28)
SOMETIMES = ("RUL004", "NOD004", "NOD008")  # some endpoints, or where the pods' own packets are concerned


def test_a_pod_that_its_bridge_does_not_send_back(lab):
    if lab.mode != "iptables":
        return  # it hangs on the bridge
    pod = next(
        p for p in lab.shell("kubectl", "get", "pods", "-o", "name").stdout.split() if p.endswith("tkxck")
    )

    def met():
        """What the pod meets at its own Service: itself, others, or nobody (curl's exit code)."""
        once = "(page=$(curl -s -m 2 http://10.105.158.88:32111/) && echo $page || echo $?) &"
        done = lab.shell("sh", "-c", f"for i in $(seq 30); do {once} done; wait", where=pod)
        return {who(line) if " " in line else int(line) for line in done.stdout.splitlines()}

    words = ["trace", "svc/bq-api-service-1", "--from", pod, "--node-facts", "exec", "--node", NODE]
    assert met() == PODS
    assert lab.codes(*words) == (set(), "healthy", 0)
    lab("break", "RUL012")
    try:
        assert met() == {28, *PODS - {"tkxck"}}
        answer, ended = lab.answer(*words)
        assert [(f["code"], f["severity"]) for f in answer["findings"]] == [("RUL012", "error")]
        assert ended == 1
        outcomes = [o for p in answer["paths"] for o in p["outcomes"]]
        assert {o["result"] for o in outcomes if o.get("code") == "RUL012"} == {"dropped"}
        assert lab.codes("rules", "audit", "-A", "--node-facts", "exec") == ({"RUL012"}, "degraded", 0)
    finally:
        lab("fix")
    assert met() == PODS


def test_a_tracked_udp_connection_to_nobody(lab):
    """The client's questions from one port are lost, those from others are not; the finding's fix mends it."""
    if lab.mode != "nftables":
        return  # it hangs on conntrack
    code = (
        "import socket, sys; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', int(sys.argv[1]))); "
        "s.settimeout(1); s.sendto(bytes.fromhex('000101000001000000000000') + b'\\4kube\\0\\0\\1\\0\\1', "
        "('10.96.0.10', 53)); print(len(s.recv(512)))"
    )

    def answered(port):
        return lab.shell(sys.executable, "-c", code, str(port), where="pod/client").returncode == 0

    words = ["svc/kube-dns", "-n", "kube-system", "--node-facts", "exec", "--node", NODE]
    lab("break", "RUL013")
    try:
        assert (answered(5300), answered(5301)) == (False, True)
        answer, _ = lab.answer("trace", *words)
        [finding] = answer["findings"]
        assert (finding["code"], finding["severity"], answer["verdict"]) == ("RUL013", "warning", "degraded")
        command, _, where = finding["fix"].partition(" (on ")
        assert where == f"{NODE})"
        assert lab.shell(*command.split(), where=NODE).returncode == 0
        assert answered(5300)
        assert lab.codes("trace", *words) == (set(), "healthy", 0)
    finally:
        lab("fix")


def test_after_all_faults_the_lab_is_healthy(lab):
    assert lab.codes("rules", "audit", "-A", "--node-facts", "exec") == (set(), "healthy", 0)


def test_one_fault_at_a_time_and_a_list_of_all(lab):
    listed = lab("break").stdout
    assert set(re.findall(r"^([A-Z]{3}\d{3})  ", listed, re.MULTILINE)) == set(FAULTS)
    lab("break", "OBJ002")
    second = lab("break", "OBJ006", check=False)
    assert second.returncode == 2 and "lab fix first" in second.stderr
    lab("fix")
    assert lab("fix").stdout == "nothing was broken\n"
    unknown = lab("break", "XXX999", check=False)
    assert unknown.returncode == 2 and "XXX999" in unknown.stderr


def test_a_second_lab_and_an_unknown_place_are_refused(lab):
    again = lab("up", check=False)
    assert again.returncode == 2 and "up already" in again.stderr and len(again.stderr.splitlines()) == 1
    nowhere = lab("shell", "--in", "mars", "--", "true", check=False)
    assert nowhere.returncode == 2 and "no mars" in nowhere.stderr
    assert lab("shell", "--", "sh", "-c", "exit 7", check=False).returncode == 7


def namespaces():
    """Network namespaces and links that this machine's own namespace knows of, and the lab's processes."""
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    return {line.split(": ")[1] for line in links.splitlines()}


def processes(folder):
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if str(folder).encode() in words:
            found.append(path.parent.name)
    return found


@pytest.mark.parametrize("end", ["down", "crash"])
def test_nothing_is_left(tmp_path, end):
    before = namespaces()
    settings = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    lab = Lab(tmp_path)
    lab("up")
    [folder] = tmp_path.iterdir()
    first = processes(folder)
    assert len(first) == 2  # unshare and the lab's first process
    assert len(pod_servers(tmp_path)) == len(PODS)
    assert namespaces() == before
    if end == "down":
        lab("down")
    else:
        os.kill(int(max(first, key=int)), signal.SIGKILL)
    until = time.monotonic() + 5
    while processes(folder) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes(folder) == []
    assert pod_servers(tmp_path) == []
    assert namespaces() == before
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == settings
    gone = lab("down", check=False)
    assert gone.returncode == 2 and "no lab is up" in gone.stderr
    lab("up")  # what a crash left does not keep the next one from coming up
    lab("down")


def pod_servers(folder):
    """The pods' servers of the lab that has its files below a folder."""
    of_lab = b"XDG_RUNTIME_DIR=" + str(folder).encode() + b"\0"
    return [
        p.parent.name
        for p in Path("/proc").glob("[0-9]*/cmdline")
        if b"lab.net.podserver" in _read(p) and of_lab in _read(p.with_name("environ"))
    ]


def _read(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("mode", ["iptables-legacy", "nftables"])
def test_without_root(tmp_path, mode):
    script = (
        f"id -u; svcdoctor lab up --mode {mode} && svcdoctor lab shell -- curl -s -m 3 http://{NODES[1]}:31372/ && "
        "svcdoctor lab shell -- kubectl svcdoctor trace svc/bq-api-service-1 --node-facts exec -o name; "
        "svcdoctor lab down"
    )
    words = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "bash", "-c", script]
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=120, check=False)
    assert done.stdout.startswith("1000\nthe lab is up"), done.stdout + done.stderr
    assert "saw" in done.stdout and "service/bq-api-service-1" in done.stdout
    assert done.stdout.endswith("the lab is down\n")
