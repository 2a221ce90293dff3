"""A Gateway, a route and two Services in a few lines, for tests that change one thing of them."""

from __future__ import annotations

import copy
from typing import Any

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.cluster.decode import decode_documents
from svcdoctor.model.facts import Kind, Known, Unknown
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Trace
from svcdoctor.path.clients import parse_client
from svcdoctor.path.target import parse_target

Object = dict[str, Any]
GROUP = "gateway.networking.k8s.io"


def service(
    name: str, ns: str = "shop", *, port: int = 80, port_name: str = "", pods: int = 2, net: str = "10.1"
) -> list[Object]:
    """A Service with its pods and their EndpointSlice."""
    labels = {"app": name}
    made: list[Object] = [
        {
            "kind": "Pod",
            "metadata": {"name": f"{name}-{i}", "namespace": ns, "labels": labels},
            "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]},
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": f"{net}.{len(name)}.{i + 1}"}],
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        for i in range(pods)
    ]
    endpoints = [
        {
            "addresses": [p["status"]["podIPs"][0]["ip"]],
            "targetRef": {"kind": "Pod", "namespace": ns, "name": p["metadata"]["name"]},
        }
        for p in made
    ]
    return [
        *made,
        {
            "kind": "Service",
            "metadata": {"name": name, "namespace": ns},
            "spec": {
                "clusterIP": f"10.96.0.{len(name)}",
                "selector": labels,
                "ports": [{"name": port_name, "port": port, "targetPort": 8080}],
            },
        },
        {
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-x",
                "namespace": ns,
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": endpoints,
            "ports": [{"name": port_name, "port": 8080, "protocol": "TCP"}],
        },
    ]


def gateway(**changes: Any) -> Object:
    """The Gateway edge/public with one listener, which routes of every namespace may use."""
    listener = {
        "name": "web",
        "port": 80,
        "protocol": "HTTP",
        "allowedRoutes": {"namespaces": {"from": "All"}},
    }
    listener |= changes.pop("listener", {})
    return {
        "kind": "Gateway",
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": "public", "namespace": "edge"},
        "spec": {"gatewayClassName": "edge", "listeners": [listener]} | changes.pop("spec", {}),
        "status": {
            "addresses": [{"value": "203.0.113.4"}],
            "conditions": [{"type": "Programmed", "status": "True"}],
        }
        | changes.pop("status", {}),
    }


def route(*backends: Object, kind: str = "HTTPRoute", parent: Object | None = None, **spec: Any) -> Object:
    """The route shop/shop to the Gateway; without backends to the Service web."""
    rule = {"backendRefs": list(backends) or [{"name": "web", "port": 80}]}
    refs = [{"name": "public", "namespace": "edge"} | (parent or {})]
    return {
        "kind": kind,
        "apiVersion": f"{GROUP}/v1",
        "metadata": {"name": "shop", "namespace": "shop"},
        "spec": {"parentRefs": refs, "rules": [rule]} | spec,
    }


def namespace(name: str, **labels: str) -> Object:
    return {"kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def said(kind: str, status: str, reason: str, message: str = "") -> Object:
    """The route's status with one condition at its parent."""
    condition = {"type": kind, "status": status, "reason": reason, "message": message}
    ref = {"name": "public", "namespace": "edge"}
    return {"parents": [{"parentRef": ref, "controllerName": "example.com/x", "conditions": [condition]}]}


def world(*objects: Object, unknown: tuple[Kind, ...] = (), would_be: bool = False) -> Snapshot:
    """A cluster of which everything is known, but for some kinds."""
    by_kind: dict[Kind, list[Any]] = {}
    for obj in decode_documents([copy.deepcopy(o) for o in objects], "test"):
        by_kind.setdefault(Kind(obj.kind), []).append(obj)
    facts = {k: (Unknown("forbidden") if k in unknown else Known(),) for k in Kind}
    return Snapshot({k: tuple(v) for k, v in by_kind.items()}, facts, would_be=would_be)


def ask(
    snapshot: Snapshot, target: str = "httproute/shop", client: str | None = None, ns: str = "shop"
) -> Trace:
    spec = parse_client(client) if client else None
    return answer_once(snapshot, Request(parse_target(target, ns, spec), spec), ns)


def ends(answer: Trace) -> dict[str, float]:
    """Where the requests end, with their shares: pods by name, else the result."""
    found: dict[str, float] = {}
    for path in answer.paths:
        for o in path.outcomes:
            name = o.backend.pod.partition("/")[2] if o.backend and o.backend.pod else str(o.result)
            found[name] = found.get(name, 0) + round(o.probability, 6)
    return found
