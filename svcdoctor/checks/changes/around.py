"""What differs around Services: nodes, NetworkPolicies, and the Ingresses and routes that lead to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from svcdoctor.checks.changes.fields import Difference, differences, flat
from svcdoctor.dataplane.policy import selects
from svcdoctor.model.base import KubeObject
from svcdoctor.model.cluster import Node
from svcdoctor.model.facts import EVERYTHING, Kind
from svcdoctor.model.ingress import Ingress
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.ingress import routes

Name = tuple[str, str]  # namespace and name


def node_differences(before: Snapshot, after: Snapshot) -> dict[str, list[Difference]]:
    """Nodes that are gone, new, or whose readiness, addresses, zone or pod ranges differ."""
    if not (before.knows(Kind.NODE) and after.knows(Kind.NODE)):
        return {}
    found: dict[str, list[Difference]] = {}
    for name in sorted({n.name for n in before.nodes} | {n.name for n in after.nodes}):
        old, new = before.node(name), after.node(name)
        if old is None or new is None:
            found[name] = [("", _node_words(old), _node_words(new))]
        elif old != new and (differing := list(differences(_node_facts(old), _node_facts(new)))):
            found[name] = differing
    return found


def _node_words(node: Node | None) -> str | None:
    return None if node is None else "Ready" if node.ready else "NotReady"


def _node_facts(node: Node) -> dict[str, str]:
    found = {"state": _node_words(node) or "", "addresses": ", ".join(node.addresses())}
    found |= {"podCIDRs": ", ".join(node.pod_cidrs), "zone": node.zone}
    return {name: text for name, text in found.items() if text}


def policy_differences(
    before: Snapshot, after: Snapshot
) -> list[tuple[Name, list[Difference], tuple[NetworkPolicy, ...]]]:
    """The NetworkPolicies that differ: name, differences, and the policy as it was and is."""
    found = []
    for name, old, new in _changed(before, after, Kind.NETWORK_POLICY):
        both: tuple[NetworkPolicy, ...] = tuple(p for p in (old, new) if isinstance(p, NetworkPolicy))
        found.append((name, _object_differences(old, new), both))
    return found


def selected_by(policies: Iterable[NetworkPolicy], pods: Iterable[Pod]) -> bool:
    """Whether any of the policies selects any of the pods, which are in its namespace."""
    return any(selects(policy.spec.pod_selector, pod.labels) for policy in policies for pod in pods)


def route_differences(
    before: Snapshot, after: Snapshot
) -> list[tuple[str, list[Difference], frozenset[Name]]]:
    """The Ingresses and routes that differ: subject, differences, and the Services that they name or named."""
    found = []
    for kind in (Kind.INGRESS, Kind.HTTP_ROUTE, Kind.GRPC_ROUTE):
        for name, old, new in _changed(before, after, kind):
            led_to = frozenset(s for o in (old, new) if o is not None for s in _led_to(o))
            found.append((f"{kind}/{'/'.join(name)}", _object_differences(old, new), led_to))
    return found


def _led_to(o: KubeObject) -> Iterator[Name]:
    if isinstance(o, Ingress):
        for route in routes(o):
            if route.backend.target is not None:
                yield o.namespace, route.backend.target.name
        return
    for rule in getattr(o, "spec").rules or ():  # noqa: B009  (a route of the Gateway API)
        for ref in rule.backend_refs or ():
            yield ref.namespace or o.namespace, ref.name


def _changed(
    before: Snapshot, after: Snapshot, kind: Kind
) -> Iterator[tuple[Name, KubeObject | None, KubeObject | None]]:
    """The objects of a kind that differ in any way, by name; none where either snapshot does not hold the kind."""
    if not (before.knows(kind, EVERYTHING) and after.knows(kind, EVERYTHING)):
        return
    old: dict[Name, KubeObject] = {(o.namespace, o.name): o for o in before.of(kind)}
    new: dict[Name, KubeObject] = {(o.namespace, o.name): o for o in after.of(kind)}
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield name, old.get(name), new.get(name)


def _object_differences(old: KubeObject | None, new: KubeObject | None) -> list[Difference]:
    if old is None or new is None:
        return [("", None if old is None else "there", None if new is None else "there")]
    return list(differences(flat(getattr(old, "spec"), "spec"), flat(getattr(new, "spec"), "spec")))  # noqa: B009
