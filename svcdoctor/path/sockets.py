"""What a pod's listening sockets say of one of its ports.

A socket of ``::`` takes IPv4 too unless it was made IPV6_V6ONLY, which the kernel's tables do not show: what it does
with IPv4 only a connection tells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum
from ipaddress import ip_address

from svcdoctor.model.nodefacts import Listener


class Ear(Enum):
    """Whether anything listens at an address and port of a pod, and if not, what does instead."""

    LISTENS = "listens"
    PERHAPS = "perhaps"  # on ::, and IPv4 is asked
    LOOPBACK = "loopback"
    OTHER_FAMILY = "other family"
    OTHER_ADDRESS = "other address"
    NOTHING = "nothing"


def ear(listeners: Iterable[Listener], ip: str, port: int, protocol: str) -> Ear:
    """What a packet to this address of the pod meets."""
    asked = ip_address(ip)
    mine = [ip_address(s.address) for s in listeners if (s.protocol, s.port) == (protocol, port)]
    if any(a == asked or (a.is_unspecified and a.version == asked.version) for a in mine):
        return Ear.LISTENS
    if any(getattr(a, "ipv4_mapped", None) == asked for a in mine):
        return Ear.LISTENS
    if asked.version == 4 and any(a.is_unspecified for a in mine):
        return Ear.PERHAPS
    if not mine:
        return Ear.NOTHING
    if all(_loopback(a) for a in mine):
        return Ear.LOOPBACK
    if all(a.version != asked.version for a in mine if not _loopback(a)):
        return Ear.OTHER_FAMILY
    return Ear.OTHER_ADDRESS


def _loopback(address: object) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    return bool(getattr(mapped or address, "is_loopback", False))


def sockets_text(listeners: Sequence[Listener], protocol: str, most: int = 6) -> str:
    """``127.0.0.1:8080, [::]:9090``; ``none`` where there are none."""
    found = [
        f"[{s.address}]:{s.port}" if ":" in s.address else f"{s.address}:{s.port}"
        for s in sorted(listeners, key=lambda s: (s.port, s.address))
        if s.protocol == protocol
    ]
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(found[:most]) + more or "none"
