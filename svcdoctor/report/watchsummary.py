"""The end of a watch in lines: what was unavailable, from when to when, and what was found."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.probe.watch.availability import Spell, State
from svcdoctor.probe.watch.events import ProbeSummary, SubjectSummary, WatchSummary
from svcdoctor.report.printable import printable
from svcdoctor.report.watchwords import (
    READINESS,
    clock,
    duration,
    endpoint_words,
    milliseconds,
    spell_words,
    target_words,
    tenths,
)
from svcdoctor.report.wording import counted

LISTED = 40
"""Endpoints, entries, findings that are listed, of each; the others are counted. JSON has them all."""

SPELLS = 10
"""Spells of one of them that are listed, the newest."""

_READINESS = {str(readiness): words for readiness, words in READINESS.items()}


def summary_lines(summary: WatchSummary) -> list[str]:
    """Lines without style or control characters, of any length."""
    return [printable(line) for line in _lines(summary)]


def _lines(summary: WatchSummary) -> Iterator[str]:
    end = summary.end
    port = f":{summary.port}" if summary.port else ""
    yield (
        f"service/{summary.service}{port} in namespace {summary.namespace}, watched "
        f"{clock(summary.start, end)} to {clock(end)} ({duration(end - summary.start)})"
    )
    yield from _service(summary)
    endpoints = [s for s in summary.endpoints if s.count or s.came or s.left or s.unknown]
    yield from _subjects("endpoints", endpoints, summary)
    quiet = len(summary.endpoints) - len(endpoints)
    if quiet:
        yield f"  {'and ' if endpoints else ''}{counted(quiet, 'endpoint')} without a change"
    if summary.forgotten:
        yield f"  and {summary.forgotten:,} that left before"
    yield from _subjects("entries", summary.entries, summary)
    if summary.findings:
        yield "findings"
    for found in summary.findings[:LISTED]:
        finding = found.finding
        yield f"  {finding.code} {finding.severity}: {finding.title}  {' '.join(finding.subjects[:3])}"
        yield from _spells("there", found.spells, end)
    yield from _more(len(summary.findings))


def _service(summary: WatchSummary) -> Iterator[str]:
    if not summary.count:
        said = "not known to have been unavailable" if summary.unknown else "available all the time"
        yield f"  {said}" if summary.state is not State.UNKNOWN or summary.fewest else "  nothing is known"
    else:
        times = "once" if summary.count == 1 else f"{summary.count:,} times"
        yield f"  unavailable {times}, {duration(summary.total)} in all"
        yield from _spells("unavailable", summary.unavailable, summary.end)
    yield from _spells("changes not known", summary.silent, summary.end, "  ")
    if summary.fewest is not None:
        number, at = summary.fewest
        yield f"  fewest ready endpoints: {number:,}, at {tenths(at, summary.end)}"


def _subjects(
    title: str, subjects: list[SubjectSummary] | tuple[SubjectSummary, ...], summary: WatchSummary
) -> Iterator[str]:
    if subjects or (title == "endpoints" and summary.endpoints):
        yield title
    ordered = sorted(subjects, key=lambda s: -s.total)  # the worst first, else as they came
    for subject in ordered[:LISTED]:
        yield from _subject(subject, summary)
    yield from _more(len(subjects))


def _subject(subject: SubjectSummary, summary: WatchSummary) -> Iterator[str]:
    end, probes = summary.end, subject.probes
    endpoint = subject.state in _READINESS
    name = endpoint_words(subject.name, summary.namespace)
    if not endpoint and probes:
        name = target_words(probes[0].target, summary.namespace)
    life = [subject.where] if subject.where else []
    life += [f"came {tenths(subject.came, end)}"] if subject.came is not None else []
    life += [f"left {tenths(subject.left, end)}"] if subject.left is not None else []
    if endpoint and subject.left is None:
        life.append(f"{_READINESS[subject.state]} at the end")
    if not endpoint:
        life += [_probes(probes[0])] if probes else ["not probed"]
    yield f"  {name}: {', '.join(life)}"
    yield from _spells("unavailable", subject.unavailable, end)
    for probe in probes if endpoint else ():
        if probe.failed or subject.count:
            yield f"    {probe.target.address}: {_probes(probe)}"


def _probes(probe: ProbeSummary) -> str:
    if not probe.answered:
        return f"{counted(probe.sent, 'probe')}, none answered"
    text = f"{counted(probe.sent, 'probe')}, {probe.failed or 'none'} failed"
    if probe.latency is not None:
        text += f", median {milliseconds(probe.latency.p50)}, 99 % within {milliseconds(probe.latency.p99)}"
    return text


def _spells(what: str, spells: tuple[Spell, ...], end: float, before: str = "    ") -> Iterator[str]:
    for spell in spells[-SPELLS:]:
        yield f"{before}{what} {spell_words(spell, end)}"
    if len(spells) > SPELLS:
        yield f"{before}and {len(spells) - SPELLS:,} times before"


def _more(count: int) -> Iterator[str]:
    if count > LISTED:
        yield f"  and {count - LISTED:,} more (all with -o json)"
