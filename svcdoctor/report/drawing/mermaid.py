"""A trace's ways as a Mermaid flowchart, which GitHub, GitLab and many wikis draw."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from svcdoctor.model.trace import Status, Trace
from svcdoctor.report.drawing.chart import Box, Chart, Role
from svcdoctor.report.drawing.charting import charts
from svcdoctor.report.drawing.palette import LIGHT
from svcdoctor.report.drawing.plaintext import box_words, edge_words, remark_words
from svcdoctor.report.printable import printable

_SPECIAL = re.compile(r"[\"#&<>`%;\\]")
_SHAPES = {Role.CLIENT: ('(["', '"])'), Role.SERVICE: ('{{"', '"}}')}
_ARROWS = {Status.OK: "-->", Status.WARN: "-.->", Status.UNKNOWN: "-.->", Status.FAIL: "-.-x"}


def mermaid(trace: Trace) -> str:
    """The flowchart's text, from left to right; several drawings become subgraphs."""
    drawn = charts(trace)
    lines = ["flowchart LR"]
    for i, chart in enumerate(drawn):
        body = list(_chart(chart))
        if len(drawn) > 1:
            lines += [f'  subgraph g{i}["{_escaped(chart.title)}"]', "    direction LR"]
            lines += [*(f"  {line}" for line in body), "  end"]
        else:
            lines += body
    if not drawn:
        lines.append(f'  none["No way was found to {_escaped(trace.target.subject)}"]')
    links = 0  # in the order in which they are written
    for chart in drawn:
        for i, edge in enumerate(chart.edges):
            if edge.status is not Status.OK:
                lines.append(f"  linkStyle {links + i} stroke:{LIGHT[edge.status]},stroke-width:2px")
        links += len(chart.edges) + len(chart.remarks)
    for status in (Status.WARN, Status.FAIL, Status.UNKNOWN):
        tint, colour = LIGHT[f"{status}-tint"], LIGHT[status]
        lines.append(f"  classDef {status} fill:{tint},stroke:{colour},stroke-width:2px,color:{LIGHT['ink']}")
    return "\n".join(lines) + "\n"


def _chart(chart: Chart) -> Iterator[str]:
    for box in chart.boxes:
        yield f"  {box.key}{_label(box)}{_tone(box.status)}"
    for edge in chart.edges:
        words = edge_words(edge)
        label = f'|"{_escaped(words)}"|' if words else ""
        yield f"  {edge.source} {_ARROWS[edge.status]}{label} {edge.target}"
    for block, remark in chart.remarks:
        yield f'  {remark.key}["{_joined(remark_words(remark))}"]{_tone(remark.status)}'
        yield f"  {block.boxes[-1].key} -.- {remark.key}"


def _label(box: Box) -> str:
    before, after = _SHAPES.get(box.role, ('["', '"]'))
    return f"{before}{_joined(box_words(box))}{after}"


def _tone(status: Status) -> str:
    return "" if status is Status.OK else f":::{status}"


def _joined(lines: Iterable[str]) -> str:
    return "<br/>".join(map(_escaped, lines))


def _escaped(text: str) -> str:
    """Text as Mermaid shows it literally between quotes: what it could obey becomes a character's number."""
    return _SPECIAL.sub(lambda match: f"#{ord(match[0])};", printable(text))
