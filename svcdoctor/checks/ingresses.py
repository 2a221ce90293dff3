"""EXT007, EXT012: the rules of an Ingress: which Service each leads to, and which requests take it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from svcdoctor.checks.fixes import patch_field
from svcdoctor.checks.registry import Case, Raised, check, listed
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.ingress import Ingress, IngressServicePort
from svcdoctor.model.service import Service
from svcdoctor.path.gateway_ways import find_route
from svcdoctor.path.ingress import Route, any_port, backend_port, routes

_CANARY = "nginx.ingress.kubernetes.io/canary"
_REGEX = "nginx.ingress.kubernetes.io/use-regex"


@check(
    "EXT007",
    "Ingress names a Service or port that does not exist",
    Severity.ERROR,
    meaning="The Ingress controller finds no backend for the rule and answers 503 (some answer 404 or 500).",
    look="kubectl describe ingress NAME (Backends: <error: …>)",
    mend=(
        "Set the backend's service.name and service.port in the Ingress to a Service and port of its own "
        "namespace, or create that Service."
    ),
    links=("https://kubernetes.io/docs/concepts/services-networking/ingress/",),
)
def dangling_backend(case: Case) -> Iterator[Raised]:
    ingress = _ingress(case)
    if ingress is None:
        return
    groups: dict[tuple[str, IngressServicePort], list[Route]] = {}
    for route in routes(ingress):
        backend = route.backend.target
        if backend is not None:
            groups.setdefault((backend.name, backend.port), []).append(route)
    for (name, port), led in groups.items():
        if not case.view.complete(Kind.SERVICE, Scope(ingress.namespace, name=name)):
            continue
        service = case.view.snapshot.service(ingress.namespace, name)
        if service is None:
            yield _no_service(case, ingress, name, led)
        elif backend_port(service, port) is None and not any_port(service, port):
            yield _no_port(ingress, service, port, led)


def _ingress(case: Case) -> Ingress | None:
    target = case.trace.target
    return case.view.snapshot.ingress(target.namespace, target.name) if target.kind == "Ingress" else None


def _no_service(case: Case, ingress: Ingress, name: str, led: list[Route]) -> Raised:
    ns, view = ingress.namespace, case.view
    view.complete(Kind.SERVICE, Scope(ns))
    near = near_names(name, (s.name for s in view.snapshot.services if s.namespace == ns))
    evidence = [f"{listed(r.title for r in led)}: Service {name} does not exist in {ns}"]
    evidence += [f"near names in {ns}: {listed(near)}"] if near else []
    elsewhere = sorted(s.namespace for s in view.snapshot.services if s.name == name)
    if elsewhere:
        evidence.append(
            f"a Service {name} is in namespace {listed(elsewhere)}, but an Ingress leads to its own namespace only"
        )
    field = _field(led[0], "name")
    fix = (
        patch_field("ingress", ns, ingress.name, field, near[0]) if near else f"kubectl -n {ns} get services"
    )
    return Raised(
        (f"Ingress/{ns}/{ingress.name}", f"Service/{ns}/{name}"),
        tuple(evidence),
        "The rule leads nowhere; its requests are answered with an error by the controller.",
        fix,
        field=field,
    )


def _no_port(ingress: Ingress, service: Service, port: IngressServicePort, led: list[Route]) -> Raised:
    ns = ingress.namespace
    asked = port.name or str(port.number or "(none)")
    offered = listed(f"{p.name or '-'} {p.port}/{p.protocol}" for p in service.ports) or "none"
    evidence = [
        f"{listed(r.title for r in led)}: Service {service.name} has no port {asked}; it has {offered}"
    ]
    usable = [p for p in service.ports if p.protocol == "TCP"]
    meant = next((p for p in usable if asked in (str(p.target), str(p.node_port or ""))), None)
    if meant is not None:
        evidence.append(
            f"{asked} is the targetPort or nodePort of port {meant.port}; an Ingress names the port"
        )
    near = near_names(asked, (p.name for p in usable if p.name))
    if meant is None and near:
        meant = next(p for p in usable if p.name == near[0])
    if meant is None and len(usable) == 1:
        meant = usable[0]
    if any(asked in (p.name, str(p.port)) for p in service.ports):
        evidence.append("HTTP needs TCP")
    field = _field(led[0], "port")
    fix = f"kubectl -n {ns} get svc {service.name} -o wide"
    if meant is not None and led[0].backend.service is not None:
        value = {"name": meant.name} if meant.name else {"number": meant.port}
        fix = patch_field("ingress", ns, ingress.name, field, value)
    return Raised(
        (f"Ingress/{ns}/{ingress.name}", f"Service/{ns}/{service.name}"),
        tuple(evidence),
        "The rule leads nowhere; its requests are answered with an error by the controller.",
        fix,
        field=field,
    )


def _field(route: Route, part: str) -> str:
    """Where a backend's name or port is written, by the API version that wrote it."""
    if route.backend.service is not None:
        return f"{route.field}.service.{part}"
    return f"{route.field}.service{part.capitalize()}"


@check(
    "EXT012",
    "Ingress path matches nothing, or another rule wins",
    Severity.ERROR,
    meaning=(
        "Host and path of the request match no rule and there is no default backend (404), or a rule can never "
        "take the requests that it is meant for, because another one does or its path is taken literally."
    ),
    look="kubectl describe ingress NAME",
    mend="Add a rule for the host and path, mind the pathType (Prefix, Exact), or set spec.defaultBackend.",
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/ingress/#path-types",
        "https://gateway-api.sigs.k8s.io/api-types/httproute/",
    ),
)
def no_rule(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    for outcome in {o.reason: o for o in case.outcomes("EXT012")}.values():
        rules = list(_rules(case))
        yield Raised(
            (target.subject,),
            (outcome.reason, f"rules: {listed(rules) or 'none'}"),
            "Prefix paths are compared element by element; Exact ones must be equal.",
            f"kubectl -n {target.namespace} edit {target.kind.lower()} {target.name}",
            field="spec.rules",
        )
    ingress = _ingress(case)
    if ingress is not None and not case.outcomes("EXT012"):
        yield from _taken_literally(ingress)
        yield from _hidden(case, ingress)


def _rules(case: Case) -> Iterator[str]:
    target = case.trace.target
    ingress = _ingress(case)
    if ingress is not None:
        yield from (r.title for r in routes(ingress))
    elif target.kind in ("HTTPRoute", "GRPCRoute"):
        route = find_route(case.view.snapshot, Kind(target.kind), target.namespace, target.name)
        yield from (r.title for r in (route.spec.rules or () if route is not None else ()))


def _taken_literally(ingress: Ingress) -> Iterator[Raised]:
    """Paths with a star as an element, which only ImplementationSpecific may mean as a wildcard."""
    if (ingress.metadata.annotations or {}).get(_REGEX) == "true":
        return
    for route in routes(ingress):
        path = route.path
        if path is None or path.path_type not in ("Exact", "Prefix") or "*" not in path.path.split("/"):
            continue
        field = f"{route.field.removesuffix('.backend')}.path"
        before = path.path.split("/*")[0] or "/"
        yield Raised(
            (f"Ingress/{ingress.namespace}/{ingress.name}",),
            (f"{route.title} takes requests whose path has an element * in it",),
            f"Of pathType {path.path_type} a star is an ordinary character. Prefix {before} takes all below it.",
            patch_field("ingress", ingress.namespace, ingress.name, field, before),
            Severity.WARNING,
            field,
        )


def _hidden(case: Case, ingress: Ingress) -> Iterator[Raised]:
    """Routes for the same host, path and pathType as another one of the same controller, with other backends."""
    for route in routes(ingress):
        if route.path is None:
            continue
        key = (route.host, route.path.path, route.path.path_type)
        passed = False  # this route itself: of one Ingress's own, only the ones before it win
        for other, rival in islice(case.world.ingress_claims.get(key, ()), 50):
            if other is ingress:
                passed = passed or rival.field == route.field
                wins = not passed and rival.backend.target != route.backend.target
            else:
                mine, theirs = (
                    (ingress.namespace, route.backend.target),
                    (other.namespace, rival.backend.target),
                )
                wins = mine != theirs and _same_door(ingress, other) and _age(other) < _age(ingress)
            if not wins:
                continue
            where = "" if other is ingress else f" of Ingress {other.namespace}/{other.name}, which is older"
            also = () if other is ingress else (f"Ingress/{other.namespace}/{other.name}",)
            yield Raised(
                (f"Ingress/{ingress.namespace}/{ingress.name}", *also),
                (
                    f"{route.title} is there twice: {_leads(route)} here, {_leads(rival)} by {rival.field}{where}",
                ),
                "One host, path and pathType leads to one backend; which one wins is the controller's choice, most "
                "take the oldest Ingress and its first rule.",
                f"kubectl -n {ingress.namespace} edit ingress {ingress.name}",
                Severity.WARNING,
                f"{route.field.removesuffix('.backend')}.path",
            )
            break


def _leads(route: Route) -> str:
    target = route.backend.target
    return f"to Service {target.name}" if target is not None else "to no Service"


def _same_door(one: Ingress, other: Ingress) -> bool:
    """Whether one controller answers for both at one address, and neither shares its route on purpose (canary)."""
    if any((i.metadata.annotations or {}).get(_CANARY) == "true" for i in (one, other)):
        return False
    points = [{p.ip or p.hostname for p in i.status.load_balancer.ingress or ()} for i in (one, other)]
    return one.class_name == other.class_name and bool(points[0] & points[1])


def _age(ingress: Ingress) -> tuple[str, str, str]:
    return ingress.metadata.creation_timestamp or "", ingress.namespace, ingress.name
