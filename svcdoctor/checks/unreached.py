"""OBJ033: what manifests alone leave open: a Service without a workload, a container's port without a Service.

Only for a would-be cluster: manifests may be a part of what will be there, so this never says that requests fail.
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.checks.selection import maker_of
from svcdoctor.cluster.nearmiss import carriers_of, label_misses
from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.facts import WORKLOADS
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import ContainerPort, Pod
from svcdoctor.model.service import Service

# Ports by whose name one sees that others than a Service's clients ask them.
NOT_SERVED = (
    "metric",
    "prom",
    "health",
    "live",
    "ready",
    "readiness",
    "probe",
    "admin",
    "debug",
    "jmx",
    "pprof",
)


@check(
    "OBJ033",
    "Service and workloads of the manifests do not meet",
    Severity.WARNING,
    meaning=(
        "No workload among these manifests makes pods that the Service selects; or a container declares a port that "
        "no Service among them leads to. Either the other part is somewhere else, or it was forgotten."
    ),
    look="grep -n -A5 'selector:\\|labels:' (in the manifests); kubectl get pods -A -l SELECTOR (in the cluster)",
    mend=(
        "Give the Service's spec.selector the labels of the workload's spec.template.metadata.labels, or check both "
        "parts together. Give a port that clients ask a Service port."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#defining-a-service",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/",
    ),
    explains=("OBJ002",),
)
def unreached(case: Case) -> Iterator[Raised]:
    if not case.view.snapshot.would_be:
        return
    for service in case.services:
        if not service.spec.selector or service.type == "ExternalName":
            continue
        pods = case.selected(service)
        if pods:
            yield from _ports_without_service(case, service, pods)
        elif _nothing_near(case, service):
            yield _without_workload(case, service)


def _nothing_near(case: Case, service: Service) -> bool:
    """Whether no pod or template could have been meant: near labels, other namespaces and no replicas are told by
    OBJ002, OBJ003 and OBJ009."""
    selector = service.spec.selector or {}
    snapshot = case.view.snapshot
    misses = label_misses(selector, carriers_of(snapshot.pods_in(service.namespace)))
    if misses and misses[0].near:
        return False
    templates = [w for w in snapshot.workloads(WORKLOADS) if w.spec.template is not None]
    if any(matches_labels(selector, w.template_labels) for w in templates):
        return False
    return not any(matches_labels(selector, p.labels) for p in snapshot.pods)


def _without_workload(case: Case, service: Service) -> Raised:
    selector = service.spec.selector or {}
    words = ",".join(f"{k}={v}" for k, v in selector.items())
    snapshot = case.view.snapshot
    makers = [f"{w.kind} {w.name}" for w in snapshot.workloads(WORKLOADS) if w.namespace == service.namespace]
    return Raised(
        (subject(service),),
        (
            f"selector {words}",
            f"the manifests hold no pod for namespace {service.namespace}"
            if not makers
            else f"none of the templates in namespace {service.namespace} carries it, nor nearly: {listed(makers)}",
        ),
        "Unless the pods come from elsewhere, the Service will have no endpoints and refuse connections.",
        f"kubectl -n {service.namespace} get pods -l {words}",
        field="spec.selector",
    )


def _ports_without_service(case: Case, service: Service, pods: tuple[Pod, ...]) -> Iterator[Raised]:
    """Declared ports of the Service's pods that no Service leads to; one finding for each workload."""
    makers: dict[tuple[str, str], Pod] = {}
    for pod in pods:
        makers.setdefault(maker_of(pod), pod)
    for (kind, name), pod in makers.items():
        if pod.spec.host_network:
            continue
        services = case.view.snapshot.services_of(pod)
        if any(s.headless for s in services):
            continue  # clients get the pods' own addresses, and reach every port
        open_ports = [p for p in _asked_by_clients(pod) if not any(_leads_to(s, p) for s in services)]
        if open_ports:
            words = listed(
                f"{p.name or p.container_port} {p.container_port}/{p.protocol}" for p in open_ports
            )
            yield Raised(
                (f"{kind}/{pod.namespace}/{name or pod.name}",),
                (
                    f"declares {words}",
                    f"its Services are {listed(s.name for s in services)}, and none leads there",
                ),
                "Other pods can still reach the port at the pods' own addresses.",
                f"kubectl -n {service.namespace} expose {kind.lower()} {name or pod.name} "
                f"--name={service.name}-{open_ports[0].name or open_ports[0].container_port} "
                f"--port={open_ports[0].container_port}",
                Severity.INFO,
                "spec.template.spec.containers" if name else "spec.containers",
            )


def _asked_by_clients(pod: Pod) -> Iterator[ContainerPort]:
    """Declared ports without those of probes, of metrics, and of the node."""
    for container in pod.spec.containers or ():
        probe = container.readiness_probe
        for port in container.ports or ():
            probed = probe is not None and probe.port in (port.container_port, port.name or None)
            if not (probed or port.host_port or port.name.lower().startswith(NOT_SERVED)):
                yield port


def _leads_to(service: Service, port: ContainerPort) -> bool:
    return any(
        p.protocol == port.protocol and p.target in (port.container_port, port.name or None)
        for p in service.ports
    )
