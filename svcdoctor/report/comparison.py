"""Two snapshots' difference, for people and programs: findings that came or went, then each Service's changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from svcdoctor.checks.registry import listed
from svcdoctor.model.checkup import Reported
from svcdoctor.model.comparison import Change, Compared, Comparison
from svcdoctor.model.trace import Verdict
from svcdoctor.path.jsonform import API_VERSION, unknown_json
from svcdoctor.report.checkupjson import reported_json
from svcdoctor.report.findings import finding_lines
from svcdoctor.report.glyphs import OF_VERDICT, SEVERITY_STYLE, STYLE
from svcdoctor.report.layout import Lines, Pen, encodable, stand_in, words
from svcdoctor.report.tables import github, plain
from svcdoctor.report.terminal import notes_lines, unknowns_lines
from svcdoctor.report.wording import counted

MANY = 3  # Services from which on a change that they share is shown once, not with each
SHOWN = 20  # Services, and changes of each, unless all are asked for
CHANGE = ("SERVICE", "OBJECT", "WHAT", "BEFORE", "AFTER")
FINDING = ("", "CODE", "SEVERITY", "SUBJECT", "TITLE")
SERVICE = ("SERVICE", "BEFORE", "AFTER", "CHANGES")


def render(answer: Comparison, console: Console, *, verbose: bool) -> None:
    """Prints the comparison to the console."""
    pen = Pen.of(console, verbose, "")
    for line in report_lines(pen, answer):
        console.print(encodable(line, console.encoding), soft_wrap=True)


def report_lines(pen: Pen, answer: Comparison) -> Lines:
    """The whole report."""
    shared = [c for c in answer.changes if len(c.services) > MANY]
    own = own_changes(answer)
    # Services that nothing but shared changes concern are told with those.
    shown = [s for s in answer.services if s.subject in own or s.before is not s.after]
    most = len(shown) if pen.verbose else SHOWN
    parts = [
        _headline(pen, answer),
        *([_reported(pen, "appeared", r)] for r in answer.appeared),
        *(
            [_head(pen, s.reported, f"{s.before} became {s.reported.finding.severity}")]
            for s in answer.shifted
        ),
        [[line for r in answer.gone for line in _head(pen, r, "gone")]],
        [[line for c in shared for line in _shared(pen, c)]],
        *([_service(pen, s, own.get(s.subject, []))] for s in shown[:most]),
        [_more(pen, len(shown) - most, "Service")],
        [unknowns_lines(pen, answer.unknowns)],
        [notes_lines(pen, answer.notes)],
    ]
    found: Lines = []
    for lines in (lines for part in parts for lines in _blocks(part) if lines):
        if found:
            found.append(Text())
        found += lines
    return found


def own_changes(answer: Comparison) -> dict[str, list[Change]]:
    """For each Service the changes that it does not share with many."""
    own: dict[str, list[Change]] = {}
    for change in answer.changes:
        for name in change.services if len(change.services) <= MANY else ():
            own.setdefault(name, []).append(change)
    return own


def _blocks(part: Any) -> Iterable[Lines]:
    """A part is lines, or a list of such."""
    return [part] if part and isinstance(part[0], Text) else part


def _headline(pen: Pen, answer: Comparison) -> Lines:
    text = words(("diff", "bold"), f"  {answer.before} → {answer.after}  {answer.scope}")
    if answer.same:
        said = f"nothing changed ({counted(answer.compared, 'Service')} compared)"
        return [*pen.wrap(text, 2), *pen.wrap(words((said, "bold green")))]
    said = f"{counted(answer.compared, 'Service')} compared, {len(answer.services)} changed; "
    said += f"{counted(len(answer.appeared), 'finding')} appeared, {len(answer.gone)} gone"
    if answer.shifted:
        said += f", {len(answer.shifted)} of another severity"
    return [*pen.wrap(text, 2), *pen.wrap(words(said))]


def _reported(pen: Pen, what: str, reported: Reported) -> Lines:
    found = [words((f"{what}:", "bold"))]
    lines = finding_lines(pen.narrower(2), reported.finding, whole=True)
    found += [stand_in(line, 2) for line in lines]
    others = [a for a in reported.affects if a not in reported.finding.subjects]
    if others:
        found += [stand_in(line, 4) for line in pen.narrower(4).wrap(words(f"affects {listed(others)}"), 2)]
    return found


def _head(pen: Pen, reported: Reported, what: str) -> Lines:
    finding = reported.finding
    style = SEVERITY_STYLE[finding.severity]
    line = words((f"{what}: ", "bold"), (f"{finding.code} {finding.severity}", style), f": {finding.title}")
    return pen.wrap(line.append_text(words(*(f"  {s}" for s in finding.subjects))), 2)


def _shared(pen: Pen, change: Change) -> Lines:
    services = f"  ({len(change.services)} Services: {listed(change.services, MANY)})"
    return pen.wrap(_change_words(change, change.subject).append_text(words((services, "dim"))), 2)


def _service(pen: Pen, service: Compared, changes: Sequence[Change]) -> Lines:
    head = words((service.subject, "bold"), "  ")
    head.append_text(_verdict(service.before)).append(" → ").append_text(_verdict(service.after))
    found = pen.wrap(head, 2)
    inner = pen.narrower(2)
    most = len(changes) if pen.verbose else SHOWN
    for change in changes[:most]:
        about = "" if change.subject == service.subject else change.subject
        found += [stand_in(line, 2) for line in inner.wrap(_change_words(change, about), 2)]
    return found + [stand_in(line, 2) for line in _more(inner, len(changes) - most, "change")]


def _verdict(verdict: Verdict | None) -> Text:
    if verdict is None:
        return words(("not there", "dim"))
    return words((str(verdict), STYLE[OF_VERDICT[verdict]]))


def _change_words(change: Change, about: str) -> Text:
    """``spec.selector: app=web → app=webb``; what is not there is gone, or new."""
    what = " ".join(filter(None, (about, change.part))) or "the Service"
    if change.after is None:
        return words(f"{what}: ", ("gone", "red"), f" (was {change.before})")
    if change.before is None:
        return words(f"{what}: ", ("new", "green"), f", {change.after}")
    return words(f"{what}: {change.before} → {change.after}")


def _more(pen: Pen, left: int, noun: str) -> Lines:
    return pen.wrap(words((f"and {counted(left, f'more {noun}')} (-v shows all)", "dim"))) if left > 0 else []


def table(answer: Comparison, markdown: bool) -> str:
    """Tables: the findings that came or went, the Services that differ, and every change."""
    draw = github if markdown else plain
    parts = [f"## {_title(answer)}\n"] if markdown else []
    if answer.same:
        return "\n".join([*parts, f"nothing changed ({counted(answer.compared, 'Service')} compared)\n"])
    findings = [["appeared", *_finding_row(r)] for r in answer.appeared]
    findings += [[f"was {s.before}", *_finding_row(s.reported)] for s in answer.shifted]
    findings += [["gone", *_finding_row(r)] for r in answer.gone]
    services = [[s.subject, _word(s.before), _word(s.after), str(s.changes)] for s in answer.services]
    changes = [
        [
            listed(c.services, MANY),
            "" if c.subject in c.services else c.subject,
            c.part,
            c.before or "",
            c.after or "",
        ]
        for c in answer.changes
    ]
    for headers, rows in ((FINDING, findings), (SERVICE, services), (CHANGE, changes)):
        if rows:
            parts.append(draw(headers, rows))
    return "\n".join(parts)


def _title(answer: Comparison) -> str:
    if answer.same:
        return "nothing changed"
    return f"{counted(len(answer.appeared), 'finding')} appeared, {len(answer.gone)} gone"


def _finding_row(reported: Reported) -> list[str]:
    f = reported.finding
    return [f.code, str(f.severity), ",".join(f.subjects), f.title]


def _word(verdict: Verdict | None) -> str:
    return "" if verdict is None else str(verdict)


def form(answer: Comparison) -> dict[str, Any]:
    """The JSON contract's document."""
    return {
        "apiVersion": API_VERSION,
        "kind": "Comparison",
        "before": answer.before,
        "after": answer.after,
        "scope": answer.scope,
        "compared": answer.compared,
        "services": [
            {"subject": s.subject, "before": s.before, "after": s.after, "changes": s.changes}
            for s in answer.services
        ],
        "changes": [
            {
                "subject": c.subject,
                "part": c.part,
                "before": c.before,
                "after": c.after,
                "services": list(c.services),
            }
            for c in answer.changes
        ],
        "appeared": [reported_json(r) for r in answer.appeared],
        "gone": [reported_json(r) for r in answer.gone],
        "shifted": [{**reported_json(s.reported), "was": s.before} for s in answer.shifted],
        "unknowns": [unknown_json(u) for u in answer.unknowns],
        "notes": list(answer.notes),
    }
