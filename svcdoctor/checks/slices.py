"""OBJ020, OBJ021, OBJ024: EndpointSlices against v1 Endpoints, and against each other.

kube-proxy reads EndpointSlices only. v1 Endpoints are deprecated (Kubernetes 1.33), but ingress controllers,
Prometheus and clients of older libraries still read them: where both differ, these send elsewhere than kube-proxy.
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.endpoints import Endpoints, EndpointSlice, SliceEndpoint
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.path.endpoints import SERVICE_LABEL

MOST = 1000  # addresses that the Endpoints API holds of one Service, and that are mirrored of one subset
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"  # a lock of leader election, no addresses of servers
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MIRRORING = "endpointslicemirroring-controller.k8s.io"

_SLICES = "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices"
_OVER = (
    "https://kubernetes.io/docs/reference/labels-annotations-taints/#endpoints-kubernetes-io-over-capacity"
)


def _old(case: Case, service: Service, slices: tuple[EndpointSlice, ...]) -> Endpoints | None:
    """The Service's v1 Endpoints, asked for only where slices are mirrored from them or they cannot hold all."""
    snapshot = case.view.snapshot
    held = snapshot.endpoints(service.namespace, service.name)
    if held is None and (_mirrored(slices) or sum(len(s.endpoints or ()) for s in slices) > MOST):
        case.view.complete(Kind.ENDPOINTS, Scope(service.namespace, name=service.name))
    return held


def _mirrored(slices: tuple[EndpointSlice, ...]) -> bool:
    return any(s.labels.get(MANAGED_BY) == MIRRORING for s in slices)


def _largest(old: Endpoints) -> int:
    """How many addresses its largest subset has."""
    return max(
        (len(s.addresses or ()) + len(s.not_ready_addresses or ()) for s in old.subsets or ()), default=0
    )


@check(
    "OBJ020",
    "Endpoints and EndpointSlices disagree",
    Severity.WARNING,
    meaning=(
        "The v1 Endpoints of the Service name other addresses than its EndpointSlices. kube-proxy goes by the slices; "
        "ingress controllers, scrapers and clients that still read Endpoints go elsewhere."
    ),
    look="kubectl get endpoints NAME; kubectl get endpointslices -l kubernetes.io/service-name=NAME",
    mend=(
        "Let readers of Endpoints read EndpointSlices (Endpoints are deprecated from 1.33). Until then find out who "
        "writes the stale one of the two: the controllers in kube-controller-manager, or somebody's own program."
    ),
    links=(
        f"{_SLICES}/",
        "https://kubernetes.io/blog/2025/04/24/endpoints-deprecation/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#endpoints",
    ),
)
def endpoints_disagree(case: Case) -> Iterator[Raised]:
    for service in case.services:
        slices = case.view.snapshot.slices(service.namespace, service.name)
        if not slices or case.view.snapshot.would_be:
            continue
        old = _old(case, service, slices)
        if old is None or OVER_CAPACITY in (old.metadata.annotations or {}) or _largest(old) > MOST:
            continue
        if old.labels.get(SKIP_MIRROR) == "true" or LEADER in (old.metadata.annotations or {}):
            continue
        evidence = tuple(_differences(service, slices, old))
        if not evidence:
            continue
        names = f"Endpoints/{old.namespace}/{old.name}"
        if service.spec.selector:
            explanation = (
                "Both are written from the same pods, by two controllers: one of them is behind or switched off, or "
                "somebody writes to one of the objects. Once they are deleted, the Endpoints are made anew where "
                "their controller runs."
            )
            fix = f"kubectl -n {service.namespace} delete endpoints {service.name}"
        else:
            explanation = (
                "The Service has no selector: its Endpoints are written by hand or by a program, and slices are "
                "mirrored from them. Here the slices say something else: they were edited, or nobody mirrors."
            )
            fix = (
                f"kubectl -n {service.namespace} get endpointslices -l {SERVICE_LABEL}={service.name} -o yaml"
            )
        yield Raised((subject(service), names), evidence, explanation, fix)


def _differences(service: Service, slices: tuple[EndpointSlice, ...], old: Endpoints) -> Iterator[str]:
    """What one of the two says and the other does not, in the Service's first family: Endpoints have no other.

    Terminating endpoints are left out: Endpoints never list them.
    """
    subsets = old.subsets or ()
    ready = {a.ip for s in subsets for a in s.addresses or ()}
    unready = {a.ip for s in subsets for a in s.not_ready_addresses or ()} - ready
    families = service.spec.ip_families or ("IPv6" if any(":" in ip for ip in ready | unready) else "IPv4",)
    new: dict[str, SliceEndpoint] = {}
    for s in slices:
        if s.address_type != families[0] or (service.ports and not s.ports):
            continue  # a pod without any of the ports is in slices only
        for e in s.endpoints or ():
            for address in (e.addresses or ())[:1]:
                if address not in new or e.ready:
                    new[address] = e
    lost = sorted((ready | unready) - set(new))
    if lost:
        yield f"only the Endpoints list {listed(lost)}"
    added = sorted(ip for ip, e in new.items() if not e.terminating and ip not in ready and ip not in unready)
    if added:
        yield f"only EndpointSlices list {listed(added)}"
    steady = {ip: e for ip, e in new.items() if not e.terminating}
    too_good = sorted(ip for ip, e in steady.items() if ip in ready and not e.ready)
    if too_good:
        yield f"ready in the Endpoints, not in EndpointSlices: {listed(too_good)}"
    too_bad = sorted(ip for ip, e in steady.items() if ip in unready and e.ready)
    if too_bad:
        yield f"ready in EndpointSlices, not in the Endpoints: {listed(too_bad)}"


@check(
    "OBJ021",
    "An endpoint is in more than one EndpointSlice",
    Severity.WARNING,
    meaning=(
        "The same address and port stands in two slices of the Service. For a moment that is normal while slices are "
        "rewritten; where it stays, the slices have two writers. kube-proxy takes the better state of the two, so "
        "that an endpoint that one of them has taken out still gets connections."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml",
    mend=(
        "Let one writer own the Service's slices (label endpointslice.kubernetes.io/managed-by), and delete those of "
        "the other. Clients that read slices must remove duplicates themselves."
    ),
    links=(f"{_SLICES}/#duplicate-endpoints", f"{_SLICES}/#management"),
)
def duplicated(case: Case) -> Iterator[Raised]:
    for service in case.services:
        slices = case.view.snapshot.slices(service.namespace, service.name)
        if len(slices) < 2:
            continue
        twice = _twice(slices)
        if not twice:
            continue
        apart = [t for t in twice if _state(t[1]) != _state(t[3])]
        writers = dict.fromkeys(_writer(s) for t in twice for s in (t[0], t[2]))
        names = dict.fromkeys(f"EndpointSlice/{s.namespace}/{s.name}" for t in twice for s in (t[0], t[2]))
        evidence = [
            f"{one.addresses[0] if one.addresses else '?'} is in {a.name} ({_words(one)}) and in {b.name} "
            f"({_words(other)})"
            for a, one, b, other in (apart or twice)[:4]
        ]
        if len(twice) > 4:
            evidence.append(f"{len(twice)} endpoints in all")
        if len(writers) > 1:
            evidence.append(f"the slices are managed by {listed(writers)}")
        if apart:
            explanation = (
                "The slices disagree about the endpoint, and kube-proxy takes the better state of the two."
            )
        elif len(writers) > 1:
            explanation = (
                "Two writers list the endpoint: once it goes, the slice of one of them will still name it."
            )
        else:
            explanation = (
                "All copies say the same, so kube-proxy uses the endpoint once: nothing is lost by it."
            )
        yield Raised(
            (subject(service), *list(names)[:4]),
            tuple(evidence),
            explanation,
            f"kubectl -n {service.namespace} get endpointslices -l {SERVICE_LABEL}={service.name} "
            f"-L {MANAGED_BY}  # then delete the slice that has no right to it",
            None if apart or len(writers) > 1 else Severity.INFO,
        )


Twice = tuple[EndpointSlice, SliceEndpoint, EndpointSlice, SliceEndpoint]


def _twice(slices: tuple[EndpointSlice, ...]) -> list[Twice]:
    """Endpoints of different slices with the same address and a port of the same name and number."""
    seen: dict[tuple[str, str, int | None, str], tuple[EndpointSlice, SliceEndpoint]] = {}
    found: dict[tuple[str, str, str], Twice] = {}
    for s in slices:
        for e in s.endpoints or ():
            for address in (e.addresses or ())[:1]:
                for p in s.ports or ():
                    key = (address, p.name or "", p.port, p.protocol or "TCP")
                    held, first = seen.setdefault(key, (s, e))
                    if held is not s:
                        found.setdefault((address, held.name, s.name), (held, first, s, e))
    return list(found.values())


def _state(e: SliceEndpoint) -> tuple[bool, bool, bool]:
    return e.ready, e.serving, e.terminating


def _words(e: SliceEndpoint) -> str:
    return f"{'ready' if e.ready else 'not ready'}{', terminating' if e.terminating else ''}"


def _writer(s: EndpointSlice) -> str:
    return s.labels.get(MANAGED_BY) or f"somebody unknown (slice {s.name})"


@check(
    "OBJ024",
    "The Service has more endpoints than Endpoints can hold",
    Severity.WARNING,
    meaning=(
        f"The v1 Endpoints API holds at most {MOST} addresses of a Service. kube-proxy reads EndpointSlices, which "
        "hold all; whoever reads Endpoints misses the rest. Slices mirrored from hand-written Endpoints stop at "
        f"{MOST} addresses of a subset too, and there kube-proxy misses them as well."
    ),
    look=f"kubectl get endpoints NAME -o jsonpath='{{.metadata.annotations}}' ({OVER_CAPACITY})",
    mend=(
        "Let whatever reads Endpoints read EndpointSlices. For a Service without a selector write EndpointSlices "
        "instead of Endpoints."
    ),
    links=(_OVER, "https://kubernetes.io/docs/concepts/services-networking/service/#over-capacity-endpoints"),
    explains=("OBJ020",),
)
def over_capacity(case: Case) -> Iterator[Raised]:
    for service in case.services:
        slices = case.view.snapshot.slices(service.namespace, service.name)
        old = _old(case, service, slices)
        if old is None:
            continue
        said = (old.metadata.annotations or {}).get(OVER_CAPACITY)
        largest = _largest(old)
        mirrored = _mirrored(slices)
        if said is None and not (mirrored and largest > MOST):
            continue
        held = len({a for s in slices for e in s.endpoints or () for a in e.addresses or ()})
        evidence = [f"annotation {OVER_CAPACITY}: {said}"] if said is not None else []
        evidence.append(f"the largest subset of the Endpoints has {largest} addresses")
        evidence.append(f"EndpointSlices list {held}")
        complete = bool(slices) and not mirrored
        yield Raised(
            (subject(service), f"Endpoints/{old.namespace}/{old.name}"),
            tuple(evidence),
            "kube-proxy is not concerned; readers of Endpoints send to a part of the pods only."
            if complete
            else f"What is beyond {MOST} addresses gets no traffic through the Service.",
            f"kubectl -n {service.namespace} get endpointslices -l {SERVICE_LABEL}={service.name}"
            if complete
            else "write EndpointSlices of at most 1000 endpoints each, labelled "
            f"{SERVICE_LABEL}={service.name}, and delete the Endpoints",
            Severity.INFO if complete else None,
        )
