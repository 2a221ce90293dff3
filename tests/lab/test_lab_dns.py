"""``svcdoctor dns`` in the lab: real resolvers against a real server, and each fault of DNS, real and named."""

import json
import sys
import time

import pytest
from answers import fits
from test_lab_network import Lab, possible  # noqa: F401 (possible is a fixture)

from svcdoctor.lab.net.control import Client
from svcdoctor.lab.net.dnsfaults import ASKED, DNS_FAULTS, NAME, STALE
from svcdoctor.lab.net.upstream import MANY, OUTSIDE

POD = "pod/client"
V4, V6 = "10.105.158.88", "fd00:10:96::5888"
FULL = f"{NAME}.default.svc.cluster.local"
CODES = [code for code, _, _ in DNS_FAULTS]
# What it rests on: the pod's own resolver, the objects alone, or queries sent from the pod's place.
BY_OBJECTS = ("DNS006",)
SLOW = ("DNS007",)


class Quick(Lab):
    """A lab that is broken by this process: the command line's own start costs more than what it does."""

    def ask(self, do, **more):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", self.env["XDG_RUNTIME_DIR"])
            return Client().ask(do, **more)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Quick(tmp_path_factory.mktemp("lab"))
    made("up")
    yield made
    made("down")


@pytest.fixture
def broken(lab):
    """``broken(code)`` until the end of the test."""
    yield lambda code: lab.ask("break", code=code)
    lab.ask("fix")


def answer(lab, *words, where="client"):
    """The JSON answer, which fits the schema, and the exit code."""
    done = lab.shell("svcdoctor", "dns", *words, "-o", "json", where=where)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    fits(found)
    return found, done.returncode


def getent(lab, name, database="ahosts"):
    """What a program in the pod gets, and what it takes in seconds."""
    start = time.monotonic()
    done = lab.shell("getent", database, name, where=POD)
    found = {line.split()[0] for line in done.stdout.splitlines()}
    return found if not done.returncode else set(), time.monotonic() - start


def data(queries):
    return {(q["type"], *q["reply"]["data"]) for q in queries if q["reply"]["met"] == "data"}


@pytest.mark.parametrize("way", ["predicted", "exec", "here", "tunnel", "debug"])
def test_a_healthy_name_by_every_way(lab, way):
    words = [NAME, "--from", POD]
    if way != "predicted":
        words += ["--ask", way, "--yes"]
    found, ended = answer(lab, *words, where=POD if way == "here" else "client")
    assert (found["verdict"], found["findings"], ended) == ("healthy", [], 0)
    assert found["basis"] == ("objects" if way == "predicted" else "observed")
    first = found["resolutions"][0]
    assert {q["name"] for q in first["queries"]} == {FULL}
    assert data(first["queries"]) == {("A", V4), ("AAAA", V6)}
    asked = [q["reply"]["seconds"] is not None for q in first["queries"]]
    assert asked == [way != "predicted"] * 2
    assert not any(q["wrong"] for q in first["queries"])
    transports = {"exec": "getent", "debug": "getent", "here": "UDP", "tunnel": "TCP", "predicted": None}
    assert {q["reply"]["transport"] for q in first["queries"]} == {transports[way]}
    if way == "exec":
        assert set(found["whole"]["addresses"]) == {V4, V6}
    if way == "tunnel":
        assert "not that the pod reaches it" in found["server"]


def test_what_kubelet_writes_is_what_the_pod_has(lab):
    predicted, _ = answer(lab, NAME, "--from", POD)
    read, _ = answer(lab, NAME, "--from", POD, "--ask", "exec")
    for field in ("nameservers", "options"):
        assert predicted["resolver"][field] == read["resolver"][field]
    # What the node adds to the search list nobody knows but the node.
    assert read["resolver"]["search"] == [*predicted["resolver"]["search"], "lan.example"]
    assert lab.shell("kubectl", "exec", "client", "--", "cat", "/etc/resolv.conf").stdout == (
        "search default.svc.cluster.local svc.cluster.local cluster.local lan.example\n"
        "nameserver 10.96.0.10\noptions ndots:5\n"
    )


def test_every_record_of_a_service_is_asked_for(lab):
    found, _ = answer(lab, f"svc/{NAME}", "--from", POD, "--ask", "here", where=POD)
    assert [(q["type"], q["reply"]["data"]) for q in found["records"]] == [
        ("A", [V4]),
        ("AAAA", [V6]),
        ("SRV", [f"0 100 32111 {FULL}."]),
        ("PTR", [f"{FULL}."]),
        ("PTR", [f"{FULL}."]),
    ]
    assert all(q["reply"] | {"seconds": 0, "transport": "", "detail": ""} == q["expected"] | {
        "seconds": 0, "transport": "", "detail": ""
    } for q in found["records"])  # fmt: skip


def test_answers_that_do_not_fit_into_a_datagram(lab):
    found, _ = answer(lab, MANY, "--from", POD, "--ask", "here", where=POD)
    first = found["resolutions"][0]
    whole = [q["reply"] for q in first["queries"] if q["name"] == MANY and q["type"] == "A"]
    assert whole[0]["truncated"] and whole[0]["transport"] == "TCP"
    assert len(first["addresses"]) == 60 == len(getent(lab, MANY, "ahostsv4")[0])
    assert found["verdict"] == "healthy"


def test_outside_names_and_addresses(lab):
    found, ended = answer(lab, OUTSIDE, "--from", POD, "--ask", "exec")
    [finding] = found["findings"]
    assert (finding["code"], ended) == ("DNS002", 0)
    # On a busy machine the useless queries take so long that it is worth a warning.
    assert (finding["severity"], found["verdict"]) in (("info", "healthy"), ("warning", "degraded"))
    reverse, ended = answer(lab, V4, "--ask", "here", "--from", POD, where=POD)
    assert reverse["resolutions"][0]["addresses"] == [f"{FULL}."]
    assert ended == 0


@pytest.mark.parametrize("code", CODES)
def test_a_fault_of_dns_is_real_is_named_and_is_fixed(lab, broken, code):
    name = ASKED.get(code, NAME)
    words = [name, "--from", POD, *([] if code in BY_OBJECTS else ["--ask", "exec"])]
    broken(code)
    found, ended = answer(lab, *words)
    codes = [f["code"] for f in found["findings"]]
    severity = found["findings"][0]["severity"]
    assert codes == [code], "one root cause"
    assert found["findings"][0]["evidence"] and found["findings"][0]["fix"]
    assert (found["verdict"], ended) == (("broken", 1) if severity == "error" else ("degraded", 0))
    # What the pod's programs meet.
    if code in BY_OBJECTS:
        assert silent(lab)
    elif severity == "error" and code != "DNS012":
        assert found["whole"]["addresses"] == []
        assert getent(lab, name)[0] == set()
    elif code == "DNS012":
        assert {V4, V6} == set(found["whole"]["addresses"])
        assert STALE in found["findings"][0]["evidence"][0] + found["findings"][0]["evidence"][1]
    if code in SLOW:
        assert found["whole"]["seconds"] > 4.5
    lab.ask("fix")
    well = OUTSIDE if code == "DNS002" else NAME
    assert getent(lab, well)[0], "fixed"


def silent(lab):
    """Whether a datagram to cluster DNS goes without an answer from the pod."""
    code = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(0.5); "
        "s.sendto(bytes.fromhex('000101000001000000000000') + b'\\4kube\\0\\0\\1\\0\\1', ('10.96.0.10', 53)); "
        "s.recv(512)"
    )
    done = lab.shell(sys.executable, "-c", code, where=POD)
    return done.returncode != 0 and "timed out" in done.stderr


def test_the_corefile_is_obeyed_and_its_other_faults_are_named(lab, broken):
    """A forward to nobody, one to CoreDNS itself, and a file that is none: each a variant of DNS009."""
    get = ["kubectl", "-n", "kube-system", "get", "configmap", "coredns", "-o", "jsonpath={.data.Corefile}"]
    before = lab.shell(*get).stdout

    def written(text):
        patch = json.dumps({"data": {"Corefile": text}})
        done = lab.shell(
            "kubectl", "-n", "kube-system", "patch", "configmap", "coredns", "--type=merge", "-p", patch
        )
        assert done.returncode == 0, done.stderr

    try:
        for old, new, word in (
            ("forward . /etc/resolv.conf", "forward . 192.168.0.100", "forward . 192.168.0.100"),
            ("forward . /etc/resolv.conf", "forward . 10.96.0.10", "CoreDNS itself"),
            ("cache 30", "cache 30 {", "not closed"),
        ):
            written(before.replace(old, new))
            live = word.startswith("forward")
            found, _ = answer(lab, OUTSIDE, "--from", POD, *(["--ask", "here"] if live else []), where=POD)
            assert found["findings"][0]["code"] == "DNS009", word
            assert any(word in e for e in found["findings"][0]["evidence"])
    finally:
        written(before)
    assert getent(lab, OUTSIDE)[0]


def test_the_terminal_says_it_in_words(lab, broken):
    broken("DNS001")
    done = lab.shell("svcdoctor", "dns", "payments", "--from", POD)
    assert done.stdout.splitlines()[0] == "✘ broken  payments  for pod default/client: not found"
    for words in (
        "DNS001 error: A short name is used across namespaces",
        "use the name payments.shop",
        "glibc would ask, in this order:",
        "musl asks the same as glibc",
        "nothing was sent",
    ):
        assert words in done.stdout, done.stdout
