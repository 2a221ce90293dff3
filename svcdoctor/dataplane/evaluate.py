"""One base chain, one packet: every way that it can go, with exact probabilities.

The state of a branch is the rule it stands at, the chains that it will return to, and its Packet. Randomness
makes branches, nothing else does. What each action does to a branch:

    accept, dnat, snat, masquerade, redirect   ends this base chain, the packet goes on to the next one
    drop, reject                               ends the packet
    jump                                       the called chain, then the next rule here
    goto                                       the called chain, then the rule after the last jump
    return, end of a called chain              the rule after the last jump; in the base chain: its policy
    change, notrack                            the next action of this rule
    chance p                                   p: the next action; 1-p: the next rule
    choose                                     a branch for each choice
    unknown                                    ends the branch with what is not known

The kernel's words for it: nft_do_chain in net/netfilter/nf_tables_core.c and ipt_do_table in
net/ipv4/netfilter/ip_tables.c, which agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias, cast

from svcdoctor.dataplane.language import (
    ACTS,
    MAY_JUMP,
    NOTHING,
    SENDS,
    Action,
    BaseChain,
    Op,
    Rule,
    Test,
)
from svcdoctor.dataplane.packet import DNATTED, INVALID, UNTRACKED, Packet, WatchedPacket

ACCEPTED, TRANSLATED, POLICY, DROPPED, REJECTED, UNKNOWN = range(6)
# How the packet left the chain (TRANSLATED: accepted by a NAT action; POLICY: no rule decided, the policy
# accepts), the packet, and how it was rejected, which policy dropped it, or why it is not known.
Ending: TypeAlias = "tuple[int, Packet, str]"

# The rules of a chain, the next index in them, where that chain returns to, and how deep that is.
Frame: TypeAlias = "tuple[tuple[Rule, ...], int, Frame, int] | None"
Place: TypeAlias = "tuple[tuple[Rule, ...], int, Frame]"

DEEPEST = 128  # nested jumps; the kernel allows 16 in nftables, and no loop
LOOP = "the chains call each other too deep, or in a loop"
MOST_STEPS = 200_000  # rules that one packet's branches may visit in one base chain
MOST_BRANCHES = 20_000


def run(base: BaseChain, packet: Packet) -> list[Ending]:
    """Every ending of the packet in this base chain; their probabilities sum up to the packet's own.

    The packet is changed in place; branches are copies of it.
    """
    first = base.chain.for_packet(packet)
    walk = _Walk(base)
    if not first:
        walk.by_policy(packet)
    else:
        walk.work.append(((first, 0, None), packet))
        walk.on()
    return walk.endings


def holds(tests: Sequence[Test], packet: Packet) -> bool | str:
    """Whether all tests hold. One that does not decides, even where another cannot be told."""
    unknown: bool | str = True
    for test in tests:
        answer = test(packet)
        if answer is True:
            continue
        if answer is False:
            return False
        unknown = answer
    return unknown


class _Walk:
    """The branches of one packet in one base chain."""

    __slots__ = ("base", "endings", "steps", "work")

    def __init__(self, base: BaseChain) -> None:
        self.base = base
        self.endings: list[Ending] = []
        self.work: list[tuple[Place, Packet]] = []
        self.steps = 0

    def on(self) -> None:
        """Follow every branch to its end."""
        work, endings = self.work, self.endings
        while work:
            (rules, at, back), packet = work.pop()
            while True:
                if at == len(rules):
                    if back is None:
                        self.by_policy(packet)
                        break
                    rules, at, back = _return_to(back, packet)
                    continue
                rule = rules[at]
                at += 1
                unknown: bool | str = True
                tests = rule.tests if packet.passed is None else _watched(packet, rule.tests)
                for test in tests:
                    answer = test(packet)
                    if answer is True:
                        continue
                    if answer is False:
                        break
                    unknown = answer
                else:
                    shape = rule.shape
                    if shape == NOTHING:
                        continue
                    if unknown is not True and _fails(rule.actions, packet):
                        continue
                    self.steps += 1
                    missed = packet.trail
                    packet.trail = (rule, missed)
                    if unknown is not True:
                        endings.append((UNKNOWN, packet, str(unknown)))
                        break
                    if self.steps > MOST_STEPS or len(endings) + len(work) > MOST_BRANCHES:
                        endings.append((UNKNOWN, packet, "more rules or branches than are followed"))
                        break
                    if shape == ACTS:
                        place = self.act(rule.actions, (rules, at, back), packet, missed)
                        if place is None:
                            break
                        rules, at, back = place
                        continue
                    if shape == SENDS:
                        before = packet.dst, packet.dport
                        packet.dst, packet.dport = rule.to
                        if before != rule.to:
                            packet.ctstatus |= DNATTED
                        endings.append((TRANSLATED, packet, ""))
                        break
                    if shape == MAY_JUMP:
                        chance, chain = rule.to
                        other = packet.copy()
                        other.probability *= 1.0 - chance
                        other.trail = missed
                        work.append(((rules, at, back), other))
                        packet.probability *= chance
                    else:
                        chain = rule.to
                    called = chain.for_packet(packet)
                    if not called:
                        packet.trail = missed
                        continue
                    depth = back[3] + 1 if back is not None else 1
                    if depth > DEEPEST:
                        endings.append((UNKNOWN, packet, LOOP))
                        break
                    rules, at, back = called, 0, (rules, at, back, depth)

    def by_policy(self, packet: Packet) -> None:
        if self.base.accepts:
            self.endings.append((POLICY, packet, ""))
        else:
            chain = self.base.chain
            self.endings.append((DROPPED, packet, f"policy DROP of {chain.table} {chain.name}"))

    def act(self, actions: tuple[Action, ...], after: Place, packet: Packet, missed: object) -> Place | None:
        """Carry out a matched rule's actions: where the branch goes on, ``None`` where it ended.

        ``after`` is the next rule, ``missed`` the trail of a packet that the rule does not match after all.
        """
        for position, (op, argument) in enumerate(actions):
            if op is Op.JUMP:
                called = argument.for_packet(packet)
                if not called:
                    packet.trail = missed  # type: ignore[assignment]
                    return after
                back = after[2]
                depth = back[3] + 1 if back is not None else 1
                if depth > DEEPEST:
                    self.endings.append(
                        (UNKNOWN, packet, "the chains call each other too deep, or in a loop")
                    )
                    return None
                return called, 0, (*after, depth)
            if op is Op.GOTO:
                return argument.for_packet(packet), 0, after[2]
            if op is Op.CHANGE:
                why = argument(packet)
                if why is not None:
                    self.endings.append((UNKNOWN, packet, why))
                    return None
            elif op is Op.CHANCE:
                if argument < 1.0:
                    other = packet.copy()
                    other.probability *= 1.0 - argument
                    other.trail = missed  # type: ignore[assignment]
                    self.work.append((after, other))
                    packet.probability *= argument
            elif op is Op.WHEN:
                answer = holds(argument if packet.passed is None else _watched(packet, argument), packet)
                if answer is False:
                    return after
                if answer is not True:
                    if _fails(actions[position + 1 :], packet):
                        return after
                    self.endings.append((UNKNOWN, packet, str(answer)))
                    return None
            elif op is Op.CHOOSE:
                if packet.passed is None:
                    choices = argument(packet)
                else:
                    choices = cast("WatchedPacket", packet).watch(argument, packet)
                self._choose(choices, actions[position + 1 :], after, packet, missed)
                return None
            elif op is Op.RETURN:
                if after[2] is None:
                    self.by_policy(packet)
                    return None
                return _return_to(after[2], packet)
            elif op is Op.STOP:
                return after
            elif op is Op.NOTRACK:
                if packet.ct == INVALID:  # it has no connection yet, or none at all
                    packet.ct = UNTRACKED
            else:
                self.endings.append(_end(op, argument, packet))
                return None
        return after

    def _choose(
        self,
        choices: str | Sequence[tuple[float, tuple[Action, ...]]],
        rest: tuple[Action, ...],
        after: Place,
        packet: Packet,
        missed: object,
    ) -> None:
        if isinstance(choices, str):
            self.endings.append((UNKNOWN, packet, choices))
            return
        going_on = []
        last = len(choices) - 1
        for position, (probability, actions) in enumerate(choices):
            branch = packet if position == last else packet.copy()
            branch.probability *= probability
            place = self.act(actions + rest, after, branch, missed)
            if place is not None:
                going_on.append((place, branch))
        self.work.extend(reversed(going_on))


def _fails(actions: Sequence[Action], packet: Packet) -> bool:
    """Whether tests that come before anything is changed do not hold, whatever the tests before them say."""
    for op, argument in actions:
        if op is Op.WHEN:
            if holds(argument if packet.passed is None else _watched(packet, argument), packet) is False:
                return True
        elif op is not Op.CHANCE:
            return False
    return False


def _watched(packet: Packet, tests: Sequence[Test]) -> Sequence[Test]:
    return cast("WatchedPacket", packet).watched(tests)


def _return_to(back: Frame, packet: Packet) -> Place:
    """To the rule after the jump. Jumps that led to nothing leave no trace in the packet's trail."""
    assert back is not None
    rules, at, further, _ = back
    jump = rules[at - 1]
    trail = packet.trail
    while trail is not None and trail[0].leads_on:
        rule, trail = trail
        if rule is jump:
            packet.trail = trail
            break
    return rules, at, further


def _end(op: Op, argument: object, packet: Packet) -> Ending:
    """A verdict that ends the base chain."""
    if op is Op.ACCEPT:
        return ACCEPTED, packet, ""
    if op is Op.DROP:
        return DROPPED, packet, ""
    if op is Op.REJECT:
        return REJECTED, packet, str(argument)
    if op is Op.UNKNOWN:
        return UNKNOWN, packet, str(argument)
    if op is Op.MASQUERADE:
        packet.masquerade = True
        return TRANSLATED, packet, ""
    address, port = cast("tuple[int | None, int | None]", argument)
    if op is Op.SNAT:
        packet.snat = (packet.src if address is None else address, port)
        return TRANSLATED, packet, ""
    before = packet.dst, packet.dport
    if op is Op.REDIRECT:
        packet.redirected = True
    if address is not None:
        packet.dst = address
    if port is not None:
        packet.dport = port
    if before != (packet.dst, packet.dport):
        packet.ctstatus |= DNATTED
    return TRANSLATED, packet, ""
