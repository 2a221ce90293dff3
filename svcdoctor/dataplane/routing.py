"""Where a node sends a packet: to itself, out of an interface, or nowhere.

``Router`` is what the hooks ask. ``PlainRouter`` knows the node's own addresses only and takes every other one
as reachable; a node whose routes and sysctls were collected answers with its own tables.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from ipaddress import ip_address
from typing import Protocol

import msgspec

from svcdoctor.dataplane.packet import Packet


class Way(Enum):
    """What a routing decision comes to."""

    LOCAL = "local"
    FORWARD = "forward"  # out of an interface: to the next hop, or onto the link
    UNREACHABLE = "unreachable"  # the sender is told
    DROPPED = "dropped"  # the sender is not told
    UNKNOWN = "unknown"


class Decision(msgspec.Struct, frozen=True):  # one for each packet: a dataclass takes four times as long
    """``oif`` and ``gateway`` are ``None`` where they are not known; ``reason`` says why a way is none.

    ``prefix`` is the length of the route's network, 0 for a default route. ``code`` names the finding that a
    way which is none is an instance of.
    """

    way: Way
    oif: str | None = None
    gateway: int | None = None
    reason: str = ""
    prefix: int | None = None
    code: str | None = None


class Router(Protocol):
    """One node's routing, IPv4 and IPv6."""

    def is_local(self, family: int, address: int) -> bool:
        """Whether an address is the node's own, loopback included."""

    def incoming(self, packet: Packet) -> Decision:
        """For a packet that came in by ``packet.iif``: source validation, local or forwarded, ip_forward."""

    def outgoing(self, packet: Packet) -> Decision:
        """For a packet made on the node: its interface and next hop."""

    def own_address(self, family: int, interface: str | None, towards: int) -> int | None:
        """The address that the node takes on an interface towards a destination (MASQUERADE, REDIRECT)."""

    def source_towards(self, family: int, destination: int) -> int | None:
        """The source address of a packet that a process of the node sends to a destination."""

    def interface_from(self, family: int, source: int) -> str | None:
        """The interface on which packets from a source come in: the one that leads to it."""

    def next_hop(self, family: int, destination: int) -> int | None:
        """The gateway towards a destination; ``None`` on the link itself, or when it is not known."""

    def shared_bridge(self, family: int, one: int, other: int) -> str | None:
        """The bridge behind which both addresses are reached directly."""

    def bridge_calls_netfilter(self, family: int) -> bool | None:
        """Whether bridged packets meet iptables (net.bridge.bridge-nf-call-iptables)."""


LOOPBACK4 = 127 << 24
LOOPBACK6 = 1


def is_loopback(family: int, address: int) -> bool:
    """127.0.0.0/8 and ::1."""
    return address >> 24 == 127 if family == 4 else address == LOOPBACK6


class PlainRouter:
    """Only the node's addresses are known: they and loopback are local, all else is reachable by forwarding.

    Raises ValueError for an address that is none.
    """

    def __init__(self, addresses: Iterable[str] = ()) -> None:
        self.addresses = frozenset((ip.version, int(ip)) for ip in map(ip_address, addresses))

    def is_local(self, family: int, address: int) -> bool:
        return is_loopback(family, address) or (family, address) in self.addresses

    def incoming(self, packet: Packet) -> Decision:
        return self.outgoing(packet)

    def outgoing(self, packet: Packet) -> Decision:
        if self.is_local(packet.family, packet.dst):
            return Decision(Way.LOCAL, "lo")
        return Decision(Way.FORWARD)

    def own_address(self, family: int, interface: str | None, towards: int) -> int | None:
        return None

    def source_towards(self, family: int, destination: int) -> int | None:
        return destination if self.is_local(family, destination) else None

    def interface_from(self, family: int, source: int) -> str | None:
        return None

    def next_hop(self, family: int, destination: int) -> int | None:
        return None

    def shared_bridge(self, family: int, one: int, other: int) -> str | None:
        return None

    def bridge_calls_netfilter(self, family: int) -> bool | None:
        return None
