"""What every iptables rule can test without a match: -s, -d, -i, -o, -p and -f.

As ip_packet_match in net/ipv4/netfilter/ip_tables.c and its IPv6 twin.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple, TypeAlias

from svcdoctor.dataplane.iptableswords import Option
from svcdoctor.dataplane.language import Action, Test
from svcdoctor.dataplane.packet import PROTOCOLS, Packet
from svcdoctor.dataplane.surroundings import Surroundings

IIF_UNKNOWN = "the interface by which the packet comes in is not known"
OIF_UNKNOWN = "the interface by which the packet goes out is not known"

# The names that iptables and /etc/protocols have for protocols which PROTOCOLS has not.
_MORE_PROTOCOLS = {
    "hopopt": 0,
    "ipv6": 41,
    "ipv6-route": 43,
    "ipv6-frag": 44,
    "rsvp": 46,
    "eigrp": 88,
    "pim": 103,
    "ipcomp": 108,
    "vrrp": 112,
    "l2tp": 115,
    "ipv6-nonxt": 59,
    "ipv6-opts": 60,
    "mobility-header": 135,
    "ipv6-mh": 135,
    "mh": 135,
    "mptcp": 262,
}


class Scope(NamedTuple):
    """What a rule is translated for: the table's family, and the node."""

    family: int
    surroundings: Surroundings


# What a match comes to: tests, and actions that are carried out as it matches.
Step: TypeAlias = "Test | Action"


def never(packet: Packet) -> bool | str:
    """The test that no packet passes."""
    return False


def unknown(why: str) -> Test:
    """The test whose answer is not known."""
    return lambda packet: why


def negated(test: Test) -> Test:
    """The opposite answer; what is not known stays so."""

    def opposite(packet: Packet) -> bool | str:
        answer = test(packet)
        return answer if isinstance(answer, str) else not answer

    return opposite


def network(text: str, family: int) -> tuple[int, int]:
    """``10.0.0.0/8``, ``10.0.0.1/255.0.0.255`` or an address, as address and mask. Raises ValueError."""
    address_text, _, mask_text = text.partition("/")
    address = address_of(address_text, family)
    bits = 32 if family == 4 else 128
    full = (1 << bits) - 1
    if not mask_text:
        return address, full
    if mask_text.isdecimal():
        prefix = int(mask_text)
        if prefix > bits:
            raise ValueError(f"{text} has more than {bits} bits")
        mask = full ^ (full >> prefix)
    else:
        mask = address_of(mask_text, family)
    return address & mask, mask


def address_of(text: str, family: int) -> int:
    """An address as integer. Raises ValueError for one of the other family too."""
    return int(IPv4Address(text) if family == 4 else IPv6Address(text))


def protocol(text: str) -> int:
    """A protocol's number; 0 for all. Raises ValueError for a name that is not known."""
    if text.isdecimal():
        number = int(text)
        if number > 262:
            raise ValueError(f"{text} is no protocol")
        return number
    name = text.lower()
    if name == "all":
        return 0
    found = PROTOCOLS.get(name, _MORE_PROTOCOLS.get(name))
    if found is None:
        raise ValueError(f"the protocol {text} is not known here")
    return found


def own_test(option: Option, scope: Scope) -> Test | None:
    """The test of one of -s -d -i -o -p -f; ``None`` for one that every packet passes. Raises ValueError."""
    value = option.values[0] if option.values else ""
    if option.name == "s" or option.name == "d":
        address, mask = network(value, scope.family)
        test = _address_test(option.name == "s", address, mask, scope.family)
    elif option.name == "p":
        number = protocol(value)
        if number == 0 and not option.negated:
            return None

        def test(packet: Packet) -> bool | str:
            return packet.proto == number

    elif option.name == "f":
        test = never  # a request's first packet is whole, or a first fragment
    else:
        test = _interface_test(option.name == "i", value, scope.surroundings)
    return negated(test) if option.negated else test


def _address_test(source: bool, address: int, mask: int, family: int) -> Test:
    full = mask == (1 << (32 if family == 4 else 128)) - 1
    if source:
        if full:
            return lambda packet: packet.src == address
        return lambda packet: packet.src & mask == address
    if full:
        return lambda packet: packet.dst == address
    return lambda packet: packet.dst & mask == address


def _interface_test(incoming: bool, name: str, surroundings: Surroundings) -> Test:
    prefix = name[:-1] if name.endswith("+") else None

    def fits(interface: str) -> bool:
        return interface == name if prefix is None else interface.startswith(prefix)

    def by_iif(packet: Packet) -> bool | str:
        if prefix == "":
            return True
        if packet.iif is not None:
            return fits(packet.iif)
        if name == "lo" and not packet.local and surroundings.is_local(packet.family, packet.src) is False:
            return False  # only what the node sends to itself comes in by lo
        return IIF_UNKNOWN

    def by_oif(packet: Packet) -> bool | str:
        if prefix == "":
            return True
        if packet.oif is not None:
            return fits(packet.oif)
        if name == "lo" and surroundings.is_local(packet.family, packet.dst) is False:
            return False  # lo leads to the node itself
        return OIF_UNKNOWN

    return by_iif if incoming else by_oif
