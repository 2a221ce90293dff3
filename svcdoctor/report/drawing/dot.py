"""A trace's ways in Graphviz's language, for ``dot -Tsvg``, ``dot -Tpdf`` and whatever else it draws."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from svcdoctor.model.trace import Status, Trace
from svcdoctor.report.drawing.chart import Box, Chart, Role
from svcdoctor.report.drawing.charting import charts
from svcdoctor.report.drawing.palette import LIGHT
from svcdoctor.report.drawing.plaintext import box_words, edge_words, remark_words
from svcdoctor.report.printable import printable

_HEAD = """\
digraph trace {
  rankdir=LR; ranksep=0.9; nodesep=0.25; labelloc=t; fontname="Helvetica"; fontsize=14;
  node [shape=box, style="rounded,filled", fillcolor="white", fontname="Helvetica", fontsize=11, margin="0.16,0.09"];
  edge [fontname="Helvetica", fontsize=10, arrowsize=0.7];
"""


def dot(trace: Trace) -> str:
    """The graph's text; each drawing is a cluster with its title."""
    drawn = charts(trace)
    parts = [_HEAD.replace("trace {", f"{_quoted([f'{trace.verdict}: {trace.target.subject}'])} {{", 1)]
    for i, chart in enumerate(drawn):
        label, tone = _quoted([chart.title]), LIGHT["line"]
        parts.append(
            f"  subgraph cluster_{i} {{\n    label={label}; color={_quoted([tone])}; style=rounded;\n"
        )
        parts += (f"    {line}\n" for line in _chart(chart))
        parts.append("  }\n")
    if not drawn:
        parts.append(f"  none [label={_quoted([f'No way was found to {trace.target.subject}'])}];\n")
    return "".join(parts) + "}\n"


def _chart(chart: Chart) -> Iterator[str]:
    for box in chart.boxes:
        tone = LIGHT["link"] if box.role is Role.SERVICE else LIGHT["line"]
        yield f"{box.key} [label={_quoted(box_words(box))}{_look(box.status, tone)}{_shape(box)}];"
    for block, remark in chart.remarks:
        words = _quoted(remark_words(remark), end="\\l")
        yield f"{remark.key} [shape=note, label={words}{_look(remark.status, LIGHT['line'])}];"
        yield f"{block.boxes[-1].key} -> {remark.key} [arrowhead=none, style=dotted];"
    for edge in chart.edges:
        label = edge_words(edge)
        look = _look(edge.status, LIGHT["edge"], edge=True)
        yield f"{edge.source} -> {edge.target} [label={_quoted([label])}{look}];"


def _look(status: Status, plain: str, *, edge: bool = False) -> str:
    if status is Status.OK:
        return f", color={_quoted([plain])}"
    colour = _quoted([LIGHT[status]])
    if edge:
        return f", color={colour}, fontcolor={colour}, style=dashed, penwidth=1.8"
    return f", color={colour}, fillcolor={_quoted([LIGHT[f'{status}-tint']])}, penwidth=1.8"


def _shape(box: Box) -> str:
    return ', style="filled", shape=cds' if box.role is Role.SERVICE else ""


def _quoted(lines: Iterable[str], end: str = "") -> str:
    """A quoted string; ``end`` is what each line ends with (``\\l``: it stands left)."""
    escaped = [
        printable(line).replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;") for line in lines
    ]
    return '"' + ("".join(line + end for line in escaped) if end else "\\n".join(escaped)) + '"'
