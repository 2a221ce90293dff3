"""What nftables reads from a packet, its interfaces and its connection: payload, meta, ct, fib.

Each selector is a function from a Packet to a value: ``None`` where the kernel leaves the rule (net/netfilter/
nft_payload.c, nft_meta.c, nft_ct.c), ``Vague`` where a part of it, or all, is not known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from svcdoctor.dataplane.nftvalues import ALL, Single, Unmodelled, Vague
from svcdoctor.dataplane.packet import ESTABLISHED, INVALID, NEW, UNTRACKED, WITH_PORTS, Packet
from svcdoctor.dataplane.surroundings import Surroundings

Selector: TypeAlias = Callable[[Packet], "Single | None"]

_L4 = {"tcp": 6, "udp": 17, "sctp": 132, "dccp": 33, "udplite": 136, "esp": 50, "ah": 51, "comp": 108}
_L4 |= {"igmp": 2, "gre": 47, "icmp": 1, "icmpv6": 58}

# A port that the client's kernel picked: net.ipv4.ip_local_port_range as it is by default.
EPHEMERAL = Vague("the source port is not known", 32768, 60999)
_NO_DPORT = Vague("the destination port is not known")
_NO_STATE = Vague("what conntrack knows of this connection is not known")
_OF_ANOTHER = Vague("ports of this protocol are not modelled")


def payload(protocol: str, field: str) -> Selector:
    """A header's field."""
    if protocol in ("ip", "ip6"):
        return _network(4 if protocol == "ip" else 6, protocol, field)
    if protocol == "th" or (protocol in _L4 and field in ("sport", "dport")):
        return _port(_L4.get(protocol), field)
    vague = Vague(f"{protocol} {field} is not modelled")
    number = _L4.get(protocol)
    if number is None:
        return lambda packet: vague
    if protocol == "tcp" and field == "flags":
        return lambda packet: _tcp_flags(packet) if packet.proto == 6 else None
    if protocol in ("icmp", "icmpv6") and field in ("type", "code"):
        return _icmp(number, field)
    return lambda packet: vague if packet.proto == number else None


def _network(version: int, protocol: str, field: str) -> Selector:
    if field == "saddr":
        return lambda packet: packet.src if packet.family == version else None
    if field == "daddr":
        return lambda packet: packet.dst if packet.family == version else None
    if field in ("protocol", "nexthdr"):
        return lambda packet: packet.proto if packet.family == version else None
    if field == "version":
        return lambda packet: version if packet.family == version else None
    if field == "frag-off":
        # A first packet is no fragment, and conntrack reassembles; only "don't fragment" is not known.
        whole = Vague("whether the packet may be fragmented is not known", high=0x4000, known=~0x4000)
        return lambda packet: whole if packet.family == version else None
    vague = Vague(f"{protocol} {field} is not modelled")
    return lambda packet: vague if packet.family == version else None


def _port(number: int | None, field: str) -> Selector:
    """A port; ``number`` is the protocol that it must be of, ``None`` for ``th``."""

    def source(packet: Packet) -> Single | None:
        if packet.proto != number and number is not None:
            return None
        if packet.proto not in WITH_PORTS:
            return _OF_ANOTHER
        return EPHEMERAL if packet.sport is None else packet.sport

    def destination(packet: Packet) -> Single | None:
        if packet.proto != number and number is not None:
            return None
        if packet.proto not in WITH_PORTS:
            return _OF_ANOTHER
        return _NO_DPORT if packet.dport is None else packet.dport

    if field == "sport":
        return source
    if field == "dport":
        return destination
    raise Unmodelled(f"th {field} is not modelled")


_SYN = Vague("whether the packet offers ECN is not known", high=0xC2, known=~0xC0, bits=2)
_LATER = Vague("the flags of a later packet are not known", high=0xFF, known=0x10, bits=0x10)
_SOME = Vague("the flags of this packet are not known", high=0xFF)


def _tcp_flags(packet: Packet) -> Single:
    if packet.state == NEW:
        return _SYN
    return _LATER if packet.state == ESTABLISHED else _SOME


def _icmp(number: int, field: str) -> Selector:
    """A request of ICMP is an echo request, what ping sends; conntrack knows no errors as new."""
    request = 0 if field == "code" else 8 if number == 1 else 128
    vague = Vague(f"the {field} of this ICMP packet is not known")

    def read(packet: Packet) -> Single | None:
        if packet.proto != number:
            return None
        return request if packet.state == NEW else vague

    return read


def meta(key: str) -> Selector:
    """What the kernel knows of a packet beside its bytes."""
    found = _METAS.get(key)
    if found is not None:
        return found
    vague = Vague(f"meta {key} is not modelled")
    return lambda packet: vague


def _interface(name: str | None) -> Single:
    return _NO_INTERFACE if name is None else name


_NO_INTERFACE = Vague("the interface is not known")
_NO_OWNER = Vague("whose process sends the packet is not known")


def _owner(packet: Packet) -> Single | None:
    return _NO_OWNER if packet.local else None


_METAS: dict[str, Selector] = {
    "l4proto": lambda packet: packet.proto,
    "nfproto": lambda packet: 2 if packet.family == 4 else 10,
    "protocol": lambda packet: 0x0800 if packet.family == 4 else 0x86DD,
    "mark": lambda packet: packet.mark,
    "iif": lambda packet: _interface(packet.iif),
    "iifname": lambda packet: _interface(packet.iif),
    "oif": lambda packet: _interface(packet.oif),
    "oifname": lambda packet: _interface(packet.oif),
    "skuid": _owner,
    "skgid": _owner,
}


def ct(key: str, direction: str | None, family: str) -> Selector:
    """What conntrack knows of the packet's connection. ``family`` is the table's."""
    if key == "state":
        return lambda packet: packet.ct
    name = f"ct {direction} {key}" if direction else f"ct {key}"
    words = key.split()
    version = {"ip": 4, "ip6": 6}.get(words[0] if len(words) == 2 else family)
    read = _CTS.get(key) if direction is None else _TUPLES.get((direction, words[-1]))
    vague = Vague(f"{name} is not modelled")

    def of_connection(packet: Packet) -> Single | None:
        if packet.ct == INVALID or packet.ct == UNTRACKED:
            return None
        if words[-1] in ("saddr", "daddr") and version is not None and packet.family != version:
            return None
        return vague if read is None else read(packet)

    return of_connection


def _first(read: Selector) -> Selector:
    """What is certain in a connection's first packet only."""
    return lambda packet: read(packet) if packet.ct == NEW else _NO_STATE


# The bits that say how far the kernel is with a first packet: confirmed, and whether NAT was asked already.
_PROGRESS = 8 | 128 | 256


def _status(packet: Packet) -> Single:
    known = ALL & ~_PROGRESS if packet.ct == NEW else packet.ctstatus
    return Vague(_NO_STATE.why, high=0xFFFF, known=known, bits=packet.ctstatus)


def _connmark(packet: Packet) -> Single:
    """The first packet finds none; that of a later one is what the first left, unless a rule set it."""
    return packet.ctmark if packet.ct == NEW or packet.ctmark else _NO_STATE


def _known_port(port: int | None) -> Single:
    return EPHEMERAL if port is None else port


def _reply_destination(packet: Packet) -> Single:
    if packet.masquerade:
        return Vague("the address that the node masquerades with is not known")
    return packet.snat[0] if packet.snat is not None else packet.src


_CTS: dict[str, Selector] = {
    "status": _status,
    "mark": _connmark,
    "direction": _first(lambda packet: 0),
    "protocol": lambda packet: packet.proto,
    "l3proto": lambda packet: 2 if packet.family == 4 else 10,
}
_TUPLES: dict[tuple[str, str], Selector] = {
    ("original", "saddr"): _first(lambda packet: packet.original_src),
    ("original", "daddr"): _first(lambda packet: packet.original_dst),
    ("original", "proto-src"): _first(lambda packet: _known_port(packet.original_sport)),
    ("original", "proto-dst"): _first(
        lambda packet: _NO_DPORT if packet.original_dport is None else packet.original_dport
    ),
    ("reply", "saddr"): _first(lambda packet: packet.dst),
    ("reply", "daddr"): _first(_reply_destination),
    ("reply", "proto-src"): _first(lambda packet: _NO_DPORT if packet.dport is None else packet.dport),
    ("original", "protocol"): lambda packet: packet.proto,
    ("original", "l3proto"): lambda packet: 2 if packet.family == 4 else 10,
    ("reply", "protocol"): lambda packet: packet.proto,
    ("reply", "l3proto"): lambda packet: 2 if packet.family == 4 else 10,
}


def fib(result: str, flags: list[str], surroundings: Surroundings) -> Selector:
    """What the node's routes say of the packet's source or destination."""
    source = "saddr" in flags
    if result == "type":

        def kind(packet: Packet) -> Single | None:
            address = packet.src if source else packet.dst
            found = surroundings.address_type(packet.family, address)
            if found is None:
                return Vague("what type of address this is to the node is not known")
            if "iif" in flags and found in ("local", "broadcast"):
                return Vague("whether the interface itself has this address is not known")
            return found

        return kind
    vague = Vague(f"which interface {'saddr' if source else 'daddr'} lies behind is not known")
    return lambda packet: vague


def fib_exists(flags: list[str], surroundings: Surroundings) -> Callable[[Packet], bool | str]:
    """Whether a route leads to the address, by the packet's own interface where ``iif`` is asked for."""
    if "saddr" not in flags or "oif" in flags:
        return lambda packet: f"fib {' . '.join(flags)} oif is not modelled"
    loose = "iif" not in flags
    return lambda packet: surroundings.reverse_path_ok(packet, loose)


def other(name: str, about: Any) -> Selector:
    """A selector that is not modelled: its name is the reason."""
    key = about.get("key", about.get("name", "")) if isinstance(about, dict) else ""
    vague = Vague(f"{name} {key} is not modelled".replace("  ", " "))
    if name == "tcp option":
        return lambda packet: vague if packet.proto == 6 else None
    return lambda packet: vague
