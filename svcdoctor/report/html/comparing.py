"""``diff -o html``: findings that came or went, and each Service with what changed on its way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from svcdoctor.checks.registry import listed
from svcdoctor.model.checkup import Reported
from svcdoctor.model.comparison import Change, Compared, Comparison, Shifted
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Status, Verdict
from svcdoctor.report.comparison import MANY, own_changes
from svcdoctor.report.glyphs import OF_VERDICT
from svcdoctor.report.html.markup import (
    TONES,
    badge,
    banner,
    finding_card,
    notes_section,
    section,
    t,
    unknowns_section,
    verdict_mark,
)
from svcdoctor.report.html.page import page
from svcdoctor.report.wording import counted

BECAME = '<span class="arrow" aria-hidden="true">→</span><span class="hidden">became</span>'


def comparison_page(answer: Comparison) -> str:
    """The page."""
    status = _status(answer)
    word = "nothing changed" if answer.same else "changed"
    if answer.appeared:
        word = f"{counted(len(answer.appeared), 'finding')} appeared"
    said = f"{counted(answer.compared, 'Service')} compared, {len(answer.services)} changed; "
    said += f"{counted(len(answer.appeared), 'finding')} appeared, {len(answer.gone)} gone"
    said += f", {len(answer.shifted)} of another severity." if answer.shifted else "."
    title = f"{answer.before} → {answer.after}"
    shared = [c for c in answer.changes if len(c.services) > MANY]
    own = own_changes(answer)
    shown = [s for s in answer.services if s.subject in own or s.before is not s.after]
    body = [
        banner(status, word, title, (said, f"Scope: {answer.scope}.")),
        section("appeared", "Findings that appeared", _cards(answer.appeared)),
        section("shifted", "Findings of another severity", "".join(map(_shifted, answer.shifted))),
        section("gone", "Findings that are gone", _gone(answer.gone)),
        section("shared", "Changes that many Services share", _shared(shared)),
        section("services", "Services", _services(shown, own)),
        unknowns_section(answer.unknowns),
        notes_section(answer.notes),
    ]
    return page("diff", f"{word}: {title}", "\n".join(filter(None, body)))


def _status(answer: Comparison) -> Status:
    severities = {r.finding.severity for r in answer.appeared}
    severities |= {s.reported.finding.severity for s in answer.shifted}
    if Severity.ERROR in severities:
        return Status.FAIL
    return Status.WARN if Severity.WARNING in severities else Status.OK


def _cards(reported: Sequence[Reported]) -> str:
    cards = []
    for i, one in enumerate(reported):
        others = listed(a for a in one.affects if a not in one.finding.subjects)
        cards.append(finding_card(one.finding, opened=i < MANY, place=one.finding.field, affects=others))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _line(reported: Reported, what: str) -> str:
    finding = reported.finding
    subjects = " ".join(f"<code>{t(s)}</code>" for s in finding.subjects)
    head = f'{badge(finding.severity)}<code class="code">{t(finding.code)}</code><h3>{t(finding.title)}</h3>'
    tone = TONES[finding.severity]
    return (
        f'<article class="finding {tone}"><div class="head">{head}<span class="soft">{t(what)}</span></div>'
        f'<p class="where">{subjects}</p></article>'
    )


def _shifted(shifted: Shifted) -> str:
    return _line(shifted.reported, f"was {shifted.before}")


def _gone(reported: Sequence[Reported]) -> str:
    lines = "".join(_line(r, "gone") for r in reported)
    return f'<div class="cards">{lines}</div>' if lines else ""


def _shared(changes: Sequence[Change]) -> str:
    lines = "".join(
        f"<li>{_change(c, c.subject)} "
        f'<span class="soft">({len(c.services)} Services: {t(listed(c.services, MANY))})</span></li>'
        for c in changes
    )
    return f'<ul class="notes">{lines}</ul>' if lines else ""


def _services(services: Iterable[Compared], own: dict[str, list[Change]]) -> str:
    parts = []
    for service in services:
        head = f"<h3>{t(service.subject)}</h3>{_verdict(service.before)}"
        head += f"{BECAME}{_verdict(service.after)}"
        lines = "".join(
            f"<li>{_change(c, '' if c.subject == service.subject else c.subject)}</li>"
            for c in own.get(service.subject, ())
        )
        lines = f'<ul class="notes">{lines}</ul>' if lines else ""
        parts.append(f'<article class="changed"><div class="head">{head}</div>{lines}</article>')
    return f'<div class="cards">{"".join(parts)}</div>' if parts else ""


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return '<span class="step soft">not there</span>'
    return f'<span class="step {OF_VERDICT[verdict]}">{verdict_mark(verdict)}</span>'


def _change(change: Change, about: str) -> str:
    what = t(" ".join(filter(None, (about, change.part))) or "the Service")
    before = f"<del><code>{t(change.before)}</code></del>" if change.before is not None else ""
    after = f"<ins><code>{t(change.after)}</code></ins>" if change.after is not None else ""
    if change.after is None:
        said = f"gone, was {before}"
    elif change.before is None:
        said = f"new, {after}"
    else:
        said = f"{before} {BECAME} {after}"
    return f'{what}: <span class="change">{said}</span>'
