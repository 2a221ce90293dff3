"""OBJ019, OBJ023: EndpointSlices that do not follow the pods.

Lists of a live cluster are read one after the other, so a pod that has just become Ready may be in no slice yet: that
some are missing is no finding, that all are is. What a slice holds too much, or otherwise than the pods have it, stays
so for moments only while the EndpointSlice controller runs.
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.endpoints import EndpointSlice, SliceEndpoint
from svcdoctor.model.facts import Kind, Scope, selector_scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.endpoints import SERVICE_LABEL

_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_CONTROLLER = "endpointslice-controller.k8s.io"
_CONTROLLERS_PODS = "kubectl -n kube-system get pods -l component=kube-controller-manager"


@check(
    "OBJ019",
    "EndpointSlices do not follow the pods",
    Severity.ERROR,
    meaning=(
        "The Service's EndpointSlices do not list its ready pods, or list them otherwise than they are: the "
        "EndpointSlice controller (in kube-controller-manager) is behind or not running."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME; kubectl get pods -l SELECTOR",
    mend=(
        "Look after kube-controller-manager: its log says why the EndpointSlice controller does not follow. "
        "Delete slices that somebody else wrote and nobody keeps up."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#ownership",
        "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#management",
    ),
)
def slices_behind(case: Case) -> Iterator[Raised]:
    for service in case.services:
        scope = Scope(service.namespace, ((SERVICE_LABEL, service.name),))
        selector = service.spec.selector
        known = case.view.complete(Kind.ENDPOINT_SLICE, scope)
        if not selector or case.view.snapshot.would_be or not known:
            continue
        if not case.view.complete(Kind.POD, selector_scope(service.namespace, selector)):
            continue
        slices = case.view.snapshot.slices(service.namespace, service.name)
        selected = {p.name: p for p in case.selected(service)}
        named = {e.target_ref.name for s in slices for e in s.endpoints or () if e.target_ref is not None}
        ready = [p for p in selected.values() if p.ready and not p.terminating and p.ips]
        if ready and not any(p.name in named for p in ready):
            missing = listed((p.name for p in ready), 3)
            yield Raised(
                (subject(service), *map(_slice_subject, slices[:3])),
                (
                    f"{len(ready)} ready pods match the selector: {missing}",
                    f"{len(slices)} EndpointSlices of the Service list none of them",
                ),
                "The pods are fine and selected; nobody has written them into EndpointSlices.",
                _CONTROLLERS_PODS,
            )
            continue
        yield from _outdated(case, service, slices, selected)


def _outdated(
    case: Case, service: Service, slices: tuple[EndpointSlice, ...], selected: dict[str, Pod]
) -> Iterator[Raised]:
    """What the controller's own slices say otherwise than the Service and its pods."""
    wrong: dict[str, tuple[str, str]] = {}  # what is wrong: the slice, and the pod
    endpoints, every = 0, False
    for s in slices:
        if s.labels.get(_MANAGED_BY) != _CONTROLLER:
            continue
        for e in s.endpoints or ():
            endpoints += 1
            why = _why_outdated(case, service, e, selected)
            if why is not None and e.target_ref is not None:
                pod = f"Pod/{service.namespace}/{e.target_ref.name}"
                wrong[why] = _slice_subject(s), pod
        for why in _other_ports(service, s) if s.endpoints else ():
            wrong[why] = _slice_subject(s), ""
            every = True
    if wrong:
        subjects = dict.fromkeys(name for pair in wrong.values() for name in pair if name)
        yield Raised(
            (subject(service), *list(subjects)[:6]),
            tuple(wrong)[:6],
            "The slices are out of date: connections go where they were right once.",
            _CONTROLLERS_PODS,
            None if every or len(wrong) >= endpoints else Severity.WARNING,
        )


def _why_outdated(
    case: Case, service: Service, endpoint: SliceEndpoint, selected: dict[str, Pod]
) -> str | None:
    ref = endpoint.target_ref
    if ref is None or ref.kind != "Pod" or endpoint.terminating:
        return None
    pod = selected.get(ref.name)
    if pod is None:
        if not case.view.complete(Kind.POD, Scope(service.namespace, name=ref.name)):
            return None
        pod = case.view.snapshot.pod(service.namespace, ref.name)
        return f"pod {ref.name} is an endpoint, and the selector does not match its labels" if pod else None
    if pod.finished and not pod.terminating:
        return f"pod {ref.name} is an endpoint, and has ended (phase {pod.status.phase})"
    own = {canonical_or_none(ip) for ip in pod.ips}
    listed_at = [a for a in endpoint.addresses or () if canonical_or_none(a) not in own]
    if pod.ips and listed_at:
        return f"pod {ref.name} is listed at {listed_at[0]}, and has {listed(pod.ips)}"
    return None


def _other_ports(service: Service, s: EndpointSlice) -> Iterator[str]:
    """Ports of a slice that are not the Service's targetPort, where that is a number."""
    numbers = {(p.name, p.protocol): p.target for p in service.ports if isinstance(p.target, int)}
    for p in s.ports or ():
        wanted = numbers.get((p.name or "", p.protocol or "TCP"))
        if wanted is not None and p.port is not None and p.port != wanted:
            yield f"EndpointSlice {s.name} has port {p.port}, the Service's targetPort is {wanted}"


def _slice_subject(s: EndpointSlice) -> str:
    return f"EndpointSlice/{s.namespace}/{s.name}"


@check(
    "OBJ023",
    "An EndpointSlice points at a pod that does not exist",
    Severity.WARNING,
    meaning="Connections to that endpoint go to an address that nobody, or somebody else, has now.",
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml",
    mend=(
        "Delete the stale endpoint: a controller's slices are written anew by it, hand-written ones must be "
        "edited."
    ),
    links=("https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/#management",),
)
def dead_endpoint(case: Case) -> Iterator[Raised]:
    outcomes = case.outcomes("OBJ023")
    gone = {o.backend.ip for o in outcomes if o.backend is not None}
    for service in case.services if outcomes else ():
        holding = [
            _slice_subject(s)
            for s in case.view.snapshot.slices(service.namespace, service.name)
            if any(canonical_or_none(a) in gone for e in s.endpoints or () for a in e.addresses or ())
        ]
        yield Raised(
            (subject(service), *holding[:3]),
            tuple(dict.fromkeys(o.reason for o in outcomes)),
            "The endpoint is stale: its pod is gone.",
            f"kubectl -n {service.namespace} get endpointslices -l {SERVICE_LABEL}={service.name} -o yaml",
        )
