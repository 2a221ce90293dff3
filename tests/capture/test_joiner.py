"""How legs find each other, what happens on them, and that the table stays bounded."""

import ipaddress
import random

import pytest
from capture_frames import (
    CLIENT,
    CNI0,
    DOORS,
    ETH0,
    IN,
    MASQUERADED,
    NODE,
    NODE_PORT,
    OUT,
    POD,
    SECOND,
    TARGET_PORT,
    Fed,
    ends,
    tcp,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror, TCPerror, UDPerror, fragment
from scapy.layers.inet6 import ICMPv6DestUnreach, ICMPv6PacketTooBig, IPv6
from scapy.layers.sctp import SCTP, SCTPChunkInit

from svcdoctor.capture.connection import Join, NoticeKind, State
from svcdoctor.capture.doors import Door, Doors, Role, address_text
from svcdoctor.capture.sequence import MASK

SIX = {CLIENT: "2001:db8::7", NODE: "fd00::4", MASQUERADED: "fd00:10::1", POD: "fd00:10::45"}
FRONT6 = Doors(
    (
        Door("fd00::4", NODE_PORT, "TCP", Role.NODE_PORT),
        Door("fd00:10::45", TARGET_PORT, "TCP", Role.ENDPOINT),
    )
)


def address(text, six):
    return SIX[text] if six else text


class Conversation:
    """A connection through DNAT and masquerading, seen on both legs."""

    def __init__(self, fed, sport=40000, six=False, isn=1000, port=None, masquerades=True):
        self.fed = fed
        self.client, self.node, self.pod = (address(a, six) for a in (CLIENT, NODE, POD))
        self.masqueraded = address(MASQUERADED, six) if masquerades else self.client
        self.sport, self.port = sport, port or (sport + 1 if masquerades else sport)
        self.seq, self.ack = isn, isn + 500000
        self.ident = sport & 0xFFFF

    def ask(self, flags="A", data=b"", seq=None, **options):
        at = self.seq if seq is None else seq
        self.ident += 1
        common = {
            "flags": flags,
            "seq": at & MASK,
            "ack": 0 if flags == "S" else self.ack & MASK,
            "data": data,
        }
        outer = tcp(self.client, self.node, sport=self.sport, dport=NODE_PORT, ident=self.ident, **common)
        inner = tcp(
            self.masqueraded, self.pod, sport=self.port, dport=TARGET_PORT, ident=self.ident, **common
        )
        self.fed.through(outer, inner, **options)
        if seq is None:
            self.seq += len(data) + ("S" in flags) + ("F" in flags)

    def answer(self, flags="A", data=b"", seq=None, **options):
        at = self.ack if seq is None else seq
        self.ident += 1
        common = {"flags": flags, "seq": at & MASK, "ack": self.seq & MASK, "data": data, "ident": self.ident}
        inner = tcp(self.pod, self.masqueraded, sport=TARGET_PORT, dport=self.port, **common)
        outer = tcp(self.node, self.client, sport=NODE_PORT, dport=self.sport, **common)
        self.fed.frame(inner, CNI0, IN, **options)
        self.fed.frame(outer, ETH0, OUT)
        if seq is None:
            self.ack += len(data) + ("S" in flags) + ("F" in flags)

    def open(self):
        self.ask("S")
        self.answer("SA")
        self.ask()

    def close(self):
        self.answer("FA")
        self.ask("FA")
        self.answer()


@pytest.mark.parametrize("doors", [DOORS, Doors(), FRONT6], ids=["doors", "none", "six"])
def test_the_legs_of_a_masqueraded_connection(doors):
    six = doors is FRONT6
    fed = Fed(doors)
    talk = Conversation(fed, six=six)
    talk.open()
    talk.ask("PA", b"question")
    talk.answer("PA", b"a longer answer")
    talk.close()
    [connection] = fed.finish()
    assert (connection.state, connection.join, connection.whole) == (State.CLOSED, Join.SEQUENCE, True)
    assert [ends(leg) for leg in connection.legs] == [
        ((talk.client, 40000), (talk.node, NODE_PORT)),
        ((talk.masqueraded, 40001), (talk.pod, TARGET_PORT)),
    ]
    assert connection.legs[1].translations == ("DNAT", "SNAT")
    assert [leg.interfaces for leg in connection.legs] == [(ETH0,), (CNI0,)]
    for leg in connection.legs:
        assert (leg.forward.packets, leg.backward.packets) == (4, 4)
        assert leg.forward.again == leg.backward.again == 0
    assert connection.notices == []
    assert 0 < connection.answered - connection.began < 100_000


@pytest.mark.parametrize("first", ["question", "answer"])
@pytest.mark.parametrize("doors", [DOORS, Doors()], ids=["doors", "none"])
def test_a_connection_that_began_before(first, doors):
    fed = Fed(doors)
    talk = Conversation(fed)
    if first == "answer":
        talk.answer("PA", b"answer")
    talk.ask("PA", b"question")
    talk.answer("PA", b"answer")
    [connection] = fed.finish()
    assert not connection.whole
    assert [leg.source[0] for leg in connection.legs] == [CLIENT, MASQUERADED]


def test_a_bridge_shows_answers_between_the_translations():
    """Of answers netfilter on a bridge undoes SNAT before the bridge's own interface sees them."""
    for doors in (DOORS, Doors()):
        fed = Fed(doors)
        talk = Conversation(fed)
        talk.ask("S")
        common = {"flags": "SA", "seq": talk.ack, "ack": talk.seq, "ident": 3}
        fed.frame(tcp(POD, MASQUERADED, sport=TARGET_PORT, dport=talk.port, **common), 9, IN)
        fed.frame(tcp(POD, CLIENT, sport=TARGET_PORT, dport=talk.sport, **common), CNI0, IN)
        fed.frame(tcp(NODE, CLIENT, sport=NODE_PORT, dport=talk.sport, **common), ETH0, OUT)
        [connection] = fed.finish()
        assert [leg.translations for leg in connection.legs] == [(), ("DNAT",), ("SNAT",)]
        assert [ends(leg)[0] for leg in connection.legs] == [
            (CLIENT, 40000), (CLIENT, 40000), (MASQUERADED, 40001),
        ]  # fmt: skip
        assert connection.state is State.OPEN


def test_many_connections_at_once_are_not_mixed():
    fed = Fed()
    chance = random.Random(5)
    talks = [Conversation(fed, sport=2000 + 2 * i, isn=chance.getrandbits(31)) for i in range(60)]
    for step in ("open", "close"):
        for talk in talks:
            getattr(talk, step)()
    connections = fed.finish()
    assert len(connections) == 60
    assert all(c.legs[0].source[1] + 1 == c.legs[1].source[1] for c in connections)


def test_a_flood_with_equal_sequence_numbers_is_not_one_connection():
    """Scanners send the same numbers from many ports; each enters by the nodePort, so they are different."""
    fed = Fed()
    for sport in range(5000, 5050):
        fed.frame(tcp(CLIENT, NODE, "S", 0, sport=sport, ident=1))
    assert [len(c.legs) for c in fed.finish()] == [1] * 50


def test_the_same_packet_three_seconds_later_joins_nothing():
    fed = Fed(Doors())
    fed.frame(tcp(CLIENT, NODE, "S", 77))
    fed.frame(tcp(MASQUERADED, POD, "S", 77, dport=TARGET_PORT), after=3 * SECOND)
    assert len(fed.finish()) == 2


def udp(source, destination, data, sport, dport, ident=0):
    ip = IPv6(src=source, dst=destination) if ":" in source else IP(src=source, dst=destination, id=ident)
    return ip / UDP(sport=sport, dport=dport) / data


def test_udp_by_its_payload():
    fed = Fed()
    for sport, data in ((900, b"q"), (901, b"another question"), (902, b"q")):
        fed.through(
            udp(CLIENT, NODE, data, sport, NODE_PORT), udp(MASQUERADED, POD, data, sport + 1000, TARGET_PORT)
        )
        fed.frame(udp(POD, MASQUERADED, b"a" + data, TARGET_PORT, sport + 1000), CNI0, IN)
        fed.frame(udp(NODE, CLIENT, b"a" + data, NODE_PORT, sport), ETH0, OUT)
    connections = fed.finish()
    assert [[leg.source[1] for leg in c.legs] for c in connections] == [[900, 1900], [901, 1901], [902, 1902]]
    assert {(c.join, c.state) for c in connections} == {(Join.PAYLOAD, State.OPEN)}


def test_a_short_datagram_alone_joins_nothing():
    fed = Fed(Doors())
    fed.frame(udp(CLIENT, NODE, b"x", 900, 53))
    fed.frame(udp("192.0.2.99", "198.51.100.1", b"x", 901, 53))
    assert len(fed.finish()) == 2


def test_sctp_by_tags_and_chunks():
    fed = Fed(Doors())
    chunk = SCTPChunkInit(init_tag=0xABCDEF, init_tsn=5)
    fed.through(
        IP(src=CLIENT, dst=NODE) / SCTP(sport=5, dport=6) / chunk,
        IP(src=MASQUERADED, dst=POD) / SCTP(sport=9, dport=8) / chunk,
    )
    [connection] = fed.finish()
    assert [ends(leg)[1] for leg in connection.legs] == [(NODE, 6), (POD, 8)]


def test_only_the_service_s_packets_are_taken():
    fed = Fed()
    assert fed.frame(tcp(CLIENT, NODE, "S", 1, dport=22)) is None
    assert fed.frame(tcp(CLIENT, "10.1.0.5", "S", 1)) is None
    assert fed.frame(tcp(NODE, CLIENT, "SA", 1, sport=NODE_PORT, dport=5)) is not None
    assert fed.frame(udp(CLIENT, POD, b"x", 5, TARGET_PORT)) is not None
    assert (fed.joiner.tally.strangers, fed.joiner.tally.connections) == (2, 2)


# --- what happens on a connection


def notices(connection):
    return [
        (n.kind, n.words, address_text(n.sender), n.point >> 2, n.point & 3, n.count)
        for n in connection.notices
    ]


def test_who_refused():
    """The pod's RST comes in by its interface; seen again on its way out it is still one."""
    fed = Fed()
    talk = Conversation(fed)
    talk.ask("S")
    talk.answer("RA", seq=0)
    [connection] = fed.finish()
    assert connection.state is State.REFUSED
    assert notices(connection) == [(NoticeKind.RESET, "refused", POD, CNI0, IN, 1)]
    fed = Fed()
    fed.frame(tcp(CLIENT, NODE, "S", 9))
    fed.frame(tcp(NODE, CLIENT, "RA", 0, 10, sport=NODE_PORT, dport=40000), ETH0, OUT)
    [connection] = fed.finish()
    assert notices(connection) == [(NoticeKind.RESET, "refused", NODE, ETH0, OUT, 1)]


def test_a_reset_of_an_open_connection_by_the_client():
    fed = Fed()
    talk = Conversation(fed)
    talk.open()
    talk.ask("R")
    [connection] = fed.finish()
    assert connection.state is State.RESET
    assert notices(connection) == [(NoticeKind.RESET, "reset", CLIENT, ETH0, IN, 1)]


@pytest.mark.parametrize("who", ["client", "server"])
def test_retransmissions(who):
    """A lost SYN, and data sent again, each counted once though both legs show it."""
    fed = Fed()
    talk = Conversation(fed)
    talk.ask("S")
    talk.seq -= 1
    talk.ask("S", after=SECOND)
    talk.answer("SA")
    talk.ask()
    send, start = (talk.ask, talk.seq) if who == "client" else (talk.answer, talk.ack)
    send("PA", b"x" * 100)
    send("PA", b"x" * 100, seq=start, after=SECOND // 5)
    send("PA", b"x" * 100, seq=start, after=SECOND // 2)
    talk.close()
    [connection] = fed.finish()
    assert connection.nearest(True).again == 1 + 2 * (who == "client")
    assert connection.nearest(False).again == 2 * (who == "server")
    sender = CLIENT if who == "client" else POD
    found = [(n.words, address_text(n.sender), n.count) for n in connection.notices]
    assert found == [("SYN", CLIENT, 1), ("data", sender, 2)]
    assert connection.state is State.CLOSED


def test_a_keep_alive_is_no_retransmission():
    fed = Fed()
    talk = Conversation(fed)
    talk.open()
    talk.ask("PA", b"hello")
    talk.ask("A", b"o", seq=talk.seq - 1)
    talk.ask("A", seq=talk.seq - 1)
    [connection] = fed.finish()
    assert connection.notices == []


@pytest.mark.parametrize(
    "after, late, words", [(1_000_000, 0, []), (SECOND, 1, ["data (lost before this node)"])]
)
def test_a_gap_that_is_filled(after, late, words):
    """Soon: out of order. Later: sent again, because it was lost before it came here."""
    fed = Fed()
    talk = Conversation(fed)
    talk.open()
    start = talk.seq
    talk.ask("PA", b"y" * 50, seq=start + 50)
    talk.ask("PA", b"x" * 50, seq=start, after=after)
    talk.seq = start + 100
    talk.ask("PA", b"z")
    [connection] = fed.finish()
    assert (connection.nearest(True).again, connection.nearest(True).late) == (0, late)
    assert [n.words for n in connection.notices] == words


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=60), st.integers(0, MASK))
def test_sequence_numbers_against_a_plain_set(blocks, isn):
    """Each segment of ten bytes is new, fills a gap or was seen before; numbers wrap. A set tells which,
    as long as there are no more gaps than are remembered."""
    fed = Fed(Doors())
    fed.frame(tcp(CLIENT, NODE, "S", isn))
    seen, highest, gaps, again, late = set(), -1, 0, 0, 0
    for i, block in enumerate(blocks):
        seq = (isn + 1 + 10 * block) & MASK
        fed.frame(tcp(CLIENT, NODE, "PA", seq, 1, b"0123456789", ident=i), after=SECOND)
        if block in seen:
            again += 1
        elif block < highest:
            late += 1
        seen.add(block)
        highest = max(highest, block)
        gaps = max(gaps, sum(b not in seen and (b == 0 or b - 1 in seen) for b in range(highest)))
    [connection] = fed.finish()
    half = connection.nearest(True)
    if gaps <= 8:
        assert (half.again, half.late) == (again, late)
    assert half.again + half.late == again + late


def test_icmp_errors_and_who_sent_them():
    router = "10.99.0.1"
    about = IPerror(bytes(IP(src=MASQUERADED, dst=POD) / TCP(sport=40001, dport=TARGET_PORT))[:28])
    fed = Fed()
    talk = Conversation(fed)
    talk.ask("S")
    fed.frame(IP(src=router, dst=MASQUERADED) / ICMP(type=3, code=1) / about, CNI0, IN)
    outer = IPerror(src=CLIENT, dst=NODE) / TCPerror(sport=40000, dport=NODE_PORT)
    fed.frame(IP(src=router, dst=CLIENT) / ICMP(type=3, code=1) / outer, ETH0, OUT)
    [connection] = fed.finish()
    assert connection.state is State.REFUSED
    assert notices(connection) == [(NoticeKind.ICMP, "host unreachable", router, CNI0, IN, 1)]


def test_icmp_errors_of_size_do_not_refuse():
    fed = Fed()
    talk = Conversation(fed)
    talk.open()
    inner = IPerror(src=MASQUERADED, dst=POD) / TCPerror(sport=40001, dport=TARGET_PORT)
    fed.frame(IP(src=POD, dst=MASQUERADED) / ICMP(type=3, code=4, nexthopmtu=1380) / inner, CNI0, IN)
    [connection] = fed.finish()
    assert connection.state is State.OPEN
    assert connection.notices[0].words == "fragmentation needed, MTU 1380"


def test_icmpv6_errors():
    for error, words, state in (
        (ICMPv6DestUnreach(code=4), "port unreachable", State.REFUSED),
        (ICMPv6PacketTooBig(mtu=1280), "packet too big, MTU 1280", State.OPENING),
    ):
        fed = Fed(FRONT6)
        fed.frame(tcp(SIX[CLIENT], SIX[NODE], "S", 5))
        about = IPv6(src=SIX[CLIENT], dst=SIX[NODE]) / TCP(sport=40000, dport=NODE_PORT)
        fed.frame(IPv6(src=SIX[NODE], dst=SIX[CLIENT]) / error / about, ETH0, OUT)
        [connection] = fed.finish()
        assert connection.state is state
        assert notices(connection) == [(NoticeKind.ICMP, words, SIX[NODE], ETH0, OUT, 1)]


def test_an_icmp_error_about_something_else_is_a_stranger():
    fed = Fed()
    fed.frame(tcp(CLIENT, NODE, "S", 5))
    about = IPerror(src=CLIENT, dst=NODE) / UDPerror(sport=1, dport=2)
    assert fed.frame(IP(src=NODE, dst=CLIENT) / ICMP(type=3, code=3) / about) is None


def test_fragments_count_for_their_datagram():
    fed = Fed()
    parts = fragment(IP(src=CLIENT, dst=NODE, id=9) / UDP(sport=5, dport=NODE_PORT) / bytes(4000), 1400)
    for part in parts:
        assert fed.frame(part) is not None
    stray = fragment(IP(src=CLIENT, dst=NODE, id=10) / UDP(sport=5, dport=NODE_PORT) / bytes(4000), 1400)[1]
    assert fed.frame(stray) is None
    [connection] = fed.finish()
    assert connection.legs[0].forward.packets == len(parts)


def test_the_same_frame_on_several_interfaces_counts_once():
    fed = Fed()
    packet = tcp(MASQUERADED, POD, "S", 5, dport=TARGET_PORT)
    for interface, way in ((CNI0, OUT), (9, OUT), (9, OUT)):
        fed.frame(packet, interface, way)
    [connection] = fed.finish()
    half = connection.legs[0].forward
    assert (half.packets, half.again, connection.legs[0].interfaces) == (1, 0, (CNI0, 9))


def test_a_port_that_is_used_again_is_another_connection():
    fed = Fed()
    for isn in (1000, 90000):
        talk = Conversation(fed, isn=isn)
        talk.open()
        talk.close()
    assert [c.state for c in fed.finish()] == [State.CLOSED] * 2


# --- connection tracking


def key(source, sport, destination, dport):
    packed = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    return packed + sport.to_bytes(2, "big") + dport.to_bytes(2, "big")


ORIGINAL = key(CLIENT, 40000, NODE, NODE_PORT)
TRANSLATED = key(MASQUERADED, 40001, POD, TARGET_PORT)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_what_connection_tracking_says_joins(when):
    """Even where sequence numbers differ, as behind a SYN proxy."""
    fed = Fed()
    if when == "before":
        fed.joiner.table.translate(6, ORIGINAL, TRANSLATED, fed.now)
    fed.frame(tcp(CLIENT, NODE, "S", 1))
    if when == "between":
        fed.joiner.table.translate(6, ORIGINAL, TRANSLATED, fed.now)
    fed.frame(tcp(MASQUERADED, POD, "S", 2222, sport=40001, dport=TARGET_PORT), CNI0, OUT)
    if when == "after":
        fed.joiner.table.translate(6, ORIGINAL, TRANSLATED, fed.now)
    [connection] = fed.finish()
    assert connection.join is Join.CONNTRACK
    assert [ends(leg)[0] for leg in connection.legs] == [(CLIENT, 40000), (MASQUERADED, 40001)]


def test_a_leg_that_no_interface_shows():
    """A process of the node: its packets are translated before they are sent."""
    fed = Fed()
    fed.joiner.table.translate(6, ORIGINAL, TRANSLATED, fed.now)
    fed.frame(tcp(MASQUERADED, POD, "S", 5, sport=40001, dport=TARGET_PORT), ETH0, OUT)
    [connection] = fed.finish()
    assert [leg.seen for leg in connection.legs] == [False, True]


def test_an_endpoint_that_the_service_does_not_have_is_learned():
    fed = Fed()
    gone = key(CLIENT, 40000, "10.244.9.9", TARGET_PORT)
    fed.joiner.table.translate(6, ORIGINAL, gone, fed.now)
    assert fed.joiner.table.learned == [Door("10.244.9.9", TARGET_PORT, "TCP", Role.ENDPOINT)]
    fed.joiner.table.translate(17, key("1.1.1.1", 1, "2.2.2.2", 2), key("1.1.1.1", 1, "3.3.3.3", 2), fed.now)
    assert len(fed.joiner.table.learned) == 1
    assert fed.frame(tcp(CLIENT, "10.244.9.9", "S", 1, dport=TARGET_PORT)) is not None


def test_a_translation_of_the_connection_before_is_forgotten():
    fed = Fed()
    fed.joiner.table.translate(6, ORIGINAL, key(CLIENT, 40000, "10.244.9.9", TARGET_PORT), fed.now)
    fed.frame(tcp(CLIENT, NODE, "S", 1))
    fed.joiner.table.translate(6, ORIGINAL, TRANSLATED, fed.now)
    fed.frame(tcp(MASQUERADED, POD, "S", 1, sport=40001, dport=TARGET_PORT), CNI0, OUT)
    [connection] = fed.finish()
    assert [leg.destination[0] for leg in connection.legs] == [NODE, POD]


# --- the table


def test_the_table_is_bounded_and_tells_what_it_forgets():
    fed = Fed(Doors(), most=64)
    for i in range(500):
        fed.frame(tcp(CLIENT, NODE, "S", i * 7919, sport=1000 + i, ident=i))
        assert len(fed.joiner.table) <= 64
        assert sum(map(len, fed.joiner.table.halves.values())) <= 128
    told = fed.finish()
    assert sorted(c.legs[0].source[1] for c in told) == list(range(1000, 1500))
    assert fed.joiner.tally.forgotten > 400
    assert sum(map(len, fed.joiner.table.halves.values())) == 0


def test_silent_and_closed_connections_are_forgotten_in_time():
    fed = Fed()
    talk = Conversation(fed)
    talk.open()
    talk.close()
    fed.frame(udp(CLIENT, NODE, b"question one", 7, NODE_PORT), after=6 * SECOND)
    fed.joiner.table.sweep(fed.now)
    assert len(fed.joiner.table) == 1
    fed.joiner.table.sweep(fed.now + 61 * SECOND)
    assert len(fed.joiner.table) == 0


def test_live_a_connection_is_told_soon_then_what_happens_then_its_end():
    fed = Fed(live=True)
    talk = Conversation(fed)
    talk.ask("S")
    fed.joiner.table.settle(fed.now, SECOND // 5)
    assert fed.news == []
    fed.joiner.table.settle(fed.now + SECOND, SECOND // 5)
    talk.seq -= 1
    talk.ask("S", after=SECOND)
    talk.answer("SA")
    talk.close()
    fed.joiner.table.settle(fed.now + SECOND, SECOND // 5)
    fed.joiner.table.finish()
    assert [str(n.kind) for n in fed.news] == ["connection", "notice", "ended"]
    assert fed.news[-1].connection.state is State.CLOSED


def test_retransmissions_without_end_are_told_ever_more_rarely():
    fed = Fed(live=True)
    fed.frame(tcp(CLIENT, NODE, "S", 5))
    fed.joiner.table.settle(fed.now + SECOND, 0)
    for _ in range(100):
        fed.frame(tcp(CLIENT, NODE, "S", 5), after=SECOND)
    assert [n.notice.count for n in fed.news if n.notice] == [100] * 7  # told at 1, 2, 4 … 64


@settings(max_examples=15, deadline=None)
@given(st.randoms(), st.booleans())
def test_mangled_frames_break_nothing(chance, live):
    """Real connections with bytes changed, frames repeated, swapped and cut, with and without doors."""
    fed = Fed(chance.choice([DOORS, Doors()]), live=live, most=chance.choice([4, 1000]))
    frames = []
    fed.frame = lambda packet, interface=ETH0, way=IN, after=0: frames.append((bytes(packet), interface, way))
    for i in range(6):
        talk = Conversation(fed, sport=100 + 2 * i, isn=chance.choice([0, MASK, 5]))
        talk.open()
        talk.ask("PA", b"question")
        chance.choice([talk.close, lambda talk=talk: talk.answer("R")])()
    joiner, now = fed.joiner, fed.now
    for data, interface, way in chance.choices(frames, k=2 * len(frames)):
        mangled = bytearray(data)
        for _ in range(chance.randrange(3)):
            mangled[chance.randrange(len(mangled))] = chance.randrange(256)
        cut = bytes(mangled[: chance.choice([len(mangled), chance.randrange(len(mangled))])])
        now += chance.choice([0, 1000, SECOND, -SECOND, 400 * SECOND])
        joiner.take(cut, 0, len(cut), len(data), now, interface, way, 101)
        joiner.table.settle(now, 0)
    joiner.table.finish()
    assert len(joiner.table) == 0
    assert all(not held for held in joiner.table.halves.values())
