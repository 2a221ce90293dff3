"""The ways through an Ingress to the Services behind it."""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.trace import (
    Entry,
    EntryKind,
    Hop,
    HopKind,
    Outcome,
    Path,
    Result,
    SourceSeen,
    Status,
)
from svcdoctor.path import hops as h
from svcdoctor.path.backends import endpoint_outcome
from svcdoctor.path.clients import node_address
from svcdoctor.path.deliver import failed
from svcdoctor.path.ingress import Route, backend_port, route_for, routes
from svcdoctor.path.named_ways import external_name_path
from svcdoctor.path.tracing import OUTSIDE, Tracing


def ingress_paths(t: Tracing, namespace: str, name: str, host: str | None, path: str | None) -> list[Path]:
    """The paths of an Ingress: of every route, or of the one that takes ``host`` and ``path``."""
    ingress = t.snapshot.ingress(namespace, name)
    if ingress is None:
        return []
    if path is not None or host is not None:
        route = route_for(ingress, host, path or "/")
        if route is None:
            client, _ = t.source(OUTSIDE, 4, None)
            reason = f"no rule of Ingress {namespace}/{name} takes {host or '*'}{path or '/'} (404)"
            outcome = failed(Result.REFUSED, reason, "EXT012")
            hop = Hop(HopKind.INGRESS, f"Ingress {namespace}/{name}", None, None, Status.FAIL, reason)
            entry = Entry(EntryKind.INGRESS, None, None, 80, "TCP")
            return [t.path(client, entry, None, None, [h.client_hop(client), hop], (outcome,))]
        chosen: tuple[Route, ...] = (route,)
    else:
        chosen = routes(ingress)
    found = []
    for route in chosen:
        backend = route.backend.target
        if backend is None:
            continue
        scope = Scope(namespace, name=backend.name)
        complete = t.view.complete(Kind.SERVICE, scope)
        service = t.snapshot.service(namespace, backend.name)
        port = backend_port(service, backend.port) if service else None
        if service is not None:
            t.ask_for(service)
        if service is None or port is None:
            found.append(_dangling(t, name, namespace, route, service, complete))
        else:
            found.append(routed_path(t, name, namespace, route, service, port))
    return found


def _dangling(
    t: Tracing, name: str, namespace: str, route: Route, service: Service | None, complete: bool
) -> Path:
    backend = route.backend.target
    client, _ = t.source(OUTSIDE, 4, None)
    what = backend.name if backend else "?"
    if service is None and not complete:
        outcome = failed(Result.UNKNOWN, f"Service {namespace}/{what} could not be read")
    elif service is None:
        outcome = failed(Result.REFUSED, f"Service {namespace}/{what} does not exist (503)", "EXT007")
    else:
        asked = backend.port.name or backend.port.number if backend else "?"
        outcome = failed(Result.REFUSED, f"Service {namespace}/{what} has no port {asked} (503)", "EXT007")
    steps = [h.client_hop(client), *_ingress_hops(t, name, namespace, route)]
    steps += h.backend_hops((outcome,))
    entry = Entry(EntryKind.INGRESS, None, route.host or None, 80, "TCP")
    return t.path(client, entry, None, None, steps, (outcome,))


def routed_path(
    t: Tracing, name: str, namespace: str, route: Route, service: Service, port: ServicePort
) -> Path:
    """Through the Ingress: its controller sends to the Service's endpoints."""
    client, _ = t.source(OUTSIDE, 4, None)
    family = (t.families(service) or (4,))[0]
    if service.headless:
        endpoints = tuple(e for e in t.world.endpoints(service, port, family) if e.ready)
    else:
        endpoints = t.world.choice(service, port, family, None).cluster
    outcomes: tuple[Outcome, ...]
    if service.type == "ExternalName":
        outcomes = external_name_path(t, service).outcomes
    elif endpoints:
        share = 1.0 / len(endpoints)
        outcomes = tuple(
            replace(endpoint_outcome(t.world, e, port, share), source_seen=SourceSeen.UNKNOWN)
            for e in endpoints
        )
    else:
        reason = f"Service {service.namespace}/{service.name} has no ready endpoint (503)"
        outcomes = (failed(Result.REFUSED, reason),)
    steps = [h.client_hop(client), *_ingress_hops(t, name, namespace, route)]
    steps.append(h.service_hop(service, port))
    steps += h.backend_hops(outcomes)
    ingress = t.snapshot.ingress(namespace, name)
    points = (ingress.status.load_balancer.ingress or ()) if ingress else ()
    address = next((p.ip or p.hostname for p in points), None)
    entry = Entry(EntryKind.INGRESS, None, address, 80, "TCP")
    return t.path(client, entry, service, port, steps, outcomes)


def _ingress_hops(t: Tracing, name: str, namespace: str, route: Route) -> list[Hop]:
    ingress = t.snapshot.ingress(namespace, name)
    points = (ingress.status.load_balancer.ingress or ()) if ingress else ()
    address = next((p.ip or p.hostname for p in points), None)
    found: list[Hop] = []
    controller = _controller(t, ingress.class_name if ingress else "")
    if controller is not None:
        found += _controller_hops(t, controller)
    class_name = ingress.class_name if ingress else ""
    detail = route.title + (f", class {class_name}" if class_name else "")
    found.append(Hop(HopKind.INGRESS, f"Ingress {namespace}/{name}", address, None, Status.OK, detail))
    return found


def _controller(t: Tracing, class_name: str) -> Service | None:
    """The Service of an ingress-nginx controller of the class, where it is among what is held."""
    return next((s for s in t.snapshot.services if _controls(s, class_name)), None)


def _controls(service: Service, class_name: str) -> bool:
    """Whether the Service is an ingress-nginx controller's, by its chart's labels, and of this class."""
    labels = service.labels
    return (
        labels.get("app.kubernetes.io/component") == "controller"
        and labels.get("app.kubernetes.io/name") == "ingress-nginx"
        and class_name in ("", "nginx", labels.get("app.kubernetes.io/instance"))
        and service.externally_accessible
    )


def controlled_paths(t: Tracing, namespace: str, name: str, host: str, path: str) -> list[Path]:
    """Beyond an Ingress controller's Service: the paths of the Ingress rule that takes the URL."""
    controller = t.snapshot.service(namespace, name)
    if controller is None or not _controls(controller, "") or not t.view.complete(Kind.INGRESS):
        return []
    for ingress in t.snapshot.of(Kind.INGRESS):
        if _controls(controller, ingress.class_name) and route_for(ingress, host, path) is not None:
            return ingress_paths(t, ingress.namespace, ingress.name, host, path)
    return []


def _controller_hops(t: Tracing, controller: Service) -> list[Hop]:
    port = next((p for p in controller.ports if p.port == 80), next(iter(controller.ports), None))
    if port is None:
        return []
    name = f"controller {controller.namespace}/{controller.name}"
    if port.node_port and not controller.ingress_points:
        nodes = t.snapshot.nodes
        address = node_address(t.snapshot, nodes[0].name, 4) if nodes else None
        return [Hop(HopKind.NODE_PORT, f"{name} nodePort {port.node_port}", address, port.node_port)]
    point = next((p.ip or p.hostname for p in controller.ingress_points), None)
    return [Hop(HopKind.LOAD_BALANCER, name, point, port.port)]
