"""``svcdoctor dns`` as a user runs it: predicted from a snapshot, against real and lying servers, and bad input."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from answers import fits
from dns_world import COREFILE, cluster, pod, service, slice_of, written
from named_server import named_server
from typer.testing import CliRunner

from svcdoctor.cli.main import app
from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podprocess import not_executable, run_process
from svcdoctor.lab.podruntime import NotStarted, PodRuntime
from svcdoctor.lab.podsandbox import sandbox_here
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError

sys.path.insert(0, str(Path(__file__).parents[1] / "probe"))
from lying_dns import LyingServer, answered, kind_of

FROM = ("--from", "pod/shop/asking")
FULL = "web.shop.svc.cluster.local"
DATA = {"A": "10.96.7.7", "AAAA": "fd00:10:96::77"}


@pytest.fixture
def ask(tmp_path):
    """``ask(name, …, objects=…)``: the JSON answer of a snapshot, which fits the schema, and the exit code."""

    def asked(*words, objects=None):
        folder = written(tmp_path / "cluster", objects if objects is not None else cluster())
        done = called(*words, "--snapshot", str(folder), "-o", "json")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        answer = json.loads(done.stdout)
        fits(answer)
        return answer, done.exit_code

    return asked


def called(*words):
    """The command in this process: a start of its own costs more than what it does."""
    return CliRunner().invoke(app, ["dns", *words])


def codes(answer):
    return [f["code"] for f in answer["findings"]]


def listed(answer, library=0):
    return [(q["type"], q["name"]) for q in answer["resolutions"][library]["queries"]]


def met(answer):
    return [q["reply"]["met"] for q in answer["resolutions"][0]["queries"]]


# --- predicted


@pytest.mark.parametrize(
    ("name", "where", "names"),
    [
        ("web", FROM, [FULL]),
        ("web.shop", FROM, ["web.shop.shop.svc.cluster.local", FULL]),
        ("web.shop", ("-n", "bank"), ["web.shop.bank.svc.cluster.local", FULL]),
        ("web.shop.svc.cluster.local.", FROM, [FULL]),
        (
            "web.shop.svc.cluster.local", FROM,
            [f"{FULL}.shop.svc.cluster.local", f"{FULL}.svc.cluster.local", f"{FULL}.cluster.local", FULL],
        ),
        ("svc/web", ("-n", "shop"), [FULL]),
        ("WEB", FROM, [FULL]),
    ],
)  # fmt: skip
def test_the_queries_of_a_name_in_order(ask, name, where, names):
    answer, ended = ask(name, *where)
    assert (answer["verdict"], ended, answer["basis"]) == ("healthy", 0, "objects")
    assert list(dict.fromkeys(n for _, n in listed(answer))) == names
    assert listed(answer) == [(t, n) for n in names for t in ("A", "AAAA")]
    assert {q["reply"]["seconds"] for q in answer["resolutions"][0]["queries"]} == {None}
    last = answer["resolutions"][0]["queries"][-2:]
    assert [(q["type"], q["reply"]["data"]) for q in last] == [(t, [ip]) for t, ip in DATA.items()]


def test_both_libraries_are_listed(ask):
    answer, _ = ask("web", *FROM)
    assert [r["libc"] for r in answer["resolutions"]] == ["glibc", "musl"]
    assert sorted(listed(answer)) == sorted(listed(answer, 1))


def test_records_of_a_service(ask):
    answer, _ = ask("svc/web", "-n", "shop")
    assert [(q["type"], q["expected"]["data"]) for q in answer["records"]] == [
        ("A", ["10.96.7.7"]),
        ("AAAA", ["fd00:10:96::77"]),
        ("SRV", [f"0 100 80 {FULL}."]),
        ("PTR", [f"{FULL}."]),
        ("PTR", [f"{FULL}."]),
    ]


def test_other_types(ask):
    srv, ended = ask("_http._tcp.web", *FROM)
    assert (srv["resolutions"][0]["addresses"], ended) == ([f"0 100 80 {FULL}."], 0)
    for ip in ("10.96.7.7", "fd00:10:96::77", "[fd00:10:96:0::77]"):
        ptr, ended = ask(ip)
        assert (ptr["resolutions"][0]["addresses"], ended) == ([f"{FULL}."], 0)


def headless(ready=True):
    return [
        service("shop", "db", "None", selector={"app": "db"}),
        slice_of("shop", "db", ("10.244.1.1", True, "db-0"), ("10.244.1.2", ready, "db-1")),
    ]


EXTERNAL = service("shop", "mail", "", type="ExternalName", externalName="mail.example.com", selector=None)
POLICY = {
    "kind": "NetworkPolicy", "apiVersion": "networking.k8s.io/v1",
    "metadata": {"name": "closed", "namespace": "shop"},
    "spec": {"podSelector": {}, "policyTypes": ["Egress"]},
}  # fmt: skip
DNS_PORTS = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
ON_NODE = pod("shop", "host", "10.0.0.1", hostNetwork=True)
HOST, FAR = ("--from", "pod/shop/host"), ("--from", "pod/bank/far")
LOOP = COREFILE.replace("/etc/resolv.conf", "10.96.0.10")
SEARCHES = [f"t{n}.svc.cluster.local" for n in range(1, 30)]


@pytest.mark.parametrize(
    ("code", "name", "objects", "words", "severity"),
    [
        ("DNS001", "web", cluster(), ("-n", "bank"), "error"),
        ("DNS002", "www.example.org", cluster(), (), "info"),
        ("DNS003", FULL, cluster(corefile=COREFILE.replace("cluster.local", "corp.internal")), (), "error"),
        ("DNS004", "web", cluster(ON_NODE), HOST, "error"),
        ("DNS004", "web", cluster(pod("shop", "host", "10.0.0.1", dnsPolicy="Default")), HOST, "error"),
        (
            "DNS004", "web",
            cluster(pod("shop", "host", "10.0.0.1", dnsPolicy="None", dnsConfig={"nameservers": ["192.0.2.53"]})),
            HOST, "error",
        ),
        ("DNS005", "web", cluster(dns_ready=False), FROM, "error"),
        ("DNS006", "web", cluster(POLICY), FROM, "error"),
        (
            "DNS008", "web",
            cluster(pod("bank", "far", "10.0.0.1", dnsConfig={"searches": [*SEARCHES, "shop.svc.cluster.local"]})),
            FAR, "error",
        ),
        (
            "DNS008", "web.shop",
            cluster(pod("bank", "far", "10.0.0.1", dnsConfig={"nameservers": [f"192.0.2.{n}" for n in range(1, 4)]})),
            FAR, "warning",
        ),
        ("DNS009", "web", cluster(corefile=COREFILE.replace("cluster.local", "cluster.lokal")), FROM, "warning"),
        ("DNS009", "www.example.org", cluster(corefile=LOOP), (), "error"),
        ("DNS009", "web", cluster(corefile=COREFILE.rstrip("}\n")), FROM, "error"),
        ("DNS011", "db-1.db", cluster(*headless(ready=False)), FROM, "error"),
        ("DNS011", "db-7.db", cluster(*headless()), FROM, "error"),
        ("OBJ001", "nobody", cluster(), FROM, "error"),
        ("OBJ001", "wed", cluster(), FROM, "error"),
        ("OBJ001", "web.bank", cluster(), FROM, "error"),
    ],
)  # fmt: skip
def test_each_cause_is_named_alone(ask, code, name, objects, words, severity):
    answer, ended = ask(name, *words, objects=objects)
    assert codes(answer) == [code]
    finding = answer["findings"][0]
    assert finding["severity"] == severity
    assert finding["evidence"] and finding["fix"] and finding["subjects"] and finding["explanation"]
    assert ended == {"error": 1, "warning": 0, "info": 3}[severity]


@pytest.mark.parametrize(
    ("name", "objects", "words"),
    [
        ("web.shop", cluster(), ("-n", "bank")),
        (
            "web",
            cluster(pod("shop", "host", "10.0.0.1", hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")),
            HOST,
        ),
        ("db-0.db", cluster(*headless(ready=False)), FROM),
        ("db", cluster(*headless()), FROM),
        ("web", cluster(POLICY | {"spec": POLICY["spec"] | {"egress": [{"ports": DNS_PORTS}]}}), FROM),
        ("mail", cluster(EXTERNAL), FROM),
        ("10-244-0-9.shop.pod.cluster.local", cluster(), FROM),
    ],
)  # fmt: skip
def test_what_is_right_has_no_finding(ask, name, objects, words):
    answer, ended = ask(name, *words, objects=objects)
    assert (codes(answer), answer["verdict"], ended) == ([], "healthy", 0)


def test_a_headless_service_is_told_to_be_one(ask):
    answer, _ = ask("db", *FROM, objects=cluster(*headless()))
    assert any("headless" in note for note in answer["notes"])
    assert answer["resolutions"][0]["addresses"] == ["10.244.1.1", "10.244.1.2"]


def test_what_the_snapshot_lacks_is_unknown(ask):
    objects = [o for o in cluster() if o["kind"] != "ConfigMap" and o["metadata"]["name"] != "kube-dns"]
    answer, _ = ask("web", *FROM, objects=objects)
    assert any("ConfigMap" in u["fact"] for u in answer["unknowns"]) or any(
        "assumed" in n for n in answer["notes"]
    )
    assert answer["resolver"]["nameservers"] == ["cluster DNS"]


def test_the_report_is_one_screen_of_words(run, tmp_path):
    done = run("dns", "web", "-n", "bank", "--snapshot", written(tmp_path / "c", cluster()))
    assert done.stdout.startswith("✘ broken  web  for a pod of namespace bank: not found\n")
    assert "  fix:\n    use the name web.shop\n" in done.stdout
    assert "basis: predicted from the API's objects, nothing was sent" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    plain = run("dns", "web", "-n", "bank", "--snapshot", tmp_path / "c", PYTHONIOENCODING="ascii")
    assert plain.stdout.startswith("xx broken  web")
    plain.stdout.encode("ascii")


# --- bad input


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["x-.example"], "is no label"),
        (["a..b"], "a label is empty"),
        (["x" * 64], "at most 63"),
        ([".".join(["abcdefgh"] * 30)], "at most 253"),
        (["svc/"], "say a DNS name"),
        (["pod/web"], "say a DNS name"),
        (["web", "--from", "node/n1"], "say pod/[NAMESPACE/]NAME"),
        (["web", "--from", "pod/nope"], "no such pod"),
        (["svc/nope"], "no Service nope"),
        (["web", "--server", "example.org"], "say IP, IP:PORT"),
        (["web", "--server", "192.0.2.1:0"], "say IP, IP:PORT"),
        (["web", "--server", "https://192.0.2.1:6443"], "-s https"),
        (["web", "--server", "127.0.0.1", "--ask", "tunnel"], "leave --ask tunnel out"),
        (["web", "--ask", "exec"], "needs the cluster itself"),
        (["web", "--ask", "tunnel"], "needs the cluster itself"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, words, why):
    done = called(*words, "--snapshot", str(written(tmp_path / "c", cluster())))
    assert isinstance(done.exception, SvcdoctorError) and not done.stdout
    assert done.exception.exit_code in (1, 2)
    assert why in done.exception.message
    assert "\n" not in done.exception.message


def test_a_mistake_ends_the_program_with_its_code(run, tmp_path):
    folder = written(tmp_path / "c", cluster())
    done = run("dns", "a..b", "--snapshot", folder)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith("svcdoctor: error: DNS name 'a..b': ")
    assert run("dns", "web", "-n", "bank", "--snapshot", folder).returncode == 1


def test_names_in_other_scripts(ask):
    answer, _ = ask("b\u00fccher.example", objects=cluster())
    assert ("A", "xn--bcher-kva.example") in listed(answer)


# --- real servers


ZONE = "web.shop.svc 5 A {v4}\nweb.shop.svc 5 AAAA fd00:10:96::77\n"
MANY = "".join(f"many 5 A 198.51.100.{n}\n" for n in range(1, 61))


def test_bind_is_asked_as_a_resolver_asks_it(tmp_path):
    """BIND's own log has the queries of the list in their order, and its answers are the right ones."""
    folder = written(tmp_path / "cluster", cluster())
    zones = {
        "cluster.local": ZONE.format(v4="10.96.7.7"),
        "example.org": MANY,
        "broken.example": None,
        ".": "",
    }
    conf = "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"

    def dns(server, *words):
        done = server.run(
            str(Path(sys.executable).with_name("svcdoctor")), "dns", *words, "--snapshot", str(folder), "-o", "json",
            resolv_conf=conf,
        )  # fmt: skip
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    with named_server(tmp_path / "named", zones) as server:
        right = dns(server, "web.shop", *FROM, "--ask", "here")
        assert (right["verdict"], codes(right), right["basis"]) == ("healthy", [], "observed")
        seen = [(q.rtype, q.name) for q in server.queries()]
        assert sorted(seen[:2]) + sorted(seen[2:]) == [
            ("A", "web.shop.shop.svc.cluster.local"),
            ("AAAA", "web.shop.shop.svc.cluster.local"),
            ("A", FULL),
            ("AAAA", FULL),
        ]
        assert right["resolver"]["source"].startswith("asked from here")
        many = dns(server, "many.example.org.", *FROM, "--ask", "here")
        assert len(many["resolutions"][0]["addresses"]) == 60
        assert many["resolutions"][0]["queries"][0]["reply"]["truncated"]
        tcp = [q.tcp for q in server.queries() if (q.name, q.rtype) == ("many.example.org", "A")]
        assert tcp and tcp == [False, True] * (len(tcp) // 2)
        for address in ("10.96.0.10", "fd00:10:96::a"):
            failing = dns(server, "x.broken.example.", "--server", address)
            assert (failing["verdict"], met(failing)[0]) == ("broken", "servfail")


def test_bind_with_an_answer_of_yesterday(tmp_path):
    folder = written(tmp_path / "cluster", cluster())
    with named_server(tmp_path / "named", {"cluster.local": ZONE.format(v4="10.96.9.9")}) as server:
        program = str(Path(sys.executable).with_name("svcdoctor"))
        done = server.run(
            program, "dns", f"{FULL}.", "--server", "10.96.0.10", "--snapshot", str(folder), "-o", "json"
        )
    answer = json.loads(done.stdout)
    assert (codes(answer), done.returncode) == (["DNS012"], 1)
    assert answer["findings"][0]["evidence"] == [f"A {FULL}: answered 10.96.9.9, must be 10.96.7.7"]
    assert [q["wrong"] for q in answer["resolutions"][0]["queries"]] == [True, False]


@pytest.fixture
def dnsmasq():
    """``dnsmasq(option, …)``: the port on loopback where dnsmasq answers with these options."""
    program = shutil.which("dnsmasq", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("dnsmasq is not installed")
    running = []

    def start(*options):
        with LyingServer() as free:
            port = free.port
        base = [
            "--no-daemon",
            "--conf-file=/dev/null",
            "--no-resolv",
            "--no-hosts",
            "--bind-interfaces",
            "--user=",
        ]
        where = ["--listen-address=127.0.0.1", f"--port={port}", "--pid-file="]
        process = subprocess.Popen([program, *base, *where, *options], stderr=subprocess.PIPE, text=True)
        running.append(process)
        for line in process.stderr:
            if "started" in line or "failed" in line:
                break
        return port

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stderr.close()


def test_dnsmasq_that_knows_the_name(ask, dnsmasq):
    port = dnsmasq(f"--host-record={FULL},10.96.7.7,fd00:10:96::77")
    answer, ended = ask(f"{FULL}.", *FROM, "--server", f"127.0.0.1:{port}")
    assert (answer["verdict"], codes(answer), ended) == ("healthy", [], 0)
    assert answer["server"] == f"asked 127.0.0.1:{port} from here"


def test_dnsmasq_that_makes_addresses_of_everything(ask, dnsmasq):
    port = dnsmasq("--address=/#/192.0.2.66")
    answer, ended = ask("nobody.shop.svc.cluster.local.", *FROM, "--server", f"127.0.0.1:{port}")
    assert (codes(answer), ended) == (["DNS012"], 1)
    assert "answered 192.0.2.66, must be NXDOMAIN" in answer["findings"][0]["evidence"][0]


# --- lying servers


def right(wire):
    kind = kind_of(wire)
    return answered(wire, (f"{FULL}.", 5, "IN", kind, DATA[kind]))


def looping(wire):
    names = (f"{FULL}.", "a.example.")
    return answered(wire, (names[0], 5, "IN", "CNAME", names[1]), (names[1], 5, "IN", "CNAME", names[0]))


@pytest.mark.parametrize(
    ("lie", "kind", "word"),
    [
        (lambda wire: [b"\x00" * 30], "garbled", "what came is no answer"),
        (lambda wire: [looping(wire)], "garbled", "a loop"),
        (lambda wire: (b"flood" for _ in range(50_000)), "garbled", "floods"),
        (lambda wire: [wire], "garbled", "a query in the place"),
    ],
)
def test_a_lying_server_is_told_in_a_line_and_in_time(ask, lie, kind, word):
    with LyingServer(lie) as server:
        start = time.monotonic()
        answer, ended = ask(f"{FULL}.", *FROM, "--server", f"127.0.0.1:{server.port}", objects=fast())
    assert time.monotonic() - start < 12
    assert (ended, answer["verdict"]) == (1, "broken")
    replies = [q["reply"] for q in answer["resolutions"][0]["queries"]]
    assert {r["met"] for r in replies} == {kind}
    assert all(word in r["detail"] and "\n" not in r["detail"] for r in replies)


def fast():
    """The cluster, whose asking pod waits a second only."""
    options = [{"name": "timeout", "value": "1"}, {"name": "attempts", "value": "1"}]
    objects = [o for o in cluster() if o["metadata"]["name"] != "asking"]
    return [*objects, pod("shop", "asking", "10.244.0.9", dnsConfig={"options": options})]


def test_a_lost_query_is_dns007(ask):
    lost = []

    def once(wire):
        if kind_of(wire) == "AAAA" and not lost:
            lost.append(wire)
            return []
        return [right(wire)]

    with LyingServer(once) as server:
        answer, ended = ask(f"{FULL}.", *FROM, "--server", f"127.0.0.1:{server.port}", objects=fast())
    assert (codes(answer), answer["verdict"], ended) == (["DNS007"], "degraded", 0)
    assert "answered when it was sent again" in answer["findings"][0]["evidence"][0]


def test_a_server_that_is_not_there(ask):
    with LyingServer() as server:
        port = server.port
    answer, ended = ask(f"{FULL}.", *FROM, "--server", f"127.0.0.1:{port}")
    assert (ended, set(met(answer))) == (1, {"unreachable"})
    assert any("does not answer" in note for note in answer["notes"])


# --- a live cluster


class Distroless(PodRuntime):
    """Pods whose own image has no programs; a debug container has a shell's, and a resolv.conf of its pod's."""

    def __init__(self, conf):
        self.conf = conf
        self.ports = {}

    def execute(self, call):
        if not call.container.startswith("svcdoctor-") or call.arguments[0] != "cat":
            raise NotStarted(not_executable(call.arguments[0]))
        return run_process(call, ["cat", str(self.conf)])

    def sandbox(self, namespace, pod):
        return sandbox_here(pod, self.ports)


@pytest.fixture
def live(tmp_path):
    """A server over the cluster, and the runtime behind it."""
    conf = tmp_path / "resolv.conf"
    conf.write_text("search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.99\n")
    runtime = Distroless(conf)
    with ApiServer(ObjectStore(cluster()), users=(ADMIN, User("nobody", ())), runtime=runtime) as server:
        server.runtime = runtime
        yield server


def kubeconfig(server, folder, user="admin"):
    path = folder / f"kubeconfig-{user}"
    server.write_kubeconfig(path, user)
    return path


def test_a_pod_without_programs_is_offered_a_debug_container(live, run, tmp_path):
    file = kubeconfig(live, tmp_path)
    refused = run("dns", "web", *FROM, "--ask", "exec", kubeconfig=file)
    assert refused.returncode == 2
    assert "has no program cat" in refused.stderr and "add --ask debug --yes" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    done = run("dns", "web", *FROM, "--ask", "debug", "--yes", "-o", "json", kubeconfig=file)
    answer = json.loads(done.stdout)
    assert answer["resolver"]["nameservers"] == ["10.96.0.99"]
    assert answer["resolver"]["basis"] == "observed"
    assert "DNS010" in codes(answer)
    kubectl = ["kubectl", "--kubeconfig", str(file), "-n", "shop", "get", "pod", "asking", "-o", "json"]
    pod = json.loads(subprocess.run(kubectl, capture_output=True, text=True, check=True, timeout=30).stdout)
    [container] = pod["spec"]["ephemeralContainers"]
    assert container["name"].startswith("svcdoctor-") and container["image"] == "alpine:3.22"
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_kubectl_debug_adds_containers_to_the_lab_too(live, tmp_path):
    file = kubeconfig(live, tmp_path)
    words = ["debug", "asking", "--image=busybox", "-c", "mine", "--profile=general", "--", "sleep", "1"]
    kubectl = ["kubectl", "--kubeconfig", str(file), "-n", "shop"]
    done = subprocess.run([*kubectl, *words], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    names = ["get", "pod", "asking", "-o", "jsonpath={.status.ephemeralContainerStatuses[*].name}"]
    assert subprocess.run([*kubectl, *names], capture_output=True, text=True, timeout=30).stdout == "mine"


def test_what_may_not_be_done_names_the_grant(live, run, tmp_path):
    file = kubeconfig(live, tmp_path, "nobody")
    folder = written(tmp_path / "c", cluster())
    assert run("dns", "web", *FROM, "--snapshot", folder).returncode == 0
    answer = json.loads(run("dns", "web", *FROM, "-o", "json", kubeconfig=file).stdout)
    assert answer["verdict"] == "unknown" or answer["unknowns"]
    assert any("kubectl create" in u["grant"] for u in answer["unknowns"])
    tunnel = run("dns", "web", "--ask", "tunnel", kubeconfig=file)
    assert tunnel.returncode == 3
    assert len(tunnel.stderr.splitlines()) == 1
    exec_ = run("dns", "web", *FROM, "--ask", "exec", kubeconfig=file)
    assert exec_.returncode == 3


def test_through_the_tunnel_to_coredns(live, run, tmp_path):
    """What the pod's port 53 answers, over TCP, whatever the Service's address leads to."""
    for obj in cluster():
        if obj["kind"] == "EndpointSlice":
            obj["endpoints"][0]["targetRef"]["name"] = "coredns-1"
            live.store.update(obj)
    with LyingServer(tcp=lambda wire: [len(right(wire)).to_bytes(2) + right(wire)]) as server:
        live.runtime.ports[53] = ("127.0.0.1", server.port)
        done = run("dns", f"{FULL}.", "--ask", "tunnel", "-o", "json", kubeconfig=kubeconfig(live, tmp_path))
        answer = json.loads(done.stdout)
        queries = answer["resolutions"][0]["queries"]
        assert [(q["reply"]["data"], q["reply"]["transport"]) for q in queries] == [
            ([ip], "TCP") for ip in DATA.values()
        ]
        assert "not that the pod reaches it" in answer["server"]
        assert answer["verdict"] == "healthy"
    closed = run("dns", f"{FULL}.", "--ask", "tunnel", "-o", "json", kubeconfig=kubeconfig(live, tmp_path))
    assert {q["reply"]["met"] for q in json.loads(closed.stdout)["resolutions"][0]["queries"]} == {
        "unreachable"
    }
