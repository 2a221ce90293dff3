"""A small sound cluster as plain objects, and changes to it by chance."""

from __future__ import annotations

import copy
import random
from typing import Any

import msgspec

from svcdoctor.cluster.decode import decode_json
from svcdoctor.model.base import KubeObject
from svcdoctor.model.facts import Kind, Known
from svcdoctor.model.snapshot import Snapshot

Path = tuple[str | int, ...]

SHAPES: tuple[dict[str, Any], ...] = (
    {"ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]},
    {
        "type": "NodePort",
        "externalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30080}],
    },
    {
        "ports": [
            {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
            {"name": "dns", "port": 53, "targetPort": 5353, "protocol": "UDP"},
        ]
    },
    {"ipFamilies": ["IPv4", "IPv6"], "ports": [{"port": 8080, "targetPort": 8080, "protocol": "TCP"}]},
    {"ipFamilies": ["IPv6"], "ports": [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]},
)


def sound_cluster(pods_of_each: int = 2) -> list[dict[str, Any]]:
    """Services of every ordinary shape, each with pods of its own, as the API would hold them."""
    objects: list[dict[str, Any]] = [_node(n) for n in range(3)]
    for s, shape in enumerate(SHAPES):
        families = shape.get("ipFamilies", ["IPv4"])
        ips = [f"fd00:10:96::{s + 1}" if f == "IPv6" else f"10.96.0.{s + 10}" for f in families]
        labels = {"app": f"app-{s}"}
        spec = {"type": "ClusterIP", "selector": labels, "sessionAffinity": "None"} | copy.deepcopy(shape)
        spec |= {"clusterIP": ips[0], "clusterIPs": ips, "ipFamilies": families}
        spec["internalTrafficPolicy"] = "Cluster"
        objects.append(_object("v1", "Service", f"svc-{s}", spec=spec, status={"loadBalancer": {}}))
        pods = [_pod(s, n, labels) for n in range(pods_of_each)]
        objects += pods
        objects += [_slice(f"svc-{s}", f, spec["ports"], pods) for f in families]
        if s != 1:  # one is of a dump without Endpoints
            objects.append(_endpoints(f"svc-{s}", objects[-len(families)]))
    return objects


def snapshot_of(objects: list[dict[str, Any]]) -> Snapshot:
    """The Snapshot of plain objects, everything known. Raises SvcdoctorError for what is no object."""
    by_kind: dict[Kind, dict[tuple[str, str], KubeObject]] = {}
    data = msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": objects})
    for o in decode_json(data, "made") or ():
        by_kind.setdefault(Kind(o.kind), {})[o.namespace, o.name] = o
    return Snapshot({k: tuple(v.values()) for k, v in by_kind.items()}, {k: (Known(),) for k in Kind})


def changed(objects: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The objects with one thing changed: a value, a field that is gone, an object more or less."""
    objects = copy.deepcopy(objects)
    if not objects:
        return objects
    victim = chance.randrange(len(objects))
    kind = chance.random()
    if kind < 0.05:
        del objects[victim]
        return objects
    if kind < 0.15:
        twin = copy.deepcopy(objects[victim])
        twin["metadata"]["name"] = f"{twin['metadata'].get('name', '')}-twin"
        objects.append(twin)
        victim = len(objects) - 1
    elif kind < 0.25:
        field, value = chance.choice(_ADDED)
        holder = objects[victim]
        for word in field.split(".")[:-1]:
            holder = holder.setdefault(word, {})
        holder[field.rpartition(".")[2]] = copy.deepcopy(value)
        return objects
    holder, key = chance.choice(list(_leaves(objects[victim])))
    if chance.random() < 0.3:
        del holder[key]
    else:
        others = [h[k] for o in objects for h, k in _leaves(o) if type(h[k]) is type(holder[key])]
        value = chance.choice(others)
        holder[key] = (not value) if isinstance(value, bool) else value
    return objects


_ADDED: tuple[tuple[str, Any], ...] = (
    ("spec.hostNetwork", True),
    ("spec.externalIPs", ["198.51.100.7"]),
    ("spec.sessionAffinity", "ClientIP"),
    ("spec.internalTrafficPolicy", "Local"),
    ("spec.trafficDistribution", "PreferClose"),
    ("spec.publishNotReadyAddresses", True),
    ("spec.readinessGates", [{"conditionType": "x.example/ready"}]),
    ("spec.containers", []),
    ("spec.clusterIP", "None"),
    ("status.phase", "Failed"),
    ("status.conditions", []),
    ("metadata.deletionTimestamp", "2026-01-01T00:00:00Z"),
    ("metadata.annotations", {"service.kubernetes.io/topology-mode": "Auto"}),
    ("metadata.labels", {"service.kubernetes.io/service-proxy-name": "other"}),
    ("endpoints", []),
    ("ports", []),
)


def _leaves(value: Any) -> list[tuple[Any, str | int]]:
    """Every scalar of an object as (its holder, its key); kinds, versions and names are left alone."""
    found: list[tuple[Any, str | int]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        if isinstance(inner, dict | list):
            found += _leaves(inner)
        elif key not in ("kind", "apiVersion"):
            found.append((value, key))
    return found


def _object(version: str, kind: str, name: str, labels: Any = None, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "shop", "labels": labels or {}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **fields}


def _node(n: int) -> dict[str, Any]:
    node = _object("v1", "Node", f"n{n}", {"topology.kubernetes.io/zone": f"z{n}"})
    del node["metadata"]["namespace"]
    node["spec"] = {"podCIDR": f"10.128.{n}.0/24", "podCIDRs": [f"10.128.{n}.0/24"]}
    node["status"] = {
        "addresses": [{"type": "InternalIP", "address": f"192.0.2.{n + 1}"}],
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return node


def _pod(s: int, n: int, labels: dict[str, str]) -> dict[str, Any]:
    pod = _object("v1", "Pod", f"app-{s}-{n}", labels | {"pod-template-hash": "abc"})
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"app-{s}-abc", "controller": True}
    pod["metadata"]["ownerReferences"] = [owner]
    ports = [
        {"name": "http", "containerPort": 8080, "protocol": "TCP"},
        {"name": "dns", "containerPort": 5353, "protocol": "UDP"},
    ]
    pod["spec"] = {"nodeName": f"n{n % 3}", "containers": [{"name": "c", "ports": ports}]}
    v4, v6 = f"10.128.{n % 3}.{s * 10 + n + 1}", f"fd00:10:128:{n % 3}::{s * 10 + n + 1}"
    pod["status"] = {
        "phase": "Running",
        "podIP": v4,
        "podIPs": [{"ip": v4}, {"ip": v6}],
        "conditions": [{"type": "Ready", "status": "True"}, {"type": "ContainersReady", "status": "True"}],
    }
    return pod


def _slice(
    service: str, family: str, ports: list[dict[str, Any]], pods: list[dict[str, Any]]
) -> dict[str, Any]:
    labels = {
        "kubernetes.io/service-name": service,
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    numbers = {"http": 8080}
    made = _object("discovery.k8s.io/v1", "EndpointSlice", f"{service}-{family.lower()}", labels)
    made["addressType"] = family
    made["ports"] = [
        {
            "name": p.get("name", ""),
            "port": numbers.get(p["targetPort"], p["targetPort"]),
            "protocol": p["protocol"],
        }
        for p in ports
    ]
    made["endpoints"] = [
        {
            "addresses": [
                next(i["ip"] for i in p["status"]["podIPs"] if (":" in i["ip"]) == (family == "IPv6"))
            ],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": p["spec"]["nodeName"],
            "targetRef": {"kind": "Pod", "name": p["metadata"]["name"], "namespace": "shop"},
        }
        for p in pods
    ]
    return made


def _endpoints(service: str, first: dict[str, Any]) -> dict[str, Any]:
    """v1 Endpoints, which hold the first family only."""
    made = _object("v1", "Endpoints", service)
    addresses = [{"ip": e["addresses"][0], "nodeName": e["nodeName"]} for e in first["endpoints"]]
    made["subsets"] = [{"addresses": addresses, "ports": copy.deepcopy(first["ports"])}]
    return made
