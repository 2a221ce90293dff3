"""What is wrong with a NetworkPolicy's ports and blocks: what no pod has, and what the API server refuses.

What may live here: looking at one port or block of a rule. It is raised, as NOD014, in ``networkpolicies``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from svcdoctor.checks.registry import Raised, listed
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.dataplane.policy import Direction, NamedPort, directions, is_port, rules_of
from svcdoctor.model.finding import Severity
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import IPBlock, NetworkPolicy, PolicyPort
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import network
from svcdoctor.path.policies import policy_subject
from svcdoctor.path.view import View


@dataclass(frozen=True, slots=True)
class Mistake:
    """``field`` is where it is written, ``meant`` what probably ought to stand there, where that is known."""

    field: str
    evidence: tuple[str, ...]
    explanation: str
    severity: Severity
    meant: object = None

    def raised(self, policy: NetworkPolicy) -> Raised:
        fix = f"kubectl -n {policy.namespace} edit networkpolicy {policy.name} ({self.field})"
        if self.meant is not None:
            fix = replacing(policy, self.field, self.meant)
        return Raised(
            (policy_subject(policy),), self.evidence, self.explanation, fix, self.severity, self.field
        )


def replacing(policy: NetworkPolicy, field: str, value: object) -> str:
    """The command that puts another value into a field of the policy (JSON Patch, RFC 6902)."""
    pointer = "/" + "/".join(re.findall(r"[^.\[\]]+", field))
    body = json.dumps([{"op": "replace", "path": pointer, "value": value}], separators=(",", ":"))
    return f"kubectl -n {policy.namespace} patch networkpolicy {policy.name} --type=json -p '{body}'"


def service_port_field(policy: NetworkPolicy, names: set[int | str], protocol: str) -> str | None:
    """Where the policy names one of a Service's ports, by number or name."""
    for direction in directions(policy):
        for i, (_, ports) in enumerate(rules_of(policy, direction)):
            for j, port in enumerate(ports):
                if port.port in names and not port.end_port and (port.protocol or "TCP") == protocol:
                    return f"spec.{direction}[{i}].ports[{j}].port"
    return None


# --- what the API server refuses


def refused(at: str, evidence: str) -> Mistake:
    return Mistake(at, (evidence,), "The API server refuses such a policy.", Severity.ERROR)


def refused_block(block: IPBlock, at: str) -> Iterator[Mistake]:
    """A CIDR that is none, and exceptions from what it does not contain."""
    whole = network(block.cidr)
    if whole is None:
        yield refused(f"{at}.ipBlock.cidr", f"{block.cidr!r} is no network in CIDR notation")
        return
    for k, text in enumerate(block.except_ or ()):
        part = network(text)
        inside = (
            part is not None
            and part.version == whole.version
            and part.prefixlen > whole.prefixlen
            and part.network_address in whole
        )
        if not inside:
            yield refused(f"{at}.ipBlock.except[{k}]", f"except {text} is no part of cidr {block.cidr}")


def refused_port(port: PolicyPort, at: str) -> Iterator[Mistake]:
    """A range of ports that ends before it begins, or has no number to begin with."""
    if port.end_port is None:
        return
    if not isinstance(port.port, int):
        yield refused(f"{at}.endPort", f"endPort {port.end_port} needs a numeric port beside it")
    elif port.end_port < port.port:
        yield refused(f"{at}.endPort", f"endPort {port.end_port} is less than port {port.port}")


# --- what no pod has


def unknown_port(
    view: View,
    policy: NetworkPolicy,
    direction: Direction,
    port: PolicyPort,
    at: str,
    servers: tuple[Pod, ...],
) -> Iterator[Mistake]:
    """A port that none of the pods has which the rule is about."""
    protocol, wanted = port.protocol or "TCP", port.port
    if wanted is None or port.end_port:
        return
    declared = _declared(servers)
    if isinstance(wanted, int):
        if not any(number == wanted for _, number, _ in declared):
            yield from _service_number(view, policy, direction, port, at, servers)
        return
    if any((name, proto) == (wanted, protocol) for name, _, proto in declared):
        return
    names = list(dict.fromkeys(name for name, _, proto in declared if name and proto == protocol))
    evidence = [f"{wanted} is the name of no {protocol} port of {_pods(servers)}"]
    meant: object = next(iter(near_names(wanted, names, 1)), None)
    targets = _targets(view, servers, wanted, protocol)
    if any(name == wanted for name, _, _ in declared):
        evidence.append(f"{wanted} is there for another protocol; a rule without protocol is for TCP")
    elif targets:
        number, service = next(iter(targets.items()))
        evidence.append(
            f"Service {service.namespace}/{service.name} calls its port so; the pods take {number}"
        )
        meant = number
    elif names:
        evidence.append(f"their ports are named {listed(names)}")
    yield Mistake(
        f"{at}.port",
        tuple(evidence),
        "A name that the pod does not have stands for no port: the rule allows nothing.",
        Severity.WARNING,
        meant,
    )


def _service_number(
    view: View,
    policy: NetworkPolicy,
    direction: Direction,
    port: PolicyPort,
    at: str,
    servers: tuple[Pod, ...],
) -> Iterator[Mistake]:
    """A number that is a Service's port, where its pods take another one, which no rule allows."""
    assert isinstance(port.port, int)
    protocol = port.protocol or "TCP"
    targets = _targets(view, servers, port.port, protocol)
    if port.port in targets or not targets:
        return
    number, service = next(iter(targets.items()))
    named = _declared(servers)
    for other in view.world.policies.get(policy.namespace, ()):
        for _, ports in rules_of(other, direction) if direction in directions(other) else ():
            if not ports or any(is_port(p, named, number, protocol) for p in ports):
                return
    yield Mistake(
        f"{at}.port",
        (
            f"port {port.port} is the port of Service {service.namespace}/{service.name}; its pods take {number}",
            f"no policy of {policy.namespace} has an {direction} rule for {number}/{protocol}",
        ),
        "Policies look at packets after the Service's port was translated to the pod's: nothing comes by with this "
        "one, and no rule allows the other.",
        Severity.WARNING,
        number,
    )


def _declared(pods: tuple[Pod, ...]) -> list[NamedPort]:
    return [
        (p.name, p.container_port, p.protocol)
        for pod in pods
        for c in pod.serving_containers
        for p in c.ports or ()
    ]


def _targets(view: View, pods: tuple[Pod, ...], wanted: int | str, protocol: str) -> dict[int, Service]:
    """The pods' ports that Services offer under this name or number, each with its Service."""
    found: dict[int, Service] = {}
    for namespace in {p.namespace for p in pods}:
        labels = [p.labels for p in pods if p.namespace == namespace]
        named = _declared(tuple(p for p in pods if p.namespace == namespace))
        for service in view.snapshot.services_in(namespace):
            selector = service.spec.selector
            if not selector or service.headless or not any(matches_labels(selector, ls) for ls in labels):
                continue
            for p in service.ports:
                if wanted not in (p.port, p.name) or p.protocol != protocol:
                    continue
                numbers = [n for name, n, proto in named if (name, proto) == (p.target, protocol)]
                for number in [p.target] if isinstance(p.target, int) else numbers:
                    found.setdefault(number, service)
    return found


def _pods(pods: tuple[Pod, ...]) -> str:
    return f"pod {listed((p.name for p in pods), 3)}"
