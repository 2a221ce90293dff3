"""One node: hooks by priority, conntrack and NAT between them, routing, and packets of the node itself."""

import pytest
from rulebook import ACCEPT, DROP, Plain, Ruleset, base, perhaps, yes

from svcdoctor.dataplane.hooks import Fate, Node
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.packet import DNATTED, ESTABLISHED, INVALID, NEW, packet
from svcdoctor.dataplane.routing import Decision, PlainRouter, Way

NODE4, NODE6 = "172.30.0.11", "fd00:172:30::11"
POD = int.from_bytes(bytes((10, 244, 1, 6)))


def node(*bases, router=None):
    return Node([Ruleset(*bases)], router or PlainRouter([NODE4, NODE6]))


def asked(dst=NODE4, dport=30080, src="192.0.2.1"):
    return packet(src, dst, dport)


class Notes:
    """A book whose rules write down where the packet is and what a rule sees of it."""

    def __init__(self):
        self.book = Plain()
        self.seen = []

    def at(self, name, *more):
        def write(live):
            self.seen.append((name, live.ct, live.iif, live.oif))

        return self.book.chain(name, ([yes], [(Op.CHANGE, write), *more]))


def dnat(book, name="DNAT", to=(POD, 8080)):
    return book.chain(name, ([yes], [(Op.DNAT, to)]))


def test_a_forwarded_packet_meets_the_hooks_in_order():
    n = Notes()
    chains = [
        base(n.at("post-srcnat"), "postrouting", 100, "nat"),
        base(n.at("forward"), "forward"),
        base(n.at("pre-mangle"), "prerouting", -150),
        base(n.at("pre-raw"), "prerouting", -300),
        base(n.at("input"), "input"),
        base(n.at("output"), "output"),
    ]
    live = asked("10.244.1.6", 80)
    live.iif = "eth0"
    [outcome] = node(*chains).receive(live)
    assert outcome.fate is Fate.FORWARDED
    assert [(name, ct) for name, ct, _, _ in n.seen] == [
        ("pre-raw", INVALID),
        ("pre-mangle", NEW),
        ("forward", NEW),
        ("post-srcnat", NEW),
    ]


@pytest.mark.parametrize("target", [NODE4, NODE6])
def test_a_packet_for_the_node_meets_input(target):
    n = Notes()
    chains = [base(n.at("input"), "input"), base(n.at("forward"), "forward")]
    source = "2001:db8::1" if ":" in target else "192.0.2.1"
    [outcome] = node(*chains).receive(packet(source, target, 22))
    assert outcome.fate is Fate.LOCAL
    assert [name for name, *_ in n.seen] == ["input"]


def test_dnat_in_prerouting_turns_input_into_forward():
    book = Plain()
    chains = [
        base(dnat(book), "prerouting", -100, "nat"),
        base(book.chain("IN", ([yes], DROP)), "input"),
    ]
    [outcome] = node(*chains).receive(asked())
    assert (outcome.fate, outcome.packet.dst, outcome.packet.dport) == (Fate.FORWARDED, POD, 8080)
    assert outcome.translated and outcome.packet.ctstatus & DNATTED


def test_a_filter_before_nat_sees_the_old_destination_and_one_after_it_the_new():
    seen = []
    book = Plain()

    def write(live):
        seen.append(live.dst)

    before = book.chain("BEFORE", ([yes], [(Op.CHANGE, write)]))
    after = book.chain("AFTER", ([yes], [(Op.CHANGE, write)]))
    live = asked()
    original = live.dst
    node(
        base(before, "prerouting", -110),
        base(after, "prerouting", -90),
        base(dnat(book), "prerouting", -100, "nat"),
    ).receive(live)
    assert seen == [original, POD]


def test_the_first_nat_chain_that_translates_is_the_last_one_asked():
    book = Plain()
    first = book.chain("FIRST", ([yes], ACCEPT))  # accepts without translating: the next one is asked
    second = dnat(book, "SECOND", (1, 1))
    third = dnat(book, "THIRD", (2, 2))
    [outcome] = node(
        base(third, "prerouting", -90, "nat"),
        base(second, "prerouting", -100, "nat"),
        base(first, "prerouting", -110, "nat"),
    ).receive(asked("10.0.0.1"))
    assert outcome.packet.dst == 1


def test_an_accept_ends_one_base_chain_only():
    book = Plain()
    chains = [
        base(book.chain("EARLY", ([yes], ACCEPT)), "input", -10),
        base(book.chain("LATE", ([yes], DROP)), "input", 10),
    ]
    [outcome] = node(*chains).receive(asked())
    assert outcome.fate is Fate.DROPPED
    assert [r.chain.name for r in outcome.rules] == ["EARLY", "LATE"]


def test_an_established_connection_meets_no_nat():
    live = asked()
    live.state = ESTABLISHED
    [outcome] = node(base(dnat(Plain()), "prerouting", -100, "nat")).receive(live)
    assert outcome.fate is Fate.LOCAL and not outcome.translated


def test_a_packet_that_raw_does_not_track_meets_no_nat():
    book = Plain()
    raw = book.chain("RAW", ([yes], [(Op.NOTRACK, None)]))
    [outcome] = node(base(raw, "prerouting", -300), base(dnat(book), "prerouting", -100, "nat")).receive(
        asked()
    )
    assert not outcome.translated


def test_a_packet_of_the_node_to_itself_goes_out_and_comes_in_by_lo_without_a_second_nat():
    n = Notes()
    chains = [
        base(n.at("out"), "output"),
        base(n.at("post"), "postrouting"),
        base(n.at("pre"), "prerouting"),
        base(dnat(n.book, "NAT"), "prerouting", -100, "nat"),
        base(n.at("in"), "input"),
    ]
    [outcome] = node(*chains).send(asked(src=NODE4))
    assert outcome.fate is Fate.LOCAL and not outcome.translated
    assert [(name, iif, oif) for name, _, iif, oif in n.seen] == [
        ("out", "", "lo"),
        ("post", "", "lo"),
        ("pre", "lo", ""),
        ("in", "lo", ""),
    ]


def test_output_dnat_routes_the_packet_anew():
    class TwoWays(PlainRouter):
        def outgoing(self, live):
            return Decision(Way.FORWARD, "cni0" if live.dst == POD else "eth0")

    n = Notes()
    chains = [
        base(dnat(n.book), "output", -100, "nat"),
        base(n.at("out"), "output"),
        base(n.at("post"), "postrouting"),
    ]
    [outcome] = node(*chains, router=TwoWays([NODE4])).send(asked("10.96.0.1", 80, NODE4))
    assert [(name, oif) for name, _, _, oif in n.seen] == [("out", "eth0"), ("post", "cni0")], (
        "the output hook still sees the interface of the first decision"
    )
    assert outcome.route.oif == "cni0"


def test_masquerading_takes_the_address_of_the_interface_where_it_is_known():
    class Known(PlainRouter):
        def own_address(self, family, interface, towards):
            return 42

    chain = Plain().chain("POST", ([yes], [(Op.MASQUERADE, None)]))
    for router, source in ((Known([NODE4]), 42), (PlainRouter([NODE4]), packet("192.0.2.1", NODE4).src)):
        [outcome] = node(base(chain, "postrouting", 100, "nat"), router=router).receive(asked("10.244.1.6"))
        assert outcome.packet.masquerade
        assert outcome.packet.src == source


def test_redirect_sends_to_the_node_itself():
    chain = Plain().chain("RE", ([yes], [(Op.REDIRECT, (None, 8443))]))
    [outcome] = node(base(chain, "prerouting", -100, "nat")).receive(asked("10.96.0.1", 443))
    assert (outcome.fate, outcome.packet.dport) == (Fate.LOCAL, 8443)


@pytest.mark.parametrize(
    ("way", "fate"),
    [(Way.UNREACHABLE, Fate.REJECTED), (Way.DROPPED, Fate.DROPPED), (Way.UNKNOWN, Fate.UNKNOWN)],
)
def test_a_packet_without_a_way_ends_where_it_is_routed(way, fate):
    class Nowhere(PlainRouter):
        def outgoing(self, live):
            return Decision(way, reason="because")

    for found in (node(router=Nowhere()).receive(asked()), node(router=Nowhere()).send(asked())):
        assert [(o.fate, o.reason) for o in found] == [(fate, "because")]


def test_an_unknown_branch_names_the_rule():
    chain = Plain().chain("IN", ([perhaps], DROP))
    [outcome] = node(base(chain, "input")).receive(asked())
    assert outcome.fate is Fate.UNKNOWN
    assert str(outcome.rules[-1]) == "t IN #1: DROP"
