"""At whom requests end that arrive, and whose address is seen there, held against what is expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from svcdoctor.model.reachability import Expectation, TestState
from svcdoctor.model.request import ObjectTarget
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Path, Result, SourceSeen

Pods = Callable[[Iterable[str]], Snapshot]
"""The facts with the pods of these namespaces, as far as they may be read."""


def wrong_ends(expectation: Expectation, paths: list[Path], pods_of: Pods) -> Iterator[tuple[str, TestState]]:
    """What is wrong with the pods that requests end at."""
    wanted = expectation.backends
    if wanted is None:
        return
    ends = _ends(paths)
    if None in ends:
        yield "where requests end is not known", TestState.UNKNOWN
    pods = sorted(name for name in ends if name)
    snapshot = pods_of(sorted({name.partition("/")[0] for name in pods}))
    members = {end: [name for name in pods if _belongs(snapshot, name, end)] for end in wanted.ends}
    strangers = [name for name in pods if not any(name in names for names in members.values())]
    if strangers:
        yield f"requests end at {', '.join(strangers)}, too, which is not expected", TestState.FAILED
    unmet = [f"{e.kind.lower()}/{e.name}" for e, names in members.items() if not names]
    if wanted.exactly and unmet:
        yield f"no request ends at {', '.join(unmet)}", TestState.FAILED


def _ends(paths: list[Path]) -> set[str | None]:
    """The pods that requests are sent to: those that were heard to answer, where answers name somebody."""
    found: set[str | None] = set()
    for path in paths:
        for outcome in path.outcomes:
            seen = outcome.observed
            heard = seen.answers if seen is not None and seen.named else None
            pod = outcome.backend.pod if outcome.backend is not None else None
            if outcome.probability > 0 and heard != 0 and (pod or outcome.result is Result.DELIVERED):
                found.add(pod)
    return found


def _belongs(snapshot: Snapshot, name: str, end: ObjectTarget) -> bool:
    """Whether a pod is the one that is named, or one of the workload's.

    A Deployment's ReplicaSets carry its name and the hash that their pods have as a label.
    """
    namespace, _, pod_name = name.partition("/")
    if namespace != end.namespace:
        return False
    if end.kind == "Pod":
        return pod_name == end.name
    pod = snapshot.pod(namespace, pod_name)
    owner = pod.metadata.owner if pod is not None else None
    if pod is None or owner is None:
        return False
    if end.kind == "Deployment" and owner.kind == "ReplicaSet":
        return owner.name == f"{end.name}-{pod.labels.get('pod-template-hash', '')}"
    return (owner.kind, owner.name) == (end.kind, end.name)


def wrong_sources(expectation: Expectation, paths: list[Path]) -> Iterator[tuple[str, TestState]]:
    """What is wrong with the address that the application sees."""
    wanted = expectation.source_seen
    if wanted is None:
        return
    outcomes = [o for p in paths for o in p.outcomes if o.result is Result.DELIVERED]
    seen = {o.source_seen for o in outcomes}
    if seen - {wanted, SourceSeen.UNKNOWN}:
        other = next(iter(seen - {wanted, SourceSeen.UNKNOWN}))
        yield f"the application sees the {other}'s address, not the {wanted}'s", TestState.FAILED
    elif seen != {wanted}:
        yield "whose address the application sees is not known", TestState.UNKNOWN
