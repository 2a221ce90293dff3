"""What is wrong with a NetworkPolicy by itself: selectors, ports and blocks that nothing can ever match.

A selector that matches nothing now may be meant for what comes later: it is a warning only where something else was
nearly named, else worth knowing. What the API server refuses is an error. Only complete lists are judged.

What may live here: looking at one policy's selectors. Its ports and blocks are in ``policyports``; all of it is raised,
as NOD014, in ``networkpolicies``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from svcdoctor.checks.policyports import Mistake, refused, refused_block, refused_port, unknown_port
from svcdoctor.checks.registry import listed
from svcdoctor.cluster.nearmiss import carriers_of, label_misses, near_names
from svcdoctor.dataplane.policy import Direction, directions, rules_of, selects, selects_all
from svcdoctor.model.facts import WORKLOADS, Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import LabelSelector, NetworkPolicy, PolicyPeer
from svcdoctor.path.policies import NAME_LABEL
from svcdoctor.path.view import View

LOOKED_AT = 50  # pods whose ports are looked at: a selector rarely spans more than a few workloads

Carriers = list[tuple[str, Mapping[str, str]]]


def mistakes(view: View, policy: NetworkPolicy) -> Iterator[Mistake]:
    """Everything in the policy that can never match."""
    yield from _unused(policy)
    pods = _select(view, policy.namespace, policy.spec.pod_selector)
    if pods is not None and not pods:
        yield from _selects_nothing(view, policy)
    for direction in directions(policy):
        word = "from" if direction is Direction.INGRESS else "to"
        for i, (peers, ports) in enumerate(rules_of(policy, direction)):
            where = f"spec.{direction}[{i}]"
            for j, peer in enumerate(peers):
                yield from _peer(view, policy, peer, f"{where}.{word}[{j}]")
            for j, port in enumerate(ports):
                at = f"{where}.ports[{j}]"
                yield from refused_port(port, at)
                servers = pods if direction is Direction.INGRESS else _led_to(view, policy, peers)
                if servers and len(servers) <= LOOKED_AT:
                    yield from unknown_port(view, policy, direction, port, at, servers)


def _unused(policy: NetworkPolicy) -> Iterator[Mistake]:
    """Rules for a direction that policyTypes leave out."""
    for direction in Direction:
        if direction not in directions(policy) and rules_of(policy, direction):
            types = ", ".join(policy.spec.policy_types or ())
            value = [*(policy.spec.policy_types or ()), direction.capitalize()]
            yield Mistake(
                "spec.policyTypes",
                (f"spec.{direction} has rules, and policyTypes are {types} only",),
                f"The {direction} rules are not looked at: without {direction.capitalize()} in policyTypes the policy "
                "does not isolate the pods for it, and everything passes.",
                Severity.WARNING,
                value,
            )


# --- selectors


def _select(view: View, namespace: str, selector: LabelSelector) -> tuple[Pod, ...] | None:
    """The pods that a selector matches in a namespace, finished ones left out; ``None`` where they are not known."""
    if not view.complete(Kind.POD, Scope(namespace)):
        return None
    return tuple(matching(view, namespace, selector))


def matching(view: View, namespace: str, selector: LabelSelector) -> Iterator[Pod]:
    labels = selector.match_labels
    snapshot = view.snapshot
    for pod in snapshot.select_pods(namespace, labels) if labels else snapshot.pods_in(namespace):
        if selects(selector, pod.labels) and not pod.finished:
            yield pod


def _templates(view: View, namespace: str) -> Carriers:
    """The labels that workloads of the namespace give their pods."""
    for kind in WORKLOADS:
        view.complete(kind, Scope(namespace))
    return [
        (f"{w.kind} {w.name}", w.template_labels)
        for w in view.snapshot.workloads(WORKLOADS)
        if w.namespace == namespace and w.metadata.owner is None
    ]


def _selects_nothing(view: View, policy: NetworkPolicy) -> Iterator[Mistake]:
    selector = policy.spec.pod_selector
    templates = _templates(view, policy.namespace)
    if selects_all(selector) or any(selects(selector, labels) for _, labels in templates):
        return
    carriers = [*carriers_of(view.snapshot.pods_in(policy.namespace)), *templates]
    near, evidence = _nearest(selector, carriers)
    yield Mistake(
        "spec.podSelector",
        (f"podSelector {_words(selector)} matches no pod and no workload of {policy.namespace}", *evidence),
        "The policy isolates nothing: the pods that it is meant for take everything.",
        Severity.WARNING if near else Severity.INFO,
    )


def _nearest(selector: LabelSelector, carriers: Carriers) -> tuple[bool, tuple[str, ...]]:
    """Whether labels that something carries were probably meant, and which."""
    for miss in label_misses(selector.match_labels or {}, carriers)[:1]:
        if miss.near:
            differences = ", ".join(map(str, miss.mismatches))
            return True, (f"near: {differences} on {listed(miss.names, 3)}",)
    return False, ()


def _peer(view: View, policy: NetworkPolicy, peer: PolicyPeer, at: str) -> Iterator[Mistake]:
    if peer.ip_block is not None:
        yield from refused_block(peer.ip_block, at)
        return
    if peer.pod_selector is None and peer.namespace_selector is None:
        yield refused(at, f"{at} is empty: a peer needs a podSelector, a namespaceSelector or an ipBlock")
        return
    spaces = _namespaces(view, policy, peer)
    if spaces is None:
        return
    if not spaces:
        yield _no_namespace(view, peer.namespace_selector or LabelSelector(), f"{at}.namespaceSelector")
        return
    selector = peer.pod_selector
    if selector is None or selects_all(selector) or not _all_known(view, policy, spaces):
        return
    if any(True for space in spaces for _ in islice(matching(view, space, selector), 1)):
        return
    yield from _no_pod(view, policy, spaces, selector, f"{at}.podSelector", peer.namespace_selector is None)


def _namespaces(view: View, policy: NetworkPolicy, peer: PolicyPeer) -> tuple[str, ...] | None:
    """The namespaces that a peer's pods are in; ``None`` where they are not known."""
    selector = peer.namespace_selector
    if selector is None:
        return (policy.namespace,)
    if not view.complete(Kind.NAMESPACE) or not view.snapshot.of(Kind.NAMESPACE):
        return None
    return tuple(
        n.name
        for n in view.snapshot.of(Kind.NAMESPACE)
        if selects(selector, {NAME_LABEL: n.name, **n.labels})
    )


def _all_known(view: View, policy: NetworkPolicy, spaces: Iterable[str]) -> bool:
    """Whether all pods of the namespaces are held; those of others than the policy's own are not asked for."""
    return all(
        view.complete(Kind.POD, Scope(s))
        if s == policy.namespace
        else view.snapshot.knows(Kind.POD, Scope(s))
        for s in spaces
    )


def _no_namespace(view: View, selector: LabelSelector, at: str) -> Mistake:
    namespaces = view.snapshot.of(Kind.NAMESPACE)
    names = {n.name for n in namespaces}
    near, evidence = _nearest(selector, [(n.name, {NAME_LABEL: n.name, **n.labels}) for n in namespaces])
    change: object = None
    labels = selector.match_labels or {}
    if len(labels) == 1 and not selector.match_expressions:
        [(key, value)] = labels.items()
        meant = [value] if value in names else near_names(value, names, 1) if key == NAME_LABEL else []
        if meant:
            near = True
            evidence = (f"namespace {meant[0]} exists; its name is in its label {NAME_LABEL}",)
            change = {"matchLabels": {NAME_LABEL: meant[0]}}
    return Mistake(
        at,
        (f"namespaceSelector {_words(selector)} matches none of {len(namespaces)} namespaces", *evidence),
        "The peer lets nobody in and nothing out.",
        Severity.WARNING if near else Severity.INFO,
        change,
    )


def _no_pod(
    view: View,
    policy: NetworkPolicy,
    spaces: tuple[str, ...],
    selector: LabelSelector,
    at: str,
    own: bool,
) -> Iterator[Mistake]:
    where = listed(spaces, 3)
    carriers: Carriers = []
    for space in spaces[:LOOKED_AT]:
        templates = _templates(view, space) if space == policy.namespace else []
        if any(selects(selector, labels) for _, labels in templates):
            return
        carriers += [*carriers_of(view.snapshot.pods_in(space)), *templates]
    near, evidence = _nearest(selector, carriers)
    explanation = "The peer lets nobody in and nothing out."
    if own and selector.match_labels:
        held = [n.name for n in view.snapshot.of(Kind.NAMESPACE) if n.name != policy.namespace]
        others = [n for n in held if any(True for _ in islice(matching(view, n, selector), 1))]
        if others:
            near, evidence = True, (f"pods with these labels are in namespace {listed(others, 3)}",)
            explanation += (
                " Without a namespaceSelector beside it a podSelector looks in the policy's namespace only."
            )
    yield Mistake(
        at,
        (f"podSelector {_words(selector)} matches no pod of namespace {where}", *evidence),
        explanation,
        Severity.WARNING if near else Severity.INFO,
    )


def _words(selector: LabelSelector) -> str:
    terms = [f"{k}={v}" for k, v in (selector.match_labels or {}).items()]
    for e in selector.match_expressions or ():
        terms.append(" ".join(filter(None, (e.key, e.operator, ",".join(e.values or ())))))
    return ",".join(terms) or "{}"


def _led_to(view: View, policy: NetworkPolicy, peers: tuple[PolicyPeer, ...]) -> tuple[Pod, ...]:
    """The pods that an egress rule leads to, where it leads to known pods only."""
    found: list[Pod] = []
    for peer in peers:
        spaces = _namespaces(view, policy, peer) if peer.ip_block is None else None
        if not spaces or not _all_known(view, policy, spaces):
            return ()
        for space in spaces:
            chosen = matching(view, space, peer.pod_selector or LabelSelector())
            found += islice(chosen, LOOKED_AT + 1)
    return tuple(found)
