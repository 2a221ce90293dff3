"""The ways through a load balancer, by the rules of real nodes."""

from pathlib import Path

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.request import Request
from svcdoctor.model.trace import EntryKind, Result, SourceSeen, Verdict
from svcdoctor.path.target import parse_target
from svcdoctor.sources.archive import read_snapshot

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_with_ip_mode_proxy_the_balancer_dials_the_node_port(mode):
    # kube-proxy makes no rule for such an address: its absence is not a fault.
    snapshot = read_snapshot(CAPTURES / f"{mode}.tar.gz")
    request = Request(parse_target("svc/lb-proxymode", "truth"), via=frozenset({EntryKind.LOAD_BALANCER}))
    answer = answer_once(snapshot, request, "truth")
    assert answer.findings == ()
    assert answer.verdict is Verdict.HEALTHY
    outcomes = answer.paths[0].outcomes
    assert {o.result for o in outcomes} == {Result.DELIVERED}
    assert {o.source_seen for o in outcomes} == {SourceSeen.NODE}
    # Three nodes take the balancer's connections; each pod is told once, with its share of all of them.
    pods = [o.backend.pod for o in outcomes]
    assert len(pods) == len(set(pods)) == 3
    assert sum(o.probability for o in outcomes) == pytest.approx(1.0)
