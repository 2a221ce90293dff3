"""A node's IP sets: ``ipset save`` (ipset(8)).

A set holds elements of one to three fields: an address (``ip``), a network (``net``), a port with its protocol
(``port``). Addresses are integers. Sets of other fields (``mac``, ``iface``, ``mark``) are known by name only.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import TypeAlias

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.lines import numbered

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132, "udplite": 136, "icmp": 1, "icmpv6": 58}
FIELDS = frozenset({"ip", "net", "port"})

Key: TypeAlias = "tuple[int | tuple[int, int], ...]"  # an address, or protocol and port


class IpSet:
    """One set. ``fields`` are those of its type: ``hash:ip,port`` has ``ip`` and ``port``."""

    def __init__(self, name: str, kind: str, family: int) -> None:
        self.name = name
        self.kind = kind
        self.family = family
        method, _, fields = kind.partition(":")
        self.method = method
        self.fields = tuple(fields.split(","))
        self._by_prefix: dict[tuple[int, ...], dict[Key, bool]] = {}  # False: nomatch
        self._ordered: list[tuple[int, ...]] = []
        self.members: list[IpSet] = []  # of a list:set

    def __len__(self) -> int:
        return sum(map(len, self._by_prefix.values()))

    def add(self, element: str, nomatch: bool = False) -> None:
        """Add an element as ``ipset save`` writes it. Raises ValueError."""
        words = element.split(",")
        if len(words) != len(self.fields):
            raise ValueError(element)
        width = 32 if self.family == 4 else 128
        key: list[int | tuple[int, int]] = []
        prefixes: list[int] = []
        for field, word in zip(self.fields, words, strict=True):
            if field == "port":
                key.append(_port(word, self.method == "bitmap"))
                prefixes.append(0)
            elif field == "net" or "/" in word:
                network = ip_network(word, strict=False)
                key.append(int(network.network_address))
                prefixes.append(width - network.prefixlen)
            else:
                key.append(int(ip_address(word)))
                prefixes.append(0)
        shape = tuple(prefixes)
        if shape not in self._by_prefix:
            self._by_prefix[shape] = {}
            self._ordered = sorted(self._by_prefix)
        self._by_prefix[shape][tuple(key)] = not nomatch

    def holds(
        self,
        family: int,
        proto: int,
        src: int,
        dst: int,
        sport: int | None,
        dport: int | None,
        directions: tuple[str, ...],
    ) -> bool | str:
        """Whether the set holds the packet's fields, or why that cannot be said.

        ``directions`` are ``src`` or ``dst`` for each field, as iptables' ``--match-set`` has them.
        """
        if self.method == "list":
            answers = [m.holds(family, proto, src, dst, sport, dport, directions) for m in self.members]
            return True if True in answers else next((a for a in answers if isinstance(a, str)), False)
        if not FIELDS.issuperset(self.fields) or len(directions) < len(self.fields):
            return f"ipset {self.name} of type {self.kind} is not modelled"
        if "port" not in self.fields[:1] and family != self.family:
            return False
        values: list[int | tuple[int, int]] = []
        for field, direction in zip(self.fields, directions, strict=False):
            if field == "port":
                port = sport if direction == "src" else dport
                if port is None:
                    return f"ipset {self.name} asks for a port that is not known"
                values.append((0 if self.method == "bitmap" else proto, port))
            else:
                values.append(src if direction == "src" else dst)
        for shape in self._ordered:  # the longest prefixes first
            key = tuple(
                v >> bits << bits if isinstance(v, int) else v for v, bits in zip(values, shape, strict=True)
            )
            found = self._by_prefix[shape].get(key)
            if found is not None:
                return found
        return False


def _port(word: str, bare: bool) -> tuple[int, int]:
    """``tcp:80``, ``80`` (of tcp), or of a bitmap a port of any protocol."""
    protocol, _, port = word.rpartition(":")
    if bare:
        return 0, int(port)
    number = PROTOCOLS.get(protocol or "tcp")
    return (int(protocol) if number is None else number), int(port)


def read_ipsets(data: bytes, where: str) -> Mapping[str, IpSet]:
    """The sets by name. Raises SvcdoctorError naming the line."""
    found: dict[str, IpSet] = {}
    for number, line in numbered(data, where, "ipset save"):
        words = line.split()
        try:
            if words[0] == "create":
                family = 6 if "inet6" in words else 4
                found[words[1]] = IpSet(words[1], words[2], family)
            elif words[0] == "add":
                held = found[words[1]]
                if held.method == "list":
                    if found[words[2]].method == "list":
                        raise ValueError("no list has lists")
                    held.members.append(found[words[2]])
                elif FIELDS.issuperset(held.fields):
                    held.add(words[2], "nomatch" in words[3:])
            else:
                raise ValueError(line)
        except (ValueError, IndexError, KeyError):
            raise SvcdoctorError(
                f"{where} line {number}: not a line of ipset save: {line.strip()[:80]!r}"
            ) from None
    return found
