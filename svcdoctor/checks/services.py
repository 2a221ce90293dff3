"""OBJ018, OBJ022, OBJ023, OBJ026 to OBJ030: what a Service is, and where its endpoints come from."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.endpoints import port_of
from svcdoctor.path.tracing import SERVICE_LABEL


def _slices_known(case: Case, service: Service) -> bool:
    return case.view.complete(Kind.ENDPOINT_SLICE, Scope(service.namespace, ((SERVICE_LABEL, service.name),)))


@check(
    "OBJ018",
    "Service without selector and without EndpointSlices",
    Severity.ERROR,
    meaning=(
        "A Service without a selector gets no endpoints by itself: somebody must write EndpointSlices for "
        "it, and nobody has."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME",
)
def no_selector_no_slices(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if service.spec.selector or service.type == "ExternalName" or not _slices_known(case, service):
            continue
        slices = case.view.snapshot.slices(service.namespace, service.name)
        old = case.view.snapshot.endpoints(service.namespace, service.name)
        if any(s.endpoints for s in slices) or (not slices and old is not None and old.subsets):
            continue
        yield Raised(
            (subject(service),),
            (
                "spec.selector is empty",
                f"no EndpointSlice in {service.namespace} carries {SERVICE_LABEL}={service.name}",
            ),
            "With neither a selector nor EndpointSlices there is nowhere to send to: connections are refused.",
            f"kubectl -n {service.namespace} patch svc {service.name} "
            '-p \'{"spec":{"selector":{"app":"NAME-OF-YOUR-APP"}}}\'',
        )


@check(
    "OBJ022",
    "EndpointSlices do not fit the Service's ports",
    Severity.ERROR,
    meaning=(
        "kube-proxy joins a Service port and a slice port by name and protocol. No slice of the Service has a "
        "port that fits."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml",
)
def slice_port_names(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if service.spec.selector or not _slices_known(case, service):
            continue
        slices = [s for s in case.view.snapshot.slices(service.namespace, service.name) if s.endpoints]
        for port in service.ports if slices else ():
            if all(port_of(s.ports or (), port) is None for s in slices):
                offered = listed(
                    f"{p.name or '(no name)'} {p.port}/{p.protocol}" for s in slices for p in s.ports or ()
                )
                yield Raised(
                    (subject(service), *(f"EndpointSlice/{s.namespace}/{s.name}" for s in slices[:3])),
                    (
                        f"Service port {port.name or '(no name)'} {port.port}/{port.protocol}",
                        f"slice ports: {offered or 'none'}",
                    ),
                    "The names (or protocols) differ, so this port has no endpoints.",
                    f"kubectl -n {slices[0].namespace} edit endpointslice {slices[0].name}",
                )


@check(
    "OBJ019",
    "EndpointSlices do not follow the pods",
    Severity.ERROR,
    meaning=(
        "Ready pods match the selector, but the Service's EndpointSlices do not list them: the EndpointSlice "
        "controller (in kube-controller-manager) is behind or not running."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME; kubectl get pods -l SELECTOR",
)
def slices_behind(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if not service.spec.selector or case.view.snapshot.would_be or not _slices_known(case, service):
            continue
        slices = case.view.snapshot.slices(service.namespace, service.name)
        listed_names = {
            e.target_ref.name for s in slices for e in s.endpoints or () if e.target_ref is not None
        }
        ready = [p for p in case.selected(service) if p.ready and not p.terminating and p.ips]
        missing = [p.name for p in ready if p.name not in listed_names]
        if ready and len(missing) == len(ready):
            yield Raised(
                (subject(service),),
                (
                    f"{len(ready)} ready pods match the selector: {listed(missing, 3)}",
                    f"{len(slices)} EndpointSlices of the Service list none of them",
                ),
                "The pods are fine and selected; nobody has written them into EndpointSlices.",
                "kubectl -n kube-system get pods -l component=kube-controller-manager",
            )


@check(
    "OBJ023",
    "An EndpointSlice points at a pod that does not exist",
    Severity.WARNING,
    meaning="Connections to that endpoint go to an address that nobody, or somebody else, has now.",
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml",
)
def dead_endpoint(case: Case) -> Iterator[Raised]:
    outcomes = case.outcomes("OBJ023")
    for service in case.services if outcomes else ():
        yield Raised(
            (subject(service),),
            tuple(dict.fromkeys(o.reason for o in outcomes)),
            "The endpoint is stale: its pod is gone.",
            f"kubectl -n {service.namespace} get endpointslices -l {SERVICE_LABEL}={service.name} -o yaml",
        )


@check(
    "OBJ026",
    "Settings that a headless Service ignores",
    Severity.WARNING,
    meaning=(
        "kube-proxy is not involved in a headless Service: session affinity and internalTrafficPolicy have "
        "no effect."
    ),
    look="kubectl get svc NAME -o yaml",
)
def headless_settings(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if not service.headless:
            continue
        ignored = []
        if service.spec.session_affinity == "ClientIP":
            ignored.append("sessionAffinity: ClientIP")
        if service.internal_local:
            ignored.append("internalTrafficPolicy: Local")
        if ignored:
            yield Raised(
                (subject(service),),
                ("clusterIP is None", *ignored),
                "Clients choose among the pods' addresses themselves; give the Service a cluster IP if these "
                "settings matter.",
                f"kubectl -n {service.namespace} edit svc {service.name}",
            )


@check(
    "OBJ027",
    "ExternalName is misused",
    Severity.ERROR,
    meaning=(
        "An ExternalName becomes a CNAME record: it must be a DNS name. An IP address there is taken for a "
        "name that does not exist, and ports on an ExternalName do nothing."
    ),
    look="kubectl get svc NAME -o jsonpath='{.spec.externalName}'",
)
def external_name(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if service.type != "ExternalName":
            continue
        name = service.spec.external_name
        if canonical_or_none(name.strip("[]")) is not None:
            yield Raised(
                (subject(service),),
                (f"spec.externalName is {name}, an IP address",),
                "DNS answers with a CNAME to a name made of digits, which resolves to nothing. For an address "
                "outside, use a Service without selector and an EndpointSlice with that address.",
                f"kubectl -n {service.namespace} delete svc {service.name}  # then create one without selector, "
                "and an EndpointSlice",
            )
        elif service.ports and not all(p.target == p.port for p in service.ports):
            yield Raised(
                (subject(service),),
                (f"ports {', '.join(f'{p.port} to {p.target}' for p in service.ports)} on an ExternalName",),
                "DNS only gives the name: clients dial the port that they were told, and nothing translates it. "
                "TLS and HTTP servers also see this Service's name, not their own.",
                f"kubectl -n {service.namespace} edit svc {service.name}",
                Severity.INFO,
            )


@check(
    "OBJ028",
    "externalIPs are not a node's, or clash",
    Severity.INFO,
    meaning=(
        "Kubernetes does not bring traffic for spec.externalIPs to the nodes: some route outside must. On a "
        "headless Service kube-proxy ignores them; two Services with one address and port shadow each other."
    ),
    look="ip route get ADDRESS (from the client)",
)
def external_ips(case: Case) -> Iterator[Raised]:
    for service in case.services:
        ips = [c for ip in service.spec.external_ips or () if (c := canonical_or_none(ip))]
        if not ips:
            continue
        if service.headless:
            yield Raised(
                (subject(service),),
                (f"externalIPs {listed(ips)}", "clusterIP is None"),
                "kube-proxy programs nothing for a headless Service, so nobody answers at these addresses.",
                f"kubectl -n {service.namespace} edit svc {service.name}",
                Severity.ERROR,
            )
            continue
        everywhere = case.view.snapshot.knows(Kind.SERVICE)
        for other in case.view.snapshot.services if everywhere else ():
            ports = {(p.port, p.protocol) for p in service.ports}
            shared = set(ips) & set(other.spec.external_ips or ())
            clash = ports & {(p.port, p.protocol) for p in other.ports}
            if (other.namespace, other.name) != (service.namespace, service.name) and shared and clash:
                yield Raised(
                    (subject(service), subject(other)),
                    (f"both claim {listed(sorted(shared))} port {sorted(clash)[0][0]}",),
                    "Only one of the two gets the traffic.",
                    f"kubectl -n {other.namespace} edit svc {other.name}",
                    Severity.WARNING,
                )
        if not case.view.complete(Kind.NODE):
            continue
        lost = [ip for ip in ips if ip not in case.view.snapshot.nodes_by_ip]
        if lost:
            yield Raised(
                (subject(service),),
                (f"no node has {listed(lost)} among its addresses",),
                "Traffic for these addresses must be routed to a node by the network outside; from the objects "
                "nobody can tell whether it is.",
                f"ip route get {lost[0]}",
            )


@check(
    "OBJ029",
    "A label keeps kube-proxy away from the Service",
    Severity.WARNING,
    meaning=(
        "kube-proxy leaves Services with the label service.kubernetes.io/service-proxy-name or "
        "service.kubernetes.io/headless alone: no node has rules for them, unless another proxy has."
    ),
    look="kubectl get svc NAME --show-labels",
)
def foreign_proxy(case: Case) -> Iterator[Raised]:
    for service in case.services:
        label = service.foreign_proxy
        if label is not None:
            yield Raised(
                (subject(service),),
                (f"label {label}={service.labels[label]}",),
                "Unless the proxy that the label names runs in this cluster, the cluster IP and the nodePorts "
                "answer nobody: requests time out.",
                f"kubectl -n {service.namespace} label svc {service.name} {label}-",
            )


@check(
    "OBJ030",
    "A hostPort answers on the pod's own node only",
    Severity.ERROR,
    meaning=(
        "A hostPort is a port mapping on the node where the pod runs, made by the CNI with packet rules: "
        "other nodes do not have it, and no process listens on it."
    ),
    look="kubectl get pod POD -o wide; iptables -t nat -S | grep hostport",
)
def host_port_elsewhere(case: Case) -> Iterator[Raised]:
    for path in case.trace.paths:
        for outcome in path.outcomes:
            if outcome.code != "OBJ030":
                continue
            held = [
                (pod, p)
                for pod in case.view.snapshot.pods
                for c in pod.serving_containers
                for p in c.ports or ()
                if p.host_port == path.entry.port
            ]
            pod, port = held[0]
            yield Raised(
                (case.trace.target.subject, f"Pod/{pod.namespace}/{pod.name}"),
                (outcome.reason,),
                "A Service of type NodePort answers on every node; a hostPort does not.",
                f"kubectl -n {pod.namespace} expose pod {pod.name} --type=NodePort --port={port.container_port}",
            )
