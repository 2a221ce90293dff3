"""The JSON contract of the answers (``apiVersion: svcdoctor/v1``), as plain dicts and lists.

The one place where the model's names become the contract's camelCase names.
"""

from __future__ import annotations

from typing import Any

from svcdoctor.model.audit import Audit
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding
from svcdoctor.model.seen import PathSeen
from svcdoctor.model.trace import Hop, Outcome, Path, Trace

API_VERSION = "svcdoctor/v1"


def outcome_json(o: Outcome) -> dict[str, Any]:
    b = o.backend
    form = {
        "result": o.result,
        "probability": round(o.probability, 4),
        "backend": None
        if b is None
        else {"pod": b.pod, "ip": b.ip, "port": b.port, "node": b.node, "host": b.host},
        "sourceSeen": o.source_seen,
        "reason": o.reason,
        "code": o.code,
        "status": o.status,
    }
    if o.observed is not None:
        share = o.observed.share
        form["observed"] = {
            "answers": o.observed.answers,
            "share": round(share, 4) if share is not None else None,
            "direct": o.observed.direct,
            "tunnel": o.observed.tunnel,
        }
    return form


def hop_json(h: Hop) -> dict[str, Any]:
    form: dict[str, Any] = {
        "kind": h.kind,
        "title": h.title,
        "address": h.address,
        "port": h.port,
        "status": h.status,
        "detail": h.detail,
    }
    if h.rules:
        form["rules"] = list(h.rules)
    if h.observed is not None:
        form["observed"] = {
            "predicted": h.observed.predicted,
            "status": h.observed.status,
            "detail": h.observed.detail,
        }
    return form


def seen_json(s: PathSeen) -> dict[str, Any]:
    latency = s.latency
    form: dict[str, Any] = {
        "place": {"kind": s.place.kind, "name": s.place.name},
        "kind": s.kind,
        "sent": s.sent,
        "arrived": s.arrived,
        "answered": s.answered,
        "met": dict(s.met),
        "who": dict(s.who),
        "latency": None
        if latency is None
        else {name: round(getattr(latency, name), 6) for name in ("p50", "p90", "p99", "max")},
        "detail": s.detail,
        "agrees": s.agrees,
        "differs": s.differs,
        "payloadSize": s.payload_size,
    }
    if s.large is not None:
        form["large"] = seen_json(s.large)
    return form


def path_json(p: Path) -> dict[str, Any]:
    port = p.service_port
    form = {
        "client": {"kind": p.client.kind, "name": p.client.name, "ip": p.client.ip},
        "entry": {
            "kind": p.entry.kind,
            "node": p.entry.node,
            "address": p.entry.address,
            "port": p.entry.port,
            "protocol": p.entry.protocol,
        },
        "servicePort": None
        if port is None
        else {
            "name": port.name,
            "port": port.port,
            "targetPort": port.target_port,
            "targetPortName": port.target_port_name,
        },
        "verdict": p.verdict,
        "basis": p.basis,
        "hops": [hop_json(h) for h in p.hops],
        "outcomes": [outcome_json(o) for o in p.outcomes],
    }
    if p.observed is not None:
        form["observed"] = seen_json(p.observed)
    return form


def trace_json(t: Trace) -> dict[str, Any]:
    """The whole answer, ready for JSON or YAML."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Trace",
        "verdict": t.verdict,
        "target": {
            "kind": t.target.kind,
            "namespace": t.target.namespace,
            "name": t.target.name,
            "ports": list(t.target.ports),
        },
        "paths": [path_json(p) for p in t.paths],
        "findings": [finding_json(f) for f in t.findings],
        "unknowns": [unknown_json(u) for u in t.unknowns],
        "notes": list(t.notes),
    }


def finding_json(f: Finding) -> dict[str, Any]:
    return {
        "code": f.code,
        "severity": f.severity,
        "title": f.title,
        "subjects": list(f.subjects),
        "evidence": list(f.evidence),
        "explanation": f.explanation,
        "fix": f.fix,
    }


def unknown_json(u: MissingFact) -> dict[str, Any]:
    return {"fact": u.fact, "reason": u.reason, "grant": u.grant, "required": u.required}


def audit_json(a: Audit) -> dict[str, Any]:
    """The whole audit, ready for JSON or YAML."""
    return {
        "apiVersion": API_VERSION,
        "kind": "RulesAudit",
        "verdict": a.verdict,
        "services": a.services,
        "nodes": [
            {
                "name": n.name,
                "mode": n.mode or None,
                "frontends": n.frontends,
                "differing": n.differing,
                "unanswered": n.unanswered,
                "unknown": n.unknown or None,
            }
            for n in a.nodes
        ],
        "findings": [finding_json(f) for f in a.findings],
        "unknowns": [unknown_json(u) for u in a.unknowns],
    }
