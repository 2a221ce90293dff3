"""Tables with their sets, maps and chains in the text that ``nft -f`` reads (nft(8))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from svcdoctor.dataplane.nftexpressiontext import verdict_text
from svcdoctor.dataplane.nfttext import rule_text
from svcdoctor.proxy.kernel.statements import Rule, Statement

Key: TypeAlias = "tuple[str | int, ...]"
"""An element's fields: addresses, protocols, ports; or a number."""

ADDRESS = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
PROTOCOL_PORT = ("inet_proto", "inet_service")


@dataclass(frozen=True, slots=True)
class Kept:
    """A named set of ``fields``, or a map from them to verdicts. Rules add to one with ``seconds``, which forgets
    after that time. With ``endpoints``, a protocol, it is a map from numbers to addresses with ports."""

    name: str
    fields: tuple[str, ...] = ()
    verdicts: bool = False
    comment: str = ""
    seconds: int = 0
    endpoints: str = ""

    @property
    def kind(self) -> str:
        return "map" if self.verdicts or self.endpoints else "set"

    def specification(self, ip: str) -> str:
        """What stands between the braces, in one line."""
        if self.endpoints:  # nft has no name for the type of a drawn number
            return f"typeof numgen random mod 1 : {ip} daddr . {self.endpoints} dport;"
        text = f"type {' . '.join(self.fields)}{' : verdict' if self.verdicts else ''};"
        if self.seconds:
            text += f" flags dynamic,timeout; timeout {self.seconds}s;"
        return text + (f' comment "{self.comment}";' if self.comment else "")


def key_text(key: Key) -> str:
    return " . ".join(map(str, key))


def element(key: Key, verdict: Statement | None = None, comment: str = "") -> str:
    text = f'{key_text(key)} comment "{comment}"' if comment else key_text(key)
    return text if verdict is None else f"{text} : {verdict_text(verdict)}"


def kept_text(ip: str, kept: Kept, elements: Iterable[str] = ()) -> Iterator[str]:
    """The set or map as part of a table, with its elements."""
    listed = ",\n".join(elements)
    inside = f"elements = {{\n{listed}\n}}\n" if listed else ""
    yield f"{kept.kind} {kept.name} {{ {kept.specification(ip)}\n{inside}}}"


def chain_text(name: str, rules: Iterable[Rule], ip: str, head: str = "") -> Iterator[str]:
    """The chain as part of a table. ``head`` is a base chain's type, hook and priority."""
    yield f"chain {name} {{{' ' + head + ';' if head else ''}"
    yield from (rule_text(rule.statements, ip, rule.comment) for rule in rules)
    yield "}"


def table_text(ip: str, name: str, comment: str, parts: Iterable[str]) -> Iterator[str]:
    """The whole table in the place of one that may be there: it is made, deleted and made again."""
    yield f"add table {ip} {name}"
    yield f"delete table {ip} {name}"
    yield f"table {ip} {name} {{"
    yield f'comment "{comment}"'
    yield from parts
    yield "}"


def chains_text(chains: Mapping[str, Iterable[Rule]], heads: Mapping[str, str], ip: str) -> Iterator[str]:
    for name, rules in chains.items():
        yield from chain_text(name, rules, ip, heads.get(name, ""))
