"""Gateway API: GatewayClass, Gateway, ReferenceGrant (gateway.networking.k8s.io); the routes are in ``gatewayroutes``.

Specification: https://gateway-api.sigs.k8s.io/reference/spec/
"""

from __future__ import annotations

import msgspec

from svcdoctor.model.base import AnnotatedMeta, Base, KubeObject
from svcdoctor.model.pod import Condition
from svcdoctor.model.policy import LabelSelector

GATEWAY_GROUP = "gateway.networking.k8s.io"


class RouteNamespaces(Base, frozen=True):
    """From which namespaces routes may attach: ``Same`` (the default), ``All``, ``Selector``, ``None``."""

    from_: str | None = msgspec.field(default=None, name="from")
    selector: LabelSelector | None = None


class RouteGroupKind(Base, frozen=True):
    group: str | None = None
    kind: str = ""


class AllowedRoutes(Base, frozen=True):
    namespaces: RouteNamespaces | None = None
    kinds: tuple[RouteGroupKind, ...] | None = None


class Listener(Base, frozen=True):
    name: str = ""
    port: int = 0
    protocol: str = ""
    hostname: str | None = None
    allowed_routes: AllowedRoutes | None = None


class GatewaySpec(Base, frozen=True):
    gateway_class_name: str = ""
    listeners: tuple[Listener, ...] | None = None


class GatewayAddress(Base, frozen=True):
    type: str | None = None
    value: str = ""


class ListenerStatus(Base, frozen=True):
    name: str = ""
    attached_routes: int = 0
    conditions: tuple[Condition, ...] | None = None


class GatewayStatus(Base, frozen=True):
    addresses: tuple[GatewayAddress, ...] | None = None
    conditions: tuple[Condition, ...] | None = None
    listeners: tuple[ListenerStatus, ...] | None = None


class Gateway(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: GatewaySpec = GatewaySpec()
    status: GatewayStatus = GatewayStatus()


class GatewayClassSpec(Base, frozen=True):
    controller_name: str = ""


class GatewayClassStatus(Base, frozen=True):
    conditions: tuple[Condition, ...] | None = None


class GatewayClass(KubeObject, frozen=True):
    spec: GatewayClassSpec = GatewayClassSpec()
    status: GatewayClassStatus = GatewayClassStatus()


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
