"""nftables' statements as tests and actions of a Rule.

``STATEMENTS`` says for each by its name in the JSON what it does; one that is not there is unknown by its name.
A statement that cannot change where a packet goes (a counter, a log line, a helper) does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from svcdoctor.dataplane.language import Action, Chain, Choices, Op
from svcdoctor.dataplane.nftexpressions import Expressions, Tables
from svcdoctor.dataplane.nftfields import CTS, METAS
from svcdoctor.dataplane.nftmatches import match
from svcdoctor.dataplane.nftnat import nat
from svcdoctor.dataplane.nftoutcomes import outcomes
from svcdoctor.dataplane.nftrule import Parts
from svcdoctor.dataplane.nftsets import MISSING
from svcdoctor.dataplane.nfttypes import DataType
from svcdoctor.dataplane.nftvalues import Unmodelled, Vague, Value
from svcdoctor.dataplane.packet import INVALID, UNTRACKED, Packet
from svcdoctor.node.nftjson import NftLimit, NftQuota

# What reading JSON of another shape than nft's raises.
MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration)
UNITS = {"bytes": 1, "kbytes": 1 << 10, "mbytes": 1 << 20, "gbytes": 1 << 30}


class Table(Tables, Protocol):
    """What a table offers to its statements."""

    def chain(self, name: str) -> Chain | None:
        """One of its chains."""

    def limit(self, name: str) -> NftLimit | None:
        """A named limit."""

    def quota(self, name: str) -> NftQuota | None:
        """A named quota."""


class Statements:
    """Translates the statements of one table."""

    __slots__ = ("expressions", "table")

    def __init__(self, table: Table) -> None:
        self.table = table
        self.expressions = Expressions(table)

    def add(self, statement: Any, parts: Parts) -> None:
        """Add what a statement tests or does; one that is not modelled adds an unknown that names it."""
        if not isinstance(statement, dict) or len(statement) != 1:
            parts.unknown("a statement that is not as nft writes it")
            return
        name, about = next(iter(statement.items()))
        does = STATEMENTS.get(name)
        if does is None:
            parts.unknown(f"{name} is not modelled")
            return
        try:
            does(self, name, about, parts)
        except Unmodelled as e:
            parts.unknown(str(e))
        except MALFORMED:
            parts.unknown(f"{name} is not as nft writes it")

    def verdict(self, written: Any) -> tuple[Action, ...]:
        """The action of a verdict statement or of a verdict map's element."""
        name, about = next(iter(written.items())) if isinstance(written, dict) and written else ("", {})
        if name in VERDICTS:
            return ((VERDICTS[name], None),)
        if name in ("jump", "goto"):
            chain = self.table.chain(str(about["target"]))
            if chain is None:
                return ((Op.UNKNOWN, f"chain {about['target']} is not in the dump"),)
            return ((Op.JUMP if name == "jump" else Op.GOTO, chain),)
        raise Unmodelled(f"the verdict {str(written)[:40]} is not modelled")

    # Each of these adds one statement to parts; name is its key in the JSON.

    def decide(self, name: str, about: Any, parts: Parts) -> None:
        parts.actions.extend(self.verdict({name: about}))

    def match(self, name: str, about: Any, parts: Parts) -> None:
        try:
            test = match(self.expressions, about)
        except (Unmodelled, *MALFORMED) as e:
            why = str(e) if isinstance(e, Unmodelled) else "a match that is not as nft writes it"
            parts.need(lambda packet: why)  # another test may still say that the rule does not match
            return
        if not isinstance(test, float):
            parts.need(test)
        elif test <= 0.0:
            parts.need(lambda packet: False)
        elif test < 1.0:
            parts.do(Op.CHANCE, test)

    def nothing(self, name: str, about: Any, parts: Parts) -> None:
        """No effect on where this packet goes."""

    def reject(self, name: str, about: Any, parts: Parts) -> None:
        about = about or {}
        kind, code = about.get("type", "icmpx"), about.get("expr", "port-unreachable")
        if kind == "tcp reset":  # nft leaves out the test that the statement itself implies
            parts.need(lambda packet: packet.proto == 6)
        elif kind in ("icmp", "icmpv6"):
            version = 4 if kind == "icmp" else 6
            parts.need(lambda packet: packet.family == version)
        parts.do(Op.REJECT, "tcp-reset" if kind == "tcp reset" else f"{REJECTS.get(kind, 'icmp')}-{code}")

    def notrack(self, name: str, about: Any, parts: Parts) -> None:
        parts.do(Op.NOTRACK)

    def vmap(self, name: str, about: Any, parts: Parts) -> None:
        key, elements, _ = self.expressions.map_of(about)
        draw = self.expressions.draw(key)
        if draw is not None:
            shares = tuple((share, self._data(data)) for share, data in draw.share(elements))
            parts.do(Op.CHOOSE, lambda packet: shares)
            return
        read = self.expressions.reader(key)

        def there(packet: Packet) -> bool | str:
            value = read(packet)
            found = MISSING if value is None else elements.find(value)
            return found.why if isinstance(found, Vague) else found is not MISSING

        def choose(packet: Packet) -> Choices:
            value = read(packet)
            return ((1.0, self._data(MISSING if value is None else elements.find(value))),)

        parts.need(there)
        parts.do(Op.CHOOSE, choose)

    def _data(self, data: Any) -> tuple[Action, ...]:
        if data is MISSING:
            return ((Op.STOP, None),)
        try:
            return self.verdict(data)
        except (Unmodelled, KeyError, TypeError):
            return ((Op.UNKNOWN, f"the verdict {str(data)[:40]} is not modelled"),)

    def translate(self, name: str, about: Any, parts: Parts) -> None:
        nat(self.expressions, name, about, parts)

    def mangle(self, name: str, about: Any, parts: Parts) -> None:
        where, key = next(iter(about["key"].items()))
        if where == "meta" and key["key"] == "mark":
            self._set("mark", METAS["mark"], about["value"], parts)
        elif where == "ct" and key["key"] == "mark":
            self._set("ctmark", CTS["mark"], about["value"], parts)
        elif where == "payload" and (key.get("field") in REWRITTEN or "base" in key):
            parts.unknown(
                f"{key.get('protocol', '@' + str(key.get('base')))} {key.get('field', '')} set is not modelled"
            )

    def _set(self, field: str, kind: DataType, written: Any, parts: Parts) -> None:
        values = outcomes(self.expressions, written, kind, parts)

        def to(value: Value) -> Action:
            if value is None:
                return Op.STOP, None  # no element of the map: the kernel leaves the rule
            if isinstance(value, Vague):
                return Op.UNKNOWN, value.why
            return Op.CHANGE, lambda packet: _mark(packet, field, value)

        parts.do(Op.CHOOSE, lambda packet: [(chance, (to(value),)) for chance, value in values(packet)])

    def limit(self, name: str, about: Any, parts: Parts) -> None:
        """A single packet is within every limit."""
        if isinstance(about, str):
            named = self.table.limit(about)
            if named is None:
                raise Unmodelled(f"limit {about} is not in the dump")
            over = named.inv
        else:
            over = bool(about.get("inv"))
        if over:
            parts.need(lambda packet: False)

    def quota(self, name: str, about: Any, parts: Parts) -> None:
        """Whether the bytes counted so far are over the quota."""
        if isinstance(about, str):
            named = self.table.quota(about)
            if named is None:
                raise Unmodelled(f"quota {about} is not in the dump")
            holds = (named.used >= named.bytes) is named.inv
        else:
            used = about.get("used", 0) * UNITS[about.get("used_unit", "bytes")]
            holds = (used >= about["val"] * UNITS[about.get("val_unit", "bytes")]) is bool(about.get("inv"))
        if not holds:
            parts.need(lambda packet: False)

    def remember(self, name: str, about: Any, parts: Parts) -> None:
        """``add``, ``update`` or ``delete`` of an element: later lookups of this client find it, or do not."""
        target = str(about.get("set") or about.get("map")).removeprefix("@")
        deletes = about["op"] == "delete"

        def change(packet: Packet) -> None:
            packet.remembered = packet.remembered - {target} if deletes else packet.remembered | {target}

        parts.do(Op.CHANGE, change)
        for statement in about.get("stmt") or ():
            self.add(statement, parts)

    def meter(self, name: str, about: Any, parts: Parts) -> None:
        self.add(about["stmt"], parts)

    def extension(self, name: str, about: Any, parts: Parts) -> None:
        """A part of an iptables rule of which nft knows the name only; a comment matches everything."""
        kind, extension = about.get("type"), about.get("name")
        if (kind, extension) == ("match", "comment"):
            return
        why = f"xt {kind} {extension} is not in nft's JSON; iptables-save has it"
        if kind == "match":
            parts.need(lambda packet: why)
        else:
            parts.unknown(why)


REWRITTEN = frozenset({"saddr", "daddr", "sport", "dport", "protocol", "nexthdr", "type"})
REJECTS = {"icmp": "icmp", "icmpv6": "icmp6", "icmpx": "icmp"}
VERDICTS = {"accept": Op.ACCEPT, "drop": Op.DROP, "return": Op.RETURN, "continue": Op.STOP}
_Does = Callable[[Statements, str, Any, Parts], None]
STATEMENTS: dict[str, _Does] = {
    **dict.fromkeys(("accept", "drop", "return", "continue", "jump", "goto"), Statements.decide),
    **dict.fromkeys(("counter", "log", "last", "flow", "ct helper", "ct timeout"), Statements.nothing),
    **dict.fromkeys(("ct expectation", "secmark", "reset"), Statements.nothing),
    **dict.fromkeys(("snat", "dnat", "masquerade", "redirect"), Statements.translate),
    **dict.fromkeys(("set", "map"), Statements.remember),
    "match": Statements.match,
    "vmap": Statements.vmap,
    "reject": Statements.reject,
    "notrack": Statements.notrack,
    "mangle": Statements.mangle,
    "limit": Statements.limit,
    "quota": Statements.quota,
    "meter": Statements.meter,
    "xt": Statements.extension,
}


def _mark(packet: Packet, field: str, value: Any) -> None:
    # A packet without a connection has no connection's mark.
    if field == "mark" or packet.ct not in (INVALID, UNTRACKED):
        setattr(packet, field, value)


def translated(statements: Statements, written: Sequence[Any]) -> Parts:
    """All statements of a rule."""
    parts = Parts()
    for statement in written:
        statements.add(statement, parts)
    return parts
