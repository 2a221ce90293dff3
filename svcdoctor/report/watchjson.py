"""The events of ``watch`` and its summary as JSON, one object for each. Times are RFC 3339 in UTC."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from svcdoctor.model.finding import Finding
from svcdoctor.model.observed import Latency
from svcdoctor.probe.watch.availability import Spell
from svcdoctor.probe.watch.events import (
    ChangesUnknown,
    EndpointChanged,
    Event,
    FindingChanged,
    ProbeChanged,
    ServiceChanged,
    SubjectSummary,
    WatchBegan,
    WatchSummary,
    WatchTroubled,
)
from svcdoctor.probe.watch.target import TargetName

Form = dict[str, Any]


def event_json(event: Event) -> str:
    """One event as one line."""
    form: Form = {"apiVersion": "svcdoctor/v1", "kind": "WatchEvent", "time": _time(event.at)}
    match event:
        case WatchBegan(_, namespace, service, port, interval):
            form |= {"type": "watching", "namespace": namespace, "service": service, "port": port or None}
            form |= {"probeInterval": interval}
        case EndpointChanged(_, name, ips, node, was, now):
            form |= {"type": "endpoint", "endpoint": name, "addresses": ips, "node": node or None}
            form |= {"was": was, "now": now}
        case ServiceChanged(_, was, now, why, ready, endpoints):
            form |= {"type": "service", "was": was, "now": now, "reason": why, "ready": ready}
            form |= {"endpoints": endpoints}
        case ProbeChanged(_, target, was, now, detail, seconds):
            form |= {"type": "probe", **_target(target), "was": was, "now": now}
            form |= {"seconds": round(seconds, 6), "detail": detail}
        case FindingChanged(_, finding, there):
            form |= {"type": "finding", "there": there, **_finding(finding)}
        case ChangesUnknown(_, since, why):
            form |= {"type": "changesUnknown" if why is not None else "changesKnown"}
            form |= {"since": _time(since), "reason": why}
        case WatchTroubled(_, why):
            form |= {"type": "trouble", "reason": why}
    return _encoded(form)


def summary_json(summary: WatchSummary) -> str:
    """The summary as one line."""
    return _encoded(
        {
            "apiVersion": "svcdoctor/v1",
            "kind": "WatchSummary",
            "time": _time(summary.end),
            "start": _time(summary.start),
            "seconds": round(summary.end - summary.start, 3),
            "namespace": summary.namespace,
            "service": summary.service,
            "port": summary.port or None,
            "state": summary.state,
            "exitCode": summary.exit_code,
            "unavailable": _spells(summary.unavailable, summary.end),
            "unavailableCount": summary.count,
            "unavailableSeconds": round(summary.total, 3),
            "unknown": _spells(summary.unknown, summary.end),
            "changesUnknown": _spells(summary.silent, summary.end),
            "fewestReady": (
                None
                if summary.fewest is None
                else {"endpoints": summary.fewest[0], "time": _time(summary.fewest[1])}
            ),
            "endpoints": [_subject(s, summary.end) for s in summary.endpoints],
            "endpointsForgotten": summary.forgotten,
            "entries": [_subject(s, summary.end) for s in summary.entries],
            "findings": [
                {**_finding(f.finding), "there": _spells(f.spells, summary.end)} for f in summary.findings
            ],
        }
    )


def _subject(subject: SubjectSummary, end: float) -> Form:
    return {
        "name": subject.name,
        "node": subject.where or None,
        "state": subject.state,
        "came": None if subject.came is None else _time(subject.came),
        "left": None if subject.left is None else _time(subject.left),
        "unavailable": _spells(subject.unavailable, end),
        "unavailableCount": subject.count,
        "unavailableSeconds": round(subject.total, 3),
        "unknown": _spells(subject.unknown, end),
        "probes": [
            {
                **_target(probe.target),
                "sent": probe.sent,
                "failed": probe.failed,
                "everAnswered": probe.answered,
                "latency": _latency(probe.latency),
            }
            for probe in subject.probes
        ],
    }


def _target(target: TargetName) -> Form:
    return {"subject": target.subject, "entry": target.way, "address": target.ip, "port": target.port}


def _latency(latency: Latency | None) -> Form | None:
    if latency is None:
        return None
    return {name: round(seconds, 6) for name, seconds in msgspec.structs.asdict(latency).items()}


def _finding(finding: Finding) -> Form:
    return msgspec.structs.asdict(finding)


def _spells(spells: Iterable[Spell], end: float) -> list[Form]:
    return [
        {
            "start": _time(s.start),
            "end": None if s.end is None else _time(s.end),
            "seconds": round(s.seconds(end), 3),
            "reason": s.why,
        }
        for s in spells
    ]


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(form: Form) -> str:
    return json.dumps(form)
