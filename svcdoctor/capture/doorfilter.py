"""The filter that lets only a Service's packets through, as a program for the kernel.

Theory. The program looks at the network header, wherever the link layer ends (SKF_NET_OFF), because the interfaces of
a node are of several kinds. First come the ports, of which a Service has few, then a binary search among the addresses
that have the port. Let through are the packets to and from the doors, ICMP errors of any kind, since what they are
about stands at their end, and of fragments without ports those to and from an address of a door. A packet whose ports
lie behind extension headers of IPv6 is judged by its addresses. So what passes is a superset, which the joiner narrows
down; where the doors are too many for the kernel, every fragment passes, and where that is not enough the doors' ports
alone decide.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from svcdoctor.capture.bpf import (
    JEQ,
    JGT,
    JSET,
    LD_B,
    LD_H,
    LD_H_X,
    LD_W,
    LDX_MSH,
    RET,
    Assembler,
    Instruction,
    TooLong,
)
from svcdoctor.capture.doors import NUMBERS, Door
from svcdoctor.capture.icmp import ERRORS, ERRORS6

NET = -0x100000  # SKF_NET_OFF
ETHER_TYPE = -0x1000  # SKF_AD_OFF + SKF_AD_PROTOCOL
WHOLE = 0x40000
"""How many bytes of a packet are kept: all."""

LEAF = 8
"""How many addresses are compared one by one, at the end of the search."""

_ALL, _NONE = "all", "none"

Address = tuple[int, ...]  # its 32-bit words
Ports = dict[int, set[Address] | None]
"""The addresses that have a port, ``None`` for any."""


def compiled(doors: Iterable[Door]) -> tuple[Instruction, ...]:
    """The program."""
    doors = tuple(doors)
    try:
        return _program(doors)
    except TooLong:
        pass
    try:
        return _program(doors, every_fragment=True)
    except TooLong:
        return _program(tuple(Door(None, d.port, d.protocol, d.role) for d in doors))


def tcpdump_words(doors: Iterable[Door]) -> str:
    """A short expression for tcpdump that lets these doors' packets through, and others of the same ports."""
    ports = dict.fromkeys(f"{door.protocol.lower()} port {door.port}" for door in doors)
    return " or ".join((*ports, "icmp", "icmp6"))


@dataclass(frozen=True, slots=True)
class _Family:
    """Where things are in one version's header, relative to it."""

    number: int
    ports: dict[int, Ports]  # by protocol
    addresses: set[Address] | None
    source: int
    destination: int


def _program(doors: tuple[Door, ...], every_fragment: bool = False) -> tuple[Instruction, ...]:
    a = Assembler()
    a.do(LD_H, ETHER_TYPE)
    a.jump(JEQ, 0x0800, then="4")
    a.jump(JEQ, 0x86DD, then="6", otherwise=_NONE)
    for number, source, destination in ((4, 12, 16), (6, 8, 24)):
        mine = [d for d in doors if d.ip is None or (":" in d.ip) == (number == 6)]
        ports: dict[int, Ports] = {}
        addresses: set[Address] | None = set()
        for door in mine:
            held = ports.setdefault(NUMBERS[door.protocol], {})
            if door.ip is None:
                held[door.port] = addresses = None
                continue
            words = _words(door.ip)
            known = held.setdefault(door.port, set())
            if known is not None:
                known.add(words)
            if addresses is not None:
                addresses.add(words)
        if every_fragment:
            addresses = None
        family = _Family(number, ports, addresses, source, destination)
        a.label(str(number))
        (_four if number == 4 else _six)(a, family)
    a.label(_ALL)
    a.do(RET, WHOLE)
    a.label(_NONE)
    a.do(RET, 0)
    return a.program()


def _words(ip: str) -> Address:
    packed = ip_address(ip).packed
    return tuple(int.from_bytes(packed[i : i + 4], "big") for i in range(0, len(packed), 4))


def _four(a: Assembler, f: _Family) -> None:
    a.do(LD_H, NET + 6)
    a.jump(JSET, 0x1FFF, then="fragment4")
    a.do(LDX_MSH, NET)
    a.do(LD_B, NET + 9)
    _protocols(a, f, 1)
    a.label("icmp4")
    a.do(0x50, NET)  # a byte relative to X: the type
    for kind in ERRORS:
        a.jump(JEQ, kind, then=_ALL)
    a.go(_NONE)
    _by_ports(a, f, lambda at: a.do(LD_H_X, NET + at))
    a.label("fragment4")
    _by_addresses(a, f)


def _six(a: Assembler, f: _Family) -> None:
    a.do(LD_B, NET + 6)
    for chained in (0, 43, 44, 51, 60):
        a.jump(JEQ, chained, then="chained")
    _protocols(a, f, 58)
    a.label("icmp6")
    a.do(LD_B, NET + 40)
    for kind in ERRORS6:
        a.jump(JEQ, kind, then=_ALL)
    a.go(_NONE)
    _by_ports(a, f, lambda at: a.do(LD_H, NET + 40 + at))
    a.label("chained")
    _by_addresses(a, f)


def _protocols(a: Assembler, f: _Family, icmp: int) -> None:
    for protocol in f.ports:
        a.jump(JEQ, protocol, then=f"{f.number}.{protocol}")
    a.jump(JEQ, icmp, then=f"icmp{f.number}", otherwise=_NONE)


def _by_ports(a: Assembler, f: _Family, load: Callable[[int], None]) -> None:
    """For each protocol: the destination's port and address, then the source's."""
    for protocol, ports in f.ports.items():
        name = f"{f.number}.{protocol}"
        a.label(name)
        for at, address, missed in ((2, f.destination, f"{name}.source"), (0, f.source, _NONE)):
            load(at)
            blocks = {port: a.fresh() for port in ports}
            for port, block in blocks.items():
                a.jump(JEQ, port, then=block)
            a.go(missed)
            for port, block in blocks.items():
                a.label(block)
                _addressed(a, ports[port], address, missed)
            if at:
                a.label(missed)


def _by_addresses(a: Assembler, f: _Family) -> None:
    missed = f"{f.number}.other"
    _addressed(a, f.addresses, f.destination, missed)
    a.label(missed)
    _addressed(a, f.addresses, f.source, _NONE)


def _addressed(a: Assembler, addresses: set[Address] | None, at: int, missed: str) -> None:
    """Whether the address at an offset is one of them."""
    if addresses is None:
        a.go(_ALL)
    elif addresses:
        _searched(a, sorted(addresses, key=lambda words: words[::-1]), at, missed)
    else:
        a.go(missed)


def _searched(a: Assembler, addresses: list[Address], at: int, missed: str) -> None:
    """A binary search by the last word, in which addresses of one network differ."""
    words = len(addresses[0])
    last = words - 1
    a.do(LD_W, NET + at + 4 * last)
    _halved(a, addresses, at, missed)


def _halved(a: Assembler, addresses: list[Address], at: int, missed: str) -> None:
    keys = sorted({words[-1] for words in addresses})
    if len(keys) > LEAF:
        middle = keys[len(keys) // 2 - 1]
        upper = a.fresh()
        a.jump(JGT, middle, then=upper)
        _halved(a, [w for w in addresses if w[-1] <= middle], at, missed)
        a.label(upper)
        _halved(a, [w for w in addresses if w[-1] > middle], at, missed)
        return
    if len(addresses[0]) == 1:
        found = a.fresh()
        for key in keys:
            a.jump(JEQ, key, then=found)
        a.go(missed)
        a.label(found)
        a.do(RET, WHOLE)
        return
    labels = {key: a.fresh() for key in keys}
    for key, label in labels.items():
        a.jump(JEQ, key, then=label)
    a.go(missed)
    for key, label in labels.items():
        a.label(label)
        _rest(a, [w[:-1] for w in addresses if w[-1] == key], at, missed)


def _rest(a: Assembler, prefixes: list[Address], at: int, missed: str) -> None:
    """The words before the last one, one address after the other."""
    for prefix in prefixes:
        other = a.fresh()
        for i, word in enumerate(prefix):
            a.do(LD_W, NET + at + 4 * i)
            a.jump(JEQ, word, otherwise=other)
        a.go(_ALL)
        a.label(other)
    a.go(missed)
