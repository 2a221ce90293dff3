"""The audit of the nodes' rules, for people: the verdict, the findings, a line for each node."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from svcdoctor.model.audit import Audit, AuditedNode
from svcdoctor.report.findings import findings_lines
from svcdoctor.report.glyphs import OF_VERDICT, STYLE
from svcdoctor.report.layout import Lines, Pen, words
from svcdoctor.report.tables import FINDING, finding_rows, github, plain
from svcdoctor.report.wording import counted

NODE = ("NODE", "MODE", "FRONTENDS", "DIFFERING", "UNKNOWN", "WHY")


def render(answer: Audit, console: Console, *, verbose: bool) -> None:
    """Prints the audit to the console."""
    pen = Pen.of(console, verbose, "")
    for line in report_lines(pen, answer):
        console.print(line, soft_wrap=True)


def report_lines(pen: Pen, answer: Audit) -> Lines:
    """The whole report."""
    status = OF_VERDICT[answer.verdict]
    head = Text.assemble(pen.mark(status), " ", (str(answer.verdict), f"bold {STYLE[status]}"), "  ")
    head.append(
        f"rules of {counted(len(answer.nodes), 'node')} against {counted(answer.services, 'Service')}"
    )
    parts = [
        pen.wrap(head, 2),
        findings_lines(pen, answer.findings),
        [line for node in answer.nodes for line in _node(pen, node)],
        pen.wrap(words(("basis: the nodes' rules and the API's objects", "dim")), 2),
    ]
    found: Lines = []
    for part in filter(None, parts):
        if found:
            found.append(Text())
        found += part
    return found


def _node(pen: Pen, node: AuditedNode) -> Lines:
    if node.unknown:
        return pen.wrap(words((f"{node.name}: ", "bold"), ("unknown", "magenta"), f": {node.unknown}"), 2)
    mode = f" ({node.mode} mode)" if node.mode else ""
    said = f"{counted(node.frontends, 'frontend')} compared, {node.differing or 'none'} differ"
    if node.unanswered:
        said += f", {node.unanswered} unknown"
    return pen.wrap(words((node.name, "bold"), f"{mode}: {said}"), 2)


def table(answer: Audit, markdown: bool) -> str:
    """The audit as tables: a row for each node, a row for each finding."""
    draw = github if markdown else plain
    nodes = [
        [n.name, n.mode, str(n.frontends), str(n.differing), str(n.unanswered), n.unknown]
        for n in answer.nodes
    ]
    parts = [draw(NODE, nodes)]
    if answer.findings:
        parts.append(draw(FINDING, finding_rows(answer.findings, wide=False)))
    return "\n".join(parts)
