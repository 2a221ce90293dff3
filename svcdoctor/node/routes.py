"""A node's routes: ``ip -j route``, ``ip -6 -j route``, and the same without ``-j`` (ip-route(8))."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.lines import numbered

KINDS = frozenset(
    {
        "unicast",
        "local",
        "broadcast",
        "multicast",
        "anycast",
        "throw",
        "unreachable",
        "prohibit",
        "blackhole",
        "nat",
    }
)
_FLAGS = frozenset(
    {"onlink", "linkdown", "dead", "pervasive", "offload", "trap", "notify", "rt_offload", "rt_trap"}
)


@dataclass(frozen=True, slots=True)
class Route:
    """One route of one family. Addresses are integers; ``gateway`` is ``None`` on the link itself.

    A multipath route has one Route for each next hop, with the same network and metric.
    """

    family: int
    network: int
    prefix: int
    dev: str | None = None
    gateway: int | None = None
    kind: str = "unicast"
    source: int | None = None
    metric: int = 0
    table: str = "main"
    dead: bool = False


def read_routes(data: bytes, where: str, family: int) -> tuple[Route, ...]:
    """The routes of one family, as JSON or as text. Raises SvcdoctorError naming the line."""
    text = data.lstrip()
    if text[:1] in (b"[", b"{"):
        try:
            entries = msgspec.json.decode(data)
            return tuple(r for e in entries for r in _of_json(e, family))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
            raise SvcdoctorError(f"{where}: not the output of ip -j route: {e}") from None
        except (TypeError, KeyError, ValueError, AttributeError) as e:
            raise SvcdoctorError(f"{where}: not the output of ip -j route ({e})") from None
    found: list[Route] = []
    for number, line in numbered(data, where, "ip route"):
        try:
            found += _of_text(line, family, found)
        except (ValueError, IndexError):
            raise SvcdoctorError(
                f"{where} line {number}: not a route of ip route: {line.strip()[:80]!r}"
            ) from None
    return tuple(found)


def _destination(text: str, family: int) -> tuple[int, int]:
    if text in ("default", "all"):
        return 0, 0
    network = ip_network(text, strict=False)
    if network.version != family:
        raise ValueError(f"{text} is not IPv{family}")
    return int(network.network_address), network.prefixlen


def _gateway(text: object, family: int) -> int | None:
    """The gateway, where it is of the route's own family; IPv4 by an IPv6 gateway has none that is known here."""
    if not text:
        return None
    ip = ip_address(str(text))
    return int(ip) if ip.version == family else None


def _of_json(entry: dict[str, Any], family: int) -> Iterator[Route]:
    network, prefix = _destination(str(entry["dst"]), family)
    source = entry.get("prefsrc")
    flags = entry.get("flags") or ()
    hops = entry.get("nexthops") or [entry]
    for hop in hops:
        dev = hop.get("dev")
        if not isinstance(dev, str | None):
            raise TypeError("dev")
        via = hop.get("gateway") or (hop.get("via") or {}).get("host")
        yield Route(
            family,
            network,
            prefix,
            dev,
            _gateway(via, family),
            str(entry.get("type", "unicast")),
            int(ip_address(source)) if source else None,
            int(entry.get("metric", 0)),
            str(entry.get("table", "main")),
            bool({"dead", "linkdown"} & {*flags, *(hop.get("flags") or ())}),
        )


def _of_text(line: str, family: int, before: list[Route]) -> Iterable[Route]:
    words = line.split()
    if words[0] == "nexthop":
        if not before:
            raise ValueError("a next hop without a route")
        last = before[-1]
        fields = _fields(words[1:])
        hop = Route(
            family, last.network, last.prefix, fields.get("dev"), _gateway(fields.get("via"), family),
            last.kind, last.source, last.metric, last.table, "dead" in words or "linkdown" in words,
        )  # fmt: skip
        if last.dev is None and last.gateway is None:
            before.pop()
        return [hop]
    kind = "unicast"
    if words[0] in KINDS:
        kind = words.pop(0)
    network, prefix = _destination(words[0], family)
    fields = _fields(words[1:])
    source = fields.get("src")
    return [
        Route(
            family,
            network,
            prefix,
            fields.get("dev"),
            _gateway(fields.get("via"), family),
            kind,
            int(ip_address(source)) if source else None,
            int(fields.get("metric", "0")),
            fields.get("table", "main"),
            "dead" in words or "linkdown" in words,
        )
    ]


def _fields(words: list[str]) -> dict[str, str]:
    """``via 10.0.0.1 dev eth0 onlink`` as fields; flags stand alone, ``via inet6`` names the family first."""
    fields: dict[str, str] = {}
    left = iter(words)
    for word in left:
        if word in _FLAGS:
            continue
        value = next(left, "")
        if word == "via" and value in ("inet", "inet6"):
            value = next(left, "")
        fields[word] = value
    return fields


class RoutingTable:
    """One table's routes: the longest prefix wins, then the lowest metric. Lookups cost one step per prefix length."""

    def __init__(self, family: int, routes: Iterable[Route]) -> None:
        self.width = 32 if family == 4 else 128
        self._by_prefix: dict[int, dict[int, list[Route]]] = {}
        for route in routes:
            if (
                route.family == family
                and not route.dead
                and route.kind not in ("broadcast", "multicast", "anycast")
            ):
                self._by_prefix.setdefault(route.prefix, {}).setdefault(route.network, []).append(route)
        for networks in self._by_prefix.values():
            for held in networks.values():
                held.sort(key=lambda r: r.metric)
        self._lengths = sorted(self._by_prefix, reverse=True)

    def __bool__(self) -> bool:
        return bool(self._by_prefix)

    def lookup(self, address: int) -> tuple[Route, ...]:
        """The routes with the best metric of the longest prefix: more than one where it is multipath."""
        for prefix in self._lengths:
            shift = self.width - prefix
            held = self._by_prefix[prefix].get(address >> shift << shift)
            if held:
                return tuple(r for r in held if r.metric == held[0].metric)
        return ()

    def routes(self) -> Iterator[Route]:
        """Every route that can be chosen."""
        for networks in self._by_prefix.values():
            for held in networks.values():
                yield from held
