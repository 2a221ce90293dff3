"""OBJ031: endpoints on their node's own network, or with a port of their node.

A port of a node is held by one process; what the scheduler knows of it are the declared hostPorts, which on the host
network are all containerPorts. NetworkPolicies tell pods by their own addresses, and these pods have none.
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, pod_subject, subject
from svcdoctor.dataplane.policy import selects, selects_all
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import ContainerPort, Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.service import Service

NO_FREE_PORT = "free ports for the requested pod ports"  # the scheduler's words (plugin NodePorts)
EVERY_ADDRESS = ("", "0.0.0.0", "::")

Clash = tuple[Pod, Pod, ContainerPort]


def _held(pod: Pod) -> list[ContainerPort]:
    """The ports that the pod takes of its node; on the host network a containerPort is one."""
    shared = pod.spec.host_network
    declared = (p for c in pod.serving_containers for p in c.ports or ())
    return [p for p in declared if p.host_port or (shared and p.container_port)]


def _number(port: ContainerPort) -> int:
    return port.host_port or port.container_port


def _waits_for_port(pod: Pod) -> str:
    """The scheduler's message where the pod is placed nowhere for want of a free port."""
    scheduled = pod.condition("PodScheduled")
    message = (scheduled.message or "") if scheduled is not None and scheduled.status == "False" else ""
    return message if NO_FREE_PORT in message else ""


def _clashes(case: Case, pod: Pod) -> Iterator[Clash]:
    """Other pods on the pod's node that take the same port at the same address."""
    for port in _held(pod) if pod.spec.node_name else ():
        for other, theirs in case.world.host_ports.get((port.protocol, _number(port)), ()):
            if (
                other.spec.node_name == pod.spec.node_name
                and (other.namespace, other.name) != (pod.namespace, pod.name)
                and not other.terminating
                and (
                    port.host_ip == theirs.host_ip
                    or port.host_ip in EVERY_ADDRESS
                    or theirs.host_ip in EVERY_ADDRESS
                )
            ):
                yield pod, other, port


@check(
    "OBJ031",
    "Pods on their node's network are in each other's way",
    Severity.ERROR,
    meaning=(
        "Pods with hostNetwork or a hostPort share their node's ports: of two that want the same one, only one gets "
        "it. And NetworkPolicies do not apply to pods with hostNetwork, whose address is the node's."
    ),
    look="kubectl get pods -l SELECTOR -o wide; kubectl describe pod POD (Events: didn't have free ports)",
    mend=(
        "Run one such pod on each node (a DaemonSet, or no more replicas than nodes with strategy Recreate or "
        "maxUnavailable 1), or leave hostNetwork and hostPort out: a Service does not need them. Protect the ports "
        "of hostNetwork pods by the node's firewall."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/configuration/overview/#services",
        "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
        "#networkpolicy-and-hostnetwork-pods",
    ),
    explains=("OBJ008",),
)
def on_the_host_network(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if not service.spec.selector:
            continue
        pods = [p for p in case.selected(service) if not p.terminating and not p.finished]
        yield from _without_place(case, service, [p for p in pods if _waits_for_port(p)], pods)
        clashes = [c for p in pods for c in _clashes(case, p)]
        if clashes:
            yield _clashing(case, service, clashes)
        yield from _unprotected(case, service, [p for p in pods if p.spec.host_network])


def _without_place(case: Case, service: Service, waiting: list[Pod], pods: list[Pod]) -> Iterator[Raised]:
    if not waiting:
        return
    ports = dict.fromkeys(f"{_number(p)}/{p.protocol}" for w in waiting for p in _held(w))
    wanted = {(p.protocol, _number(p)) for w in waiting for p in _held(w)}
    holders = {
        (other.namespace, other.name): other
        for key in wanted
        for other, _ in case.world.host_ports.get(key, ())
        if other.spec.node_name
    }
    evidence = [f"pod {p.name}: {_waits_for_port(p)[:200]}" for p in waiting[:3]]
    if holders:
        words = (f"{o.namespace}/{o.name} on {o.spec.node_name}" for o in holders.values())
        evidence.append(f"port {listed(ports)} is held by {listed(words)}")
    own = [w for w in pods if (w.namespace, w.name) in holders]
    explanation = (
        "There are more of these pods than nodes that could run one. During a rollout a new pod waits for an old one "
        "to go, which goes only once the new one is ready."
        if own
        else "Other pods hold the port on every node that would fit."
    )
    what = (f"Service/{service.namespace}/{service.name}", *(pod_subject(p) for p in waiting[:5]))
    bad = [p for p in pods if not p.ready and p not in waiting]
    yield Raised(
        what if not bad else what[1:],  # pods that do not run for other reasons are told by themselves
        tuple(evidence),
        explanation,
        f"kubectl -n {waiting[0].namespace} describe pod {waiting[0].name}  # then fewer replicas than nodes, or no "
        "hostNetwork and hostPort",
        Severity.WARNING if case.usable(service) else None,
    )


def _clashing(case: Case, service: Service, clashes: list[Clash]) -> Raised:
    evidence = [
        f"{pod.name} and {other.namespace}/{other.name} both want port {_number(port)}/{port.protocol} of "
        f"{pod.spec.node_name}"
        for pod, other, port in clashes[:4]
    ]
    pod, other, _ = clashes[0]
    return Raised(
        (subject(service), *dict.fromkeys(pod_subject(p) for p, _, _ in clashes[:5]), pod_subject(other)),
        tuple(evidence),
        "The scheduler keeps such pods apart; these came past it (spec.nodeName, static pods). The second process "
        "cannot bind the port, or its port mapping is shadowed.",
        f"kubectl -n {pod.namespace} delete pod {pod.name}  # and leave spec.nodeName out of it",
        Severity.WARNING if case.usable(service) else None,
    )


def _unprotected(case: Case, service: Service, pods: list[Pod]) -> Iterator[Raised]:
    """Policies that select pods to which no policy applies."""
    if not pods or not case.view.complete(Kind.NETWORK_POLICY, Scope(service.namespace)):
        return
    held: tuple[NetworkPolicy, ...] = case.world.policies.get(service.namespace, ())
    chosen = [p for p in held if any(selects(p.spec.pod_selector, pod.labels) for pod in pods)]
    if not chosen:
        return
    meant = [p for p in chosen if not selects_all(p.spec.pod_selector)]
    names = listed(p.name for p in meant or chosen)
    yield Raised(
        (subject(service), *(f"NetworkPolicy/{p.namespace}/{p.name}" for p in (meant or chosen)[:4])),
        (
            f"{len(pods)} pods of the Service have hostNetwork: {listed((p.name for p in pods), 3)}",
            f"NetworkPolicy {names} selects them" if meant else f"NetworkPolicy {names} selects all pods",
        ),
        "Their packets have the node's address: nearly every network plugin leaves them alone, so that the policy "
        "neither protects them nor holds them back.",
        f"kubectl -n {service.namespace} get pods -o wide  # protect these ports by the node's firewall, or run the "
        "pods without hostNetwork",
        Severity.WARNING if meant else Severity.INFO,
    )
