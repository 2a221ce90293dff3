"""``trace --probe`` in the lab: real requests through real rules, and faults that only they show."""

import json
import re

import pytest
from answers import fits
from test_lab_network import NODE, PODS, Lab, possible  # noqa: F401 (possible is a fixture)

from svcdoctor.lab.net.control import Client
from svcdoctor.lab.net.probefaults import ONLY_BY_TRAFFIC

SERVICE = "svc/bq-api-service-1"
APP = "bq-api-service-deploy-sample-f448cf6ff"
OUTSIDE = ("--probe", "--from", "external")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("lab"))
    made("up")
    yield made
    made("down")


@pytest.fixture
def broken(lab, monkeypatch):
    """``broken(code)`` until the end of the test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", lab.env["XDG_RUNTIME_DIR"])
    yield lambda code: Client().ask("break", code=code)
    Client().ask("fix")
    # An application that was started again needs its time.
    ask = "until curl -s -m 1 -o /dev/null http://$pod:8080/; do sleep 0.1; done"
    pods = "10.244.1.45 10.244.2.104 10.244.3.54"
    assert not lab.shell("timeout", "20", "sh", "-c", f"for pod in {pods}; do {ask}; done").returncode


def probed(lab, *words, where="client"):
    """The JSON answer, which fits the schema, and the exit code."""
    done = lab.shell("svcdoctor", "trace", SERVICE, *words, "-o", "json", where=where)
    assert done.stdout, done.stderr
    answer = json.loads(done.stdout)
    fits(answer)
    return answer, done.returncode


def codes(answer):
    return [f["code"] for f in answer["findings"]]


def evidence(answer):
    return "\n".join(answer["findings"][0]["evidence"])


def suffix(pod):
    return pod.rpartition("-")[2]


def test_predicted_and_observed_agree_on_all_hops_and_the_three_pods_are_seen(lab):
    answer, ended = probed(lab, *OUTSIDE)
    assert (answer["verdict"], codes(answer), ended) == ("healthy", [], 0)
    assert len(answer["paths"]) == 8, "the cluster IP and three nodePorts of two families"
    heard = {}
    for path in answer["paths"]:
        seen = path["observed"]
        assert path["basis"] == "observed"
        assert (seen["sent"], seen["answered"], seen["agrees"]) == (20, 20, True)
        assert 0 < seen["latency"]["p50"] <= seen["latency"]["p99"] < 2
        assert sum(seen["who"].values()) == 20
        for hop in path["hops"]:
            assert hop["observed"]["predicted"] == hop["observed"]["status"] == hop["status"] == "ok", hop
        for outcome in path["outcomes"]:
            end = outcome["observed"]
            assert (end["direct"], end["tunnel"]) == ("answered", "answered")
            assert end["share"] == end["answers"] / 20
        for name, count in seen["who"].items():
            heard[suffix(name)] = heard.get(suffix(name), 0) + count
    assert heard.keys() == PODS
    assert all(0.15 < count / 160 < 0.55 for count in heard.values()), heard


def test_on_the_terminal_observed_stands_beside_predicted(lab):
    done = lab.shell("svcdoctor", "trace", SERVICE, *OUTSIDE, "--family", "6")
    text = " ".join(done.stdout.split())
    assert re.search(
        r"k8s-node1 \[fd00:192:168::44\]:31372 (│ )?20 of 20 answered, p50 [\d.]+ ms, p99 [\d.]+ ms", text
    )
    assert len(re.findall(r"33\.3 % seen [\d.]+ %", text)) == 3
    assert "observed: 80 requests from here, all answered; as predicted on all 4 ways" in text


def test_an_application_on_loopback_is_proven_by_the_tunnel_and_by_its_sockets(lab, broken):
    broken("NOD010")
    answer, ended = probed(lab, *OUTSIDE, "--yes")
    assert (codes(answer), answer["verdict"], ended) == (["NOD010"], "broken", 1)
    said = evidence(answer)
    assert re.search(rf"listens on 127\.0\.0\.1 inside pods .*{APP}-tkxck", said)
    assert "the sockets are 127.0.0.1:8080" in said
    assert "a tunnel to localhost is answered" in said
    assert "the pod's own address is refused" in said
    for path in answer["paths"]:
        v6 = ":" in path["entry"]["address"]
        for outcome in path["outcomes"]:
            assert (outcome["code"], outcome["result"]) == ("NOD010", "refused")
            assert outcome["observed"]["direct"] == "refused"
            assert outcome["observed"]["tunnel"] == "answered"
            assert ("on loopback inside" if v6 else "on 127.0.0.1 inside") in outcome["reason"]


def test_without_yes_and_a_terminal_nothing_is_run_in_pods(lab, broken):
    """On a node the sockets of its own pods are files. Of the others' it is said that they were not read; the tunnel
    and the refusal tell it all the same."""
    broken("NOD010")
    answer, _ = probed(lab, "--probe", "--family", "4", "--via", "nodePort", "--count", "3", where=NODE)
    assert codes(answer) == ["NOD010"]
    with_sockets = [e for e in answer["findings"][0]["evidence"] if "the sockets are 127.0.0.1:8080" in e]
    assert len(with_sockets) == 1 and with_sockets[0].startswith(f"{APP}-tkxck: ")
    [unread] = [u for u in answer["unknowns"] if u["fact"].startswith("sockets of pods")]
    assert unread["grant"] == "add --yes" and not unread["required"]
    assert "tkxck" not in unread["fact"] and "vvkt9" in unread["fact"]
    refused = lab.shell("svcdoctor", "trace", SERVICE, "--probe", "--from", "pod/client")
    assert refused.returncode == 2 and "add --yes" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


@pytest.mark.parametrize("client", ["pod/client", "node/k8s-node3"])
def test_from_a_pod_and_from_a_node(lab, client):
    answer, ended = probed(lab, "--probe", "--from", client, "--yes", "--family", "4", "--count", "10")
    assert (answer["verdict"], codes(answer), ended) == ("healthy", [], 0)
    kind, name = client.split("/")
    place = {"kind": kind, "name": f"default/{name}" if kind == "pod" else name}
    assert {p["entry"]["kind"] for p in answer["paths"]} == {"clusterIP", "nodePort"}
    for path in answer["paths"]:
        assert path["observed"]["place"] == place
        assert (path["observed"]["answered"], path["observed"]["agrees"]) == (10, True)


def test_on_a_node_svcdoctor_asks_as_that_node(lab):
    answer, _ = probed(lab, "--probe", "--family", "4", "--count", "5", where=NODE)
    assert {(p["client"]["kind"], p["client"]["name"]) for p in answer["paths"]} == {("node", NODE)}
    assert {p["observed"]["place"]["kind"] for p in answer["paths"]} == {"here"}
    refused = lab.shell("svcdoctor", "trace", SERVICE, *OUTSIDE, where=NODE)
    assert refused.returncode == 2 and "which is not outside" in refused.stderr


def test_on_a_node_the_pods_are_seen_though_their_answers_name_nobody(lab):
    """By the packets' own addresses, before the node's NAT puts the Service's into them."""
    done = lab.shell(
        *("svcdoctor", "trace", "svc/kube-dns:dns-tcp", "-n", "kube-system", "--probe", "-o", "json"),
        where=NODE,
    )
    listed = lab.shell("kubectl", "-n", "kube-system", "get", "pods", "-l", "k8s-app=kube-dns", "-o", "name")
    dns = listed.stdout.strip().removeprefix("pod/")
    answer = json.loads(done.stdout)
    assert (answer["verdict"], len(answer["paths"])) == ("healthy", 2)
    for path in answer["paths"]:
        assert path["observed"]["kind"] == "tcp"
        assert [o["observed"]["share"] for o in path["outcomes"]] == [1.0]
        assert set(path["observed"]["who"]) == {dns}


@pytest.mark.parametrize("code", ONLY_BY_TRAFFIC)
def test_a_fault_that_only_traffic_shows(lab, broken, code):
    broken(code)
    if code == "NOD011":
        plain = lab.shell("svcdoctor", "trace", SERVICE, "--from", "external", "-o", "json")
        assert json.loads(plain.stdout)["verdict"] == "healthy", "objects alone do not tell"
    words = ["--count", "6", *(["--family", "4"] if code in ("NOD012", "NOD007", "EXT010", "EXT014") else [])]
    words += ["--payload-size", "3000"] if code == "NOD007" else []
    words += ["--via", "clusterIP"] if code in ("NOD007", "EXT010") else []
    answer, ended = probed(lab, *OUTSIDE, "--yes", *words)
    assert codes(answer)[0] == code
    assert "OBS001" not in codes(answer)
    assert ended == (0 if code == "EXT003" else 1)
    said = evidence(answer)
    failing = {
        suffix(o["backend"]["pod"]) for p in answer["paths"] for o in p["outcomes"] if o["code"] == code
    }
    match code:
        case "NOD007":
            assert failing == {"tkxck"}
            assert f"do not reach: {APP}-tkxck on {NODE}" in said
            assert "6 of 6 small requests answered; with 3,000 bytes" in said
            assert "to 10.244.1.45 over 1304 bytes vanish behind 192.168.0.44 without an ICMP error" in said
        case "NOD011":
            assert failing == PODS
            assert "the sockets are 0.0.0.0:9090, [::]:9090" in said
            assert '"value":9090' in answer["findings"][0]["fix"]
        case "NOD012":
            assert failing == PODS
            assert answer["findings"][0]["subjects"][0] == "NetworkPolicy/default/deny-all"
            assert "10.244.1.45 port 8080: silence behind hop 1 (192.168.0.44)" in said
        case "NOD015":
            assert failing == PODS
            assert "for IPv4 only, not for IPv6 (its sockets: 0.0.0.0:8080)" in said
            by_family = {(":" in p["entry"]["address"], p["verdict"]) for p in answer["paths"]}
            assert by_family == {(False, "healthy"), (True, "broken")}
        case "EXT003":
            assert answer["findings"][0]["subjects"][1:] == [f"Node/{NODE}"]
            assert "32500/healthz should say 200, and it is refused" in said
        case "EXT010":
            assert "asked in http, the application answers in TLS" in said
            assert '"value":"https"' in answer["findings"][0]["fix"]
        case "EXT013" | "EXT014":
            assert "the application answers inside its pods" in said
            assert "svcdoctor forward svc/bq-api-service-1" in answer["findings"][0]["fix"]


def test_what_contradicts_the_objects_is_a_finding_and_the_nodes_rules_explain_it(lab, broken):
    broken("RUL003")
    words = (*OUTSIDE, "--family", "4", "--via", "nodePort", "--count", "6")
    answer, ended = probed(lab, *words)
    assert (codes(answer), ended) == (["OBS001"], 1)
    [finding] = answer["findings"]
    assert f"Node/{NODE}" in finding["subjects"]
    assert "other nodes answer: k8s-node0, k8s-node3" in finding["evidence"]
    assert f"--node {NODE} --node-facts exec" in finding["fix"]
    by_rules, _ = probed(lab, *words, "--node-facts", "exec", "--node", NODE)
    assert codes(by_rules) == ["RUL003"]
    assert {p["observed"]["agrees"] for p in by_rules["paths"]} == {True}


def test_after_all_faults_the_lab_is_healthy(lab):
    answer, ended = probed(lab, *OUTSIDE, "--payload-size", "3000", "--count", "5")
    assert (answer["verdict"], codes(answer), ended) == ("healthy", [], 0)
