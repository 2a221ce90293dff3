"""A Service's own rules on one node, as the tree that its packets take.

What may live here: putting the rules that packets passed through together. A packet from outside, one from a pod
of the node and one of the node itself are sent to every frontend; what they passed through, merged by common
beginnings, is the tree. Rules that no packet of the Service meets are not in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from svcdoctor.dataplane.hooks import Fate, Outcome
from svcdoctor.dataplane.language import Op, Rule
from svcdoctor.dataplane.packet import address_text
from svcdoctor.model.service import Service
from svcdoctor.path.audit import Auditor, Place, places
from svcdoctor.path.world import World


@dataclass(slots=True)
class Branch:
    """One rule, who meets it with which probability, and the rules after it.

    ``ends`` says what becomes of the packets for which it is the last rule, and of which share of a client's.
    """

    rule: Rule | None
    shares: dict[str, float] = field(default_factory=dict)
    ends: dict[str, float] = field(default_factory=dict)
    next: dict[int, Branch] = field(default_factory=dict)

    @property
    def meaning(self) -> str:
        """What the rule does, in words."""
        if self.rule is None:
            return ""
        return ", ".join(filter(None, (_meaning(op, arg) for op, arg in self.rule.actions)))


@dataclass(frozen=True, slots=True)
class Tree:
    """The rules that packets to one frontend pass through."""

    place: Place
    root: Branch


def trees(world: World, name: str, service: Service) -> list[Tree]:
    """A tree for every frontend of the Service on a node whose rules were collected."""
    node = world.hosts.node(name)
    if node is None:
        return []
    auditor = Auditor(world, name, node)
    found = []
    for place in places(world, name, node):
        if place.frontend.service is not service:
            continue
        root = Branch(None)
        for client, outcomes in auditor.outcomes(place):
            for outcome in outcomes:
                _insert(world, root, client, outcome)
        found.append(Tree(place, root))
    return found


def _insert(world: World, root: Branch, client: str, outcome: Outcome) -> None:
    share = outcome.packet.probability
    branch = root
    branch.shares[client] = branch.shares.get(client, 0.0) + share
    for rule in outcome.rules:
        key = id(rule)
        if key not in branch.next:
            branch.next[key] = Branch(rule)
        branch = branch.next[key]
        branch.shares[client] = branch.shares.get(client, 0.0) + share
    end = _end(world, outcome)
    branch.ends[end] = max(share, branch.ends.get(end, 0.0))


def _end(world: World, outcome: Outcome) -> str:
    live = outcome.packet
    if outcome.fate is Fate.UNKNOWN:
        return f"unknown: {outcome.reason}"
    if outcome.fate in (Fate.DROPPED, Fate.REJECTED):
        return f"{outcome.fate}: {outcome.reason}" if outcome.reason else str(outcome.fate.value)
    if not outcome.translated:
        return "no rule takes it"
    ip = address_text(live.family, live.dst)
    pods = world.snapshot.pods_by_ip.get(ip, ())
    owner = world.snapshot.nodes_by_ip.get(ip)
    who = (
        f"node {owner}"
        if owner
        else f"pod {pods[0].namespace}/{pods[0].name}"
        if pods
        else "no pod's address"
    )
    where = f" on {pods[0].spec.node_name}" if pods and not owner and pods[0].spec.node_name else ""
    source = ", masqueraded" if live.masquerade else ""
    return f"{who}{where}{source}"


def _meaning(op: Op, argument: object) -> str:
    if op is Op.CHANCE:
        return f"{float(argument) * 100:.1f} %"  # type: ignore[arg-type]
    words = {
        Op.ACCEPT: "accept",
        Op.DROP: "drop",
        Op.REJECT: "reject",
        Op.MASQUERADE: "masquerade",
        Op.DNAT: "send to the endpoint",
        Op.UNKNOWN: "not modelled",
    }
    return words.get(op, "")
