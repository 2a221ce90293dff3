"""OBJ010 to OBJ015, OBJ025: the ports between the Service and its pods."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import (
    Case,
    Raised,
    check,
    listed,
    patch_port,
    pod_subject,
    port_field,
    subject,
)
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import ContainerPort, Pod
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.trace import Outcome, Status


def _declared(pod: Pod) -> list[ContainerPort]:
    return [p for c in pod.serving_containers for p in c.ports or ()]


def _named_ports(case: Case) -> Iterator[tuple[Service, ServicePort, str, tuple[Pod, ...]]]:
    """Service ports whose targetPort is a name, with the pods that must resolve it."""
    for service in case.services:
        pods = tuple(p for p in case.selected(service) if not p.terminating)
        for port in service.ports:
            if isinstance(port.target, str) and not port.target.isdecimal() and pods:
                yield service, port, port.target, pods


def _words(ports: list[ContainerPort]) -> str:
    return listed(f"{p.name or '-'} {p.container_port}/{p.protocol}" for p in ports) or "none"


@check(
    "OBJ010",
    "Named targetPort exists in no selected pod",
    Severity.ERROR,
    meaning=(
        "The targetPort is a name, and no container of the selected pods has a port of that name: the "
        "EndpointSlice has no port, and connections are refused."
    ),
    look="kubectl get pods -l SELECTOR -o jsonpath='{.items[*].spec.containers[*].ports}'",
    mend=(
        "Set spec.ports[].targetPort to a name or number that the containers declare, or give the "
        "container's port that name (ports[].name)."
    ),
    links=("https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",),
)
def name_in_no_pod(case: Case) -> Iterator[Raised]:
    for service, port, name, pods in _named_ports(case):
        declared = {(p.name, p.container_port, p.protocol): p for pod in pods for p in _declared(pod)}
        if any(p.name == name for p in declared.values()):
            continue
        offered = list(declared.values())
        near = near_names(name, (p.name for p in offered if p.name))
        fitting = [p for p in offered if p.protocol == port.protocol]
        if near:
            fix = patch_port(service, port, "targetPort", near[0])
        elif len(fitting) == 1:
            fix = patch_port(service, port, "targetPort", fitting[0].name or fitting[0].container_port)
        else:
            fix = f"kubectl -n {service.namespace} edit svc {service.name}"
        yield Raised(
            (subject(service),),
            (
                f"targetPort {name!r} of port {port.name or port.port}: no container port has this name",
                f"the {len(pods)} selected pods declare: {_words(offered)}",
                *((f"near: {listed(near)}",) if near else ()),
            ),
            "A named targetPort is looked up among the container ports of each pod; this name is not there.",
            fix,
            field=port_field(service, port, "targetPort"),
        )


@check(
    "OBJ011",
    "Named targetPort exists with another protocol",
    Severity.ERROR,
    meaning="The containers name this port, but for another protocol; name and protocol must both fit.",
    look="kubectl get pods -l SELECTOR -o jsonpath='{.items[*].spec.containers[*].ports}'",
    mend="Give the Service's port and the container's port of that name the same protocol.",
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
        "https://kubernetes.io/docs/reference/networking/service-protocols/",
    ),
)
def name_with_other_protocol(case: Case) -> Iterator[Raised]:
    for service, port, name, pods in _named_ports(case):
        same = [p for pod in pods for p in _declared(pod) if p.name == name]
        others = sorted({p.protocol for p in same})
        if same and port.protocol not in others:
            yield Raised(
                (subject(service),),
                (
                    f"the Service port {port.name or port.port} is {port.protocol}",
                    f"the container port {name} ({same[0].container_port}) is {listed(others)}",
                ),
                f"No container port is named {name} for {port.protocol}, so the port has no endpoints.",
                patch_port(service, port, "protocol", others[0]),
                field=port_field(service, port, "protocol"),
            )


@check(
    "OBJ012",
    "Named targetPort is missing on some pods",
    Severity.WARNING,
    meaning="Some of the selected pods have no port of this name: they get no traffic on it.",
    look="kubectl get endpointslices -l kubernetes.io/service-name=NAME -o wide",
    mend=(
        "Give every workload that the selector matches a container port of that name, or narrow "
        "spec.selector to those that have it."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
        "https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/",
    ),
)
def name_in_some_pods(case: Case) -> Iterator[Raised]:
    for service, port, name, pods in _named_ports(case):
        having = [
            pod for pod in pods if any(p.name == name and p.protocol == port.protocol for p in _declared(pod))
        ]
        lacking = [pod for pod in pods if pod not in having]
        if having and lacking:
            yield Raised(
                (subject(service), *(pod_subject(p) for p in lacking[:5])),
                (
                    f"{len(having)} of {len(pods)} pods have a port named {name}: "
                    f"{listed((p.name for p in having), 3)}",
                    f"without it: {listed(p.name for p in lacking)}, which declare {_words(_declared(lacking[0]))}",
                ),
                f"Only the pods that name the port {name} are endpoints of port {port.name or port.port}.",
                f"kubectl -n {service.namespace} get pods "
                f"-l {','.join(f'{k}={v}' for k, v in (service.spec.selector or {}).items())} "
                "-o custom-columns=NAME:.metadata.name,PORTS:.spec.containers[*].ports[*].name",
                field=port_field(service, port, "targetPort"),
            )


@check(
    "OBJ013",
    "Numeric targetPort is declared by no container",
    Severity.WARNING,
    meaning=(
        "The containers declare ports, but not this one. Declarations are documentation only, so it may "
        "still work; usually it is a wrong number and connections are refused."
    ),
    look="kubectl exec POD -- cat /proc/net/tcp (listening sockets)",
    mend=(
        "Set spec.ports[].targetPort to the number that the application listens on. Declare it as a "
        "containerPort too: then everybody can see it."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
    ),
)
def number_not_declared(case: Case) -> Iterator[Raised]:
    for service in case.services:
        for port in service.ports:
            target = port.target
            if not isinstance(target, int) or service.headless:
                continue
            pods = [p for p in case.selected(service) if _declared(p)]
            lacking = [p for p in pods if not any(d.container_port == target for d in _declared(p))]
            lacking = [p for p in lacking if not case.seen_to_listen(p, target, port.protocol)]
            if not lacking:
                continue
            offered = {(d.container_port, d.protocol): d for p in lacking for d in _declared(p)}
            fitting = [d for d in offered.values() if d.protocol == port.protocol]
            fix = (
                patch_port(service, port, "targetPort", fitting[0].container_port)
                if len(fitting) == 1
                else f"kubectl -n {service.namespace} edit svc {service.name}"
            )
            certain = {o.reason for o in case.outcomes("OBJ013") if o.status is Status.FAIL}
            yield Raised(
                (subject(service), *(pod_subject(p) for p in lacking[:5])),
                (
                    f"targetPort {target} of port {port.name or port.port}",
                    f"{len(lacking)} pods declare only {_words(list(offered.values()))}",
                    *sorted(certain),
                ),
                f"If nothing listens on {target}, the pods refuse the connection.",
                fix,
                Severity.ERROR if certain else None,
                port_field(service, port, "targetPort"),
            )


@check(
    "OBJ014",
    "targetPort is a quoted number",
    Severity.ERROR,
    meaning=(
        "A targetPort written as a string is a port's name, and a name must hold a letter: the API server "
        "rejects the manifest."
    ),
    look="grep -n 'targetPort: \"' manifest.yaml",
    mend="Write the number without quotes (targetPort: 8080), or the name that the container's port has.",
    links=("https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",),
)
def quoted_number(case: Case) -> Iterator[Raised]:
    for service in case.services:
        for port in service.ports:
            if isinstance(port.target_port, str) and port.target_port.isdecimal():
                yield Raised(
                    (subject(service),),
                    (f'targetPort is the string "{port.target_port}", not the number {port.target_port}',),
                    "The API server answers: must contain at least one letter (a-z). Remove the quotes.",
                    f"targetPort: {port.target_port}",
                    field=port_field(service, port, "targetPort"),
                )


def _pods_of(outcomes: list[Outcome]) -> list[str]:
    return list(dict.fromkeys(o.backend.pod for o in outcomes if o.backend and o.backend.pod))


@check(
    "OBJ015",
    "Service protocol differs from the application's",
    Severity.ERROR,
    meaning=(
        "The containers declare this port number for another protocol than the Service's: a TCP connection "
        "to a UDP server is refused, a UDP datagram to a TCP server is lost."
    ),
    look="kubectl get svc NAME -o wide; kubectl get pods -o jsonpath='{..ports}'",
    mend=(
        "Set spec.ports[].protocol to what the application speaks; for both protocols write two ports with "
        "two names."
    ),
    links=(
        "https://kubernetes.io/docs/reference/networking/service-protocols/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#multi-port-services",
    ),
    explains=("OBJ013",),
)
def protocol_differs(case: Case) -> Iterator[Raised]:
    for service in case.services:
        for port in service.ports:
            pods = case.selected(service)
            wrong = [
                (pod, d)
                for pod in pods
                for d in _declared(pod)
                if port.target in (d.container_port, d.name)
                and isinstance(port.target, int)
                and d.protocol != port.protocol
                and not any(
                    e.container_port == d.container_port and e.protocol == port.protocol
                    for e in _declared(pod)
                )
            ]
            if wrong and len(wrong) == len(pods):
                pod, declared = wrong[0]
                yield Raised(
                    (subject(service), *(pod_subject(p) for p, _ in wrong[:3])),
                    (
                        f"Service port {port.name or port.port} is {port.protocol}, targetPort {port.target}",
                        f"pod {pod.name} declares {declared.container_port}/{declared.protocol} only",
                    ),
                    f"The Service forwards {port.protocol}; the application speaks {declared.protocol}.",
                    patch_port(service, port, "protocol", declared.protocol),
                    field=port_field(service, port, "protocol"),
                )


@check(
    "OBJ025",
    "A headless Service does not translate ports",
    Severity.WARNING,
    meaning=(
        "DNS answers with the pods' own addresses, so clients reach the pods at the port that they dial: the "
        "targetPort is used in SRV records only."
    ),
    look="kubectl get svc NAME -o jsonpath='{.spec.clusterIP} {.spec.ports}'",
    mend=(
        "Make port and targetPort of the headless Service the same number, or let clients take the port from"
        " SRV records."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#headless-services",
        "https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/#srv-records",
    ),
)
def headless_port(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if not service.headless:
            continue
        outcomes = case.outcomes("OBJ025")
        for port in service.ports:
            mine = [o for o in outcomes if o.backend and o.backend.port == port.port]
            if mine and port.target != port.port:
                yield Raised(
                    (subject(service),),
                    (
                        "clusterIP is None",
                        f"port {port.port}, targetPort {port.target}: clients dial {port.port} on the pods",
                        f"{len(_pods_of(mine))} pods do not declare {port.port}",
                    ),
                    f"Nothing translates {port.port} to {port.target}: clients must dial the pods' port, which "
                    f"SRV records give, or the Service's port must equal it.",
                    patch_port(service, port, "port", port.target),
                    field=port_field(service, port, "port"),
                )
