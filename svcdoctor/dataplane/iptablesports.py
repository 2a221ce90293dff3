"""The matches on what is in the transport header: tcp, udp, sctp, dccp, icmp, multiport.

A client that does not say its source port uses an ephemeral one. A new TCP connection begins with a bare SYN.
"""

from __future__ import annotations

from collections.abc import Sequence

from svcdoctor.dataplane.iptablesheader import Scope, Step, negated, unknown
from svcdoctor.dataplane.iptableswords import Section
from svcdoctor.dataplane.language import Test
from svcdoctor.dataplane.packet import NEW, Packet

EPHEMERAL = (32768, 60999)  # net.ipv4.ip_local_port_range as the kernel sets it
SPORT_UNKNOWN = "the client's source port is not known"
DPORT_UNKNOWN = "the destination port is not known"

Ranges = Sequence[tuple[int, int]]

_FLAGS = {"FIN": 1, "SYN": 2, "RST": 4, "PSH": 8, "ACK": 16, "URG": 32, "ALL": 63, "NONE": 0}
_SYN = _FLAGS["SYN"]

_LARGEST = 65535


def port_range(text: str, separator: str = ":") -> tuple[int, int]:
    """``80``, ``1024:`` or ``80:90``, as first and last. Raises ValueError."""
    first, colon, last = text.partition(separator)
    low = int(first) if first else 0
    high = (int(last) if last else _LARGEST) if colon else low
    if not 0 <= low <= _LARGEST or not 0 <= high <= _LARGEST:
        raise ValueError(f"{text} is no port")
    if low > high and separator == ":":
        raise ValueError(f"{text} ends before it begins")
    return low, high


def source_port_in(port: int | None, ranges: Ranges) -> bool | str:
    """Whether a source port lies in one of the ranges; an unknown one is any ephemeral port."""
    if port is not None:
        return any(low <= port <= high for low, high in ranges)
    first, last = EPHEMERAL
    covered = sum(max(0, min(high, last) - max(low, first) + 1) for low, high in _merged(ranges))
    if covered == 0:
        return False
    return True if covered == last - first + 1 else SPORT_UNKNOWN


def destination_port_in(port: int | None, ranges: Ranges) -> bool | str:
    """Whether a destination port lies in one of the ranges."""
    if port is None:
        return DPORT_UNKNOWN
    return any(low <= port <= high for low, high in ranges)


def _merged(ranges: Ranges) -> list[tuple[int, int]]:
    """The ranges without overlap."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return found


def _sport(ranges: Ranges) -> Test:
    return lambda packet: source_port_in(packet.sport, ranges)


def _dport(ranges: Ranges) -> Test:
    if len(ranges) == 1 and ranges[0][0] == ranges[0][1]:
        port = ranges[0][0]

        def one(packet: Packet) -> bool | str:
            return packet.dport == port if packet.dport is not None else DPORT_UNKNOWN

        return one
    return lambda packet: destination_port_in(packet.dport, ranges)


def transport(section: Section, scope: Scope) -> list[Step]:
    """-m tcp, udp, udplite, sctp, dccp. Raises ValueError."""
    found: list[Step] = []
    for option in section.options:
        name = option.name
        if name in ("sport", "source-port"):
            test = _sport([port_range(option.values[0])])
        elif name in ("dport", "destination-port"):
            test = _dport([port_range(option.values[0])])
        elif name == "syn":
            test = _flags(_FLAGS["FIN"] | _SYN | _FLAGS["RST"] | _FLAGS["ACK"], _SYN)
        elif name == "tcp-flags":
            test = _flags(_flag_bits(option.values[0]), _flag_bits(option.values[1]))
        else:
            test = unknown(f"what -m {section.name} --{name} compares is not modelled")
        found.append(negated(test) if option.negated else test)
    return found


def _flag_bits(text: str) -> int:
    bits = 0
    for flag in text.split(","):
        if flag.upper() not in _FLAGS:
            raise ValueError(f"{flag} is no TCP flag")
        bits |= _FLAGS[flag.upper()]
    return bits


def _flags(mask: int, set_bits: int) -> Test:
    first = _SYN & mask == set_bits

    def flags(packet: Packet) -> bool | str:
        return first if packet.state == NEW else "the TCP flags of a later packet are not known"

    return flags


def icmp(section: Section, scope: Scope) -> list[Step]:
    """-m icmp, icmp6: a packet's type is not known."""
    return [
        unknown("the packet's ICMP type is not known")
        for option in section.options
        if option.values[0] != "any"
    ]


def multiport(section: Section, scope: Scope) -> list[Step]:
    """-m multiport. Raises ValueError."""
    found: list[Step] = []
    for option in section.options:
        ranges = [port_range(part) for part in option.values[0].split(",")]
        if option.name == "ports":
            test = _either(ranges)
        else:
            test = _sport(ranges) if option.name.startswith("s") else _dport(ranges)
        found.append(negated(test) if option.negated else test)
    return found


def _either(ranges: Ranges) -> Test:
    def either(packet: Packet) -> bool | str:
        destination = destination_port_in(packet.dport, ranges)
        if destination is True:
            return True
        source = source_port_in(packet.sport, ranges)
        return destination if source is False else source

    return either
