"""nftables' data types: how the JSON and the text of nft write their values, and which numbers they mean.

Names are those of ``nft describe TYPE``. A value that is written with a name that is not known here has no number:
it raises ``Unmodelled`` with its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import Any

from svcdoctor.dataplane.nftvalues import Pattern, Span, Unmodelled, Wildcard
from svcdoctor.dataplane.packet import PROTOCOLS, STATES


def _numbers(names: str) -> dict[str, int]:
    """``echo-reply 0 redirect 5`` as a dictionary."""
    words = names.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


_PROTOCOLS = PROTOCOLS | _numbers(
    "ip 0 ggp 3 st 5 egp 8 igp 9 pup 12 hmp 20 xns-idp 22 rdp 27 iso-tp4 29 xtp 36 ddp 37 idpr-cmtp 38 ipv6 41 "
    "ipv6-route 43 ipv6-frag 44 idrp 45 rsvp 46 skip 57 ipv6-nonxt 59 ipv6-opts 60 rspf 73 vmtp 81 eigrp 88 "
    "ospfigp 89 ax.25 93 ipip 94 etherip 97 encap 98 pim 103 ipcomp 108 comp 108 vrrp 112 l2tp 115 isis 124 "
    "fc 133 mobility-header 135 mpls-in-ip 137 manet 138 hip 139 shim6 140 wesp 141 rohc 142 ethernet 143"
)
_STATUS = _numbers("expected 1 seen-reply 2 assured 4 confirmed 8 snat 16 dnat 32 dying 512")
_TCP_FLAGS = _numbers("fin 1 syn 2 rst 4 psh 8 ack 16 urg 32 ecn 64 cwr 128")
_ICMP = _numbers(
    "echo-reply 0 destination-unreachable 3 source-quench 4 redirect 5 echo-request 8 router-advertisement 9 "
    "router-solicitation 10 time-exceeded 11 parameter-problem 12 timestamp-request 13 timestamp-reply 14 "
    "info-request 15 info-reply 16 address-mask-request 17 address-mask-reply 18"
)
_ICMP_CODES = _numbers(
    "net-unreachable 0 host-unreachable 1 prot-unreachable 2 port-unreachable 3 frag-needed 4 net-prohibited 9 "
    "host-prohibited 10 admin-prohibited 13"
)
_ICMPV6 = _numbers(
    "destination-unreachable 1 packet-too-big 2 time-exceeded 3 parameter-problem 4 echo-request 128 "
    "echo-reply 129 mld-listener-query 130 mld-listener-report 131 mld-listener-done 132 "
    "mld-listener-reduction 132 nd-router-solicit 133 nd-router-advert 134 nd-neighbor-solicit 135 "
    "nd-neighbor-advert 136 nd-redirect 137 router-renumbering 138 ind-neighbor-solicit 141 "
    "ind-neighbor-advert 142 mld2-listener-report 143"
)
_ICMPV6_CODES = _numbers(
    "no-route 0 admin-prohibited 1 addr-unreachable 3 port-unreachable 4 policy-fail 5 reject-route 6"
)
_ETHER = {"ip": 0x0800, "arp": 0x0806, "ip6": 0x86DD, "8021q": 0x8100, "vlan": 0x8100, "8021ad": 0x88A8}


@dataclass(frozen=True, slots=True, eq=False)
class DataType:
    """One type. ``words``: its values are texts, in quotes where ``quoted``. ``hexadecimal``: digits as printed."""

    name: str
    bits: int
    symbols: Mapping[str, int] = field(default_factory=dict)
    words: bool = False
    quoted: bool = False
    hexadecimal: int | None = None

    def single(self, written: Any) -> int | str:
        """The one value that is written. Raises Unmodelled where it is none."""
        if isinstance(written, bool):
            raise Unmodelled(f"{written} as {self.name} is not modelled")
        if isinstance(written, int):
            if self.words:
                raise Unmodelled(f"{self.name} number {written} is not modelled")
            if self.name == "inet_service" and not 0 <= written < 65536:
                raise Unmodelled(f"{written} is no port")
            return written
        if isinstance(written, str):
            if self.words:
                return written
            if self.name == "ipv4_addr":
                return ipv4(written)
            if self.name == "ipv6_addr":
                return ipv6(written)
            number = self.symbols.get(written)
            if number is None:
                raise Unmodelled(f"the {self.name} {written!r} is not known here")
            return number
        if isinstance(written, list):
            return self._flags(written)
        if isinstance(written, dict) and list(written) == ["|"] and isinstance(written["|"], list):
            return self._flags(written["|"])
        raise Unmodelled(f"a value of {self.name} that is not modelled: {str(written)[:80]}")

    def _flags(self, written: list[Any]) -> int:
        total = 0
        for flag in written:
            number = self.single(flag)
            if isinstance(number, str):
                raise Unmodelled(f"{self.name} has no flags")
            total |= number
        return total

    def pattern(self, written: Any) -> Pattern:
        """The value, range, prefix or wildcard that is written. Raises Unmodelled where it is none."""
        if isinstance(written, dict):
            if "prefix" in written:
                prefix = written["prefix"]
                address = self._number(prefix["addr"])
                low = (1 << self.bits - int(prefix["len"])) - 1
                return Span(address & ~low, address | low)
            if "range" in written:
                low, high = map(self._number, written["range"])
                if low > high:
                    raise Unmodelled(f"a range of {self.name} that ends before it begins")
                return Span(low, high)
        if self.words and isinstance(written, str) and written.endswith("*"):
            if written.endswith("\\*"):
                return written[:-2] + "*"
            return Wildcard(written[:-1])
        return self.single(written)

    def _number(self, written: Any) -> int:
        found = self.single(written)
        if isinstance(found, str):
            raise Unmodelled(f"{self.name} has no ranges")
        return found


def ipv4(text: str) -> int:
    """A dotted address as a number."""
    try:
        a, b, c, d = map(int, text.split("."))
    except ValueError:
        raise Unmodelled(f"{text!r} is no IPv4 address") from None
    if not (0 <= a < 256 and 0 <= b < 256 and 0 <= c < 256 and 0 <= d < 256):
        raise Unmodelled(f"{text!r} is no IPv4 address")
    return a << 24 | b << 16 | c << 8 | d


def ipv6(text: str) -> int:
    """An IPv6 address as a number."""
    try:
        return int(IPv6Address(text))
    except ValueError:
        raise Unmodelled(f"{text!r} is no IPv6 address") from None


TYPES = {
    one.name: one
    for one in (
        DataType("ipv4_addr", 32),
        DataType("ipv6_addr", 128),
        DataType("inet_proto", 8, _PROTOCOLS),
        DataType("inet_service", 16),
        DataType("mark", 32, hexadecimal=8),
        DataType("ct_state", 32, STATES, hexadecimal=8),
        DataType("ct_status", 32, _STATUS, hexadecimal=8),
        DataType("ct_dir", 8, {"original": 0, "reply": 1}),
        DataType("nf_proto", 8, {"ipv4": 2, "ipv6": 10}),
        DataType("ether_type", 16, _ETHER, hexadecimal=4),
        DataType("tcp_flag", 8, _TCP_FLAGS, hexadecimal=1),
        DataType("icmp_type", 8, _ICMP),
        DataType("icmp_code", 8, _ICMP_CODES),
        DataType("icmpv6_type", 8, _ICMPV6),
        DataType("icmpv6_code", 8, _ICMPV6_CODES),
        DataType("ifname", 128, words=True, quoted=True),
        DataType("iface_index", 32, words=True, quoted=True),
        DataType("fib_addrtype", 32, words=True),
        DataType("string", 128, words=True, quoted=True),
        DataType("word", 128, words=True),  # written without quotes: dscp, classid, link-layer addresses
        DataType("integer", 32),
        DataType("raw", 128, hexadecimal=1),
        DataType("time", 64),
        DataType("boolean", 1),
        DataType("verdict", 32),
    )
}


def named(name: str) -> DataType:
    """The type of this name; one that is not known holds words."""
    return TYPES.get(name) or DataType(name, 128, words=True)
