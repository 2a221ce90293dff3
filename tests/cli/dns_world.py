"""A small cluster for ``svcdoctor dns``, as the objects that kubectl would dump."""

import json

DOMAIN = "cluster.local"
COREFILE = """.:53 {
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
    cache 30
}
"""


def service(namespace, name, *ips, port=80, **spec):
    whole = {"type": "ClusterIP", "clusterIP": ips[0], "clusterIPs": list(ips), "selector": {"app": name}}
    whole["ports"] = [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}]
    return _object("Service", namespace, name, spec=whole | spec)


def pod(namespace, name, ip, ready=True, labels=None, containers=("app",), **spec):
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    states = [{"name": c, "ready": ready, "state": {"running": {}}} for c in containers]
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
    found = _object(
        "Pod", namespace, name, labels or {"app": name}, status=status | {"containerStatuses": states}
    )
    return found | {"spec": {"nodeName": "n1", "containers": [{"name": c} for c in containers], **spec}}


def slice_of(namespace, service, *endpoints, family="IPv4"):
    """``endpoints`` are (address, ready, hostname)."""
    labels = {"kubernetes.io/service-name": service}
    found = _object("EndpointSlice", namespace, f"{service}-1", labels, api="discovery.k8s.io/v1")
    return found | {
        "addressType": family,
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [ip],
                "conditions": {"ready": ready},
                "hostname": host,
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"{service}-{ip}"},
            }
            for ip, ready, host in endpoints
        ],
    }


def _object(kind, namespace, name, labels=None, api="v1", **parts):
    metadata = {"name": name, "labels": labels or {}} | ({"namespace": namespace} if namespace else {})
    return {"kind": kind, "apiVersion": api, "metadata": metadata, **parts}


def cluster(*more, corefile=COREFILE, dns_ready=True):
    """The objects: Services web (both families) in shop and kube-dns, a pod that asks, and ``more``."""
    dns = service("kube-system", "kube-dns", "10.96.0.10", port=53, selector={"k8s-app": "kube-dns"})
    dns["spec"]["ports"][0] |= {"protocol": "UDP", "name": "dns"}
    labels = {"k8s-app": "kube-dns"}
    return [
        *(
            _object("Namespace", None, n, {"kubernetes.io/metadata.name": n})
            for n in ("shop", "bank", "kube-system")
        ),
        dns,
        pod("kube-system", "coredns-1", "10.244.0.2", dns_ready, labels),
        slice_of("kube-system", "kube-dns", ("10.244.0.2", dns_ready, None)),
        _object("ConfigMap", "kube-system", "coredns", data={"Corefile": corefile}),
        service("shop", "web", "10.96.7.7", "fd00:10:96::77", ipFamilies=["IPv4", "IPv6"]),
        pod("shop", "asking", "10.244.0.9"),
        *more,
    ]


def written(folder, objects):
    """A folder with the objects, as ``--snapshot`` takes it."""
    folder.mkdir(exist_ok=True)
    by_kind = {}
    for obj in objects:
        by_kind.setdefault((obj["kind"], obj["apiVersion"]), []).append(obj)
    for kind in ("NetworkPolicy",):
        by_kind.setdefault((kind, "networking.k8s.io/v1"), [])
    for (kind, api), items in by_kind.items():
        text = {"kind": f"{kind}List", "apiVersion": api, "metadata": {}, "items": items}
        (folder / f"{kind.lower()}s.json").write_text(json.dumps(text))
    return folder
