"""Each fault of the catalogue has a broken cluster that raises its code first, and a healthy twin that raises none."""

import pytest
from faultpairs import CODES, ask

from svcdoctor.checks.diagnose import exit_code
from svcdoctor.checks.registry import REGISTRY
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict

WANTED = [*(f"OBJ{n:03}" for n in [*range(1, 19), *range(25, 30)]), "RUL009", "RUL010"]
WANTED += ["EXT001", "EXT002", "EXT004", "EXT007", "EXT008", "EXT009", "EXT011"]
WANTED += ["NOD012", "NOD013", "NOD014"]
WANTED += ["OBJ020", "OBJ021", "OBJ024", "OBJ031", "OBJ033", "OBJ035", "RUL017", "EXT005", "EXT006"]


def test_every_listed_fault_has_its_pair():
    assert sorted(WANTED) == CODES
    assert set(WANTED) <= set(REGISTRY)


@pytest.mark.parametrize("code", CODES)
def test_the_broken_cluster_raises_its_code_first(code):
    answer = ask(code, "broken")
    assert answer.findings[0].code == code
    first = answer.findings[0]
    assert first.evidence
    assert first.fix
    assert first.subjects
    assert answer.verdict is not Verdict.HEALTHY or first.severity is Severity.INFO
    expected = 1 if first.severity is Severity.ERROR else 0
    assert exit_code(answer, "error") == expected


@pytest.mark.parametrize("code", CODES)
def test_the_healthy_twin_raises_nothing(code):
    answer = ask(code, "healthy")
    assert answer.findings == ()
    assert answer.verdict is Verdict.HEALTHY
    assert exit_code(answer, "warning") == 0


def test_near_miss_names_the_labels_and_mends_them():
    finding = ask("OBJ002", "broken").findings[0]
    assert any("app: bq-api-servce ≠ app: bq-api-service on 3 pods" in e for e in finding.evidence)
    assert finding.fix == (
        'kubectl -n sales patch svc bq-api-service-1 -p \'{"spec":{"selector":{"app":"bq-api-service"}}}\''
    )


def test_the_root_cause_is_on_the_outcome():
    answer = ask("OBJ002", "broken")
    assert {o.code for p in answer.paths for o in p.outcomes} == {"OBJ002"}


def test_a_missing_service_tells_the_near_name_and_the_other_namespace():
    evidence = " ".join(ask("OBJ001", "broken").findings[0].evidence)
    assert "payments-api" in evidence
    assert "billing" in evidence
