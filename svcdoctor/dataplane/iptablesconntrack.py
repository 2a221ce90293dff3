"""The matches on the packet's connection: conntrack, state, connmark.

A packet has no connection before the conntrack hook, when it is invalid, and when it is untracked: then
``conntrack`` answers by its state alone, or not at all. As net/netfilter/xt_conntrack.c and xt_connmark.c.
"""

from __future__ import annotations

from svcdoctor.dataplane.evaluate import holds
from svcdoctor.dataplane.iptablesheader import Scope, Step, negated, network, protocol, unknown
from svcdoctor.dataplane.iptablesports import destination_port_in, port_range, source_port_in
from svcdoctor.dataplane.iptableswords import Option, Section
from svcdoctor.dataplane.language import Test
from svcdoctor.dataplane.packet import (
    ASSURED,
    CONFIRMED,
    DNATTED,
    ESTABLISHED,
    NEW,
    RELATED,
    SEEN_REPLY,
    SNATTED,
    STATES,
    Packet,
)

TRACKED = NEW | ESTABLISHED | RELATED
EARLIER = "what conntrack holds of a connection that exists already is not known"

_STATES = {name.upper(): bit for name, bit in STATES.items()}
_VIRTUAL = {"SNAT": SNATTED, "DNAT": DNATTED}  # states that are bits of the status
_EXPECTED = 1
_STATUS = {
    "EXPECTED": _EXPECTED,
    "SEEN_REPLY": SEEN_REPLY,
    "ASSURED": ASSURED,
    "CONFIRMED": CONFIRMED,
    "NONE": 0,
}


def _bits(names: list[str], known: dict[str, int]) -> int:
    bits = 0
    for name in names:
        if name not in known:
            raise ValueError(f"{name} is nothing that conntrack knows")
        bits |= known[name]
    return bits


def _state(text: str) -> Test:
    """--ctstate, --state. Raises ValueError."""
    names = text.upper().split(",")
    states = _bits([n for n in names if n not in _VIRTUAL], _STATES)
    virtual = _bits([n for n in names if n in _VIRTUAL], _VIRTUAL)

    def state(packet: Packet) -> bool | str:
        if packet.ct & states:
            return True
        if not virtual or not packet.ct & TRACKED:
            return False
        if packet.ctstatus & virtual:
            return True
        return False if packet.ct == NEW else EARLIER

    return state


def _status(text: str) -> Test:
    """--ctstatus. Raises ValueError."""
    mask = _bits(text.upper().split(","), _STATUS)

    def status(packet: Packet) -> bool | str:
        certain = packet.ctstatus
        if packet.ct == ESTABLISHED:
            certain |= SEEN_REPLY | CONFIRMED
        elif packet.local and packet.iif == "lo":
            certain |= CONFIRMED  # it has left by lo already
        if certain & mask:
            return True
        return False if packet.ct == NEW or not mask else EARLIER

    return status


def _of_connection(option: Option, scope: Scope) -> Test:
    """One option of conntrack besides --ctstate, for a packet that has a connection. Raises ValueError."""
    name, value = option.name, option.values[0]
    if name == "ctstatus":
        return _status(value)
    if name == "ctproto":
        number = protocol(value)
        return lambda packet: packet.proto == number
    if name == "ctdir":
        if value.upper() not in ("ORIGINAL", "REPLY"):
            raise ValueError(f"{value} is no direction")
        original = value.upper() == "ORIGINAL"
        return lambda packet: original if packet.ct == NEW else EARLIER
    if name.endswith("port"):
        return _tuple_port(name, port_range(value))
    if name == "ctexpire":
        return unknown("when the connection expires is not known")
    return _tuple_address(name, network(value, scope.family))


def _tuple_address(name: str, net: tuple[int, int]) -> Test:
    """ctorigsrc, ctorigdst, ctreplsrc, ctrepldst: the first packet's addresses, and those of the reply to it."""
    address, mask = net

    def compare(packet: Packet) -> bool | str:
        if packet.ct != NEW:
            return EARLIER
        if name == "ctorigsrc":
            found = packet.original_src
        elif name == "ctorigdst":
            found = packet.original_dst
        else:
            found = packet.dst if name == "ctreplsrc" else packet.src
        return found & mask == address

    return compare


def _tuple_port(name: str, ports: tuple[int, int]) -> Test:
    def compare(packet: Packet) -> bool | str:
        if packet.ct != NEW:
            return EARLIER
        if name == "ctorigsrcport":
            return source_port_in(packet.original_sport, [ports])
        if name == "ctorigdstport":
            return destination_port_in(packet.original_dport, [ports])
        if name == "ctreplsrcport":
            return destination_port_in(packet.dport, [ports])
        return source_port_in(packet.sport, [ports])

    return compare


def conntrack(section: Section, scope: Scope) -> list[Step]:
    """-m conntrack, -m state. Raises ValueError."""
    states: list[Test] = []
    others: list[Test] = []
    for option in section.options:
        of_state = option.name in ("ctstate", "state")
        test = _state(option.values[0]) if of_state else _of_connection(option, scope)
        (states if of_state else others).append(negated(test) if option.negated else test)

    def conntrack_test(packet: Packet) -> bool | str:
        by_state = holds(states, packet)
        if by_state is False or not others:
            return by_state
        if not packet.ct & TRACKED:
            return by_state if states else False  # the kernel compares nothing else then
        return holds((*states, *others), packet)

    return [conntrack_test] if others else list(states)


def connmark(section: Section, scope: Scope) -> list[Step]:
    """-m connmark. Raises ValueError."""
    return [_mark(option) for option in section.options]


def _mark(option: Option) -> Test:
    value, mask = mark_and_mask(option.values[0])

    def test(packet: Packet) -> bool | str:
        if not packet.ct & TRACKED:
            return False  # negated or not
        if packet.ct != NEW:
            return EARLIER
        return (packet.ctmark & mask == value) is not option.negated

    return test


def mark_and_mask(text: str) -> tuple[int, int]:
    """``0x4000/0x4000``; without a mask, all bits. Raises ValueError."""
    value, slash, mask = text.partition("/")
    found = int(value, 0), int(mask, 0) if slash else 0xFFFFFFFF
    if not all(0 <= number <= 0xFFFFFFFF for number in found):
        raise ValueError(f"{text} is no mark of 32 bits")
    return found
