"""Which Ingress rule takes a request (API reference: Ingress v1, pathType semantics)."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.ingress import Ingress, IngressBackend, IngressPath, IngressServicePort
from svcdoctor.model.service import Service, ServicePort


@dataclass(frozen=True, slots=True)
class Route:
    """One host and path of an Ingress, and its backend. ``path`` is ``None`` for the default backend.

    ``field`` is where in the Ingress the backend is written: ``spec.rules[0].http.paths[1].backend``.
    """

    host: str
    path: IngressPath | None
    backend: IngressBackend
    field: str = ""

    @property
    def title(self) -> str:
        if self.path is None:
            return "default backend"
        return f"{self.host or '*'}{self.path.path or '/'} ({self.path.path_type})"


def routes(ingress: Ingress) -> tuple[Route, ...]:
    """Every rule's paths in order, then the default backend."""
    found = [
        Route(rule.host, path, path.backend, f"spec.rules[{i}].http.paths[{j}].backend")
        for i, rule in enumerate(ingress.spec.rules or ())
        for j, path in enumerate((rule.http.paths if rule.http else None) or ())
    ]
    if ingress.default_backend is not None:
        field = "spec.defaultBackend" if ingress.spec.default_backend is not None else "spec.backend"
        found.append(Route("", None, ingress.default_backend, field))
    return tuple(found)


def host_matches(rule: str, host: str | None) -> bool:
    """Whether a rule's host takes the request's: empty takes all, ``*.x`` exactly one label more."""
    if not rule or host is None:
        return True
    if rule.startswith("*."):
        return host.partition(".")[2].lower() == rule[2:].lower() and not host.startswith(".")
    return rule.lower() == host.lower()


def path_matches(rule: IngressPath, path: str) -> bool:
    """Exact is equality; Prefix compares element by element; ImplementationSpecific is taken as Prefix."""
    if rule.path_type == "Exact":
        return path == rule.path
    return prefix_matches(rule.path, path)


def prefix_matches(prefix: str, path: str) -> bool:
    """Whether a path begins with the prefix, element by element; a trailing slash makes no difference."""
    prefix = prefix.rstrip("/")
    return not prefix or path.rstrip("/") == prefix or path.startswith(prefix + "/")


def route_for(ingress: Ingress, host: str | None, path: str) -> Route | None:
    """The route that takes the request: the most specific host, then Exact, then the longest path."""
    taking = [
        r
        for r in routes(ingress)
        if r.path is not None and host_matches(r.host, host) and path_matches(r.path, path)
    ]
    if taking:
        return max(taking, key=_precedence)
    return next((r for r in routes(ingress) if r.path is None), None)


def _precedence(route: Route) -> tuple[int, int, bool]:
    path = route.path
    host = 2 if route.host and not route.host.startswith("*") else 1 if route.host else 0
    return host, len((path.path if path else "").rstrip("/")), path is not None and path.path_type == "Exact"


def backend_port(service: Service, port: IngressServicePort) -> ServicePort | None:
    """The Service port that an Ingress backend names by number or name; HTTP needs TCP."""
    for p in service.ports:
        named = (port.name and p.name == port.name) or (port.number and p.port == port.number)
        if named and p.protocol == "TCP":
            return p
    return None


def any_port(service: Service, port: IngressServicePort) -> bool:
    """Whether the Service takes the number as it is: an ExternalName, whose own ports do nothing."""
    return service.type == "ExternalName" and bool(port.number)
