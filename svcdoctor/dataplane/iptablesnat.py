"""The targets that translate addresses: DNAT, SNAT, MASQUERADE, REDIRECT and NETMAP.

A range of addresses or ports becomes a choice: the kernel picks by a hash or at random, which is even enough.
A port that lies in the range already stays, unless ``--random`` is asked for; the same holds for a source
address. As net/netfilter/nf_nat_core.c (get_unique_tuple).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from svcdoctor.dataplane.iptablesheader import Scope, address_of, network
from svcdoctor.dataplane.iptablesports import port_range
from svcdoctor.dataplane.iptableswords import Section
from svcdoctor.dataplane.language import Action, Choices, Op
from svcdoctor.dataplane.packet import Packet

MOST_CHOICES = 4096  # addresses times ports of a range; larger ones are not followed
TOO_MANY = "the range that the rule translates to is too large to follow"


class _Ranges(NamedTuple):
    """Where a packet is sent to. ``None``: the address, or the port, stays. ``base`` shifts the port."""

    addresses: tuple[int, int] | None
    ports: tuple[int, int] | None
    base: int | None = None


def dnat(section: Section, scope: Scope) -> list[Action]:
    """-j DNAT. Raises ValueError."""
    return _translate(Op.DNAT, section, "to-destination", scope)


def snat(section: Section, scope: Scope) -> list[Action]:
    """-j SNAT. Raises ValueError."""
    return _translate(Op.SNAT, section, "to-source", scope)


def masquerade(section: Section, scope: Scope) -> list[Action]:
    """-j MASQUERADE: which source port it takes decides nothing on this node."""
    return [(Op.MASQUERADE, None)]


def redirect(section: Section, scope: Scope) -> list[Action]:
    """-j REDIRECT. Raises ValueError."""
    ports = [port_range(o.values[0], "-") for o in section.options if o.name == "to-ports"]
    to = _Ranges(None, ports[0] if ports else None)
    return _actions(Op.REDIRECT, to, _random(section))


def netmap(section: Section, scope: Scope, source: bool) -> list[Action]:
    """-j NETMAP: the network is replaced, the host's part stays. Raises ValueError."""
    if len(section.options) != 1:
        raise ValueError("--to is missing")
    address, mask = network(section.options[0].values[0], scope.family)
    host = ~mask

    def choose(packet: Packet) -> Choices:
        own = packet.src if source else packet.dst
        return [(1.0, ((Op.SNAT if source else Op.DNAT, (address | own & host, None)),))]

    return [(Op.CHOOSE, choose)]


def _random(section: Section) -> bool:
    return any(option.name in ("random", "random-fully") for option in section.options)


def _translate(op: Op, section: Section, to: str, scope: Scope) -> list[Action]:
    targets = [option.values[0] for option in section.options if option.name == to]
    if len(targets) != 1:
        raise ValueError(f"one --{to} is needed, {len(targets)} are given")
    return _actions(op, _ranges(targets[0], scope.family), _random(section))


def _ranges(text: str, family: int) -> _Ranges:
    """``10.0.0.1-10.0.0.9:80-90/8080``, ``[fd00::1]:80``, ``:80``, an address alone."""
    if text.startswith("["):
        addresses, bracket, ports = text[1:].partition("]")
        if not bracket or (ports and not ports.startswith(":")):
            raise ValueError(f"{text} is no address with a port")
        ports = ports[1:]
    elif family == 6 and (text.startswith("::") or not text.startswith(":")):
        addresses, ports = text, ""
    else:
        addresses, _, ports = text.partition(":")
    base = None
    if "/" in ports:
        ports, _, shift = ports.partition("/")
        base = port_range(shift, "-")[0]
    first, _, last = addresses.partition("-")
    span = None
    if first:
        low = address_of(first, family)
        span = (low, address_of(last, family) if last else low)
        if span[1] < low:
            raise ValueError(f"{addresses} ends before it begins")
    return _Ranges(span, port_range(ports, "-") if ports else None, base)


def _actions(op: Op, to: _Ranges, random: bool) -> list[Action]:
    address = None if to.addresses is None else to.addresses[0]
    port = None if to.ports is None else to.ports[0]
    one_address = to.addresses is None or to.addresses[1] == address
    one_port = to.ports is None or to.ports[1] == port
    if one_address and op is Op.SNAT:
        return [(op, (address, port if one_port else None))]
    if one_address and one_port:
        return [(op, (address, port))]
    return [(Op.CHOOSE, _chooser(op, to, random))]


def _chooser(op: Op, to: _Ranges, random: bool) -> Callable[[Packet], Choices | str]:
    def choose(packet: Packet) -> Choices | str:
        addresses = _addresses(op, to, random, packet)
        ports = _ports(op, to, random, packet)
        if len(addresses) * len(ports) > MOST_CHOICES:
            return TOO_MANY
        share = 1.0 / (len(addresses) * len(ports))
        return [(share, ((op, (address, port)),)) for address in addresses for port in ports]

    return choose


def _addresses(op: Op, to: _Ranges, random: bool, packet: Packet) -> Sequence[int | None]:
    if to.addresses is None:
        return (None,)
    low, high = to.addresses
    if op is Op.SNAT and not random and low <= packet.src <= high:
        return (packet.src,)
    return range(low, min(high, low + MOST_CHOICES) + 1)


def _ports(op: Op, to: _Ranges, random: bool, packet: Packet) -> Sequence[int | None]:
    if to.ports is None or packet.dport is None:
        return (None,)
    low, high = min(to.ports), max(to.ports)
    if op is Op.SNAT:
        return (low,) if low == high else (None,)
    if to.base is not None:
        return (low + (packet.dport - to.base) % 65536 % (high - low + 1),)
    if not random and low <= packet.dport <= high:
        return (packet.dport,)
    return range(low, high + 1)
