"""RUL009 to RUL011, RUL018, RUL019: traffic policies, and where a nodePort answers."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.model.trace import Path, Verdict


def _dropping(case: Case, code: str) -> tuple[list[Path], bool]:
    """The paths that end with ``code``, and whether nothing else of what was asked works."""
    paths = [p for p in case.trace.paths if any(o.code == code for o in p.outcomes)]
    return paths, all(p.verdict is Verdict.BROKEN for p in case.trace.paths)


@check(
    "RUL009",
    "externalTrafficPolicy Local and no local endpoint",
    Severity.WARNING,
    meaning=(
        "With externalTrafficPolicy Local a node sends outside traffic to its own endpoints only, and drops "
        "it when it has none. Load balancers avoid such nodes by their health check; clients of nodePorts "
        "must do so themselves."
    ),
    look="kubectl get pods -l SELECTOR -o wide (which nodes have one)",
    mend=(
        "Send clients to nodes that have an endpoint (load balancers do by the health check), run a pod on "
        "every node, or set spec.externalTrafficPolicy to Cluster."
    ),
    links=(
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy",
        "https://kubernetes.io/docs/tutorials/services/source-ip/",
    ),
)
def no_local_external(case: Case) -> Iterator[Raised]:
    paths, alone = _dropping(case, "RUL009")
    for service in case.services if paths else ():
        nodes = sorted({p.entry.node for p in paths if p.entry.node})
        here = sorted(
            {o.backend.node for p in case.trace.paths for o in p.outcomes if o.backend and o.backend.node}
        )
        evidence = [f"externalTrafficPolicy is Local; no endpoint on {listed(nodes) or 'this node'}"]
        if here:
            evidence.append(f"endpoints are on {listed(here)}")
        yield Raised(
            (subject(service), *(f"Node/{n}" for n in nodes[:5])),
            tuple(evidence),
            "Requests that enter there are dropped: they time out. Either enter through a node with an "
            "endpoint, or give up the client's address with policy Cluster.",
            f"kubectl -n {service.namespace} patch svc {service.name} "
            '-p \'{"spec":{"externalTrafficPolicy":"Cluster"}}\'',
            Severity.ERROR if alone else Severity.INFO if _avoided(service) else None,
            "spec.externalTrafficPolicy",
        )


def _avoided(service: Service) -> bool:
    """Whether clients come by a load balancer, whose health check leaves nodes without an endpoint out."""
    return any(point.ip or point.hostname for point in service.ingress_points)


@check(
    "RUL010",
    "internalTrafficPolicy Local and no local endpoint",
    Severity.WARNING,
    meaning=(
        "With internalTrafficPolicy Local the cluster IP reaches endpoints of the client's own node only; on "
        "a node without one the traffic is dropped."
    ),
    look="kubectl get pods -l SELECTOR -o wide (which nodes have one)",
    mend=(
        "Run the application on every node with clients (DaemonSet), or set spec.internalTrafficPolicy to "
        "Cluster."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service-traffic-policy/",
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#internal-traffic-policy",
    ),
)
def no_local_internal(case: Case) -> Iterator[Raised]:
    paths, alone = _dropping(case, "RUL010")
    for service in case.services if paths else ():
        reasons = tuple(dict.fromkeys(o.reason for p in paths for o in p.outcomes if o.code == "RUL010"))
        yield Raised(
            (subject(service),),
            reasons,
            "Clients on these nodes time out. Run the application on every node (DaemonSet), or use policy "
            "Cluster.",
            f"kubectl -n {service.namespace} patch svc {service.name} "
            '-p \'{"spec":{"internalTrafficPolicy":"Cluster"}}\'',
            Severity.ERROR if alone else None,
            "spec.internalTrafficPolicy",
        )


@check(
    "RUL011",
    "A pod asks another node's nodePort under policy Local",
    Severity.WARNING,
    meaning=(
        "Where the CNI keeps pod addresses, the other node short-cuts the pod to any endpoint without "
        "masquerading; an endpoint on a third node answers the pod directly, past that node, and the reply "
        "is not recognised."
    ),
    look="conntrack -L on both nodes",
    mend="Let pods use the cluster IP or the Service's name; nodePorts are for clients outside.",
    links=(
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy",
        "https://kubernetes.io/docs/tutorials/services/source-ip/",
    ),
)
def reply_goes_past(case: Case) -> Iterator[Raised]:
    outcomes = case.outcomes("RUL011")
    for service in case.services if outcomes else ():
        yield Raised(
            (subject(service),),
            tuple(dict.fromkeys(o.reason for o in outcomes)),
            "Some connections time out, depending on the CNI. Inside the cluster use the cluster IP.",
            f"{service.name}.{service.namespace}:{service.ports[0].port if service.ports else ''}",
        )


@check(
    "RUL018",
    "This node address is not a nodeport-address",
    Severity.ERROR,
    meaning=(
        "kube-proxy answers nodePorts on some addresses of a node only: nodePortAddresses, and in nftables "
        "mode by default the primary address of each family."
    ),
    look="kubectl -n kube-system get configmap kube-proxy -o yaml (nodePortAddresses)",
    mend=(
        "Ask one of the node's nodeport addresses, or widen nodePortAddresses in kube-proxy's configuration."
    ),
    links=(
        "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
        "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3866-nftables-proxy",
    ),
)
def not_a_nodeport_address(case: Case) -> Iterator[Raised]:
    yield from _address(case, "RUL018", "Ask one of the node's primary addresses.")


@check(
    "RUL019",
    "nodePort on localhost is not supported in this mode",
    Severity.ERROR,
    meaning=(
        "A nodePort answers on 127.0.0.1 in iptables mode only (with localhostNodePorts), never on ::1, and "
        "never in nftables or ipvs mode."
    ),
    look="curl localhost:10249/proxyMode (on the node)",
    mend="Ask the node's own address or the cluster IP instead of localhost.",
    links=(
        "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
        "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3866-nftables-proxy",
    ),
)
def no_localhost(case: Case) -> Iterator[Raised]:
    yield from _address(case, "RUL019", "Use the node's own address instead of localhost.")


def _address(case: Case, code: str, advice: str) -> Iterator[Raised]:
    for path in case.trace.paths:
        for outcome in path.outcomes:
            if outcome.code == code:
                node = path.entry.node or "NODE"
                yield Raised(
                    (case.trace.target.subject, f"Node/{node}"),
                    (outcome.reason,),
                    advice,
                    f"kubectl get node {node} -o wide",
                )
