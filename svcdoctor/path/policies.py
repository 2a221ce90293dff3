"""Whether NetworkPolicies let one pod reach another on a port, as the API defines it.

A pod is isolated in a direction once any policy of its namespace selects it for that direction; then only what some
rule of those policies allows passes. Both directions must allow a connection; answers to it pass by themselves.

Specification: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import LabelSelector, NetworkPolicy, PolicyPeer, PolicyPort
from svcdoctor.model.snapshot import in_networks
from svcdoctor.path.view import View


@dataclass(frozen=True, slots=True)
class Blocked:
    """The policies that isolate a pod in a direction, none of which allows the port."""

    direction: str  # egress or ingress
    pod: Pod
    policies: tuple[NetworkPolicy, ...]


def blocked(view: View, source: Pod, destination: Pod, port: int, protocol: str) -> Blocked | None:
    """What keeps ``source`` from the other pod's port, ``None`` where nothing does or it is not known.

    Pods on their node's network are left out: policies do not hold for them alike everywhere.
    """
    if source.spec.host_network:
        return None
    if not view.complete(Kind.NETWORK_POLICY, Scope(source.namespace)):
        return None
    for direction, pod, peer in (("egress", source, destination), ("ingress", destination, source)):
        if pod.spec.host_network or not view.complete(Kind.NETWORK_POLICY, Scope(pod.namespace)):
            continue
        policies = tuple(_isolating(view, pod, direction))
        if policies and not any(
            _allows(view, p, direction, peer, destination, port, protocol) for p in policies
        ):
            return Blocked(direction, pod, policies)
    return None


def _isolating(view: View, pod: Pod, direction: str) -> Iterator[NetworkPolicy]:
    policies: tuple[NetworkPolicy, ...] = view.snapshot.of(Kind.NETWORK_POLICY)
    for policy in policies:
        if policy.namespace == pod.namespace and selects(policy.spec.pod_selector, pod.labels):
            types = policy.spec.policy_types
            if types is None:
                types = ("Ingress", "Egress") if policy.spec.egress is not None else ("Ingress",)
            if direction.capitalize() in types:
                yield policy


def _allows(
    view: View, policy: NetworkPolicy, direction: str, peer: Pod, destination: Pod, port: int, protocol: str
) -> bool:
    if direction == "egress":
        rules: Iterable[tuple[tuple[PolicyPeer, ...] | None, tuple[PolicyPort, ...] | None]] = [
            (r.to, r.ports) for r in policy.spec.egress or ()
        ]
    else:
        rules = [(r.from_, r.ports) for r in policy.spec.ingress or ()]
    return any(
        (not peers or any(_is_peer(view, policy, p, peer) for p in peers))
        and (not ports or any(_is_port(p, destination, port, protocol) for p in ports))
        for peers, ports in rules
    )


def _is_peer(view: View, policy: NetworkPolicy, peer: PolicyPeer, pod: Pod) -> bool:
    if peer.ip_block is not None:
        block = peer.ip_block
        return any(
            in_networks(ip, (block.cidr,)) and not in_networks(ip, block.except_ or ()) for ip in pod.ips
        )
    if peer.namespace_selector is None:
        if pod.namespace != policy.namespace:
            return False
    elif not _in_namespace(view, peer.namespace_selector, pod.namespace):
        return False
    return peer.pod_selector is None or selects(peer.pod_selector, pod.labels)


def _in_namespace(view: View, selector: LabelSelector, name: str) -> bool:
    if not (selector.match_labels or selector.match_expressions):
        return True
    if not view.complete(Kind.NAMESPACE, Scope(name=name)):
        return True  # not known: what may be allowed is not called blocked
    namespace = view.snapshot.namespace(name)
    # The API server sets this label on every namespace.
    labels = {"kubernetes.io/metadata.name": name, **(namespace.labels if namespace is not None else {})}
    return selects(selector, labels)


def _is_port(wanted: PolicyPort, pod: Pod, port: int, protocol: str) -> bool:
    if (wanted.protocol or "TCP") != protocol:
        return False
    if wanted.port is None:
        return True
    if isinstance(wanted.port, int):
        return wanted.port <= port <= (wanted.end_port or wanted.port)
    ports = [p for c in pod.serving_containers for p in c.ports or ()]
    return any(p.name == wanted.port and p.container_port == port and p.protocol == protocol for p in ports)


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether the labels fit; an empty selector fits all."""
    if not matches_labels(selector.match_labels or {}, labels):
        return False
    for requirement in selector.match_expressions or ():
        key, values = requirement.key, requirement.values or ()
        fits = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not fits.get(requirement.operator, False):
            return False
    return True
