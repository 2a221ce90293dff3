"""``checkup``: every Service, Ingress, route and policy of a scope at once, one answer by root cause.

Theory. Each object is a case of its own, answered as ``trace`` answers it, from one Snapshot and one view of what
answers where. What all cases lack is asked for together, and only they are answered again. Services that are
ordinary in every respect (``ordinary``) are not traced: nothing could be found. What many cases found alike
becomes one finding that says whom it affects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from svcdoctor.checks.choosing import Choice, Ignoring, chosen
from svcdoctor.checks.diagnose import ROUNDS, Source, answer_once
from svcdoctor.checks.grouping import by_root_cause
from svcdoctor.checks.ordinary import Ordinary
from svcdoctor.checks.ordinarymanifests import OrdinaryManifests
from svcdoctor.checks.plugins import loaded
from svcdoctor.checks.registry import Case, run
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.base import AnnotatedMeta, KubeObject
from svcdoctor.model.checkup import By, Checkup, Row, Suppressed
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import EVERYTHING, Kind, MissingFact, Need, Scope
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import TargetView, Trace, Verdict
from svcdoctor.path.endpoints import endpoints_known
from svcdoctor.path.trace import lack_of_rules
from svcdoctor.path.view import View
from svcdoctor.path.world import World

Progress = Callable[[int, int], None]  # objects done, of how many
Labelled = Callable[[Mapping[str, str]], bool]  # whether an object with these labels is looked at
EVERY_FINDING = Choice()

ROUTED = (Kind.INGRESS, Kind.HTTP_ROUTE, Kind.GRPC_ROUTE)  # what leads to Services, and is traced as they are
ALONE = (Kind.NETWORK_POLICY,)  # what no request is sent to
CHECKED = (Kind.SERVICE, *ROUTED, *ALONE)
BESIDE = (Kind.ENDPOINT_SLICE, Kind.POD, Kind.NAMESPACE)  # what nearly every answer rests on
MANY = 4  # needs of one kind in one namespace, from which on the whole namespace is asked for


@dataclass(slots=True)
class _Asked:
    """One object, and what became of it so far."""

    kind: Kind
    object: KubeObject
    verdict: Verdict = Verdict.UNKNOWN
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()
    notes: tuple[str, ...] = ()
    needs: tuple[Need, ...] = field(default=())

    @property
    def subject(self) -> str:
        return f"{self.object.kind}/{self.object.namespace}/{self.object.name}"


def checkup(
    source: Source,
    namespace: str | None,
    *,
    names: tuple[str, ...] = (),
    labels: Labelled | None = None,
    choice: Choice = EVERY_FINDING,
    progress: Progress | None = None,
) -> Checkup:
    """Everything wrong in a namespace (``None``: in all).

    ``names`` are Services to look at, ``labels`` chooses Services by theirs; either leaves other kinds out. ``choice``
    says what is reported of what is found. Raises SvcdoctorError where the source cannot be read.
    """
    loaded()
    snapshot = source.snapshot()
    scope = EVERYTHING if namespace is None else Scope(namespace)
    snapshot = _begun(source, snapshot, scope, names)
    view = View(snapshot)
    if namespace is not None:
        _must_exist(view, namespace)
    only_services = bool(names) or labels is not None
    kinds = (Kind.SERVICE,) if only_services else CHECKED
    if not names:
        for kind in kinds:
            view.complete(kind, scope, required=kind is Kind.SERVICE)
    asked = [_Asked(k, o) for k in kinds for o in _objects(snapshot, k, namespace, names, labels)]
    for name in sorted(set(names) - {a.object.name for a in asked}):
        # A name that is not there is answered too: OBJ001, with the names that are near.
        absent = Service(kind="Service", metadata=AnnotatedMeta(name=name, namespace=namespace or "default"))
        asked.append(_Asked(Kind.SERVICE, absent))
    snapshot = _answered(source, snapshot, asked, progress)
    ignoring = Ignoring(snapshot) if choice.annotations else None
    suppressed: list[Suppressed] = []
    if not snapshot.node_facts and not snapshot.would_be and asked:
        lack_of_rules(view)
    missing = dict.fromkeys(view.missing)
    for a in asked:
        missing |= dict.fromkeys(a.unknowns)
        suppressed += _choose(a, choice, ignoring)
    reported = by_root_cause((a.subject, a.findings) for a in asked)
    known = [r for r in reported if r.fingerprint in choice.baseline]
    suppressed += [Suppressed(r.finding.code, r.finding.subjects[0], By.BASELINE) for r in known]
    notes = dict.fromkeys([*loaded(), *snapshot.warnings, *(n for a in asked for n in a.notes)])
    return Checkup(
        "all namespaces" if namespace is None else f"namespace {namespace}",
        tuple(_row(snapshot, a) for a in asked),
        tuple(r for r in reported if r not in known),
        tuple(suppressed),
        tuple(ignoring.problems) if ignoring is not None else (),
        tuple(missing),
        tuple(notes),
    )


def _choose(a: _Asked, choice: Choice, ignoring: Ignoring | None) -> tuple[Suppressed, ...]:
    """Leaves the object's chosen findings, and makes its verdict fit them; returns the others."""
    left, out = chosen(a.subject, a.findings, choice, ignoring)
    only_infos = bool(left) and all(f.severity is Severity.INFO for f in left)
    if left != a.findings or (only_infos and a.verdict is Verdict.DEGRADED):
        a.verdict = a.verdict if a.verdict is Verdict.UNKNOWN else _worst(left)
    a.findings = left
    return out


def _must_exist(view: View, namespace: str) -> None:
    """Raises SvcdoctorError where there is no such namespace: nothing found in it would look like nothing wrong."""
    snapshot = view.snapshot
    if snapshot.would_be or any(o.namespace == namespace for k in CHECKED for o in snapshot.of(k)):
        return
    seen = {o.namespace for k in CHECKED for o in snapshot.of(k)}
    if snapshot.knows(Kind.NAMESPACE, Scope(name=namespace)):
        if snapshot.namespace(namespace) is not None:
            return
        seen |= {n.name for n in snapshot.of(Kind.NAMESPACE)}
    elif not seen or not snapshot.knows(Kind.SERVICE):
        return  # a dump without namespaces: where it holds other things, it would hold this one's
    near = near_names(namespace, seen)
    raise SvcdoctorError(
        f"namespace {namespace} does not exist" + (f"; near: {', '.join(near)}" if near else "")
    )


def exit_code(answer: Checkup, fail_on: str) -> int:
    """The process's exit code: 1 for a finding from severity ``fail_on`` on, 3 when undetermined, else 0."""
    if fail_on != "never":
        worst = {Severity.ERROR} if fail_on == "error" else {Severity.ERROR, Severity.WARNING}
        if any(r.finding.severity in worst for r in answer.findings):
            return 1
        if any(r.verdict is Verdict.BROKEN and not r.codes for r in answer.rows):
            return 1
    if any(m.required for m in answer.unknowns) or any(r.verdict is Verdict.UNKNOWN for r in answer.rows):
        return 3
    return 0


def _begun(source: Source, snapshot: Snapshot, scope: Scope, names: tuple[str, ...]) -> Snapshot:
    """The Snapshot with what the run surely needs: whole lists, or the named Services alone."""
    if names:
        needs = [Need(Kind.SERVICE, Scope(scope.namespace, name=n)) for n in names]
    else:
        needs = [Need(k, scope) for k in (*CHECKED, *BESIDE) if k is not Kind.NAMESPACE]
        needs += [
            Need(Kind.NAMESPACE, EVERYTHING if scope.namespace is None else Scope(name=scope.namespace))
        ]
        needs += [Need(Kind.NODE, EVERYTHING), Need(Kind.SERVICE_CIDR, EVERYTHING)]
    lacking = tuple(
        n
        for n in needs
        if not snapshot.knows(n.kind, n.scope) and snapshot.why_unknown(n.kind, n.scope) is None
    )
    return source.refill(snapshot, lacking) if lacking else snapshot


def _objects(
    snapshot: Snapshot, kind: Kind, namespace: str | None, names: tuple[str, ...], labels: Labelled | None
) -> Iterable[KubeObject]:
    found: list[KubeObject] = [
        o
        for o in snapshot.of(kind)
        if (namespace is None or o.namespace == namespace)
        and (not names or o.name in names)
        and (labels is None or labels(o.labels))
    ]
    return sorted(found, key=lambda o: (o.namespace, o.name))


def _answered(source: Source, snapshot: Snapshot, asked: list[_Asked], progress: Progress | None) -> Snapshot:
    """Answers every object, in as few rounds as what they lack takes."""
    pending = asked
    for n in range(ROUNDS):
        world = World(snapshot)
        ordinary = OrdinaryManifests(world) if snapshot.would_be else Ordinary(world)
        for i, a in enumerate(pending):
            if isinstance(a.object, Service) and ordinary(a.object):
                a.verdict, a.needs = Verdict.HEALTHY, ()
            else:
                _answer(a, snapshot, world)
            if progress is not None and n == 0:
                progress(i + 1, len(pending))
        pending = [a for a in pending if a.needs]
        needs = _together(need for a in pending for need in a.needs)
        if not needs:
            break
        refilled = source.refill(snapshot, needs)
        if refilled is snapshot:
            break
        snapshot = refilled
    return snapshot


def _answer(a: _Asked, snapshot: Snapshot, world: World) -> None:
    name, namespace = a.object.name, a.object.namespace
    if a.kind in ALONE:
        view = View(snapshot, world)
        empty = Trace(Verdict.HEALTHY, TargetView(a.object.kind, namespace, name), ())
        a.findings = run(Case(view, empty))
        a.verdict, a.unknowns, a.needs = _worst(a.findings), view.missing, view.needs
        return
    request = Request(ObjectTarget(a.object.kind, name, namespace), brief=True)
    try:
        answer = answer_once(snapshot, request, namespace, world)
    except SvcdoctorError as e:
        a.notes = (f"{a.subject}: {e.message}",)
        a.needs = ()
        return
    a.verdict, a.findings = answer.verdict, answer.findings
    a.unknowns, a.needs, a.notes = answer.unknowns, answer.needs, ()


def _worst(findings: tuple[Finding, ...]) -> Verdict:
    severities = {f.severity for f in findings}
    if Severity.ERROR in severities:
        return Verdict.BROKEN
    return Verdict.DEGRADED if Severity.WARNING in severities else Verdict.HEALTHY


def _together(needs: Iterable[Need]) -> tuple[Need, ...]:
    """The needs, where many small ones of a kind become one large one: a list costs less than many."""
    by_kind: dict[Kind, dict[Need, None]] = {}
    for need in needs:
        by_kind.setdefault(need.kind, {})[need] = None
    found: list[Need] = []
    for kind, all_of_kind in by_kind.items():
        by_namespace: dict[str | None, list[Need]] = {}
        for need in all_of_kind:
            by_namespace.setdefault(need.scope.namespace, []).append(need)
        if len(by_namespace) >= MANY:
            found.append(Need(kind, EVERYTHING))
            continue
        for namespace, some in by_namespace.items():
            found += some if len(some) < MANY else [Need(kind, Scope(namespace))]
    return tuple(found)


def _row(snapshot: Snapshot, a: _Asked) -> Row:
    codes = tuple(dict.fromkeys(f.code for f in a.findings))
    row = Row(a.object.kind, a.object.namespace, a.object.name, a.verdict, codes)
    if not isinstance(a.object, Service) or snapshot.service(a.object.namespace, a.object.name) is None:
        return row
    return service_row(snapshot, a.object, a.verdict, codes)


def service_row(snapshot: Snapshot, service: Service, verdict: Verdict, codes: tuple[str, ...] = ()) -> Row:
    """A Service's row, with its type, ports (``name port:nodePort→targetPort/protocol``) and endpoints."""
    ports = tuple(
        f"{p.port}{f':{p.node_port}' if p.node_port else ''}→{p.target}/{p.protocol}" for p in service.ports
    )
    ready: set[str] = set()
    every: set[str] = set()
    for s in snapshot.slices(service.namespace, service.name):
        for e in s.endpoints or ():
            every.update(e.addresses or ())
            if e.ready:
                ready.update(e.addresses or ())
    known = service.type != "ExternalName" and endpoints_known(snapshot, service)
    counted = (len(ready), len(every)) if known else None
    kind = "Headless" if service.headless else service.type
    return Row("Service", service.namespace, service.name, verdict, codes, kind, ports, counted)
