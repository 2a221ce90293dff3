"""What rules ask about the node around them: whose an address is, what an ipset holds, where a source lies.

Rules of both kinds ask the same: iptables' ``addrtype``, ``set`` and ``rpfilter``, nftables' ``fib``. A text as
answer is the reason why it cannot be said. ``PlainSurroundings`` knows the node's own addresses only.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Protocol

from svcdoctor.dataplane.packet import Packet

# What the kernel takes an address for (RTN_* in include/uapi/linux/rtnetlink.h), in iptables' and nft's words.
ADDRESS_TYPES = frozenset(
    {
        "unspec",
        "unicast",
        "local",
        "broadcast",
        "anycast",
        "multicast",
        "blackhole",
        "unreachable",
        "prohibit",
    }
)


class Surroundings(Protocol):
    """One node, as its rules may ask about it. Addresses are integers, ``family`` is 4 or 6."""

    def is_local(self, family: int, address: int) -> bool | str:
        """Whether an address is the node's own, loopback included."""

    def address_type(self, family: int, address: int) -> str | None:
        """One of ADDRESS_TYPES, on whichever interface; ``None`` when it is not known."""

    def in_set(self, name: str, packet: Packet, directions: tuple[str, ...]) -> bool | str:
        """Whether an ipset holds the packet.

        ``directions`` are ``src`` or ``dst``, one for each field of the set's type (``hash:ip,port``: two).
        """

    def reverse_path_ok(self, packet: Packet, loose: bool) -> bool | str:
        """Whether a reply to the packet's source would leave by ``packet.iif``; by any interface if ``loose``."""


class PlainSurroundings:
    """The node's addresses and loopback are local; multicast and 255.255.255.255 are what they always are; every
    other address is unicast. Sets and routes are not known.

    Raises ValueError for an address that is none.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self.addresses = frozenset((ip.version, int(ip)) for ip in map(ip_address, addresses))

    def is_local(self, family: int, address: int) -> bool | str:
        loopback = address >> 24 == 127 if family == 4 else address == 1
        return loopback or (family, address) in self.addresses

    def address_type(self, family: int, address: int) -> str | None:
        fixed = fixed_type(family, address)
        if fixed is not None:
            return fixed
        return "local" if self.is_local(family, address) else "unicast"

    def in_set(self, name: str, packet: Packet, directions: tuple[str, ...]) -> bool | str:
        return f"what ipset {name} holds is not in the dump; add the output of: ipset save"

    def reverse_path_ok(self, packet: Packet, loose: bool) -> bool | str:
        return "the node's routes, which reverse path filtering looks up, are not known"


def fixed_type(family: int, address: int) -> str | None:
    """The type of an address that is the same on every node: multicast, broadcast, unspecified. Else ``None``.

    As net/ipv4/fib_frontend.c (inet_addr_type) and net/ipv6/addrconf_core.c (ipv6_addr_type) decide.
    """
    if family == 4:
        if address in (0, 0xFFFFFFFF):
            return "broadcast"
        return "multicast" if address >> 28 == 0xE else None
    if address == 0:
        return "unspec"
    return "multicast" if address >> 120 == 0xFF else None
