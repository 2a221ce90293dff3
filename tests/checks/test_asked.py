"""OBJ016: a number asked at the wrong place, on the saved clusters."""

from pathlib import Path

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.finding import Severity
from svcdoctor.model.request import Request
from svcdoctor.path.target import parse_target
from svcdoctor.sources.archive import read_snapshot

FIXTURES = Path(__file__).parents[2] / "fixtures"
POD = "pod/bq-api-service-deploy-sample-f448cf6ff-c8zlp"


@pytest.mark.parametrize(
    ("target", "severity", "says"),
    [
        (
            "svc/bq-api-service-1:8080",
            Severity.ERROR,
            "8080 is the pods' targetPort; the cluster IP answers on 32111",
        ),
        ("10.105.158.88:31372", Severity.ERROR, "31372 is the nodePort"),
        ("192.168.0.6:32111", Severity.ERROR, "32111 is the port of Service default/bq-api-service-1"),
        ("192.168.0.6:8080", Severity.WARNING, "nodes answer on its nodePort 31372"),
        (f"{POD}:32111", Severity.WARNING, "pods answer on its targetPort 8080"),
        (f"{POD}:31372", Severity.WARNING, "31372 is the nodePort of Service default/bq-api-service-1"),
    ],
)
def test_the_wrong_place_for_a_number(target, severity, says):
    request = Request(parse_target(target, "default"))
    finding = answer_once(read_snapshot(FIXTURES / "nodeport"), request, "default").findings[0]
    assert finding.code == "OBJ016"
    assert finding.severity is severity
    assert says in finding.explanation


@pytest.mark.parametrize(
    "target", ["svc/bq-api-service-1:32111", "192.168.0.6:31372", f"{POD}:8080", "192.168.0.6:22"]
)
def test_the_right_place_raises_nothing(target):
    request = Request(parse_target(target, "default"))
    assert answer_once(read_snapshot(FIXTURES / "nodeport"), request, "default").findings == ()
