"""One packet on its way through a node, with what conntrack knows of its connection.

A Packet belongs to one branch of the evaluation and is changed in place; where a rule branches, it is copied.
Addresses are integers. ``None`` means that a field is not known; a test that needs it then answers with the
reason instead of a bool.
"""

from __future__ import annotations

from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from svcdoctor.dataplane.language import Trail

PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "dccp": 33, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58}
PROTOCOLS |= {"ipv6-icmp": 58, "sctp": 132, "udplite": 136, "igmp": 2, "ipip": 4, "ipencap": 4, "ospf": 89}
PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 58: "icmpv6", 132: "sctp", 136: "udplite"}
WITH_PORTS = frozenset({6, 17, 33, 132, 136})

# Conntrack's states and status bits with the values that nft and the kernel use
# (include/uapi/linux/netfilter/nf_conntrack_common.h).
INVALID, ESTABLISHED, RELATED, NEW, UNTRACKED = 1, 2, 4, 8, 64
STATES = {
    "invalid": INVALID,
    "established": ESTABLISHED,
    "related": RELATED,
    "new": NEW,
    "untracked": UNTRACKED,
}
SEEN_REPLY, ASSURED, CONFIRMED, SNATTED, DNATTED = 2, 4, 8, 16, 32


# An index of a long chain, by address and by port, and the keys that a packet had in it.
Passed: TypeAlias = "tuple[dict[int, list[int]], dict[int, list[int]], int | None, int | None]"
# What read a packet's destination, the packet as it was then, and the answer.
Answered: TypeAlias = "tuple[Callable[[Packet], Any], Packet, Any]"


class Packet:
    """The first packet of a request unless ``state`` says otherwise.

    ``iif`` and ``oif`` are the interfaces that the current hook sees: ``""`` where there is none (a locally
    made packet has no ``iif``), ``None`` where it is not known. ``state`` is the conntrack state that the
    packet gets at the conntrack hook; ``ct`` is what a rule sees now. ``remembered`` names the affinity
    sets (xt_recent lists, nft sets) that already hold the client.
    """

    __slots__ = (
        "ct",
        "ctmark",
        "ctstatus",
        "dport",
        "dst",
        "family",
        "iif",
        "local",
        "mark",
        "masquerade",
        "oif",
        "original_dport",
        "original_dst",
        "original_sport",
        "original_src",
        "passed",
        "probability",
        "proto",
        "redirected",
        "remembered",
        "snat",
        "sport",
        "src",
        "state",
        "trail",
    )

    def __init__(
        self,
        family: int,
        proto: int,
        src: int,
        dst: int,
        dport: int | None = None,
        sport: int | None = None,
        iif: str | None = None,
        mark: int = 0,
        state: int = NEW,
        remembered: frozenset[str] = frozenset(),
    ) -> None:
        self.family = family
        self.proto = proto
        self.src = self.original_src = src
        self.dst = self.original_dst = dst
        self.sport = self.original_sport = sport
        self.dport = self.original_dport = dport
        self.iif = iif
        self.oif: str | None = ""
        self.mark = mark
        self.state = state
        self.ct = INVALID  # what a rule before the conntrack hook sees
        self.ctstatus = 0
        self.ctmark = 0
        self.remembered = remembered
        self.local = False  # made on this node
        self.masquerade = False  # postrouting chooses the address of the outgoing interface
        self.snat: tuple[int, int | None] | None = None  # the address (and port) that SNAT chose
        self.redirected = False  # to this node, by REDIRECT
        self.probability = 1.0
        self.trail: Trail = None
        self.passed: list[Passed] | None = None

    @property
    def destination(self) -> tuple[int, int | None]:
        """Where the packet is for now."""
        return self.dst, self.dport

    def copy(self) -> Packet:
        new = Packet.__new__(Packet)
        new.family = self.family
        new.proto = self.proto
        new.src = self.src
        new.dst = self.dst
        new.sport = self.sport
        new.dport = self.dport
        new.original_src = self.original_src
        new.original_dst = self.original_dst
        new.original_sport = self.original_sport
        new.original_dport = self.original_dport
        new.iif = self.iif
        new.oif = self.oif
        new.mark = self.mark
        new.state = self.state
        new.ct = self.ct
        new.ctstatus = self.ctstatus
        new.ctmark = self.ctmark
        new.remembered = self.remembered
        new.local = self.local
        new.masquerade = self.masquerade
        new.snat = self.snat
        new.redirected = self.redirected
        new.probability = self.probability
        new.trail = self.trail
        new.passed = None
        return new


class WatchedPacket(Packet):
    """A packet that notes what hangs on its destination.

    ``passed`` are the indexes of chains that it was looked up in, ``answers`` are the tests of rules that read the
    destination. ``asked`` is whether anything else did: where nothing did, every packet that differs in the
    destination alone, and is found alike in the indexes and answered alike by the tests, meets the same.
    ``asked_original`` is whether the destination before NAT was read: if not, packets may differ in that too.
    """

    __slots__ = ("_dport", "_dst", "_original_dport", "_original_dst", "answers", "asked", "asked_original")

    def __init__(self, of: Packet) -> None:
        for name in _COPIED:
            setattr(self, name, getattr(of, name))
        self._dst, self._dport = of.dst, of.dport
        self._original_dst, self._original_dport = of.original_dst, of.original_dport
        self.passed = []
        self.answers: list[Answered] = []
        self.asked = self.asked_original = False

    def watched(self, tests: Sequence[Callable[[Packet], Any]]) -> Sequence[Callable[[Packet], Any]]:
        """The same functions of a packet; those that read the destination are noted with their answer."""
        return [partial(self.watch, test) for test in tests]

    def watch(self, test: Callable[[Packet], Any], packet: Packet) -> Any:
        """What ``test`` says of this packet, noted where it reads the destination."""
        before, self.asked = self.asked, False
        answer = test(packet)
        if self.asked:
            original = self.asked_original
            self.answers.append((test, Packet.copy(self), answer))
            self.asked_original = original
        self.asked = before
        return answer

    @property
    def dst(self) -> int:  # type: ignore[override]
        self.asked = True
        return self._dst

    @property
    def dport(self) -> int | None:  # type: ignore[override]
        self.asked = True
        return self._dport

    @property
    def original_dst(self) -> int:  # type: ignore[override]
        self.asked_original = True
        return self._original_dst

    @property
    def original_dport(self) -> int | None:  # type: ignore[override]
        self.asked_original = True
        return self._original_dport

    @property
    def destination(self) -> tuple[int, int | None]:
        return self._dst, self._dport

    def copy(self) -> Packet:
        self.asked = True  # it branches: too rare to be followed together
        return super().copy()


_WATCHED = ("dst", "dport", "original_dst", "original_dport", "passed")
_COPIED = tuple(name for name in Packet.__slots__ if name not in _WATCHED)


def packet(
    src: str, dst: str, dport: int | None = None, proto: str = "tcp", sport: int | None = None
) -> Packet:
    """A Packet from text. Raises ValueError for an address or protocol that is none, or mixed families."""
    source, target = ip_address(src), ip_address(dst)
    if source.version != target.version:
        raise ValueError(f"{src} and {dst} are not of one family")
    number = PROTOCOLS.get(proto.lower())
    if number is None:
        raise ValueError(f"{proto} is no protocol that is known here")
    return Packet(source.version, number, int(source), int(target), dport, sport)


def address_text(family: int, value: int) -> str:
    """An integer address as text."""
    if family == 4:
        return f"{value >> 24 & 255}.{value >> 16 & 255}.{value >> 8 & 255}.{value & 255}"
    from ipaddress import IPv6Address

    return str(IPv6Address(value))


def endpoint_text(family: int, address: int, port: int | None) -> str:
    """``ip:port``, ``[ip]:port`` for IPv6; without a port the address alone."""
    text = address_text(family, address)
    if port is None:
        return text
    return f"[{text}]:{port}" if family == 6 else f"{text}:{port}"
