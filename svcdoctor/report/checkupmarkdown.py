"""A checkup as Markdown, for a job's summary, a pull request or a ticket.

The tables come first; each finding's evidence folds out (``<details>``). GitHub takes a job summary of 1 MiB and
drops a larger one whole, so there are only so many rows, and details as long as there is room.
"""

from __future__ import annotations

from html import escape

from svcdoctor.model.checkup import Checkup, Reported
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Verdict
from svcdoctor.report.checkuptables import OBJECT, object_row
from svcdoctor.report.checkupwords import (
    affects,
    checked,
    headline,
    lacking,
    place_words,
    subject,
    summary,
    suppressed_words,
    where,
    worst_first,
)
from svcdoctor.report.printable import printable, printable_lines
from svcdoctor.report.tables import code_block, escaped, github

FINDING = ("CODE", "SEVERITY", "SUBJECT", "AFFECTS", "WHERE", "TITLE")
ROWS = 500  # of a table; the others are counted
DETAILS = 400_000  # bytes of all evidence and fixes
LINES = 20  # of one finding's evidence

_MARK = {Severity.ERROR: "✘", Severity.WARNING: "!", Severity.INFO: "i"}


def markdown(checkup: Checkup) -> str:
    """The document, with a newline at the end."""
    bad = [r for r in worst_first(checkup.rows) if r.verdict is not Verdict.HEALTHY]
    parts = [f"## svcdoctor: {escaped(summary(checkup))}\n", f"Checked {escaped(checked(checkup))}.\n"]
    if bad:
        parts.append(github(OBJECT, [object_row(r) for r in bad[:ROWS]]) + _more(len(bad) - ROWS, "object"))
    if checkup.findings:
        rows = [_row(r) for r in checkup.findings[:ROWS]]
        parts.append(github(FINDING, rows) + _more(len(checkup.findings) - ROWS, "finding"))
        parts += _details(checkup.findings)
    lines = [f"Suppressed: {words}" for words in suppressed_words(checkup.suppressed)]
    for p in checkup.problems:
        lines.append(f"Problem: {place_words(p.place) + ': ' if p.place is not None else ''}{p.message}")
    lines += [_unknown(u) for u in lacking(checkup.unknowns)]
    lines += [f"Note: {note}" for note in checkup.notes]
    if lines:
        parts.append(
            "".join(f"- {escaped(line)}\n" for line in lines[:ROWS]) + _more(len(lines) - ROWS, "line")
        )
    return "\n".join(parts)


def _more(left: int, what: str) -> str:
    return f"\nAnd {left:,} more {what}{'' if left == 1 else 's'}.\n" if left > 0 else ""


def _row(r: Reported) -> list[str]:
    f = r.finding
    more = f" and {len(f.subjects) - 1} more" if len(f.subjects) > 1 else ""
    return [f.code, str(f.severity), subject(r) + more, str(len(r.affects)), where(r), f.title]


def _unknown(u: MissingFact) -> str:
    return f"Not known{', and needed' if u.required else ''}: {u.fact}: {u.reason}"


def _details(findings: tuple[Reported, ...]) -> list[str]:
    found: list[str] = []
    room = DETAILS
    for i, reported in enumerate(findings):
        text = _detail(reported)
        room -= len(text.encode("utf-8", "replace"))
        if room < 0:
            left = len(findings) - i
            return [*found, f"Evidence and fixes of {left:,} more are left out: -o json has them all.\n"]
        found.append(text)
    return found


def _detail(r: Reported) -> str:
    f = r.finding
    title = escape(printable(f"{_MARK[f.severity]} {headline(r)}")).replace("@", "&#64;")
    parts = [f"<details><summary>{title}</summary>\n"]
    if f.explanation:
        parts.append(f"{escaped(f.explanation)}\n")
    lines = [f"at {where(r)}"] if where(r) else []
    lines += f.evidence[:LINES]
    if len(f.evidence) > LINES:
        lines.append(f"and {len(f.evidence) - LINES} more")
    if affected := affects(r):
        lines.append(f"affects {affected}")
    if lines:
        parts.append("".join(f"- {escaped(line)}\n" for line in lines))
    if f.fix.strip():
        parts.append(f"Fix:\n\n{code_block(printable_lines(f.fix))}")
    return "\n".join([*parts, "</details>\n"])
