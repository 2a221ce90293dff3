"""``trace -o html``: the verdict, the causes with their fixes, every way drawn and as a table, what is not known."""

from __future__ import annotations

from itertools import zip_longest

from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Hop, Outcome, Path, Status, Trace
from svcdoctor.report.drawing.charting import charts, drawn_pictures
from svcdoctor.report.drawing.layout import lay_out
from svcdoctor.report.drawing.svg import sheet_svg
from svcdoctor.report.ends import alike, backend_name, share_seen
from svcdoctor.report.entries import entry_places, head
from svcdoctor.report.glyphs import OF_VERDICT
from svcdoctor.report.html.markup import (
    banner,
    finding_card,
    mark,
    notes_section,
    section,
    t,
    table,
    unknowns_section,
)
from svcdoctor.report.html.page import page
from svcdoctor.report.terminal import observed_words
from svcdoctor.report.ways import Branch, Picture
from svcdoctor.report.wording import address, balance, basis_words, counted, share

OPEN = 3  # findings whose evidence stands open
SOUND = 4  # sound ways that are drawn at once; further ones stand folded

ENTRIES = ("Who asks", "Comes in at", "Address", "Leads to", "Remark")
ENDS = ("Leads to", "Share", "Result", "Address", "Pod or host", "Node", "Sees as client", "Why", "Code")


def trace_page(trace: Trace) -> str:
    """The page."""
    target = trace.target
    name = f"{target.namespace}/{target.name}" if target.namespace else target.name
    count = balance(trace.paths) if trace.paths else "no way was found"
    said = [f"{count[:1].upper()}{count[1:]}." if count else ""]
    said += [f"Observed: {observed_words(trace)}."] if observed_words(trace) else []
    said.append(f"Basis: {basis_words(trace.paths)}.")
    status = OF_VERDICT[trace.verdict]
    body = [
        banner(status, str(trace.verdict), f"{target.kind} {name}", said),
        section("wrong", "What is wrong" if _wrong(trace) else "Worth knowing", _findings(trace)),
        section("way", "The way" if len(trace.paths) == 1 else "The ways", _ways(trace)),
        unknowns_section(trace.unknowns),
        notes_section(trace.notes),
    ]
    return page("trace", f"{trace.verdict}: {target.kind} {name}", "\n".join(filter(None, body)))


def _wrong(trace: Trace) -> bool:
    return any(f.severity is not Severity.INFO for f in trace.findings)


def _findings(trace: Trace) -> str:
    seen: set[str] = set()
    cards = []
    for i, finding in enumerate(trace.findings):
        ident = finding.code if finding.code not in seen else ""
        seen.add(finding.code)
        cards.append(finding_card(finding, opened=i < OPEN, ident=ident, place=finding.field))
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _ways(trace: Trace) -> str:
    parts: list[str] = []
    folded: list[str] = []
    sound = 0
    drawn = drawn_pictures(trace)
    for i, (chart, picture) in enumerate(zip(charts(trace, drawn), drawn, strict=True)):
        drawing = sheet_svg(lay_out(chart), f"way{i}")
        number = f"drawing {i + 1}"
        ways = counted(len(picture.paths), "way")
        caption = f"{mark(chart.status)}<h3>{t(chart.title)}</h3><span>{ways}</span>"
        figure = (
            f'<figure class="way"><figcaption>{caption}</figcaption>'
            f'<div class="scroll" role="region" tabindex="0" aria-label="{number}: {t(chart.title)}">{drawing}</div>'
            f"{_tables(trace, picture, number)}{_hops(picture)}</figure>"
        )
        sound += picture.ok
        (folded if picture.ok and sound > SOUND else parts).append(figure)
    if folded:
        summary = f"{counted(len(folded), 'more drawing')} of ways that are sound"
        parts.append(f'<details class="sound"><summary>{summary}</summary>{"".join(folded)}</details>')
    return "".join(parts)


def _tables(trace: Trace, picture: Picture, number: str) -> str:
    """What the drawing shows, in words, with nothing folded."""
    names = {id(b): chr(ord("A") + i % 26) + "'" * (i // 26) for i, b in enumerate(picture.branches)}
    entries: list[list[str]] = []
    ends: list[list[str]] = []
    for branch in picture.branches:
        for path in branch.paths:
            entries += _entries(path, names[id(branch)])
        ends += [_end(trace, o, names[id(branch)]) for group in alike(branch.ends) for o in group]
    body = table(f"Where requests come in, {number}", ENTRIES, entries)
    body += table(f"Where they end, {number}", ENDS, ends, (1,))
    return f"<details><summary>The same as tables</summary>{body}</details>"


def _entries(path: Path, leads: str) -> list[list[str]]:
    client = path.hops[0].title
    rows = entry_places(path)
    if not rows:
        place = address(path.entry.address, path.entry.port)
        return [[t(client), t(str(path.entry.kind)), f"<code>{t(place)}</code>", leads, ""]]
    return [
        [
            t(client),
            f"{mark(status) if status is not Status.OK else ''}{t(label.plain)}",
            f"<code>{t(place.plain)}</code>",
            leads,
            t(note),
        ]
        for status, label, place, note in rows
    ]


def _end(trace: Trace, outcome: Outcome, leads: str) -> list[str]:
    backend = outcome.backend
    place = address(backend.ip, backend.port) if backend is not None else ""
    name = backend_name(backend, trace.target.namespace) if backend is not None else ""
    shares = " ".join(filter(None, (share(outcome.probability), share_seen(outcome))))
    return [
        leads,
        t(shares),
        f'<span class="nowrap">{mark(outcome.status)}{t(str(outcome.result))}</span>',
        f"<code>{t(place)}</code>",
        f"<code>{t(name)}</code>",
        t(backend.node or "") if backend is not None else "",
        t(str(outcome.source_seen)),
        t(outcome.reason),
        f"<code>{t(outcome.code or '')}</code>",
    ]


def _hops(picture: Picture) -> str:
    """Every hop with its detail and the rules that decide it; those that ways have in common stand once."""
    parts = []
    for approach in picture.approaches:
        for branch in picture.branches:
            parts.append(f"<h4>{t(head(approach).plain)}{t(_nodes(branch, picture))}</h4>")
            paths = (p for p in branch.paths if p in approach.paths)
            hops = [h for step in zip_longest(*(p.hops for p in paths)) for h in dict.fromkeys(step) if h]
            parts.append(f'<ol class="hops">{"".join(map(_hop, hops))}</ol>')
    return f"<details><summary>Every hop</summary>{''.join(parts)}</details>"


def _nodes(branch: Branch, picture: Picture) -> str:
    names = dict.fromkeys(p.entry.node for p in branch.paths if p.entry.node)
    if not picture.fan or not names:
        return ""
    return f", {next(iter(names))}" if len(names) == 1 else f", {len(names)} nodes"


def _hop(hop: Hop) -> str:
    place = address(hop.address, hop.port)
    title = hop.title if hop.title.startswith(f"{hop.kind} ") else f"{hop.kind} {hop.title}"
    text = f"<b>{t(title)}</b>"
    text += f" <code>{t(place)}</code>" if place else ""
    text += f' <span class="soft">{t(hop.detail)}</span>' if hop.detail else ""
    if hop.observed is not None:
        seen = hop.observed
        predicted = "" if seen.predicted is seen.status else f" (predicted {seen.predicted})"
        text += f" <b>observed:</b> {t(f'{seen.status}{predicted}, {seen.detail}')}"
    if hop.rules:
        lines = "\n".join(map(t, hop.rules))
        text += f"<pre><code>{lines}</code></pre>"
    word = f'<span class="hidden">{hop.status}: </span>'
    return f"<li>{mark(hop.status)}<div>{word}{text}</div></li>"
