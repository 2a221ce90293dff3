"""``wait`` and ``test --probe`` in the lab: real pods behind real rules, and faults that end while they look."""

import json
import subprocess
import time

import pytest
from answers import fits
from test_lab_network import NODE, Lab, possible  # noqa: F401 (possible is a fixture)

from svcdoctor.lab.net.control import Client

SERVICE = "svc/bq-api-service-1"
CLUSTER_IP = "10.105.158.88:32111"
SOON = 1.0
"""Seconds in which it ends; on a busy machine twice what it takes to start it, look and end."""
HEAD = "apiVersion: svcdoctor/v1\nkind: ReachabilityTest\ntests:\n"


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("lab"))
    made("up")
    yield made
    made("down")


@pytest.fixture
def broken(lab, monkeypatch):
    """``broken(code)`` until `fix`, or the end of the test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", lab.env["XDG_RUNTIME_DIR"])
    yield lambda code: Client().ask("break", code=code)
    Client().ask("fix")


def wait(lab, *words, where="client"):
    """The answer of ``svcdoctor wait``, which fits the schema, and the exit code."""
    done = lab.shell("svcdoctor", "wait", SERVICE, *words, "-o", "json", where=where)
    assert done.stdout, done.stderr
    found = json.loads(done.stdout)
    fits(found)
    return found, done.returncode


def waiting(lab, *words, where="client"):
    """``svcdoctor wait`` while it waits: it has been given time to look."""
    command, env = lab.entering(where, "svcdoctor", "wait", SERVICE, *words, "-o", "json")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    time.sleep(2.5)
    assert process.poll() is None
    return process


def ended(process, since):
    """Its answer, and how many seconds it took since then."""
    out, _ = process.communicate(timeout=30)
    took = time.monotonic() - since
    assert process.returncode == 0, out
    return json.loads(out), took


def test_it_returns_within_a_second_of_the_pods_being_ready(lab, broken, record_property):
    broken("OBJ006")
    found, code = wait(lab, "--timeout", "1s")
    assert (found["result"], code) == ("timedOut", 1)
    assert [p["name"].rpartition("-")[2] for p in found["pods"]] == ["c8zlp", "tkxck", "vvkt9"]
    assert found["findings"][0]["code"] == "OBJ006"
    process = waiting(lab)
    at = time.monotonic()
    Client().ask("fix")
    found, took = ended(process, at)
    record_property("seconds", took)
    at = time.monotonic()
    wait(lab)
    assert took < max(SOON, 2 * (time.monotonic() - at))
    assert found["result"] == "met" and found["how"].endswith(" of 3 endpoints ready")


@pytest.mark.parametrize("where", ["client", NODE, "pod/client"])
def test_reachable_from_each_place(lab, where):
    found, code = wait(lab, "--for", "reachable", where=where)
    assert (found["how"], code) == (f"connected to clusterIP {CLUSTER_IP}", 0)


def test_reachable_when_the_node_has_rules_again(lab, broken):
    broken("RUL001")
    found, code = wait(lab, "--for", "reachable", "--timeout", "3s", where=NODE)
    assert (found["result"], code) == ("timedOut", 1)
    assert found["lacking"][0].startswith(f"port 32111 (8080-port): clusterIP {CLUSTER_IP} ")
    _, code = wait(lab, where=NODE)
    assert code == 0, "as far as the API tells"
    process = waiting(lab, "--for", "reachable", where=NODE)
    at = time.monotonic()
    Client().ask("fix")
    found, took = ended(process, at)
    assert found["how"] == f"connected to clusterIP {CLUSTER_IP}" and took < 5 * SOON


@pytest.mark.parametrize(
    ("where", "words", "how"),
    [
        ("client", (), "asked pod/kube-system/coredns-5ls2ddr-2k7wm over TCP, through the API server"),
        (NODE, (), "asked from here"),
        ("pod/client", (), "asked from here (this is a pod)"),
        ("client", ("--server", "10.96.0.10"), "asked 10.96.0.10 from here"),
    ],
)
def test_the_name(lab, where, words, how):
    found, code = wait(lab, "--for", "dns", *words, where=where)
    assert code == 0, found
    name, _, asked = found["how"].partition("; ")
    assert name == "bq-api-service-1.default.svc.cluster.local is 10.105.158.88, fd00:10:96::5888"
    assert asked.startswith(how)


def test_the_name_when_its_answer_is_right_again(lab, broken):
    broken("DNS012")
    found, code = wait(lab, "--for", "dns", "--timeout", "2s", where=NODE)
    assert (found["result"], code) == ("timedOut", 1)
    assert found["findings"][0]["code"] == "DNS012"
    said = "bq-api-service-1.default.svc.cluster.local: answered 10.105.158.88, which is wrong"
    assert found["lacking"][0] == said
    process = waiting(lab, "--for", "dns", where=NODE)
    Client().ask("fix")
    assert ended(process, time.monotonic())[0]["result"] == "met"


# --- expectations, held against real traffic


@pytest.fixture
def tested(lab, tmp_path):
    """``tested(line, …)``: what came of each of these tests, and the exit code."""

    def run(*lines, where="client"):
        file = tmp_path / "tests.yaml"
        file.write_text(HEAD + "".join(f"  - {{name: t{i}, {line}}}\n" for i, line in enumerate(lines)))
        done = lab.shell("svcdoctor", "test", str(file), "--probe", "--yes", "-o", "json", where=where)
        assert done.stdout, done.stderr
        answer = json.loads(done.stdout)
        fits(answer)
        return answer["tests"], done.returncode

    return run


OUTSIDE = "from: external, to: svc/bq-api-service-1, via: nodePort"


def test_real_traffic_passes_what_is_right(tested):
    results, code = tested(
        f"{OUTSIDE}, expect: delivered, backends: [deploy/bq-api-service-deploy-sample]",
        "from: external, to: '192.168.0.44:31373', expect: refused",
        "from: pod/client, to: svc/bq-api-service-1, via: clusterIP, family: 6, expect: delivered",
        f"{OUTSIDE}, family: 4, node: {NODE}, expect: delivered, backends: [pod/client]",
    )
    assert ([r["result"] for r in results], code) == (["passed", "passed", "passed", "failed"], 1)
    assert {r["basis"] for r in results} == {"observed"}


def test_a_part_that_is_lost_fails_and_its_share_is_said(tested, broken):
    """One of the rules' endpoints is gone: some requests are answered, the others are not."""
    broken("RUL004")
    for _ in range(10):  # which requests are lost is chance, and a busy machine sends few of them in time
        results, code = tested(
            f"{OUTSIDE}, family: 4, node: {NODE}, expect: delivered",
            f"{OUTSIDE}, family: 4, node: {NODE}, expect: dropped",
            f"{OUTSIDE}, family: 4, node: k8s-node3, expect: delivered",
        )
        if all("delivered " in r["got"] for r in results[:2]):
            break
    assert ([r["result"] for r in results], code) == (["failed", "failed", "passed"], 1)
    for result in results[:2]:
        assert "delivered " in result["got"] and " %" in result["got"] and "dropped " in result["got"]


def test_who_nobody_can_stand_in_for_is_not_known(tested):
    results, code = tested(f"{OUTSIDE}, expect: delivered", where=NODE)
    assert ([r["result"] for r in results], code) == (["unknown"], 3)
    assert "which is not outside" in results[0]["why"]
