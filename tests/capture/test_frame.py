"""Frames against scapy: what it builds, the decoder must find; and what is cut or mangled must not break it."""

import ipaddress
import random

import pytest
from capture_frames import CLIENT, MACS, NODE
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_RR, fragment
from scapy.layers.inet6 import (
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    fragment6,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP

from svcdoctor.capture.frame import ETHERNET, FRAGMENT, RAW, SLL, SLL2, dissect, reverse
from svcdoctor.capture.icmp import icmp_error

LINKS = {
    "ethernet": (ETHERNET, lambda p: Ether(**MACS) / p),
    "vlan": (ETHERNET, lambda p: Ether(**MACS) / Dot1Q(vlan=5) / p),
    "qinq": (ETHERNET, lambda p: Ether(**MACS) / Dot1AD(vlan=7) / Dot1Q(vlan=5) / p),
    "raw": (RAW, lambda p: p),
    "raw4": (228, lambda p: p),
    "sll": (SLL, lambda p: CookedLinux(proto=0x86DD if p.version == 6 else 0x800) / p),
    "sll2": (SLL2, lambda p: CookedLinuxV2(proto=0x86DD if p.version == 6 else 0x800, ifindex=4) / p),
    "sll vlan": (SLL, lambda p: CookedLinux(proto=0x8100) / Dot1Q(vlan=5) / p),
}
HEADERS = {
    "plain": lambda s, d: IPv6(src=s, dst=d),
    "hop by hop": lambda s, d: IPv6(src=s, dst=d) / IPv6ExtHdrHopByHop(),
    "destination": lambda s, d: IPv6(src=s, dst=d) / IPv6ExtHdrDestOpt(),
    "routing": lambda s, d: IPv6(src=s, dst=d) / IPv6ExtHdrRouting(addresses=["fd00::9"]),
    "chain": lambda s, d: (
        IPv6(src=s, dst=d) / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrDestOpt()
    ),
    "ah": lambda s, d: IPv6(src=s, dst=d) / AH(spi=1, seq=1, icv=b"\0" * 12, payloadlen=4),
    "atomic fragment": lambda s, d: IPv6(src=s, dst=d) / IPv6ExtHdrFragment(id=9),
}
TRANSPORTS = {6: TCP, 17: UDP, 132: SCTP}


def key(source, destination, sport, dport):
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return packed + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


def found(packet, link="ethernet"):
    number, dress = LINKS[link]
    data = bytes(dress(packet))
    return dissect(data, 0, len(data), number), data


@given(st.sampled_from(sorted(LINKS)), st.sampled_from(sorted(TRANSPORTS)), st.booleans(), st.randoms())
def test_addresses_ports_and_payload(link, protocol, options, chance):
    """Every link layer, over IPv4 with and without options."""
    sport, dport = chance.randrange(65536), chance.randrange(65536)
    data = chance.randbytes(chance.randrange(40))
    ip = IP(src=CLIENT, dst=NODE, options=IPOption_RR(length=7, routers=["0.0.0.0"]) if options else [])
    transport = TRANSPORTS[protocol](sport=sport, dport=dport)
    packet = ip / transport / data
    at, whole = found(packet, link)
    assert at is not None
    assert (at[0], at[1], at[5]) == (protocol, key(CLIENT, NODE, sport, dport), None)
    assert whole[at[3] : at[4]] == bytes(packet)[20 + 4 * 2 * options :]
    assert reverse(at[1]) == key(NODE, CLIENT, dport, sport)


@given(st.sampled_from(sorted(LINKS)), st.sampled_from(sorted(HEADERS)), st.sampled_from(sorted(TRANSPORTS)))
def test_ipv6_with_every_extension_header(link, header, protocol):
    packet = HEADERS[header]("fd00::1", "fd00::2") / TRANSPORTS[protocol](sport=1, dport=53) / b"question"
    layer = packet
    while not isinstance(layer.payload, TCP | UDP | SCTP):
        layer = layer.payload
    layer.nh = protocol  # scapy does not set it behind all headers
    at, whole = found(packet, link)
    assert at is not None
    assert (at[0], at[1], at[5]) == (protocol, key("fd00::1", "fd00::2", 1, 53), None)
    assert whole[at[3] : at[4]].endswith(b"question")


def test_fragments_have_the_same_datagram_and_only_the_first_has_ports():
    long = UDP(sport=5, dport=6) / bytes(4000)
    six = IPv6(src="fd00::1", dst="fd00::2") / IPv6ExtHdrFragment(id=77)
    for parts in (fragment6(six / long, 1400), fragment(IP(src=CLIENT, dst=NODE, id=77) / long, 1400)):
        ats = [found(part)[0] for part in parts]
        assert len(ats) > 2
        assert ats[0][0] == 17 and ats[0][1][-4:] == b"\0\5\0\6"
        assert all(at[0] == FRAGMENT for at in ats[1:])
        assert len({at[5] for at in ats}) == 1 and ats[0][5]
    other = fragment(IP(src=CLIENT, dst=NODE, id=78) / UDP(sport=5, dport=6) / bytes(4000), fragsize=1400)
    assert found(other[0])[0][5] != found(parts[0])[0][5]


def test_a_segment_without_length_reaches_to_the_frame_s_end():
    """Outgoing segments that the network card is to cut say 0."""
    packet = IP(src=CLIENT, dst=NODE) / TCP(sport=1, dport=2) / bytes(70000 - 54)
    packet.len = 0
    at, data = found(packet)
    assert at[4] == len(data) == 70000


@pytest.mark.parametrize("packet", [ARP(), IP() / b"", IP(proto=50) / b"abc", IP(ihl=3) / TCP()])
def test_what_is_no_packet_with_ports(packet):
    at = found(packet)[0]
    assert at is None or at[0] == 50


def packets():
    yield Ether(**MACS) / Dot1Q(vlan=1) / IP(src=CLIENT, dst=NODE) / TCP(sport=9, dport=10) / b"x"
    yield (
        Ether(**MACS)
        / IP(src=CLIENT, dst=NODE, options=IPOption_RR(length=7))
        / UDP(sport=9, dport=10)
        / b"x"
    )
    for header in HEADERS.values():
        yield Ether(**MACS) / header("fd00::1", "fd00::2") / TCP(sport=9, dport=10) / b"x"
    yield (
        Ether(**MACS)
        / IP(src=NODE, dst=CLIENT)
        / ICMP(type=3, code=3)
        / IP(src=CLIENT, dst=NODE)
        / UDP(sport=9, dport=10)
    )


def test_every_cut_is_found_right_or_not_at_all():
    for packet in packets():
        data = bytes(packet)
        whole = dissect(data, 0, len(data), ETHERNET)
        for end in range(len(data)):
            # What lies behind the frame in the buffer is another frame's.
            at = dissect(data[:end] + b"\xff" * 200, 0, end, ETHERNET)
            assert at is None or at[:4] == whole[:4]


@settings(max_examples=120)
@given(st.sampled_from(sorted({link for link, _ in LINKS.values()})), st.randoms(), st.binary(max_size=90))
def test_garbage_breaks_nothing(link, chance, noise):
    data = bytearray(bytes(chance.choice(list(packets()))))
    for _ in range(chance.randrange(8)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    for frame in (bytes(data), noise, bytes(data[: chance.randrange(len(data))])):
        at = dissect(frame, 0, len(frame), link)
        if at is not None:
            icmp_error(frame, at[3], len(frame), at[0] == 58)


def test_random_bytes_do_not_often_look_like_packets():
    chance = random.Random(3)
    found = [dissect(chance.randbytes(80), 0, 80, ETHERNET) for _ in range(5000)]
    assert sum(at is not None for at in found) < 5
