"""``nft -j list ruleset`` read: tables with their chains, sets, maps and rules, as the dump has them.

Bytes in, values out. What most packets never meet (a rule's expressions, a set's elements) stays JSON until it is
asked for: ``msgspec.Raw`` is a view into the dump. The format is that of libnftables-json(5).
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec
from msgspec import Raw

from svcdoctor.model.errors import SvcdoctorError

EVALUATED = ("ip", "ip6", "inet", "netdev")  # families whose chains see a routed packet


class NftRule(msgspec.Struct, frozen=True, gc=False):
    """A rule: ``expr`` is the JSON list of its statements."""

    family: str
    table: str
    chain: str
    expr: Raw = Raw(b"[]")
    comment: str | None = None
    handle: int | None = None


class NftChain(msgspec.Struct, frozen=True, gc=False):
    """A chain's head: ``hook``, ``type`` and ``prio`` are those of a base chain, ``dev`` the devices at ingress."""

    family: str
    table: str
    name: str
    type: str | None = None
    hook: str | None = None
    prio: int = 0
    policy: Literal["accept", "drop"] = "accept"
    dev: str | list[str] | None = None


class NftSet(msgspec.Struct, frozen=True, gc=False):
    """A set, or a map when it has ``map``: the type of its data, ``verdict`` for a verdict map.

    ``type`` and ``map`` are a type's name, a list of them, their names joined by `` . ``, or an expression
    whose type it is (typeof). ``elem`` is the JSON list of the elements.
    """

    family: str
    table: str
    name: str
    type: Raw
    map: Raw = Raw()
    flags: list[str] | str = ""
    elem: Raw = Raw(b"[]")


class NftQuota(msgspec.Struct, frozen=True, gc=False):
    """A named quota: ``inv`` is "over". In bytes."""

    family: str
    table: str
    name: str
    bytes: int = 0
    used: int = 0
    inv: bool = False


class NftLimit(msgspec.Struct, frozen=True, gc=False):
    """A named limit: ``inv`` is "over"."""

    family: str
    table: str
    name: str
    inv: bool = False


class _TableHead(msgspec.Struct, frozen=True, gc=False):
    family: str
    name: str
    flags: list[str] | str = ""


class NftTable:
    """A table with all that stands in it. ``dormant``: its chains are not registered with the kernel."""

    __slots__ = ("chains", "dormant", "family", "limits", "name", "quotas", "rules", "sets")

    def __init__(self, family: str, name: str, dormant: bool = False) -> None:
        self.family = family
        self.name = name
        self.dormant = dormant
        self.chains: dict[str, NftChain] = {}
        self.rules: dict[str, list[NftRule]] = {}  # by chain
        self.sets: dict[str, NftSet] = {}  # and maps
        self.quotas: dict[str, NftQuota] = {}
        self.limits: dict[str, NftLimit] = {}

    def __str__(self) -> str:
        return f"{self.family} {self.name}"


class NftDump:
    """One node's ruleset. ``tables`` by ``ip kube-proxy``; families other than ip, ip6 and inet are among them."""

    __slots__ = ("tables", "where")

    def __init__(self, where: str, tables: dict[str, NftTable]) -> None:
        self.where = where
        self.tables = tables


class _Entry(msgspec.Struct, frozen=True, gc=False):
    rule: NftRule | None = None
    chain: NftChain | None = None
    set: NftSet | None = None
    map: NftSet | None = None
    table: _TableHead | None = None
    quota: NftQuota | None = None
    limit: NftLimit | None = None
    metainfo: Raw = Raw()


class _Document(msgspec.Struct, frozen=True):
    nftables: list[_Entry]


_DECODER = msgspec.json.Decoder(_Document)
_TEXT = re.compile(rb"(?:\s|#[^\n]*\n)*table (?:(?:ip|ip6|inet|arp|bridge|netdev) )?\S+ \{")
_BYTE = re.compile(r" \(byte (\d+)\)")
COMMAND = "nft -j list ruleset"


def read_nft_json(data: bytes, where: str) -> NftDump:
    """The ruleset. Raises SvcdoctorError naming ``where`` and the place for anything else than such a dump."""
    try:
        entries = _DECODER.decode(data).nftables
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise _refused(data, where, e) from None
    tables: dict[str, NftTable] = {}
    of: dict[tuple[str, str], NftTable] = {}

    def table(family: str, name: str) -> NftTable:
        found = of.get((family, name))
        if found is None:
            found = of[family, name] = tables[f"{family} {name}"] = NftTable(family, name)
        return found

    other = 0
    rules: list[NftRule] = []
    last: tuple[str, str, str] | None = None
    for entry in entries:
        rule = entry.rule
        if rule is not None:
            chain = (rule.family, rule.table, rule.chain)
            if chain != last:
                last = chain
                rules = table(rule.family, rule.table).rules.setdefault(rule.chain, [])
            rules.append(rule)
        elif entry.chain is not None:
            head = entry.chain
            chains = table(head.family, head.table).chains
            if chains.setdefault(head.name, head) is not head:
                raise _twice(where, f"chain {head.name}", head.family, head.table)
        elif (kept := entry.map or entry.set) is not None:
            sets = table(kept.family, kept.table).sets
            if sets.setdefault(kept.name, kept) is not kept:
                raise _twice(where, f"set {kept.name}", kept.family, kept.table)
        elif entry.table is not None:
            named = entry.table
            table(named.family, named.name).dormant = "dormant" in named.flags
        elif entry.quota is not None:
            table(entry.quota.family, entry.quota.table).quotas[entry.quota.name] = entry.quota
        elif entry.limit is not None:
            table(entry.limit.family, entry.limit.table).limits[entry.limit.name] = entry.limit
        elif not bytes(entry.metainfo):
            other += 1
    if other and not tables:
        raise SvcdoctorError(f"{where}: JSON of nft, but no list of a ruleset; write it with: {COMMAND}")
    return NftDump(where, tables)


def _twice(where: str, what: str, family: str, table: str) -> SvcdoctorError:
    return SvcdoctorError(
        f"{where}: {what} of table {family} {table} is listed twice; write it with: {COMMAND}"
    )


def _refused(data: bytes, where: str, error: Exception) -> SvcdoctorError:
    if not data.strip():
        return SvcdoctorError(f"{where}: empty; write it with: {COMMAND}")
    if _TEXT.match(data):
        return SvcdoctorError(
            f"{where}: the text of nft list ruleset, not its JSON; write it with: {COMMAND}"
        )
    if isinstance(error, msgspec.ValidationError):
        return SvcdoctorError(f"{where}: JSON, but not what {COMMAND} writes: {error}")
    if isinstance(error, RecursionError):
        return SvcdoctorError(f"{where}: nested deeper than anything that {COMMAND} writes")
    text = str(error)
    if "truncated" in text:
        line = data.count(b"\n") + 1
        return SvcdoctorError(
            f"{where}: the JSON ends unfinished at byte {len(data)} (line {line}); write it again with: {COMMAND}"
        )
    found = _BYTE.search(text)
    if found is None:
        return SvcdoctorError(f"{where}: not the JSON of {COMMAND}: {text}")
    at = int(found[1])
    line = data.count(b"\n", 0, at) + 1
    reason = _BYTE.sub("", text).removeprefix("JSON is malformed: ")
    return SvcdoctorError(f"{where}: not the JSON of {COMMAND}: {reason} at byte {at} (line {line})")
