"""Every iptables target that is no chain: which actions it comes to.

A target that is not here is unknown, by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from svcdoctor.dataplane import iptablesnat as nat
from svcdoctor.dataplane.iptablesconntrack import EARLIER, TRACKED, mark_and_mask
from svcdoctor.dataplane.iptablesheader import Scope
from svcdoctor.dataplane.iptablesoptions import WITHOUT_EFFECT
from svcdoctor.dataplane.iptableswords import Section
from svcdoctor.dataplane.language import Action, Op
from svcdoctor.dataplane.packet import NEW, Packet

_ALL = 0xFFFFFFFF


def target_actions(section: Section, scope: Scope) -> list[Action]:
    """What a target comes to. Never raises: what cannot be read is unknown."""
    if section.name in WITHOUT_EFFECT:
        return []
    make = _TARGETS.get(section.name)
    if make is None:
        return [(Op.UNKNOWN, f"the target {section.name} is not modelled")]
    try:
        return make(section, scope)
    except ValueError as e:
        return [(Op.UNKNOWN, f"-j {section.name} cannot be read: {e}")]


def _verdict(op: Op) -> Callable[[Section, Scope], list[Action]]:
    return lambda section, scope: [(op, None)]


def _reject(section: Section, scope: Scope) -> list[Action]:
    how = "icmp-port-unreachable" if scope.family == 4 else "icmp6-port-unreachable"
    for option in section.options:
        how = option.values[0]
    return [(Op.REJECT, how)]


def _set_bits(section: Section) -> tuple[int, int] | None:
    """What --set-xmark and its relatives do: (mark & ~the second) ^ the first."""
    for option in section.options:
        if option.name not in ("set-xmark", "set-mark", "and-mark", "or-mark", "xor-mark"):
            continue
        value, mask = mark_and_mask(option.values[0])
        if option.name == "set-xmark":
            return value, mask
        if option.name == "set-mark":
            return value, value | mask
        if option.name == "and-mark":
            return 0, ~value & _ALL
        return (value, value) if option.name == "or-mark" else (value, 0)
    return None


def _mark(section: Section, scope: Scope) -> list[Action]:
    bits = _set_bits(section)
    if bits is None:
        raise ValueError("it does not say which mark")
    value, cleared = bits

    def mark(packet: Packet) -> None:
        packet.mark = packet.mark & ~cleared & _ALL ^ value

    return [(Op.CHANGE, mark)]


def _connmark(section: Section, scope: Scope) -> list[Action]:
    """The connection's mark. A packet without a connection is left alone (net/netfilter/xt_connmark.c)."""
    options = {option.name: option.values for option in section.options}
    if "left-shift-mark" in options or "right-shift-mark" in options:
        return [(Op.UNKNOWN, "-j CONNMARK with a shift is not modelled")]
    both = int(options["mask"][0], 0) if "mask" in options else _ALL
    nfmask = int(options["nfmask"][0], 0) if "nfmask" in options else both
    ctmask = int(options["ctmask"][0], 0) if "ctmask" in options else both
    if "restore-mark" in options:

        def restore(packet: Packet) -> str | None:
            if packet.ct == NEW:
                packet.mark = packet.mark & ~nfmask & _ALL ^ packet.ctmark & ctmask
            return EARLIER if packet.ct & TRACKED and packet.ct != NEW else None

        return [(Op.CHANGE, restore)]
    if "save-mark" in options:

        def save(packet: Packet) -> None:
            if packet.ct & TRACKED:
                packet.ctmark = packet.ctmark & ~ctmask & _ALL ^ packet.mark & nfmask

        return [(Op.CHANGE, save)]
    bits = _set_bits(section)
    if bits is None:
        raise ValueError("it does not say what to do with which mark")
    value, cleared = bits

    def mark(packet: Packet) -> None:
        if packet.ct & TRACKED:
            packet.ctmark = packet.ctmark & ~cleared & _ALL ^ value

    return [(Op.CHANGE, mark)]


def _ct(section: Section, scope: Scope) -> list[Action]:
    """-j CT: helpers, events and timeouts say nothing about a first packet's way."""
    names = {option.name for option in section.options}
    if any(name.startswith("zone") for name in names):
        return [(Op.UNKNOWN, "conntrack zones (-j CT --zone) are not modelled")]
    return [(Op.NOTRACK, None)] if "notrack" in names else []


_TARGETS: Final[Mapping[str, Callable[[Section, Scope], list[Action]]]] = {
    "ACCEPT": _verdict(Op.ACCEPT),
    "DROP": _verdict(Op.DROP),
    "RETURN": _verdict(Op.RETURN),
    "REJECT": _reject,
    "MARK": _mark,
    "CONNMARK": _connmark,
    "DNAT": nat.dnat,
    "SNAT": nat.snat,
    "MASQUERADE": nat.masquerade,
    "REDIRECT": nat.redirect,
    "NOTRACK": _verdict(Op.NOTRACK),
    "CT": _ct,
}
