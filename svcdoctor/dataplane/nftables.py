"""A node's nftables ruleset as the rule language has it: base chains, chains, and the dialect of each table.

Chains carry their table's name with its family: ``ip kube-proxy``. Tables of the families bridge and arp see no
routed packet and are left out, of netdev those at the hook egress are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from svcdoctor.dataplane.language import HOOKS, BaseChain, Chain, Op, Rule
from svcdoctor.dataplane.nftfields import Types, declared
from svcdoctor.dataplane.nftkeys import demanded
from svcdoctor.dataplane.nftrule import Parts
from svcdoctor.dataplane.nftsets import Elements
from svcdoctor.dataplane.nftstatements import Statements
from svcdoctor.dataplane.nfttext import rule_text
from svcdoctor.dataplane.nftvalues import Unmodelled
from svcdoctor.dataplane.surroundings import Surroundings
from svcdoctor.node.nftjson import EVALUATED, NftDump, NftLimit, NftQuota, NftRule, NftTable

FAMILIES = {
    "ip": frozenset({4}),
    "ip6": frozenset({6}),
    "inet": frozenset({4, 6}),
    "netdev": frozenset({4, 6}),
}
IPTABLES_TABLES = frozenset({"raw", "mangle", "nat", "filter", "security"})
BUILTIN = frozenset({"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"})


class TableDialect:
    """How the rules of one table are read, with the chains and sets that they name. Satisfies ``Dialect``."""

    def __init__(self, table: NftTable, surroundings: Surroundings, where: str) -> None:
        self.table = table
        self.family = table.family
        self.surroundings = surroundings
        self.where = where
        self._chains: dict[str, Chain] = {}
        self._elements: dict[str, tuple[Elements, Types | None]] = {}
        self._statements = Statements(self)

    def names(self) -> list[str]:
        """The names of the table's chains, in the dump's order."""
        return list(dict.fromkeys((*self.table.chains, *self.table.rules)))

    def chain(self, name: str) -> Chain | None:
        """One of the table's chains; always the same object."""
        found = self._chains.get(name)
        if found is None:
            if name not in self.table.chains and name not in self.table.rules:
                return None
            rules = self.table.rules.get(name, ())
            found = self._chains[name] = Chain(str(self.table), name, self, rules, self.where)
        return found

    def elements(self, name: str) -> tuple[Elements, Types | None]:
        """A named set or map, read when a rule first asks for it. Raises Unmodelled."""
        found = self._elements.get(name)
        if found is None:
            kept = self.table.sets.get(name)
            if kept is None:
                raise Unmodelled(f"set {name} is not in the dump")
            is_map = bool(bytes(kept.map))
            try:
                kind = declared(msgspec.json.decode(kept.type), self.family)
                data = declared(msgspec.json.decode(kept.map), self.family) if is_map else None
                found = self._elements[name] = Elements.of_json(kind, kept.elem, is_map), data
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Unmodelled) as e:
                raise Unmodelled(f"set {name}: {e}") from None
        return found

    def limit(self, name: str) -> NftLimit | None:
        return self.table.limits.get(name)

    def quota(self, name: str) -> NftQuota | None:
        return self.table.quotas.get(name)

    def translate(self, chain: Chain, number: int, raw: Any) -> Rule:
        parts = Parts()
        try:
            for statement in statements_of(raw):
                self._statements.add(statement, parts)
        except RecursionError:
            parts.actions.append((Op.UNKNOWN, "a rule that is nested too deep"))
        return Rule(chain, number, raw, parts.tests, parts.actions)

    def key(self, raw: Any) -> tuple[int | None, int | None]:
        return demanded(statements_of(raw), self.family)

    def text(self, raw: Any) -> str:
        return rule_text(statements_of(raw), self.family, raw.comment)

    def packets(self, raw: Any) -> int | None:
        return _counted(raw, "packets")

    def octets(self, raw: Any) -> int | None:
        return _counted(raw, "bytes")


def _counted(raw: NftRule, what: str) -> int | None:
    """``packets`` or ``bytes`` of the rule's counter."""
    for statement in statements_of(raw):
        counter = statement.get("counter") if isinstance(statement, dict) else None
        if isinstance(counter, dict) and isinstance(counter.get(what), int):
            return int(counter[what])
    return None


def statements_of(raw: NftRule) -> list[Any]:
    """A rule's statements as JSON. What cannot be read is one statement that nothing knows."""
    try:
        statements = msgspec.json.decode(raw.expr)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [{"unreadable": None}]
    return statements if isinstance(statements, list) else [{"unreadable": None}]


class NftablesRules:
    """One node's nftables ruleset. Satisfies ``Ruleset``; ``left_out`` are tables that are not to be run."""

    backend = "nftables"

    def __init__(self, dump: NftDump, surroundings: Surroundings, left_out: Collection[str] = ()) -> None:
        self.where = dump.where
        self._dialects = {
            name: TableDialect(table, surroundings, dump.where)
            for name, table in dump.tables.items()
            if table.family in EVALUATED and name not in left_out
        }

    def base_chains(self) -> Sequence[BaseChain]:
        found = []
        for dialect in self._dialects.values():
            if dialect.table.dormant:
                continue
            for head in dialect.table.chains.values():
                if head.hook not in HOOKS or head.type is None:
                    continue
                chain = dialect.chain(head.name)
                assert chain is not None
                families = FAMILIES[dialect.family]
                accepts = head.policy != "drop"
                devices = None if head.dev is None else frozenset(_listed(head.dev))
                found.append(
                    BaseChain(
                        chain, head.hook, head.prio, head.type, families, self.backend, accepts, devices
                    )
                )
        return found

    def tables(self) -> Sequence[str]:
        return list(self._dialects)

    def chains(self, table: str) -> Sequence[str]:
        dialect = self._dialects.get(table)
        return dialect.names() if dialect is not None else []

    def chain(self, table: str, name: str) -> Chain | None:
        dialect = self._dialects.get(table)
        return dialect.chain(name) if dialect is not None else None


def _listed(devices: str | list[str]) -> list[str]:
    return [devices] if isinstance(devices, str) else devices


def is_iptables(table: NftTable) -> bool:
    """Whether iptables-nft owns the table, so that iptables-save describes it, and better.

    It does when the table has one of iptables' names and only iptables' base chains, or rules that nft cannot
    write out.
    """
    if table.family not in ("ip", "ip6") or table.name not in IPTABLES_TABLES:
        return False
    bases = [chain.name for chain in table.chains.values() if chain.hook is not None]
    if BUILTIN.issuperset(bases):
        return True
    return any(b'"xt":' in bytes(rule.expr) for rules in table.rules.values() for rule in rules)
