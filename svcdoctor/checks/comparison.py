"""``compare``: two snapshots of a cluster, what differs on Services' ways, and which findings came or went.

Theory. Both snapshots are checked as ``check`` does, and their findings are told apart by fingerprint. Beside that,
each Service's objects are compared as they are in both; what lies on many ways (a node, a policy) is one change that
names the Services. Two snapshots of a sound cluster differ in nothing but what somebody changed: times, counters,
resource versions and the order of lists are not compared. A kind of object that one of the two does not hold is not
compared either, and that is said.

What may live here: choosing what is compared, and putting it together. The comparing is in ``changes``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from svcdoctor.checks.changes import around, rules
from svcdoctor.checks.changes.fields import Difference
from svcdoctor.checks.changes.pods import pod_differences, selected_pods
from svcdoctor.checks.changes.services import endpoint_ports, endpoints, nodes_of, service_differences
from svcdoctor.checks.checkup import Progress, checkup
from svcdoctor.checks.registry import pod_subject, subject
from svcdoctor.model.checkup import Checkup, Reported
from svcdoctor.model.comparison import Change, Compared, Comparison, Shifted
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import EVERYTHING, Kind, MissingFact, Need, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.world import World

WHOLE = (Kind.NODE, Kind.INGRESS, Kind.HTTP_ROUTE, Kind.GRPC_ROUTE, Kind.NETWORK_POLICY)
KINDS = (Kind.ENDPOINT_SLICE, Kind.POD, *WHOLE)
ORDER = ("Service", "Pod", "Ingress", "HTTPRoute", "GRPCRoute", "NetworkPolicy", "Node")


@dataclass(frozen=True, slots=True)
class _Held:
    """A snapshot as a source: all that there is."""

    held: Snapshot

    def snapshot(self) -> Snapshot:
        return self.held

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        return snapshot


def compare(
    before: Snapshot,
    after: Snapshot,
    namespace: str | None,
    names: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> Comparison:
    """What differs in a namespace (``None``: in all), or for these Services of it.

    Raises SvcdoctorError where a snapshot holds no Services, or a named Service is in neither.
    """
    scope = EVERYTHING if namespace is None else Scope(namespace)
    for snapshot in (before, after):
        if not snapshot.knows(Kind.SERVICE, scope):
            why = snapshot.why_unknown(Kind.SERVICE, scope)
            raise SvcdoctorError(f"{snapshot.source}: {why.reason if why else 'holds no Services'}")
    pairs = _pairs(before, after, namespace, names)
    old, new = (checkup(_Held(s), namespace, names=names, progress=progress) for s in (before, after))
    found = _Found(before, after, scope)
    for was, now in pairs:
        found.of_service(was, now)
    found.of_routes(pairs)
    found.of_rules(pairs)
    appeared, gone, shifted = _findings(old.findings, new.findings)
    changes = found.changes()
    return Comparison(
        before.source,
        after.source,
        old.scope if not names else ", ".join(f"svc/{name}" for name in names) + f" of {old.scope}",
        len(pairs),
        tuple(_compared(pairs, changes, old, new)),
        changes,
        appeared,
        gone,
        shifted,
        tuple(_unknowns(before, after, scope)),
        tuple(dict.fromkeys([*old.notes, *new.notes])),
    )


def exit_code(answer: Comparison) -> int:
    """1 where a finding of severity error appeared, or one became an error; else 0."""
    new = [r.finding for r in (*answer.appeared, *(s.reported for s in answer.shifted))]
    return 1 if any(f.severity is Severity.ERROR for f in new) else 0


Pair = tuple[Service | None, Service | None]


def _pairs(before: Snapshot, after: Snapshot, namespace: str | None, names: tuple[str, ...]) -> list[Pair]:
    """The Services in question as they are in both, by namespace and name."""
    found = {
        (s.namespace, s.name): None
        for snapshot in (before, after)
        for s in snapshot.services
        if (namespace is None or s.namespace == namespace) and (not names or s.name in names)
    }
    for name in names:
        if not any(name == own for _, own in found):
            raise SvcdoctorError(f"no Service {name} in namespace {namespace}, neither before nor after")
    return [(before.service(*name), after.service(*name)) for name in sorted(found)]


def _subject(pair: Pair) -> str:
    service = pair[1] or pair[0]
    assert service is not None
    return subject(service)


@dataclass
class _Found:
    """The changes so far, each with the Services whose way it lies on."""

    before: Snapshot
    after: Snapshot
    scope: Scope
    held: dict[tuple[str, Difference], dict[str, None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = around.node_differences(self.before, self.after)
        self.policies = around.policy_differences(self.before, self.after)
        self.slices = self._both(Kind.ENDPOINT_SLICE)
        self.pods = self._both(Kind.POD)
        self._of_pods: dict[tuple[str, str], list[Difference]] = {}

    def _both(self, kind: Kind) -> bool:
        return self.before.knows(kind, self.scope) and self.after.knows(kind, self.scope)

    def add(self, about: str, differences: Iterable[Difference], services: Iterable[str]) -> None:
        for difference in differences:
            self.held.setdefault((about, difference), {}).update(dict.fromkeys(services))

    def changes(self) -> tuple[Change, ...]:
        """All of them: the Services' own first, then pods, and what is around."""
        found = [Change(about, *d, tuple(sorted(names))) for (about, d), names in self.held.items()]

        def place(change: Change) -> tuple[int, str]:
            kind = change.subject.partition("/")[0]
            return ORDER.index(kind) if kind in ORDER else len(ORDER), change.subject

        return tuple(sorted(found, key=place))

    def of_service(self, was: Service | None, now: Service | None) -> None:
        """What differs of a Service, its endpoints, its pods, and the nodes and policies on its way."""
        own = [_subject((was, now))]
        if was is None or now is None:
            self.add(own[0], [("", _type(was), _type(now))], own)
        else:
            self.add(own[0], service_differences(was, now), own)
        told = set(self._of_endpoints(was, now, own)) if self.slices else set()
        if self.pods:
            self._of_selected(was, now, own, told)
        on_the_way = self._nodes_of(was, now)
        for name, differences in self.nodes.items():
            if name in on_the_way:
                self.add(f"Node/{name}", differences, own)

    def _of_endpoints(self, was: Service | None, now: Service | None, own: list[str]) -> Iterator[str]:
        """Adds what differs of the endpoints; the names of those that are gone or new."""
        if was is None or now is None:
            return
        old, new = endpoints(self.before, was), endpoints(self.after, now)
        for name in dict.fromkeys([*old, *new]):
            if old.get(name) != new.get(name):
                self.add(own[0], [(f"endpoint {name}", old.get(name), new.get(name))], own)
                if name not in old or name not in new:
                    yield name
        ports = endpoint_ports(self.before, was), endpoint_ports(self.after, now)
        if None not in ports and ports[0] != ports[1]:
            self.add(own[0], [("endpoints' ports", *ports)], own)

    def _of_selected(self, was: Service | None, now: Service | None, own: list[str], told: set[str]) -> None:
        """Adds what differs of the pods, but for the coming and going that ``told`` endpoints tell already."""
        pairs = selected_pods(self.before, self.after, was, now)
        for old, new in pairs:
            pod = new or old
            assert pod is not None
            if pod.name in told and (old is None or new is None):
                continue
            name = (pod.namespace, pod.name)
            if name not in self._of_pods:  # several Services may select it
                self._of_pods[name] = list(pod_differences(old, new))
            self.add(pod_subject(pod), self._of_pods[name], own)
        for (namespace, name_of), differences, both in self.policies:
            if namespace == own[0].split("/")[1] and around.selected_by(both, _pods(pairs)):
                self.add(f"NetworkPolicy/{namespace}/{name_of}", differences, own)

    def _nodes_of(self, was: Service | None, now: Service | None) -> set[str]:
        """The nodes on a Service's way that differ: where its endpoints are, and those where it can be entered."""
        if not self.nodes:
            return set()
        found: set[str] = set()
        for snapshot, service in ((self.before, was), (self.after, now)):
            if service is not None:
                found |= set(self.nodes) if service.externally_accessible else nodes_of(snapshot, service)
        return found

    def of_routes(self, pairs: list[Pair]) -> None:
        """Adds the Ingresses and routes that differ and lead to one of the Services, or did."""
        ours = {(s.namespace, s.name): subject(s) for pair in pairs for s in pair if s is not None}
        for about, differences, led_to in around.route_differences(self.before, self.after):
            services = [ours[name] for name in led_to if name in ours]
            if services:
                self.add(about, differences, services)

    def of_rules(self, pairs: list[Pair]) -> None:
        """Adds where nodes' rules serve the Services otherwise than before."""
        if not (self.before.node_facts and self.after.node_facts):
            return
        ours = {(s.namespace, s.name) for pair in pairs for s in pair if s is not None}
        worlds = World(self.before), World(self.after)
        chosen: Callable[[Service], bool] = lambda s: (s.namespace, s.name) in ours  # noqa: E731
        for node, service, difference in rules.rule_differences(*worlds, chosen):
            self.add(f"Node/{node}", [difference], [subject(service)])


def _type(service: Service | None) -> str | None:
    return None if service is None else f"a Service of type {service.type}"


def _pods(pairs: Iterable[tuple[Pod | None, Pod | None]]) -> Iterator[Pod]:
    return (pod for pair in pairs for pod in pair if pod is not None)


def _compared(
    pairs: list[Pair], changes: tuple[Change, ...], old: Checkup, new: Checkup
) -> Iterator[Compared]:
    """The Services with a change or another verdict."""
    counts: dict[str, int] = {}
    for change in changes:
        for name in change.services:
            counts[name] = counts.get(name, 0) + 1
    verdicts = [{row.subject: row.verdict for row in answer.rows} for answer in (old, new)]
    for was, now in pairs:
        name = _subject((was, now))
        before = verdicts[0].get(name) if was is not None else None
        after = verdicts[1].get(name) if now is not None else None
        if name in counts or before is not after:
            yield Compared(name, before, after, counts.get(name, 0))


def _findings(
    before: tuple[Reported, ...], after: tuple[Reported, ...]
) -> tuple[tuple[Reported, ...], tuple[Reported, ...], tuple[Shifted, ...]]:
    """Those that appeared, those that are gone, and those whose severity is another one."""
    # The worst stands first, and counts where two have the same fingerprint.
    old = {r.fingerprint: r for r in reversed(before)}
    new = {r.fingerprint: r for r in reversed(after)}
    appeared = tuple(r for r in dict.fromkeys(new[r.fingerprint] for r in after) if r.fingerprint not in old)
    gone = tuple(r for r in dict.fromkeys(old[r.fingerprint] for r in before) if r.fingerprint not in new)
    shifted = tuple(
        Shifted(new[key], old[key].finding.severity)
        for key in dict.fromkeys(r.fingerprint for r in after)
        if key in old and old[key].finding.severity is not new[key].finding.severity
    )
    return appeared, gone, shifted


def _unknowns(before: Snapshot, after: Snapshot, scope: Scope) -> Iterator[MissingFact]:
    """What could not be compared, because one of the two does not hold it and the other one does."""
    for kind in KINDS:
        at = EVERYTHING if kind in WHOLE else scope
        known = [s.knows(kind, at) for s in (before, after)]
        if known[0] != known[1]:
            lacking = after if known[0] else before
            why = lacking.why_unknown(kind, at)
            yield MissingFact(f"{kind} in {lacking.source}", why.reason if why else "not held", "", False)
    if bool(before.node_facts) != bool(after.node_facts):
        lacking = after if before.node_facts else before
        yield MissingFact(f"nodes' rules in {lacking.source}", "it holds no dumps of nodes", "", False)
