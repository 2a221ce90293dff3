"""Pieces of HTML that every page is made of. All text goes through ``t``: nothing foreign is ever markup."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.trace import Status, Verdict
from svcdoctor.report.drawing.svg import sign
from svcdoctor.report.glyphs import OF_VERDICT
from svcdoctor.report.printable import printable, printable_lines

TONES = {Severity.ERROR: "fail", Severity.WARNING: "warn", Severity.INFO: "info"}  # colours and signs


def t(text: str) -> str:
    """Text as HTML shows it literally, in an element and in a quoted attribute."""
    return escape(printable(text))


def mark(status: str) -> str:
    """A status's sign; the word for it stands beside it."""
    return f'<svg class="mark" viewBox="-9 -9 18 18" aria-hidden="true">{sign(status, 0, 0)}</svg>'


def verdict_mark(verdict: Verdict) -> str:
    """The sign and the word."""
    return f"{mark(OF_VERDICT[verdict])}{verdict}"


def banner(status: Status, word: str, name: str, said: Iterable[str]) -> str:
    """The answer in a line, at the top of a page; ``said`` are sentences below it."""
    lines = "".join(f"<p>{t(line)}</p>" for line in said if line)
    head = f'<h1><span class="word">{t(word)}</span> <span class="name">{t(name)}</span></h1>'
    return f'<section class="verdict {status}">{mark(status)}{head}<div>{lines}</div></section>'


def section(ident: str, heading: str, body: str) -> str:
    """A part of the page under its heading; nothing where there is nothing to say."""
    if not body:
        return ""
    return f'<section aria-labelledby="{ident}"><h2 id="{ident}">{heading}</h2>{body}</section>'


def badge(severity: Severity) -> str:
    """A finding's severity, with its sign."""
    return f'<span class="badge">{mark(TONES[severity])}{severity}</span>'


def finding_card(
    finding: Finding, *, opened: bool, ident: str = "", place: str = "", affects: str = ""
) -> str:
    """A finding: what is wrong with what, by what that is seen, why, and what mends it."""
    named = f' id="{t(ident)}"' if ident else ""
    head = f'{badge(finding.severity)}<code class="code">{t(finding.code)}</code><h3>{t(finding.title)}</h3>'
    where = "".join(f"<code>{t(subject)}</code>" for subject in finding.subjects)
    where += f"<span>at <code>{t(place)}</code></span>" if place else ""
    parts = [f'<div class="head">{head}</div>']
    parts.append(f'<p class="where">{where}</p>' if where else "")
    parts += (f'<p class="why">{t(line)}</p>' for line in printable_lines(finding.explanation) if line)
    if finding.evidence:
        lines = "".join(f"<li>{t(line)}</li>" for line in finding.evidence)
        summary = f"Evidence ({len(finding.evidence)})"
        opening = " open" if opened else ""
        parts.append(
            f'<details class="evidence"{opening}><summary>{summary}</summary><ul>{lines}</ul></details>'
        )
    parts.append(f'<p class="more">affects {t(affects)}</p>' if affects else "")
    parts.append(fix(finding.fix))
    return f'<article class="finding {TONES[finding.severity]}"{named}>{"".join(parts)}</article>'


def fix(text: str) -> str:
    """What mends it, to be copied."""
    if not text.strip():
        return ""
    button = '<button type="button" class="copy" hidden>Copy</button>'
    return f'<div class="fix"><div class="row"><h4>Fix</h4>{button}</div>{code(text)}</div>'


def code(text: str) -> str:
    """Lines of code, as they can be copied."""
    lines = "\n".join(map(escape, printable_lines(text)))
    return f"<pre><code>{lines}</code></pre>"


def table(
    caption: str, headers: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()
) -> str:
    """A table of cells that are HTML already; ``numbers`` are the columns that stand right."""

    def cells(tag: str, row: Sequence[str], more: str = "") -> str:
        right = ' class="number"'
        return "".join(f"<{tag}{more}{right if i in numbers else ''}>{c}</{tag}>" for i, c in enumerate(row))

    head = cells("th", [t(h) for h in headers], ' scope="col"')
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    inner = f"<caption>{t(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{t(caption)}"><table>{inner}</table></div>'


def unknowns_section(unknowns: Sequence[MissingFact]) -> str:
    """What is not known, with what to grant; what is not needed for a verdict stands folded."""
    needed = "".join(map(_fact, (u for u in unknowns if u.required)))
    optional = "".join(map(_fact, (u for u in unknowns if not u.required)))
    body = f'<div class="facts">{needed}</div>' if needed else ""
    if optional:
        summary = "Not known, and not needed for the verdict"
        body += f'<details><summary>{summary}</summary><div class="facts">{optional}</div></details>'
    return section("unknown", "Not known", body)


def _fact(fact: MissingFact) -> str:
    need = "needed for a verdict: " if fact.required else ""
    grant = code(fact.grant) if fact.grant.strip() else ""
    return f"<div><p>{need}<b>{t(fact.fact)}</b>: {t(fact.reason)}</p>{grant}</div>"


def notes_section(notes: Sequence[str]) -> str:
    """What else is to be said."""
    lines = "".join(f"<li>{t(note)}</li>" for note in notes)
    return section("notes", "Notes", f'<ul class="notes">{lines}</ul>' if lines else "")
