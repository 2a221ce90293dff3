"""A checkup as SARIF 2.1.0 (OASIS), for code scanning.

Every result has a physical location, because GitHub refuses a whole file for one that has none: where no manifest
is known, the subject's name stands for the file. Rules are the whole catalogue, in its order.
"""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import quote

from svcdoctor import __version__
from svcdoctor.checks.catalogue import catalogue
from svcdoctor.checks.registry import Check
from svcdoctor.model.checkup import By, Checkup, Place, Problem, Reported, Suppressed
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Severity
from svcdoctor.report.checkupwords import distinct, file_of, subject, suppressed_because, whole
from svcdoctor.report.printable import revealed
from svcdoctor.report.tables import escaped

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
HOME = "https://github.com/svcdoctor/svcdoctor"
FINGERPRINT = "svcdoctor/v1"
FOR_GITHUB = (
    "primaryLocationLineHash"  # the only one that code scanning reads; it makes its own where a file is
)

_LEVEL = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}


def sarif(checkup: Checkup) -> dict[str, Any]:
    """The document. ``baselineState`` is there where a baseline was compared with."""
    checks = {c.code: c for c in catalogue()}
    rules = {code: i for i, code in enumerate(checks)}
    compared = any(s.by is By.BASELINE for s in checkup.suppressed) or any(
        not r.new for r in checkup.findings
    )
    results = [_result(r, mark, rules, compared) for r, mark in distinct(checkup.findings)]
    results += [_suppressed(s, checks.get(s.code), rules, compared) for s in checkup.suppressed]
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "svcdoctor",
                        "version": __version__,
                        "informationUri": HOME,
                        "rules": [_rule(c) for c in checks.values()],
                    }
                },
                "invocations": [
                    {
                        "executionSuccessful": True,
                        "toolExecutionNotifications": [
                            *map(_problem, checkup.problems),
                            *map(_unknown, checkup.unknowns),
                        ],
                    }
                ],
                "results": results,
            }
        ],
    }


def _rule(c: Check) -> dict[str, Any]:
    parts = [("How to see it", c.look), ("How to mend it", c.mend), ("More", "\n".join(c.links))]
    text = "\n\n".join([c.meaning, *(f"{head}: {body}" for head, body in parts if body)])
    links = "".join(f"- <{link}>\n" for link in c.links)
    marked = [
        escaped(c.meaning),
        *(f"**{head}:** {escaped(body)}" for head, body in parts[:2] if body),
        links,
    ]
    rule: dict[str, Any] = {
        "id": c.code,
        "shortDescription": {"text": c.title},
        "fullDescription": {"text": c.meaning},
        "help": {"text": text, "markdown": "\n\n".join(filter(None, marked))},
        "defaultConfiguration": {"level": _LEVEL[c.severity]},
    }
    if c.links:
        rule["helpUri"] = c.links[0]
    return rule


def _result(r: Reported, mark: str, rules: dict[str, int], compared: bool) -> dict[str, Any]:
    prints = {FINGERPRINT: mark}
    if not file_of(r.place):
        prints[FOR_GITHUB] = mark
    result: dict[str, Any] = {
        **_rule_of(r.finding.code, rules),
        "level": _LEVEL[r.finding.severity],
        "message": {"text": revealed(whole(r))},
        "locations": [_location(subject(r), r.place)],
        "partialFingerprints": prints,
    }
    if compared:
        result["baselineState"] = "new" if r.new else "unchanged"
    if r.affects:
        result["properties"] = {"affects": [revealed(a) for a in r.affects]}
    return result


def _suppressed(s: Suppressed, check: Check | None, rules: dict[str, int], compared: bool) -> dict[str, Any]:
    title = check.title if check is not None else s.code
    kind = "inSource" if s.by is By.ANNOTATION else "external"
    result: dict[str, Any] = {
        **_rule_of(s.code, rules),
        "level": _LEVEL[check.severity] if check is not None else "note",
        "message": {"text": revealed(f"{s.code} {title}: {s.subject}")},
        "locations": [_location(s.subject, None)],
        "suppressions": [{"kind": kind, "justification": suppressed_because(s)}],
    }
    if compared:
        result["baselineState"] = "unchanged" if s.by is By.BASELINE else "new"
    return result


def _rule_of(code: str, rules: dict[str, int]) -> dict[str, Any]:
    return {"ruleId": code, "ruleIndex": rules[code]} if code in rules else {"ruleId": code}


def _location(name: str, place: Place | None) -> dict[str, Any]:
    return {
        "physicalLocation": _physical(file_of(place) or name, place),
        "logicalLocations": [
            {
                "name": revealed(name.rpartition("/")[2]),
                "fullyQualifiedName": revealed(name),
                "kind": "resource",
            }
        ],
    }


def _physical(path: str, place: Place | None) -> dict[str, Any]:
    line = place.line if place is not None else 1
    return {"artifactLocation": {"uri": _uri(path)}, "region": {"startLine": max(line, 1)}}


def _uri(path: str) -> str:
    """A path as a reference after RFC 3986; an absolute one with its scheme."""
    text = quote(path.encode("utf-8", "replace"))
    return f"file://{text}" if posixpath.isabs(path) else text


def _problem(p: Problem) -> dict[str, Any]:
    found: dict[str, Any] = {"level": "error", "message": {"text": revealed(p.message)}}
    if file := file_of(p.place):
        found["locations"] = [{"physicalLocation": _physical(file, p.place)}]
    return found


def _unknown(u: MissingFact) -> dict[str, Any]:
    text = f"not known: {u.fact}: {u.reason}" + (f"\n{u.grant}" if u.grant else "")
    return {"level": "warning" if u.required else "note", "message": {"text": revealed(text)}}
