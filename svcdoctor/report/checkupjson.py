"""A checkup after the JSON contract (schema.json), ready for JSON or YAML."""

from __future__ import annotations

from typing import Any

from svcdoctor.model.checkup import Checkup, Place, Reported, Row
from svcdoctor.path.jsonform import API_VERSION, finding_json, unknown_json


def checkup_json(c: Checkup) -> dict[str, Any]:
    """The whole answer. Each finding holds what a baseline of a later run needs."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Checkup",
        "scope": c.scope,
        "rows": [_row(r) for r in c.rows],
        "findings": [reported_json(r) for r in c.findings],
        "suppressed": [{"code": s.code, "subject": s.subject, "by": s.by} for s in c.suppressed],
        "problems": [{"message": p.message, "place": _place(p.place)} for p in c.problems],
        "unknowns": [unknown_json(u) for u in c.unknowns],
        "notes": list(c.notes),
    }


def _row(r: Row) -> dict[str, Any]:
    return {
        "kind": r.kind,
        "namespace": r.namespace,
        "name": r.name,
        "verdict": r.verdict,
        "codes": list(r.codes),
        "type": r.type or None,
        "ports": list(r.ports),
        "endpoints": None if r.endpoints is None else {"ready": r.endpoints[0], "all": r.endpoints[1]},
    }


def reported_json(r: Reported) -> dict[str, Any]:
    """One finding with whom it affects."""
    return {
        **finding_json(r.finding),
        "field": r.finding.field,
        "affects": list(r.affects),
        "place": _place(r.place),
        "new": r.new,
        "fingerprint": r.fingerprint,
    }


def _place(place: Place | None) -> dict[str, Any] | None:
    return None if place is None else {"file": place.file, "line": place.line}
