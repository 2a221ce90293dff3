"""NOD012 to NOD014: NetworkPolicies that keep requests out, and policies that no traffic can ever match."""

from __future__ import annotations

import json
from collections.abc import Iterator

from svcdoctor.checks.policyports import replacing, service_port_field
from svcdoctor.checks.policyrules import mistakes
from svcdoctor.checks.registry import Case, Raised, check, listed
from svcdoctor.checks.tried import (
    backends,
    entry_words,
    met_words,
    place_words,
    pod_names,
    several,
    subjects,
    with_packets,
)
from svcdoctor.cluster.nearmiss import GENERATED_LABELS
from svcdoctor.dataplane.policy import Direction
from svcdoctor.model.facts import Kind
from svcdoctor.model.finding import Severity
from svcdoctor.model.observed import Met
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.trace import Backend, ClientKind, EntryKind, HopKind, Outcome, Path, Status
from svcdoctor.path.policies import NAME_LABEL, blocked, keeping, pod_party, policy_subject

_SPECIFICATION = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
_LOOK = "kubectl get networkpolicies -A; kubectl -n NAMESPACE describe networkpolicy NAME"


@check(
    "NOD012",
    "A NetworkPolicy does not let the traffic through",
    Severity.ERROR,
    meaning=(
        "A pod that any NetworkPolicy selects for a direction takes, or sends, only what a policy allows; everything "
        "else is dropped, so that clients time out. The pod's own node, and with it kubelet and port-forward, gets in "
        "all the same. Nothing happens where no network plugin enforces policies."
    ),
    look=_LOOK,
    mend=(
        "Allow the client in a rule of one of the policies: podSelector and namespaceSelector inside the cluster, "
        "ipBlock from outside, with the pod's port."
    ),
    links=(_SPECIFICATION,),
)
def denied(case: Case) -> Iterator[Raised]:
    paths = _paths(case, "NOD012")
    if not paths:
        return
    outcomes = _outcomes(paths, "NOD012")
    policies = _policies(case, paths)
    lines = _reasons(outcomes)
    tried = [(p, p.observed) for p in paths if p.observed is not None]
    evidence = case.view.snapshot.evidence
    if tried and evidence is not None:
        lines = [f"{listed(map(policy_subject, policies))} isolates {listed(pod_names(backends(outcomes)))}"]
        alive = backends(o for o in outcomes if o.observed is not None and o.observed.tunnel is Met.ANSWERED)
        if alive:
            places = listed(place_words(end.ip, end.port) for end in alive)
            lines.append(f"silent from {evidence.place}, while tunnels into the pods are answered: {places}")
        lines += [f"{entry_words(p)}: {met_words(seen)}" for p, seen in tried]
    yield Raised(
        (*map(policy_subject, policies), *subjects(case)),
        with_packets(case, lines),
        "Packets are dropped, so that clients time out, and the application never sees them. Allow the client in a "
        "rule: by pod and namespace labels inside the cluster, by ipBlock from outside.",
        _allowing(case, paths[0], outcomes[0], policies),
        _severity(case, paths, "NOD012"),
    )


@check(
    "NOD013",
    "Masquerading hides the client from a NetworkPolicy",
    Severity.ERROR,
    meaning=(
        "Requests by nodePort, load balancer or external IP under externalTrafficPolicy Cluster reach the pod with the "
        "address of the node that they entered by. A policy that allows the client's address, or its pod's labels, "
        "does not match them; at a pod of that node itself it depends on the network plugin."
    ),
    look=f"{_LOOK}; tcpdump in the pod shows the source",
    mend=(
        "Keep the client's address with externalTrafficPolicy Local, or allow the addresses of the nodes by ipBlock."
    ),
    links=(
        _SPECIFICATION,
        "https://kubernetes.io/docs/tutorials/services/source-ip/",
    ),
)
def hidden(case: Case) -> Iterator[Raised]:
    paths = _paths(case, "NOD013")
    if not paths:
        return
    policies = _policies(case, paths)
    outside = {EntryKind.NODE_PORT, EntryKind.LOAD_BALANCER, EntryKind.EXTERNAL_IP}
    fix = _describe(policies)
    for service in case.services:
        if all(p.entry.kind in outside for p in paths) and not service.external_local:
            change = '{"spec":{"externalTrafficPolicy":"Local"}}'
            fix = f"kubectl -n {service.namespace} patch svc {service.name} -p '{change}'"
    yield Raised(
        (*map(policy_subject, policies), *subjects(case)),
        several(_reasons(_outcomes(paths, "NOD013"))),
        "The policy allows the client and never sees it. Under externalTrafficPolicy Local the client's address "
        "arrives, and only nodes with an endpoint answer; else allow the nodes' addresses, which lets everybody in "
        "who comes by them.",
        fix,
        _severity(case, paths, "NOD013"),
    )


@check(
    "NOD014",
    "A NetworkPolicy rule can never match",
    Severity.ERROR,
    meaning=(
        "Policies look at packets after kube-proxy translated them: a rule must name the pod's port, not the "
        "Service's. A name is looked up in the destination pod's container ports, a selector in labels that exist; "
        "what matches nothing allows nothing, and says so nowhere."
    ),
    look=f"{_LOOK}; kubectl get pods,namespaces --show-labels",
    mend=(
        "Name the container's port in the rule's ports, or its name there; make selectors fit the labels that pods "
        "and namespaces really have (kubernetes.io/metadata.name is on every namespace)."
    ),
    links=(
        _SPECIFICATION,
        "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/",
    ),
    explains=("NOD012",),
)
def never_matches(case: Case) -> Iterator[Raised]:
    target = case.trace.target
    if target.kind == "NetworkPolicy":
        policy = case.view.snapshot.find(Kind.NETWORK_POLICY, target.namespace, target.name, NetworkPolicy)
        if policy is not None:
            yield from (m.raised(policy) for m in mistakes(case.view, policy))
        return
    paths = _paths(case, "NOD014")
    if not paths:
        return
    policies = _policies(case, paths)
    outcomes = _outcomes(paths, "NOD014")
    outcome = outcomes[0]
    service_port = next((p.service_port for p in paths if p.service_port is not None), None)
    number = outcome.backend.port if outcome.backend is not None else None
    protocol = paths[0].entry.protocol
    field, fix = "", _describe(policies)
    for policy in policies if service_port is not None and number is not None else ():
        assert service_port is not None and number is not None
        names: set[int | str] = {service_port.port, service_port.name}
        found = service_port_field(policy, names - {number, ""}, protocol)
        if found is not None:
            policies = (policy, *(p for p in policies if p is not policy))
            field, fix = found, replacing(policy, found, number)
            break
    yield Raised(
        (*map(policy_subject, policies), *subjects(case)),
        several(_reasons(outcomes)),
        "Where policies look, the Service's port is already translated to the pod's: nothing that the rule names ever "
        "comes by, and what comes by is not allowed.",
        fix,
        _severity(case, paths, "NOD014"),
        field,
    )


def _paths(case: Case, code: str) -> list[Path]:
    return [p for p in case.trace.paths if any(o.code == code for o in p.outcomes)]


def _outcomes(paths: list[Path], code: str) -> list[Outcome]:
    return [o for p in paths for o in p.outcomes if o.code == code]


def _reasons(outcomes: list[Outcome]) -> list[str]:
    """Each reason once, with the pods that it is about."""
    pods: dict[str, list[Backend]] = {}
    for outcome in outcomes:
        pods.setdefault(outcome.reason, []).extend(backends((outcome,)))
    return [
        f"{reason} (pod {listed(pod_names(ends), 3)})" if ends else reason for reason, ends in pods.items()
    ]


def _severity(case: Case, paths: list[Path], code: str) -> Severity:
    """An error where requests surely fail by every way that was asked for, or were seen to fail."""
    fails = [p for p in paths if any(o.code == code and o.status is Status.FAIL for o in p.outcomes)]
    if any(p.observed is not None for p in fails) or len(fails) == len(case.trace.paths):
        return Severity.ERROR
    return Severity.WARNING


def _policies(case: Case, paths: list[Path]) -> tuple[NetworkPolicy, ...]:
    """The policies that isolate without allowing: as the paths name them, else those of the pods behind them."""
    world = case.world
    named = {
        h.title
        for p in paths
        for h in p.hops
        if h.kind is HopKind.NETWORK_POLICY and h.status is not Status.OK
    }
    held = [p for policies in world.policies.values() for p in policies]
    found = [p for p in held if f"NetworkPolicy {p.namespace}/{p.name}" in named]
    for path in paths if not found else ():
        for end in backends(path.outcomes):
            found += _isolating(case, path, end)
    return tuple({(p.namespace, p.name): p for p in found}.values())


def _isolating(case: Case, path: Path, end: Backend) -> tuple[NetworkPolicy, ...]:
    """The policies that explain a pod's silence, or else that select it."""
    evidence = case.view.snapshot.evidence
    if evidence is not None and path.observed is not None:
        return keeping(case.view, end.pod or "", end.port or 0, path.entry.protocol, evidence.client)
    pod = case.view.snapshot.pod(*(end.pod or "/").split("/", 1))
    if pod is None:
        return ()
    return case.world.isolating(Direction.INGRESS, pod_party(case.view, pod, 4))


def _describe(policies: tuple[NetworkPolicy, ...]) -> str:
    if not policies:
        return "kubectl get networkpolicies -A"
    return f"kubectl -n {policies[0].namespace} describe networkpolicy {policies[0].name}"


def _allowing(case: Case, path: Path, outcome: Outcome, policies: tuple[NetworkPolicy, ...]) -> str:
    """The command that adds a rule which lets the client in, or its packets out."""
    end = outcome.backend
    pod = case.view.snapshot.pod(*(end.pod or "/").split("/", 1)) if end is not None else None
    if end is None or pod is None or end.port is None or not policies:
        return _describe(policies)
    client = _pod_of(case, path)
    protocol, direction, other = path.entry.protocol, Direction.INGRESS, client
    if client is not None:
        family = 6 if ":" in (end.ip or "") else 4
        found = blocked(case.view, client, pod, end.port, protocol, family)
        if found is not None and found.direction is Direction.EGRESS:
            direction, other = Direction.EGRESS, pod
    policy = policies[0]
    peer = _peer(policy, other) if other is not None else _peer_of(path)
    rule = {
        "from" if direction is Direction.INGRESS else "to": [peer],
        "ports": [{"protocol": protocol, "port": end.port}],
    }
    rules = policy.spec.ingress if direction is Direction.INGRESS else policy.spec.egress
    where = f"/spec/{direction}"
    change = {"op": "add", "path": f"{where}/-" if rules else where, "value": rule if rules else [rule]}
    body = json.dumps([change], separators=(",", ":"))
    return f"kubectl -n {policy.namespace} patch networkpolicy {policy.name} --type=json -p '{body}'"


def _pod_of(case: Case, path: Path) -> Pod | None:
    client = path.client
    if client.kind is not ClientKind.POD or client.name is None:
        return None
    return case.view.snapshot.pod(*client.name.split("/", 1))


def _peer(policy: NetworkPolicy, pod: Pod) -> dict[str, object]:
    labels = {k: v for k, v in pod.labels.items() if k not in GENERATED_LABELS}
    peer: dict[str, object] = {"podSelector": {"matchLabels": labels}}
    if pod.namespace != policy.namespace:
        peer = {"namespaceSelector": {"matchLabels": {NAME_LABEL: pod.namespace}}, **peer}
    return peer


def _peer_of(path: Path) -> dict[str, object]:
    """A client that is no known pod: any pod of the policy's namespace, or an address."""
    client = path.client
    if client.kind is ClientKind.POD:
        return {"podSelector": {}}
    v6 = ":" in (client.ip or path.entry.address or "")
    if client.ip is not None:
        return {"ipBlock": {"cidr": f"{client.ip}/{128 if v6 else 32}"}}
    return {"ipBlock": {"cidr": "::/0" if v6 else "0.0.0.0/0"}}
