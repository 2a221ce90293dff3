"""A line of iptables-save as a Rule of the one language. Satisfies ``Dialect``.

A rule's own tests come first, then its matches in their order, then its target. A match that changes something
as it matches (``-m recent --set``) is carried out only where everything before it holds, and what follows it is
tested after it, as the kernel does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from svcdoctor.dataplane.iptablesheader import Scope, own_test, unknown
from svcdoctor.dataplane.iptableskeys import demanded
from svcdoctor.dataplane.iptablesmatches import match_steps
from svcdoctor.dataplane.iptablesnat import netmap
from svcdoctor.dataplane.iptablesoptions import TARGETS, WITHOUT_EFFECT
from svcdoctor.dataplane.iptablesquick import quickly
from svcdoctor.dataplane.iptablestargets import target_actions
from svcdoctor.dataplane.iptableswords import RuleWords, Section, rule_words
from svcdoctor.dataplane.language import Action, Chain, Op, Rule, Test

_BEGINNING = re.compile(rb"(?:\[(\d+):(\d+)\] )?-A \S+ ?")
LONGEST = 1 << 16  # bytes of a rule; iptables writes none that is longer
_EFFECTIVE = frozenset(Op) - {Op.CHANCE, Op.WHEN}


class Called(NamedTuple):
    """What a rule asks of its ruleset: a chain by table and name, and which builtin chains lead to a chain."""

    chain: Callable[[str, str], Chain | None]
    reached_from: Callable[[str, str], frozenset[str]]


class IptablesDialect:
    """How iptables' options are read, for one family on one node."""

    def __init__(self, scope: Scope, called: Called) -> None:
        self.scope = scope
        self.called = called

    def text(self, raw: bytes) -> str:
        """The rule as iptables-save writes it, without counters and without ``-A CHAIN``."""
        beginning = _BEGINNING.match(raw)
        return raw[beginning.end() if beginning else 0 : LONGEST].decode("utf-8", "backslashreplace").strip()

    def packets(self, raw: bytes) -> int | None:
        beginning = _BEGINNING.match(raw)
        return int(beginning[1]) if beginning and beginning[1] else None

    def octets(self, raw: bytes) -> int | None:
        beginning = _BEGINNING.match(raw)
        return int(beginning[2]) if beginning and beginning[2] else None

    def key(self, raw: bytes) -> tuple[int | None, int | None]:
        return demanded(raw, self.scope.family)

    def translate(self, chain: Chain, number: int, raw: bytes) -> Rule:
        if len(raw) > LONGEST:
            why = f"rule {number} of {chain.table} {chain.name} is longer than any that iptables writes"
            return Rule(chain, number, raw, (), ((Op.UNKNOWN, why),))
        plain = quickly(chain, number, raw, self.scope.family, self.called.chain)
        if plain is not None:
            return plain
        try:
            words = rule_words(self.text(raw))
        except ValueError as e:
            why = f"rule {number} of {chain.table} {chain.name} cannot be read: {e}"
            return Rule(chain, number, raw, (), ((Op.UNKNOWN, why),))
        tests = self._own(words)
        actions: list[Action] = []
        changed = False
        for section in words.matches:
            for step in match_steps(section, self.scope):
                if not callable(step):
                    actions.append(step)
                    changed = changed or step[0] is Op.CHANGE
                elif changed:
                    actions.append((Op.WHEN, (step,)))
                else:
                    tests.append(step)
        if words.target is not None:
            actions += self._target(chain, words.target, words.goto)
        if not _EFFECTIVE.intersection(op for op, _ in actions):
            actions = []  # it counts only
        return Rule(chain, number, raw, tests, actions)

    def _own(self, words: RuleWords) -> list[Test]:
        tests: list[Test] = []
        for option in words.own:
            try:
                test = own_test(option, self.scope)
            except ValueError as e:
                test = unknown(f"-{option.name} cannot be read: {e}")
            if test is not None:
                tests.append(test)
        return tests

    def _target(self, chain: Chain, target: Section, goto: bool) -> list[Action]:
        name = target.name
        called = self.called.chain(chain.table, name)
        if called is not None:
            return [(Op.GOTO if goto else Op.JUMP, called)]
        if name == "NETMAP":
            return self._netmap(chain, target)
        if goto or (name not in TARGETS and name not in WITHOUT_EFFECT and not name.isupper()):
            return [(Op.UNKNOWN, f"chain {name} of table {chain.table} is not in the dump")]
        if name not in TARGETS and name not in WITHOUT_EFFECT:
            why = f"{name} is no target that is modelled, and no chain of table {chain.table} in the dump"
            return [(Op.UNKNOWN, why)]
        return target_actions(target, self.scope)

    def _netmap(self, chain: Chain, target: Section) -> list[Action]:
        hooks = self.called.reached_from(chain.table, chain.name)
        destination = bool(hooks & {"PREROUTING", "OUTPUT"})
        source = bool(hooks & {"POSTROUTING", "INPUT"})
        if destination is source:
            return [(Op.UNKNOWN, f"which hook calls {chain.name}, which says what NETMAP maps, is not clear")]
        try:
            return netmap(target, self.scope, source)
        except ValueError as e:
            return [(Op.UNKNOWN, f"-j NETMAP cannot be read: {e}")]
