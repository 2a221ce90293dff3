"""Addresses to other addresses, prefix by prefix.

Theory. Two addresses that share a prefix of k bits, and no more, share exactly k bits afterwards (Xu, Fan,
Ammar, Moon: Prefix-Preserving IP Address Anonymization, ICNP 2002, "Crypto-PAn"). So an address stays inside
its subnet, a CIDR maps to a CIDR, and equal stays equal. Each bit is flipped or not by a keyed hash of the bits
before it. Where the bits lead to a range with a meaning, nothing is flipped, so the range maps to itself; and
where an address's every bit has a meaning (loopback, multicast), the address stays as it is. An IPv4 address
inside an IPv6 one (mapped, NAT64) maps as it does alone. The last octet of an IPv4 address stays: no host may
become its subnet's broadcast address (all ones), to which packets go another way, whatever the subnet's length.

The key lives as long as the object. As with every scheme of this kind, someone who knows some of the original
addresses learns prefixes of others.
"""

from __future__ import annotations

import hashlib
import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Every address in these stays: this network, loopback, link-local, multicast, reserved and broadcast.
_STAYS_4 = ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
_STAYS_6 = ("::/127", "ff00::/8")
# These map to themselves as ranges: private, shared (RFC 6598), benchmark, documentation; unique local,
# link-local (which holds the MAC address), global unicast, documentation, solicited-node multicast.
_RANGES_4 = (
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "198.18.0.0/15",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
)
_RANGES_6 = ("fc00::/8", "fd00::/8", "fe80::/64", "2000::/3", "2001:db8::/32", "ff02::1:ff00:0/104")
_MAPPED_BITS_4 = 24
_EMBEDDED = tuple(ipaddress.IPv6Network(n) for n in ("::ffff:0:0/96", "64:ff9b::/96"))


class AddressMap:
    """One random mapping of all IPv4 and IPv6 addresses, the same for every call."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._v4 = _Tree(key, 32, _STAYS_4, _RANGES_4)
        self._v6 = _Tree(key, 128, _STAYS_6, (*_RANGES_6, *map(str, _EMBEDDED)))
        self._seen: dict[Address, Address] = {}

    def address(self, address: Address) -> Address:
        """The address in its place. Constant time for one seen before, else one hash a byte."""
        found = self._seen.get(address)
        if found is None:
            found = self._seen[address] = self._prefix(address, address.max_prefixlen)
        return found

    def _prefix(self, address: Address, bits: int) -> Address:
        """The address with its first ``bits`` bits mapped and the others as they are."""
        value = int(address)
        if isinstance(address, ipaddress.IPv4Address):
            return ipaddress.IPv4Address(self._v4.mapped(value, min(bits, _MAPPED_BITS_4)))
        if any(address in network for network in _EMBEDDED):
            inner = self._v4.mapped(value & 0xFFFFFFFF, min(max(bits - 96, 0), _MAPPED_BITS_4))
            return ipaddress.IPv6Address(value >> 32 << 32 | inner)
        return ipaddress.IPv6Address(self._v6.mapped(value, bits))

    def text(self, text: str) -> str | None:
        """An address, a CIDR or an address with its prefix length, mapped; ``None`` for what is none.

        A network (host bits zero) maps to a network; an address within one keeps its prefix length.
        """
        head, slash, length = text.partition("/")
        if "%" in head or not ("." in head or ":" in head):
            return None
        try:
            address = ipaddress.ip_address(head)
            if not slash:
                return str(self.address(address))
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return None
        if network.network_address == address:
            return f"{self._prefix(address, network.prefixlen)}/{length}"
        return f"{self.address(address)}/{length}"

    def mac(self, mac: str) -> str:
        """A locally administered MAC address in its place; broadcast, multicast and zero stay."""
        octets = bytes.fromhex(mac.replace(":", ""))
        if octets[0] & 1 or not any(octets):
            return mac
        digest = hashlib.blake2b(octets, key=self._key, person=b"mac", digest_size=6).digest()
        return bytes([digest[0] & 0xFC | 2, *digest[1:]]).hex(":")


class _Tree:
    """The binary tree of one family's prefixes: after which bits the next bit is flipped."""

    def __init__(self, key: bytes, width: int, stays: tuple[str, ...], ranges: tuple[str, ...]) -> None:
        self._key = key
        self._width = width
        self._stays = [_bounds(text) for text in stays]
        self._ranges = [_bounds(text) for text in ranges]
        # The bits that lead to a range that stays or maps to itself, as (length, bits).
        self._fixed = {
            (length, first >> (width - length))
            for first, _, bits in (*self._stays, *self._ranges)
            for length in range(bits)
        }

    def mapped(self, value: int, bits: int) -> int:
        """``value`` with its first ``bits`` bits mapped."""
        for first, last, length in self._stays:
            if first <= value <= last and not any(
                a <= value <= b for a, b, inner in self._ranges if inner > length
            ):
                return value
        result = value
        for start in range(0, bits, 8):
            flips = self._flips(start, value >> (self._width - start))
            for depth in range(min(8, bits - start)):
                length = start + depth
                prefix = value >> (self._width - length)
                if (length, prefix) in self._fixed:
                    continue
                node = 1 << depth | prefix & ((1 << depth) - 1)
                if flips >> node & 1:
                    result ^= 1 << (self._width - 1 - length)
        return result

    def _flips(self, start: int, before: int) -> int:
        """The flips of the eight levels below a prefix, a bit for each node of that small tree."""
        text = f"{self._width} {start} {before}".encode()
        return int.from_bytes(hashlib.blake2b(text, key=self._key, digest_size=32).digest(), "big")


def _bounds(text: str) -> tuple[int, int, int]:
    network = ipaddress.ip_network(text)
    return int(network.network_address), int(network.broadcast_address), network.prefixlen
