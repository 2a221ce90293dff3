"""A generated cluster as kubectl would dump it: S Services with E endpoints each, on 100 nodes.

Pods carry what real ones carry and svcdoctor does not read (environment, probes, tolerations, annotations), so
that the files have realistic sizes.
"""

import json
from pathlib import Path

NAMESPACES = 50
NODES = 100


def address(n):
    return f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"


def write(folder: Path, services: int, endpoints: int) -> None:
    """The dumps, once: a folder that is there already is left as it is."""
    if (folder / "services.json").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    pods, slices, found = [], [], []
    for s in range(services):
        ns, labels = f"ns-{s % NAMESPACES}", {"app": f"app-{s}"}
        found.append(_service(s, ns, labels))
        members = [_pod(s, e, s * endpoints + e + 2, ns, labels) for e in range(endpoints)]
        pods += members
        slices.append(_slice(s, ns, members))
    kinds = {
        "nodes": [_node(i) for i in range(NODES)],
        "pods": pods,
        "endpointslices": slices,
        "services": found,
    }
    for name, items in kinds.items():
        (folder / f"{name}.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))


def _node(i):
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"n{i}", "labels": {"topology.kubernetes.io/zone": f"z{i % 3}"}},
        "spec": {"podCIDR": f"10.200.{i}.0/24"},
        "status": {
            "addresses": [{"type": "InternalIP", "address": f"192.168.1.{i + 1}"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _service(s, ns, labels):
    ip = f"172.20.{s // 250}.{s % 250 + 1}"
    port = {"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}
    if s % 5 == 0:
        port["nodePort"] = 30000 + s // 5
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"svc-{s}", "namespace": ns, "uid": f"s{s}", "labels": labels},
        "spec": {
            "type": "NodePort" if s % 5 == 0 else "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ipFamilies": ["IPv4"],
            "internalTrafficPolicy": "Cluster",
            "sessionAffinity": "None",
            "selector": labels,
            "ports": [port],
        },
        "status": {"loadBalancer": {}},
    }


def _pod(s, e, n, ns, labels):
    env = [{"name": f"SETTING_{i}", "value": "a value of twenty ch"} for i in range(15)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"app-{s}-{e:03}",
            "namespace": ns,
            "uid": f"p{n}",
            "labels": {**labels, "pod-template-hash": "abcdef1234"},
            "annotations": {"note": "x" * 200},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"app-{s}-abcdef1234", "controller": True}],
        },
        "spec": {
            "nodeName": f"n{n % NODES}",
            "containers": [
                {
                    "name": "c",
                    "image": "registry.example/app:1.2.3",
                    "env": env,
                    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                }
            ],
            "tolerations": [{"key": "a", "operator": "Exists"}] * 2,
        },
        "status": {
            "phase": "Running",
            "podIP": address(n),
            "podIPs": [{"ip": address(n)}],
            "conditions": [{"type": t, "status": "True"} for t in ("Initialized", "Ready", "PodScheduled")],
            "containerStatuses": [{"name": "c", "ready": True, "restartCount": 0, "state": {"running": {}}}],
        },
    }


def _slice(s, ns, members):
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "addressType": "IPv4",
        "metadata": {
            "name": f"svc-{s}-x",
            "namespace": ns,
            "labels": {"kubernetes.io/service-name": f"svc-{s}"},
        },
        "endpoints": [
            {
                "addresses": [p["status"]["podIP"]],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": p["spec"]["nodeName"],
                "targetRef": {"kind": "Pod", "name": p["metadata"]["name"], "namespace": ns},
            }
            for p in members
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    }
