"""The same answer as tables: a row per outcome, a row per finding.

``table`` and ``wide`` are columns for a shell (no borders, ``-`` for nothing); ``markdown`` is for a ticket
or a pull request, with the verdict as a heading and the fixes as code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal

from tabulate import tabulate

from svcdoctor.model.finding import Finding
from svcdoctor.model.trace import Entry, EntryKind, Outcome, Path, Trace, Verdict
from svcdoctor.path.observedhops import milliseconds
from svcdoctor.report.printable import printable, printable_lines
from svcdoctor.report.wording import address, balance, basis_words, client_flag, share

Style = Literal["table", "wide", "markdown"]

_MARKS = {Verdict.HEALTHY: "✔", Verdict.DEGRADED: "!", Verdict.BROKEN: "✘", Verdict.UNKNOWN: "?"}
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#])")
_OUTCOME = (
    "CLIENT",
    "ENTRY",
    "ADDRESS",
    "SERVICE PORT",
    "RESULT",
    "SHARE",
    "BACKEND",
    "POD ADDRESS",
    "NODE",
)
_OBSERVED = ("ANSWERED", "P50", "P99", "SEEN")
_OUTCOME_WIDE = ("SOURCE SEEN", "REASON", "CODE")
FINDING = ("CODE", "SEVERITY", "SUBJECT", "TITLE")
FINDING_WIDE = ("FIX",)


def render(trace: Trace, style: Style) -> str:
    """The tables of a trace, with a newline at the end."""
    if style == "markdown":
        return _markdown(trace)
    wide = style == "wide"
    parts = []
    if trace.paths:
        parts.append(plain(_headers(_columns(trace), _OUTCOME_WIDE, wide), _outcome_rows(trace, wide)))
    if trace.findings:
        parts.append(plain(_headers(FINDING, FINDING_WIDE, wide), finding_rows(trace.findings, wide)))
    if not parts:
        parts.append(f"No way was found to {printable(trace.target.subject)}.\n")
    return "\n".join(parts)


def _headers(always: Sequence[str], wide_only: Sequence[str], wide: bool) -> list[str]:
    return [*always, *(wide_only if wide else ())]


def _columns(trace: Trace) -> tuple[str, ...]:
    """With what was observed where anything was."""
    return (*_OUTCOME, *_OBSERVED) if _was_observed(trace) else _OUTCOME


def _was_observed(trace: Trace) -> bool:
    return any(p.observed is not None for p in trace.paths)


def _outcome_rows(trace: Trace, wide: bool) -> list[list[str]]:
    return [_outcome_row(trace, p, o, wide) for p in trace.paths for o in p.outcomes]


def _outcome_row(trace: Trace, path: Path, outcome: Outcome, wide: bool) -> list[str]:
    backend, port = outcome.backend, path.service_port
    name = place = node = ""
    if backend is not None:
        name = backend.pod.removeprefix(f"{trace.target.namespace}/") if backend.pod else backend.host or ""
        place, node = address(backend.ip, backend.port), backend.node or ""
    row = [
        client_flag(path.client),
        _entry(path.entry),
        address(path.entry.address, path.entry.port),
        "" if port is None else f"{port.name}:{port.port}" if port.name else str(port.port),
        str(outcome.result),
        share(outcome.probability).replace(" ", ""),
        name,
        place,
        node,
    ]
    if _was_observed(trace):
        row += _observed(path, outcome)
    return [*row, str(outcome.source_seen), outcome.reason, outcome.code or ""] if wide else row


def _observed(path: Path, outcome: Outcome) -> list[str]:
    """Of the requests by the path how many were answered and how fast; the endpoint's share of the answers."""
    seen = path.observed
    if seen is None:
        return [""] * len(_OBSERVED)
    latency = seen.latency
    times = [milliseconds(latency.p50), milliseconds(latency.p99)] if latency is not None else ["", ""]
    part = outcome.observed.share if outcome.observed is not None else None
    shown = share(part) if part is not None else ""
    return [f"{seen.answered}/{seen.sent}", *(t.replace(" ", "") for t in times), shown.replace(" ", "")]


def _entry(entry: Entry) -> str:
    """``nodePort/node1``: the kind of entry, with the node where the node makes a difference."""
    shown = entry.node if entry.kind is not EntryKind.CLUSTER_IP or entry.node else None
    return f"{entry.kind}/{shown}" if shown else str(entry.kind)


def finding_rows(findings: Sequence[Finding], wide: bool) -> list[list[str]]:
    return [_finding_row(f) + ([" ; ".join(printable_lines(f.fix))] if wide else []) for f in findings]


def _finding_row(finding: Finding) -> list[str]:
    return [finding.code, str(finding.severity), ",".join(finding.subjects), finding.title]


def plain(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = tabulate(
        _safe(rows, lambda cell: printable(cell) or "-"), headers, tablefmt="plain", disable_numparse=True
    )
    return "".join(f"{line.rstrip()}\n" for line in text.splitlines())


def _safe(rows: Sequence[Sequence[str]], escape: Callable[[str], str]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in rows]


# --- Markdown ----------------------------------------------------------------------------------------


def _markdown(trace: Trace) -> str:
    count = balance(trace.paths)
    target = escaped(trace.target.subject)
    parts = [f"## {_MARKS[trace.verdict]} {trace.verdict}: {target}\n"]
    if count:
        parts.append(f"{count[0].upper()}{count[1:]}.\n")
    if trace.findings:
        parts.append(github(FINDING, finding_rows(trace.findings, wide=False)))
        parts += [_fix(f) for f in trace.findings if f.fix.strip()]
    if trace.paths:
        parts.append(github(_columns(trace), _outcome_rows(trace, wide=False)))
    else:
        parts.append("No way was found.\n")
    remarks = [f"Not known: {u.fact} ({u.reason})" for u in trace.unknowns if u.required]
    remarks += [f"Note: {note}" for note in trace.notes]
    if remarks:
        parts.append("".join(f"- {escaped(r)}\n" for r in remarks))
    parts.append(f"Basis: {basis_words(trace.paths)}.\n")
    return "\n".join(parts)


def github(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return tabulate(_safe(rows, escaped), headers, tablefmt="github", disable_numparse=True) + "\n"


def escaped(text: str) -> str:
    """Text as Markdown shows it literally, in a table's cell too: one line, nothing of it markup."""
    return _SPECIAL.sub(r"\\\1", printable(text)).replace("&", "&amp;").replace("@", "&#64;")


def _fix(finding: Finding) -> str:
    return f"Fix for {finding.code}:\n\n{code_block(printable_lines(finding.fix))}"


def code_block(lines: Sequence[str]) -> str:
    """Lines of a shell as Markdown's code, whatever backticks are in them."""
    longest = max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join((f"{fence}sh", *lines, fence, ""))
