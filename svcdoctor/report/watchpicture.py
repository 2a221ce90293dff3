"""One picture of a watched Service for a terminal of some size: a list of lines, none wider, and no more of them.

Theory. What is worst stands first; what has no room is counted, never left out silently. Every state is a word too, so
that nothing hangs on colour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.text import Text

from svcdoctor.model.finding import Severity
from svcdoctor.model.observed import Met
from svcdoctor.probe.watch.availability import State
from svcdoctor.probe.watch.endpoints import Readiness
from svcdoctor.probe.watch.subjects import EndpointView, EntryView, SubjectView
from svcdoctor.probe.watch.target import ProbeTarget
from svcdoctor.probe.watch.view import ServiceView
from svcdoctor.report.glyphs import SEVERITY_STYLE
from svcdoctor.report.printable import printable
from svcdoctor.report.sparkline import latencies, readinesses
from svcdoctor.report.watchcolumns import Columns
from svcdoctor.report.watchwords import (
    MET,
    READINESS,
    clock,
    duration,
    endpoint_words,
    milliseconds,
    short,
    target_words,
)
from svcdoctor.report.wording import counted

GONE_SECONDS = 30.0
"""How long an endpoint that left is still shown."""

V = TypeVar("V", bound=SubjectView)

LEAST_WIDTH, LEAST_HEIGHT = 20, 4

_STYLES = {
    State.AVAILABLE: "green",
    State.UNAVAILABLE: "bold red",
    State.UNKNOWN: "magenta",
    State.AWAY: "yellow",
    None: "",
}
_WORST_FIRST = (State.UNAVAILABLE, State.UNKNOWN, State.AWAY, None, State.AVAILABLE)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a picture shows beside the Service. ``pace`` is the seconds between two probes of a target, None where
    nothing is sent; ``events`` are the newest lines with their times, oldest first."""

    now: float
    width: int
    height: int
    drawn: bool
    pace: float | None
    trouble: str
    events: Sequence[tuple[float, str]]


def picture(view: ServiceView, around: Surroundings) -> list[Text]:
    """The lines."""
    width, height = max(around.width, LEAST_WIDTH), max(around.height, LEAST_HEIGHT)
    head = _head(view, around)
    room = height - len(head) - 1
    endpoints = _shown_endpoints(view, around.now)
    findings = _findings(view)
    entries = sorted(view.entries.values(), key=_badness)
    if around.pace is None:
        entries = []
    shares = _shares(room, [len(endpoints), len(entries), len(findings), len(around.events)], (2, 2, 2, 1))
    lines = head
    lines += _endpoint_lines(view, around, width, endpoints, shares[0])
    lines += _entry_lines(view, around, width, entries, shares[1])
    if shares[2]:
        lines += [Text(), Text("FINDINGS", "bold")]
        lines += _cut(findings, shares[2])
    if shares[3]:
        lines.append(Text())
        for at, happened in around.events[-shares[3] :]:
            lines.append(Text.assemble((f"{clock(at, around.now)}  ", "dim"), happened))
    lines += [Text()] * (height - 1 - len(lines))
    lines = [*lines[: height - 1], Text("Ctrl-C ends it with a summary", "dim")]
    for line in lines:
        line.truncate(width, overflow="ellipsis" if around.drawn else "crop")
    return lines


def _shares(room: int, wanted: Sequence[int], heads: Sequence[int]) -> list[int]:
    """Lines for each part, beside those of its head: what is small is shown whole, what is large shares the rest.

    The last part, what happened last, has a few lines where there is room for more than the others' first ones.
    """
    shares = [0] * len(wanted)
    left = room
    for n, want in enumerate(wanted):  # one line of each, in the order of their importance
        if want and left >= heads[n] + 1:
            shares[n], left = 1, left - heads[n] - 1
    while left > 0:
        open_ = [n for n, want in enumerate(wanted) if 0 < shares[n] < want]
        if not open_:
            break
        smallest = min(open_, key=lambda n: shares[n])
        shares[smallest] += 1
        left -= 1
    return shares


def _head(view: ServiceView, around: Surroundings) -> list[Text]:
    state = view.availability.state
    port = f":{view.port}" if view.port else ""
    first = Text.assemble(
        (printable(f"service/{view.name}{port}"), "bold"),
        "  ",
        (_state_word(state), _STYLES[state]),
        f" {short(around.now - view.availability.since)}",
        f"  {view.ready} of {counted(len(view.present), 'endpoint')} ready",
    )
    sent = "no probes (--probe)" if around.pace is None else f"probed every {around.pace:.3g} s"
    watched = f"namespace {view.namespace}, watched {duration(around.now - view.started)}, {sent}"
    second = Text(printable(watched), "dim")
    lines = [first, second]
    if state is State.UNAVAILABLE and view.availability.why:
        lines.append(Text(printable(view.availability.why), "red"))
    if view.silent_since is not None:
        since = f"{clock(view.silent_since, around.now)} ({short(around.now - view.silent_since)})"
        lines.append(Text(printable(f"? changes are not known since {since}: {view.silent_why}"), "magenta"))
    elif around.trouble:
        lines.append(Text(printable(f"! {around.trouble}"), "yellow"))
    return lines


def _endpoint_word(endpoint: EndpointView) -> str:
    """What the slices say, or that it is ready and does not answer."""
    failing = endpoint.readiness is Readiness.READY and endpoint.availability.state is State.UNAVAILABLE
    return "failing" if failing else READINESS[endpoint.readiness]


def _state_word(state: State | None) -> str:
    return {State.UNKNOWN: "not known", State.AWAY: "away", None: "not known"}.get(state, str(state))


def _badness(view: SubjectView) -> tuple[int, str]:
    return _WORST_FIRST.index(view.availability.state), view.name


def _shown_endpoints(view: ServiceView, now: float) -> list[EndpointView]:
    """Those that are there and those that left a moment ago, the worst first."""
    shown = [
        e
        for e in view.endpoints.values()
        if e.readiness is not Readiness.GONE or (e.left is not None and now - e.left < GONE_SECONDS)
    ]
    return sorted(shown, key=lambda e: (e.readiness is Readiness.GONE, _badness(e)))


def _endpoint_lines(
    view: ServiceView,
    around: Surroundings,
    width: int,
    endpoints: Sequence[EndpointView],
    room: int,
) -> list[Text]:
    if not room:
        return []
    shown, rest = _split(endpoints, room)
    columns = Columns(
        width, [endpoint_words(e.name, view.namespace) for e in shown], probed=around.pace is not None
    )
    lines = [
        Text(),
        columns.row("ENDPOINT", "NODE", "STATE", "FOR", Text("READY"), Text("PROBES"), "LAST", "bold"),
    ]
    for e in shown:
        target = _worst(view, e)
        lines.append(
            columns.row(
                endpoint_words(e.name, view.namespace),
                e.where,
                Text(_endpoint_word(e), _STYLES[e.availability.state]),
                short(around.now - e.since),
                readinesses(e.history, columns.spark, around.drawn),
                latencies(target.history, columns.spark, around.drawn) if target else Text(),
                _last(target, failing=e.availability.state is State.UNAVAILABLE),
            )
        )
    if rest:
        lines.append(Text(_rest(map(_endpoint_word, rest)), "dim"))
    return lines


def _entry_lines(
    view: ServiceView, around: Surroundings, width: int, entries: Sequence[EntryView], room: int
) -> list[Text]:
    if not room:
        return []
    shown, rest = _split(entries, room)
    names = [target_words(e.targets[0], view.namespace) for e in shown]
    columns = Columns(width, names, probed=True, entries=True)
    lines = [Text(), columns.row("ENTRY", "NODE", "STATE", "FOR", Text(), Text("PROBES"), "LAST", "bold")]
    for name, e in zip(names, shown, strict=True):
        target = view.targets[e.targets[0]]
        state = e.availability.state
        word = "no answer" if state in (State.AWAY, None) else _state_word(state)
        lines.append(
            columns.row(
                name,
                e.where,
                Text(word, _STYLES[state] if state is not State.AWAY else "dim"),
                short(around.now - e.availability.since) if state is not None else "",
                Text(),
                latencies(target.history, columns.spark, around.drawn),
                _last(target, failing=state is State.UNAVAILABLE),
            )
        )
    if rest:
        lines.append(Text(_rest([_state_word(e.availability.state) for e in rest]), "dim"))
    return lines


def _split(views: Sequence[V], room: int) -> tuple[list[V], list[V]]:
    """Those that have room, one line being kept for the count of the others."""
    if len(views) <= room:
        return list(views), []
    return list(views[: room - 1]), list(views[room - 1 :])


def _rest(states: Iterable[str]) -> str:
    counts = Counter(states)
    listed = ", ".join(f"{count:,} {state}" for state, count in counts.most_common())
    return f"and {counts.total():,} more: {listed}"


def _worst(view: ServiceView, endpoint: EndpointView) -> ProbeTarget | None:
    held = [view.targets[name] for name in endpoint.targets]
    return next((t for t in held if t.met not in (None, Met.ANSWERED)), held[0] if held else None)


def _last(target: ProbeTarget | None, *, failing: bool) -> Text:
    if target is None or target.met is None:
        return Text()
    if target.met is Met.ANSWERED:
        return Text(milliseconds(next((s for s in reversed(target.history) if s is not None), 0.0)))
    return Text(MET[target.met], "bold red" if failing else "dim")


def _findings(view: ServiceView) -> list[Text]:
    there = [(f, seen) for f, seen in view.findings.values() if seen.state is State.UNAVAILABLE]
    there.sort(key=lambda pair: pair[0].severity.rank)
    return [
        Text.assemble(
            (f"{f.code} {f.severity}", SEVERITY_STYLE[Severity(f.severity)]),
            printable(f": {f.title}  {' '.join(f.subjects[:2])}  since {clock(seen.since)}"),
        )
        for f, seen in there
    ]


def _cut(lines: Sequence[Text], room: int) -> list[Text]:
    if len(lines) <= room:
        return list(lines)
    return [*lines[: room - 1], Text(f"and {len(lines) - room + 1:,} more", "dim")]
