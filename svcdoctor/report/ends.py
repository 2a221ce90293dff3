"""The lower half of a picture: the endpoints with their shares, or where the way ends before one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from rich.text import Text

from svcdoctor.model.trace import Backend, Outcome, Result, Status
from svcdoctor.report.glyphs import STYLE
from svcdoctor.report.layout import Lines, Pen, stand_in, words
from svcdoctor.report.wording import address, counted, result_words, share

URGENCY = (Status.FAIL, Status.UNKNOWN, Status.WARN, Status.OK)
FEW = 6  # endpoints shown of many that are alike
MANY = 12  # endpoints from which on only a few are shown


def end_blocks(pen: Pen, ends: Sequence[Outcome]) -> list[Lines]:
    """A block for each end, and for what is alike and not shown one more.

    Ends that go wrong in the same way are told together; none of them is left out unless all go wrong alike,
    and then it is said that all do.
    """
    groups = alike(ends)
    rows: list[list[Text]] = []
    blocks: list[tuple[int, list[Lines]]] = []
    for group in groups:
        sample = group[0]
        if sample.backend is None:
            blocks.append((0, [failure_lines(pen, sample)]))
            continue
        several = len(group) > MANY and not pen.verbose
        shown = group[:FEW] if several else group
        tail: list[Lines] = []
        if several and sample.status is not Status.OK and len(groups) > 1:
            names = ", ".join(backend_name(o.backend, pen.namespace) for o in group[FEW:] if o.backend)
            tail.append(pen.wrap(words(f"and {names}")))
        elif several:
            tail.append(pen.wrap(_rest(pen, group), 2))
        if note_of(sample):
            said = _note_text(sample, len(group), len(ends))
            tail.append([stand_in(line, 2) for line in pen.narrower(2).wrap(said)])
        rows += [_cells(pen, o) for o in shown]
        blocks.append((len(shown), tail))
    drawn = iter(pen.columns(rows))
    found: list[Lines] = []
    for count, tail in blocks:
        found += [next(drawn) for _ in range(count)]
        if count and tail and _is_note(tail[-1]):
            found[-1] += tail.pop()
        found += tail
    return found


def _is_note(lines: Lines) -> bool:
    return bool(lines) and lines[0].plain.startswith("  ")


def failure_lines(pen: Pen, outcome: Outcome) -> Lines:
    """``✘ dropped (timeout): externalTrafficPolicy Local and no endpoint on node3 RUL009``"""
    style = STYLE[outcome.status]
    result = result_words(outcome)
    text = Text.assemble(pen.mark(outcome.status), " ")
    text.append_text(words((f"{result}: " if result else "", f"bold {style}"), outcome.reason))
    text.append_text(words((f"  {outcome.code}" if outcome.code else "", style)))
    return pen.wrap(text, 2)


def alike(ends: Sequence[Outcome]) -> list[list[Outcome]]:
    """Ends by what is to be said of them. Those that fail stand first: nobody has to look for them in a list."""
    groups: dict[Hashable, list[Outcome]] = {}
    for end in ends:
        groups.setdefault((end.status, end.result, end.code, note_of(end)), []).append(end)
    return sorted(groups.values(), key=lambda group: URGENCY.index(group[0].status))


def _cells(pen: Pen, outcome: Outcome) -> list[Text]:
    backend = outcome.backend or Backend()
    first = Text.assemble(pen.mark(outcome.status), " ").append_text(
        words(share(outcome.probability).rjust(6))
    )
    node = backend.node if backend.node != backend.host else None
    return [
        first,
        words((share_seen(outcome), "dim")),
        words((address(backend.ip, backend.port), "cyan")),
        words(backend_name(backend, pen.namespace)),
        words((node or "", "dim")),
    ]


def share_seen(outcome: Outcome) -> str:
    """The share of the answers that were observed, beside the one that was predicted."""
    seen = outcome.observed.share if outcome.observed is not None else None
    return f"seen {share(seen)}" if seen is not None else ""


def backend_name(backend: Backend, namespace: str) -> str:
    """The pod or host; a pod of ``namespace`` without it."""
    if backend.pod is not None:
        own, _, name = backend.pod.partition("/")
        return name if own == namespace else backend.pod
    return backend.host or ("" if backend.ip else "?")


def note_of(outcome: Outcome) -> str:
    """What has to be said about an endpoint: nothing, where a pod answers as it should."""
    fine = outcome.status is Status.OK and outcome.result is Result.DELIVERED
    return "" if fine and outcome.backend is not None and outcome.backend.pod else outcome.reason


def _note_text(outcome: Outcome, number: int, total: int) -> Text:
    result = result_words(outcome)
    whom = "" if number == 1 else f"all {number}: " if number == total else f"these {number}: "
    code = f"  {outcome.code}" if outcome.code else ""
    style = STYLE[outcome.status] if outcome.status is not Status.OK else "dim"
    said = f"{result}: " if result else ""
    return words((f"{whom}{said}", style), outcome.reason, (code, style))


def _rest(pen: Pen, group: list[Outcome]) -> Text:
    rest = group[FEW:]
    shares = {share(o.probability) for o in rest}
    each = f", {shares.pop()} each" if len(shares) == 1 else ""
    return Text.assemble(
        pen.mark(rest[0].status),
        " ",
        (f"and {counted(len(rest), 'more endpoint')} alike{each}; all with -v", "dim"),
    )
