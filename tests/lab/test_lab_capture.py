"""``svcdoctor capture`` on a node of the lab: its joined legs are what the servers saw, and who refused is who did."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from test_lab_network import NODE, NODES, Lab, possible  # noqa: F401 (possible is a fixture)

NODE_PORT, SERVICE = 31372, "svc/bq-api-service-1"
HERE = NODES[1]  # of NODE
HERE6, CLIENT4, CLIENT6 = "fd00:192:168::44", "192.168.0.100", "fd00:192:168::100"
# Asks for pages that say which client the pod saw, each from a port of its own.
ASK = """
import json, socket, sys
for ip, port, own in json.loads(sys.argv[1]):
    try:
        s = socket.create_connection((ip, port), 3, ("", own))
        s.send(b"GET /json HTTP/1.0\\r\\n\\r\\n")
        data = b""
        while more := s.recv(9999):
            data += more
        print(data.split(b"\\r\\n\\r\\n")[1].decode().strip())
    except OSError as e:
        print(json.dumps(str(e)))
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("capture"))
    made("up", "--mode", "iptables")
    yield made
    made("down")


class Capturing:
    """A capture on a node, begun when it is entered, and what it told when it is left."""

    def __init__(self, lab, *words, service=SERVICE, where=NODE):
        self.words = [
            "svcdoctor",
            "lab",
            "shell",
            "--in",
            where,
            "--",
            "svcdoctor",
            "capture",
            service,
            *words,
        ]
        self.lab = lab

    def __enter__(self):
        self.process = subprocess.Popen(
            [*self.words, "-o", "json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.lab.env, start_new_session=True,
        )  # fmt: skip
        line = self.process.stderr.readline()
        assert line.startswith("capturing svc/"), line + self.process.stderr.read()
        return self

    def __exit__(self, *_):
        time.sleep(0.25)  # until what came last has been told
        os.killpg(self.process.pid, signal.SIGINT)
        out, err = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, err
        *self.told, self.summary = [json.loads(line) for line in out.splitlines()]
        self.connections = {}
        for t in self.told:
            if t["type"] != "notice":
                self.connections[t["connection"]] = t

    def by_source(self, source):
        """The connection that a client's address and port began."""
        [found] = [c for c in self.connections.values() if c["legs"][0]["source"] == source]
        return found


def ask(lab, *questions, where="client"):
    """For each (ip, port, own port): which pod answered and which client it saw, or the error."""
    done = lab.shell(sys.executable, "-c", ASK, json.dumps(questions), where=where)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_the_legs_are_what_the_servers_saw(lab, tmp_path):
    path = tmp_path / "a.pcapng"
    with Capturing(lab, "-w", str(path)) as capture:
        questions = [(HERE, NODE_PORT, port) for port in range(40000, 40006)]
        questions += [(HERE6, NODE_PORT, port) for port in range(40000, 40003)]
        answers = ask(lab, *questions)
        answers += ask(lab, ("10.105.158.88", 32111, 41000), where=NODE)
        answers += ask(lab, ("10.105.158.88", 32111, 42000), where="pod/client")
    sources = [f"{CLIENT4 if ip == HERE else f'[{CLIENT6}]'}:{port}" for ip, _, port in questions]
    wanted = dict(zip([*sources, "192.168.0.44:41000", "10.244.1.100:42000"], answers, strict=True))
    assert set(wanted) == {c["legs"][0]["source"] for c in capture.connections.values()}
    for source, answer in wanted.items():
        connection = capture.by_source(source)
        legs = connection["legs"]
        assert (connection["state"], connection["joinedBy"]) == ("closed", "conntrack"), connection
        assert legs[0]["role"] == ("clusterIP" if ":4000" not in source else "nodePort")
        assert legs[-1]["name"] == f"pod {answer['pod']}"
        assert legs[-1]["source"].rpartition(":")[0].strip("[]") == answer["client"]
        assert [t for leg in legs for t in leg["translations"]].count("DNAT") == 1
        masqueraded = answer["client"] not in source
        assert (
            "SNAT" in [t for leg in legs for t in leg["translations"]]
        ) is masqueraded or "41000" in source
    own = capture.by_source("192.168.0.44:41000")
    assert own["legs"][0]["interfaces"] == []  # the node's own: translated before it is sent
    assert capture.summary["dropped"] == 0
    read_again(lab, path, wanted)


def read_again(lab, path, wanted):
    """The file alone tells the same, by sequence numbers; tshark reads interfaces and comments in it."""
    for words in ([SERVICE], []):
        command = ["svcdoctor", "capture", *words, "--read", str(path), "-o", "json"]
        done = lab.shell(*command, where=NODE)
        assert done.returncode == 0, done.stderr
        *told, _ = [json.loads(line) for line in done.stdout.splitlines()]
        found = {c["legs"][0]["source"]: c for c in told}
        for source, answer in wanted.items():
            if source == "192.168.0.44:41000":
                continue  # its first leg is on no interface
            legs = found[source]["legs"]
            assert found[source]["joinedBy"] == "sequence"
            assert legs[-1]["source"].rpartition(":")[0].strip("[]") == answer["client"]
    if shutil.which("tshark"):
        fields = ["-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment"]
        done = subprocess.run(
            ["tshark", "-r", str(path), *fields], capture_output=True, text=True, check=True
        )
        rows = [line.split("\t") for line in done.stdout.splitlines()]
        assert {name for name, _ in rows} >= {"eth0", "cni0"}
        assert all(re.match(r"connection \d+, leg \d", comment) for _, comment in rows)


def test_udp_of_the_cluster_s_dns(lab):
    with Capturing(lab, "-n", "kube-system", service="svc/kube-dns") as capture:
        done = lab.shell("getent", "ahostsv4", "bq-api-service-1", where="pod/client")
    assert "10.105.158.88" in done.stdout
    found = [c for c in capture.connections.values() if c["protocol"] == "UDP"]
    assert found
    for c in found:
        assert (c["state"], c["joinedBy"]) == ("open", "conntrack")
        assert [(leg["role"], leg["name"]) for leg in c["legs"]] == [
            ("clusterIP", None), ("endpoint", "pod coredns-5ls2ddr-2k7wm"),
        ]  # fmt: skip
        assert c["legs"][1]["translations"] == ["DNAT"]
        assert all(leg["packets"] == leg["packetsBack"] > 0 for leg in c["legs"])


def test_a_pod_that_refuses(lab):
    """The application listens on 127.0.0.1: RSTs come in from the pods, and are the pods'."""
    lab("break", "NOD010")
    try:
        with Capturing(lab) as capture:
            answers = ask(lab, *((HERE, NODE_PORT, port) for port in range(40100, 40112)))
    finally:
        lab("fix")
    refused = [c for c in capture.connections.values() if c["state"] == "refused"]
    assert len(refused) == sum("refused" in str(a) for a in answers) > 0
    for c in refused:
        [notice] = c["notices"]
        assert (notice["what"], notice["way"], notice["name"]) == ("reset", "in", c["legs"][-1]["name"])
        assert notice["from"] == c["legs"][-1]["destination"].rpartition(":")[0]
        assert notice["interface"] in c["legs"][-1]["interfaces"]


def test_a_node_that_refuses(lab):
    """No endpoint is ready: the node itself answers with ICMP errors."""
    lab("break", "OBJ006")
    try:
        with Capturing(lab) as capture:
            answers = ask(lab, (HERE, NODE_PORT, 40200), (HERE6, NODE_PORT, 40200))
    finally:
        lab("fix")
    assert all("refused" in a for a in answers)
    for source, ip in ((f"{CLIENT4}:40200", HERE), (f"[{CLIENT6}]:40200", HERE6)):
        connection = capture.by_source(source)
        [notice] = connection["notices"]
        assert (connection["state"], len(connection["legs"])) == ("refused", 1)
        assert (notice["what"], notice["words"], notice["from"], notice["way"]) == (
            "icmp", "port unreachable", ip, "out",
        )  # fmt: skip
        assert notice["name"] == f"node {NODE}"


def test_an_endpoint_that_is_gone_is_shown_though_the_service_does_not_have_it(lab):
    """Rules of the node that send to a pod of the past: the filter learns its address from connection tracking."""
    lab("break", "RUL004")
    try:
        with Capturing(lab) as capture:
            ask_until_lost = (
                f"for i in $(seq 40); do curl -s -m 1.4 http://{HERE}:{NODE_PORT}/ || break; done"
            )
            lab.shell("sh", "-c", ask_until_lost)
    finally:
        lab("fix")
    gone = [c for c in capture.connections.values() if c["legs"][-1]["destination"] == "10.244.3.99:8080"]
    assert gone
    assert all(c["joinedBy"] == "conntrack" and c["state"] in ("opening", "refused") for c in gone)
    assert any(c["legs"][-1]["packets"] for c in gone)
    assert all(c["retransmissions"]["client"] > 0 or c["notices"] for c in gone)


def test_another_node_captures_in_a_pod(lab, tmp_path):
    """What it shows is what a capture on the node shows, and nothing is left of the pod."""
    written = tmp_path / "there.pcapng"
    words = ["svcdoctor", "capture", SERVICE, "--node", NODE, "--capture-image", "tools", "--yes"]
    with ThreadPoolExecutor() as threads:
        capturing = threads.submit(lab.shell, *words, "--seconds", "4", "-o", "json", "-w", str(written))
        while not capturing.done():
            assert lab.shell("curl", "-sS", "-o", "/dev/null", f"http://{HERE}:{NODE_PORT}/").returncode == 0
    done = capturing.result()
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in done.stdout.splitlines()]
    connections = [event for event in told if "legs" in event]
    whole = [c for c in connections if len(c["legs"]) > 1]
    assert whole, told
    text = json.dumps(whole)
    assert f"{HERE}" in text and str(NODE_PORT) in text
    assert written.read_bytes()[:4] == bytes.fromhex("0a0d0d0a")
    pods = lab.shell("kubectl", "-n", "kube-system", "get", "pods", "-o", "name").stdout
    assert "svcdoctor-capture" not in pods


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--capture-image", "i"], 2, "Make a pod in namespace kube-system on node"),
        (["--capture-image", "i", "--yes", "--seconds", "61"], 2, "lasts up to 60 s"),
        (["--capture-image", "i", "--yes", "--node", "none"], 2, "--node none: no such node"),
        (["--capture-image", "i", "--read", "x.pcap"], 2, "leave --read and --snapshot out"),
    ],
)
def test_a_pod_that_is_not_made(lab, words, code, says):
    done = lab.shell("svcdoctor", "capture", SERVICE, *words)
    assert done.returncode == code
    assert says in done.stderr and done.stderr.count("\n") <= 3
