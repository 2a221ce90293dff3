"""Gateway API: HTTPRoute and GRPCRoute (gateway.networking.k8s.io/v1), which differ in what a rule matches.

Of headers and query parameters only the names are kept: a value may be a credential.
"""

from __future__ import annotations

from svcdoctor.model.base import AnnotatedMeta, Base, KubeObject
from svcdoctor.model.pod import Condition


class ParentReference(Base, frozen=True):
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str = ""
    section_name: str | None = None
    port: int | None = None


class BackendReference(Base, frozen=True):
    group: str | None = None
    kind: str | None = None
    namespace: str | None = None
    name: str = ""
    port: int | None = None
    weight: int | None = None

    @property
    def share(self) -> int:
        """The weight, whose default is 1."""
        return 1 if self.weight is None else self.weight

    @property
    def is_service(self) -> bool:
        return (self.kind or "Service") == "Service" and not self.group


class PathMatch(Base, frozen=True):
    """How a path is matched: ``PathPrefix`` (the default), ``Exact`` or ``RegularExpression``."""

    type: str | None = None
    value: str | None = None


class NamedMatch(Base, frozen=True):
    name: str = ""


class HTTPRouteMatch(Base, frozen=True):
    path: PathMatch | None = None
    method: str | None = None
    headers: tuple[NamedMatch, ...] | None = None
    query_params: tuple[NamedMatch, ...] | None = None

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the request must have besides its path, in words."""
        method = (f"method {self.method}",) if self.method else ()
        headers = tuple(f"header {h.name}" for h in self.headers or ())
        return (*method, *headers, *(f"query {q.name}" for q in self.query_params or ()))

    @property
    def title(self) -> str:
        path = self.path or PathMatch()
        return " and ".join((f"{path.value or '/'} ({path.type or 'PathPrefix'})", *self.conditions))


class GRPCMethodMatch(Base, frozen=True):
    type: str | None = None
    service: str | None = None
    method: str | None = None


class GRPCRouteMatch(Base, frozen=True):
    method: GRPCMethodMatch | None = None
    headers: tuple[NamedMatch, ...] | None = None

    @property
    def title(self) -> str:
        method = self.method or GRPCMethodMatch()
        return " and ".join(
            (
                f"/{method.service or '*'}/{method.method or '*'}",
                *(f"header {h.name}" for h in self.headers or ()),
            )
        )


class RouteFilter(Base, frozen=True):
    type: str = ""


class RouteRule(Base, frozen=True):
    filters: tuple[RouteFilter, ...] | None = None
    backend_refs: tuple[BackendReference, ...] | None = None

    @property
    def answers_itself(self) -> bool:
        """Whether a filter may answer instead of a backend: a redirect, or one of the implementation's own."""
        return any(f.type in ("RequestRedirect", "ExtensionRef") for f in self.filters or ())


class HTTPRouteRule(RouteRule, frozen=True):
    matches: tuple[HTTPRouteMatch, ...] | None = None

    @property
    def title(self) -> str:
        return ", ".join(m.title for m in self.matches or (HTTPRouteMatch(),))


class GRPCRouteRule(RouteRule, frozen=True):
    matches: tuple[GRPCRouteMatch, ...] | None = None

    @property
    def title(self) -> str:
        return ", ".join(m.title for m in self.matches or (GRPCRouteMatch(),))


class RouteParentStatus(Base, frozen=True):
    """What one controller says of the route at one parent."""

    parent_ref: ParentReference = ParentReference()
    controller_name: str = ""
    conditions: tuple[Condition, ...] | None = None


class RouteStatus(Base, frozen=True):
    parents: tuple[RouteParentStatus, ...] | None = None


class RouteSpec(Base, frozen=True):
    parent_refs: tuple[ParentReference, ...] | None = None
    hostnames: tuple[str, ...] | None = None


class HTTPRouteSpec(RouteSpec, frozen=True):
    rules: tuple[HTTPRouteRule, ...] | None = None


class GRPCRouteSpec(RouteSpec, frozen=True):
    rules: tuple[GRPCRouteRule, ...] | None = None


class HTTPRoute(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: HTTPRouteSpec = HTTPRouteSpec()
    status: RouteStatus = RouteStatus()


class GRPCRoute(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: GRPCRouteSpec = GRPCRouteSpec()
    status: RouteStatus = RouteStatus()


GatewayRoute = HTTPRoute | GRPCRoute
