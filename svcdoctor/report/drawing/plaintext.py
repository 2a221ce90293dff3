"""A box, an edge and a remark as lines of plain words: what Mermaid and Graphviz write into their own shapes."""

from __future__ import annotations

from svcdoctor.model.trace import Status
from svcdoctor.report.commands import fix_lines
from svcdoctor.report.drawing.chart import Box, Edge, Remark
from svcdoctor.report.glyphs import UNICODE
from svcdoctor.report.printable import printable

WIDTH = 72  # of a fix's lines
MEMBERS = 12  # of many alike, named; the others are counted


def box_words(box: Box) -> list[str]:
    """The lines of a box, the first with the sign of what is wrong with it."""
    sign = f"{UNICODE.mark(box.status)} " if box.status is not Status.OK else ""
    lines = [sign + box.title, box.name, box.address, *box.lines]
    lines += [" ".join(filter(None, (m.address, m.name, m.group))) for m in box.members[:MEMBERS]]
    if len(box.members) > MEMBERS:
        lines.append(f"and {len(box.members) - MEMBERS} more")
    return [printable(line) for line in lines if line]


def edge_words(edge: Edge) -> str:
    """The share, behind the sign of what is wrong; empty for an edge without either."""
    sign = UNICODE.mark(edge.status) if edge.status is not Status.OK else ""
    return printable(" ".join(filter(None, (sign, edge.label))))


def remark_words(remark: Remark) -> list[str]:
    """The reason, the finding's code and title, and its fix where no other remark has it."""
    finding = remark.finding
    lines = [remark.reason]
    if remark.code:
        lines.append(f"{remark.code} {finding.title if finding is not None else ''}".rstrip())
    if finding is not None and not remark.told:
        fix = fix_lines(finding.fix, WIDTH)
        lines += [f"Fix: {fix[0]}"] if len(fix) == 1 else ["Fix:", *fix] if fix else []
    return [printable(line) for line in lines if line]
