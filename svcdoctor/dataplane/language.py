"""The one language that iptables and nftables rules are translated into, and what it means.

The kernel does the same: iptables-nft rules are nftables rules, and both answer the same hooks. A ``Rule`` is a
tuple of pure tests, then a tuple of actions that are carried out in order once every test holds.

* A test is called with the Packet. It answers ``True``, ``False``, or, as text, why that cannot be said: a
  module that is not modelled, a field that is not known. A rule with a false test does not match, whatever the
  others say; a rule that could match but for an unknown test makes its branch unknown. Nothing is ever
  guessed.
* An action is a pair of an ``Op`` and its argument. ``CHANGE`` changes the packet and goes on; ``CHANCE``
  splits the branch; ``WHEN`` ends the rule unless its tests hold (nftables may test after it changed); the
  verdicts end the chain. A rule that runs out of actions goes on with the next rule.

Chains are translated lazily, rule by rule, when a packet reaches them, and long ones are looked up by
destination address and port instead of walked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from heapq import merge
from typing import Any, Final, Protocol, TypeAlias

from svcdoctor.dataplane.packet import Packet

Test: TypeAlias = Callable[[Packet], "bool | str"]
Action: TypeAlias = "tuple[Op, Any]"
Trail: TypeAlias = "tuple[Rule, Trail] | None"  # the rules a packet matched, the last one first


class Op(IntEnum):
    """What an action does; its argument in brackets."""

    ACCEPT = 1  # ends this base chain, the packet goes on [None]
    DROP = 2  # [None]
    REJECT = 3  # drops and tells the sender [how: "icmp-port-unreachable", "tcp-reset", …]
    RETURN = 4  # [None]
    JUMP = 5  # [Chain]
    GOTO = 6  # [Chain]
    CHANGE = 7  # [callable(Packet) -> None, or text: why it cannot be said]
    CHANCE = 8  # [the probability that the rule goes on with its next action]
    WHEN = 9  # [tuple of tests]
    CHOOSE = 10  # [callable(Packet) -> Choices, or text]: one of several lists of actions
    DNAT = 11  # [(address or None, port or None)]; accepts
    SNAT = 12  # [(address or None, port or None)]; accepts
    MASQUERADE = 13  # [None]; accepts
    REDIRECT = 14  # to this node itself [(None, port or None)]; accepts
    NOTRACK = 15  # no conntrack, no NAT for this packet; goes on [None]
    UNKNOWN = 16  # not modelled [why]
    STOP = 17  # ends this rule, the next one follows [None]


Choices: TypeAlias = "Sequence[tuple[float, tuple[Action, ...]]]"

LEADING: Final = frozenset({Op.JUMP, Op.GOTO, Op.RETURN, Op.CHOOSE, Op.CHANCE, Op.WHEN, Op.STOP})
ACCEPT: Final[tuple[Action, ...]] = ((Op.ACCEPT, None),)
DROP: Final[tuple[Action, ...]] = ((Op.DROP, None),)
RETURN: Final[tuple[Action, ...]] = ((Op.RETURN, None),)


class Rule:
    """One rule, translated. ``number`` counts from 1 within its chain, ``raw`` is its source."""

    __slots__ = ("actions", "chain", "leads_on", "number", "raw", "shape", "tests", "to")

    def __init__(
        self, chain: Chain, number: int, raw: Any, tests: Sequence[Test], actions: Sequence[Action]
    ) -> None:
        self.chain = chain
        self.number = number
        self.raw = raw
        self.tests = tuple(tests)
        self.actions = tuple(actions)
        self.shape, self.to = _shape(self.actions)
        # Whether it only says which rule comes next.
        self.leads_on = self.shape in (NOTHING, JUMPS, MAY_JUMP) or all(
            op in LEADING for op, _ in self.actions
        )

    @property
    def text(self) -> str:
        """The rule in its own tool's syntax."""
        return self.chain.dialect.text(self.raw)

    @property
    def packets(self) -> int | None:
        """How many packets it counted, where the dump has counters."""
        return self.chain.dialect.packets(self.raw)

    @property
    def octets(self) -> int | None:
        """How many bytes these packets had, IP headers included."""
        return self.chain.dialect.octets(self.raw)

    def __str__(self) -> str:
        return f"{self.chain.table} {self.chain.name} #{self.number}: {self.text}"


# Shapes of rules that are carried out without looking at their actions one by one.
NOTHING, JUMPS, MAY_JUMP, SENDS, ACTS = range(5)


def _shape(actions: tuple[Action, ...]) -> tuple[int, Any]:
    """The shape of a rule's actions, and what it needs: the chain, the chance and the chain, or the target."""
    if not actions:
        return NOTHING, None
    op, argument = actions[-1]
    if len(actions) == 1:
        if op is Op.JUMP:
            return JUMPS, argument
        if op is Op.DNAT and argument[0] is not None and argument[1] is not None:
            return SENDS, argument
    elif len(actions) == 2 and op is Op.JUMP and actions[0][0] is Op.CHANCE and actions[0][1] < 1.0:
        return MAY_JUMP, (actions[0][1], argument)
    return ACTS, None


class Dialect(Protocol):
    """How a table's rules are read: iptables' options or nftables' expressions."""

    def translate(self, chain: Chain, number: int, raw: Any) -> Rule:
        """The Rule that ``raw`` means. What is not modelled becomes a test or an action that says so."""

    def key(self, raw: Any) -> tuple[int | None, int | None]:
        """The one destination address and the one destination port that the rule demands, where it does.

        Either may be ``None`` although the rule demands one; a packet with another address or port must
        never match the rule. Addresses of the chain's own family only.
        """

    def text(self, raw: Any) -> str:
        """The rule as its own tool writes it, without counters."""

    def packets(self, raw: Any) -> int | None:
        """The rule's packet counter."""

    def octets(self, raw: Any) -> int | None:
        """The rule's byte counter."""


LONG = 24  # rules from which on a chain is looked up instead of walked
KEPT = 50_000  # looked-up sequences that a chain keeps


class Chain:
    """A named list of rules. ``table`` is ``nat`` for iptables, ``ip kube-proxy`` for nftables.

    ``where`` is the dump that it stands in, for messages.
    """

    __slots__ = (
        "_by_address",
        "_by_port",
        "_kept",
        "_rules",
        "_whole",
        "_wild",
        "dialect",
        "name",
        "raws",
        "table",
        "where",
    )

    def __init__(self, table: str, name: str, dialect: Dialect, raws: Sequence[Any], where: str = "") -> None:
        self.table = table
        self.name = name
        self.dialect = dialect
        self.raws = raws
        self.where = where
        self._rules: dict[int, Rule] | None = None  # those that were asked for, of a long chain
        self._whole: tuple[Rule, ...] | None = None  # once all were asked for
        self._by_address: dict[int, list[int]] | None = None  # until a packet was looked up
        self._by_port: dict[int, list[int]]
        self._wild: list[int]
        self._kept: dict[tuple[int | None, int | None], tuple[Rule, ...]]

    def __len__(self) -> int:
        return len(self.raws)

    def rule(self, number: int) -> Rule:
        """The rule with this number, counted from 1."""
        if self._whole is not None:
            return self._whole[number - 1]
        if self._rules is None:
            self._rules = {}
        found = self._rules.get(number)
        if found is None:
            found = self._rules[number] = self.dialect.translate(self, number, self.raws[number - 1])
        return found

    def rules(self) -> tuple[Rule, ...]:
        """Every rule in order."""
        if self._whole is None:
            held, translate = self._rules or {}, self.dialect.translate
            self._whole = tuple(
                [held.get(n) or translate(self, n, raw) for n, raw in enumerate(self.raws, 1)]
            )
            self._rules = None
        return self._whole

    def for_packet(self, packet: Packet) -> tuple[Rule, ...]:
        """The rules that this packet could match, in order. Constant time once a destination was seen."""
        whole = self._whole
        if whole is not None and len(whole) < LONG:
            return whole
        return self.rules() if len(self.raws) < LONG else self.looked_up(packet)

    def looked_up(self, packet: Packet) -> tuple[Rule, ...]:
        """The rules of a long chain that this packet could match."""
        by_address = self._by_address
        if by_address is None:
            by_address = self._index()
        dst, dport = packet.destination
        address = dst if dst in by_address else None
        port = dport if dport in self._by_port else None
        if packet.passed is not None:
            packet.passed.append((by_address, self._by_port, address, port))
        key = address, port
        kept = self._kept.get(key)
        if kept is None:
            kept = self._gather(key)
        return kept

    def _gather(self, key: tuple[int | None, int | None]) -> tuple[Rule, ...]:
        assert self._by_address is not None
        numbers = merge(
            self._wild,
            self._by_address[key[0]] if key[0] is not None else (),
            self._by_port[key[1]] if key[1] is not None else (),
        )
        if len(self._kept) > KEPT:
            self._kept.clear()
        found = self._kept[key] = tuple(self.rule(n) for n in numbers)
        return found

    def _index(self) -> dict[int, list[int]]:
        by_address: dict[int, list[int]] = {}
        by_port: dict[int, list[int]] = {}
        wild: list[int] = []
        key = self.dialect.key
        for number, raw in enumerate(self.raws, 1):
            address, port = key(raw)
            if address is not None:
                by_address.setdefault(address, []).append(number)
            elif port is not None:
                by_port.setdefault(port, []).append(number)
            else:
                wild.append(number)
        self._by_address, self._by_port, self._wild, self._kept = by_address, by_port, wild, {}
        return by_address


HOOKS = ("ingress", "prerouting", "input", "forward", "output", "postrouting")


class BaseChain:
    """A chain that the kernel calls at a hook: the lower the priority, the earlier.

    ``kind`` is ``filter``, ``nat`` or ``route``; ``families`` are 4 and/or 6 (an inet table has both).
    ``accepts`` is the policy. ``backend`` is ``iptables-legacy``, ``iptables-nft`` or ``nftables``. ``devices`` are
    the interfaces that an ingress chain is bound to, ``None`` where the dump does not tell.
    """

    __slots__ = ("accepts", "backend", "chain", "devices", "families", "hook", "kind", "priority")

    def __init__(
        self,
        chain: Chain,
        hook: str,
        priority: int,
        kind: str,
        families: frozenset[int],
        backend: str,
        accepts: bool = True,
        devices: frozenset[str] | None = None,
    ) -> None:
        self.devices = devices
        self.chain = chain
        self.hook = hook
        self.priority = priority
        self.kind = kind
        self.families = families
        self.backend = backend
        self.accepts = accepts


class Ruleset(Protocol):
    """One dump's rules: ``node`` reads them, the hooks run them."""

    where: str
    backend: str

    def base_chains(self) -> Sequence[BaseChain]:
        """Every base chain in the dump."""

    def tables(self) -> Sequence[str]:
        """The tables' names as chains carry them."""

    def chains(self, table: str) -> Sequence[str]:
        """The names of a table's chains."""

    def chain(self, table: str, name: str) -> Chain | None:
        """One chain of a table."""
