"""DNS006 for a NetworkPolicy by itself: it isolates pods for egress, and nothing lets their queries out."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from svcdoctor.checks.policyrules import matching
from svcdoctor.checks.registry import Case, Raised, listed
from svcdoctor.dataplane.policy import Answer, Direction, Party, PartyKind, directions, rules_of
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.path.policies import known_in, pod_party, policy_names, policy_subject, ruled

PORT = 53
QUERY = "UDP"  # what every resolver begins with

_RULE = '{"ports":[{"protocol":"UDP","port":53},{"protocol":"TCP","port":53}]}'


def no_way_to_dns(case: Case) -> Iterator[Raised]:
    """Where no rule of any policy lets one of the pods ask any other on port 53.

    Pods that may go nowhere at all are meant to: that they cannot ask is worth knowing. Raised for the first only of
    the policies that isolate the same pod.
    """
    target = case.trace.target
    if target.kind != "NetworkPolicy":
        return
    view = case.view
    policy = view.snapshot.find(Kind.NETWORK_POLICY, target.namespace, target.name, NetworkPolicy)
    if policy is None or Direction.EGRESS not in directions(policy):
        return
    if not view.complete(Kind.POD, Scope(policy.namespace)) or not known_in(view, policy.namespace):
        return
    pods = matching(view, policy.namespace, policy.spec.pod_selector)
    for pod in islice((p for p in pods if not p.spec.host_network), 1):
        found = ruled(view, Direction.EGRESS, pod_party(view, pod, 4), Party(PartyKind.POD), PORT, QUERY)
        if found.answer is not Answer.DENIED or found.policies[0] is not policy:
            continue
        allowed = [p.name for p in found.policies if rules_of(p, Direction.EGRESS)]
        evidence = [f"no egress rule of {policy_names(found.policies)} allows {PORT}/{QUERY}"]
        if allowed:
            evidence.append(f"other ports are allowed by {listed(allowed, 3)}")
        rules = bool(rules_of(policy, Direction.EGRESS))
        change = f'"path":"/spec/egress{"/-" if rules else ""}","value":{_RULE if rules else f"[{_RULE}]"}'
        yield Raised(
            (policy_subject(policy),),
            tuple(evidence),
            f"Pod {pod.name} and others like it can look up no name.",
            f"kubectl -n {policy.namespace} patch networkpolicy {policy.name} --type=json "
            f'-p \'[{{"op":"add",{change}}}]\'',
            Severity.WARNING if allowed else Severity.INFO,
            "spec.egress",
        )
