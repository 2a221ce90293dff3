"""Findings of many cases by their root cause: what many found alike is said once, with whom it affects."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from svcdoctor.checks.meanwhile import of_many, without
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
    reported = [_reported(finding, tuple(sorted(affected[key]))) for key, finding in worst.items()]
    return tuple(
        sorted(
            reported,
            key=lambda r: (r.finding.severity.rank, -len(r.affects), r.finding.code, r.finding.subjects),
        )
    )


def _reported(finding: Finding, affected: tuple[str, ...]) -> Reported:
    services = sum(name.startswith("Service/") for name in affected)
    fix = of_many(finding.fix) if services > 1 else finding.fix
    return Reported(structs.replace(finding, fix=fix), affected)


def _key(finding: Finding) -> Key:
    others = tuple(s for s in finding.subjects if not s.startswith("Service/"))
    return finding.code, without(finding.fix), others or finding.subjects, finding.field
