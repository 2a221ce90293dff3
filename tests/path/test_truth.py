"""Objects against reality: every recorded probe of a real cluster, in both modes of kube-proxy.

The objects alone must predict what each probe met, or say that they cannot tell. The counts are printed
(pytest -s) and pinned: an answer that turns from right to unknown is a loss too.
"""

import json
import tarfile
from collections import Counter
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_every_recorded_probe_is_predicted_or_unknown(mode):
    path = CAPTURES / f"{mode}.tar.gz"
    with tarfile.open(path) as tar:
        lines = tar.extractfile(f"{mode}/probes.jsonl").read().splitlines()
    probes = [json.loads(line) for line in lines]
    replies = [json.loads(a) for a in answers(read_snapshot(path), [question(p) for p in probes])]
    assert [r["id"] for r in replies] == [p["id"] for p in probes]
    verdicts = [judge(p, r) for p, r in zip(probes, replies, strict=True)]
    counts = Counter(verdicts)
    print(f"{mode}: agree {counts['right']}, unknown {counts['unknown']}, disagree {counts['wrong']}")
    wrong = [(p, r) for p, r, v in zip(probes, replies, verdicts, strict=True) if v == "wrong"]
    assert not wrong, f"{len(wrong)} wrong, the first: {wrong[0]}"
    assert counts["right"] >= 456


def test_what_stays_unknown_is_what_objects_cannot_tell():
    """Endpoints outside the cluster, undeclared ports, other balancers, and the CNI's masquerading."""
    path = CAPTURES / "iptables.tar.gz"
    with tarfile.open(path) as tar:
        probes = [json.loads(x) for x in tar.extractfile("iptables/probes.jsonl").read().splitlines()]
    replies = [json.loads(a) for a in answers(read_snapshot(path), [question(p) for p in probes])]
    unknown = {p["dst"]["service"] for p, r in zip(probes, replies, strict=True) if judge(p, r) == "unknown"}
    outside = {"manual", "manual-legacy", "blackhole"}
    policy_local = {"itp-etp-local", "lb-local", "np-local", "term-only-local", "udp-local"}
    assert unknown == outside | policy_local | {"wrongport", "lb-proxymode"}
