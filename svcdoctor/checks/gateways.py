"""EXT009: HTTPRoutes and GRPCRoutes: whether a Gateway takes them, whether it runs, where their rules lead."""

from __future__ import annotations

import json
from collections.abc import Iterator

from svcdoctor.checks.fixes import patch_field
from svcdoctor.checks.registry import Case, Raised, check, listed
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.gateway import GATEWAY_GROUP, Gateway, GatewayClass
from svcdoctor.model.gatewayroutes import GatewayRoute
from svcdoctor.model.pod import Condition
from svcdoctor.path.gateway import Attachment, attachments, condition_at, condition_text
from svcdoctor.path.gateway_ways import find_route
from svcdoctor.path.gatewayrules import RouteBackend, backends, rules_for
from svcdoctor.path.hops import percent

_GOOD = {"Accepted": "True", "Programmed": "True", "ResolvedRefs": "True", "Conflicted": "False"}


@check(
    "EXT009",
    "The route does not lead from its Gateway to its backends",
    Severity.ERROR,
    meaning=(
        "A route works when a Gateway's listener takes it (the parentRef names it, and the listener admits the "
        "route's kind, namespace and hostname), a controller runs the Gateway, and every backendRef names a Service "
        "and port that exist; one of another namespace needs a ReferenceGrant there. Requests for a backend that "
        "does not resolve are answered with 500 (gRPC: UNAVAILABLE)."
    ),
    look="kubectl describe httproute NAME (Status: Parents: Conditions); kubectl describe gateway NAME",
    mend=(
        "Correct the parentRef, the listener's allowedRoutes or the hostnames so that they fit, or the backendRef's "
        "name and port; make a ReferenceGrant in the backend's namespace; install the GatewayClass's controller."
    ),
    links=(
        "https://gateway-api.sigs.k8s.io/concepts/api-overview/#attaching-routes-to-gateways",
        "https://gateway-api.sigs.k8s.io/api-types/httproute/",
        "https://gateway-api.sigs.k8s.io/api-types/referencegrant/",
        "https://gateway-api.sigs.k8s.io/reference/spec/",
    ),
)
def route_leads_nowhere(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    if target.kind not in (Kind.HTTP_ROUTE, Kind.GRPC_ROUTE):
        return
    route = find_route(case.view.snapshot, Kind(target.kind), target.namespace, target.name)
    if route is None:
        return
    parents = attachments(case.view, route)
    yield from _unattached(route, parents)
    for gateway in {(a.namespace, a.parent.name): a.gateway for a in parents if a.gateway}.values():
        yield from _gateway(case, gateway, parents)
    wrong = list(_backends(case, route))
    yield from wrong
    if not wrong:
        yield from _unresolved(route, parents)


def _subject(route: GatewayRoute) -> str:
    return f"{route.kind}/{route.namespace}/{route.name}"


# --- parents


def _unattached(route: GatewayRoute, parents: tuple[Attachment, ...]) -> Iterator[Raised]:
    if not parents:
        yield Raised(
            (_subject(route),),
            ("spec.parentRefs is empty",),
            "A route that names no Gateway is attached to none: no request takes it.",
            f"kubectl -n {route.namespace} edit {route.kind.lower()} {route.name}",
            field="spec.parentRefs",
        )
    alone = all(a.problem for a in parents)
    for a in parents:
        if not a.problem:
            continue
        evidence = [a.problem]
        evidence += [f"near: {listed(a.near)}"] if a.near else []
        evidence += [f"status: {a.said}"] if a.said and a.said != a.problem else []
        yield Raised(
            (_subject(route), f"{a.parent.kind or 'Gateway'}/{a.namespace}/{a.parent.name}"),
            tuple(evidence),
            "The route is not attached there: the Gateway answers its requests with 404, or by another route.",
            _attach(route, a),
            None if alone else Severity.WARNING,
            a.field,
        )


def _attach(route: GatewayRoute, a: Attachment) -> str:
    """The change that attaches the route, where it can be told."""
    kind, ns = route.kind.lower(), route.namespace
    part = a.field.rpartition(".")[2]
    if a.near and part in ("sectionName", "name") and "/" not in a.near[0]:
        return patch_field(kind, ns, route.name, a.field, a.near[0])
    if a.near and "/" in a.near[0]:
        field = f"{a.field.rpartition('.')[0]}.namespace"
        return patch_field(kind, ns, route.name, field, a.near[0].partition("/")[0])
    if a.gateway is not None and "allowedRoutes.namespaces" in a.problem:
        return f"kubectl -n {a.namespace} edit gateway {a.parent.name} (spec.listeners[].allowedRoutes.namespaces)"
    return f"kubectl -n {ns} edit {kind} {route.name}"


# --- the Gateway and its class


def _gateway(case: Case, gateway: Gateway, parents: tuple[Attachment, ...]) -> Iterator[Raised]:
    name = f"Gateway/{gateway.namespace}/{gateway.name}"
    wrong = [c for c in gateway.status.conditions or () if _GOOD.get(c.type) and _is_bad(c)]
    yield from _gateway_class(case, gateway, wrong)
    if wrong:
        yield Raised(
            (name,),
            tuple(map(condition_text, wrong)),
            "The controller does not run the Gateway as it is written: its routes are not served, or by old rules.",
            f"kubectl -n {gateway.namespace} describe gateway {gateway.name}",
            None if not gateway.status.addresses else Severity.WARNING,
            "spec",
        )
    used = {x.name for a in parents if a.gateway is gateway for x in a.listeners}
    for i, listener in enumerate(gateway.spec.listeners or ()):
        status = next((s for s in gateway.status.listeners or () if s.name == listener.name), None)
        if listener.name not in used or status is None:
            continue
        bad = [c for c in status.conditions or () if _GOOD.get(c.type) and _is_bad(c)]
        if bad:
            yield Raised(
                (name,),
                (f"listener {listener.name}", *map(condition_text, bad)),
                "The listener does not work, so requests that come in by it reach no route.",
                f"kubectl -n {gateway.namespace} describe gateway {gateway.name}",
                None if len(used) == 1 else Severity.WARNING,
                f"spec.listeners[{i}]",
            )


def _is_bad(condition: Condition) -> bool:
    """Whether a condition says outright that something is wrong; Unknown says nothing yet."""
    return condition.status in ("True", "False") and condition.status != _GOOD[condition.type]


def _gateway_class(case: Case, gateway: Gateway, wrong: list[Condition]) -> Iterator[Raised]:
    view, name = case.view, gateway.spec.gateway_class_name
    if wrong or any(c.type == "Programmed" and c.status == "True" for c in gateway.status.conditions or ()):
        return
    if not view.complete(Kind.GATEWAY_CLASS, Scope(name=name)):
        return
    found = view.snapshot.find(Kind.GATEWAY_CLASS, "", name, GatewayClass)
    classes: tuple[GatewayClass, ...] = view.snapshot.of(Kind.GATEWAY_CLASS)
    near = (
        near_names(name, (c.name for c in classes))
        if found is None and view.complete(Kind.GATEWAY_CLASS)
        else []
    )
    subject = f"Gateway/{gateway.namespace}/{gateway.name}"
    if found is None and (near or not view.snapshot.would_be):
        field = "spec.gatewayClassName"
        fix = "kubectl get gatewayclass"
        if near:
            fix = patch_field("gateway", gateway.namespace, gateway.name, field, near[0])
        evidence = [f"there is no GatewayClass {name}; there are {listed(c.name for c in classes) or 'none'}"]
        evidence += [f"near names: {listed(near)}"] if near else []
        explanation = (
            "No controller takes a Gateway whose class does not exist: nothing listens for its routes."
        )
        yield Raised((subject, f"GatewayClass/{name}"), tuple(evidence), explanation, fix, None, field)
        return
    accepted = (
        next((c for c in found.status.conditions or () if c.type == "Accepted"), None) if found else None
    )
    if found is not None and accepted is not None and accepted.status != "True":
        yield Raised(
            (f"GatewayClass/{name}", subject),
            (
                f"GatewayClass {name}: {condition_text(accepted)}",
                f"its controller is {found.spec.controller_name}",
            ),
            "No controller has accepted the GatewayClass: it does not run, or goes by another name.",
            "kubectl get pods -A; kubectl describe gatewayclass " + name,
            None,
            "spec.controllerName",
        )


# --- backends


def _backends(case: Case, route: GatewayRoute) -> Iterator[Raised]:
    seen: set[str] = set()
    for i, rule in rules_for(route, None):
        shares = backends(case.view, route, i)
        if not shares and not rule.answers_itself:
            every = "every backendRef has weight 0" if rule.backend_refs else "the rule has no backendRefs"
            yield Raised(
                (_subject(route),),
                (f"rule {rule.title}: {every}",),
                "The Gateway has nowhere to send requests of this rule to and answers them with an error.",
                f"kubectl -n {route.namespace} edit {route.kind.lower()} {route.name}",
                field=f"spec.rules[{i}].backendRefs",
            )
        for backend in shares:
            if backend.problem and backend.problem not in seen:
                seen.add(backend.problem)
                yield _backend(case, route, rule.title, backend)


def _backend(case: Case, route: GatewayRoute, title: str, backend: RouteBackend) -> Raised:
    view, ns, name = case.view, backend.namespace, backend.ref.name
    evidence = [backend.problem, f"rule {title} sends {percent(backend.share)} of its requests there"]
    fix = f"kubectl -n {route.namespace} edit {route.kind.lower()} {route.name}"
    part = backend.field.rpartition(".")[2]
    value: str | int | None = None
    if part == "namespace":
        fix = _grant(route, ns, name)
    elif part == "name":
        view.complete(Kind.SERVICE, Scope(ns))
        near = near_names(name, (s.name for s in view.snapshot.services if s.namespace == ns))
        evidence += [f"near names in {ns}: {listed(near)}"] if near else []
        elsewhere = sorted(s.namespace for s in view.snapshot.services if s.name == name)
        evidence += [f"a Service {name} is in namespace {listed(elsewhere)}"] if elsewhere else []
        value = near[0] if near else None
    elif backend.service is not None:
        usable = [p for p in backend.service.ports if p.protocol == "TCP"]
        meant = [p for p in usable if backend.ref.port in (p.target, p.node_port)]
        if meant:
            evidence.append(f"{backend.ref.port} is the targetPort or nodePort of port {meant[0].port}")
        value = (meant or usable)[0].port if meant or len(usable) == 1 else None
    if value is not None:
        fix = patch_field(route.kind, route.namespace, route.name, backend.field, value)
    return Raised(
        (_subject(route), f"Service/{ns}/{name}"),
        tuple(evidence),
        "The backendRef does not resolve: the Gateway answers the requests that fall to it with an error.",
        fix,
        None if backend.share > 0.999 else Severity.WARNING,
        backend.field,
    )


def _grant(route: GatewayRoute, namespace: str, service: str) -> str:
    """The command that makes the ReferenceGrant."""
    grant = {
        "apiVersion": f"{GATEWAY_GROUP}/v1beta1",
        "kind": "ReferenceGrant",
        "metadata": {"name": f"{route.namespace}-{route.name}", "namespace": namespace},
        "spec": {
            "from": [{"group": GATEWAY_GROUP, "kind": route.kind, "namespace": route.namespace}],
            "to": [{"group": "", "kind": "Service", "name": service}],
        },
    }
    return f"echo '{json.dumps(grant, separators=(',', ':'))}' | kubectl apply -f -"


def _unresolved(route: GatewayRoute, parents: tuple[Attachment, ...]) -> Iterator[Raised]:
    """References that the controller calls wrong, where these objects do not show which."""
    conditions = [condition_at(route, a.parent, "ResolvedRefs") for a in parents]
    bad = dict.fromkeys(condition_text(c) for c in conditions if c is not None and c.status == "False")
    if bad:
        refs = [ref for rule in route.spec.rules or () for ref in rule.backend_refs or ()]
        yield Raised(
            (_subject(route),),
            tuple(bad),
            "The controller could not resolve a reference of the route; requests that need it are answered with an "
            "error.",
            f"kubectl -n {route.namespace} describe {route.kind.lower()} {route.name}",
            None if len(refs) == 1 else Severity.WARNING,
            "spec.rules",
        )
