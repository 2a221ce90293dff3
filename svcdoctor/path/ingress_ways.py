"""The ways through an Ingress to the Services behind it."""

from __future__ import annotations

from svcdoctor.model.facts import Kind, Scope, selector_scope
from svcdoctor.model.ingress import Ingress, IngressClass
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.trace import (
    Backend,
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
from svcdoctor.path.clients import node_address
from svcdoctor.path.deliver import failed
from svcdoctor.path.ingress import Route, any_port, backend_port, route_for, routes
from svcdoctor.path.proxied import proxied_outcomes
from svcdoctor.path.tracing import OUTSIDE, Tracing

# What ingress-nginx's chart writes on the Service of its controller.
_CONTROLLER_LABELS = {
    "app.kubernetes.io/component": "controller",
    "app.kubernetes.io/name": "ingress-nginx",
}
_CONTROLLERS = Scope(labels=tuple(_CONTROLLER_LABELS.items()))


def ingress_paths(t: Tracing, namespace: str, name: str, host: str | None, path: str | None) -> list[Path]:
    """The paths of an Ingress: of every route, or of the one that takes ``host`` and ``path``."""
    ingress = t.snapshot.ingress(namespace, name)
    if ingress is None:
        return []
    reason = _unanswered(t, ingress)
    if reason:
        client, _ = t.source(OUTSIDE, 4, None)
        outcome = failed(Result.REFUSED, reason, "EXT008")
        hop = Hop(HopKind.INGRESS, f"Ingress {namespace}/{name}", None, None, Status.FAIL, reason)
        entry = Entry(EntryKind.INGRESS, None, None, 80, "TCP")
        return [t.path(client, entry, None, None, [h.client_hop(client), hop], (outcome,))]
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
            found.append(_elsewhere(t, name, namespace, route))
            continue
        scope = Scope(namespace, name=backend.name)
        complete = t.view.complete(Kind.SERVICE, scope)
        service = t.snapshot.service(namespace, backend.name)
        port = backend_port(service, backend.port) if service else None
        if service is not None:
            t.ask_for(service)
        if service is None or (port is None and not any_port(service, backend.port)):
            found.append(_dangling(t, name, namespace, route, service, complete))
        else:
            found.append(routed_path(t, name, namespace, route, service, port))
    return found


def _unanswered(t: Tracing, ingress: Ingress) -> str:
    """Why no controller takes the Ingress, where that is certain: its class does not exist, and nobody has."""
    name = ingress.spec.ingress_class_name
    if not name or t.snapshot.would_be or ingress.status.load_balancer.ingress:
        return ""
    if not t.view.complete(Kind.INGRESS_CLASS) or t.snapshot.find(Kind.INGRESS_CLASS, "", name, IngressClass):
        return ""
    return f"no controller takes IngressClass {name}, which does not exist"


def _elsewhere(t: Tracing, name: str, namespace: str, route: Route) -> Path:
    """The path to a backend that is no Service: only the controller knows what answers there."""
    client, _ = t.source(OUTSIDE, 4, None)
    resource = route.backend.resource
    what = f"{resource.kind} {namespace}/{resource.name}" if resource else "no backend"
    reason = f"the backend is {what}: only the controller knows what answers there"
    outcome = Outcome(Result.UNKNOWN, 1.0, Backend(host=what), SourceSeen.UNKNOWN, reason, None, Status.OK)
    steps = [h.client_hop(client), *_ingress_hops(t, name, namespace, route), *h.backend_hops((outcome,))]
    entry = Entry(EntryKind.INGRESS, None, route.host or None, 80, "TCP")
    return t.path(client, entry, None, None, steps, (outcome,))


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
    t: Tracing, name: str, namespace: str, route: Route, service: Service, port: ServicePort | None
) -> Path:
    """Through the Ingress: its controller sends to the Service's endpoints. An ExternalName needs no port."""
    client, _ = t.source(OUTSIDE, 4, None)
    outcomes = proxied_outcomes(t, service, port, lambda: _controller_pods(t, namespace, name))
    steps = [h.client_hop(client), *_ingress_hops(t, name, namespace, route)]
    if port is not None:
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
    """The Service of an ingress-nginx controller of the class, in whatever namespace it is."""
    t.view.complete(Kind.SERVICE, _CONTROLLERS)
    return next((s for s in t.world.controllers if _controls(s, class_name)), None)


def _controller_pods(t: Tracing, namespace: str, name: str) -> tuple[Pod, ...]:
    ingress = t.snapshot.ingress(namespace, name)
    controller = _controller(t, ingress.class_name if ingress else "")
    selector = controller.spec.selector if controller is not None else None
    if controller is None or not selector:
        return ()
    t.view.complete(Kind.POD, selector_scope(controller.namespace, selector))
    return tuple(p for p in t.snapshot.select_pods(controller.namespace, selector) if not p.finished)


def _controls(service: Service, class_name: str) -> bool:
    """Whether the Service is an ingress-nginx controller's, by its chart's labels, and of this class."""
    labels = service.labels
    return (
        _CONTROLLER_LABELS.items() <= labels.items()
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
