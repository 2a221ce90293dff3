"""The words of a target: what a person types after ``trace``.

An object (``svc/web:http``, ``ingress/shop/api``, ``pod/web-1:8080``, ``deploy/web``), a bare name without a
dot (a Service), or an address: a URL, ``HOST:PORT``, a DNS name, an IP.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import AddressTarget, ClientSpec, ObjectTarget
from svcdoctor.model.snapshot import canonical_or_none

ALIASES = {
    alias: kind
    for kind, aliases in {
        "Service": ("svc", "service", "services"),
        "Ingress": ("ing", "ingress", "ingresses"),
        "HTTPRoute": ("httproute", "httproutes"),
        "GRPCRoute": ("grpcroute", "grpcroutes"),
        "Pod": ("po", "pod", "pods"),
        "Deployment": ("deploy", "deployment", "deployments"),
        "ReplicaSet": ("rs", "replicaset", "replicasets"),
        "StatefulSet": ("sts", "statefulset", "statefulsets"),
        "DaemonSet": ("ds", "daemonset", "daemonsets"),
        "Job": ("job", "jobs"),
        "ReplicationController": ("rc", "replicationcontroller", "replicationcontrollers"),
    }.items()
    for alias in aliases
}

ROUTERS = frozenset({"Ingress", "HTTPRoute", "GRPCRoute"})  # which choose the Service by the request's path

_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def parse_target(text: str, namespace: str, client: ClientSpec | None = None) -> ObjectTarget | AddressTarget:
    """What ``text`` names. Raises SvcdoctorError, with the forms there are, for what is none.

    A bare name means what it means to the client: a Service of the pod's own namespace.
    """
    text = text.strip()
    if "/" not in text and client is not None and client.namespace:
        namespace = client.namespace
    if "://" in text:
        return _url(text)
    kind, slash, rest = text.partition("/")
    known = ALIASES.get(kind.lower().partition(".")[0])
    if slash and known is not None:
        return _object(text, known, rest, namespace)
    ip = canonical_or_none(text.strip("[]"))
    if ip is not None:
        return AddressTarget(ip, None)
    host, colon, port = text.rpartition(":")
    if colon:
        return _host_port(text, host, port, namespace)
    host, slash, path = text.partition("/")
    if slash and (("." in host and _NAME.match(host)) or canonical_or_none(host)):
        return AddressTarget(canonical_or_none(host) or host, None, path=f"/{path}")
    if slash:
        raise SvcdoctorError(
            f"{text}: unknown type {kind!r}; say svc, ingress, httproute, pod, deploy, sts, ds or rs"
        )
    _check_name(text, text)
    return AddressTarget(text, None) if "." in text else ObjectTarget("Service", text, namespace)


def parse_service(text: str, namespace: str) -> ObjectTarget:
    """A Service with or without a port. Raises SvcdoctorError."""
    named = parse_target(text, namespace)
    if not isinstance(named, ObjectTarget) or named.kind != "Service":
        raise SvcdoctorError(f"{text} is no Service; say svc/NAME or svc/NAME:PORT")
    return named


def _object(text: str, kind: str, rest: str, namespace: str) -> ObjectTarget:
    path = None
    if kind in ROUTERS:
        rest, slash, tail = rest.partition("/")
        path = f"/{tail}" if slash else None
    name, colon, port = rest.partition(":")
    _check_name(name, text)
    if colon and not port:
        raise SvcdoctorError(f"{text}: no port after the colon; say a number or a port's name")
    if port.isdecimal() and not 0 < int(port) < 65536:
        raise SvcdoctorError(f"{text}: {port!r} is no port (1 to 65535)")
    return ObjectTarget(kind, name, namespace, port or None, path)


def _host_port(text: str, host: str, port: str, namespace: str) -> ObjectTarget | AddressTarget:
    bare = host.strip("[]")
    path = None
    if "/" in port:
        port, _, tail = port.partition("/")
        path = f"/{tail}"
    ip = canonical_or_none(bare)
    if ip is None and "." not in bare and path is None:
        _check_name(bare, text)
        return ObjectTarget("Service", bare, namespace, port or None)
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise SvcdoctorError(f"{text}: {port!r} is no port (1 to 65535)")
    if ip is None:
        _check_name(bare, text)
    return AddressTarget(ip or bare, int(port), path=path)


def _url(text: str) -> AddressTarget:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as e:
        raise SvcdoctorError(f"{text}: not a URL: {e}") from None
    host = parts.hostname or ""
    ip = canonical_or_none(host)
    if ip is None:
        _check_name(host, text)
    port = port or _DEFAULT_PORTS.get(parts.scheme)
    if port is None:
        raise SvcdoctorError(f"{text}: scheme {parts.scheme!r} has no default port; name one")
    return AddressTarget(ip or host, port, parts.scheme, parts.path or "/")


def _check_name(name: str, text: str) -> None:
    if not _NAME.match(name):
        raise SvcdoctorError(
            f"{text!r} is no target; say svc/NAME[:PORT], NAME, ingress/NAME[/path], httproute/NAME[/path], "
            "pod/NAME:PORT, deploy/NAME, HOST:PORT or a URL"
        )
