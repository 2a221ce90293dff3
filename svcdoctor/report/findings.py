"""The findings on the terminal: what is wrong, by what that is seen, and how to repair it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from svcdoctor.model.finding import Finding, Severity
from svcdoctor.report.commands import fix_lines
from svcdoctor.report.glyphs import SEVERITY_STYLE
from svcdoctor.report.layout import Lines, Pen, under, words
from svcdoctor.report.printable import printable_lines

WHOLE = 3  # findings shown with evidence and fix; the others by their title
DECISIVE = 4  # lines of evidence of each


def findings_lines(pen: Pen, findings: Sequence[Finding]) -> Lines:
    """Every finding, in the order given: the root cause stands first."""
    found: Lines = []
    spaced = False
    for i, finding in enumerate(findings):
        whole = pen.verbose or (i < WHOLE and finding.severity is not Severity.INFO)
        if found and (whole or spaced):
            found.append(Text())
        found += finding_lines(pen, finding, whole=whole)
        spaced = whole
    if not pen.verbose and any(_shortened(i, f) for i, f in enumerate(findings)):
        if spaced:
            found.append(Text())
        found += pen.wrap(words(("all evidence and fixes with -v", "dim")))
    return found


def _shortened(index: int, finding: Finding) -> bool:
    return index >= WHOLE or finding.severity is Severity.INFO or len(finding.evidence) > DECISIVE


def finding_lines(pen: Pen, finding: Finding, *, whole: bool) -> Lines:
    """One finding: a title line, and with ``whole`` its evidence and fix."""
    found = head_lines(pen, finding)
    if not whole:
        return found
    found += evidence_lines(pen, finding)
    if pen.verbose:
        found += explanation_lines(pen, finding)
    return found + mending_lines(pen, finding)


def head_lines(pen: Pen, finding: Finding) -> Lines:
    """Code, severity, title and subjects."""
    style = SEVERITY_STYLE[finding.severity]
    head = words(
        (f"{finding.code} {finding.severity}", style),
        ": ",
        (finding.title, "bold"),
        *((f"  {s}", "") for s in finding.subjects),
    )
    return pen.wrap(head, 2)


def evidence_lines(pen: Pen, finding: Finding) -> Lines:
    """The decisive evidence, or all when verbose."""
    inner = pen.narrower(4)
    evidence = finding.evidence if pen.verbose else finding.evidence[:DECISIVE]
    found: Lines = []
    for line in evidence:
        found += under(inner.wrap(words(line)), "  - ", "    ")
    if len(finding.evidence) > len(evidence):
        more = len(finding.evidence) - len(evidence)
        found += under(inner.wrap(words((f"and {more} more", "dim"))), "    ", "    ")
    return found


def explanation_lines(pen: Pen, finding: Finding) -> Lines:
    """Why that is so."""
    inner = pen.narrower(4)
    found: Lines = []
    for line in printable_lines(finding.explanation):
        found += under(inner.wrap(words((line, "dim"))), "    ", "    ")
    return found


def mending_lines(pen: Pen, finding: Finding) -> Lines:
    """The fix, as it can be copied."""
    if not finding.fix.strip():
        return []
    inner = pen.narrower(4)
    return [
        Text("  fix:"),
        *(Text("    ").append(line, "bold") for line in fix_lines(finding.fix, inner.width)),
    ]
