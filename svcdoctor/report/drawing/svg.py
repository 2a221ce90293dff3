"""A laid-out chart as SVG: for a page, which has the style sheet, and as a file of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from svcdoctor.model.trace import Status, Trace
from svcdoctor.report.drawing.chart import Box, Chart
from svcdoctor.report.drawing.charting import charts
from svcdoctor.report.drawing.layout import Placed, Sheet, Wire, lay_out
from svcdoctor.report.drawing.measure import CODE, HEAD, PROSE, TITLE, width
from svcdoctor.report.drawing.palette import standalone_style
from svcdoctor.report.drawing.setting import PAD, SIGN, Run
from svcdoctor.report.printable import printable
from svcdoctor.report.wording import balance

ROUND = 9.0  # of an edge's turns
TOLD = 12  # boxes of a kind that a description names; the others are counted
NARROW = 40.0  # pixels behind the rail that have no room for a sign
SOUND = 4  # sound charts in a file; the others are counted

MARKS: dict[str, str] = {
    "info": "M0-4v.2M0-1.2v5.2",
    Status.OK: "M-3.6 .2l2.4 2.6 4.6-5.2",
    Status.WARN: "M0-4.2v4.6M0 3.6v.2",
    Status.FAIL: "M-3-3l6 6M3-3l-6 6",
    Status.UNKNOWN: "M-2.3-1.9c.1-3.2 4.7-3.2 4.7-.1 0 2-2.4 1.9-2.4 3.6M0 4v.2",
}
_WORDS = {Status.OK: "ok", Status.WARN: "doubtful", Status.FAIL: "broken", Status.UNKNOWN: "not known"}


def sign(status: str, x: float, y: float) -> str:
    """The sign of a status, or of ``info``, in a circle, 16 wide, around a point."""
    mark = f'<circle r="8"/><path d="{MARKS[status]}"/>'
    return f'<g class="sign {status}" transform="translate({_n(x)} {_n(y)})">{mark}</g>'


def sheet_svg(sheet: Sheet, ident: str) -> str:
    """The drawing for a page; ``ident`` is unique in it. Findings' codes link to ``#CODE``."""
    size = f'width="{_n(sheet.width)}" height="{_n(sheet.height)}" viewBox="0 0 {_n(sheet.width)} {_n(sheet.height)}"'
    named = f'class="w{round(sheet.width / 100)}" role="group" aria-labelledby="{ident}-t" aria-describedby="{ident}-d"'
    texts = f'<title id="{ident}-t">{_t(sheet.chart.title)}</title>'
    texts += f'<desc id="{ident}-d">{_t(described(sheet.chart))}</desc>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {named}>{texts}{_body(sheet, links=True)}</svg>'


def svg(trace: Trace) -> str:
    """A file with every drawing of the trace, below each other; of many sound ones the first few."""
    drawn = charts(trace)
    sound = [c for c in drawn if c.status is Status.OK]
    left = sound[SOUND:]
    sheets = [lay_out(c) for c in drawn if c not in left]
    parts, y, wide = [], 24.0, 320.0
    target = f"{trace.verdict}: {trace.target.subject}"
    count = balance(trace.paths) if trace.paths else "no way was found"
    headline = f"{target}, {count}" if count else target
    parts.append(_text(Run(24, y + 10, headline, TITLE)))
    wide = max(wide, width(headline, TITLE))
    y += 34
    for sheet in sheets:
        head = sign(sheet.chart.status, 32, y + 4) + _text(Run(48, y + 9, sheet.chart.title, PROSE))
        parts.append(f'{head}<g transform="translate(24 {_n(y + 24)})">{_body(sheet, links=False)}</g>')
        wide = max(wide, sheet.width, 24 + width(sheet.chart.title, PROSE))
        y += sheet.height + 60
    told = {remark.code for sheet in sheets for _, remark in sheet.chart.remarks}
    lines = [f"{f.code} {f.severity}: {f.title}" for f in trace.findings if f.code not in told]
    lines += [f"and {len(left)} more that are sound"] if left else []
    for line in lines:
        parts.append(_text(Run(24, y, line, PROSE)))
        wide = max(wide, width(printable(line), PROSE))
        y += 20
    size = f"{_n(wide + 48)} {_n(y)}"
    w, h = size.split()
    about = " ".join(described(c) for c in drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {size}" role="img" '
        f'aria-labelledby="t d"><title id="t">{_t(headline)}</title><desc id="d">{_t(about)}</desc>'
        f'<style>{standalone_style()}</style><rect class="ground" width="100%" height="100%"/>'
        f"{''.join(parts)}</svg>\n"
    )


def described(chart: Chart) -> str:
    """The drawing in words, from left to right."""
    names = {box.key: _name(box) for box in chart.boxes}
    parts = [f"{chart.title}: {_WORDS[chart.status]}."]
    for lane in chart.lanes:
        entries = [f"{_name(b)}" for s in lane.sources for b in s.entries]
        ends = [box for block in lane.ends for box in block.boxes]
        labels = {e.target: e.label for e in chart.edges}
        told = [f"{names[b.key]} {labels.get(b.key, '')} {_WORDS[b.status]}" for b in ends]
        through = f" through {_name(lane.service)}" if lane.service is not None else ""
        parts.append(f"From {_few(entries)}{through} to {_few(told)}." if ends else f"{_few(entries)}.")
    parts += [f"{r.code} {r.finding.title}." for _, r in chart.remarks if r.finding and not r.told]
    return " ".join(parts)


def _name(box: Box) -> str:
    return " ".join(filter(None, (box.title, box.name, box.address)))


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(" ".join(n.split()) for n in names[:TOLD])
    return f"{shown} and {len(names) - TOLD} more" if len(names) > TOLD else shown


def _body(sheet: Sheet, *, links: bool) -> str:
    parts = [_text(Run(x, 11, heading, HEAD)) for x, heading in sheet.headings]
    parts += map(_line, sheet.wires)
    parts += (_placed(p, links) for p in sheet.placed)
    parts += _labels(sheet.wires)
    return "".join(parts)


def _line(wire: Wire) -> str:
    tone = _tone(wire.edge.status)
    end = wire.x2 - 7
    dy = wire.y2 - wire.y1
    if abs(dy) < 0.5:
        way = f"M{_n(wire.x1)} {_n(wire.y1)}H{_n(end)}"
    else:
        r = min(ROUND, abs(dy) / 2, wire.rail - wire.x1, end - wire.rail)
        down = r if dy > 0 else -r
        rail, y1, y2 = wire.rail, wire.y1, wire.y2
        way = (
            f"M{_n(wire.x1)} {_n(y1)}H{_n(rail - r)}Q{_n(rail)} {_n(y1)} {_n(rail)} {_n(y1 + down)}"
            f"V{_n(y2 - down)}Q{_n(rail)} {_n(y2)} {_n(rail + r)} {_n(y2)}H{_n(end)}"
        )
    tip = f"M{_n(wire.x2)} {_n(wire.y2)}l-9-4.5v9z"
    return f'<path class="edge{tone}" d="{way}"/><path class="tip{tone}" d="{tip}"/>'


def _labels(wires: Iterable[Wire]) -> Iterable[str]:
    """The shares, and the signs of edges that are not sound, where each edge has left the common rail."""
    seen: set[str] = set()
    for wire in wires:
        edge = wire.edge
        marked = edge.status is not Status.OK
        if edge.target in seen or not (edge.label or (marked and wire.x2 - wire.rail > NARROW)):
            continue
        seen.add(edge.target)
        room = width(edge.label, HEAD)
        whole = room + (20 if marked else 0) + 8
        x = max((max(wire.rail, wire.x1) + wire.x2 - 9 - whole) / 2 + 4, wire.x1 + 4)
        pill = (
            f'<rect class="pill" x="{_n(x)}" y="{_n(wire.y2 - 9)}" width="{_n(whole)}" height="18" rx="9"/>'
        )
        if edge.label:
            yield pill
        if marked:
            yield sign(edge.status, x + 9, wire.y2)
        if edge.label:
            at = x + (22 if marked else 4)
            yield _text(Run(at, wire.y2 + 4, edge.label, HEAD, str(edge.status) if marked else ""))


def _placed(placed: Placed, links: bool) -> str:
    setting = placed.setting
    box, remark = setting.box, setting.remark
    status = setting.status if box is not None else remark.status if remark is not None else None
    kind = "card" if remark is not None else "box"
    tone = f" {status}" if status is not None and (kind == "card" or status is not Status.OK) else ""
    size = f'width="{_n(placed.width)}" height="{_n(placed.height)}"'
    inner = f'<rect class="{kind}{tone}" {size} rx="8"/>'
    if setting.status is not None:
        inner += sign(setting.status, PAD + SIGN / 2 - 4, PAD + 8)
    for run in setting.runs:
        code = links and remark is not None and remark.finding is not None and run.text == remark.code
        inner += f'<a href="#{_t(run.text)}">{_text(run)}</a>' if code else _text(run)
    role = box.role if box is not None else "remark"
    return f'<g class="{role}" transform="translate({_n(placed.x)} {_n(placed.y)})">{inner}</g>'


def _text(run: Run) -> str:
    classes = f"{run.kind.name} {run.classes}".strip()
    keep = ' xml:space="preserve"' if run.kind is CODE else ""
    return f'<text class="{classes}" x="{_n(run.x)}" y="{_n(run.y)}"{keep}>{_t(run.text)}</text>'


def _tone(status: Status) -> str:
    return "" if status is Status.OK else f" {status}"


def _t(text: str) -> str:
    """Text as XML shows it literally; two characters that are no XML at all are left out."""
    return escape(printable(text).replace("\ufffe", "").replace("\uffff", ""))


def _n(number: float) -> str:
    return f"{number:.1f}".removesuffix(".0")
