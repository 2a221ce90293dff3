"""nftables' NAT statements: snat, dnat, masquerade and redirect, with ranges, maps and random choice.

A statement without a choice becomes its action; one whose target is looked up, drawn or taken from a range
becomes a choice of such actions. Ranges are shared evenly: the kernel picks by a hash of the connection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from svcdoctor.dataplane.language import Action, Choices, Op
from svcdoctor.dataplane.nftexpressions import Expressions, flags_of
from svcdoctor.dataplane.nftoutcomes import Outcomes, outcomes
from svcdoctor.dataplane.nftrule import Parts
from svcdoctor.dataplane.nftsets import MISSING
from svcdoctor.dataplane.nfttypes import TYPES, DataType
from svcdoctor.dataplane.nftvalues import Pattern, Single, Span, Unmodelled, Vague, Value
from svcdoctor.dataplane.packet import Packet

OPS = {"snat": Op.SNAT, "dnat": Op.DNAT, "redirect": Op.REDIRECT}
PORT = TYPES["inet_service"]


def nat(expressions: Expressions, name: str, about: Any, parts: Parts) -> None:
    """Add what a NAT statement does. Raises Unmodelled."""
    if about is None:
        about = {}
    if not isinstance(about, dict):
        raise Unmodelled(f"{name} is not as nft writes it")
    family = about.get("family")
    if family is not None and expressions.family == "inet":
        # For the other family the kernel goes on with the next rule (nft_nat_inet_eval in nft_nat.c).
        version = 6 if family == "ip6" else 4
        parts.need(lambda packet: packet.family == version)
    if name == "masquerade":
        parts.do(Op.MASQUERADE)
        return
    op = OPS[name]
    address, port = about.get("addr"), about.get("port")
    kind = expressions.addresses(family)
    if "netmap" in flags_of(about) or (isinstance(address, dict) and "prefix" in address):
        parts.do(Op.CHOOSE, _netmap(expressions, op, address, kind, parts))
    elif isinstance(address, dict) or isinstance(port, dict):
        # A map with a port has both in its data: address and port as one concatenation.
        data = (kind, PORT) if _holds_concatenations(address) else kind
        addresses = outcomes(expressions, address, data, parts) if address is not None else None
        if op is Op.SNAT and isinstance(port, dict) and "range" in port:
            port = None  # which source port the kernel takes decides nothing on this node
        ports = outcomes(expressions, port, PORT, parts) if port is not None else None
        parts.do(Op.CHOOSE, _choose(op, addresses, ports))
    else:
        fixed = None if address is None else kind.single(address)
        parts.do(op, (fixed, None if port is None else PORT.single(port)))


def _holds_concatenations(address: Any) -> bool:
    """Whether an anonymous map's data are addresses with ports. A named map declares its own type."""
    if not isinstance(address, dict) or not isinstance(about := address.get("map"), dict):
        return False
    data = about.get("data")
    elements = data.get("set") if isinstance(data, dict) else None
    if not isinstance(elements, list) or not elements or not isinstance(elements[0], list):
        return False
    return isinstance(elements[0][-1], dict) and "concat" in elements[0][-1]


def _choose(op: Op, addresses: Outcomes | None, ports: Outcomes | None) -> Callable[[Packet], Choices]:
    def choose(packet: Packet) -> Choices:
        to = addresses(packet) if addresses is not None else KEPT
        by = ports(packet) if ports is not None else KEPT
        return [(p * q, (_translate(op, a, b),)) for p, a in to for q, b in by]

    return choose


# A part of the target that the statement does not name stays as it is.
KEPT: Sequence[tuple[float, Value]] = ((1.0, ()),)


def _translate(op: Op, address: Value, port: Value) -> Action:
    if address is None or port is None:
        return Op.STOP, None  # no element of the map: the kernel leaves the rule
    both = address if isinstance(address, tuple) else (address,)
    to: Single | None = both[0] if both else None
    by: Single | None = both[1] if len(both) > 1 else None if isinstance(port, tuple) else port
    for part in (to, by):
        if isinstance(part, Vague):
            return Op.UNKNOWN, part.why
    return op, (to, by)


def _netmap(
    expressions: Expressions, op: Op, address: Any, kind: DataType, parts: Parts
) -> Callable[[Packet], Choices]:
    """The prefix is replaced, the host's part stays (NF_NAT_RANGE_NETMAP)."""
    target = _prefixes(expressions, address, kind, parts)

    def choose(packet: Packet) -> Choices:
        span = target(packet)
        if not isinstance(span, Span):
            return [(1.0, ((Op.UNKNOWN, "the prefix that the address is mapped to is not known"),))]
        own = packet.src if op is Op.SNAT else packet.dst
        return [(1.0, ((op, (span.low | own & (span.low ^ span.high), None)),))]

    return choose


def _prefixes(
    expressions: Expressions, address: Any, kind: DataType, parts: Parts
) -> Callable[[Packet], Pattern | None]:
    """The prefix that a packet's address is mapped to: a fixed one, or that of a map."""
    if not isinstance(address, dict) or "map" not in address:
        fixed = kind.pattern(address)
        return lambda packet: fixed
    key, elements, _ = expressions.map_of(address["map"])
    read = expressions.reader(key)
    written = {id(data): kind.pattern(data) for _, data in elements.items()}

    def find(packet: Packet) -> Any:
        value = read(packet)
        return MISSING if value is None else elements.find(value)

    parts.need(lambda packet: found.why if isinstance(found := find(packet), Vague) else found is not MISSING)
    return lambda packet: written.get(id(find(packet)))
