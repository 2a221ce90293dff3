"""The catalogue as code: every check with its code, severity, meaning, and the function that raises it.

Theory. A check is a pure function of a ``Case``: it looks at facts through the case's view and yields what
it raises. Its texts live beside it, in the ``@check`` line, so that the documentation page and the finding
come from one place. Root causes come first: a check names the codes that its cause explains, and those
findings are dropped where it was raised.

What may live here: the registry, and running it. No check.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from svcdoctor.dataplane.hosts import Host
from svcdoctor.model.evidence import arrived
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import Outcome, Trace
from svcdoctor.path.audit import Auditor, Difference, places
from svcdoctor.path.sockets import Ear, ear
from svcdoctor.path.view import View
from svcdoctor.path.world import World


@dataclass(frozen=True, slots=True)
class Raised:
    """What a check found. ``severity`` differs from the check's where the case is milder.

    ``field`` is where in the first subject's manifest the cause is written: ``spec.ports[0].nodePort``.
    """

    subjects: tuple[str, ...]
    evidence: tuple[str, ...]
    explanation: str
    fix: str
    severity: Severity | None = None
    field: str = ""


@dataclass(frozen=True)
class Case:
    """What checks look at: a finished trace, and the facts through its view."""

    view: View
    trace: Trace

    @property
    def world(self) -> World:
        return self.view.world

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The nodes whose facts were collected."""
        hosts = self.world.hosts
        return tuple(h for name in hosts.names if (h := hosts.host(name)) is not None)

    @cached_property
    def differences(self) -> tuple[Difference, ...]:
        """How the rules of the nodes differ from the API for the Services on the way."""
        services = set(self.trace.services)
        found: list[Difference] = []
        for host in self.hosts if services and self.trace.paths else ():
            if host.node is None or host.bypassed:
                continue
            auditor = Auditor(self.world, host.name, host.node)
            for place in places(self.world, host.name, host.node):
                service = place.frontend.service
                if (service.namespace, service.name) in services:
                    found += [d for d in auditor.differences(place) if isinstance(d, Difference)]
        return tuple(found)

    @cached_property
    def services(self) -> tuple[Service, ...]:
        """The Services on the way, as far as they exist."""
        found = (self.view.snapshot.service(*name) for name in self.trace.services)
        return tuple(s for s in found if s is not None)

    def selected(self, service: Service) -> tuple[Pod, ...]:
        """The pods that the Service's selector matches, finished ones left out."""
        key = service.namespace, service.name
        found = self._selected.get(key)
        if found is None:
            pods = self.view.snapshot.select_pods(service.namespace, service.spec.selector or {})
            found = self._selected[key] = tuple(p for p in pods if p.status.phase != "Succeeded")
        return found

    @cached_property
    def _selected(self) -> dict[tuple[str, str], tuple[Pod, ...]]:
        return {}

    def usable(self, service: Service) -> bool:
        """Whether any endpoint of the Service is ready, or terminating but still serving."""
        for s in self.view.snapshot.slices(service.namespace, service.name):
            for e in s.endpoints or ():
                if s.ports and (e.ready or (e.serving and e.terminating)):
                    return True
        old = self.view.snapshot.endpoints(service.namespace, service.name)
        without_slices = not self.view.snapshot.slices(service.namespace, service.name)
        return without_slices and old is not None and any(s.addresses for s in old.subsets or ())

    def events_of(self, pods: Iterable[Pod], *reasons: str) -> list[str]:
        """Messages of the pods' events with these reasons, newest kept, one of each."""
        pods = tuple(pods)
        namespaces = {p.namespace for p in pods}
        if not all(self.view.complete(Kind.EVENT, Scope(ns)) for ns in namespaces):
            return []
        names = {(p.namespace, p.name) for p in pods}
        found = {
            f"{e.reason}: {(e.message or '').splitlines()[0]}": None
            for e in self.view.snapshot.of(Kind.EVENT)
            if e.reason in reasons
            and e.message
            and (e.involved_object.namespace, e.involved_object.name) in names
        }
        return list(found)

    def seen_to_listen(self, pod: Pod, port: int, protocol: str) -> bool:
        """Whether probes or the pod's sockets prove that its port takes connections at its address."""
        evidence = self.view.snapshot.evidence
        if evidence is None:
            return False
        listeners = evidence.sockets.get(f"{pod.namespace}/{pod.name}", ())
        for text in pod.ips:
            ip = canonical_or_none(text)
            met = evidence.at(ip, port, protocol) if ip is not None else None
            if met is not None and arrived(met):
                return True
            if ip is not None and ear(listeners, ip, port, protocol) is Ear.LISTENS:
                return True
        return False

    def outcomes(self, code: str) -> list[Outcome]:
        return [o for p in self.trace.paths for o in p.outcomes if o.code == code]


CheckFunction = Callable[[Case], Iterator[Raised]]


@dataclass(frozen=True, slots=True)
class Check:
    """One row of the catalogue. ``explains`` are codes that are consequences of this cause.

    ``look`` is how to see it by hand, ``mend`` how it is mended in general, ``links`` the specification.
    """

    code: str
    title: str
    severity: Severity
    meaning: str
    look: str
    mend: str
    links: tuple[str, ...]
    run: CheckFunction = field(repr=False)
    explains: frozenset[str] = frozenset()


REGISTRY: dict[str, Check] = {}


def check(
    code: str,
    title: str,
    severity: Severity,
    *,
    meaning: str,
    look: str,
    mend: str,
    links: tuple[str, ...],
    explains: Iterable[str] = (),
) -> Callable[[CheckFunction], CheckFunction]:
    """Registers the decorated function as the check of ``code``.

    ``meaning`` says what it means, ``look`` how to see it by hand, ``mend`` how it is mended in general, and
    ``links`` lead to the specification.
    """

    def register(function: CheckFunction) -> CheckFunction:
        if code in REGISTRY:
            raise ValueError(f"two checks with code {code}")
        REGISTRY[code] = Check(
            code, title, severity, meaning, look, mend, links, function, frozenset(explains)
        )
        return function

    return register


def run(case: Case) -> tuple[Finding, ...]:
    """Every finding of the case, root causes first, consequences dropped."""
    return kept((c, r) for c in REGISTRY.values() for r in c.run(case))


def kept(raised: Iterable[tuple[Check, Raised]]) -> tuple[Finding, ...]:
    """What was raised as findings, the worst first, without those that another one explains."""
    found = [
        (
            c,
            Finding(
                c.code,
                r.severity or c.severity,
                c.title,
                r.subjects,
                r.evidence,
                r.explanation,
                r.fix,
                r.field,
            ),
        )
        for c, r in raised
    ]
    explained = {
        (code, subject)
        for c, f in found
        if f.severity is not Severity.INFO
        for code in c.explains
        for subject in f.subjects[:1]
    }
    left = [f for _, f in found if (f.code, f.subjects[0] if f.subjects else "") not in explained]
    return tuple(sorted(left, key=lambda f: f.severity.rank))


def subject(service: Service) -> str:
    return f"Service/{service.namespace}/{service.name}"


def pod_subject(pod: Pod) -> str:
    return f"Pod/{pod.namespace}/{pod.name}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names in a sentence: the first few, and how many more."""
    all_names = list(names)
    more = f" and {len(all_names) - most} more" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + more


def port_field(service: Service, port: ServicePort, field: str) -> str:
    """Where a field of one of the Service's ports is written: ``spec.ports[0].targetPort``."""
    return f"spec.ports[{service.ports.index(port)}].{field}"


def patch_port(service: Service, port: ServicePort, field: str, value: int | str) -> str:
    """The command that changes one field of one of the Service's ports (JSON Patch, RFC 6902)."""
    change = [{"op": "replace", "path": f"/spec/ports/{service.ports.index(port)}/{field}", "value": value}]
    body = json.dumps(change, separators=(",", ":"))
    return f"kubectl -n {service.namespace} patch svc {service.name} --type=json -p '{body}'"
