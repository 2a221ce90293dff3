"""EXT001, EXT002, EXT004: load balancers, IP families."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service


@check(
    "EXT001",
    "The load balancer has no address",
    Severity.WARNING,
    meaning=(
        "EXTERNAL-IP stays <pending>: no controller has given the Service an address. A plain cluster, "
        "minikube and kind have none unless one is installed."
    ),
    look="kubectl get svc NAME; kubectl describe svc NAME (Events)",
    mend=(
        "Install or mend the controller that gives addresses (a cloud's, MetalLB, minikube tunnel, cloud-"
        "provider-kind): the Service's events say what it lacks. Until then use the nodePort."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer",
        "https://kubernetes.io/docs/tasks/access-application-cluster/create-external-load-balancer/",
    ),
)
def pending(case: Case) -> Iterator[Raised]:
    if case.view.snapshot.would_be:
        return  # no manifest says the address
    for service in case.services:
        if service.type != "LoadBalancer" or service.ingress_points:
            continue
        view = case.view
        evidence = ["status.loadBalancer.ingress is empty"]
        if service.spec.load_balancer_class:
            evidence.append(f"loadBalancerClass is {service.spec.load_balancer_class}")
        if view.complete(Kind.EVENT, Scope(service.namespace)):
            evidence += [
                f"event {e.reason}: {e.message}"
                for e in view.snapshot.of(Kind.EVENT)
                if e.involved_object.kind == "Service"
                and (e.involved_object.namespace, e.involved_object.name) == (service.namespace, service.name)
                and e.type == "Warning"
            ][:3]
        nodes = view.snapshot.nodes
        if any("minikube.k8s.io/name" in n.labels or n.name == "minikube" for n in nodes):
            evidence.append("this is minikube: it has a load balancer only while minikube tunnel runs")
            fix = "minikube tunnel"
        elif any(n.spec.provider_id.startswith("kind://") for n in nodes):
            evidence.append("this is kind: cloud-provider-kind gives addresses")
            fix = "cloud-provider-kind"
        else:
            fix = f"kubectl -n {service.namespace} describe svc {service.name}"
        ports = [f"{p.node_port}" for p in service.ports if p.node_port]
        explanation = "Nothing outside answers for this Service by a load balancer."
        if ports:
            explanation += f" Until then its nodePort {listed(ports)} works on every node's address."
        field = "spec.loadBalancerClass" if service.spec.load_balancer_class else "spec.type"
        yield Raised((subject(service),), tuple(evidence), explanation, fix, field=field)


@check(
    "EXT002",
    "loadBalancerSourceRanges exclude the client",
    Severity.ERROR,
    meaning=(
        "The nodes drop traffic to the load balancer's address from clients outside these ranges, pods and "
        "nodes included. The nodePort stays open to all."
    ),
    look="kubectl get svc NAME -o jsonpath='{.spec.loadBalancerSourceRanges}'",
    mend=(
        "Add the client's network to spec.loadBalancerSourceRanges: the address that the nodes see, which "
        "may be a NAT's."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#loadbalancer",
        "https://kubernetes.io/docs/tutorials/services/source-ip/",
    ),
)
def source_ranges(case: Case) -> Iterator[Raised]:
    outcomes = case.outcomes("EXT002")
    for service in case.services if outcomes else ():
        ranges = service.spec.load_balancer_source_ranges or ()
        clients = sorted({p.client.ip for p in case.trace.paths if p.client.ip})
        yield Raised(
            (subject(service),),
            (f"client {listed(clients)}", f"loadBalancerSourceRanges: {listed(ranges)}"),
            "The client's address is in none of the ranges: its packets are dropped, and it times out.",
            f"kubectl -n {service.namespace} edit svc {service.name}",
            field="spec.loadBalancerSourceRanges",
        )


@check(
    "EXT004",
    "IP families do not fit",
    Severity.ERROR,
    meaning="Client, Service and pods must share an IP family; what was asked for here does not exist.",
    look="kubectl get svc NAME -o jsonpath='{.spec.ipFamilies}'; kubectl get pods -o wide",
    mend=(
        "Ask by an address of the client's family, or set spec.ipFamilyPolicy to PreferDualStack where nodes"
        " and pods have both."
    ),
    links=("https://kubernetes.io/docs/concepts/services-networking/dual-stack/",),
)
def families(case: Case) -> Iterator[Raised]:
    asked = case.outcomes("EXT004")
    for service in case.services:
        named = service.spec.ip_families or ()
        if asked:
            yield Raised(
                (subject(service),),
                (*dict.fromkeys(o.reason for o in asked), f"ipFamilies: {listed(named)}"),
                "The client and the address that it asks must be of one IP family.",
                _dual_stack(service)
                if len(named) < 2
                else f"kubectl -n {service.namespace} get svc {service.name} -o jsonpath='{{.spec.clusterIPs}}'",
                field="spec.ipFamilies",
            )
            continue
        pods = [p for p in case.selected(service) if p.ips and p.ready]
        if not pods or service.type == "ExternalName" or case.usable(service):
            continue
        lacking = [f for f in named if not any((":" in ip) == (f == "IPv6") for p in pods for ip in p.ips)]
        if lacking and len(lacking) == len(named):
            yield Raised(
                (subject(service),),
                (f"ipFamilies: {listed(named)}", f"the pods have {listed(pods[0].ips)} only"),
                "No pod has an address of the Service's family, so it has no endpoints.",
                f"kubectl -n {service.namespace} get svc {service.name} -o yaml",
                field="spec.ipFamilies",
            )


def _dual_stack(service: Service) -> str:
    patch = '{"spec":{"ipFamilyPolicy":"PreferDualStack"}}'
    return f"kubectl -n {service.namespace} patch svc {service.name} -p '{patch}'"
