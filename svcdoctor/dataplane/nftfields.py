"""Which type the value of an nftables expression has: what decides how the constants beside it are written.

Expressions are JSON objects with one key, as libnftables-json(5) has them.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from svcdoctor.dataplane.nfttypes import TYPES, DataType, named

# One type, or one for each part of a concatenation.
Types: TypeAlias = "DataType | tuple[DataType, ...]"

INTEGER = TYPES["integer"]
WORD = TYPES["word"]
STRING = TYPES["string"]

_PORT = TYPES["inet_service"]
_PROTO = TYPES["inet_proto"]
PAYLOADS = {
    ("ip", "saddr"): TYPES["ipv4_addr"],
    ("ip", "daddr"): TYPES["ipv4_addr"],
    ("ip", "protocol"): _PROTO,
    ("ip", "version"): INTEGER,
    ("ip", "frag-off"): INTEGER,
    ("ip6", "version"): INTEGER,
    ("ip6", "saddr"): TYPES["ipv6_addr"],
    ("ip6", "daddr"): TYPES["ipv6_addr"],
    ("ip6", "nexthdr"): _PROTO,
    ("tcp", "flags"): TYPES["tcp_flag"],
    ("icmp", "type"): TYPES["icmp_type"],
    ("icmp", "code"): TYPES["icmp_code"],
    ("icmpv6", "type"): TYPES["icmpv6_type"],
    ("icmpv6", "code"): TYPES["icmpv6_code"],
    ("ah", "nexthdr"): _PROTO,
    ("comp", "nexthdr"): _PROTO,
    ("ether", "type"): TYPES["ether_type"],
    ("vlan", "type"): TYPES["ether_type"],
}
METAS = {
    "l4proto": _PROTO,
    "nfproto": TYPES["nf_proto"],
    "protocol": TYPES["ether_type"],
    "mark": TYPES["mark"],
    "iif": TYPES["iface_index"],
    "oif": TYPES["iface_index"],
    "sdif": TYPES["iface_index"],
    "iifname": TYPES["ifname"],
    "oifname": TYPES["ifname"],
    "sdifname": TYPES["ifname"],
    "ibrname": TYPES["ifname"],
    "obrname": TYPES["ifname"],
    "ibriport": TYPES["ifname"],
    "obriport": TYPES["ifname"],
    "time": STRING,
    "hour": STRING,
    "day": STRING,
    "iifkind": STRING,
    "oifkind": STRING,
    "ipsec": TYPES["boolean"],
    "secpath": TYPES["boolean"],
}
CTS = {
    "state": TYPES["ct_state"],
    "status": TYPES["ct_status"],
    "mark": TYPES["mark"],
    "direction": TYPES["ct_dir"],
    "protocol": _PROTO,
    "l3proto": TYPES["nf_proto"],
    "proto-src": _PORT,
    "proto-dst": _PORT,
    "ip saddr": TYPES["ipv4_addr"],
    "ip daddr": TYPES["ipv4_addr"],
    "ip6 saddr": TYPES["ipv6_addr"],
    "ip6 daddr": TYPES["ipv6_addr"],
    "helper": STRING,
    "expiration": TYPES["time"],
}
FIBS = {"type": TYPES["fib_addrtype"], "oif": TYPES["iface_index"], "oifname": TYPES["ifname"]}


def address_type(family: str) -> DataType:
    """The type of a table's addresses; ``inet`` has both and takes an IPv4 one here."""
    return TYPES["ipv6_addr"] if family == "ip6" else TYPES["ipv4_addr"]


def type_of(expression: Any, family: str) -> Types:
    """The type of an expression's value in a table of this family; words where it is not known."""
    if not isinstance(expression, dict) or not expression:
        return WORD
    name, about = next(iter(expression.items()))
    if name in ("&", "|", "^", "<<", ">>"):
        return type_of(about[0], family) if isinstance(about, list) and about else WORD
    if name == "concat" and isinstance(about, list):
        return tuple(_single(type_of(part, family)) for part in about)
    if name in ("numgen", "jhash", "symhash"):
        return INTEGER
    if not isinstance(about, dict):
        return WORD
    if name == "payload":
        return _payload(about)
    if name == "meta":
        return METAS.get(str(about.get("key")), WORD)
    if name == "ct":
        key = about.get("key")
        if key in ("saddr", "daddr"):
            return address_type(family)
        return CTS.get(str(key), WORD)
    if name == "fib":
        return FIBS.get(str(about.get("result")), WORD)
    if name == "socket":
        return TYPES["mark"] if about.get("key") == "mark" else INTEGER
    if name == "osf":
        return STRING
    return WORD


def _payload(about: dict[str, Any]) -> DataType:
    if "base" in about:
        return TYPES["raw"]
    field = about.get("field")
    if field in ("sport", "dport"):
        return _PORT
    return PAYLOADS.get((str(about.get("protocol")), str(field)), WORD)


def _single(types: Types) -> DataType:
    return WORD if isinstance(types, tuple) else types


def declared(kind: Any, family: str) -> Types:
    """The type that a set declares: a name, names joined by `` . ``, a list of names, or an expression."""
    if isinstance(kind, dict):
        return type_of(kind.get("typeof", kind), family)
    if isinstance(kind, str):
        kind = kind.split(" . ")
    if not isinstance(kind, list):
        return WORD
    types = tuple(
        _single(declared(part, family)) if isinstance(part, dict) else named(str(part)) for part in kind
    )
    return types[0] if len(types) == 1 else types
