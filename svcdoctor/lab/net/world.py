"""What the lab consists of: nodes, pods and Services, as values and as the objects that the API server serves.

Names and addresses are those of the NodePort walk-through: three nodes, three pods behind ``bq-api-service-1``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

LAN4, LAN6 = "192.168.0.0/24", "fd00:192:168::/64"
MASTER4, MASTER6 = "192.168.0.3", "fd00:192:168::3"  # where the API server listens
CLIENT4, CLIENT6 = "192.168.0.100", "fd00:192:168::100"
POD_CIDR, SERVICE_CIDR = "10.244.0.0/16", "10.96.0.0/12"
POD_CIDR6 = "fd00:10:244::/48"
SERVICE_CIDR6 = "fd00:10:96::/112"
DNS_IP = "10.96.0.10"
API_PORT = 6443
DOMAIN = "cluster.local"
COREFILE = f""".:53 {{
    errors
    health
    ready
    kubernetes {DOMAIN} in-addr.arpa ip6.arpa {{
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
}}
"""
APP = "bq-api-service-deploy-sample"


@dataclass(frozen=True, slots=True)
class LabNode:
    """A node: its addresses on the LAN, and its pods' networks, whose first address is the node's own."""

    name: str
    ip4: str
    ip6: str
    pods4: str
    pods6: str

    @property
    def gateway4(self) -> str:
        return self.pods4.replace(".0/24", ".1")

    @property
    def gateway6(self) -> str:
        return self.pods6.replace("::/64", "::1")


@dataclass(frozen=True, slots=True)
class LabPod:
    """A pod with a network namespace of its own. ``serves`` are its ports by protocol."""

    namespace: str
    name: str
    node: str
    ip4: str
    ip6: str
    labels: tuple[tuple[str, str], ...]
    ports: tuple[tuple[str, int, str], ...]  # name, number, protocol
    owner: str

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"


NODES = (
    LabNode("k8s-node0", "192.168.0.6", "fd00:192:168::6", "10.244.2.0/24", "fd00:10:244:2::/64"),
    LabNode("k8s-node1", "192.168.0.44", "fd00:192:168::44", "10.244.1.0/24", "fd00:10:244:1::/64"),
    LabNode("k8s-node3", "192.168.0.45", "fd00:192:168::45", "10.244.3.0/24", "fd00:10:244:3::/64"),
)

_WEB = (("http", 8080, "TCP"), ("dns", 5353, "UDP"))
_DNS = (("dns", 53, "UDP"), ("dns-tcp", 53, "TCP"))


def _web(suffix: str, node: str, ip4: str, ip6: str) -> LabPod:
    labels = (("app", "bq-api-service"), ("pod-template-hash", "f448cf6ff"))
    return LabPod("default", f"{APP}-f448cf6ff-{suffix}", node, ip4, ip6, labels, _WEB, f"{APP}-f448cf6ff")


PODS = (
    _web("c8zlp", "k8s-node0", "10.244.2.104", "fd00:10:244:2::104"),
    _web("tkxck", "k8s-node1", "10.244.1.45", "fd00:10:244:1::45"),
    _web("vvkt9", "k8s-node3", "10.244.3.54", "fd00:10:244:3::54"),
    LabPod(
        "kube-system", "coredns-5ls2ddr-2k7wm", "k8s-node0", "10.244.2.5", "fd00:10:244:2::5",
        (("k8s-app", "kube-dns"), ("pod-template-hash", "5ls2ddr")), _DNS, "coredns-5ls2ddr",
    ),
    LabPod(
        "default", "client", "k8s-node1", "10.244.1.100", "fd00:10:244:1::100", (("run", "client"),), (), "",
    ),
)  # fmt: skip


def objects() -> list[Object]:
    """Every object of the lab but EndpointSlices, which the controller makes."""
    found: list[Object] = [
        _namespace(n) for n in ("default", "kube-system", "kube-public", "kube-node-lease")
    ]
    found += [_node(n) for n in NODES]
    for owner, namespace, labels, replicas in (
        (f"{APP}-f448cf6ff", "default", {"app": "bq-api-service"}, 3),
        ("coredns-5ls2ddr", "kube-system", {"k8s-app": "kube-dns"}, 1),
    ):
        found += _workload(namespace, owner, labels, replicas)
    found += [pod_object(p) for p in PODS]
    found += [_kube_proxy(n) for n in NODES]
    found += _services()
    found.append(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "coredns", "namespace": "kube-system"},
            "data": {"Corefile": COREFILE},
        }
    )
    found.append(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": {"name": "kubernetes"},
            "spec": {"cidrs": [SERVICE_CIDR, SERVICE_CIDR6]},
        }
    )
    return found


def _namespace(name: str) -> Object:
    metadata = {"name": name, "labels": {"kubernetes.io/metadata.name": name}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "status": {"phase": "Active"}}


def _node(node: LabNode) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": {"kubernetes.io/hostname": node.name}},
        "spec": {"podCIDR": node.pods4, "podCIDRs": [node.pods4, node.pods6]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": node.ip4},
                {"type": "InternalIP", "address": node.ip6},
                {"type": "Hostname", "address": node.name},
            ],
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
        },
    }


def _template(labels: dict[str, str], ports: tuple[tuple[str, int, str], ...]) -> Object:
    return {
        "metadata": {"labels": labels},
        "spec": {"containers": [_container(ports)]},
    }


def _container(ports: tuple[tuple[str, int, str], ...]) -> Object:
    return {
        "name": "server",
        "image": "svcdoctor.lab/server:1",
        "ports": [{"name": n, "containerPort": number, "protocol": proto} for n, number, proto in ports],
        "env": [
            {"name": f"{protocol}_PORTS", "value": ",".join(str(n) for _, n, p in ports if p == protocol)}
            for protocol in dict.fromkeys(proto for _, _, proto in ports)
        ],
    }


def _workload(namespace: str, owner: str, labels: dict[str, str], replicas: int) -> list[Object]:
    deployment, _, tail = owner.rpartition("-")
    template = _template(labels, _WEB if "app" in labels else _DNS)
    status = {"replicas": replicas, "readyReplicas": replicas, "availableReplicas": replicas}
    selector = {"matchLabels": labels}
    spec = {"replicas": replicas, "selector": selector, "template": template}
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": deployment, "namespace": namespace, "labels": labels},
            "spec": spec,
            "status": status,
        },
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": owner,
                "namespace": namespace,
                "labels": labels | {"pod-template-hash": tail},
                "ownerReferences": [_owned_by("Deployment", deployment)],
            },
            "spec": spec,
            "status": status,
        },
    ]


def _owned_by(kind: str, name: str) -> Object:
    return {"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": f"{kind}-{name}", "controller": True}


def pod_object(pod: LabPod) -> Object:
    """The Pod, running and ready."""
    node = next(n for n in NODES if n.name == pod.node)
    metadata: Object = {"name": pod.name, "namespace": pod.namespace, "labels": dict(pod.labels)}
    if pod.owner:
        metadata["ownerReferences"] = [_owned_by("ReplicaSet", pod.owner)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": pod.node, "containers": [_container(pod.ports)]},
        "status": {
            "phase": "Running",
            "podIP": pod.ip4,
            "podIPs": [{"ip": pod.ip4}, {"ip": pod.ip6}],
            "hostIP": node.ip4,
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "ContainersReady", "status": "True"},
            ],
            "containerStatuses": [
                {"name": "server", "ready": True, "restartCount": 0, "state": {"running": {}}}
            ],
        },
    }


def _kube_proxy(node: LabNode) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"kube-proxy-{node.name}",
            "namespace": "kube-system",
            "labels": {"k8s-app": "kube-proxy"},
        },
        "spec": {
            "nodeName": node.name,
            "hostNetwork": True,
            "containers": [{"name": "kube-proxy", "image": "svcdoctor.lab/kube-proxy:1"}],
        },
        "status": {
            "phase": "Running",
            "podIP": node.ip4,
            "podIPs": [{"ip": node.ip4}, {"ip": node.ip6}],
            "hostIP": node.ip4,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {"name": "kube-proxy", "ready": True, "restartCount": 0, "state": {"running": {}}}
            ],
        },
    }


def _services() -> list[Object]:
    both = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}
    policies = {"internalTrafficPolicy": "Cluster", "sessionAffinity": "None"}
    dns = [{"name": n, "port": number, "targetPort": number, "protocol": proto} for n, number, proto in _DNS]
    return [
        _service(
            "default",
            "bq-api-service-1",
            type="NodePort",
            selector={"app": "bq-api-service"},
            clusterIP="10.105.158.88",
            clusterIPs=["10.105.158.88", "fd00:10:96::5888"],
            externalTrafficPolicy="Cluster",
            ports=[
                {"name": "8080-port", "port": 32111, "targetPort": 8080, "nodePort": 31372, "protocol": "TCP"}
            ],
            **both,
            **policies,
        ),
        _service(
            "default",
            "kubernetes",
            type="ClusterIP",
            clusterIP="10.96.0.1",
            clusterIPs=["10.96.0.1"],
            ports=[{"name": "https", "port": 443, "targetPort": API_PORT, "protocol": "TCP"}],
            ipFamilies=["IPv4"],
            **policies,
        ),
        _service(
            "kube-system",
            "kube-dns",
            type="ClusterIP",
            selector={"k8s-app": "kube-dns"},
            clusterIP=DNS_IP,
            clusterIPs=[DNS_IP, "fd00:10:96::a"],
            ports=dns,
            **both,
            **policies,
        ),
    ]


def _service(namespace: str, name: str, **spec: Any) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec, "status": {}}
