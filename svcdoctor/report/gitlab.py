"""A checkup as GitLab's code quality report: what a merge request shows beside the change.

GitLab compares two reports by fingerprint, which must be the finding's own in its report. A finding without a file
stands at its subject's name.
"""

from __future__ import annotations

import hashlib
from typing import Any

from svcdoctor.model.checkup import Checkup, Problem, Reported
from svcdoctor.model.finding import Severity
from svcdoctor.report.checkupwords import distinct, file_of, headline, subject
from svcdoctor.report.printable import revealed

_SEVERITY = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.INFO: "info"}


def code_quality(checkup: Checkup) -> list[dict[str, Any]]:
    """An entry for each finding, and for each problem, in which not all could be checked."""
    return [
        *(_finding(r, mark) for r, mark in distinct(checkup.findings)),
        *(_problem(p) for p in dict.fromkeys(checkup.problems)),
    ]


def _problem(p: Problem) -> dict[str, Any]:
    path = file_of(p.place) or "svcdoctor"
    line = p.place.line if p.place is not None else 1
    mark = hashlib.sha256(f"{path}\0{line}\0{p.message}".encode("utf-8", "replace")).hexdigest()[:32]
    return _entry(p.message, "problem", mark, "major", path, line)


def _finding(r: Reported, fingerprint: str) -> dict[str, Any]:
    finding = r.finding
    text = headline(r)
    if finding.explanation:
        text += f". {finding.explanation}"
    path = file_of(r.place) or subject(r)
    line = r.place.line if r.place is not None else 1
    return _entry(text, finding.code, fingerprint, _SEVERITY[finding.severity], path, line)


def _entry(
    description: str, check: str, fingerprint: str, severity: str, path: str, line: int
) -> dict[str, Any]:
    return {
        "description": " ".join(revealed(description).split()),
        "check_name": check,
        "fingerprint": fingerprint,
        "severity": severity,
        "location": {"path": revealed(path), "lines": {"begin": max(line, 1)}},
    }
