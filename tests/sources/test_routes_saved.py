"""Gateways, routes, grants and mesh policies that were saved, plain or anonymised, are judged as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.facts import Kind
from svcdoctor.model.request import ClientSpec, ObjectTarget, Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import ClientKind
from svcdoctor.sources.anonymize import anonymize
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.writing import write_snapshot

FAULTS = Path(__file__).parents[2] / "fixtures" / "faults"
KINDS = (Kind.SERVICE, Kind.INGRESS, Kind.HTTP_ROUTE)


def judged(snapshot: Snapshot) -> list[tuple[Kind, str, tuple[str, ...]]]:
    """The verdict and codes of everything that requests go to, asked by each pod; names left out, sorted."""
    found = []
    clients = [None, *(ClientSpec(ClientKind.POD, p.name, p.namespace) for p in snapshot.pods)]
    for kind in KINDS:
        for obj in snapshot.of(kind):
            for client in clients if kind is Kind.SERVICE else clients[:1]:
                request = Request(ObjectTarget(str(kind), obj.name, obj.namespace), client)
                answer = answer_once(snapshot, request, obj.namespace)
                found.append((kind, str(answer.verdict), tuple(sorted(f.code for f in answer.findings))))
    return sorted(found)


@pytest.mark.parametrize("which", ["broken", "healthy"])
@pytest.mark.parametrize("code", ["EXT008", "EXT009", "EXT011"])
def test_saved_clusters_are_judged_as_before(tmp_path: Path, code: str, which: str) -> None:
    original = read_snapshot(FAULTS / code / f"{which}.yaml")
    before = judged(original)
    assert any(code in codes for _, _, codes in before) is (which == "broken")
    write_snapshot(original, tmp_path / "plain")
    assert judged(read_snapshot(tmp_path / "plain")) == before
    write_snapshot(anonymize(original, {}).snapshot, tmp_path / "anonymous")
    assert judged(read_snapshot(tmp_path / "anonymous")) == before
