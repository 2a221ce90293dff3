"""What nft must do to get from one set of rules to another: as little as has changed, in one transaction.

Theory. What ``nft -f`` reads is one transaction: packets see the rules before it or those after it. Within it the
order counts. Elements that change are deleted first and chains emptied, so that nothing refers to what is then
deleted; what is new is made before anything refers to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from svcdoctor.dataplane.nfttext import rule_text
from svcdoctor.proxy.kernel.compile import Ruleset, affinity, elements_of, idle_table, numbers
from svcdoctor.proxy.kernel.layout import IPS, TABLE
from svcdoctor.proxy.kernel.portrules import PortRules, family_of
from svcdoctor.proxy.kernel.statements import Rule
from svcdoctor.proxy.kernel.tabletext import Key


def delta(old: Ruleset, new: Ruleset) -> str:
    """Text for ``nft -f``; empty where nothing has changed. Of one site. A family that nothing is left of keeps a
    table, so that its connections go on."""
    before, after = old.families, new.families
    texts = [new.table(ip) for ip in after if ip not in before]
    texts += [idle_table(ip) for ip in before if ip not in after]
    changed = [k for k, p in new.ports.items() if (o := old.ports.get(k)) is not p and o != p]
    changed += [key for key in old.ports if key not in new.ports]
    for ip in before:
        keys = [key for key in changed if IPS[family_of(key)] == ip]
        if ip in after and keys:
            texts.append("".join(f"{line}\n" for line in _changes(old, new, ip, keys)))
    return "".join(texts)


class _Side:
    """What one of the two has of the ports that differ, and of the elements that they want: by set or map, and key."""

    def __init__(self, ruleset: Ruleset, ip: str, keys: Iterable[str]) -> None:
        self.ruleset = ruleset
        self.ip = ip
        self.chains: dict[str, tuple[Rule, ...]] = {}
        self.clients: dict[str, int] = {}
        self.elements: dict[str, dict[Key, str]] = {}
        self.wanted: dict[Key, None] = {}
        self._rules: dict[str, PortRules] = {}
        for key in keys:
            if key in ruleset.ports:
                rules = self._of(key)
                self.chains |= rules.chains
                self.clients |= rules.clients
                self.wanted |= dict.fromkeys(rules.elements)
                self._add(elements_of(rules, ()))

    def _of(self, key: str) -> PortRules:
        if key not in self._rules:
            self._rules[key] = self.ruleset.rules(key)
        return self._rules[key]

    def _add(self, elements: Iterable[tuple[str, Key, str]]) -> None:
        for name, key, text in elements:
            self.elements.setdefault(name, {})[key] = text

    def claim(self, wanted: Iterable[Key]) -> None:
        """Add the elements of these keys; they are the first claimer's."""
        for key in wanted:
            claims = self.ruleset.claims.get((self.ip, key))
            if claims:
                self._add(elements_of(self._of(claims[0]), (key,)))


def _changes(old: Ruleset, new: Ruleset, ip: str, keys: list[str]) -> Iterator[str]:
    """The lines for one table, whose ports of these keys are not the same."""
    table = f"{ip} {TABLE}"
    before, after = _Side(old, ip, keys), _Side(new, ip, keys)
    for side in (before, after):
        side.claim({**before.wanted, **after.wanted})
    had, has = old.numbers(ip), new.numbers(ip)
    gone = [name for name in before.chains if name not in after.chains]
    made = [name for name in after.chains if name not in before.chains]
    altered = [n for n, rules in after.chains.items() if before.chains.get(n, rules) != rules]
    yield from _elements("delete", table, before.elements, after.elements)
    yield from (f"flush chain {table} {name}" for name in (*altered, *gone))
    yield from (f"delete chain {table} {name}" for name in gone)
    yield from (f"delete set {table} {name}" for name in before.clients if name not in after.clients)
    yield from (f"delete map {table} {name}" for name in had if name not in has)
    added = [affinity(ip, name, s) for name, s in after.clients.items() if name not in before.clients]
    added += [numbers(name) for name in has if name not in had]
    yield from (f"add {kept.kind} {table} {kept.name} {{ {kept.specification(ip)} }}" for kept in added)
    yield from (f"add chain {table} {name}" for name in made)
    for name in (*made, *altered):
        rules = after.chains[name]
        yield from (f"add rule {table} {name} {rule_text(r.statements, ip, r.comment)}" for r in rules)
    yield from _elements("add", table, after.elements, before.elements)


def _elements(
    verb: str, table: str, one: Mapping[str, Mapping[Key, str]], other: Mapping[str, Mapping[Key, str]]
) -> Iterator[str]:
    """Elements that one has and the other has not, or otherwise."""
    for name, elements in one.items():
        held = other.get(name, {})
        texts = [text for key, text in elements.items() if held.get(key) != text]
        if texts:
            yield f"{verb} element {table} {name} {{ {', '.join(texts)} }}"
