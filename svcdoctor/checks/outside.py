"""EXT003, EXT013, EXT014: what is between clients outside and the nodes, as real requests meet it."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed
from svcdoctor.checks.tried import (
    entry_words,
    met_words,
    place_words,
    subjects,
    ways_with,
    with_packets,
)
from svcdoctor.model.evidence import silent
from svcdoctor.model.finding import Severity
from svcdoctor.model.observed import Observation
from svcdoctor.model.service import Service
from svcdoctor.model.trace import EntryKind, Status
from svcdoctor.path.aims import HEALTH_PATH


@check(
    "EXT003",
    "The health check port does not say what load balancers must know",
    Severity.ERROR,
    meaning=(
        "With externalTrafficPolicy Local each node answers on the healthCheckNodePort: 200 where it has a ready "
        "endpoint, 503 elsewhere. Load balancers send nothing to nodes that do not answer 200."
    ),
    look="curl -i http://NODE:HEALTH-CHECK-NODE-PORT/healthz",
    mend=(
        "Let load balancers reach the healthCheckNodePort on every node (firewall), and get kube-proxy "
        "running, which answers on it."
    ),
    links=(
        "https://kubernetes.io/docs/tutorials/services/source-ip/",
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#external-traffic-policy",
    ),
)
def health_check_port(case: Case) -> Iterator[Raised]:
    evidence = case.view.snapshot.evidence
    for service in case.services if evidence is not None else ():
        number = service.spec.health_check_node_port
        asked = [
            o
            for o in (evidence.observations if evidence is not None else ())
            if o.aim.port == number and o.aim.path == HEALTH_PATH
        ]
        wrong = {
            node: line
            for o in asked
            if (node := case.view.snapshot.nodes_by_ip.get(o.aim.ip))
            and (line := _unhealthy(case, service, node, o))
        }
        # Where every node is silent on its nodePort too, it is the way there.
        if wrong and (not all(map(silent, asked)) or _some_node_port_answers(case)):
            yield _unhealthy_nodes(case, service, number, wrong)


def _unhealthy(case: Case, service: Service, node: str, met: Observation) -> str:
    """What is wrong with a node's answer; empty where it is right."""
    local = any(
        case.world.choice(service, port, family, node).local for port in service.ports for family in (4, 6)
    )
    wanted = "200" if local else "503"
    if wanted in met.statuses:
        return ""
    got = ", ".join(met.statuses) or str(met.mostly)
    here = "has a ready endpoint" if local else "has no ready endpoint"
    return f"{node} {here}: {place_words(met.aim.ip, met.aim.port)}{HEALTH_PATH} should say {wanted}, and it is {got}"


def _unhealthy_nodes(case: Case, service: Service, number: int, wrong: dict[str, str]) -> Raised:
    with_endpoint = {o.backend.node for p in case.trace.paths for o in p.outcomes if o.backend}
    return Raised(
        subjects(case, wrong),
        (*wrong.values(), f"healthCheckNodePort of Service {service.name} is {number}"),
        "kube-proxy serves this port on the node; a firewall in front of it, or a kube-proxy that does not run, "
        "takes the node out of the load balancer.",
        f"curl -i http://localhost:{number}{HEALTH_PATH} (on {listed(wrong)})",
        None if with_endpoint <= set(wrong) else Severity.WARNING,
    )


def _some_node_port_answers(case: Case) -> bool:
    return any(
        p.observed is not None and p.observed.arrived and p.entry.kind is EntryKind.NODE_PORT
        for p in case.trace.paths
    )


@check(
    "EXT013",
    "The nodes cannot be reached from here",
    Severity.ERROR,
    meaning=(
        "kind, minikube and Docker Desktop put their nodes into a network of a virtual machine or of containers, and "
        "clusters in private subnets theirs behind a router: a nodePort works there, and nobody gets there from here."
    ),
    look="kubectl get nodes -o wide (INTERNAL-IP); ip route get ADDRESS",
    mend=(
        "Use kubectl svcdoctor forward, or a load balancer that is reached from here; on minikube and kind "
        "ask from inside their network."
    ),
    links=(
        "https://minikube.sigs.k8s.io/docs/handbook/accessing/",
        "https://kind.sigs.k8s.io/docs/user/loadbalancer/",
    ),
)
def nodes_not_reached(case: Case) -> Iterator[Raised]:
    yield from _not_reached(case, "EXT013")


@check(
    "EXT014",
    "A firewall in front of the nodes is likely",
    Severity.ERROR,
    meaning=(
        "The nodes are a cloud's, their addresses are routed, and every nodePort is silent while the application "
        "answers inside: security groups and firewall rules of clouds open no nodePorts by themselves."
    ),
    look="the cloud's firewall rules or security groups of the nodes, for TCP 30000-32767",
    mend=(
        "Open the nodePorts (TCP 30000-32767) for the clients in the cloud's firewall or security group, or "
        "use a load balancer or a forward."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
        "https://kubernetes.io/docs/reference/networking/ports-and-protocols/",
    ),
)
def cloud_firewall(case: Case) -> Iterator[Raised]:
    yield from _not_reached(case, "EXT014")


def _not_reached(case: Case, code: str) -> Iterator[Raised]:
    ways = ways_with(case, code)
    if not ways:
        return
    nodes = dict.fromkeys(p.entry.node for p, _ in ways)
    lines = ["through the API server the application answers inside its pods"]
    known = [n for name in nodes if name and (n := case.view.snapshot.node(name)) is not None]
    providers = dict.fromkeys(n.spec.provider_id.partition("://")[0] for n in known if n.spec.provider_id)
    if providers:
        lines.append(f"the nodes are {listed(providers)}'s")
    lines += [f"{entry_words(path)}: {met_words(seen)}" for path, seen in ways]
    service = next(iter(case.services), None)
    name = f"svc/{service.name} -n {service.namespace}" if service is not None else "svc/NAME"
    forward = f"kubectl svcdoctor forward {name}"
    if code == "EXT014":
        fix = f"open the nodePorts in the cloud's firewall for your address, or: {forward}"
        text = "Nothing of the cluster is wrong as far as can be seen; the packets do not get to the nodes."
    else:
        fix = forward
        text = (
            "Use a forward, which goes through the API server, or a load balancer that is reached from here."
        )
    doubted = all(o.status is Status.WARN for p, _ in ways for o in p.outcomes if o.code == code)
    severity = None
    if doubted:  # the other family works
        severity = Severity.INFO
        lines.insert(0, "by the other IP family they are reached: this machine may have one family only")
    yield Raised(subjects(case, nodes), with_packets(case, lines), text, fix, severity)
