"""A node's routing rules: ``ip rule`` and ``ip -j rule`` (ip-rule(8))."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.lines import numbered

_LINE = re.compile(r"^(\d+):\s+(.*)$")
TABLES = {"255": "local", "254": "main", "253": "default"}
ACTIONS = frozenset({"blackhole", "unreachable", "prohibit"})


@dataclass(frozen=True, slots=True)
class RouteRule:
    """One rule: which packets look up which table. ``None`` is any; networks are (address, prefix length).

    ``other`` is a selector that is not read here, as text: whether such a rule matches is not known.
    """

    priority: int
    table: str
    source: tuple[int, int] | None = None
    destination: tuple[int, int] | None = None
    mark: tuple[int, int] | None = None
    iif: str | None = None
    oif: str | None = None
    negated: bool = False
    action: str = ""
    other: str = ""


def read_rules(data: bytes, where: str, family: int) -> tuple[RouteRule, ...]:
    """The rules of one family in the order in which they are asked. Raises SvcdoctorError naming the line."""
    found: list[RouteRule] = []
    if data.lstrip()[:1] == b"[":
        try:
            found = [_of_json(e, family) for e in msgspec.json.decode(data)]
        except (
            msgspec.DecodeError,
            UnicodeDecodeError,
            TypeError,
            KeyError,
            ValueError,
            AttributeError,
            RecursionError,
        ) as e:
            raise SvcdoctorError(f"{where}: not the output of ip -j rule ({e})") from None
    else:
        for number, line in numbered(data, where, "ip rule"):
            match = _LINE.match(line.strip())
            if match is None:
                raise SvcdoctorError(f"{where} line {number}: not a rule of ip rule: {line.strip()[:80]!r}")
            try:
                found.append(_of_text(int(match[1]), match[2].split(), family))
            except ValueError:
                raise SvcdoctorError(
                    f"{where} line {number}: not a rule of ip rule: {line.strip()[:80]!r}"
                ) from None
    return tuple(sorted(found, key=lambda rule: rule.priority))


def _network(text: str, family: int) -> tuple[int, int] | None:
    if text == "all":
        return None
    network = ip_network(text, strict=False)
    if network.version != family:
        raise ValueError(text)
    return int(network.network_address), network.prefixlen


def _mark(text: str, mask: str | None = None) -> tuple[int, int]:
    value, _, behind = text.partition("/")
    return int(value, 0), int(mask or behind or "0xffffffff", 0)


def _of_json(e: dict[str, Any], family: int) -> RouteRule:
    known = {
        "priority",
        "src",
        "srclen",
        "dst",
        "dstlen",
        "fwmark",
        "fwmask",
        "iif",
        "oif",
        "not",
        "table",
        "action",
    }
    known |= {"protocol", "iif_detached", "oif_detached"}
    other = ", ".join(f"{k} {v}" for k, v in e.items() if k not in known)
    source, target = str(e.get("src", "all")), str(e.get("dst", "all"))
    table = str(e.get("table", ""))
    return RouteRule(
        int(e["priority"]),
        TABLES.get(table, table),
        _network(f"{source}/{e['srclen']}" if "srclen" in e else source, family),
        _network(f"{target}/{e['dstlen']}" if "dstlen" in e else target, family),
        _mark(str(e["fwmark"]), str(e["fwmask"]) if "fwmask" in e else None) if "fwmark" in e else None,
        e.get("iif"),
        e.get("oif"),
        "not" in e,
        str(e.get("action", "")) if e.get("action") in ACTIONS else "",
        other,
    )


def _of_text(priority: int, words: list[str], family: int) -> RouteRule:
    negated = "not" in words
    left = iter(w for w in words if w != "not")
    fields: dict[str, str] = {}
    action = other = ""
    for word in left:
        if word in ACTIONS:
            action = word
        elif word.startswith("["):
            continue  # [detached]
        elif word in ("from", "to", "fwmark", "iif", "oif", "lookup", "table", "proto"):
            fields[word] = next(left, "")
        else:
            other = f"{other} {word} {next(left, '')}".strip()
    table = fields.get("lookup") or fields.get("table") or ""
    return RouteRule(
        priority,
        TABLES.get(table, table),
        _network(fields.get("from", "all"), family),
        _network(fields.get("to", "all"), family),
        _mark(fields["fwmark"]) if "fwmark" in fields else None,
        fields.get("iif"),
        fields.get("oif"),
        negated,
        action,
        other,
    )
