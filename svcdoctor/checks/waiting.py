"""What keeps a Service from being usable, in words, and which pods it waits for.

Theory. A Service is *ready* when it exists, each of its ports (or the one that is meant) has a ready endpoint, the
workloads behind it have carried out their newest template, and no finding is an error. What is missing is said in that
order: who lacks the Service itself need not hear of its endpoints.
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.diagnose import Source, diagnosed
from svcdoctor.checks.readiness import gate_shut, trouble
from svcdoctor.checks.registry import pod_subject
from svcdoctor.checks.rollouts import unfinished
from svcdoctor.model.cluster import Event
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.facts import Kind, MissingFact, Scope, selector_scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import Container, Pod
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Trace, Verdict
from svcdoctor.model.waiting import AwaitedPod, AwaitedProbe, ProbeAction
from svcdoctor.path.endpoints import port_of, ports_meant
from svcdoctor.path.view import View

MOST_PODS = 20


def absent(service: Service | None, target: ObjectTarget) -> str:
    """Why there is nothing to wait at yet: no Service, or none with the port; empty where there is."""
    if service is None:
        return f"there is no Service {target.name} in namespace {target.namespace}"
    if target.port and service.ports and not ports_meant(service, target.port or ""):
        has = ", ".join(f"{p.port}{f' ({p.name})' if p.name else ''}" for p in service.ports)
        return f"the Service has no port {target.port}; it has {has}"
    return ""


def without_endpoint(snapshot: Snapshot, service: Service, target: ObjectTarget) -> Iterator[str]:
    """The ports without a ready endpoint, in words. Slices that a Service of the same name has left do not count."""
    slices = [s for s in snapshot.slices(service.namespace, service.name) if _own(s, service)]
    if not service.ports:  # headless, with any port
        if not any(e.ready for s in slices for e in s.endpoints or ()):
            yield "no endpoint is ready"
        return
    ports = ports_meant(service, target.port or "")
    lacking = [p for p in ports if not _ready(slices, p)]
    if len(lacking) == len(ports) > 0:
        yield "no endpoint is ready"
    else:
        yield from (f"no endpoint is ready for port {p.name or p.port}" for p in lacking)


def ready_words(snapshot: Snapshot, service: Service) -> str:
    """How many of the Service's pods are ready, of those that do not leave."""
    slices = [s for s in snapshot.slices(service.namespace, service.name) if _own(s, service)]
    ready: dict[str, bool] = {}
    for endpoint in (e for s in slices for e in s.endpoints or () if not e.terminating):
        ref = endpoint.target_ref
        name = ref.name if ref is not None else next(iter(endpoint.addresses or ()), "")
        ready[name] = endpoint.ready and ready.get(name, True)
    return f"{sum(ready.values())} of {len(ready)} endpoints ready"


def _own(held: EndpointSlice, service: Service) -> bool:
    """Whether nothing says that the slice was made for another Service."""
    owner, uid = held.metadata.owner, service.metadata.uid
    return owner is None or owner.kind != "Service" or not uid or owner.uid in ("", uid)


def _ready(slices: list[EndpointSlice], port: ServicePort) -> bool:
    return any(e.ready for s in slices if port_of(s.ports or (), port) is not None for e in s.endpoints or ())


def lacking(traced: Trace, snapshot: Snapshot, target: ObjectTarget) -> tuple[str, ...]:
    """What keeps the Service from being ready; nothing when it is.

    Where a port is named, and all ways through it are sound, findings are about the others.
    """
    service = snapshot.service(target.namespace, target.name)
    if service is None or (gone := absent(service, target)):
        return (absent(None, target) if service is None else gone,)
    found = [*without_endpoint(snapshot, service, target), *unfinished(snapshot, service)]
    if not target.port or any(p.verdict is not Verdict.HEALTHY for p in traced.paths):
        found += [f"{f.code}: {f.title}" for f in traced.findings if f.severity is Severity.ERROR]
    if traced.verdict is Verdict.UNKNOWN:
        found += [f"not known: {u.fact} ({u.reason})" for u in traced.unknowns if u.required]
    return tuple(found)


def never_known(traced: Trace, lacks: tuple[str, ...]) -> bool:
    """Whether nothing is lacking but facts that may not be read, which waiting does not change."""
    needed = [u for u in traced.unknowns if u.required]
    return traced.verdict is Verdict.UNKNOWN and len(lacks) == len(needed) and all(map(_forbidden, needed))


def _forbidden(fact: MissingFact) -> bool:
    return fact.grant.startswith("verb ")  # others may pass


def explained(source: Source, target: ObjectTarget) -> tuple[Trace, Snapshot, tuple[AwaitedPod, ...]]:
    """The diagnosis with its facts, and the pods that are not ready. Raises SvcdoctorError."""
    traced, snapshot = diagnosed(source, source.snapshot(), Request(target), target.namespace)
    view = View(snapshot)
    pods = awaited_pods(view, target)
    if view.needs:
        snapshot = source.refill(snapshot, view.needs)
        pods = awaited_pods(View(snapshot), target)
    return traced, snapshot, pods


def awaited_pods(view: View, target: ObjectTarget) -> tuple[AwaitedPod, ...]:
    """The pods that the Service selects and that are not ready, with what their kubelet says of them."""
    service = view.snapshot.service(target.namespace, target.name)
    selector = service.spec.selector if service is not None else None
    if not selector or not view.complete(Kind.POD, selector_scope(target.namespace, selector)):
        return ()
    chosen = view.snapshot.select_pods(target.namespace, selector)
    waiting = [p for p in chosen if not p.ready and not p.terminating and not p.finished]
    if waiting:
        view.complete(Kind.EVENT, Scope(target.namespace))
    return tuple(_awaited(view.snapshot, pod) for pod in waiting[:MOST_PODS])


def _awaited(snapshot: Snapshot, pod: Pod) -> AwaitedPod:
    ready = {s.name for s in pod.status.container_statuses or () if s.ready}
    containers = [c for c in pod.serving_containers if c.name not in ready]
    reason = trouble(pod)
    if reason is None:
        gate = gate_shut(pod)
        reason = f"readiness gate {gate} is not True" if gate else "running, not ready"
    probes = [p for c in containers if (p := _probe(c)) is not None]
    return AwaitedPod(
        f"{pod.namespace}/{pod.name}",
        pod.spec.node_name,
        reason,
        tuple(c.name for c in containers),
        tuple(probes) if pod.status.phase == "Running" else (),
        _newest_warning(snapshot, pod) or _own_words(pod),
    )


def _probe(container: Container) -> AwaitedProbe | None:
    probe = container.readiness_probe
    if probe is None:
        return None
    action = ProbeAction.EXEC
    if probe.http_get is not None:
        action = ProbeAction.HTTP_GET
    elif probe.tcp_socket is not None:
        action = ProbeAction.TCP_SOCKET
    elif probe.grpc is not None:
        action = ProbeAction.GRPC
    return AwaitedProbe(container.name, action, "" if probe.port is None else str(probe.port))


def _newest_warning(snapshot: Snapshot, pod: Pod) -> str:
    """What the newest warning event about the pod says; empty where there is none, or events may not be read."""
    events: list[Event] = [
        e
        for e in snapshot.of(Kind.EVENT)
        if e.type == "Warning"
        and e.message
        and f"{e.involved_object.kind}/{e.involved_object.namespace}/{e.involved_object.name}"
        == pod_subject(pod)
    ]
    if not events:
        return ""
    newest = max(events, key=lambda e: e.last_timestamp or "")
    return f"{newest.reason}: {(newest.message or '').splitlines()[0]}"


def _own_words(pod: Pod) -> str:
    """What the pod's own status says: a container that waits, the scheduler, the Ready condition."""
    for s in (*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())):
        if s.state.waiting is not None and s.state.waiting.message:
            return s.state.waiting.message.splitlines()[0]
    for kind in ("PodScheduled", "Ready"):
        condition = pod.condition(kind)
        if condition is not None and condition.status != "True" and condition.message:
            return condition.message.splitlines()[0]
    return pod.status.message or ""
