"""The ways through a Gateway, by the rules of an HTTPRoute or GRPCRoute, to the Services behind them."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from svcdoctor.model.facts import Kind, selector_scope
from svcdoctor.model.gateway import Gateway
from svcdoctor.model.gatewayroutes import GatewayRoute, GRPCRoute, HTTPRoute
from svcdoctor.model.pod import Pod
from svcdoctor.model.snapshot import Snapshot
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
from svcdoctor.path.deliver import failed
from svcdoctor.path.gateway import Attachment, attachments, host_covers
from svcdoctor.path.gatewayrules import RouteBackend, Rule, backends, rules_for
from svcdoctor.path.proxied import proxied_outcomes
from svcdoctor.path.tracing import ANY_POD, OUTSIDE, Tracing

CODE = "EXT009"
GATEWAY_LABEL = "gateway.networking.k8s.io/gateway-name"


@dataclass(frozen=True, slots=True)
class _Door:
    """Where requests for a route come in: one listener of a Gateway, or a Service of a mesh."""

    hop: Hop
    port: int | None
    inside: bool = False
    gateway: Gateway | None = None


def find_route(snapshot: Snapshot, kind: Kind, namespace: str, name: str) -> GatewayRoute | None:
    if kind is Kind.HTTP_ROUTE:
        return snapshot.find(kind, namespace, name, HTTPRoute)
    return snapshot.find(kind, namespace, name, GRPCRoute)


def route_paths(t: Tracing, kind: Kind, namespace: str, name: str, path: str | None) -> list[Path]:
    """The paths of a route: by every listener that takes it through every rule, or the rules that take ``path``."""
    route = find_route(t.snapshot, kind, namespace, name)
    if route is None:
        return []
    found: list[Path] = []
    rules = rules_for(route, path)
    for attachment in attachments(t.view, route):
        if attachment.problem:
            found.append(_ended(t, route, _stranger(attachment), attachment.problem, CODE))
            continue
        for door in _doors(attachment):
            if not rules:
                reason = f"no rule of {route.kind} {namespace}/{name} takes {path or 'anything'} (404)"
                found.append(_ended(t, route, door, reason, "EXT012" if path is not None else CODE))
            found += [_ruled(t, route, door, index, rule) for index, rule in rules]
    if not route.spec.parent_refs:
        reason = f"{route.kind} {namespace}/{name} names no parent"
        found.append(_ended(t, route, _Door(Hop(HopKind.GATEWAY, "no Gateway"), None), reason, CODE))
    return found


def route_for_host(t: Tracing, host: str) -> HTTPRoute | None:
    """The HTTPRoute that takes a host: one that names it before one by a wildcard."""
    routes: tuple[HTTPRoute, ...] = t.snapshot.of(Kind.HTTP_ROUTE) if t.view.complete(Kind.HTTP_ROUTE) else ()
    named = [(len(name), r) for r in routes for name in r.spec.hostnames or () if host_covers(name, host)]
    return max(named, key=lambda n: n[0])[1] if named else None


def _stranger(attachment: Attachment) -> _Door:
    return _Door(Hop(HopKind.GATEWAY, attachment.title, None, attachment.parent.port), attachment.parent.port)


def _doors(attachment: Attachment) -> list[_Door]:
    gateway, parent = attachment.gateway, attachment.parent
    if gateway is None:
        inside = parent.kind == "Service"
        hop = Hop(HopKind.GATEWAY, attachment.title, None, parent.port, Status.OK, "mesh" if inside else "")
        return [_Door(hop, parent.port, inside)]
    address = next((a.value for a in gateway.status.addresses or ()), None)
    name = f"Gateway {gateway.namespace}/{gateway.name}"
    of_class = f"class {gateway.spec.gateway_class_name}"

    def door(port: int | None, detail: str) -> _Door:
        hop = Hop(HopKind.GATEWAY, name, address, port, Status.OK, detail)
        return _Door(hop, port, gateway=gateway)

    doors = []
    for listener in attachment.listeners:
        host = f", {listener.hostname}" if listener.hostname else ""
        doors.append(door(listener.port, f"listener {listener.name} ({listener.protocol}{host}), {of_class}"))
    return doors or [door(parent.port, of_class)]


def _ended(t: Tracing, route: GatewayRoute, door: _Door, reason: str, code: str) -> Path:
    """The path that ends at the door or at the route."""
    outcome = failed(Result.REFUSED, reason, code)
    hop = replace(door.hop, status=Status.FAIL, detail=reason)
    return _path(t, route, _Door(hop, door.port, door.inside), "", (), (outcome,))


def _ruled(t: Tracing, route: GatewayRoute, door: _Door, index: int, rule: Rule) -> Path:
    """The path through one rule: its backends by their weights."""
    shares = backends(t.view, route, index)
    if rule.answers_itself and not shares:
        reason = "the rule answers by itself: a redirect, or a filter of the implementation's own"
        outcomes: tuple[Outcome, ...] = (_open(1.0, None, reason),)
    elif not shares:
        every = "every backend has weight 0" if rule.backend_refs else "the rule has no backend"
        outcomes = (failed(Result.REFUSED, f"{every} ({_answer(route)})", CODE),)
    else:
        outcomes = tuple(o for backend in shares for o in _backend_outcomes(t, route, door, backend))
    return _path(t, route, door, rule.title, shares, outcomes)


def _backend_outcomes(
    t: Tracing, route: GatewayRoute, door: _Door, backend: RouteBackend
) -> tuple[Outcome, ...]:
    if backend.problem:
        reason = f"{backend.problem} ({_answer(route)})"
        return (replace(failed(Result.REFUSED, reason, CODE), probability=backend.share),)
    if not backend.ref.is_service or (backend.service is None and t.snapshot.would_be):
        reason = f"what answers at {backend.title} is not told by these objects"
        return (_open(backend.share, Backend(host=backend.title), reason),)
    if backend.service is None:
        reason = f"{backend.title} could not be read"
        return (replace(failed(Result.UNKNOWN, reason), probability=backend.share),)
    t.ask_for(backend.service)
    return proxied_outcomes(t, backend.service, backend.port, lambda: _proxies(t, door), backend.share)


def _proxies(t: Tracing, door: _Door) -> tuple[Pod, ...]:
    """The Gateway's own pods, where the implementation labels them as the specification says."""
    if door.gateway is None:
        return ()
    namespace, labels = door.gateway.namespace, {GATEWAY_LABEL: door.gateway.name}
    t.view.complete(Kind.POD, selector_scope(namespace, labels))
    return tuple(p for p in t.snapshot.select_pods(namespace, labels) if not p.finished)


def _open(share: float, backend: Backend | None, reason: str) -> Outcome:
    return Outcome(Result.UNKNOWN, share, backend, SourceSeen.UNKNOWN, reason, None, Status.OK)


def _answer(route: GatewayRoute) -> str:
    """What a client gets for a request that has no valid backend."""
    return "500" if route.kind == Kind.HTTP_ROUTE else "gRPC UNAVAILABLE"


def _path(
    t: Tracing,
    route: GatewayRoute,
    door: _Door,
    rule: str,
    shares: tuple[RouteBackend, ...],
    outcomes: tuple[Outcome, ...],
) -> Path:
    client, _ = t.source(ANY_POD if door.inside else OUTSIDE, 4, None)
    steps = [h.client_hop(client), door.hop]
    hosts = ", ".join(route.spec.hostnames or ())
    if rule:
        detail = f"{hosts} {rule}".strip()
        steps.append(
            Hop(
                HopKind.GATEWAY, f"{route.kind} {route.namespace}/{route.name}", None, None, Status.OK, detail
            )
        )
    one = shares[0] if len(shares) == 1 else None
    if one is not None and one.service is not None and one.port is not None:
        steps.append(h.service_hop(one.service, one.port))
    elif len(shares) > 1:
        steps += [_share_hop(b) for b in shares]
    steps += h.backend_hops(outcomes)
    entry = Entry(EntryKind.GATEWAY, None, door.hop.address, door.port, "TCP")
    whole = one if one is not None and one.port is not None else None
    return t.path(
        client, entry, whole.service if whole else None, whole.port if whole else None, steps, outcomes
    )


def _share_hop(backend: RouteBackend) -> Hop:
    status = Status.FAIL if backend.problem else Status.OK
    detail = "; ".join(filter(None, (h.percent(backend.share), backend.problem)))
    address = next(iter(backend.service.cluster_ips), None) if backend.service else None
    return Hop(HopKind.GATEWAY, backend.title, address, backend.ref.port, status, detail)
