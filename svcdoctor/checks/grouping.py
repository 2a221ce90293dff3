"""Findings of many cases by their root cause: what many found alike is said once, with whom it affects."""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.model.checkup import Reported
from svcdoctor.model.finding import Finding

Key = tuple[str, str, tuple[str, ...], str]


def by_root_cause(found: Iterable[tuple[str, tuple[Finding, ...]]]) -> tuple[Reported, ...]:
    """The findings of ``(subject, findings)`` pairs, worst first, then those that affect most.

    Two are one where code, fix and field agree and so do the subjects other than Services: a node without rules is
    one cause, however many Services miss them. The worst one's words are kept.
    """
    worst: dict[Key, Finding] = {}
    affected: dict[Key, dict[str, None]] = {}
    for subject, findings in found:
        for finding in findings:
            key = _key(finding)
            held = worst.setdefault(key, finding)
            if finding.severity.rank < held.severity.rank:
                worst[key] = finding
            names = affected.setdefault(key, {})
            if subject:
                names[subject] = None
            names.update(dict.fromkeys(s for s in finding.subjects if s.startswith("Service/")))
    reported = [Reported(f, tuple(sorted(affected[key]))) for key, f in worst.items()]
    return tuple(
        sorted(
            reported,
            key=lambda r: (r.finding.severity.rank, -len(r.affects), r.finding.code, r.finding.subjects),
        )
    )


def _key(finding: Finding) -> Key:
    others = tuple(s for s in finding.subjects if not s.startswith("Service/"))
    return finding.code, finding.fix, others or finding.subjects, finding.field
