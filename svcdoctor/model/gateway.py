"""Gateway API: GatewayClass, Gateway, HTTPRoute, ReferenceGrant (gateway.networking.k8s.io)."""

from __future__ import annotations

import msgspec

from svcdoctor.model.base import Base, KubeObject
from svcdoctor.model.pod import Condition


class ParentReference(Base, frozen=True):
    name: str = ""
    namespace: str | None = None
    kind: str | None = None
    section_name: str | None = None
    port: int | None = None


class BackendReference(Base, frozen=True):
    name: str = ""
    namespace: str | None = None
    kind: str | None = None
    group: str | None = None
    port: int | None = None
    weight: int | None = None


class PathMatch(Base, frozen=True):
    type: str | None = None
    value: str | None = None


class RouteMatch(Base, frozen=True):
    path: PathMatch | None = None


class RouteRule(Base, frozen=True):
    matches: tuple[RouteMatch, ...] | None = None
    backend_refs: tuple[BackendReference, ...] | None = None


class RouteParentStatus(Base, frozen=True):
    parent_ref: ParentReference = ParentReference()
    conditions: tuple[Condition, ...] | None = None


class RouteStatus(Base, frozen=True):
    parents: tuple[RouteParentStatus, ...] | None = None


class RouteSpec(Base, frozen=True):
    parent_refs: tuple[ParentReference, ...] | None = None
    hostnames: tuple[str, ...] | None = None
    rules: tuple[RouteRule, ...] | None = None


class HTTPRoute(KubeObject, frozen=True):
    spec: RouteSpec = RouteSpec()
    status: RouteStatus = RouteStatus()


class Listener(Base, frozen=True):
    name: str = ""
    port: int = 0
    protocol: str = ""
    hostname: str | None = None


class GatewaySpec(Base, frozen=True):
    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] | None = None


class GatewayAddress(Base, frozen=True):
    type: str | None = None
    value: str = ""


class GatewayStatus(Base, frozen=True):
    addresses: tuple[GatewayAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None


class Gateway(KubeObject, frozen=True):
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class GatewayClassSpec(Base, frozen=True):
    controller_name: str = ""


class GatewayClass(KubeObject, frozen=True):
    spec: GatewayClassSpec = GatewayClassSpec()


class GrantPeer(Base, frozen=True):
    group: str = ""
    kind: str = ""
    namespace: str = ""
    name: str | None = None


class ReferenceGrantSpec(Base, frozen=True):
    from_: tuple[GrantPeer, ...] | None = msgspec.field(default=None, name="from")
    to: tuple[GrantPeer, ...] | None = None


class ReferenceGrant(KubeObject, frozen=True):
    spec: ReferenceGrantSpec = ReferenceGrantSpec()
