"""Addresses that map prefix by prefix: the property, and the ranges that keep their meaning."""

from __future__ import annotations

import ipaddress
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.sources.addressmap import AddressMap

MAP = AddressMap(secrets.token_bytes(32))

_within = st.sampled_from(
    ["10.0.0.0/8", "10.244.1.0/24", "192.168.0.0/16", "fd00:10:244::/48", "2001:db8::/32", "fe80::/64"]
).flatmap(lambda n: st.ip_addresses(network=n))
_addresses = st.ip_addresses() | _within


def shared_bits(a: int, b: int, width: int) -> int:
    return width - (a ^ b).bit_length()


@given(_addresses, _addresses)
def test_a_shared_prefix_stays_exactly_as_long(
    a: ipaddress.IPv4Address | ipaddress.IPv6Address, b: ipaddress.IPv4Address | ipaddress.IPv6Address
) -> None:
    x, y = MAP.address(a), MAP.address(b)
    assert (x.version, y.version) == (a.version, b.version)
    if a.version == b.version:
        width = a.max_prefixlen
        assert shared_bits(int(x), int(y), width) == shared_bits(int(a), int(b), width)


@given(st.data())
def test_an_address_stays_in_its_network(data: st.DataObject) -> None:
    address = data.draw(_addresses)
    length = data.draw(st.integers(0, address.max_prefixlen))
    network = ipaddress.ip_network(f"{address}/{length}", strict=False)
    mapped = MAP.text(str(network))
    assert mapped is not None
    assert MAP.address(address) in ipaddress.ip_network(mapped)


@pytest.mark.parametrize("network", ["10.1.2.0/24", "192.168.7.64/26", "203.0.113.8/29"])
def test_no_host_becomes_a_broadcast_address(network: str) -> None:
    """Whatever the key."""
    original = ipaddress.ip_network(network)
    for number in range(50):
        addresses = AddressMap(number.to_bytes(32, "big"))
        mapped = ipaddress.ip_network(addresses.text(network) or "")
        assert mapped.broadcast_address == addresses.address(original.broadcast_address)
        assert mapped != original or network.startswith("203.")  # a range of 24 bits maps to itself


@pytest.mark.parametrize(
    "range_",
    [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
        "fd00::/8",
        "fe80::/64",
        "2000::/3",
        "0.0.0.0/0",
        "::/0",
        "ff02::1:ff00:0/104",
        "::ffff:0:0/96",
    ],
)
def test_ranges_with_a_meaning_map_to_themselves(range_: str) -> None:
    assert MAP.text(range_) == range_


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "127.0.0.1",
        "127.0.0.53",
        "169.254.169.254",
        "224.0.0.251",
        "255.255.255.255",
        "::",
        "::1",
        "ff02::1",
    ],
)
def test_addresses_with_a_meaning_stay(address: str) -> None:
    assert MAP.text(address) == address


def test_an_ipv4_address_in_an_ipv6_one_maps_as_it_does_alone() -> None:
    alone = MAP.text("10.1.2.3")
    mapped = MAP.text("::ffff:10.1.2.3")
    assert mapped is not None
    assert str(ipaddress.IPv6Address(mapped).ipv4_mapped) == alone


@pytest.mark.parametrize("text", ["", "web", "1.2.3", "1.2.3.4:80", "10.0.0.0/33", "fe80::1%eth0", "8080"])
def test_what_is_no_address_is_told(text: str) -> None:
    assert MAP.text(text) is None


def test_mac_addresses() -> None:
    mapped = MAP.mac("5e:d8:25:4a:94:cb")
    assert mapped != "5e:d8:25:4a:94:cb"
    assert int(mapped[:2], 16) & 3 == 2  # unicast, locally administered
    assert MAP.mac("5e:d8:25:4a:94:cb") == mapped
    assert MAP.mac("ff:ff:ff:ff:ff:ff") == "ff:ff:ff:ff:ff:ff"
    assert MAP.mac("00:00:00:00:00:00") == "00:00:00:00:00:00"
