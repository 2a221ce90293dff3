"""Whether NetworkPolicies let a connection pass at one pod, by the words of the API reference.

Theory. A pod is isolated for a direction once any policy of its namespace selects it for that direction; then only
what some rule of some of those policies allows passes. Policies only ever add. Both ends decide, each for its own
direction; the answer of an allowed connection is never asked about. What a policy goes by is what a packet shows where
it is enforced: a masqueraded one comes from a node, whatever pod or client sent it, so the other end is an argument.

The answer has three values: a sender that stands for many (any pod, any client outside) and facts that are not known
are ``undecided``, unless every rule treats them alike.

What may live here: rules of policies against labels and addresses. Of the API's objects only ``model.policy`` is known
here, as rules are to a packet; pods, namespaces and nodes come as plain ``Party`` values, made by ``path``.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
and https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.policy import IPBlock, LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort
from svcdoctor.model.snapshot import in_networks, network


class Direction(StrEnum):
    INGRESS = "ingress"
    EGRESS = "egress"


class Answer(StrEnum):
    ALLOWED = "allowed"
    DENIED = "denied"
    UNDECIDED = "undecided"


class PartyKind(StrEnum):
    """What policies can tell ends apart by: a pod with a network of its own, a node, anything else."""

    POD = "pod"
    NODE = "node"
    OUTSIDE = "outside"


NamedPort = tuple[str, int, str]  # a container port's name, number and protocol


@dataclass(frozen=True, slots=True)
class Party:
    """One end of a connection as the packets show it.

    ``name`` is ``namespace/name`` of a pod; a POD without one stands for any pod. A pod on its node's network is a
    NODE: its packets have the node's address. ``address`` is ``None`` where it is not known; ``node`` is where a pod
    runs, or which node it is. ``namespace_labels`` are ``None`` where they could not be read. ``ports`` are those of a
    pod's ports that have a name.
    """

    kind: PartyKind
    address: str | None = None
    family: int = 4
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] | None = None
    node: str | None = None
    ports: tuple[NamedPort, ...] = ()

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the policies say of one direction at one pod.

    ``policies`` are those that isolate the pod in this direction. Where a rule allows, ``by`` is its policy and
    ``rule`` the rule's index; without them ALLOWED means that nothing isolates the pod, or that no policy is asked.
    """

    direction: Direction
    answer: Answer
    policies: tuple[NetworkPolicy, ...] = ()
    by: NetworkPolicy | None = None
    rule: int = 0


Rule = tuple[tuple[PolicyPeer, ...], tuple[PolicyPort, ...]]


def ruling(
    selecting: tuple[NetworkPolicy, ...],
    direction: Direction,
    pod: Party,
    other: Party,
    port: int,
    protocol: str,
) -> Ruling:
    """What policies that isolate ``pod`` say of a connection that it takes from ``other``, or with EGRESS makes to it.

    ``port`` is the destination's, after the translation of Service addresses.
    """
    if not selecting:
        return Ruling(direction, Answer.ALLOWED)
    if pod.name and pod.name == other.name:
        return Ruling(direction, Answer.ALLOWED, selecting)  # no pod can block access to itself
    if other.kind is PartyKind.NODE and other.node and other.node == pod.node:
        return Ruling(direction, Answer.ALLOWED, selecting)  # the node that it runs on, by whatever address
    server = pod if direction is Direction.INGRESS else other
    answer = Answer.DENIED
    for policy in selecting:
        for index, (peers, ports) in enumerate(rules_of(policy, direction)):
            if ports and not any(is_port(p, server.ports, port, protocol) for p in ports):
                continue
            matches = _any_peer(peers, policy.namespace, other)
            if matches:
                return Ruling(direction, Answer.ALLOWED, selecting, policy, index)
            if matches is None:
                answer = Answer.UNDECIDED
    return Ruling(direction, answer, selecting)


def isolating(
    policies: Iterable[NetworkPolicy], direction: Direction, pod: Party
) -> tuple[NetworkPolicy, ...]:
    """Those of the policies that select the pod for the direction; none for a pod on its node's network."""
    if pod.kind is not PartyKind.POD:
        return ()
    return tuple(
        p
        for p in policies
        if p.namespace == pod.namespace
        and direction in directions(p)
        and selects(p.spec.pod_selector, pod.labels)
    )


def directions(policy: NetworkPolicy) -> tuple[Direction, ...]:
    """What the policy isolates for: its policyTypes, or without any what the API server fills in."""
    types = policy.spec.policy_types
    if types:
        return tuple(d for d in Direction if d.capitalize() in types)
    return (Direction.INGRESS, Direction.EGRESS) if policy.spec.egress else (Direction.INGRESS,)


def rules_of(policy: NetworkPolicy, direction: Direction) -> tuple[Rule, ...]:
    """The rules of a direction: peers and ports, each empty where it restricts nothing."""
    if direction is Direction.INGRESS:
        return tuple((r.from_ or (), r.ports or ()) for r in policy.spec.ingress or ())
    return tuple((r.to or (), r.ports or ()) for r in policy.spec.egress or ())


def chooses_namespaces(policy: NetworkPolicy) -> bool:
    """Whether a peer of the policy is chosen by labels of namespaces."""
    return any(
        peer.namespace_selector is not None and not selects_all(peer.namespace_selector)
        for direction in Direction
        for peers, _ in rules_of(policy, direction)
        for peer in peers
    )


def _any_peer(peers: tuple[PolicyPeer, ...], namespace: str, party: Party) -> bool | None:
    if not peers:
        return True
    found = [is_peer(p, namespace, party) for p in peers]
    return True if True in found else None if None in found else False


def is_peer(peer: PolicyPeer, namespace: str, party: Party) -> bool | None:
    """Whether a peer of a policy of ``namespace`` is the party; ``None`` where that is not known."""
    if peer.ip_block is not None:
        return _in_block(peer.ip_block, party)
    if party.kind is not PartyKind.POD or (peer.pod_selector is None and peer.namespace_selector is None):
        return False
    if not party.name:
        everybody = peer.namespace_selector is not None and selects_all(peer.namespace_selector)
        return True if everybody and selects_all(peer.pod_selector or LabelSelector()) else None
    if peer.pod_selector is not None and not selects(peer.pod_selector, party.labels):
        return False
    if peer.namespace_selector is None:
        return party.namespace == namespace
    if selects_all(peer.namespace_selector):
        return True
    if party.namespace_labels is None:
        return None
    return selects(peer.namespace_selector, party.namespace_labels)


def _in_block(block: IPBlock, party: Party) -> bool | None:
    if party.address is not None:
        return in_networks(party.address, (block.cidr,)) and not in_networks(
            party.address, block.except_ or ()
        )
    covered = network(block.cidr)
    if covered is None or covered.version != party.family:
        return False
    return True if covered.prefixlen == 0 and not block.except_ else None


def is_port(wanted: PolicyPort, named: Iterable[NamedPort], port: int, protocol: str) -> bool:
    """Whether a rule's port is the destination's, whose names for its ports are ``named``."""
    if (wanted.protocol or "TCP") != protocol:
        return False
    if wanted.port is None:
        return True
    if isinstance(wanted.port, int):
        return wanted.port <= port <= (wanted.end_port or wanted.port)
    return (wanted.port, port, protocol) in named


def selects_all(selector: LabelSelector) -> bool:
    """Whether the selector is empty: it fits all."""
    return not (selector.match_labels or selector.match_expressions)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether the labels fit; an empty selector fits all.

    Specification: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
    """
    if not matches_labels(selector.match_labels or {}, labels):
        return False
    for requirement in selector.match_expressions or ():
        value = labels.get(requirement.key)
        match requirement.operator:
            case "In":
                fits = value is not None and value in (requirement.values or ())
            case "NotIn":
                fits = value is None or value not in (requirement.values or ())
            case "Exists":
                fits = value is not None
            case "DoesNotExist":
                fits = value is None
            case _:
                fits = False
        if not fits:
            return False
    return True
