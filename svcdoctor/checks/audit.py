"""``audit``: every frontend of every Service on every node, against the API, as findings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from svcdoctor.checks import noderules
from svcdoctor.checks import nodes as node_checks
from svcdoctor.checks.registry import REGISTRY, Raised, kept
from svcdoctor.model.audit import Audit, AuditedNode
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Verdict
from svcdoctor.path.audit import Auditor, Difference, Unanswered, places
from svcdoctor.path.world import World

# Differences that come from the node and not from one Service: reported once for the node.
OF_THE_NODE = frozenset({"RUL001", "RUL006", "NOD001", "NOD003", "NOD004", "NOD005", "NOD008", "RUL022"})
COMMAND = (
    "svcdoctor rules audit --node-facts exec, or a snapshot with nodes/NAME/iptables-save.txt or nft.json"
)


def audit(
    snapshot: Snapshot,
    chosen: Callable[[Service], bool],
    nodes: Iterable[str] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> Audit:
    """The Services for which ``chosen`` is true, on the named nodes (all when none is named)."""
    world = World(snapshot)
    names = tuple(nodes) or tuple(dict.fromkeys([*snapshot.node_names, *world.hosts.names]))
    services = tuple(s for s in snapshot.services if chosen(s))
    audited: list[AuditedNode] = []
    differences: list[Difference] = []
    found: list[tuple[str, Raised]] = []
    unknowns: dict[str, MissingFact] = {}
    for name in names:
        host = world.hosts.host(name)
        if host is None or host.node is None:
            why = world.hosts.why(name)
            audited.append(AuditedNode(name, "", unknown=why))
            unknowns[name] = MissingFact(f"nodes/{name}/rules", why, COMMAND, True)
            continue
        progress(f"{name}: {len(services)} Services")
        for code, node_check in node_checks.NODE_CHECKS.items():
            found += [(code, r) for r in node_check(world, host, services)]
        mode = host.facts.proxy.mode if host.facts.proxy is not None else ""
        if host.ebpf_signs and not host.serves:
            audited.append(AuditedNode(name, mode, unknown="an eBPF data plane serves Services here"))
            continue
        auditor = Auditor(world, name, host.node)
        frontends = differing = unanswered = 0
        for place in places(world, name, host.node):
            if not chosen(place.frontend.service):
                continue
            frontends += 1
            here = auditor.differences(place)
            real = [d for d in here if isinstance(d, Difference)]
            differences += real
            differing += bool(real)
            for unanswerable in here:
                if isinstance(unanswerable, Unanswered):
                    unanswered += 1
                    fact = f"{name}: {unanswerable.reason}"
                    unknowns.setdefault(
                        fact, MissingFact(f"nodes/{name}/rules", unanswerable.reason, "", True)
                    )
        audited.append(AuditedNode(name, mode, frontends, differing, unanswered))
    for code in dict.fromkeys(d.code for d in differences):
        raise_ = noderules.raised_of_nodes if code in OF_THE_NODE else noderules.raised
        found += [(code, r) for r in raise_(code, differences)]
    findings = kept((REGISTRY[code], r) for code, r in found)
    return Audit(
        _verdict(audited, findings), len(services), tuple(audited), findings, tuple(unknowns.values())
    )


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
