"""Paths put together as a person thinks of them: who comes in how, and where all of that ends.

Theory. An *approach* is one client that enters in one manner: its paths differ in the entry's node and
address only. Where all paths of an approach end alike, it is joined with every other approach to the same
ends: a cluster IP and four nodes' nodePorts that reach the same three pods are one picture. Where they end
differently (externalTrafficPolicy Local), the approach is a *fan* with a branch per end.

What may live here: comparing and grouping. Nothing is rendered, and no path is lost.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from svcdoctor.model.trace import (
    ROUTED,
    Entry,
    Hop,
    HopKind,
    Outcome,
    Path,
    Result,
    Status,
)
from svcdoctor.report.wording import family_of

# The mark of an outcome that is in doubt because of the entry's node, and would be fine through another.
NODE_NOT_READY = "NOD009"

_ENTRY_HOPS = frozenset(
    {
        HopKind.NODE,
        HopKind.NODE_PORT,
        HopKind.CLUSTER_IP,
        HopKind.HOST_PORT,
        HopKind.LOAD_BALANCER,
        HopKind.EXTERNAL_IP,
        HopKind.DNS,
    }
)
_END_HOPS = frozenset(
    {
        HopKind.SERVICE,
        HopKind.POLICY,
        HopKind.NETWORK_POLICY,
        HopKind.ENDPOINT,
        HopKind.POD,
        HopKind.CONTAINER,
    }
)


@dataclass(frozen=True, slots=True)
class Approach:
    """One client that enters in one manner, by one or many nodes and addresses."""

    paths: tuple[Path, ...]

    @property
    def entry(self) -> Entry:
        return self.paths[0].entry

    @property
    def client(self) -> Hop:
        return self.paths[0].hops[0]

    @property
    def policy(self) -> tuple[str, tuple[str, ...]]:
        """The policy's name, and what it means for all paths that it lets through."""
        hops = [(p, h) for p in self.paths for h in p.hops if h.kind is HopKind.POLICY]
        if not hops:
            return "", ()
        through = [h for p, h in hops if any(o.result is Result.DELIVERED for o in p.outcomes)]
        details = [h.detail.split("; ") for h in through or [h for _, h in hops]]
        shared = [part for part in details[0] if all(part in other for other in details)]
        return hops[0][1].title, tuple(shared)


@dataclass(frozen=True, slots=True)
class Branch:
    """Paths of one approach that end alike."""

    paths: tuple[Path, ...]
    ends: tuple[Outcome, ...]

    @property
    def ok(self) -> bool:
        return all(o.status is Status.OK for o in self.ends)


@dataclass(frozen=True, slots=True)
class Picture:
    """Approaches that end alike (one branch), or one approach whose paths end differently (a fan)."""

    approaches: tuple[Approach, ...]
    branches: tuple[Branch, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        return tuple(p for a in self.approaches for p in a.paths)

    @property
    def fan(self) -> bool:
        return len(self.branches) > 1

    @property
    def ok(self) -> bool:
        return all(b.ok for b in self.branches) and all(
            h.status is Status.OK for p in self.paths for h in p.hops
        )

    @property
    def service(self) -> Hop | None:
        return next((h for p in self.paths for h in p.hops if h.kind is HopKind.SERVICE), None)


def pictures(paths: Iterable[Path]) -> tuple[Picture, ...]:
    """Every path in exactly one picture, in the order in which the paths came."""
    approaches: dict[Hashable, list[Path]] = {}
    for path in paths:
        approaches.setdefault(_manner(path), []).append(path)
    found: dict[Hashable, list[Approach]] = {}
    for manner, members in approaches.items():
        alike = {_end(p) for p in members}
        key: Hashable = (_service(members[0]), alike.pop()) if len(alike) == 1 else manner
        found.setdefault(key, []).append(Approach(tuple(members)))
    return tuple(Picture(tuple(group), _branches(group)) for group in found.values())


def entry_hops(path: Path) -> tuple[Hop, ...]:
    """The hops between the client and the Service or the endpoints."""
    return tuple(h for h in path.hops[1:] if h.kind not in _END_HOPS)


def _manner(path: Path) -> Hashable:
    client, entry = path.client, path.entry
    on_the_way = tuple((h.kind, h.title, h.detail) for h in entry_hops(path) if h.kind not in _ENTRY_HOPS)
    policy = next((h.title for h in path.hops if h.kind is HopKind.POLICY), None)
    port = None if entry.kind in ROUTED else entry.port
    way = (client.kind, client.name, entry.kind, port, entry.protocol, _family(path))
    return way, on_the_way, policy, _service(path)


def _family(path: Path) -> int | None:
    family = family_of(path.entry.address)
    if family is not None:
        return family
    return next((family_of(o.backend.ip) for o in path.outcomes if o.backend is not None), None)


def _service(path: Path) -> Hashable:
    hop = next((h for h in path.hops if h.kind is HopKind.SERVICE), None)
    return (hop.title if hop else None), path.service_port


def _end(path: Path) -> Hashable:
    """What makes two paths end alike: everything about the outcomes but whose address is seen."""
    outcomes = (_without_node(path, o) for o in path.outcomes)
    return frozenset(
        (o.backend, o.result, round(o.probability, 6), o.status, o.code, o.reason) for o in outcomes
    )


def _without_node(path: Path, outcome: Outcome) -> Outcome:
    """The outcome as it would be told of any node: names and doubts of the entry's own node left out."""
    node = path.entry.node
    if outcome.code == NODE_NOT_READY:
        outcome = replace(outcome, status=Status.OK, code=None)
    if node is None or outcome.backend is not None or node not in outcome.reason:
        return outcome
    reason = re.sub(rf"(?<![\w.-]){re.escape(node)}(?![\w-]|\.\w)", "this node", outcome.reason)
    return replace(outcome, reason=reason)


def _branches(approaches: list[Approach]) -> tuple[Branch, ...]:
    ends: dict[Hashable, list[Path]] = {}
    for approach in approaches:
        for path in approach.paths:
            ends.setdefault(_end(path), []).append(path)
    return tuple(Branch(tuple(paths), _ends(paths)) for paths in ends.values())


def _ends(paths: list[Path]) -> tuple[Outcome, ...]:
    """The common ends: in the words of the one node, or of any node where several end alike."""
    first = paths[0]
    outcomes = tuple(_seen_by_all(paths, o) for o in first.outcomes)
    one = len({p.entry.node for p in paths}) == 1
    if not one:
        return tuple(_without_node(first, o) for o in outcomes)
    return tuple(replace(o, status=Status.OK, code=None) if o.code == NODE_NOT_READY else o for o in outcomes)


def _seen_by_all(paths: list[Path], outcome: Outcome) -> Outcome:
    """The outcome with the answers of its endpoint that requests by any of the paths met."""
    if outcome.observed is None:
        return outcome
    alike = [o.observed for p in paths for o in p.outcomes if o.backend == outcome.backend and o.observed]
    counted = [s for s in alike if s.answers is not None]
    if not counted:
        return outcome
    answers, named = sum(s.answers or 0 for s in counted), sum(s.named for s in counted)
    return replace(outcome, observed=replace(outcome.observed, answers=answers, named=named))
