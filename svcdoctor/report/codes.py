"""The catalogue for people and programs: the list of codes, and one code's whole explanation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from svcdoctor.checks.catalogue import FAMILIES, explained_by, family_of, package_of
from svcdoctor.checks.registry import REGISTRY, Check
from svcdoctor.report.commands import fix_lines
from svcdoctor.report.glyphs import SEVERITY_STYLE
from svcdoctor.report.layout import Lines, Pen, stand_in, words
from svcdoctor.report.tables import github, plain
from svcdoctor.report.wording import counted

CODE = ("CODE", "SEVERITY", "TITLE")
WIDE_ENOUGH = 50  # columns, from which on titles stand in a column of their own
WIDEST = 100  # columns: longer lines are hard to read


def render_list(checks: Sequence[Check], console: Console) -> None:
    """Prints the codes by family."""
    pen = Pen.of(console, False, "")
    family = ""
    for check in checks:
        if family_of(check.code) != family:
            if family:
                console.print()
            family = family_of(check.code)
            about = FAMILIES.get(family) or f"of package {package_of(check.code)}"
            _print(console, pen.wrap(words((family, "bold"), f"  {about}"), 2))
        style = SEVERITY_STYLE[check.severity]
        line = words((check.code, "bold"), "  ", (f"{check.severity:<7}", style), f"  {check.title}")
        hang = len(check.code) + 11 if pen.width >= WIDE_ENOUGH else 2
        _print(console, [stand_in(part, 2) for part in pen.narrower(2).wrap(line, hang)])
    console.print()
    last = f"{counted(len(checks), 'code')}; svcdoctor explain CODE says what one means and how to mend it"
    _print(console, pen.wrap(words((last, "dim")), 2))


def table(checks: Sequence[Check], markdown: bool) -> str:
    """A row for each code."""
    rows = [[c.code, str(c.severity), c.title] for c in checks]
    return (github if markdown else plain)(CODE, rows)


def names(checks: Sequence[Check]) -> str:
    """A line for each code, the code alone."""
    return "".join(f"{c.code}\n" for c in checks)


def form(checks: Sequence[Check]) -> dict[str, Any]:
    """The JSON contract's document of these codes."""
    return {"apiVersion": "svcdoctor/v1", "kind": "Codes", "codes": [_entry(c) for c in checks]}


def _entry(check: Check) -> dict[str, Any]:
    return {
        "code": check.code,
        "severity": str(check.severity),
        "title": check.title,
        "meaning": check.meaning,
        "look": check.look,
        "mend": check.mend,
        "explains": sorted(check.explains),
        "links": list(check.links),
        "package": package_of(check.code),
    }


def render_whole(checks: Sequence[Check], console: Console) -> None:
    """Prints each code's explanation."""
    pen = Pen.of(console, False, "")
    if pen.width > WIDEST:
        pen = pen.narrower(pen.width - WIDEST)
    for i, check in enumerate(checks):
        if i:
            console.print()
        _print(console, _whole(pen, check))


def _whole(pen: Pen, check: Check) -> Lines:
    style = SEVERITY_STYLE[check.severity]
    found = pen.wrap(words((f"{check.code} {check.severity}", style), ": ", (check.title, "bold")), 2)
    package = package_of(check.code)
    if package in ("", "svcdoctor"):
        found += [Text(), *pen.wrap(words(check.meaning))]
    else:
        found += [
            Text(),
            *pen.wrap(words(check.meaning)),
            *pen.wrap(words((f"from package {package}", "dim"))),
        ]
    inner = pen.narrower(2)
    look = [Text(line, "bold") for part in check.look.split("; ") for line in fix_lines(part, inner.width)]
    found += _part(pen, "How to see it", look)
    found += _part(pen, "How to mend it", inner.wrap(words(check.mend)))
    found += _part(
        pen, "Its consequences, which are then not reported", _titles(inner, sorted(check.explains))
    )
    found += _part(
        pen, "It may itself be a consequence of", _titles(inner, [c.code for c in explained_by(check.code)])
    )
    return found + _part(pen, "More", [Text(link) for link in check.links])


def _part(pen: Pen, heading: str, lines: Lines) -> Lines:
    head = pen.wrap(words((f"{heading}:", "dim")))
    return [Text(), *head, *(stand_in(line, 2) for line in lines)] if lines else []


def _titles(pen: Pen, codes: Sequence[str]) -> Lines:
    return [
        line
        for code in codes
        for line in pen.wrap(
            words((code, "bold"), f"  {REGISTRY[code].title}" if code in REGISTRY else ""), 8
        )
    ]


def _print(console: Console, lines: Lines) -> None:
    for line in lines:
        console.print(line, soft_wrap=True)
