"""Which NetworkPolicies keep a client from a pod, as far as that explains what probes met.

Between pods the policies' rules decide (``policies``). For other clients whose address a policy would see is not
known before it is seen; there every policy counts that isolates the pod and does not allow everything.

Specification: https://kubernetes.io/docs/concepts/services-networking/network-policies/#the-two-sorts-of-pod-isolation
"""

from __future__ import annotations

from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.trace import Client, ClientKind
from svcdoctor.path.policies import blocked, selects
from svcdoctor.path.view import View


def isolating(view: View, pod: str, port: int, protocol: str, client: Client) -> tuple[str, ...]:
    """``NetworkPolicy/namespace/name`` of those that may keep the client from a pod's (``namespace/name``) port."""
    namespace, _, name = pod.partition("/")
    destination = view.snapshot.pod(namespace, name)
    if destination is None or destination.spec.host_network:
        return ()
    if client.kind is ClientKind.POD and client.name is not None:
        source = view.snapshot.pod(client.name.partition("/")[0], client.name.partition("/")[2])
        found = blocked(view, source, destination, port, protocol) if source is not None else None
        return _names(found.policies) if found is not None else ()
    view.complete(Kind.NETWORK_POLICY, Scope(namespace))
    policies: tuple[NetworkPolicy, ...] = view.snapshot.of(Kind.NETWORK_POLICY)
    chosen = tuple(
        p
        for p in policies
        if p.namespace == namespace
        and (not p.spec.policy_types or "Ingress" in p.spec.policy_types)
        and selects(p.spec.pod_selector, destination.labels)
    )
    allowed = any(not rule.from_ and not rule.ports for p in chosen for rule in p.spec.ingress or ())
    return () if allowed else _names(chosen)


def _names(policies: tuple[NetworkPolicy, ...]) -> tuple[str, ...]:
    return tuple(f"NetworkPolicy/{p.namespace}/{p.name}" for p in policies)
