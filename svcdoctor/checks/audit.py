"""``audit``: every frontend of every Service on every node, against the API, as findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from svcdoctor.checks import (
    noderules,
    nodestate,  # noqa: F401  (registers its checks of nodes)
)
from svcdoctor.checks import nodes as node_checks
from svcdoctor.checks.registry import REGISTRY, Raised, kept
from svcdoctor.model.audit import Audit, AuditedNode
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict
from svcdoctor.path.audit import Auditor, Difference, Place, Unanswered, places
from svcdoctor.path.world import World

PART = 500  # places that are compared in one go
# Differences that come from the node and not from one Service: reported once for the node.
OF_THE_NODE = frozenset({"RUL001", "RUL006", "NOD001", "NOD003", "NOD004", "NOD005", "NOD008", "RUL022"})
COMMAND = (
    "svcdoctor rules audit --node-facts exec, or a snapshot with nodes/NAME/iptables-save.txt or nft.json"
)


@dataclass(frozen=True, slots=True)
class Part:
    """Some places of one node: those from number ``first`` to before ``end``."""

    node: str
    first: int
    end: int


@dataclass(slots=True)
class Compared:
    """What was found at a part's places. ``unanswered`` has a reason for each place that could not be told."""

    node: str
    differences: list[Difference] = field(default_factory=list)
    differing: int = 0
    unanswered: list[str] = field(default_factory=list)


Spread: TypeAlias = Callable[[Callable[[Part], Compared], Sequence[Part]], Iterable[Compared]]
"""How the parts are worked through; their order is kept. ``map`` does it one after another."""


def audit(
    snapshot: Snapshot,
    chosen: Callable[[Service], bool],
    nodes: Iterable[str] = (),
    spread: Spread = map,
) -> Audit:
    """The Services for which ``chosen`` is true, on the named nodes (all when none is named)."""
    world = World(snapshot)
    names = tuple(nodes) or tuple(dict.fromkeys([*snapshot.node_names, *world.hosts.names]))
    services = tuple(s for s in snapshot.services if chosen(s))
    comparison = _Comparison(world, chosen)
    audited: dict[str, AuditedNode] = {}
    differences: list[Difference] = []
    found: list[tuple[str, Raised]] = []
    unknowns: dict[str, MissingFact] = {}
    parts: list[Part] = []
    for name in names:
        host = world.hosts.host(name)
        if host is None or host.node is None:
            why = world.hosts.why(name)
            audited[name] = AuditedNode(name, "", unknown=why)
            unknowns[name] = MissingFact(f"nodes/{name}/rules", why, COMMAND, True)
            continue
        for code, node_check in node_checks.NODE_CHECKS.items():
            found += [(code, r) for r in node_check(world, host, services)]
        mode = host.facts.proxy.mode if host.facts.proxy is not None else ""
        if host.bypassed:
            audited[name] = AuditedNode(name, mode, unknown="an eBPF data plane serves Services here")
            continue
        frontends = len(comparison.places(name))
        audited[name] = AuditedNode(name, mode, frontends)
        parts += [Part(name, n, min(n + PART, frontends)) for n in range(0, frontends, PART)]
    for compared in spread(comparison, parts):
        name, held = compared.node, audited[compared.node]
        differences += compared.differences
        differing, unanswered = (
            held.differing + compared.differing,
            held.unanswered + len(compared.unanswered),
        )
        audited[name] = AuditedNode(name, held.mode, held.frontends, differing, unanswered)
        for reason in compared.unanswered:
            unknowns.setdefault(f"{name}: {reason}", MissingFact(f"nodes/{name}/rules", reason, "", True))
    for code in dict.fromkeys(d.code for d in differences):
        raise_ = noderules.raised_of_nodes if code in OF_THE_NODE else noderules.raised
        found += [(code, r) for r in raise_(code, differences)]
    findings = kept((REGISTRY[code], r) for code, r in found)
    entries = tuple(audited.values())
    return Audit(_verdict(entries, findings), len(services), entries, findings, tuple(unknowns.values()))


class _Comparison:
    """Compares parts. Of the nodes only the one that was asked last is kept: their rules are large."""

    def __init__(self, world: World, chosen: Callable[[Service], bool]) -> None:
        self._world = world
        self._chosen = chosen
        self._auditor: Auditor | None = None
        self._places: dict[str, list[Place]] = {}

    def places(self, name: str) -> list[Place]:
        """What is to be compared on a node."""
        if name not in self._places:
            node = self._world.hosts.node(name)
            assert node is not None
            found = places(self._world, name, node)
            self._places[name] = [p for p in found if self._chosen(p.frontend.service)]
        return self._places[name]

    def __call__(self, part: Part) -> Compared:
        auditor = self._auditor
        if auditor is None or auditor.name != part.node:
            if auditor is not None:
                self._world.hosts.forget(auditor.name)
            node = self._world.hosts.node(part.node)
            assert node is not None
            auditor = self._auditor = Auditor(self._world, part.node, node)
        compared = Compared(part.node)
        for place in self.places(part.node)[part.first : part.end]:
            here = auditor.differences(place)
            real = [d for d in here if isinstance(d, Difference)]
            compared.differences += real
            compared.differing += bool(real)
            compared.unanswered += [u.reason for u in here if isinstance(u, Unanswered)]
        return compared


def exit_code(answer: Audit, fail_on: str) -> int:
    """1 from severity ``fail_on`` on (it wins over 3), 3 when a node's rules could not be told, else 0."""
    worst = {"error": {Severity.ERROR}, "warning": {Severity.ERROR, Severity.WARNING}}.get(fail_on, set())
    if any(f.severity in worst for f in answer.findings):
        return 1
    return 3 if answer.verdict is Verdict.UNKNOWN else 0


def _verdict(nodes: Iterable[AuditedNode], findings: tuple[Finding, ...]) -> Verdict:
    severities = {f.severity for f in findings}
    if Severity.ERROR in severities:
        return Verdict.BROKEN
    if any(n.unknown or n.unanswered for n in nodes):
        return Verdict.UNKNOWN
    return Verdict.DEGRADED if Severity.WARNING in severities else Verdict.HEALTHY
