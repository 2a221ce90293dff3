"""NetworkPolicies against objects: who the ends of a connection are to a policy, and what keeps one from the other.

What may live here: making ``Party`` values of pods, nodes and clients, and questions about two of them. What a policy
means is in ``dataplane.policy``, what it makes of an outcome in ``policed``.

Specification: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.dataplane.policy import (
    Answer,
    Direction,
    Party,
    PartyKind,
    Ruling,
    ruling,
)
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import Client, ClientKind
from svcdoctor.path.view import View

NAME_LABEL = "kubernetes.io/metadata.name"  # which the API server sets on every namespace


@dataclass(frozen=True, slots=True)
class Blocked:
    """The policies that isolate a pod in a direction, none of which allows the port."""

    direction: Direction
    pod: Pod
    policies: tuple[NetworkPolicy, ...]


def pod_party(view: View, pod: Pod, family: int, address: str | None = None) -> Party:
    """A pod by its address of the family, or the given one. On its node's network it is a node to policies."""
    address = address or next(
        (c for i in pod.ips if (":" in i) == (family == 6) and (c := canonical_or_none(i)) is not None), None
    )
    node = pod.spec.node_name or None
    if pod.spec.host_network:
        return Party(PartyKind.NODE, address, family, node=node)
    ports = ((p.name, p.container_port, p.protocol) for c in pod.serving_containers for p in c.ports or ())
    return Party(
        PartyKind.POD,
        address,
        family,
        f"{pod.namespace}/{pod.name}",
        pod.labels,
        _namespace_labels(view, pod.namespace),
        node,
        tuple(p for p in ports if p[0]),
    )


def _namespace_labels(view: View, name: str) -> dict[str, str] | None:
    """The namespace's labels; ``None`` where they are not held, which matters only if a policy asks for them."""
    if not view.world.policies_choose_namespaces:
        return None
    namespace = view.snapshot.namespace(name)
    if namespace is None and not view.complete(Kind.NAMESPACE, Scope(name=name)):
        return None
    return {NAME_LABEL: name, **(namespace.labels if namespace is not None else {})}


def ruled(view: View, direction: Direction, pod: Party, other: Party, port: int, protocol: str) -> Ruling:
    """What the policies of the pod's namespace say; call it only where they are all known."""
    return ruling(view.world.isolating(direction, pod), direction, pod, other, port, protocol)


def known_in(view: View, namespace: str) -> bool:
    """Whether every policy of the namespace is held; one that is not might allow what the others do not."""
    return view.complete(Kind.NETWORK_POLICY, Scope(namespace))


def blocked(
    view: View, source: Pod, destination: Pod, port: int, protocol: str, family: int = 4
) -> Blocked | None:
    """What keeps ``source`` from the other pod's port, ``None`` where nothing does or it is not known."""
    if not known_in(view, source.namespace):
        return None
    client, server = pod_party(view, source, family), pod_party(view, destination, family)
    for direction, pod, party, other in (
        (Direction.EGRESS, source, client, server),
        (Direction.INGRESS, destination, server, client),
    ):
        if party.kind is PartyKind.POD and known_in(view, pod.namespace):
            found = ruled(view, direction, party, other, port, protocol)
            if found.answer is Answer.DENIED:
                return Blocked(direction, pod, found.policies)
    return None


def keeping(view: View, pod: str, port: int, protocol: str, client: Client) -> tuple[NetworkPolicy, ...]:
    """The policies that may keep a client from a pod's (``namespace/name``) port, where that explains a silence.

    Whose address the pod sees is not known before it is seen: other clients than pods are kept out by what does not
    allow any client at all.
    """
    namespace, _, name = pod.partition("/")
    destination = view.snapshot.pod(namespace, name)
    if destination is None or destination.spec.host_network or not known_in(view, namespace):
        return ()
    if client.kind is ClientKind.POD and client.name is not None:
        source = view.snapshot.pod(*client.name.split("/", 1))
        found = blocked(view, source, destination, port, protocol) if source is not None else None
        return found.policies if found is not None else ()
    server = pod_party(view, destination, 4)
    anybody = Party(PartyKind.OUTSIDE)
    answer = ruled(view, Direction.INGRESS, server, anybody, port, protocol)
    return () if answer.answer is Answer.ALLOWED else answer.policies


def policy_names(policies: tuple[NetworkPolicy, ...]) -> str:
    """``NetworkPolicy shop/a, shop/b``; the first three, and how many more."""
    names = [f"{p.namespace}/{p.name}" for p in policies]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"NetworkPolicy {', '.join(names[:3])}{more}"


def policy_subject(policy: NetworkPolicy) -> str:
    return f"NetworkPolicy/{policy.namespace}/{policy.name}"
