"""A checkup on the terminal: the objects that are not sound, then each root cause with what repairs it.

Theory. A person reads the end of what scrolled by, so the summary is the last line, and the findings stand nearer to
it than the table. Sound objects are counted. What many objects suffer from is said once, with whom it affects.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from svcdoctor.model.checkup import Checkup, Problem, Reported, Row
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Status, Verdict
from svcdoctor.report.checkupwords import (
    AFFECTED,
    affects,
    by_verdict,
    checked,
    lacking,
    place_words,
    summary,
    suppressed_words,
    where,
    worst_first,
)
from svcdoctor.report.findings import evidence_lines, explanation_lines, head_lines, mending_lines
from svcdoctor.report.glyphs import ASCII, OF_VERDICT, STYLE
from svcdoctor.report.layout import Lines, Pen, encodable, under, words
from svcdoctor.report.terminal import NODE_RULES, notes_lines, unknowns_lines

ROWS = 40  # objects in the table; the others are counted
WHOLE = 10  # findings with evidence and fix; the others by their title
PORTS = 2  # of a Service, in its row


def render(checkup: Checkup, console: Console, *, verbose: bool) -> None:
    """Prints the checkup to the console, no line wider than it (but for a command's own words)."""
    pen = Pen.of(console, verbose, _namespace(checkup))
    for part in report_lines(pen, checkup):
        console.print(encodable(part, console.encoding), soft_wrap=True)


def report_lines(pen: Pen, checkup: Checkup) -> Lines:
    """The whole report."""
    last = pen.wrap(words(pen.mark(worst(checkup)), " ", (summary(checkup), "bold")), 2)
    parts = [
        pen.wrap(words(("checked ", "dim"), checked(checkup)), 2),
        _rows(pen, checkup.rows),
        _findings(pen, checkup),
        [line for p in checkup.problems for line in _problem(pen, p)],
        unknowns_lines(pen, lacking(checkup.unknowns)),
        notes_lines(pen, checkup.notes),
        [*_remarks(pen, checkup), *last],
    ]
    found: Lines = []
    for part in filter(None, parts):
        if found:
            found.append(Text())
        found += part
    return found


def _namespace(checkup: Checkup) -> str:
    """The namespace of all objects, which is then not repeated; empty for several."""
    names = {r.namespace for r in checkup.rows}
    return names.pop() if len(names) == 1 else ""


def worst(checkup: Checkup) -> Status:
    """How it stands, in one status."""
    severities = {r.finding.severity for r in checkup.findings}
    verdicts = {r.verdict for r in checkup.rows}
    if Severity.ERROR in severities or Verdict.BROKEN in verdicts:
        return Status.FAIL
    if Verdict.UNKNOWN in verdicts or any(u.required for u in checkup.unknowns):
        return Status.UNKNOWN
    bad = Severity.WARNING in severities or Verdict.DEGRADED in verdicts or checkup.problems
    return Status.WARN if bad else Status.OK


def _rows(pen: Pen, rows: tuple[Row, ...]) -> Lines:
    shown = [r for r in worst_first(rows) if pen.verbose or r.verdict is not Verdict.HEALTHY]
    left = [] if pen.verbose else shown[ROWS:]
    if left:
        shown = shown[:ROWS]
    found = [line for lines in pen.columns([_row(pen, r) for r in shown]) for line in lines]
    if left:
        found += pen.wrap(words((f"and {by_verdict(left)} more; all with -v", "dim")), 2)
    sound = sum(r.verdict is Verdict.HEALTHY for r in rows)
    if sound and shown and not pen.verbose:
        found += pen.wrap(words((f"and {sound:,} sound", "dim")), 2)
    return found


def _row(pen: Pen, r: Row) -> list[Text]:
    status = OF_VERDICT[r.verdict]
    name = r.name if not r.namespace or r.namespace == pen.namespace else f"{r.namespace}/{r.name}"
    ready = "" if r.endpoints is None else f"{r.endpoints[0]}/{r.endpoints[1]} ready"
    return [
        Text.assemble(pen.mark(status), " ", (str(r.verdict), STYLE[status])),
        words(f"{r.kind} ", (name, "bold")),
        words(", ".join(r.codes)),
        words(ready),
        words(r.type),
        words((_ports(pen, r), "dim")),
    ]


def _ports(pen: Pen, r: Row) -> str:
    shown = r.ports if pen.verbose else r.ports[:PORTS]
    more = len(r.ports) - len(shown)
    text = ", ".join(shown) + (f" and {more} more" if more else "")
    return text.replace("→", "->") if pen.glyphs is ASCII else text


def _findings(pen: Pen, checkup: Checkup) -> Lines:
    found: Lines = []
    spaced = False
    for i, reported in enumerate(checkup.findings):
        whole = pen.verbose or (i < WHOLE and reported.finding.severity is not Severity.INFO)
        if found and (whole or spaced):
            found.append(Text())
        found += _finding(pen, reported, whole)
        spaced = whole
    return found


def _finding(pen: Pen, reported: Reported, whole: bool) -> Lines:
    finding = reported.finding
    found = head_lines(pen, finding)
    inner = pen.narrower(4)
    if place := where(reported):
        found += under(inner.wrap(words("at ", (place, "cyan"))), "  ", "    ")
    if not whole:
        return found
    found += explanation_lines(pen, finding)
    found += evidence_lines(pen, finding)
    if affected := affects(reported, len(reported.affects) if pen.verbose else AFFECTED):
        found += under(inner.wrap(words(f"affects {affected}")), "  ", "    ")
    return found + mending_lines(pen, finding)


def _problem(pen: Pen, problem: Problem) -> Lines:
    place = f"{place_words(problem.place)}: " if problem.place is not None else ""
    return pen.wrap(words(("problem: ", "bold red"), (place, "cyan"), problem.message), 2)


def _remarks(pen: Pen, checkup: Checkup) -> Lines:
    """What the summary rests on: what was left out, and whether the nodes' rules were known."""
    found: Lines = []
    for text in suppressed_words(checkup.suppressed):
        found += pen.wrap(words((f"suppressed: {text}", "dim")), 2)
    for text in basis_remark(checkup):
        found += pen.wrap(words((text, "dim")), 2)
    shown = [r.finding.severity is not Severity.INFO for r in checkup.findings]
    if not pen.verbose and (not all(shown) or len(shown) > WHOLE):
        found += pen.wrap(words(("all evidence and fixes with -v", "dim")), 2)
    return found


def basis_remark(checkup: Checkup) -> tuple[str, ...]:
    """That the nodes' rules were not evaluated, where they were not known."""
    unknown = any(u.fact == NODE_RULES for u in checkup.unknowns)
    return ("basis: the API's objects; node rules not evaluated",) if unknown else ()
