"""Which rule of a route takes a request, and which backends it has.

Specification: https://gateway-api.sigs.k8s.io/reference/spec/ (HTTPRouteRule, HTTPBackendRef, GRPCRouteRule,
ReferenceGrant)
"""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.gateway import GATEWAY_GROUP, ReferenceGrant
from svcdoctor.model.gatewayroutes import (
    BackendReference,
    GatewayRoute,
    GRPCRouteMatch,
    GRPCRouteRule,
    HTTPRouteMatch,
    HTTPRouteRule,
)
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.path.ingress import prefix_matches
from svcdoctor.path.view import View

Rule = HTTPRouteRule | GRPCRouteRule


@dataclass(frozen=True, slots=True)
class RouteBackend:
    """One backendRef of a rule: the share of the rule's requests, and what they meet.

    ``problem`` says why the backend is none; ``known`` is false where the Service or the grant could not be read.
    """

    ref: BackendReference
    namespace: str
    share: float
    field: str
    service: Service | None = None
    port: ServicePort | None = None
    problem: str = ""
    known: bool = True

    @property
    def title(self) -> str:
        return f"{self.ref.kind or 'Service'} {self.namespace}/{self.ref.name}"


def rules_for(route: GatewayRoute, path: str | None) -> tuple[tuple[int, Rule], ...]:
    """The rules that may take a request for ``path`` (for gRPC ``/service/method``), with their index.

    All of them without a path. Of those whose match is of the path alone, only the most specific; rules that ask for
    headers, a method or parameters as well are kept where they would win over it.
    """
    rules: tuple[tuple[int, Rule], ...] = tuple(enumerate(route.spec.rules or ()))
    if path is None:
        return rules
    sure: list[tuple[tuple[int, int], int]] = []
    perhaps: list[tuple[tuple[int, int], int]] = []
    for index, rule in rules:
        for match in rule.matches or (
            HTTPRouteMatch() if isinstance(rule, HTTPRouteRule) else GRPCRouteMatch(),
        ):
            rank, certain = _rank(match, path)
            if rank is not None:
                (sure if certain else perhaps).append((rank, index))
    best = max(sure, key=lambda s: (s[0], -s[1]), default=None)
    chosen = {index for rank, index in perhaps if best is None or rank >= best[0]}
    chosen |= {best[1]} if best is not None else set()
    return tuple((i, r) for i, r in rules if i in chosen)


def _rank(match: HTTPRouteMatch | GRPCRouteMatch, path: str) -> tuple[tuple[int, int] | None, bool]:
    """How specific a match that takes the path is, ``None`` for one that does not; and whether it is certain."""
    if isinstance(match, GRPCRouteMatch):
        service, _, method = path.lstrip("/").partition("/")
        wanted = match.method
        if wanted is None:
            return (0, 0), not match.headers
        if wanted.type == "RegularExpression":
            return (2, 0), False
        if (wanted.service or service) != service or (wanted.method or method) != method:
            return None, True
        return (len(wanted.service or ""), len(wanted.method or "")), not match.headers
    value = (match.path.value if match.path else None) or "/"
    kind = (match.path.type if match.path else None) or "PathPrefix"
    if kind == "RegularExpression":
        return (1, 0), False  # whose syntax is the implementation's
    if path != value if kind == "Exact" else not prefix_matches(value, path):
        return None, True
    return (2 if kind == "Exact" else 1, len(value.rstrip("/"))), not match.conditions


def backends(view: View, route: GatewayRoute, index: int) -> tuple[RouteBackend, ...]:
    """The backends of a rule that get any of its requests, with the share of each."""
    refs = (route.spec.rules or ())[index].backend_refs or ()
    total = sum(max(ref.share, 0) for ref in refs)
    return tuple(
        _backend(view, route, ref, ref.share / total, f"spec.rules[{index}].backendRefs[{i}]")
        for i, ref in enumerate(refs)
        if ref.share > 0
    )


def _backend(
    view: View, route: GatewayRoute, ref: BackendReference, share: float, field: str
) -> RouteBackend:
    namespace = ref.namespace or route.namespace
    if not ref.is_service:
        return RouteBackend(ref, namespace, share, field)
    known = view.complete(Kind.SERVICE, Scope(namespace, name=ref.name))
    service = view.snapshot.service(namespace, ref.name)
    foreign = namespace != route.namespace
    if service is None and (not known or (view.snapshot.would_be and foreign)):
        return RouteBackend(ref, namespace, share, field, known=known)
    granted = not foreign or _granted(view, route, namespace, ref.name)
    if granted is False:
        who = f"a {route.kind} of {route.namespace}"
        problem = f"no ReferenceGrant in {namespace} lets {who} name its Service {ref.name}"
        return RouteBackend(ref, namespace, share, f"{field}.namespace", service, None, problem)
    if service is None:
        problem = f"Service {namespace}/{ref.name} does not exist"
        return RouteBackend(ref, namespace, share, f"{field}.name", None, None, problem)
    port = next((p for p in service.ports if p.port == ref.port and p.protocol == "TCP"), None)
    if port is None and service.type != "ExternalName":
        offered = ", ".join(f"{p.port}/{p.protocol}" for p in service.ports) or "none"
        asked = f"has no port {ref.port}" if ref.port is not None else "is named without a port"
        problem = f"Service {namespace}/{ref.name} {asked} (it has {offered})"
        return RouteBackend(ref, namespace, share, f"{field}.port", service, None, problem)
    return RouteBackend(ref, namespace, share, field, service, port, known=granted is True)


def _granted(view: View, route: GatewayRoute, namespace: str, name: str) -> bool | None:
    """Whether a grant of that namespace lets the route name its Service; ``None`` where nobody can tell."""
    known = view.complete(Kind.REFERENCE_GRANT, Scope(namespace))
    grants: tuple[ReferenceGrant, ...] = view.snapshot.of(Kind.REFERENCE_GRANT)
    for grant in grants:
        if grant.namespace != namespace:
            continue
        froms = any(
            (f.group, f.kind, f.namespace) == (GATEWAY_GROUP, route.kind, route.namespace)
            for f in grant.spec.from_ or ()
        )
        tos = any(
            not o.group and o.kind == "Service" and o.name in (None, "", name) for o in grant.spec.to or ()
        )
        if froms and tos:
            return True
    return False if known else None
