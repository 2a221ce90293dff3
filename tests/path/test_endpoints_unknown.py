"""Endpoints that may not be read: nobody can say that there are none."""

from pathlib import Path

import pytest

from svcdoctor.checks.checkup import service_row
from svcdoctor.checks.diagnose import answer_once, exit_code
from svcdoctor.model.facts import Kind, Known, Unknown
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Result, Verdict
from svcdoctor.sources.archive import read_snapshot

CAPTURE = Path(__file__).parents[2] / "fixtures" / "captures" / "iptables.tar.gz"
HIDDEN = (Kind.ENDPOINT_SLICE, Kind.ENDPOINTS)


@pytest.fixture(scope="module")
def held():
    return read_snapshot(CAPTURE)


def without(held, *hidden):
    """What a user sees who may not read these kinds."""
    kinds = {k: held.of(k) for k in Kind if k not in hidden}
    facts = {k: (Unknown("forbidden", "grant it"),) if k in hidden else (Known(),) for k in Kind}
    return Snapshot(kinds, facts)


@pytest.mark.parametrize("name", ["np-cluster", "headless", "dual", "v6only", "lb-local", "itp-local"])
def test_it_is_not_known_where_requests_end(held, name):
    snapshot = without(held, *HIDDEN)
    answer = answer_once(snapshot, Request(ObjectTarget("Service", name, "truth")), "truth")
    assert answer.paths
    assert {o.result for p in answer.paths for o in p.outcomes} <= {Result.UNKNOWN}
    assert (answer.verdict, exit_code(answer, "error")) == (Verdict.UNKNOWN, 3)
    assert service_row(snapshot, snapshot.service("truth", name), answer.verdict).endpoints is None


def test_either_kind_is_enough_to_know(held):
    for hidden in HIDDEN:
        snapshot = without(held, hidden)
        for name, verdict in (("np-cluster", Verdict.HEALTHY), ("noep", Verdict.BROKEN)):
            answer = answer_once(snapshot, Request(ObjectTarget("Service", name, "truth")), "truth")
            assert answer.verdict is verdict, (hidden, name)
