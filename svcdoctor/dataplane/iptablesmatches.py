"""Every iptables match: which function makes its tests, and the matches that need a few lines only.

A match that is not here is unknown, by its name: it never counts as matched nor as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from svcdoctor.dataplane import iptablesports as ports
from svcdoctor.dataplane.iptablesaddrtype import addrtype
from svcdoctor.dataplane.iptablesconntrack import connmark, conntrack, mark_and_mask
from svcdoctor.dataplane.iptablesheader import Scope, Step, address_of, negated, never, unknown
from svcdoctor.dataplane.iptablesrecent import recent
from svcdoctor.dataplane.iptableswords import Option, Section
from svcdoctor.dataplane.language import Op, Test
from svcdoctor.dataplane.packet import Packet


def match_steps(section: Section, scope: Scope) -> list[Step]:
    """What a match comes to. Never raises: what cannot be read is unknown."""
    make = _MATCHES.get(section.name)
    if make is None:
        return [unknown(f"the match -m {section.name} is not modelled")]
    try:
        return make(section, scope)
    except ValueError as e:
        return [unknown(f"-m {section.name} cannot be read: {e}")]


def _nothing(section: Section, scope: Scope) -> list[Step]:
    """Matches that every first packet passes: comments, counters, rate limits with an empty bucket."""
    return []


def _mark(section: Section, scope: Scope) -> list[Step]:
    return [_mark_test(option) for option in section.options]


def _mark_test(option: Option) -> Test:
    value, mask = mark_and_mask(option.values[0])
    wanted = not option.negated
    return lambda packet: (packet.mark & mask == value) is wanted


def _iprange(section: Section, scope: Scope) -> list[Step]:
    return [_range_test(option, scope.family) for option in section.options]


def _range_test(option: Option, family: int) -> Test:
    first_text, _, last_text = option.values[0].partition("-")
    first = address_of(first_text, family)
    last = address_of(last_text, family) if last_text else first
    wanted = not option.negated
    if option.name == "src-range":
        return lambda packet: (first <= packet.src <= last) is wanted
    return lambda packet: (first <= packet.dst <= last) is wanted


def _statistic(section: Section, scope: Scope) -> list[Step]:
    """One of n packets, or one with a probability. Which of them this packet is, nobody knows."""
    options = {option.name: option for option in section.options}
    if "probability" in options:
        chosen = options["probability"]
        probability = float(chosen.values[0])
    else:
        chosen = options["every"] if "every" in options else Option("every", False, ("",))
        every = int(chosen.values[0])
        if every < 1:
            raise ValueError(f"--every {every}")
        probability = 1.0 / every
    if not 0.0 <= probability <= 1.0:
        raise ValueError(f"{probability} is no probability")
    if chosen.negated:
        probability = 1.0 - probability
    return [(Op.CHANCE, probability)] if probability > 0.0 else [never]


def _set(section: Section, scope: Scope) -> list[Step]:
    found: list[Step] = []
    for option in section.options:
        if option.name == "match-set":
            test = _set_test(option.values[0], tuple(option.values[1].split(",")), scope)
            found.append(negated(test) if option.negated else test)
        elif not option.name.startswith("update-"):
            found.append(unknown(f"what -m set --{option.name} compares is not modelled"))
    return found


def _set_test(name: str, directions: tuple[str, ...], scope: Scope) -> Test:
    if not set(directions) <= {"src", "dst"}:
        raise ValueError(f"{','.join(directions)} is no list of src and dst")
    return lambda packet: scope.surroundings.in_set(name, packet, directions)


def _physdev(section: Section, scope: Scope) -> list[Step]:
    """The port of a bridge: packets that the node makes have none, of others it is not known."""
    all_negated = all(option.negated for option in section.options)
    return [
        lambda packet: all_negated if packet.local else "whether the packet crossed a bridge is not known"
    ]


def _rpfilter(section: Section, scope: Scope) -> list[Step]:
    names = {option.name for option in section.options}
    loose, own_allowed = "loose" in names, "accept-local" in names
    surroundings = scope.surroundings

    def passes(packet: Packet) -> bool | str:
        if packet.local:
            return True  # by lo, or with no interface yet
        if not own_allowed:
            own = surroundings.is_local(packet.family, packet.src)
            if own is not False:
                return own if isinstance(own, str) else False
        return surroundings.reverse_path_ok(packet, loose)

    return [negated(passes) if "invert" in names else passes]


def _owner(section: Section, scope: Scope) -> list[Step]:
    """A forwarded packet has no socket: only what is negated matches it."""
    options = [option for option in section.options if option.name != "suppl-groups"]
    all_negated = all(option.negated for option in options)
    by_user = any(option.name != "socket-exists" for option in options)

    def owner(packet: Packet) -> bool | str:
        if not packet.local:
            return all_negated
        if any(option.name == "socket-exists" and option.negated for option in options):
            return False
        return "which user's process sends the packet is not known" if by_user else True

    return [owner]


_MATCHES: Final[Mapping[str, Callable[[Section, Scope], list[Step]]]] = {
    "tcp": ports.transport,
    "udp": ports.transport,
    "udplite": ports.transport,
    "sctp": ports.transport,
    "dccp": ports.transport,
    "icmp": ports.icmp,
    "icmp6": ports.icmp,
    "icmpv6": ports.icmp,
    "ipv6-icmp": ports.icmp,
    "multiport": ports.multiport,
    "iprange": _iprange,
    "addrtype": addrtype,
    "mark": _mark,
    "connmark": connmark,
    "conntrack": conntrack,
    "state": conntrack,
    "statistic": _statistic,
    "recent": recent,
    "comment": _nothing,
    "nfacct": _nothing,
    "limit": _nothing,
    "set": _set,
    "physdev": _physdev,
    "rpfilter": _rpfilter,
    "owner": _owner,
}
