"""What the cluster would hold if manifests were applied: pods and EndpointSlices that controllers would make.

Workload templates become would-be pods, Ready and without a node; Services with a selector get the slices
that the EndpointSlice controller would write. Addresses are placeholders of the benchmarking range
198.18.0.0/15 (RFC 2544) and 2001:2::/48 (RFC 5180), which no cluster uses; reports show none of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

import msgspec

from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.base import KubeObject, Meta, OwnerReference
from svcdoctor.model.endpoints import (
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    ObjectReference,
    SliceEndpoint,
)
from svcdoctor.model.pod import IP, Condition, Pod, PodStatus
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.workload import Workload

MAX_REPLICAS = 1000  # would-be pods of one workload

_V4 = int(ipaddress.IPv4Address("198.18.0.1"))
_V6 = int(ipaddress.IPv6Address("2001:2::1"))
PLACEHOLDERS = ("198.18.0.0/15", "2001:2::/48")
_BEGINNINGS = ("198.18.", "198.19.", "2001:2:0:", "2001:2::")  # of their addresses, as text


def is_placeholder(address: str | None) -> bool:
    """Whether the address stands for one that does not exist yet."""
    return address is not None and address.startswith(_BEGINNINGS)


def would_be(objects: Iterable[KubeObject]) -> list[KubeObject]:
    """``objects`` with what controllers would add: pods, cluster IPs, EndpointSlices."""
    given = list(objects)
    addresses = iter(range(1, 1 << 17))
    made: list[Pod] = [_placed(o, next(addresses)) for o in given if isinstance(o, Pod)]
    for o in given:
        if isinstance(o, Workload) and o.metadata.owner is None and o.spec.template is not None:
            made += _pods_of(o, addresses)
    services = [_allocated(o, next(addresses)) for o in given if isinstance(o, Service)]
    carriers = _by_label(made)
    slices: list[KubeObject] = [s for service in services for s in _slices_of(service, carriers)]
    rest = [o for o in given if not isinstance(o, Pod | Service)]
    return [*rest, *services, *made, *slices]


def _placed(pod: Pod, number: int) -> Pod:
    """The pod as it would run: Ready, with addresses."""
    ips = (IP(ip=str(ipaddress.IPv4Address(_V4 + number))), IP(ip=str(ipaddress.IPv6Address(_V6 + number))))
    status = PodStatus(
        phase="Running",
        pod_ip=ips[0].ip,
        pod_ips=ips,
        conditions=(Condition(type="Ready", status="True"), Condition(type="ContainersReady", status="True")),
    )
    return Pod.of(pod.metadata, pod.spec, status)


def _pods_of(workload: Workload, addresses: Iterator[int]) -> Iterator[Pod]:
    template = workload.spec.template
    if template is None:
        return
    replicas = 1 if workload.spec.replicas is None else workload.spec.replicas
    owner = OwnerReference(kind=workload.kind, name=workload.name, controller=True)
    for i in range(min(max(replicas, 0), MAX_REPLICAS)):
        meta = Meta(
            name=f"{workload.name}-{i}",
            namespace=workload.namespace,
            labels=template.metadata.labels,
            owner_references=(owner,),
        )
        yield _placed(Pod.of(meta, template.spec, PodStatus()), next(addresses))


def _allocated(service: Service, number: int) -> Service:
    """The Service with the defaults and the cluster IP that the API server would give it."""
    spec = service.spec
    if service.type == "ExternalName" or service.headless:
        return service
    families = spec.ip_families or tuple("IPv6" if ":" in ip else "IPv4" for ip in service.cluster_ips)
    families = families or ("IPv4",)
    if spec.ip_family_policy in ("PreferDualStack", "RequireDualStack") and len(families) == 1:
        families = (*families, "IPv6" if families[0] == "IPv4" else "IPv4")
    ips = service.cluster_ips or tuple(
        str(ipaddress.IPv6Address(_V6 + number) if f == "IPv6" else ipaddress.IPv4Address(_V4 + number))
        for f in families
    )
    replaced = msgspec.structs.replace(
        spec,
        cluster_ip=ips[0],
        cluster_ips=ips,
        ip_families=families,
        internal_traffic_policy=spec.internal_traffic_policy or "Cluster",
    )
    return msgspec.structs.replace(service, spec=replaced)


_Carriers = dict[tuple[str, str, str], list[Pod]]  # by namespace, label and value


def _by_label(pods: Iterable[Pod]) -> _Carriers:
    found: _Carriers = {}
    for pod in pods:
        for key, value in pod.labels.items():
            found.setdefault((pod.namespace, key, value), []).append(pod)
    return found


def _slices_of(service: Service, carriers: _Carriers) -> Iterator[EndpointSlice]:
    selector = service.spec.selector
    if not selector or service.type == "ExternalName":
        return
    lists = [carriers.get((service.namespace, k, v), []) for k, v in selector.items()]
    chosen = [p for p in min(lists, key=len) if matches_labels(selector, p.labels)]
    families = service.spec.ip_families or ("IPv4",)
    for family in families:
        groups: dict[tuple[EndpointPort, ...], list[Pod]] = {}
        for pod in chosen:
            groups.setdefault(tuple(_resolved(service.ports, pod)), []).append(pod)
        for n, (ports, members) in enumerate(groups.items()):
            endpoints = tuple(
                SliceEndpoint(
                    addresses=(next(ip for ip in p.ips if (":" in ip) == (family == "IPv6")),),
                    conditions=EndpointConditions(ready=True, serving=True, terminating=False),
                    target_ref=ObjectReference(kind="Pod", namespace=p.namespace, name=p.name),
                )
                for p in members
            )
            meta = Meta(
                name=f"{service.name}-{family.lower()}-{n}",
                namespace=service.namespace,
                labels={"kubernetes.io/service-name": service.name},
            )
            yield EndpointSlice(
                kind="EndpointSlice",
                api_version="discovery.k8s.io/v1",
                metadata=meta,
                address_type=family,
                endpoints=endpoints,
                ports=ports or None,
            )


def _resolved(ports: Iterable[ServicePort], pod: Pod) -> Iterator[EndpointPort]:
    """The slice ports that the controller would write for this pod; a name it cannot find is left out."""
    for port in ports:
        number: int | None = None
        if isinstance(port.target, int):
            number = port.target
        else:
            for container in pod.serving_containers:
                for p in container.ports or ():
                    if p.name == port.target and p.protocol == port.protocol:
                        number = number or p.container_port
        if number is not None:
            yield EndpointPort(name=port.name, port=number, protocol=port.protocol)
