"""Compiled rules as the evaluator reads them: the same statements in the shape of ``nft -j list ruleset``.

What may live here: that shape. What the evaluator is asked is in ``verify``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Raw

from svcdoctor.node.nftjson import NftChain, NftDump, NftRule, NftSet, NftTable
from svcdoctor.proxy.kernel import layout
from svcdoctor.proxy.kernel.compile import Ruleset, affinity, numbers
from svcdoctor.proxy.kernel.layout import HEADS, IPS, TABLE
from svcdoctor.proxy.kernel.portrules import family_of
from svcdoctor.proxy.kernel.statements import Rule
from svcdoctor.proxy.kernel.tabletext import ADDRESS, Kept, Key

WHERE = "the rules that svcdoctor compiled"

_ENCODE = msgspec.json.Encoder().encode


def evaluated(ruleset: Ruleset, keys: Iterable[str]) -> NftDump:
    """The tables with the rules of these ports alone: what else is served cannot matter to their packets."""
    tables: dict[str, _Table] = {}
    for key in keys:
        ip = IPS[family_of(key)]
        if ip not in tables:
            tables[ip] = _Table(ruleset, ip)
        tables[ip].add(key)
    return NftDump(WHERE, {f"{ip} {TABLE}": table.made() for ip, table in tables.items()})


class _Table:
    """One table as it grows."""

    def __init__(self, ruleset: Ruleset, ip: str) -> None:
        self.ruleset = ruleset
        self.ip = ip
        self.table = NftTable(ip, TABLE)
        self.kept: dict[str, Kept] = {k.name: k for k in layout.kept(ip)}
        self.elements: dict[str, list[Any]] = {}
        self._chains(layout.chains(ip, ruleset.site))

    def _chains(self, chains: Mapping[str, Iterable[Rule]]) -> None:
        ip, table = self.ip, self.table
        for name, rules in chains.items():
            kind, hook, priority = layout.base_chain(name) if name in HEADS else (None, None, 0)
            table.chains[name] = NftChain(ip, TABLE, name, kind, hook, priority)
            table.rules[name] = [
                NftRule(ip, TABLE, name, Raw(_ENCODE(rule.statements)), rule.comment) for rule in rules
            ]

    def add(self, key: str) -> None:
        """A port's rules, and those of its elements that it has."""
        rules = self.ruleset.rules(key)
        self._chains(rules.chains)
        self.kept |= {name: affinity(self.ip, name, seconds) for name, seconds in rules.clients.items()}
        for wanted, among in rules.elements.items():
            if self.ruleset.claims[self.ip, wanted][0] == key:
                for name, verdict in among.items():
                    written = _written(wanted)
                    self.elements.setdefault(name, []).append(
                        written if verdict is None else [written, verdict]
                    )
        self.kept[rules.numbers] = numbers(rules.numbers)
        found = self.elements.setdefault(rules.numbers, [])
        found += ([number, _written(to)] for number, to in rules.endpoints.items())

    def made(self) -> NftTable:
        for name, kept in self.kept.items():
            key: Any = list(kept.fields) if len(kept.fields) > 1 else "".join(kept.fields)
            data = b'"verdict"' if kept.verdicts else b""
            if kept.endpoints:
                key, data = "integer", _ENCODE([ADDRESS[self.ip], "inet_service"])
            elements = Raw(_ENCODE(self.elements.get(name, ())))
            self.table.sets[name] = NftSet(self.ip, TABLE, name, Raw(_ENCODE(key)), Raw(data), elem=elements)
        return self.table


def _written(key: Key) -> Any:
    return {"concat": list(key)} if len(key) > 1 else key[0]
