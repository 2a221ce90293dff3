"""Whether what requests by a path met is what was predicted of it."""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.evidence import arrived
from svcdoctor.model.observed import Met, Observation, ProbeKind
from svcdoctor.model.seen import PathSeen
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Outcome, Path, Result, Status
from svcdoctor.path.chances import least, most, would_be_seen


def seen_of(observation: Observation, large: Observation | None = None) -> PathSeen:
    """The counts of an observation, without those that could not be made."""
    sent = observation.sent - observation.met.get(Met.ERROR, 0)
    return PathSeen(
        observation.place,
        observation.aim.kind,
        sent,
        arrived(observation),
        observation.answered,
        tuple(sorted(observation.met.items(), key=lambda item: -item[1])),
        tuple(
            sorted(((n, c) for n, c in observation.who.items() if n), key=lambda item: (-item[1], item[0]))
        ),
        observation.latency,
        observation.detail,
        payload_size=observation.aim.payload_size,
        large=seen_of(large) if large is not None else None,
    )


def conclusive(observation: Observation) -> bool:
    """Whether what was met says anything: who does not understand a datagram does not answer it."""
    if observation.aim.kind is not ProbeKind.UDP or observation.aim.payload or arrived(observation):
        return True
    return bool(observation.met.get(Met.REFUSED))


def compared(
    snapshot: Snapshot, path: Path, observation: Observation, seen: PathSeen, sticky: bool
) -> PathSeen:
    """The same with whether the prediction holds. ``sticky``: a client keeps the endpoint that it was given."""
    delivered = sum(o.probability for o in path.outcomes if _is_delivered(o))
    unsure = sum(o.probability for o in path.outcomes if _is_unsure(o))
    n, a = seen.sent, seen.arrived
    if not conclusive(observation):
        return seen
    if sticky and 0 < delivered < 1:
        delivered, unsure = 0.0, 1.0
    differs = ""
    if a < least(n, delivered):
        differs = f"{_of(n - a, n)} did not arrive ({failure_words(observation)})"
    elif a > most(n, min(1.0, delivered + unsure)):
        differs = f"{_of(a, n)} arrived"
    elif not a and not unsure:
        differs = _otherwise(path, observation)
    differs = differs or ("" if sticky else _others(snapshot, path, seen))
    certain = unsure < 1.0 - 1e-9
    return replace(seen, agrees=not differs if certain or differs else None, differs=differs)


def _is_delivered(outcome: Outcome) -> bool:
    return outcome.result is Result.DELIVERED or (
        outcome.result is Result.UNKNOWN and outcome.status is Status.OK
    )


def _is_unsure(outcome: Outcome) -> bool:
    return outcome.result is Result.UNKNOWN and outcome.status in (Status.UNKNOWN, Status.WARN)


def _otherwise(path: Path, observation: Observation) -> str:
    """A failure that is another one than was predicted: silence instead of a refusal, or the other way."""
    results = {o.result for o in path.outcomes}
    if results == {Result.REFUSED} and observation.mostly is Met.TIMEOUT:
        return "they time out and are not refused"
    if results == {Result.DROPPED} and observation.mostly is Met.REFUSED:
        return "they are refused and do not time out"
    return ""


def _others(snapshot: Snapshot, path: Path, seen: PathSeen) -> str:
    """Who answers though it was not foreseen, or never does though it was."""
    named = sum(count for _, count in seen.who)
    counts = dict(seen.who)
    ends = {o.backend.pod: o for o in path.outcomes if o.backend and o.backend.pod}
    names = {pod: names_of(snapshot, pod) for pod in ends}
    if not named or not ends:
        return ""
    foreign = counts.keys() - {name for all_names in names.values() for name in all_names}
    strangers = foreign & {pod.name for pod in snapshot.pods}
    if strangers:
        return f"{min(strangers)} answers, which is no endpoint of this way"
    for pod, outcome in ends.items() if not foreign else ():  # else answers name something else than pods
        heard = any(name in counts for name in names[pod])
        if _is_delivered(outcome) and not heard and would_be_seen(named, outcome.probability):
            return f"{pod.rpartition('/')[2]} answered none of {named}"
    return ""


def names_of(snapshot: Snapshot, pod: str) -> tuple[str, ...]:
    """What a pod may call itself in its answers: its name, its hostname, its node's on the node's network."""
    namespace, _, name = pod.partition("/")
    held = snapshot.pod(namespace, name)
    if held is None:
        return (name,)
    found = (name, held.spec.hostname, held.spec.node_name if held.spec.host_network else "")
    return tuple(dict.fromkeys(filter(None, found)))


def failure_words(observation: Observation) -> str:
    """How requests failed: ``20 timeout, 2 refused``."""
    bad = {m: c for m, c in observation.met.items() if m not in (Met.ANSWERED, Met.ERROR)}
    return ", ".join(f"{count} {met}" for met, count in sorted(bad.items(), key=lambda item: -item[1]))


def _of(count: int, total: int) -> str:
    return f"{count} of {total} requests" if count < total else f"all {total} requests"
