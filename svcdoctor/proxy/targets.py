"""From a target's object to the pods behind it, and to the endpoints that a forwarded port has.

The remote port is a container's; for a Service it is the Service's, and each pod has its own targetPort for it, as
kubectl's port-forward resolves them. Pure: whoever watches the pods calls `endpoints` again when they change.

Specification: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.36/#serviceport-v1-core (targetPort)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from svcdoctor.cluster.selectors import selector_text
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.pod import ContainerPort, Pod
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.workload import Workload
from svcdoctor.proxy.arguments import PortRequest
from svcdoctor.proxy.endpoint import Endpoint

_SHOWN = 8
"""Ports that a message lists."""


@dataclass(frozen=True, slots=True)
class Selection:
    """The pods of a target: those of a label selector (as the API takes it), or one by its name."""

    namespace: str
    labels: str = ""
    pod: str = ""


def selection(target: KubeObject) -> Selection:
    """The pods behind a pod, a Service or a workload, whether there are any now or not.

    Raises SvcdoctorError for what never has pods: a Service without a selector, or of type ExternalName.
    """
    place = f"{target.kind} {target.namespace}/{target.name}"
    if isinstance(target, Pod):
        return Selection(target.namespace, pod=target.name)
    if isinstance(target, Service):
        if target.type == "ExternalName":
            raise SvcdoctorError(
                f"{place} has no pods: it is a DNS name for {target.spec.external_name or 'another host'}; "
                "connect to that host itself"
            )
        labels = selector_text({"matchLabels": target.spec.selector})
        mend = (
            "its endpoints are set by hand: name the pod behind it (pod/NAME), or connect to an address of "
            f"kubectl get endpointslices -n {target.namespace} -l kubernetes.io/service-name={target.name}"
        )
    elif isinstance(target, Workload):
        selector = target.spec.selector or {}
        if target.kind == "ReplicationController":
            selector = {"matchLabels": selector}
        labels = selector_text(selector)
        mend = "name one of its pods: pod/NAME"
    else:
        raise SvcdoctorError(f"{place} has no pods of its own; name a pod, a Service or a workload")
    if not labels:
        raise SvcdoctorError(f"{place} has no selector, and so no pods of its own; {mend}")
    return Selection(target.namespace, labels)


def endpoints(
    pods: Iterable[Pod], request: PortRequest, service: Service | None = None, *, named: bool = False
) -> list[Endpoint]:
    """Where connections to a forwarded port can go, one endpoint for each pod that is ready for them.

    Ready is a pod that runs, is not being deleted, and whose Ready condition is true. A pod that was ``named``
    itself only needs to run, as kubectl has it: it may be just its readiness that is to be looked into. Pods
    that lack a named port are left out. Raises SvcdoctorError, with the ports there are, where the Service has no
    such port, or none of the pods that live has it.
    """
    living = [pod for pod in pods if not pod.finished and (named or not pod.terminating)]
    remote = request.remote
    port = service_port(service, request) if service is not None else None
    if service is not None and port is not None:
        # There is no translation where there is no virtual address.
        remote = port.port if service.headless else port.target
    if isinstance(remote, int) and service is not None:
        numbers = [remote] * len(living)
    else:
        numbers = [_number(pod, remote, request.protocol) for pod in living]
    if living and not any(numbers):
        raise _no_such_port(living, request, remote, service)
    return [
        Endpoint(pod.ips[0] if pod.ips else "", number, pod.namespace, pod.name)
        for pod, number in zip(living, numbers, strict=True)
        if number and pod.status.phase == "Running" and (named or pod.ready)
    ]


def local_port(request: PortRequest, service: Service | None, endpoints: Sequence[Endpoint]) -> int | None:
    """The local port: the one that was named (0 for any), otherwise the number of the remote one.

    The number of a Service's port is its own, not the pod's. ``None`` while there is no pod that tells the number
    of a named port. Raises SvcdoctorError where the Service has no such port.
    """
    if request.local is not None:
        return request.local
    if isinstance(request.remote, int):
        return request.remote
    if service is not None:
        port = service_port(service, request)
        return port.port if port is not None else None
    return endpoints[0].port if endpoints else None


def service_port(service: Service, request: PortRequest) -> ServicePort | None:
    """The Service's port that is asked for; ``None`` for a number where a headless Service lists no ports, which
    has them all. Raises SvcdoctorError where there is none."""
    wanted, protocol = request.remote, request.protocol
    found = [p for p in service.ports if wanted == (p.port if isinstance(wanted, int) else p.name)]
    port = next((p for p in found if p.protocol == protocol), None)
    place = f"Service {service.namespace}/{service.name}"
    if port is None and found:
        raise _other_protocol(place, request, found[0].protocol)
    if port is None and (service.ports or not service.headless or not isinstance(wanted, int)):
        has = _listed([_described(p.port, p.name, p.protocol) for p in service.ports])
        raise SvcdoctorError(f"{place} has no port {wanted}; it has {has}")
    return port


def _number(pod: Pod, remote: int | str, protocol: str) -> int:
    """The port of a pod, 0 where it has none of that name, or declares the number for another protocol only."""
    ports = _ports(pod)
    if isinstance(remote, int):
        declared = {p.protocol for p in ports if p.container_port == remote}
        return 0 if declared == {"UDP"} and protocol == "TCP" else remote
    return next((p.container_port for p in ports if p.name == remote and p.protocol == protocol), 0)


def _ports(pod: Pod) -> list[ContainerPort]:
    return [port for container in pod.serving_containers for port in container.ports or ()]


def _no_such_port(
    pods: list[Pod], request: PortRequest, remote: int | str, service: Service | None
) -> SvcdoctorError:
    pod = pods[0]
    place = f"pod {pod.namespace}/{pod.name}"
    others = [p.protocol for p in _ports(pod) if remote in (p.name, p.container_port)]
    if others and service is None:
        return _other_protocol(place, request, others[0])
    has = _listed([_described(p.container_port, p.name, p.protocol) for p in _ports(pod)])
    if service is None:
        return SvcdoctorError(f"{place} has no port named {remote!r}; it has {has}")
    return SvcdoctorError(
        f"Service {service.namespace}/{service.name}: targetPort {remote!r} of port {request.remote} is no "
        f"{request.protocol} port of {place}, which has {has}; correct the targetPort, or name the pod's port "
        f"(pod/{pod.name} PORT)"
    )


def _other_protocol(place: str, request: PortRequest, protocol: str) -> SvcdoctorError:
    mend = f"say {request.text.partition('/')[0]}/{protocol.lower()}"
    if protocol not in ("TCP", "UDP"):
        mend = "only TCP and UDP can be forwarded"
    return SvcdoctorError(f"{place}: port {request.remote} is {protocol}, not {request.protocol}; {mend}")


def _described(number: int, name: str, protocol: str) -> str:
    return f"{number}{f' ({name})' if name else ''}{'' if protocol == 'TCP' else f'/{protocol}'}"


def _listed(ports: list[str]) -> str:
    if not ports:
        return "none that it declares"
    more = len(ports) - _SHOWN
    return ", ".join(ports[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
