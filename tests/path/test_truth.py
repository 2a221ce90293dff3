"""Answers against reality: every recorded probe of a real cluster, in both modes of kube-proxy.

The objects alone, and the nodes' rules with them, must predict what each probe met, or say
that they cannot tell. The counts are printed
(pytest -s) and pinned: an answer that turns from right to unknown is a loss too.
"""

import json
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.batch import answers
from svcdoctor.sources.archive import read_snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"
MEETS = {
    "connected": {"delivered"},
    "refused": {"refused"},
    "timeout": {"dropped"},
    "host-unreachable": {"dropped", "refused"},
}


def question(probe):
    source, target = probe["src"], probe["dst"]
    ip = target["ip"]
    asked = {"id": probe["id"], "protocol": probe["proto"]}
    asked["to"] = f"[{ip}]:{target['port']}" if ":" in ip else f"{ip}:{target['port']}"
    if source["kind"] == "external-client":
        own = [a for a in source["used"] or source["addrs"] if (":" in a) == (":" in ip)]
        asked["from"] = "external/" + next(a for a in own if a not in ("::1", "127.0.0.1"))
        # Where the client's routes lead: the recorded next hop, else the Service range by node2.
        asked["node"] = target["node"] or target["via"] or "node2"
    elif source["kind"] == "node":
        asked["from"] = f"node/{source['node']}"
    else:
        asked["from"] = f"pod/truth/{source['pod']}"
    return json.dumps(asked).encode()


def judge(probe, answer):
    """right, unknown or wrong."""
    outcomes = [o for o in answer["outcomes"] if o["probability"] > 0]
    results = {o["result"] for o in outcomes}
    if not outcomes or "unknown" in results:
        return "unknown"
    if probe["outcome"] == "mixed":
        if "delivered" not in results or len(results) < 2:
            return "wrong"
    elif not results <= MEETS[probe["outcome"]]:
        return "wrong"
    pods = {(o["backend"] or {}).get("pod") for o in outcomes if o["result"] == "delivered"}
    names = {f"truth/{name.split(':')[0]}" for name in probe["backends"]}
    if not names <= pods:
        return "wrong"
    if probe["outcome"] == "connected" and probe["source_kept"] in (True, False):
        seen = {o["sourceSeen"] for o in outcomes if o["result"] == "delivered"}
        if seen == {"node"} and probe["source_kept"]:
            return "wrong"
        if seen == {"client"} and not probe["source_kept"]:
            return "wrong"
    return "right"


def probes_of(mode):
    with tarfile.open(CAPTURES / f"{mode}.tar.gz") as tar:
        return [json.loads(x) for x in tar.extractfile(f"{mode}/probes.jsonl").read().splitlines()]


def snapshot_of(mode, basis):
    """The capture; for basis objects without the nodes' rules."""
    held = read_snapshot(CAPTURES / f"{mode}.tar.gz")
    if basis == "rules":
        return held
    facts = {name: replace(f, raw={}) for name, f in held.node_facts.items()}
    return Snapshot({k: held.of(k) for k in held.facts}, held.facts, facts, source=held.source)


def judged(mode, basis):
    """Every probe with its answer and verdict."""
    probes = probes_of(mode)
    replies = [json.loads(a) for a in answers(snapshot_of(mode, basis), [question(p) for p in probes])]
    assert [r["id"] for r in replies] == [p["id"] for p in probes]
    return [(p, r, judge(p, r)) for p, r in zip(probes, replies, strict=True)]


@pytest.mark.parametrize(("basis", "right"), [("objects", 466), ("rules", 479)])
@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_every_recorded_probe_is_predicted_or_unknown(mode, basis, right):
    found = judged(mode, basis)
    counts = Counter(verdict for _, _, verdict in found)
    print(
        f"{mode} by {basis}: agree {counts['right']}, unknown {counts['unknown']}, disagree {counts['wrong']}"
    )
    wrong = [(p, r) for p, r, verdict in found if verdict == "wrong"]
    assert not wrong, f"{len(wrong)} wrong, the first: {wrong[0]}"
    assert counts["right"] >= right
    if basis == "rules":
        assert Counter(r["basis"] for _, r, _ in found)["rules"] >= 491  # one pod asks its own address


OUTSIDE = {"manual", "manual-legacy", "blackhole"}
POLICY_LOCAL = {"itp-etp-local", "lb-local", "np-local", "term-only-local", "udp-local"}


@pytest.mark.parametrize(
    ("basis", "expected"),
    [("objects", OUTSIDE | POLICY_LOCAL | {"lb-proxymode"}), ("rules", OUTSIDE | {"lb-proxymode"})],
)
def test_what_stays_unknown_cannot_be_told(basis, expected):
    """Endpoints outside the cluster and other balancers; by objects alone also the CNI's masquerading."""
    unknown = {p["dst"]["service"] for p, _, verdict in judged("iptables", basis) if verdict == "unknown"}
    assert unknown == expected
