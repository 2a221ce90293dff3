"""EXT006: a load balancer that dials nodePorts, for a Service that has none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service

# Clouds whose load balancers send to a port of the nodes, by what their nodes' spec.providerID begins with.
DIALS_NODES = {
    "aws": "AWS (targets of type instance)",
    "openstack": "OpenStack Octavia",
    "digitalocean": "DigitalOcean",
    "hcloud": "Hetzner Cloud",
    "linode": "Akamai (Linode)",
    "kind": "cloud-provider-kind",
}
TARGET_TYPE = "service.beta.kubernetes.io/aws-load-balancer-nlb-target-type"
AWS_TYPE = "service.beta.kubernetes.io/aws-load-balancer-type"
INSTANCE_CLASSES = (None, "service.k8s.aws/nlb")
# Balancers inside the cluster, which bring packets for the address itself to a node; they leave annotations.
OWN_BALANCERS = ("metallb", "kube-vip", "cilium", "purelb", "openelb", "loxilb", "porter")
NODE_PORT = re.compile(r"node[ -]?ports?\b", re.IGNORECASE)


@check(
    "EXT006",
    "The load balancer needs nodePorts and the Service has none",
    Severity.ERROR,
    meaning=(
        "With allocateLoadBalancerNodePorts: false the Service's ports get no nodePort. Load balancers that bring "
        "packets to the nodes with the Service's own address (MetalLB, Google's and others) need none; those that "
        "connect to the nodes themselves, as proxies do, have no port to connect to."
    ),
    look="kubectl get svc NAME -o jsonpath='{.spec.ports[*].nodePort}'; kubectl describe svc NAME (Events)",
    mend=(
        "Set spec.allocateLoadBalancerNodePorts to true (ports get their nodePorts at once), or let the balancer "
        "send to pods directly where it can (AWS: target type ip)."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-nodeport-allocation",
        "https://kubernetes.io/docs/concepts/services-networking/service/#load-balancer-ip-mode",
    ),
    explains=("EXT001",),
)
def without_node_ports(case: Case) -> Iterator[Raised]:
    for service in case.services:
        lacking = [p for p in service.ports if not p.node_port]
        if (
            service.type != "LoadBalancer"
            or service.spec.allocate_load_balancer_node_ports is not False
            or not lacking
            or case.view.snapshot.would_be
        ):
            continue
        events = _complaints(case, service)
        signs = (*_proxies(service), *_cloud(case, service))
        if not events and not signs:
            continue
        body = '{"spec":{"allocateLoadBalancerNodePorts":true}}'
        yield Raised(
            (subject(service),),
            (
                "spec.allocateLoadBalancerNodePorts is false",
                f"no nodePort for port {listed(str(p.name or p.port) for p in lacking)}",
                *events[:3],
                *signs,
            ),
            "The balancer connects to a port of the nodes, and there is none for it."
            if events
            else "Balancers of this kind connect to a port of the nodes, and there is none. Nothing is wrong where "
            "this one sends to pods directly.",
            f"kubectl -n {service.namespace} patch svc {service.name} -p '{body}'",
            None if events else Severity.WARNING,
            "spec.allocateLoadBalancerNodePorts",
        )


def _complaints(case: Case, service: Service) -> list[str]:
    """Warnings of the balancer's controller that speak of nodePorts."""
    if not case.view.complete(Kind.EVENT, Scope(service.namespace)):
        return []
    name = ("Service", service.namespace, service.name)
    found = {
        f"event {e.reason}: {(e.message or '').splitlines()[0][:200]}": None
        for e in case.view.snapshot.of(Kind.EVENT)
        if e.type == "Warning"
        and e.message
        and (e.involved_object.kind, e.involved_object.namespace, e.involved_object.name) == name
        and NODE_PORT.search(e.message)
    }
    return list(found)


def _proxies(service: Service) -> Iterator[str]:
    for point in service.ingress_points:
        if point.ip_mode == "Proxy":
            yield f"{point.ip} has ipMode Proxy: the balancer makes connections of its own"


def _cloud(case: Case, service: Service) -> Iterator[str]:
    """The cloud whose balancer it seems to be: no class of another controller, and no trace of a balancer inside."""
    annotations = service.metadata.annotations or {}
    if service.spec.load_balancer_class not in INSTANCE_CLASSES:
        return
    if any(word in key for key in annotations for word in OWN_BALANCERS):
        return
    if annotations.get(TARGET_TYPE) == "ip" or annotations.get(AWS_TYPE) == "nlb-ip":
        return
    if not case.view.complete(Kind.NODE):
        return
    provider = next((n.spec.provider_id for n in case.view.snapshot.nodes if n.spec.provider_id), "")
    name = DIALS_NODES.get(provider.partition(":")[0])
    if name is not None:
        yield f"the nodes are of {provider.partition(':')[0]}, whose load balancer connects to nodePorts: {name}"
