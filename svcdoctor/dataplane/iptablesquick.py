"""The rules that kube-proxy writes by the hundred thousand, read by one expression instead of word by word.

A rule that has only a source network, a destination, a protocol, a comment, a destination port, a chance, and as
its target a chain or one DNAT. Every other rule is left to ``rule_words``; both read a rule alike.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from svcdoctor.dataplane.iptablesheader import address_of
from svcdoctor.dataplane.iptablesports import DPORT_UNKNOWN
from svcdoctor.dataplane.language import Action, Chain, Op, Rule, Test
from svcdoctor.dataplane.packet import PROTOCOLS, Packet

_PLAIN = re.compile(
    rb"(?:\[\d+:\d+\] )?-A \S+ "
    rb"(?:(! )?-s ([0-9a-f.:]+)/(\d+) )?"
    rb"(?:-d ([0-9a-f.:]+)/(32|128) )?"
    rb"(?:-p (tcp|udp|sctp) )?"
    rb'(?:-m comment --comment (?:"[^"\\]*"|[^" \\]+) )?'
    rb"(?:-m (tcp|udp|sctp) (?:--dport (\d+) )?)?"
    rb"(?:-m statistic --mode random --probability ([0-9.]+) )?"
    rb"-j (\S+)(?: --to-destination \[?([0-9a-f.:]+?)\]?:(\d+))?\r?"
)


def _of_protocol(number: int) -> Test:
    return lambda packet: packet.proto == number


_PROTOCOL: Final = {name.encode(): _of_protocol(PROTOCOLS[name]) for name in ("tcp", "udp", "sctp")}


def quickly(
    chain: Chain, number: int, raw: bytes, family: int, called: Callable[[str, str], Chain | None]
) -> Rule | None:
    """The rule, where it is one of these. ``called`` gives a chain by table and name."""
    found = _PLAIN.fullmatch(raw)
    if found is None:
        return None
    negated, source, prefix, to, width, proto, matched, port, chance, target, endpoint, at = found.groups()
    if int(port or 0) > 65535 or int(at or 0) > 65535:
        return None
    tests: list[Test] = []
    actions: list[Action] = []
    bits = 32 if family == 4 else 128
    try:
        if source is not None:
            shift = bits - int(prefix)
            tests.append(_from(_address(source, family), shift, negated is not None))
        if to is not None:
            if int(width) != bits:
                return None
            tests.append(_to(_address(to, family)))
        if proto is not None:
            tests.append(_PROTOCOL[proto])
        elif matched is not None:
            return None
        if port is not None:
            if matched != proto:
                return None
            tests.append(_port(int(port)))
        if chance is not None:
            probability = float(chance)
            if not 0.0 < probability <= 1.0:
                return None
            actions.append((Op.CHANCE, probability))
        if endpoint is not None:
            if target != b"DNAT":
                return None
            actions.append((Op.DNAT, (_address(endpoint, family), int(at))))
        else:
            jump = called(chain.table, target.decode("utf-8", "surrogateescape"))
            if jump is None:
                return None
            actions.append((Op.JUMP, jump))
    except ValueError:
        return None  # the other reader says what is wrong with it
    return Rule(chain, number, raw, tests, actions)


def _address(text: bytes, family: int) -> int:
    if family == 4:
        a, b, c, d = map(int, text.split(b"."))
        if a > 255 or b > 255 or c > 255 or d > 255:
            raise ValueError("no address")
        return a << 24 | b << 16 | c << 8 | d
    return address_of(text.decode("ascii"), family)


def _from(network: int, shift: int, negated: bool) -> Test:
    if shift < 0:
        raise ValueError("no prefix")
    if not shift and not negated:
        return lambda packet: packet.src == network
    wanted = not negated
    high = network >> shift
    return lambda packet: (packet.src >> shift == high) is wanted


def _to(address: int) -> Test:
    return lambda packet: packet.dst == address


def _port(number: int) -> Test:
    def test(packet: Packet) -> bool | str:
        return DPORT_UNKNOWN if packet.dport is None else packet.dport == number

    return test
