"""``check -o html``: the counts, the causes and the objects of a checkup, of a handful or of thousands.

Theory. What says how it stands is written out: the verdict, the counts, every code with how often it was found. The
findings and objects themselves are compact JSON, of which ``checkup.js`` makes what is looked at; so a page of
thousands opens at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from svcdoctor.model.checkup import Checkup, Problem, Reported, Row
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.trace import Status, Verdict
from svcdoctor.report.checkup import basis_remark, worst
from svcdoctor.report.checkupwords import (
    WORST_FIRST,
    checked,
    lacking,
    place_words,
    subject,
    summary,
    suppressed_words,
    where,
    worst_first,
)
from svcdoctor.report.drawing.svg import MARKS
from svcdoctor.report.glyphs import OF_VERDICT
from svcdoctor.report.html.markup import (
    TONES,
    badge,
    banner,
    mark,
    notes_section,
    section,
    t,
    table,
    unknowns_section,
)
from svcdoctor.report.html.page import page
from svcdoctor.report.printable import printable, printable_lines

AFFECTED = 50  # objects that a finding affects, named; the others are counted
CODES = ("Severity", "Code", "What", "Findings", "Objects affected")
COLUMNS = ("Verdict", "Object", "Findings", "Endpoints", "Type", "Ports")


def checkup_page(checkup: Checkup) -> str:
    """The page."""
    status = worst(checkup)
    word = {
        Status.OK: "sound",
        Status.FAIL: "errors found",
        Status.WARN: "warnings",
        Status.UNKNOWN: "unknown",
    }
    head = banner(status, word[status], checkup.scope, (summary(checkup), f"Checked {checked(checkup)}."))
    suppressed = (f"suppressed: {text}" for text in suppressed_words(checkup.suppressed))
    notes = (*suppressed, *basis_remark(checkup), *checkup.notes)
    body = [
        head + _tiles(checkup.rows),
        section("problems", "Problems", "".join(map(_problem, checkup.problems))),
        section("codes", "Root causes", _codes(checkup.findings)),
        _tools(checkup),
        _listed(
            "wrong", "What is wrong", "findings", '<div class="cards" id="findings"></div>', checkup.findings
        ),
        _listed("checked", "Objects", "objects", _objects(), checkup.rows),
        unknowns_section(lacking(checkup.unknowns)),
        notes_section(notes),
    ]
    text = "\n".join(filter(None, body))
    return page("checkup", f"{word[status]}: {checkup.scope}", text, _data(checkup), "checkup.js")


def _tiles(rows: Sequence[Row]) -> str:
    """How many objects have each verdict; each is a switch that shows those alone."""
    counts = Counter(r.verdict for r in rows)
    tiles = "".join(
        f'<button type="button" class="tile {OF_VERDICT[v]}" aria-pressed="false" data-verdict="{v}">'
        f"{mark(OF_VERDICT[v])}<b>{counts[v]:,}</b> {v}</button>"
        for v in WORST_FIRST
        if counts[v]
    )
    return (
        f'<div class="tiles" role="group" aria-label="Show only objects that are">{tiles}</div>'
        if tiles
        else ""
    )


def _problem(problem: Problem) -> str:
    place = f"<code>{t(place_words(problem.place))}</code>: " if problem.place is not None else ""
    return f"<p>{mark(Status.FAIL)} {place}{t(problem.message)}</p>"


def _codes(findings: Sequence[Reported]) -> str:
    """Every code once, the worst and most frequent first."""
    held: dict[tuple[Severity, str], list[Reported]] = {}
    for reported in findings:
        held.setdefault((reported.finding.severity, reported.finding.code), []).append(reported)
    order = sorted(held.items(), key=lambda item: (item[0][0].rank, -len(item[1]), item[0][1]))
    rows = []
    for (severity, code), found in order:
        affected = {a for r in found for a in r.affects}
        button = f'<button type="button" class="code">{t(code)}</button>'
        shown = f'<span class="{TONES[severity]}">{badge(severity)}</span>'
        title = t(found[0].finding.title)
        rows.append((shown, button, title, f"{len(found):,}", f"{len(affected):,}" if affected else ""))
    return table("Codes that were found", CODES, rows, (3, 4)) if rows else ""


def _tools(checkup: Checkup) -> str:
    if not checkup.rows and not checkup.findings:
        return ""
    told = "A namespace, a name, a code, a word; several words must all occur"
    return (
        '<div class="tools" role="search"><label for="filter">Filter</label>'
        f'<input id="filter" type="search" autocomplete="off" spellcheck="false" title="{told}">'
        '<span class="soft"><kbd>/</kbd> to filter, <kbd>Esc</kbd> to clear</span></div>'
        "<noscript><p>The findings and objects are listed by a script of this page, which your reader does not run; "
        "<code>-o markdown</code> lists them without one.</p></noscript>"
    )


def _listed(ident: str, heading: str, name: str, holder: str, items: Sequence[object]) -> str:
    if not items:
        return ""
    count = f'<span class="soft" id="{name}-count" role="status">{len(items):,}</span>'
    further = f'<p class="further"><button type="button" id="{name}-further" hidden>Show more</button></p>'
    return section(ident, f"{heading} {count}", holder + further)


def _objects() -> str:
    return table("Every object that was checked, the worst first", COLUMNS, ()).replace(
        "<tbody>", '<tbody id="objects">'
    )


def _data(checkup: Checkup) -> dict[str, Any]:
    """What ``checkup.js`` reads. Strings that are often the same are numbers into ``strings``."""
    strings: dict[str, int] = {}

    def number(text: str) -> int:
        return strings.setdefault("\n".join(printable_lines(text)), len(strings))

    severities, verdicts = list(Severity), list(Verdict)
    findings = [_finding(r, number, severities) for r in checkup.findings]
    rows = [
        (
            number(r.kind),
            printable(r.namespace),
            printable(r.name),
            verdicts.index(r.verdict),
            [number(c) for c in r.codes],
            number(r.type),
            number(", ".join(r.ports)),
            r.endpoints,
        )
        for r in worst_first(checkup.rows)
    ]
    return {
        "strings": list(strings),
        "rows": rows,
        "findings": findings,
        "verdicts": verdicts,
        "severities": severities,
        "tones": TONES,
        "signs": {**TONES, **{v: OF_VERDICT[v] for v in verdicts}},
        "marks": MARKS,
    }


def _finding(reported: Reported, number: Any, severities: list[Severity]) -> tuple[Any, ...]:
    f: Finding = reported.finding
    own = set(f.subjects)
    others = [a for a in reported.affects if a not in own]
    return (
        printable(f.code),
        severities.index(f.severity),
        number(f.title),
        [printable(s) for s in (subject(reported), *f.subjects[1:])],
        [printable(line) for line in f.evidence],
        number(f.explanation),
        "\n".join(printable_lines(f.fix)),
        printable(where(reported)),
        [printable(a) for a in others[:AFFECTED]],
        len(others),
    )
