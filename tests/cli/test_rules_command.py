"""``svcdoctor rules`` as a user runs it: eval, show, audit, and what is said of bad input."""

import json
import tarfile
from pathlib import Path

import pytest
from answers import fits

FIXTURES = Path(__file__).parents[2] / "fixtures"
FLOWS = json.loads((FIXTURES / "flows" / "flows.json").read_text())
NFTABLES = str(FIXTURES / "captures" / "nftables.tar.gz")
IPTABLES = str(FIXTURES / "captures" / "iptables.tar.gz")


def right(case, answer):
    """Whether the answer is what the case expects: the endpoints, the verdict, masquerading."""
    outcomes = [o for o in answer["outcomes"] if o["probability"] > 0]
    verdicts = {o["verdict"] for o in outcomes}
    expected = case["expect"]
    if expected == ["REJECT"]:
        return verdicts == {"reject"}
    if expected == ["DROP"]:
        return verdicts == {"drop"}
    if expected == ["ACCEPT"]:
        return verdicts == {"accept"}
    if not expected:
        return verdicts <= {"none", "accept"} and verdicts
    return (
        verdicts == {"dnat"}
        and {o["to"] for o in outcomes} == set(expected)
        and all(o["masquerade"] == case["masq"] for o in outcomes)
        and sum(o["probability"] for o in outcomes) == pytest.approx(1.0)
    )


def dump_of(flow, folder):
    path = folder / f"{flow['id']}.dump"
    dump = flow["dump"]
    path.write_text(dump if isinstance(dump, str) else json.dumps(dump))
    return path


def test_every_flow_through_real_rule_sets_is_right(run, tmp_path):
    good = total = 0
    for flow in FLOWS:
        packets = "".join(
            json.dumps({"id": i, **{k: c[k] for k in ("src", "dst", "dport", "proto")}}) + "\n"
            for i, c in enumerate(flow["cases"])
        )
        words = ["rules", "eval", "--rules", str(dump_of(flow, tmp_path)), "--batch", "-", "-o", "json"]
        words += [w for ip in flow["node_ips"] for w in ("--node-ip", ip)]
        done = run(*words, stdin=packets)
        assert done.returncode == 0, done.stderr
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        assert [a["id"] for a in answers] == list(range(len(flow["cases"])))
        for case, answer in zip(flow["cases"], answers, strict=True):
            fits(answer)
            total += 1
            good += bool(right(case, answer))
            assert right(case, answer), (flow["id"], case, answer)
    print(f"{good} of {total} flows right")
    assert (good, total) == (89, 89)


@pytest.fixture
def node1(tmp_path):
    """Node1's dumps of the nftables capture, as files."""
    with tarfile.open(NFTABLES) as tar:
        tar.extractall(tmp_path, filter="data")
    return tmp_path / "nftables" / "nodes" / "node1"


def test_one_packet_is_shown_with_the_rules_that_decide(run, node1):
    done = run(
        "rules", "eval", "--rules", str(node1 / "nft.json"), "--rules", str(node1 / "iptables-save.txt"),
        "--addr", str(node1 / "ip-addr.json"), "--route", str(node1 / "ip-route.json"),
        "10.244.1.8", "10.96.1.3:80",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "10.244.1.8 → 10.96.1.3:80"
    assert "   33.3 %  sent to 10.244.2.2:8080, by eth0" in lines
    assert any("ip kube-proxy services #" in line and "@service-ips" in line for line in lines)


def test_a_packet_of_the_node_starts_there(run, node1):
    words = ["rules", "eval", "--rules", str(node1 / "nft.json"), "--addr", str(node1 / "ip-addr.json")]
    done = run(*words, "172.30.0.11", "10.96.1.3:80", "-o", "json")
    rules = json.loads(done.stdout)["outcomes"][0]["rules"]
    assert any("nat-output" in r for r in rules) and not any("nat-prerouting" in r for r in rules)


def test_an_unknown_outcome_is_no_success(run, tmp_path):
    rules = tmp_path / "save.txt"
    rules.write_text(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n"
        "-A FORWARD -m geoip --source-country XX -j DROP\nCOMMIT\n"
    )
    done = run("rules", "eval", "--rules", str(rules), "192.0.2.1", "198.51.100.2:80")
    assert done.returncode == 3
    assert "unknown" in done.stdout and "geoip" in done.stdout and "filter FORWARD #1" in done.stdout


@pytest.mark.parametrize(
    ("content", "words", "said"),
    [
        ("*nat\n:PREROUTING ACCEPT [0:0]\n", ["192.0.2.1", "10.0.0.1:80"], "COMMIT"),
        ("table ip kube-proxy {\n", ["192.0.2.1", "10.0.0.1:80"], "nft -j list ruleset"),
        ('{"nftables": [{"metain', ["192.0.2.1", "10.0.0.1:80"], "save.txt"),
        ('{"items": []}', ["192.0.2.1", "10.0.0.1:80"], "save.txt"),
        ("\x00\x01\x02\xff", ["192.0.2.1", "10.0.0.1:80"], "save.txt"),
        ("", ["192.0.2.1", "10.0.0.1:80"], "save.txt"),
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ["192.0.2.1"], "SRC DST:PORT"),
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ["192.0.2.1", "10.0.0.1"], "10.0.0.1"),
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ["nobody", "10.0.0.1:80"], "nobody"),
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ["192.0.2.1", "[fd00::1]:80"], "one family"),
        ("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n", ["192.0.2.1", "10.0.0.1:80/foo"], "foo"),
        (
            "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n",
            ["--node-ip", "x", "192.0.2.1", "10.0.0.1:80"],
            "--node-ip x",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(run, tmp_path, content, words, said):
    rules = tmp_path / "save.txt"
    rules.write_bytes(content.encode("latin-1"))
    done = run("rules", "eval", "--rules", str(rules), *words)
    assert done.returncode == 2, done.stdout
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr, done.stderr


def test_a_bad_line_of_a_batch_is_answered_and_the_rest_goes_on(run, tmp_path):
    rules = tmp_path / "save.txt"
    rules.write_text("*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n")
    good = '{"id": 3, "src": "fd00::1", "dst": "fd00::2", "dport": 80, "proto": "udp"}'
    lines = f'{{"id": 1, "src": "192.0.2.1"}}\nnot json\n{good}\n'
    done = run("rules", "eval", "--rules", str(rules), "--batch", "-", stdin=lines)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert ["error" in a for a in answers] == [True, True, False]
    [outcome] = answers[2]["outcomes"]  # rules of the other family are not in the dump
    assert outcome["verdict"] == "unknown" and "ip6tables-save" in outcome["reason"]
    for answer in answers:
        fits(answer)


@pytest.mark.parametrize("capture", [IPTABLES, NFTABLES])
def test_the_audit_of_a_healthy_cluster(run, capture):
    done = run("rules", "audit", "-A", "--snapshot", capture)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("✔ healthy  rules of 3 nodes against 43 Services")
    as_json = json.loads(run("rules", "audit", "-A", "--snapshot", capture, "-o", "json").stdout)
    fits(as_json)
    assert [n["differing"] for n in as_json["nodes"]] == [0, 0, 0]


def test_the_audit_as_a_table(run):
    done = run(
        "rules",
        "audit",
        "svc/np-local",
        "-n",
        "truth",
        "--node",
        "node2",
        "--snapshot",
        NFTABLES,
        "-o",
        "table",
    )
    assert done.returncode == 0, done.stderr
    head, row = done.stdout.splitlines()[:2]
    assert head.split() == ["NODE", "MODE", "FRONTENDS", "DIFFERING", "UNKNOWN", "WHY"]
    assert row.split()[:2] == ["node2", "nftables"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["audit", "svc/nobody"], 1, "no Service nobody"),
        (["audit", "-A", "--node", "node9"], 2, "node9"),
        (["show", "svc/np-local", "-n", "truth", "--node", "node9"], 2, "node9"),
        (["show", "svc/nobody", "--node", "node1"], 1, "no Service nobody"),
        (["show", "svc/headless", "-n", "truth", "--node", "node1"], 2, "needs no rules"),
    ],
)
def test_a_question_that_cannot_be_answered(run, words, code, said):
    done = run("rules", *words, "--snapshot", NFTABLES)
    assert done.returncode == code
    assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_services_rules_are_shown_as_a_tree(run):
    done = run("rules", "show", "svc/np-cluster", "-n", "truth", "--node", "node2", "--snapshot", NFTABLES)
    assert done.returncode == 0, done.stderr
    assert "nodePort 172.30.0.12:30080/TCP  Service truth/np-cluster http on node2" in done.stdout
    assert "→ 33.3 %  pod truth/web-6bdc9b754-9fwxn on node2, masqueraded" in done.stdout
