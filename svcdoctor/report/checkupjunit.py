"""A checkup as JUnit's XML: a suite for each kind, a case for each object, the findings where they hurt.

Errors fail a case, warnings where the command fails for them; what does not fail stands in the case's output. What
could not be determined, or was suppressed whole, counts as skipped; an input's problem is an error of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.checkup import Checkup, Problem, Row, Suppressed
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict
from svcdoctor.report.checkupwords import headline, place_words, subject, suppressed_because, whole
from svcdoctor.report.junit import Case, Suite, Told, junit_xml

PROBLEMS = "problems"


@dataclass(frozen=True, slots=True)
class _Text:
    """A finding in words, made once however many objects it affects."""

    code: str
    fails: bool
    headline: str
    whole: str


def junit(checkup: Checkup, *, warnings_fail: bool) -> str:
    """The document. A finding of an object that was not itself checked has a case of its own."""
    failing = {Severity.ERROR, Severity.WARNING} if warnings_fail else {Severity.ERROR}
    rows = {r.subject: r for r in checkup.rows}
    findings: dict[str, list[_Text]] = {}
    suppressed: dict[str, list[Suppressed]] = {}
    for reported in checkup.findings:
        text = _Text(
            reported.finding.code, reported.finding.severity in failing, headline(reported), whole(reported)
        )
        whose = {*reported.affects, *reported.finding.subjects} & rows.keys()
        for name in sorted(whose) or [subject(reported)]:
            findings.setdefault(name, []).append(text)
    for one in checkup.suppressed:
        suppressed.setdefault(one.subject, []).append(one)
    suites: dict[str, list[Case]] = {}
    for name in dict.fromkeys([*rows, *findings, *suppressed]):
        case = _case(name, rows.get(name), findings.get(name, []), suppressed.get(name, []))
        suites.setdefault(name.partition("/")[0], []).append(case)
    found = [Suite(kind, cases) for kind, cases in suites.items()]
    if checkup.problems:
        found.append(Suite(PROBLEMS, [_problem(p) for p in checkup.problems]))
    return junit_xml(found)


def _case(
    name: str,
    row: Row | None,
    findings: list[_Text],
    suppressed: list[Suppressed],
) -> Case:
    bad = [t for t in findings if t.fails]
    told = [t.whole for t in findings if not t.fails]
    told += [f"suppressed: {suppressed_because(s)}" for s in suppressed]
    failure = None
    skipped = ""
    if bad:
        message = "; ".join(t.headline for t in bad)
        failure = Told(bad[0].code, message, "\n\n".join(t.whole for t in bad))
    elif row is not None and row.verdict is Verdict.BROKEN and not row.codes:
        failure = Told("broken", f"{name} is broken")
    elif row is not None and row.verdict is Verdict.UNKNOWN:
        skipped = "could not be determined"
    elif row is None and not findings:
        skipped = "; ".join(suppressed_because(s) for s in suppressed)
    where, _, short = name.rpartition("/")
    return Case(where.replace("/", "."), short, failure, None, skipped, "\n\n".join(told))


def _problem(p: Problem) -> Case:
    name = place_words(p.place) if p.place is not None else p.message
    return Case(PROBLEMS, name, error=Told("problem", p.message))
