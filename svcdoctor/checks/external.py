"""EXT001, EXT002, EXT004, EXT007, EXT012: load balancers, Ingress, IP families."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.path.ingress import backend_port, routes


@check(
    "EXT001",
    "The load balancer has no address",
    Severity.WARNING,
    meaning=(
        "EXTERNAL-IP stays <pending>: no controller has given the Service an address. A plain cluster, "
        "minikube and kind have none unless one is installed."
    ),
    look="kubectl get svc NAME; kubectl describe svc NAME (Events)",
)
def pending(case: Case) -> Iterator[Raised]:
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
        yield Raised((subject(service),), tuple(evidence), explanation, fix)


@check(
    "EXT002",
    "loadBalancerSourceRanges exclude the client",
    Severity.ERROR,
    meaning=(
        "The nodes drop traffic to the load balancer's address from clients outside these ranges, pods and "
        "nodes included. The nodePort stays open to all."
    ),
    look="kubectl get svc NAME -o jsonpath='{.spec.loadBalancerSourceRanges}'",
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
        )


@check(
    "EXT004",
    "IP families do not fit",
    Severity.ERROR,
    meaning="Client, Service and pods must share an IP family; what was asked for here does not exist.",
    look="kubectl get svc NAME -o jsonpath='{.spec.ipFamilies}'; kubectl get pods -o wide",
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
            )


def _dual_stack(service: Service) -> str:
    patch = '{"spec":{"ipFamilyPolicy":"PreferDualStack"}}'
    return f"kubectl -n {service.namespace} patch svc {service.name} -p '{patch}'"


@check(
    "EXT007",
    "Ingress names a Service or port that does not exist",
    Severity.ERROR,
    meaning="The Ingress controller finds no backend for the rule and answers 503 (some answer 404 or 500).",
    look="kubectl describe ingress NAME (Backends: <error: …>)",
)
def dangling_backend(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    if target.kind != "Ingress" or not case.outcomes("EXT007"):
        return
    view = case.view
    ingress = view.snapshot.ingress(target.namespace, target.name)
    reasons = {o.reason for o in case.outcomes("EXT007")}
    for route in routes(ingress) if ingress else ():
        backend = route.backend.target
        if backend is None:
            continue
        service = view.snapshot.service(target.namespace, backend.name)
        asked = backend.port.name or backend.port.number
        if service is None:
            if not any(f"/{backend.name} " in r for r in reasons):
                continue
            view.complete(Kind.SERVICE, Scope(target.namespace))
            names = [s.name for s in view.snapshot.services if s.namespace == target.namespace]
            near = near_names(backend.name, names)
            evidence = [f"{route.title} names Service {backend.name}, which does not exist"]
            evidence += [f"near names in {target.namespace}: {listed(near)}"] if near else []
        elif backend_port(service, backend.port) is None:
            offered = listed(f"{p.name or '-'} {p.port}" for p in service.ports)
            evidence = [f"{route.title} names port {asked} of Service {backend.name}, which has {offered}"]
        else:
            continue
        yield Raised(
            (target.subject, f"Service/{target.namespace}/{backend.name}"),
            tuple(evidence),
            "The rule leads nowhere; its requests are answered with an error by the controller.",
            f"kubectl -n {target.namespace} edit ingress {target.name}",
        )


@check(
    "EXT012",
    "No Ingress rule takes the request",
    Severity.ERROR,
    meaning="Host and path of the request match no rule, and there is no default backend: 404.",
    look="kubectl describe ingress NAME",
)
def no_rule(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    for outcome in case.outcomes("EXT012"):
        ingress = case.view.snapshot.ingress(target.namespace, target.name)
        rules = listed(r.title for r in routes(ingress)) if ingress else ""
        yield Raised(
            (target.subject,),
            (outcome.reason, f"rules: {rules or 'none'}"),
            "Prefix paths are compared element by element; Exact ones must be equal.",
            f"kubectl -n {target.namespace} edit ingress {target.name}",
        )
