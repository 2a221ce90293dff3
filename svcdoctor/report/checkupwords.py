"""The words in which every renderer speaks of a checkup: what was looked at, what was found, what was left out."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator

from svcdoctor.checks.registry import listed
from svcdoctor.model.checkup import By, Checkup, Place, Reported, Row, Suppressed
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict
from svcdoctor.report.wording import counted

AFFECTED = 5  # objects that a finding affects, named; the others are counted
WORST_FIRST = (Verdict.BROKEN, Verdict.DEGRADED, Verdict.UNKNOWN, Verdict.HEALTHY)
EVERYWHERE = " (all namespaces)"  # how a fact about a kind says its scope
STDIN = "-"
NOWHERE = "cluster"  # stands for the subject of a finding that names none

_VERDICT = {
    Verdict.BROKEN: "broken",
    Verdict.DEGRADED: "degraded",
    Verdict.UNKNOWN: "unknown",
    Verdict.HEALTHY: "sound",
}
_BY = {
    By.SELECT: "not selected",
    By.IGNORE: "ignored",
    By.ANNOTATION: "ignored by an annotation",
    By.BASELINE: "known from the baseline",
}


def worst_first(rows: Iterable[Row]) -> list[Row]:
    """The rows, broken ones first and sound ones last, otherwise in the order given."""
    return sorted(rows, key=lambda r: WORST_FIRST.index(r.verdict))


def checked(checkup: Checkup) -> str:
    """``namespace shop: 3 Services, 1 Ingress``."""
    kinds = Counter(r.kind for r in checkup.rows)
    objects = ", ".join(f"{n:,} {kind if n == 1 else _plural(kind)}" for kind, n in kinds.items())
    return f"{checkup.scope}: {objects or 'nothing to check'}"


def _plural(kind: str) -> str:
    if kind.endswith("s"):
        return kind if kind == "Endpoints" else f"{kind}es"
    return f"{kind[:-1]}ies" if kind.endswith("cy") else f"{kind}s"


def by_verdict(rows: Iterable[Row]) -> str:
    """``2 broken, 1 degraded, 9 sound``."""
    counts = Counter(r.verdict for r in rows)
    return ", ".join(f"{counts[v]:,} {_VERDICT[v]}" for v in WORST_FIRST if counts[v])


def summary(checkup: Checkup) -> str:
    """The answer in one sentence or two."""
    rows = checkup.rows
    objects = f"{len(rows):,} object{'' if len(rows) == 1 else 's'}"
    if not rows:
        text = f"{checkup.scope}: nothing to check"
    elif all(r.verdict is Verdict.HEALTHY for r in rows):
        text = f"{objects}: {'sound' if len(rows) == 1 else 'all sound'}"
    else:
        text = f"{objects}: {by_verdict(rows)}"
    severities = Counter(r.finding.severity for r in checkup.findings)
    found = ", ".join(counted(severities[s], s.value) for s in Severity if severities[s])
    told = [found or "no finding"]
    if checkup.suppressed:
        told.append(f"{len(checkup.suppressed):,} suppressed")
    if checkup.problems:
        told.append(counted(len(checkup.problems), "problem"))
    return f"{text}; {', '.join(told)}."


def suppressed_words(suppressed: Iterable[Suppressed]) -> list[str]:
    """For each thing that suppresses, how many findings it left out, and of which codes."""
    found: dict[By, Counter[str]] = {}
    for s in suppressed:
        found.setdefault(s.by, Counter())[s.code] += 1
    return [
        f"{sum(found[by].values()):,} {_BY[by]} ({', '.join(f'{n:,} {c}' for c, n in sorted(found[by].items()))})"
        for by in By
        if by in found
    ]


def suppressed_because(one: Suppressed) -> str:
    """``OBJ025 ignored by an annotation``."""
    return f"{one.code} {_BY[one.by]}"


def subject(reported: Reported) -> str:
    """The first subject: whose fault it is."""
    return next(iter(reported.finding.subjects), NOWHERE)


def lacking(unknowns: Iterable[MissingFact]) -> tuple[MissingFact, ...]:
    """The facts that are not known, without those of one namespace where those of all are not known anyway."""
    found = tuple(unknowns)
    everywhere = {u.fact.partition(EVERYWHERE)[0] for u in found if EVERYWHERE in u.fact and not u.required}
    return tuple(
        u for u in found if u.required or EVERYWHERE in u.fact or u.fact.partition(" (")[0] not in everywhere
    )


def place_words(place: Place) -> str:
    """``deploy.yaml:12``."""
    return f"{place.file}:{place.line}"


def where(reported: Reported) -> str:
    """``deploy.yaml:12 (spec.ports[0].nodePort)``; what there is of them."""
    field = reported.finding.field
    if reported.place is None:
        return field
    return place_words(reported.place) + (f" ({field})" if field else "")


def affects(reported: Reported, most: int = AFFECTED) -> str:
    """The objects that suffer from it beside its subjects: the first few, and how many more."""
    own = set(reported.finding.subjects)
    return listed((a for a in reported.affects if a not in own), most)


def file_of(place: Place | None) -> str:
    """The manifest as a path for a CI system: ``./a.yaml`` is ``a.yaml``; empty where there is no file."""
    return "" if place is None or place.file == STDIN else posixpath.normpath(place.file)


def distinct(findings: Iterable[Reported]) -> Iterator[tuple[Reported, str]]:
    """Each finding with a fingerprint that no other one of these has: a second alike ends in ``:2``."""
    seen: Counter[str] = Counter()
    for reported in findings:
        mark = reported.fingerprint
        seen[mark] += 1
        yield reported, mark if seen[mark] == 1 else f"{mark}:{seen[mark]}"


def headline(reported: Reported) -> str:
    """``OBJ002 The selector matches no pod: Service/shop/web``."""
    return f"{reported.finding.code} {reported.finding.title}: {subject(reported)}"


def whole(reported: Reported) -> str:
    """The finding as paragraphs of plain text: where, why, by what that is seen, whom it affects, how to mend it."""
    finding = reported.finding
    parts = [headline(reported)]
    if len(finding.subjects) > 1:
        parts.append(f"also: {listed(finding.subjects[1:])}")
    if where(reported):
        parts.append(f"at {where(reported)}")
    if finding.explanation:
        parts.append(finding.explanation)
    parts += [f"- {line}" for line in finding.evidence]
    if affected := affects(reported):
        parts.append(f"affects {affected}")
    if finding.fix.strip():
        parts += ["fix:", finding.fix.rstrip()]
    return "\n".join(parts)
