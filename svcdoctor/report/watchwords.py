"""The words for what happens to a watched Service: a line for each event, and times, spells and durations."""

from __future__ import annotations

from datetime import datetime

from svcdoctor.model.observed import Met
from svcdoctor.probe.watch.availability import Spell, State
from svcdoctor.probe.watch.endpoints import Readiness
from svcdoctor.probe.watch.events import (
    ChangesUnknown,
    EndpointChanged,
    Event,
    FindingChanged,
    ProbeChanged,
    ServiceChanged,
    WatchBegan,
    WatchTroubled,
)
from svcdoctor.probe.watch.target import TargetName
from svcdoctor.report.printable import printable
from svcdoctor.report.wording import counted

READINESS = {
    Readiness.READY: "ready",
    Readiness.STARTING: "starting",
    Readiness.NOT_READY: "not ready",
    Readiness.TERMINATING: "terminating",
    Readiness.GONE: "gone",
}

MET = {
    Met.ANSWERED: "answers",
    Met.REFUSED: "refuses",
    Met.TIMEOUT: "does not answer",
    Met.STALLED: "stalls",
    Met.UNREACHABLE: "cannot be reached",
    Met.RESET: "resets",
    Met.CLOSED: "closes",
    Met.GARBLED: "answers something else",
    Met.TLS_FAILED: "fails in TLS",
    Met.ERROR: "could not be tried",
}

WAYS = {
    "endpoint": "endpoint",
    "clusterIP": "cluster IP",
    "nodePort": "nodePort",
    "loadBalancer": "load balancer",
    "externalIP": "external IP",
}


def clock(at: float, beside: float | None = None) -> str:
    """The local time of day; with its date where that is not the one of ``beside``."""
    local = datetime.fromtimestamp(at)
    same = beside is None or datetime.fromtimestamp(beside).date() == local.date()
    return local.strftime("%H:%M:%S" if same else "%Y-%m-%d %H:%M:%S")


def tenths(at: float, beside: float) -> str:
    """`clock` with tenths of a second."""
    tenth = int(at * 10) / 10
    return f"{clock(tenth, beside)}.{int(at * 10) % 10}"


def duration(seconds: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``, ``3 d 4 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for large, small, size, part in (("d", "h", 86400, 3600), ("h", "min", 3600, 60), ("min", "s", 60, 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {large}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def short(seconds: float) -> str:
    """Whole seconds, minutes, hours or days, as kubectl's ages are, in the largest unit only."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def milliseconds(seconds: float) -> str:
    """``0.42 ms``, ``12 ms``, ``1.3 s``."""
    return (
        f"{seconds * 1000:.2g} ms"
        if seconds < 0.0995
        else (f"{seconds * 1000:.0f} ms" if seconds < 0.9995 else f"{seconds:.1f} s")
    )


def endpoint_words(name: str, namespace: str) -> str:
    """``pod/web-1``, ``pod/other/web-1`` of another namespace, or the address."""
    owner, slash, pod = name.partition("/")
    if not slash:
        return name
    return f"pod/{pod}" if owner == namespace else f"pod/{name}"


def target_words(target: TargetName, namespace: str) -> str:
    """What is probed: ``nodePort 10.0.0.1:30080``, ``pod/web-1 at 10.244.0.5:80``."""
    if target.way != "endpoint":
        return f"{WAYS.get(target.way, target.way)} {target.address}"
    return f"{endpoint_words(target.subject, namespace)} at {target.address}"


def spell_words(spell: Spell, end: float) -> str:
    """``12:00:05.1 to 12:00:09.3 (4.2 s): not ready``."""
    until = "the end" if spell.end is None else tenths(spell.end, end)
    text = f"{tenths(spell.start, end)} to {until} ({duration(spell.seconds(end))})"
    return printable(f"{text}: {spell.why}" if spell.why else text)


def is_news(event: Event, began: float) -> bool:
    """Whether a reader wants a line of it: not that each of a thousand endpoints is ready when the watch begins, and
    answers."""
    match event:
        case EndpointChanged(at, _, _, _, None, Readiness.READY):
            return at > began
        case ProbeChanged(_, _, None, Met.ANSWERED):
            return False
    return True


def event_line(event: Event, namespace: str) -> str:
    """What happened, in one line without its time."""
    return printable(_line(event, namespace))


def _line(event: Event, namespace: str) -> str:
    match event:
        case WatchBegan(_, where, service, port, interval):
            sent = "nothing is sent to it" if interval is None else f"probed every {interval:g} s"
            return f"watching service/{service}{f':{port}' if port else ''} in namespace {where}; {sent}"
        case EndpointChanged(_, name, ips, node, was, now):
            place = ", ".join([*ips, *([node] if node else [])])
            change = f"{READINESS[was]} -> {READINESS[now]}" if was is not None else READINESS[now]
            return f"{endpoint_words(name, namespace)}: {change} ({place})"
        case ServiceChanged(_, _, now, why, ready, endpoints):
            state = "not known whether available" if now is State.UNKNOWN else str(now)
            return f"Service {state}{f': {why}' if why else ''}; {ready} of {counted(endpoints, 'endpoint')} ready"
        case ProbeChanged(_, target, _, now, detail, seconds):
            more = milliseconds(seconds) if now is Met.ANSWERED else detail
            return f"{target_words(target, namespace)} {MET[now]}{f' ({more})' if more else ''}"
        case FindingChanged(_, finding, there):
            subjects = " ".join(finding.subjects[:3])
            return f"{finding.code} {'' if there else 'gone: '}{finding.title} {subjects}"
        case ChangesUnknown(at, since, why):
            if why is None:
                return f"changes are known again, after {duration(at - since)}"
            return f"not known what changes since {clock(since, at)}: {why}"
        case WatchTroubled(_, why):
            return why
