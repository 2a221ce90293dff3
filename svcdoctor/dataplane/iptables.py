"""A node's iptables rules as the rule language has them: base chains with their priorities, and chains.

Theory. iptables-legacy and iptables-nft ask the same tables in the same order at each hook, so one dump of either
is one ruleset. A chain is made when it is first asked for, its rules when a packet could match them. In a chain
of thousands of rules the lines that name another address are skipped without being read: by an index of
destinations, or, where that leaves too many, by a regular expression over the chain's text for each new packet.

What may live here: which chains there are and where the kernel calls them. What one rule means: IptablesDialect.
Priorities: include/uapi/linux/netfilter_ipv4.h.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from svcdoctor.dataplane.iptablesdialect import Called, IptablesDialect
from svcdoctor.dataplane.iptablesheader import Scope
from svcdoctor.dataplane.iptableskeys import elsewhere
from svcdoctor.dataplane.language import LONG, BaseChain, Chain, Rule
from svcdoctor.dataplane.packet import WITH_PORTS, Packet
from svcdoctor.dataplane.surroundings import Surroundings
from svcdoctor.node.iptablessave import IptablesSave, RuleLines

PRIORITIES: Final = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
NAT_OF_SOURCES: Final = 100  # nat's priority in input and postrouting
SCANNED = 100_000  # rules from which on a chain is not indexed
MANY = 1_000  # rules without a destination of their own from which on an index helps little


class IptablesChain(Chain):
    """A chain of rule lines, with ``looked_up`` for those that an index of destinations does not help."""

    __slots__ = ("_scanned", "_scans")

    def __init__(
        self, table: str, name: str, dialect: IptablesDialect, lines: Sequence[bytes], where: str
    ) -> None:
        super().__init__(table, name, dialect, lines, where)
        self._scanned: bool | None = None
        self._scans: dict[tuple[int, int, int | None], tuple[Rule, ...]] = {}

    def looked_up(self, packet: Packet) -> tuple[Rule, ...]:
        # An index by ports leaves out those that an unknown port might be.
        portless = packet.destination[1] is None and packet.proto in WITH_PORTS
        lines = self.raws
        if not isinstance(lines, RuleLines):
            return self.rules() if portless else super().looked_up(packet)
        if self._scanned is None:
            self._scanned = len(lines) >= SCANNED or self._has_many_without_destination()
        return self._scan(lines, packet) if self._scanned or portless else super().looked_up(packet)

    def _has_many_without_destination(self) -> bool:
        if len(self.raws) < max(LONG, MANY):
            return False
        self._index()
        return len(self._wild) >= MANY

    def _scan(self, lines: RuleLines, packet: Packet) -> tuple[Rule, ...]:
        """The rules that do not name another source, destination or port. Linear in the chain's text."""
        key = packet.src, packet.dst, packet.dport
        found = self._scans.get(key)
        if found is None:
            if len(self._scans) >= MANY:
                self._scans.clear()
            found = tuple(self.rule(index + 1) for index in lines.without(elsewhere(packet)))
            self._scans[key] = found
        return found


class IptablesRules:
    """The rules of one backend and one family. Satisfies ``Ruleset``."""

    def __init__(self, save: IptablesSave, surroundings: Surroundings) -> None:
        self.where = save.where
        self.backend = save.backend
        self.family = save.family
        self._tables = {name: table for name, table in save.tables.items() if name not in save.incomplete}
        self._dialect = IptablesDialect(
            Scope(save.family, surroundings), Called(self.chain, self.reached_from)
        )
        self._chains: dict[tuple[str, str], IptablesChain | None] = {}

    def base_chains(self) -> Sequence[BaseChain]:
        found = []
        for table in self._tables.values():
            for name, policy in table.policies.items():
                chain = self.chain(table.name, name)
                assert chain is not None
                priority, kind = PRIORITIES[table.name], "nat" if table.name == "nat" else "filter"
                if kind == "nat" and name in ("INPUT", "POSTROUTING"):
                    priority = NAT_OF_SOURCES
                elif table.name == "mangle" and name == "OUTPUT":
                    kind = "route"
                families = frozenset({self.family})
                accepts = policy != "DROP"
                found.append(BaseChain(chain, name.lower(), priority, kind, families, self.backend, accepts))
        return found

    def tables(self) -> Sequence[str]:
        return list(self._tables)

    def chains(self, table: str) -> Sequence[str]:
        found = self._tables.get(table)
        return found.chains() if found is not None else []

    def chain(self, table: str, name: str) -> Chain | None:
        key = table, name
        if key not in self._chains:
            of = self._tables.get(table)
            lines = of.rules(name) if of is not None else None
            self._chains[key] = (
                IptablesChain(table, name, self._dialect, lines, self.where) if lines is not None else None
            )
        return self._chains[key]

    def reached_from(self, table: str, name: str) -> frozenset[str]:
        """The builtin chains from which rules lead to a chain, itself if it is one. Searches the whole table."""
        of = self._tables[table]
        found, asked = {name}, [name]
        while asked:
            new = of.callers(asked.pop()) - found
            found |= new
            asked += new
        return frozenset(found & set(of.policies))
