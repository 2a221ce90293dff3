"""A checkup: what is looked at, what is grouped, what is left out and counted, and the exit code."""

import random
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from ordinary_world import changed, snapshot_of, sound_cluster

from svcdoctor.checks.checkup import checkup, exit_code
from svcdoctor.checks.choosing import Choice
from svcdoctor.checks.grouping import by_root_cause
from svcdoctor.checks.registry import REGISTRY
from svcdoctor.cluster.yamldoc import load_documents
from svcdoctor.model.checkup import By, Reported
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Unknown
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict

FAULTS = Path(__file__).parents[2] / "fixtures" / "faults"


@dataclass
class Held:
    """A source that holds everything from the start."""

    held: Snapshot

    def snapshot(self):
        return self.held

    def refill(self, snapshot, needs):
        return snapshot


@dataclass
class Asked:
    """A source that gives what it is asked for, as a live cluster does, and remembers the rounds."""

    whole: Snapshot
    forbidden: frozenset = frozenset()
    rounds: list = field(default_factory=list)

    def snapshot(self):
        return Snapshot({}, {})

    def refill(self, snapshot, needs):
        self.rounds.append(needs)
        facts = {}
        for n in needs:
            fact = (
                Unknown("forbidden", f"allow {n.kind}", n.scope)
                if n.kind in self.forbidden
                else Known(n.scope)
            )
            facts.setdefault(n.kind, []).append(fact)
        kinds = set(facts) - set(self.forbidden)
        return snapshot.merged({k: self.whole.of(k) for k in kinds}, facts)


def named(objects, kind, name):
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)


def with_a_typo(objects, *names):
    for name in names or ("svc-0",):
        named(objects, "Service", name)["spec"]["selector"] = {"app": "ap-0"}
        for o in objects:
            if o["kind"] == "EndpointSlice" and o["metadata"]["labels"]["kubernetes.io/service-name"] == name:
                o["endpoints"] = []
            if o["kind"] == "Endpoints" and o["metadata"]["name"] == name:
                o["subsets"] = None
    return objects


def answer(objects, **options):
    return checkup(Held(snapshot_of(objects)), None, **options)


def test_a_sound_cluster_has_a_row_for_every_service_and_no_finding():
    found = answer(sound_cluster())
    assert found.findings == ()
    assert [r.name for r in found.rows] == [f"svc-{n}" for n in range(5)]
    assert {r.verdict for r in found.rows} == {Verdict.HEALTHY}
    assert found.rows[1].ports == ("80:30080→8080/TCP",)
    assert found.rows[0].endpoints == (2, 2)
    assert exit_code(found, "warning") == 0


def test_a_fault_is_one_finding_and_marks_its_row():
    found = answer(with_a_typo(sound_cluster()))
    assert [r.finding.code for r in found.findings] == ["OBJ002"]
    assert found.findings[0].affects == ("Service/shop/svc-0",)
    assert {r.name: r.verdict for r in found.rows}["svc-0"] is Verdict.BROKEN
    assert exit_code(found, "error") == 1
    assert exit_code(found, "never") == 0


def test_one_cause_of_many_services_is_told_once():
    objects = sound_cluster()
    named(objects, "Node", "n0")["status"]["conditions"][0]["status"] = "False"
    found = answer(objects)
    assert [r.finding.code for r in found.findings] == ["NOD009"]
    assert found.findings[0].finding.subjects == ("Node/n0",)
    assert len(found.findings[0].affects) == 5


def test_of_one_cause_the_worst_case_is_told():
    mild = Finding("EXT011", Severity.WARNING, "t", ("PeerAuthentication/mesh",), ("some",), "x", "f")
    worst = replace(mild, severity=Severity.ERROR, evidence=("all",))
    found = by_root_cause([("Service/a/b", (mild,)), ("Ingress/a/c", (worst,))])
    assert [(r.finding, r.affects) for r in found] == [(worst, ("Ingress/a/c", "Service/a/b"))]


def test_the_order_is_by_severity_then_by_how_many_suffer():
    objects = with_a_typo(sound_cluster(), "svc-0")
    named(objects, "Node", "n1")["status"]["conditions"][0]["status"] = "Unknown"
    codes = [r.finding.code for r in answer(objects).findings]
    assert codes == ["OBJ002", "NOD009"]


def test_the_answer_does_not_hang_on_the_order_of_the_objects():
    objects = with_a_typo(sound_cluster(), "svc-0", "svc-2")
    there, back = answer(objects), answer(list(reversed(objects)))
    assert there == answer(objects)
    assert there.rows == back.rows
    assert [(r.fingerprint, r.affects) for r in there.findings] == [
        (r.fingerprint, r.affects) for r in back.findings
    ]


def test_named_services_alone_are_looked_at():
    found = answer(with_a_typo(sound_cluster()), names=("svc-1",))
    assert [r.name for r in found.rows] == ["svc-1"]
    assert found.findings == ()


def test_a_name_that_is_not_there_is_answered_with_near_ones():
    found = checkup(Held(snapshot_of(sound_cluster())), "shop", names=("svc_0", "svc-1"))
    assert [r.finding.code for r in found.findings] == ["OBJ001"]
    assert "near names in shop: svc-0" in " ".join(found.findings[0].finding.evidence)
    assert exit_code(found, "error") == 1


def test_labels_choose_services():
    objects = sound_cluster()
    named(objects, "Service", "svc-3")["metadata"]["labels"] = {"tier": "front"}
    found = answer(objects, labels=lambda labels: labels.get("tier") == "front")
    assert [r.name for r in found.rows] == ["svc-3"]


# --- what is left out


def choice(**words):
    return Choice(**words)


def test_what_is_ignored_is_counted_and_fails_nothing():
    found = answer(with_a_typo(sound_cluster()), choice=choice(ignore=("OBJ002",)))
    assert found.findings == ()
    assert [(s.code, s.subject, s.by) for s in found.suppressed] == [
        ("OBJ002", "Service/shop/svc-0", By.IGNORE)
    ]
    assert exit_code(found, "warning") == 0


@pytest.mark.parametrize(
    ("select", "codes"), [(("OBJ",), ["OBJ002"]), (("NOD009",), ["NOD009"]), ((), ["OBJ002", "NOD009"])]
)
def test_select_takes_codes_and_their_beginnings(select, codes):
    objects = with_a_typo(sound_cluster())
    named(objects, "Node", "n1")["status"]["conditions"][0]["status"] = "False"
    found = answer(objects, choice=choice(select=select))
    assert [r.finding.code for r in found.findings] == codes
    assert {s.by for s in found.suppressed} <= {By.SELECT}


def test_severities_are_changed_and_change_the_exit_code():
    found = answer(
        with_a_typo(sound_cluster()),
        choice=choice(severities={"OBJ": Severity.ERROR, "OBJ002": Severity.INFO}),
    )
    assert [r.finding.severity for r in found.findings] == [Severity.INFO]
    assert exit_code(found, "warning") == 0


def annotated(codes):
    objects = with_a_typo(sound_cluster(), "svc-0", "svc-2")
    named(objects, "Service", "svc-0")["metadata"]["annotations"] = {"svcdoctor.io/ignore": codes}
    return objects


def test_an_annotation_speaks_for_its_own_object_only():
    found = answer(annotated("OBJ002, DNS001"))
    assert [r.affects for r in found.findings] == [("Service/shop/svc-2",)]
    assert [(s.subject, s.by) for s in found.suppressed] == [("Service/shop/svc-0", By.ANNOTATION)]
    assert found.problems == ()


def test_a_gate_disregards_annotations():
    found = answer(annotated("OBJ002"), choice=choice(annotations=False))
    assert len(found.findings) == 2
    assert found.suppressed == ()


def test_an_annotation_with_a_wrong_code_is_named_and_the_rest_of_it_holds():
    found = answer(annotated("OBJ02,OBJ002"))
    assert len(found.problems) == 0 or "OBJ02" in found.problems[0].message
    found = answer(annotated("OBJ999,OBJ002"))
    assert [p.message for p in found.problems] == [
        "Service/shop/svc-0: annotation svcdoctor.io/ignore: no code 'OBJ999'; near: "
        + found.problems[0].message.partition("near: ")[2]
    ]
    assert len(found.findings) == 1


def test_a_baseline_leaves_only_what_is_new():
    before = answer(with_a_typo(sound_cluster(), "svc-0"))
    known = frozenset(Reported(r.finding).fingerprint for r in before.findings)
    after = answer(with_a_typo(sound_cluster(), "svc-0", "svc-2"), choice=choice(baseline=known))
    assert [r.affects for r in after.findings] == [("Service/shop/svc-2",)]
    assert [s.by for s in after.suppressed] == [By.BASELINE]


# --- a source that must be asked


def test_a_live_source_is_asked_for_whole_lists_once():
    source = Asked(snapshot_of(sound_cluster()))
    found = checkup(source, None)
    assert [r.verdict for r in found.rows] == [Verdict.HEALTHY] * 5
    assert len(source.rounds) == 1
    assert all(n.scope.name is None for n in source.rounds[0] if n.kind is not Kind.NAMESPACE)


def test_what_broken_services_lack_is_asked_for_together():
    names = tuple(f"svc-{n}" for n in range(5))
    source = Asked(snapshot_of(with_a_typo(sound_cluster(), *names)))
    found = checkup(source, None)
    assert len(found.findings) == 5
    assert len(source.rounds) <= 3
    assert len(source.rounds[1]) < 10  # five Services lack the same workloads


def test_services_that_may_not_be_listed_leave_the_answer_open():
    found = checkup(Asked(snapshot_of(sound_cluster()), frozenset({Kind.SERVICE})), None)
    assert found.rows == ()
    assert [m.grant for m in found.unknowns if m.required] == ["allow Service"]
    assert exit_code(found, "error") == 3


def test_an_error_wins_over_what_is_not_known():
    objects = with_a_typo(sound_cluster())
    named(objects, "Service", "svc-1")["spec"]["type"] = "LoadBalancer"
    found = checkup(Asked(snapshot_of(objects), frozenset({Kind.NODE})), None)
    assert exit_code(found, "error") == 1


def test_a_source_that_fails_ends_the_run():
    class Broken(Held):
        def snapshot(self):
            raise SvcdoctorError("cannot be reached", exit_code=3)

    with pytest.raises(SvcdoctorError):
        checkup(Broken(snapshot_of([])), None)


def test_a_namespace_that_is_not_there_is_a_mistake_and_not_an_empty_one():
    objects = sound_cluster()
    with pytest.raises(SvcdoctorError, match=r"namespace shpo does not exist; near: shop"):
        checkup(Held(snapshot_of(objects)), "shpo")  # no Namespace is held, and everything else is elsewhere
    objects += [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in ("shop", "idle")]
    with pytest.raises(SvcdoctorError, match="namespace shpo does not exist"):
        checkup(Asked(snapshot_of(objects)), "shpo")
    assert exit_code(checkup(Asked(snapshot_of(objects)), "idle"), "error") == 0


def test_an_empty_cluster_is_sound():
    found = answer([])
    assert found.rows == ()
    assert exit_code(found, "warning") == 0


# --- whatever a cluster holds


@cache
def fault_clusters():
    """The broken clusters of the fixtures, as plain objects."""
    found = []
    for path in sorted(FAULTS.glob("*/broken.yaml")):
        documents = [d for d in load_documents(path.read_text(), path.name) if d]
        found.append([o for d in documents for o in (d["items"] if d["kind"].endswith("List") else [d])])
    return found


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_no_check_falls_over_whatever_is_changed_and_the_answer_is_the_same_twice(seed, times):
    chance = random.Random(seed)
    objects = chance.choice(fault_clusters())
    for _ in range(times):
        objects = changed(objects, chance)
    try:
        snapshot = snapshot_of(objects)
        found = checkup(Held(snapshot), None)
    except SvcdoctorError:
        return  # the change made something that is no object, which reading says
    assert found == checkup(Held(snapshot_of(objects)), None)
    for r in found.findings:
        assert r.finding.code in REGISTRY
        assert all((r.finding.subjects, r.finding.evidence, r.finding.explanation, r.finding.fix))
