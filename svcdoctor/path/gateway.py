"""Which Gateways take a route, and by which of their listeners.

Theory. A route attaches to a listener when the parentRef names it (by section or port, or not at all), and the
listener admits the route's kind, its namespace and one of its hostnames. The controller's own word in the route's
status outranks this reading of the specification: what it has accepted is attached.

Specification: https://gateway-api.sigs.k8s.io/reference/spec/ (ParentReference, AllowedRoutes)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.dataplane.policy import selects
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.gateway import GATEWAY_GROUP, Gateway, Listener
from svcdoctor.model.gatewayroutes import (
    GatewayRoute,
    ParentReference,
    RouteParentStatus,
)
from svcdoctor.model.pod import Condition
from svcdoctor.path.view import View


@dataclass(frozen=True, slots=True)
class Attachment:
    """One parentRef of a route. ``problem`` says why the route is not attached there; empty where it is.

    ``gateway`` is ``None`` where it is missing, cannot be read, or the parent is none (a Service of a mesh).
    ``listeners`` are those that take the route, none where they are not known. ``field`` is where in the route's
    manifest the problem is written, ``near`` what was perhaps meant.
    """

    parent: ParentReference
    namespace: str
    gateway: Gateway | None = None
    listeners: tuple[Listener, ...] = ()
    problem: str = ""
    field: str = ""
    near: tuple[str, ...] = ()
    said: str = ""

    @property
    def title(self) -> str:
        return f"{self.parent.kind or 'Gateway'} {self.namespace}/{self.parent.name}"


def attachments(view: View, route: GatewayRoute) -> tuple[Attachment, ...]:
    """What becomes of the route at each of its parents, in their order."""
    return tuple(_attachment(view, route, i, p) for i, p in enumerate(route.spec.parent_refs or ()))


def _attachment(view: View, route: GatewayRoute, index: int, parent: ParentReference) -> Attachment:
    namespace = parent.namespace or route.namespace
    field = f"spec.parentRefs[{index}]"
    accepted = condition_at(route, parent, "Accepted")
    said = condition_text(accepted) if accepted is not None and accepted.status == "False" else ""
    if (parent.kind or "Gateway") != "Gateway" or (parent.group or GATEWAY_GROUP) != GATEWAY_GROUP:
        return Attachment(parent, namespace, problem=said, field=field, said=said)
    known = view.complete(Kind.GATEWAY, Scope(namespace, name=parent.name))
    gateway = view.snapshot.find(Kind.GATEWAY, namespace, parent.name, Gateway)
    if gateway is None:
        return _without_gateway(view, parent, namespace, field, known, said)
    listeners, problem, part, near = _admitting(view, gateway, route, parent)
    if accepted is not None and accepted.status == "True" and problem:
        listeners, problem = _named(gateway, parent) or gateway.spec.listeners or (), ""
    if not problem and said:
        problem = said
    if not problem:
        return Attachment(parent, namespace, gateway, listeners)
    where = "spec.hostnames" if part == "hostnames" else f"{field}.{part}" if part else field
    return Attachment(parent, namespace, gateway, (), problem, where, near, said)


def _without_gateway(
    view: View, parent: ParentReference, namespace: str, field: str, known: bool, said: str
) -> Attachment:
    if not known:
        return Attachment(parent, namespace, problem=said, field=field, said=said)
    gateways: tuple[Gateway, ...] = view.snapshot.of(Kind.GATEWAY)
    near = near_names(parent.name, (g.name for g in gateways if g.namespace == namespace))
    if view.snapshot.would_be and not near:
        return Attachment(parent, namespace)  # another team's manifests, most likely
    if not near and view.complete(Kind.GATEWAY, Scope(namespace)) and view.complete(Kind.GATEWAY):
        near = [f"{g.namespace}/{g.name}" for g in gateways if g.name == parent.name]
    part = "namespace" if near and "/" in near[0] and parent.namespace else "name"
    problem = f"Gateway {namespace}/{parent.name} does not exist"
    return Attachment(parent, namespace, None, (), problem, f"{field}.{part}", tuple(near), said)


def _named(gateway: Gateway, parent: ParentReference) -> tuple[Listener, ...]:
    """The listeners that a parentRef means: all, or those of its section and port."""
    return tuple(
        listener
        for listener in gateway.spec.listeners or ()
        if parent.section_name in (None, listener.name) and parent.port in (None, listener.port)
    )


def _admitting(
    view: View, gateway: Gateway, route: GatewayRoute, parent: ParentReference
) -> tuple[tuple[Listener, ...], str, str, tuple[str, ...]]:
    """The listeners that take the route; or none, why, in which part of the parentRef, and near names."""
    every = gateway.spec.listeners or ()
    name = f"Gateway {gateway.namespace}/{gateway.name}"
    if not every:
        return (), "", "", ()  # its listeners are elsewhere (ListenerSet)
    left = _named(gateway, parent)
    if not left and parent.section_name is not None:
        offered = [listener.name for listener in every]
        if parent.section_name not in offered:
            problem = f"{name} has no listener {parent.section_name} (it has {', '.join(offered)})"
            return (), problem, "sectionName", tuple(near_names(parent.section_name, offered))
    if not left:
        ports = ", ".join(dict.fromkeys(str(listener.port) for listener in every))
        return (), f"no listener of {name} that is meant has port {parent.port} (ports: {ports})", "port", ()
    tests: tuple[tuple[Callable[[Listener], bool], str, Callable[[Listener], str], str], ...] = (
        (
            lambda listener: _admits_kind(listener, route),
            f"takes {route.kind}s",
            lambda listener: f"protocol {listener.protocol}",
            "",
        ),
        (
            lambda listener: _admits_namespace(view, gateway, listener, route),
            f"takes routes of namespace {route.namespace}",
            lambda listener: f"allowedRoutes.namespaces.from: {_from(listener)}",
            "",
        ),
        (
            lambda listener: _admits_host(listener, route),
            f"has a hostname in common with {', '.join(route.spec.hostnames or ())}",
            lambda listener: f"hostname {listener.hostname}",
            "hostnames",
        ),
    )
    for admits, what, why, part in tests:
        kept = tuple(filter(admits, left))
        if not kept:
            reasons = "; ".join(f"{listener.name}: {why(listener)}" for listener in left)
            return (), f"no listener of {name} {what} ({reasons})", part, ()
        left = kept
    return left, "", "", ()


def _from(listener: Listener) -> str:
    namespaces = listener.allowed_routes.namespaces if listener.allowed_routes else None
    return (namespaces.from_ if namespaces else None) or "Same"


def _admits_kind(listener: Listener, route: GatewayRoute) -> bool:
    kinds = listener.allowed_routes.kinds if listener.allowed_routes else None
    if kinds:
        return any(k.kind == route.kind and (k.group or GATEWAY_GROUP) == GATEWAY_GROUP for k in kinds)
    # Other protocols than these are an implementation's own.
    return listener.protocol not in ("TLS", "TCP", "UDP")


def _admits_namespace(view: View, gateway: Gateway, listener: Listener, route: GatewayRoute) -> bool:
    which = _from(listener)
    if which == "Same":
        return gateway.namespace == route.namespace
    if which != "Selector":
        return which != "None"
    namespaces = listener.allowed_routes.namespaces if listener.allowed_routes else None
    selector = namespaces.selector if namespaces else None
    if selector is None:
        return False
    if not view.complete(Kind.NAMESPACE, Scope(name=route.namespace)):
        return True  # not known: what may be allowed is not called refused
    namespace = view.snapshot.namespace(route.namespace)
    if namespace is None and view.snapshot.would_be:
        return True
    # The API server sets this label on every namespace.
    own = {"kubernetes.io/metadata.name": route.namespace}
    return selects(selector, own | (namespace.labels if namespace is not None else {}))


def _admits_host(listener: Listener, route: GatewayRoute) -> bool:
    hosts = route.spec.hostnames
    if not hosts or not listener.hostname:
        return True
    return any(hosts_intersect(listener.hostname, host) for host in hosts)


def hosts_intersect(one: str, other: str) -> bool:
    """Whether two hostnames have a name in common; ``*.x`` is every name that ends in ``.x``."""
    return host_covers(one, other) or host_covers(other, one)


def host_covers(pattern: str, host: str) -> bool:
    """Whether a hostname takes another: the same, or by the suffix match of ``*.``."""
    pattern, host = pattern.lower(), host.lower()
    return pattern == host or (
        pattern.startswith("*.") and host.endswith(pattern[1:]) and host != pattern[1:]
    )


# --- what the controller says


def condition_at(route: GatewayRoute, parent: ParentReference, kind: str) -> Condition | None:
    """The controllers' condition of the route at a parent; one that is not True comes first."""
    found = [
        c
        for status in route.status.parents or ()
        if _is_of(status, parent, route.namespace)
        for c in status.conditions or ()
        if c.type == kind
    ]
    return next((c for c in found if c.status != "True"), found[0] if found else None)


def _is_of(status: RouteParentStatus, parent: ParentReference, namespace: str) -> bool:
    ref = status.parent_ref
    same = (ref.name, ref.section_name, ref.port) == (parent.name, parent.section_name, parent.port)
    return same and (ref.namespace or namespace) == (parent.namespace or namespace)


def condition_text(condition: Condition) -> str:
    """``Accepted is False, NotAllowedByListeners: no listener …``."""
    words = ", ".join(filter(None, (f"{condition.type} is {condition.status}", condition.reason)))
    message = (condition.message or "").strip().partition("\n")[0]
    return f"{words}: {message}" if message else words
