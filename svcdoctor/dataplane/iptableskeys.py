"""How a rule is found by a packet's addresses and port without being read: for chains of thousands of rules.

``iptables-save`` writes ``-s`` and ``-d`` first, right after the chain's name, and a host with all its bits
(``/32``, ``/128``).
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from svcdoctor.dataplane.packet import Packet, address_text

_PREFIX = rb"(?:\[\d+:\d+\] )?-A \S+ "
_ANY_SOURCE = rb"(?:(?:! )?-s \S+ )?"
_HOST4 = re.compile(_PREFIX + _ANY_SOURCE + rb"-d (\d+)\.(\d+)\.(\d+)\.(\d+)/32 ")
_HOST6 = re.compile(_PREFIX + _ANY_SOURCE + rb"-d (\S+)/128 ")
_DPORT = re.compile(rb"(?<! !) --dport (\d+)(?=\s|$)")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')


def demanded(raw: bytes, family: int) -> tuple[int | None, int | None]:
    """The one destination address and the one destination port that a rule demands, as ``Dialect.key``."""
    if family == 4:
        host = _HOST4.match(raw)
        if host is not None:
            a, b, c, d = map(int, host.groups())
            return (a << 24 | b << 16 | c << 8 | d, None) if max(a, b, c, d) < 256 else (None, None)
    else:
        host = _HOST6.match(raw)
        if host is not None:
            return _address6(host[1]), None
    ports = _DPORT.findall(_QUOTED.sub(b'""', raw) if b'"' in raw else raw)
    return None, int(ports[0]) if len(ports) == 1 else None


def _address6(text: bytes) -> int | None:
    try:
        return int(IPv6Address(text.decode("ascii")))
    except (AddressValueError, UnicodeDecodeError):
        return None


def elsewhere(packet: Packet) -> re.Pattern[bytes]:
    """Any number of rule lines, newlines included, that demand another source, destination or port than this."""
    family, text = packet.family, address_text
    return _elsewhere(family, text(family, packet.src), text(family, packet.dst), packet.dport)


@lru_cache(256)
def _elsewhere(family: int, src: str, dst: str, dport: int | None) -> re.Pattern[bytes]:
    host, bits = (rb"[0-9.]+", rb"/32 ") if family == 4 else (rb"[0-9a-f:]+", rb"/128 ")
    others = [
        before + rb"(?!" + re.escape(own.encode()) + bits + rb")" + host + bits
        for before, own in ((rb"-s ", src), (_ANY_SOURCE + rb"-d ", dst))
    ]
    if dport is not None:
        others.append(rb'[^"\n]*?(?<! !) --dport (?!%d[ \n])\d+(?=[ \n])' % dport)
    return re.compile(rb"(?:" + _PREFIX + rb"(?:" + rb"|".join(others) + rb").*\n)*+")
