"""EXT005: the Services' address range is also somebody else's."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.cluster import ServiceCIDR
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.model.trace import Result
from svcdoctor.path.ranges import Overlap, Whose


@check(
    "EXT005",
    "The Service range overlaps another network",
    Severity.WARNING,
    meaning=(
        "Cluster IPs exist in the nodes' rules only, so their range must be nobody else's. Where pods, nodes or a "
        "network behind a VPN have addresses in it, one address means two things: traffic for the one ends at the "
        "other, or is dropped, whenever the addresses meet."
    ),
    look="kubectl get servicecidrs; kubectl get nodes -o jsonpath='{.items[*].spec.podCIDRs}'; ip route (on a node)",
    mend=(
        "Choose a range for Services that nothing else uses. From 1.33 on a second ServiceCIDR can be added and the "
        "Services moved to it by creating them anew; before, the API server's --service-cluster-ip-range decides. "
        "Pods' ranges are the CNI's and the controller manager's --cluster-cidr."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/network/extend-service-ip-ranges/",
        "https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/",
        "https://kubernetes.io/docs/concepts/cluster-administration/networking/",
    ),
)
def overlapping(case: Case) -> Iterator[Raised]:
    snapshot = case.view.snapshot
    if snapshot.would_be:
        return
    if any(o.code is None and o.result is Result.DROPPED for p in case.trace.paths for o in p.outcomes):
        case.view.complete(Kind.SERVICE_CIDR)  # nothing explains yet why packets are lost
    for service in case.services:
        name = (service.namespace, service.name)
        found = [o for o in case.world.overlaps if o.service in (None, name)] if service.cluster_ips else []
        if not found:
            continue
        twice = tuple(dict.fromkeys(_meant_twice(case, service)))
        narrow = [o for o in found if not o.wider]
        severity = Severity.ERROR if twice else None if narrow else Severity.INFO
        yield Raised(
            (*_ranges(case, found), *((subject(service),) if twice else ()), *_nodes(found))
            or (subject(service),),
            (*twice, *_words(found)),
            _explanation(narrow or found, bool(twice)),
            "kubectl get servicecidrs -o yaml  # and move Services, or the other network, to a range of its own",
            severity,
            "spec.cidrs" if snapshot.service_cidrs else "spec.clusterIP",
        )


def _meant_twice(case: Case, service: Service) -> Iterator[str]:
    """Addresses of this very Service that something else has too."""
    for ip in service.cluster_ips:
        node = case.view.snapshot.nodes_by_ip.get(ip)
        if node is not None:
            yield f"cluster IP {ip} is also an address of node {node}"
    for port in service.ports:
        for family in (4, 6):
            for endpoint in case.world.endpoints(service, port, family):
                claimed = case.world.claimed.get(endpoint.ip)
                if claimed is not None and endpoint.ip in claimed[1].cluster_ips:
                    other = claimed[1]
                    who = "/".join(endpoint.pod) if endpoint.pod else "an endpoint"
                    yield f"{who} has {endpoint.ip}, the cluster IP of Service {other.namespace}/{other.name}"


def _ranges(case: Case, found: list[Overlap]) -> tuple[str, ...]:
    ranges = {o.service_range for o in found}
    held: tuple[ServiceCIDR, ...] = case.view.snapshot.of(Kind.SERVICE_CIDR)
    return tuple(f"ServiceCIDR/{s.name}" for s in held if ranges.intersection(s.spec.cidrs or ()))


def _nodes(found: list[Overlap]) -> tuple[str, ...]:
    if any(o.service is not None for o in found):
        return ()
    return tuple(dict.fromkeys(f"Node/{n}" for o in found for n in o.nodes))[:5]


def _words(found: list[Overlap]) -> tuple[str, ...]:
    by_range: dict[str, list[Overlap]] = {}
    for o in found:
        by_range.setdefault(o.service_range, []).append(o)
    lines = []
    for service_range, some in by_range.items():
        more = sum(len(o.nodes) for o in some if o.whose is Whose.PODS) - 1
        lines.append(f"Service range {service_range}: {listed((o.other for o in some), 4)}")
        if len(some) == 1 and more > 0:
            lines[-1] += f" and {more} more nodes"
    return tuple(lines)


def _explanation(found: list[Overlap], twice: bool) -> str:
    if twice:
        return (
            "The same address is given to two: what is sent to it goes to one of them, by which rules or routes the "
            "packet meets first."
        )
    match found[0].whose:
        case Whose.PODS:
            return (
                "Sooner or later a pod and a Service get the same address. On a bridge, pods also look for cluster "
                "IPs of their own network among their neighbours, where nobody answers."
            )
        case Whose.NODE:
            return "A Service may get the node's address: then the node cannot be reached from inside the cluster."
        case _:
            return (
                "What lies behind the route cannot be reached from the cluster wherever a Service has its address; "
                "in nftables mode kube-proxy drops all other addresses of the range too."
            )
