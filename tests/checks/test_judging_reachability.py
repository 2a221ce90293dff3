"""What comes of an expectation, by how the ways of its question end."""

import pytest

from svcdoctor.checks.reachability import Predicted, judge
from svcdoctor.model.checkup import Place
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.observed import Met, PlaceKind, ProbeKind
from svcdoctor.model.observed import Place as From
from svcdoctor.model.reachability import Expectation
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.seen import PathSeen
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import (
    Basis,
    Client,
    ClientKind,
    Entry,
    EntryKind,
    Outcome,
    Path,
    Result,
    SourceSeen,
    Status,
    TargetView,
    Trace,
    Verdict,
)

OK, WARN, FAIL, UNKNOWN = Status.OK, Status.WARN, Status.FAIL, Status.UNKNOWN
DELIVERED, REFUSED, DROPPED, OPEN = Result.DELIVERED, Result.REFUSED, Result.DROPPED, Result.UNKNOWN


class Nothing:
    """A source without facts."""

    def snapshot(self):
        return Snapshot({}, {})

    def refill(self, snapshot, needs):
        return snapshot


def path(*ends, address="10.0.0.1", seen=None):
    """``ends`` are results with their share and status."""
    outcomes = tuple(
        Outcome(result, share, None, SourceSeen.CLIENT, f"{result} for a reason", f"C{i}", status)
        for i, (result, share, status) in enumerate(ends)
    )
    basis = Basis.OBJECTS if seen is None else Basis.OBSERVED
    entry = Entry(EntryKind.CLUSTER_IP, None, address, 80, "TCP")
    return Path(Client(ClientKind.POD), entry, None, Verdict.HEALTHY, basis, (), outcomes, seen)


def requests(**met):
    counts = tuple((Met(word), count) for word, count in met.items())
    sent = sum(met.values())
    arrived = met.get("answered", 0) + met.get("reset", 0)
    return PathSeen(From(PlaceKind.HERE), ProbeKind.TCP, sent, arrived, met.get("answered", 0), counts)


def judged(expect, *paths, probed=False, **more):
    answer = Trace(Verdict.HEALTHY, TargetView("Service", "a", "web"), paths, **more)
    request = Request(ObjectTarget("Service", "web", "a"))
    one = Expectation("t", Place("f.yaml", 3), "a", "pod", "svc/web", request, expect)
    return judge(one, lambda asked: answer, Predicted(Nothing()), probed=probed)


TWO_OF_THREE = [(DELIVERED, 2 / 3, OK), (DROPPED, 1 / 3, FAIL)]
ENDS = [
    # What is expected, how the one way ends, and what comes of it.
    (DELIVERED, [(DELIVERED, 1.0, OK)], "passed", "delivered"),
    (DELIVERED, [(DELIVERED, 0.5, OK), (DELIVERED, 0.5, WARN)], "passed", "delivered"),
    (DELIVERED, TWO_OF_THREE, "failed", "delivered 66.7 %, dropped 33.3 %"),
    (DROPPED, TWO_OF_THREE, "failed", "delivered 66.7 %, dropped 33.3 %"),
    (
        DELIVERED,
        [(DELIVERED, 0.999, OK), (REFUSED, 0.001, FAIL)],
        "failed",
        "delivered 99.9 %, refused 0.1 %",
    ),
    (REFUSED, [(REFUSED, 1.0, FAIL)], "passed", "refused"),
    (REFUSED, [(DROPPED, 1.0, FAIL)], "failed", "dropped"),
    (DROPPED, [(DROPPED, 1.0, FAIL)], "passed", "dropped"),
    (DELIVERED, [(OPEN, 1.0, FAIL)], "failed", "fails"),
    (REFUSED, [(OPEN, 1.0, FAIL)], "unknown", "fails"),
    (DROPPED, [(OPEN, 1.0, FAIL)], "unknown", "fails"),
    (DELIVERED, [(OPEN, 1.0, OK)], "unknown", "unknown"),
    (DELIVERED, [(DELIVERED, 1.0, UNKNOWN)], "unknown", "unknown"),
    (DELIVERED, [(DELIVERED, 0.5, OK), (OPEN, 0.5, WARN)], "unknown", "delivered 50 %, unknown 50 %"),
    (DELIVERED, [(REFUSED, 0.5, FAIL), (OPEN, 0.5, UNKNOWN)], "failed", "refused 50 %, unknown 50 %"),
]


@pytest.mark.parametrize(("expect", "ends", "state", "got"), ENDS)
def test_how_one_way_ends(expect, ends, state, got):
    for address, shown in (("10.0.0.1", "10.0.0.1:80"), ("fd00::1", "[fd00::1]:80")):
        result = judged(expect, path(*ends, address=address))
        assert (str(result.state), result.got) == (state, f"{got} by clusterIP {shown}")


def test_every_way_counts_and_the_worst_is_named():
    good, bad = path((DELIVERED, 1.0, OK)), path((DROPPED, 1.0, FAIL), address="fd00::1")
    result = judged(DELIVERED, good, path(*TWO_OF_THREE), bad)
    assert result.got == "dropped by clusterIP [fd00::1]:80; 2 of 3 ways end otherwise"
    assert (str(result.state), result.why) == ("failed", "dropped for a reason")
    assert judged(DELIVERED, good, good).got == "delivered by all 2 ways"


def test_the_cause_is_the_finding_of_what_ends_otherwise():
    def finding(code, severity):
        return Finding(code, severity, f"title of {code}", (), (), "What it means.", "")

    findings = (finding("X1", Severity.ERROR), finding("C1", Severity.WARNING))
    result = judged(DELIVERED, path(*TWO_OF_THREE), findings=findings)
    assert (result.code, result.why) == ("C1", "title of C1. What it means.")
    result = judged(DELIVERED, path((DROPPED, 1.0, FAIL)), findings=findings[:1])
    assert result.code == "X1", "what else explains it"
    result = judged(DROPPED, path((DELIVERED, 1.0, OK)), findings=findings[:1])
    assert (result.code, result.why) == ("", "delivered for a reason"), "an error does not explain a success"


def test_required_facts_that_are_missing_keep_it_from_passing_and_not_from_failing():
    lacking = (MissingFact("Pod (namespace a)", "forbidden", "grant it", required=True),)
    result = judged(DELIVERED, path((DELIVERED, 1.0, OK)), unknowns=lacking)
    assert (str(result.state), result.why) == (
        "unknown",
        "Pod (namespace a) is not known: forbidden; grant it",
    )
    assert str(judged(DELIVERED, path((DROPPED, 1.0, FAIL)), unknowns=lacking).state) == "failed"


SEEN = [
    (DELIVERED, {"answered": 20}, "passed", "delivered"),
    (DELIVERED, {"answered": 15, "timeout": 5}, "failed", "delivered 75 %, dropped 25 %"),
    (
        DELIVERED,
        {"answered": 10, "refused": 5, "unreachable": 5},
        "failed",
        "delivered 50 %, refused 25 %, dr",
    ),
    (DELIVERED, {"reset": 20}, "passed", "delivered"),
    (REFUSED, {"refused": 20}, "passed", "refused"),
    (REFUSED, {"timeout": 20}, "failed", "dropped"),
    (DROPPED, {"timeout": 20}, "passed", "dropped"),
    (DROPPED, {"answered": 1, "timeout": 19}, "failed", "dropped 95 %, delivered 5 %"),
]


@pytest.mark.parametrize(("expect", "met", "state", "got"), SEEN)
def test_what_requests_met_decides(expect, met, state, got):
    predicted = [(DELIVERED, 1.0, OK)] if expect is not DELIVERED else [(DROPPED, 1.0, FAIL)]
    result = judged(expect, path(*predicted, seen=requests(**met)), probed=True)
    assert (str(result.state), result.got.startswith(got)) == (state, True), result.got
    assert result.basis is Basis.OBSERVED


def test_a_way_that_was_not_tried_is_not_known():
    result = judged(DELIVERED, path((DELIVERED, 1.0, OK)), probed=True)
    assert (str(result.state), result.why) == ("unknown", "no request by this way met anything that decides")


def test_what_cannot_be_asked():
    def fails(code):
        def ask(expectation):
            raise SvcdoctorError("no such pod", code)

        request = Request(ObjectTarget("Service", "web", "a"))
        one = Expectation("t", Place("f.yaml", 3), "a", "pod", "svc/web", request, DELIVERED)
        return lambda probed: judge(one, ask, Predicted(Nothing()), probed=probed)

    assert str(fails(2)(False).state) == "unknown"
    assert str(fails(3)(True).state) == "unknown"
    with pytest.raises(SvcdoctorError):
        fails(3)(False)
