"""The audit on a real cluster's rules: clean as recorded, and every planted difference found by its code."""

import json
from functools import cache
from pathlib import Path

import pytest

from svcdoctor.checks.audit import audit, exit_code
from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.facts import Kind
from svcdoctor.model.nodefacts import Dump
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.nodedumps import node_facts

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"


@cache
def capture(mode):
    return read_snapshot(CAPTURES / f"{mode}.tar.gz")


def altered(mode, node, dump, change):
    """The capture with one dump of one node changed: ``change`` maps its text."""
    held = capture(mode)
    facts = dict(held.node_facts)
    raw = dict(facts[node].raw)
    old = raw[dump].data.decode() if dump in raw else ""
    new = change(old)
    assert new != old, "the change must change something"
    raw[dump] = Dump(f"{node}/{dump}", new.encode())
    if dump == "iptables-save.txt":
        raw.pop("iptables-save-counters.txt", None)
    facts[node] = node_facts(node, raw)
    return Snapshot({kind: held.of(kind) for kind in held.facts}, held.facts, facts, source=held.source)


def audited(snapshot, *services, nodes=()):
    return audit(snapshot, lambda s: not services or s.name in services, nodes)


def found(answer):
    """code → the nodes it was found on."""
    return {
        f.code: {s.removeprefix("Node/") for s in f.subjects if s.startswith("Node/")}
        for f in answer.findings
    }


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_the_recorded_cluster_is_clean_on_every_node(mode):
    answer = audited(capture(mode))
    assert [(f.code, f.evidence) for f in answer.findings if f.severity == "error"] == []
    assert answer.verdict is Verdict.HEALTHY
    assert [n.name for n in answer.nodes] == ["node1", "node2", "node3"]
    assert all(n.frontends > 70 and not n.differing and not n.unanswered for n in answer.nodes), answer.nodes
    assert exit_code(answer, "error") == 0


def without(*words):
    """Every line that holds all the words taken out."""
    return lambda text: "".join(
        line for line in text.splitlines(keepends=True) if not all(w in line for w in words)
    )


def swapped(old, new):
    return lambda text: text.replace(old, new)


def after(line, *more):
    """Lines added behind the first one that begins like this."""

    def change(text):
        lines = text.splitlines(keepends=True)
        at = next(i for i, text_line in enumerate(lines) if text_line.startswith(line))
        return "".join([*lines[: at + 1], *(f"{m}\n" for m in more), *lines[at + 1 :]])

    return change


SAVE = "iptables-save.txt"
TABLES = {
    "a cluster IP's rule is missing": (
        SAVE,
        without("-A KUBE-SERVICES ", '"truth/web-clusterip:http cluster IP"'),
        "RUL003",
    ),
    "a nodePort's rule is missing": (SAVE, without("-A KUBE-NODEPORTS", "truth/np-cluster:http"), "RUL003"),
    "an endpoint's rule is missing": (
        SAVE,
        without("-j DNAT", "truth/np-cluster:http", "10.244.3."),
        "RUL003",
    ),
    "an endpoint is gone": (
        SAVE,
        swapped("--to-destination 10.244.1.6:8080", "--to-destination 10.244.1.99:8080"),
        "RUL004",
    ),
    "the jump of PREROUTING is missing": (SAVE, without("-A PREROUTING", "KUBE-SERVICES"), "RUL006"),
    "no Service rules": (SAVE, without("KUBE-"), "RUL001"),
    "FORWARD has policy DROP": (
        SAVE,
        swapped(
            ":FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-EXTERNAL-SERVICES",
            ":FORWARD DROP [0:0]\n:OUTPUT ACCEPT [0:0]\n:KUBE-EXTERNAL-SERVICES",
        ),
        "NOD004",
    ),
    "a firewall drops what is forwarded": (
        SAVE,
        after("-A OUTPUT -j KUBE-FIREWALL", "-A FORWARD -p tcp -m tcp --dport 8080 -j DROP"),
        "NOD005",
    ),
    "nothing is forwarded": (
        "sysctl.txt",
        swapped("net.ipv4.ip_forward = 1", "net.ipv4.ip_forward = 0"),
        "NOD001",
    ),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_planted_difference_in_iptables_is_found_on_its_node(what):
    dump, change, code = TABLES[what]
    answer = audited(altered("iptables", "node2", dump, change))
    assert found(answer).get(code) == {"node2"}, [(f.code, f.evidence) for f in answer.findings]
    assert answer.verdict is Verdict.BROKEN and exit_code(answer, "error") == 1
    assert exit_code(answer, "never") == 0


def rules_changed(change):
    def apply(text):
        dump = json.loads(text)
        change(dump["nftables"])
        return json.dumps(dump)

    return apply


def element_gone(map_name, needle):
    def change(entries):
        for entry in entries:
            for kind in ("map", "set"):
                if entry.get(kind, {}).get("name") == map_name and entry[kind]["family"] == "ip":
                    held = entry[kind]["elem"]
                    entry[kind]["elem"] = [e for e in held if needle not in json.dumps(e)]
                    assert len(entry[kind]["elem"]) < len(held)

    return rules_changed(change)


def jump_gone(chain):
    def change(entries):
        entries[:] = [
            e
            for e in entries
            if not (e.get("rule", {}).get("chain") == chain and e["rule"]["family"] == "ip")
        ]

    return rules_changed(change)


NFT = {
    "a cluster IP is missing in the map": (
        element_gone("service-ips", "truth/np-cluster/tcp/http"),
        "RUL003",
    ),
    "a nodePort is missing in the map": (
        element_gone("service-nodeports", "truth/np-cluster/tcp/http"),
        "RUL003",
    ),
    "an endpoint is gone": (swapped('"10.244.1.6", 8080', '"10.244.1.99", 8080'), "RUL004"),
    "the jump of nat-prerouting is missing": (jump_gone("nat-prerouting"), "RUL006"),
}


@pytest.mark.parametrize("what", NFT)
def test_a_planted_difference_in_nftables_is_found_on_its_node(what):
    change, code = NFT[what]
    answer = audited(altered("nftables", "node3", "nft.json", change))
    assert found(answer).get(code) == {"node3"}, [(f.code, f.evidence) for f in answer.findings]


def test_a_node_without_dumps_is_unknown():
    held = capture("iptables")
    facts = {name: f for name, f in held.node_facts.items() if name != "node1"}
    answer = audited(Snapshot({k: held.of(k) for k in held.facts}, held.facts, facts, source=held.source))
    assert answer.verdict is Verdict.UNKNOWN and exit_code(answer, "error") == 3
    assert [n.name for n in answer.nodes if n.unknown] == ["node1"]


def test_only_the_chosen_services_and_nodes_are_compared():
    answer = audited(capture("iptables"), "web-clusterip", nodes=["node1"])
    assert answer.services == 1
    assert [(n.name, n.frontends) for n in answer.nodes] == [("node1", 2)]  # its two ports


def test_both_backends_populated_and_leftovers_are_found():
    legacy = capture("iptables").node_facts["node1"].raw["iptables-save.txt"].data.decode()
    both = altered(
        "iptables", "node1", "iptables-legacy-save.txt", lambda _: legacy.replace("(nf_tables)", "(legacy)")
    )
    assert found(audited(both, "web-clusterip"))["RUL005"] == {"node1"}
    left = altered("nftables", "node1", "iptables-save.txt", lambda _: legacy)
    assert found(audited(left, "web-clusterip"))["RUL007"] == {"node1"}


def test_a_wrong_cluster_cidr_is_found():
    wrong = altered("iptables", "node2", "kube-proxy-configz.json", swapped("10.244.0.0/16", "10.99.0.0/16"))
    assert "node2" in found(audited(wrong, "web-clusterip"))["RUL022"]


@pytest.mark.parametrize(
    ("mode", "dump", "where"),
    [
        ("iptables", "iptables-save-counters.txt", "line "),
        ("iptables", "ip6tables-save.txt", "line "),
        ("nftables", "nft.json", "unfinished at byte"),
        ("nftables", "ip-route.json", "truncated"),
    ],
)
def test_a_node_with_a_damaged_dump_is_unknown_and_the_others_are_not(mode, dump, where):
    answer = audited(altered(mode, "node2", dump, lambda text: text[: len(text) * 2 // 3]))
    assert {n.name: bool(n.unknown) for n in answer.nodes} == {"node1": False, "node2": True, "node3": False}
    [damaged] = [n for n in answer.nodes if n.unknown]
    assert damaged.unknown.startswith(f"node2/{dump}") and where in damaged.unknown
    assert (answer.verdict, answer.findings, exit_code(answer, "error")) == (Verdict.UNKNOWN, (), 3)


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_a_trace_by_rules_that_cannot_be_read_is_no_success(mode):
    dump = "iptables-save-counters.txt" if mode == "iptables" else "nft.json"
    held = altered(mode, "node2", dump, lambda text: text[:40_000])
    answer = answer_once(held, Request(ObjectTarget("Service", "np-cluster", "truth")), "truth")
    assert answer.verdict is Verdict.UNKNOWN
    assert [m.fact for m in answer.unknowns if m.required] == ["nodes/node2/rules"]


def test_addresses_that_nobody_collected_are_the_apis():
    """Without them no rule of nodePorts would match, and every one would seem to be missing."""
    held = capture("iptables")
    facts = {
        name: node_facts(name, {d: dump for d, dump in f.raw.items() if d != "ip-addr.json"})
        for name, f in held.node_facts.items()
    }
    bare = Snapshot({kind: held.of(kind) for kind in held.facts}, held.facts, facts)
    answer = audited(bare)
    assert (answer.verdict, answer.findings) == (Verdict.HEALTHY, ())
    nobody = Snapshot({k: held.of(k) for k in held.facts if k != Kind.NODE}, {}, facts)
    assert all("addresses" in n.unknown for n in audited(nobody).nodes)
