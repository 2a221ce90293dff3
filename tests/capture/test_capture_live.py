"""``svcdoctor capture`` on a node: a namespace with an address of the cluster's, and a client behind a veth pair."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from capture_frames import MACS, needs, pcap, read, tcp
from capture_spaces import BIN, python, spaces  # noqa: F401 (a fixture)
from scapy.layers.l2 import Dot1Q, Ether

PORTS = [("http", 80, 8080, 30080, "TCP"), ("dns", 53, 5353, 30053, "UDP")]
WORLD = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        *(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name},
             "status": {"addresses": [{"type": "InternalIP", "address": ip} for ip in ips]}}
            for name, ips in (("node1", ("10.9.0.2", "fd00:9::2")), ("node2", ("10.9.0.3",)))
        ),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "default"},
         "spec": {
             "type": "NodePort", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "selector": {"app": "web"},
             "ports": [
                 {"name": name, "port": port, "targetPort": target, "nodePort": node, "protocol": protocol}
                 for name, port, target, node, protocol in PORTS
             ],
         }},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "elsewhere", "namespace": "default"},
         "spec": {"type": "ExternalName", "externalName": "example.com"}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
         "endpoints": [
             {"addresses": ["10.9.0.2"], "conditions": {"ready": True}, "nodeName": "node1",
              "targetRef": {"kind": "Pod", "name": "web-1", "namespace": "default"}},
         ],
         "ports": [{"name": name, "port": port, "protocol": protocol} for name, _, port, _, protocol in PORTS]},
    ],
}  # fmt: skip
ASK = """
import socket, sys
for _ in range(int(sys.argv[3])):
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
    s.send(b"hello")
    while s.recv(100):
        pass
    s.close()
"""
SERVE = """
import socket, threading
s = socket.create_server(("::", 30080), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    c.recv(100); c.send(b"answer"); c.close()
"""
FLOOD = """
import socket
s = socket.socket(type=socket.SOCK_DGRAM)
for i in range(60000):
    s.sendto(bytes(1000), ("10.9.0.2", 30053))
"""


class Node:
    """The node, with a server behind port 30080."""

    def __init__(self, spaces, folder):  # noqa: F811
        self.spaces = spaces
        self.folder = folder
        self.world = folder / "world.json"
        self.world.write_text(json.dumps(WORLD))
        self.env = {k: v for k, v in os.environ.items() if k not in ("KUBECONFIG", "NO_COLOR")}
        self.env |= {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder)}
        self.started = []
        self.serving = self.start("node", sys.executable, "-c", SERVE)
        assert self.serving.stdout.readline() == "ready\n"

    def start(self, space, *words, **options):
        process = subprocess.Popen(
            self.spaces.command(space, words),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, **options,
        )  # fmt: skip
        self.started.append(process)
        return process

    def command(self, *words):
        return ["svcdoctor", "capture", *words, "--snapshot", str(self.world)]

    def capture(self, *words, before=(), target="svc/web", **options):
        """Start a capture; it says so when it sees packets."""
        process = self.start("node", *before, *self.command(target, *words), **options)
        line = process.stderr.readline()
        assert line.startswith("capturing svc/web"), line + process.stderr.read()
        return process

    def wait(self):
        """Until a packet socket of the node receives frames of every type."""
        until = time.monotonic() + 10
        while time.monotonic() < until:
            lines = self.spaces.run("node", "cat", "/proc/net/packet").splitlines()[1:]
            if any(line.split()[3] == "0003" and line.split()[5] == "1" for line in lines):
                return
            time.sleep(0.02)
        raise AssertionError("nothing sniffs")

    def run(self, *words, space="node", **options):
        options = {"capture_output": True, "text": True, "timeout": 30, "check": False} | options
        return subprocess.run(self.spaces.command(space, words), env=self.env, **options)

    def ask(self, times=1, ip="10.9.0.2", port=30080):
        self.spaces.run("client", sys.executable, "-c", ASK, ip, str(port), str(times))


@pytest.fixture
def node(spaces, tmp_path):  # noqa: F811
    made = Node(spaces, tmp_path)
    yield made
    for process in made.started:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def ended(process, seconds=15):
    out, err = process.communicate(timeout=seconds)
    assert "Traceback" not in err
    return out, err, process.returncode


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_connections_are_told_as_json(node):
    capture = node.capture("-o", "json")
    for ip in ("10.9.0.2", "fd00:9::2"):
        node.ask(1, ip)
    time.sleep(0.4)
    capture.send_signal(signal.SIGINT)
    out, _, code = ended(capture)
    assert code == 0
    *told, summary = events(out)
    assert [t["type"] for t in told] == ["connection"] * 2
    for t in told:
        assert (t["state"], t["protocol"], t["whole"], t["notices"]) == ("closed", "TCP", True, [])
        assert t["legs"][0]["role"] == "nodePort" and t["legs"][0]["name"] == "node node1"
        assert t["legs"][0]["interfaces"] == ["eth0"]
        assert t["retransmissions"] == {"client": 0, "server": 0}
    counts = sum(leg["packets"] + leg["packetsBack"] for t in told for leg in t["legs"])
    assert (summary["type"], summary["connections"], summary["packets"]) == ("summary", 2, counts)
    assert (summary["dropped"], summary["endedBy"], summary["interfaces"]) == (0, "Ctrl-C", ["eth0"])


def test_the_written_file_holds_every_packet(node, tmp_path):
    needs("tshark")
    path = tmp_path / "a.pcapng"
    capture = node.capture("-w", str(path), "--seconds", "1")
    node.ask(20)
    out, _, code = ended(capture)
    assert code == 0 and "20 connections" in out and "no packet was dropped" in out
    done = subprocess.run(
        ["tshark", "-r", str(path), "-T", "fields", "-e", "frame.interface_name", "-e", "tcp.stream", "-e",
         "frame.comment"], capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {name for name, _, _ in rows} == {"eth0"}
    # tshark counts streams from 0, as we count connections from 1.
    assert all(comment.startswith(f"connection {int(stream) + 1}, leg 1, ") for _, stream, comment in rows)
    assert f"{len(rows)} packets written to {path}" in out
    assert path.stat().st_mode & 0o077 == 0


def test_it_ends_at_its_limit(node):
    capture = node.capture("--count", "7", "-o", "json")
    with contextlib.suppress(Exception):
        node.ask(5)
    out, _, code = ended(capture)
    summary = events(out)[-1]
    assert (code, summary["endedBy"], summary["packets"]) == (0, "7 packets", 7)


@pytest.mark.parametrize(
    "number, busy",
    [(signal.SIGINT, True), (signal.SIGTERM, False)],
)
def test_a_signal_ends_it_in_good_order(node, tmp_path, number, busy):
    path = tmp_path / "a.pcapng"
    capture = node.capture("-w", str(path), "--count", "10000000")
    if busy:
        asking = node.start("client", sys.executable, "-c", ASK, "10.9.0.2", "30080", "100000")
        time.sleep(0.5)
    capture.send_signal(number)
    out, err, code = ended(capture)
    if busy:
        asking.kill()
    assert code == 0 and "ended by " + ("Ctrl-C" if number == signal.SIGINT else number.name) in out, err
    found, taken = read(path.read_bytes())
    assert taken.cut == "" and bool(found) is busy


def test_ctrl_c_while_it_starts(node, tmp_path):
    path = tmp_path / "a.pcapng"
    process = node.start("node", *node.command("svc/web", "-w", str(path)))
    assert process.stderr.readline().startswith("capturing")
    process.send_signal(signal.SIGINT)
    _, _, code = ended(process)
    assert code in (0, 130)
    if path.exists():
        assert read(path.read_bytes())[1].cut == ""


def test_an_interface_that_comes_and_goes(node, tmp_path):
    """Its packets are taken, its name is remembered, the capture goes on."""
    path = tmp_path / "a.pcapng"
    capture = node.capture("-w", str(path), "-o", "json")
    node.spaces.batch(
        "client",
        f"link add late0 type veth peer name late1 netns {node.spaces.pid('node')}",
        "link set late0 up",
        "addr add 10.9.8.1/24 dev late0",
    )
    node.spaces.batch("node", "link set late1 up", "addr add 10.9.8.2/24 dev late1")
    node.spaces.batch("client", "route add 10.96.0.1/32 via 10.9.8.2")
    # Nobody has the cluster IP: the node answers for it with a reset.
    node.spaces.batch("node", "addr add 10.96.0.1/32 dev late1")
    refused = node.run(sys.executable, "-c", ASK, "10.96.0.1", "80", "1", space="client")
    assert "refused" in refused.stderr
    time.sleep(0.2)
    node.spaces.batch("node", "link del late1")
    node.ask()
    time.sleep(0.4)
    capture.send_signal(signal.SIGINT)
    out, _, code = ended(capture)
    assert code == 0
    *told, summary = events(out)
    [lost] = [t for t in told if t["state"] == "refused"]
    assert lost["legs"][0]["interfaces"] == ["late1"]
    [reset] = lost["notices"]
    assert (reset["what"], reset["from"], reset["interface"], reset["way"]) == (
        "reset",
        "10.96.0.1",
        "late1",
        "out",
    )
    assert summary["interfaces"] == ["late1", "eth0"]
    assert list(read(path.read_bytes())[1].interfaces.values()) == ["late1", "eth0"]


TUNNEL = """
import fcntl, os, struct, sys, time
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
os.system("ip link set tun0 up; ip addr add 10.9.7.1/24 dev tun0")
os.write(fd, bytes.fromhex(sys.argv[1]))
os.read(fd, 2000)
time.sleep(0.2)
"""
SEND = "import socket, sys; s = socket.socket(17, 3); s.bind(('eth0', 0)); s.send(bytes.fromhex(sys.argv[1]))"


def test_vlan_tags_and_interfaces_without_ethernet(node, tmp_path):
    """The kernel takes tags out of frames, and tunnels have no link layer; files hold what was on the wire."""
    path = tmp_path / "a.pcapng"
    capture = node.capture("-w", str(path), "-o", "json")
    raw = bytes(tcp("10.9.7.9", "10.9.0.2", "S", 5, dport=30080, chksum=None))
    node.spaces.run("node", sys.executable, "-c", TUNNEL, raw.hex())
    tagged = bytes(Ether(**MACS) / Dot1Q(vlan=5) / tcp("10.9.0.1", "10.9.0.2", "S", 5, dport=30080))
    node.spaces.run("client", sys.executable, "-c", SEND, tagged.hex())
    time.sleep(0.3)
    capture.send_signal(signal.SIGINT)
    out, _, _ = ended(capture)
    found = {t["legs"][0]["source"]: t for t in events(out)[:-1]}
    assert found["10.9.7.9:40000"]["legs"][0]["interfaces"] == ["tun0"]
    assert found["10.9.7.9:40000"]["state"] == "open"  # the server's answer left by the tunnel
    assert found["10.9.0.1:40000"]["legs"][0]["interfaces"] == ["eth0"]
    frames, taken = read(path.read_bytes())
    of_tunnel = [f for f in frames if taken.interfaces[f[3]] == "tun0"]
    assert of_tunnel[0][0] == raw and {f[5] for f in of_tunnel} == {101}
    assert tagged in [f[0] for f in frames]


def test_what_the_kernel_had_no_room_for_is_counted_and_said(node, tmp_path):
    """The capture is stopped while more comes than the ring holds."""
    path = tmp_path / "a.pcapng"
    capture = node.capture("-w", str(path), "-o", "json")
    capture.send_signal(signal.SIGSTOP)
    node.spaces.run("client", sys.executable, "-c", FLOOD)
    capture.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    capture.send_signal(signal.SIGINT)
    out, _, code = ended(capture)
    summary = events(out)[-1]
    assert code == 0 and summary["dropped"] > 1000
    found, taken = read(path.read_bytes())
    assert taken.dropped == summary["dropped"]
    # Each datagram comes in and is answered by an ICMP error, as far as the kernel's limit for these goes.
    assert 60000 <= len(found) + taken.dropped <= 120000
    assert len(found) == summary["packets"]


def test_to_standard_output_for_tshark(node):
    needs("tshark")
    words = [*node.command("svc/web", "--count", "10", "-w", "-")]
    capture = node.start(
        "node", "bash", "-c", f"{' '.join(words)} | tshark -r - -T fields -e frame.interface_name"
    )
    node.wait()
    node.ask(3)
    out, err, _ = ended(capture)
    assert out.split() == ["eth0"] * 10
    assert "10 packets written to standard output" in err


def test_a_reader_that_goes_away(node, tmp_path):
    words = node.command("svc/web", "-o", "json", "-w", str(tmp_path / "a.pcapng"))
    capture = node.start("node", "bash", "-c", f"set -o pipefail; {' '.join(words)} | head -n 1")
    node.wait()
    for _ in range(3):
        node.ask()
        time.sleep(0.25)
    out, _, code = ended(capture)
    assert len(out.splitlines()) == 1 and code == 0
    assert read((tmp_path / "a.pcapng").read_bytes())[1].cut == ""


# --- what a user may do wrong


def test_without_the_right_to_raw_sockets(node, tmp_path):
    needs("setpriv")
    path = tmp_path / "kept.pcapng"
    path.write_bytes(b"an older capture")
    done = node.run("setpriv", "--bounding-set=-net_raw", *node.command("svc/web", "-w", str(path)))
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith(
        "svcdoctor: error: raw sockets are not permitted here: run it with sudo"
    )
    assert "sudo setcap cap_net_raw,cap_net_admin+ep" in done.stderr and "Traceback" not in done.stderr
    assert path.read_bytes() == b"an older capture"


def test_without_the_right_to_connection_tracking(node):
    """Legs are then joined by what packets hold, and the summary says so."""
    needs("setpriv")
    capture = node.capture("--seconds", "1", before=("setpriv", "--bounding-set=-net_admin"))
    node.ask()
    out, _, code = ended(capture)
    assert code == 0 and "1 connection," in out
    assert "connection tracking did not help to join legs: it takes the capability NET_ADMIN" in out


MANY = """
import contextlib, io, json, os, sys
import svcdoctor.cli.capture, svcdoctor.probe.sniffing.target, svcdoctor.sources.archive  # once for all
answers = []
for words in json.loads(sys.stdin.read()):
    r, w = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(w, 1), os.dup2(w, 2)
        sys.argv = words
        from svcdoctor.cli.main import main
        main()
    os.close(w)
    said = open(r).read()
    answers.append([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said])
print(json.dumps(answers))
"""
MISTAKES = [
    (["svc/web", "--node", "node2"], 2, "this is node1: run it on the node, as ssh node2 sudo"),
    (["svc/web", "--node", "node9"], 2, "--node node9: no such node (there are node1, node2)"),
    (["svc/nobody"], 1, "no Service nobody in namespace default"),
    (["svc/elsewhere"], 2, "svc/elsewhere has no address and port whose packets could be captured"),
    (["pod/web-1:80"], 2, "pod/web-1:80 is no Service"),
    ([], 2, "name the Service"),
    (["svc/web", "--read", "x", "--node", "node1"], 2, "--node is for a capture on this node"),
    (["svc/web", "--read", "/nowhere"], 2, "/nowhere cannot be read: No such file or directory"),
    (["svc/web", "--read", "/"], 2, "/ is a folder"),
    (["svc/web", "-w", "/dev/full"], 2, "/dev/full cannot be written: No space left on device"),
    (["svc/web", "-w", "/nowhere/x"], 2, "/nowhere/x cannot be written: No such file or directory"),
]


def test_mistakes_are_one_line(node):
    commands = [node.command(*words) for words, _, _ in MISTAKES]
    answers = python(node.spaces, "node", MANY, stdin=json.dumps(commands))
    elsewhere = python(node.spaces, "client", MANY, stdin=json.dumps([node.command("svc/web")]))
    wanted = [
        *MISTAKES,
        ([], 2, "this machine is none of the cluster's nodes: run it on the node, as ssh node1 sudo"),
    ]
    for (words, code, said), (ended_with, printed) in zip(wanted, answers + elsewhere, strict=True):
        lines = [line for line in printed.splitlines() if not line.startswith("capturing svc/web of")]
        assert (ended_with, len(lines)) == (code, 1), (words, printed)
        assert lines[0].startswith(f"svcdoctor: error: {said}"), (words, printed)


def test_what_tcpdump_captured_elsewhere_is_read_from_a_pipe(node):
    """The way that the error message shows for a node without svcdoctor."""
    needs("tcpdump")
    said = node.run(*node.command("svc/web"), space="client").stderr
    words = said.split('ssh node1 "sudo ')[1].split('"')[0]
    assert words.startswith("tcpdump -i any -U -w - 'tcp port 80 or tcp port 30080 or ")
    reader = " ".join(node.command("svc/web", "--read", "-", "-o", "json"))
    both = node.start("node", "bash", "-c", f"timeout -s INT 2 {words} | {reader}")
    node.wait()
    node.ask(2)
    line = json.loads(both.stdout.readline())  # while tcpdump still runs
    assert (line["type"], line["state"], line["legs"][0]["role"]) == ("connection", "closed", "nodePort")
    out, _, _ = ended(both)
    assert events(out)[-1]["connections"] == 2


def test_ctrl_c_while_a_pipe_says_nothing(node):
    process = node.start("node", *node.command("svc/web", "--read", "-"), stdin=subprocess.PIPE)
    frame = bytes(Ether(**MACS) / tcp("10.9.0.1", "10.9.0.2", "S", 5, dport=30080))
    os.write(process.stdin.fileno(), pcap([frame]))
    assert "no answer" in process.stdout.readline()  # what has come is told while the pipe is open
    process.send_signal(signal.SIGINT)
    out, _, code = ended(process)
    assert code == 0 and "ended by Ctrl-C" in out


def test_a_cut_file_is_shown_as_far_as_it_is_whole(node, tmp_path):
    data = pcap([bytes(Ether(**MACS) / tcp("10.9.0.1", "10.9.0.2", "S", 5, dport=30080))] * 3)
    path = tmp_path / "cut.pcap"
    path.write_bytes(data[:-20])
    done = node.run(*node.command("svc/web", "--read", str(path)))
    assert done.returncode == 2
    assert "1 connection, 2 packets" in done.stdout
    assert done.stderr == f"svcdoctor: error: {path} is cut at byte 164: its last packet is not whole\n"
    same = node.run(*node.command("svc/web", "--read", str(path), "-w", str(path)))
    assert "name the same file" in same.stderr and path.stat().st_size == len(data) - 20
