"""OBJ018, OBJ022, OBJ026 to OBJ030: what a Service is, and where its endpoints come from."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, port_field, subject
from svcdoctor.model.endpoints import EndpointSlice
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.endpoints import SERVICE_LABEL, port_of


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
    mend=(
        "Give the Service a selector, or write an EndpointSlice with the label kubernetes.io/service-name: "
        "NAME."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
        "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/",
    ),
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
            field="spec.selector",
        )


@check(
    "OBJ022",
    "EndpointSlices do not fit the Service",
    Severity.ERROR,
    meaning=(
        "kube-proxy finds a Service's slices by the label kubernetes.io/service-name, and joins a Service port and a "
        "slice port by name and protocol. No slice has the label, or none has a port that fits."
    ),
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o yaml",
    mend=(
        "Give the slice's port the name and protocol of the Service's port (both may be empty), and the "
        "label kubernetes.io/service-name."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
        "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/",
    ),
    explains=("OBJ018", "OBJ019"),
)
def slice_port_names(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if service.type == "ExternalName" or not _slices_known(case, service):
            continue
        slices = [s for s in case.view.snapshot.slices(service.namespace, service.name) if s.endpoints]
        if not slices:
            yield from _unlabelled(case, service)
        if service.spec.selector:
            continue
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
                    field=port_field(service, port, "name"),
                )


def _unlabelled(case: Case, service: Service) -> Iterator[Raised]:
    """Slices that are this Service's by owner or name, but not by their label."""
    if not case.view.complete(Kind.ENDPOINT_SLICE, Scope(service.namespace)):
        return
    slices: tuple[EndpointSlice, ...] = case.view.snapshot.slices(service.namespace, "")
    meant = [s for s in slices if s.endpoints and _meant_for(s, service)]
    if meant:
        first = meant[0]
        yield Raised(
            (subject(service), *(f"EndpointSlice/{s.namespace}/{s.name}" for s in meant[:3])),
            (
                f"no EndpointSlice with endpoints carries {SERVICE_LABEL}={service.name}",
                f"EndpointSlice {first.name} has {len(first.endpoints or ())} endpoints, and no such label",
            ),
            "Without the label a slice is nobody's: kube-proxy and DNS do not see it.",
            f"kubectl -n {first.namespace} label endpointslice {first.name} {SERVICE_LABEL}={service.name}",
        )


def _meant_for(s: EndpointSlice, service: Service) -> bool:
    owner = s.metadata.owner
    if owner is not None:
        return (owner.kind, owner.name) == ("Service", service.name)
    return s.name == service.name or s.name.startswith(f"{service.name}-")


@check(
    "OBJ026",
    "Settings that a headless Service ignores",
    Severity.WARNING,
    meaning=(
        "kube-proxy is not involved in a headless Service: session affinity and internalTrafficPolicy have "
        "no effect."
    ),
    look="kubectl get svc NAME -o yaml",
    mend=(
        "Take the settings out, or give the Service a cluster IP; clusterIP cannot be changed, so the "
        "Service is deleted and created again."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#headless-services",
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#session-affinity",
    ),
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
                field=f"spec.{ignored[0].partition(':')[0]}",
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
    mend=(
        "Put a DNS name into spec.externalName. For an address outside use a Service without selector and an"
        " EndpointSlice."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#externalname",
        "https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors",
    ),
)
def external_name(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if service.type != "ExternalName":
            continue
        name = service.spec.external_name
        if not name:
            yield Raised(
                (subject(service),),
                ("type is ExternalName, spec.externalName is empty",),
                "DNS has nothing to answer with: the name resolves to nothing.",
                f"kubectl -n {service.namespace} edit svc {service.name}",
                field="spec.externalName",
            )
        elif canonical_or_none(name.strip("[]")) is not None:
            yield Raised(
                (subject(service),),
                (f"spec.externalName is {name}, an IP address",),
                "DNS answers with a CNAME to a name made of digits, which resolves to nothing. For an address "
                "outside, use a Service without selector and an EndpointSlice with that address.",
                f"kubectl -n {service.namespace} delete svc {service.name}  # then create one without selector, "
                "and an EndpointSlice",
                field="spec.externalName",
            )
        elif service.ports and not all(p.target == p.port for p in service.ports):
            yield Raised(
                (subject(service),),
                (f"ports {', '.join(f'{p.port} to {p.target}' for p in service.ports)} on an ExternalName",),
                "DNS only gives the name: clients dial the port that they were told, and nothing translates it. "
                "TLS and HTTP servers also see this Service's name, not their own.",
                f"kubectl -n {service.namespace} edit svc {service.name}",
                Severity.INFO,
                "spec.ports",
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
    mend=(
        "Use addresses that the network outside routes to the nodes, each with one Service only; a "
        "LoadBalancer is nearly always the better choice."
    ),
    links=("https://kubernetes.io/docs/concepts/services-networking/service/#external-ips",),
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
                "spec.externalIPs",
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
                    "spec.externalIPs",
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
                field="spec.externalIPs",
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
    mend="Remove the label from the Service unless another proxy is meant to serve it.",
    links=("https://kubernetes.io/docs/reference/labels-annotations-taints/",),
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
                field=f"metadata.labels['{label}']",
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
    mend=(
        "Ask the node on which the pod runs, or expose the pod by a Service of type NodePort, which every "
        "node answers."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/configuration/overview/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
    ),
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
