"""The hops of a path, and its endpoints, marked with what was observed of them beside what was predicted."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from svcdoctor.model.evidence import Evidence
from svcdoctor.model.observed import Latency, Met, ProbeKind
from svcdoctor.model.seen import EndSeen, HopSeen, PathSeen
from svcdoctor.model.trace import Hop, HopKind, Outcome, Path, Status
from svcdoctor.path.observedends import End
from svcdoctor.path.sockets import sockets_text

_ENTRIES = frozenset(
    {
        HopKind.NODE,
        HopKind.NODE_PORT,
        HopKind.CLUSTER_IP,
        HopKind.LOAD_BALANCER,
        HopKind.EXTERNAL_IP,
        HopKind.HOST_PORT,
    }
)


def with_seen(path: Path, ends: Sequence[End], evidence: Evidence) -> Path:
    """The path with what was observed of each outcome's endpoint, and of each hop that anything was observed of."""
    outcomes = tuple(_end(o, e, path.observed, evidence) for o, e in zip(path.outcomes, ends, strict=True))
    of_ends = {(o.backend.ip, o.backend.port): o for o in outcomes if o.backend is not None}
    hops = []
    at: Outcome | None = None
    for hop in path.hops:
        if hop.kind is HopKind.POD or (hop.kind is HopKind.ENDPOINT and hop.address is not None):
            at = of_ends.get((hop.address, hop.port))
        hops.append(_hop(hop, path, outcomes, at, evidence))
    return replace(path, outcomes=outcomes, hops=tuple(hops))


def _end(outcome: Outcome, end: End, seen: PathSeen | None, evidence: Evidence) -> Outcome:
    observed = end.seen
    if seen is not None and outcome.backend is not None and outcome.backend.pod is not None:
        named = sum(count for _, count in seen.who)
        name = outcome.backend.pod.rpartition("/")[2]
        answers = next((count for who, count in seen.who if who == name), 0) if named else None
        observed = replace(observed, answers=answers, named=named)
    if observed == EndSeen():
        return outcome
    return replace(outcome, observed=observed)


def _hop(hop: Hop, path: Path, outcomes: tuple[Outcome, ...], at: Outcome | None, evidence: Evidence) -> Hop:
    seen = path.observed
    found: tuple[Status, str] | None = None
    if hop.kind is HopKind.CLIENT and seen is not None:
        found = Status.OK, f"asked from {seen.place}"
    elif hop.kind in _ENTRIES and seen is not None:
        found = _arrivals(seen), counts_words(seen)
    elif hop.kind in (HopKind.SERVICE, HopKind.POLICY) and seen is not None:
        found = _led_on(seen, outcomes)
    elif hop.kind is HopKind.ENDPOINT and hop.address is None and seen is not None:
        found = _endpoints(seen, outcomes)
    elif hop.kind in (HopKind.POD, HopKind.ENDPOINT) and at is not None and at.observed is not None:
        found = at.status, end_words(at.observed)
    elif hop.kind is HopKind.CONTAINER and at is not None and at.observed is not None:
        found = _container(at, evidence)
    if found is None or (not found[1] and found[0] is hop.status):
        return hop
    status = hop.status if found[0] is Status.UNKNOWN else found[0]
    detail = hop.detail
    if hop.kind is HopKind.CONTAINER and at is not None and at.reason:
        detail = at.reason
    return replace(hop, status=status, detail=detail, observed=HopSeen(hop.status, *found))


def _arrivals(seen: PathSeen) -> Status:
    if seen.kind is ProbeKind.UDP and not seen.arrived and seen.agrees is None:
        return Status.UNKNOWN
    if seen.arrived == seen.sent:
        return Status.OK
    return Status.WARN if seen.arrived else Status.FAIL


def _led_on(seen: PathSeen, outcomes: tuple[Outcome, ...]) -> tuple[Status, str]:
    """Of the Service and its policy only that they led on is seen; that they did not, where the endpoints answer."""
    if seen.arrived:
        return Status.OK, "led to an endpoint"
    alive = any(o.observed is not None and o.observed.direct is Met.ANSWERED for o in outcomes)
    return (
        (Status.FAIL, "led to no endpoint, and endpoints answer") if alive else (Status.UNKNOWN, "not seen")
    )


def _endpoints(seen: PathSeen, outcomes: tuple[Outcome, ...]) -> tuple[Status, str]:
    named = [o for o in outcomes if o.observed is not None and o.observed.answers is not None]
    heard = sum(bool(o.observed and o.observed.answers) for o in named)
    words = f"{heard} of {len(named)} seen" if named else counts_words(seen)
    worst = {o.status for o in outcomes}
    if worst == {Status.OK}:
        return Status.OK, words
    return (Status.WARN if seen.arrived else Status.FAIL), words


def _container(outcome: Outcome, evidence: Evidence) -> tuple[Status, str]:
    pod = outcome.backend.pod if outcome.backend is not None else None
    listeners = evidence.sockets.get(pod or "")
    seen = outcome.observed
    if listeners is not None:
        return outcome.status, f"sockets: {sockets_text(listeners, 'TCP')}"
    if seen is not None and (seen.answers or seen.direct is Met.ANSWERED):
        return outcome.status, "answers"
    if seen is not None and seen.tunnel is Met.ANSWERED:
        return outcome.status, "answers inside its pod"
    return Status.UNKNOWN, ""


def counts_words(seen: PathSeen) -> str:
    """``20 of 20 answered, p50 1.2 ms, p99 3.4 ms``; else what the others met."""
    parts = [f"{seen.answered} of {seen.sent} answered"]
    parts += [f"{count} {met}" for met, count in seen.met if met not in (Met.ANSWERED, Met.ERROR)]
    if seen.latency is not None:
        parts += latency_words(seen.latency)
    if seen.large is not None:
        parts.append(f"with {seen.large.payload_size:,} bytes {seen.large.answered} of {seen.large.sent}")
    return ", ".join(parts)


def latency_words(latency: Latency) -> list[str]:
    """``p50 1.2 ms``, ``p99 3.4 ms``."""
    return [f"p50 {milliseconds(latency.p50)}", f"p99 {milliseconds(latency.p99)}"]


def milliseconds(seconds: float) -> str:
    """``0.42 ms``, ``12 ms``, ``1.3 s``."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.2g} ms" if seconds < 0.01 else f"{seconds * 1000:.0f} ms"


def end_words(seen: EndSeen) -> str:
    """``7 of 20 answers (35 %)``, and what its address and a tunnel into it met."""
    parts = []
    if seen.answers is not None and seen.named:
        parts.append(f"{seen.answers} of {seen.named} answers ({seen.answers / seen.named * 100:.0f} %)")
    if seen.direct is not None:
        parts.append(f"pod address {seen.direct}")
    if seen.tunnel is not None:
        parts.append(f"tunnel {seen.tunnel}")
    return ", ".join(parts)
