"""Matches by table: what holds, what does not, and what is not known. The kernel's own answers are in
test_nftables_kernel.py; here is what no packet can be sent for, and the families."""

import pytest
from nftdump import ct, match, meta, payload, prefix, ruleset, tracked

from svcdoctor.dataplane.evaluate import holds
from svcdoctor.dataplane.packet import ESTABLISHED, INVALID, NEW, RELATED, UNTRACKED

V4 = ("10.0.0.1", "10.0.0.2", 80)
V6 = ("fd00::1", "fd00::2", 80)
UDP4 = ("10.0.0.1", "10.0.0.2", 53, "udp")
PING4 = ("10.0.0.1", "10.0.0.2", None, "icmp")
PING6 = ("fd00::1", "fd00::2", None, "icmpv6")


def told(test, asked, family="inet", **more):
    rules = ruleset([test, {"accept": None}], family=family, **more)
    return holds(rules.chain(f"{family} t", "base").rule(1).tests, asked)


SADDR4, SADDR6 = payload("ip", "saddr"), payload("ip6", "saddr")
DPORT, SPORT = payload("tcp", "dport"), payload("tcp", "sport")
ANY_DPORT = payload("th", "dport")
STATE, STATUS = ct("state"), ct("status")
MASKED = {"&": [meta("mark"), 0x4000]}


@pytest.mark.parametrize(
    ("test", "asked", "expected"),
    [
        (match(SADDR4, "10.0.0.1"), V4, True),
        (match(SADDR4, "10.0.0.1"), V6, False),
        (match(SADDR4, "10.0.0.9", "!="), V4, True),
        (match(SADDR4, "10.0.0.9", "!="), V6, False),  # an IPv6 packet has no such field
        (match(SADDR6, prefix("fd00::", 8), "!="), V6, False),
        (match(SADDR6, prefix("fd01::", 16), "!="), V6, True),
        (match(SADDR6, prefix("fd01::", 16), "!="), V4, False),
        (match(SADDR4, {"range": ["10.0.0.0", "10.0.0.5"]}), V4, True),
        (match(SADDR6, {"set": ["fd00::1", prefix("fd02::", 16)]}), V6, True),
        (match(DPORT, 80), V4, True),
        (match(DPORT, 80), V6, True),
        (match(DPORT, 80, "!="), UDP4, False),
        (match(DPORT, 80, "!="), PING6, False),
        (match(payload("udp", "dport"), {"set": [53, {"range": [80, 90]}]}), UDP4, True),
        (match(payload("ip", "protocol"), "tcp"), V4, True),
        (match(payload("ip6", "nexthdr"), "tcp"), V6, True),
        (match(payload("ip6", "nexthdr"), "tcp"), V4, False),
        (match(meta("l4proto"), "ipv6-icmp"), PING6, True),
        (match(meta("l4proto"), {"set": ["tcp", "udp"]}), PING4, False),
        (match(meta("nfproto"), "ipv6"), V6, True),
        (match(meta("nfproto"), 2), V4, True),
        (match(meta("protocol"), "ip6"), V6, True),
        (match(payload("icmp", "type"), "echo-request"), PING4, True),
        (match(payload("icmp", "type"), {"set": ["echo-reply", "redirect"]}), PING4, False),
        (match(payload("icmpv6", "type"), "echo-request"), PING6, True),
        (match(payload("icmpv6", "type"), 128), PING4, False),
        (match(payload("icmp", "code"), "net-unreachable"), PING4, True),
        ({"xt": {"type": "match", "name": "comment"}}, V4, True),
        (match(meta("iifname"), "eth*"), V4, True),
        (match(meta("iifname"), "eth\\*"), V4, False),
        (match(meta("iif"), "eth0"), V6, True),
        (match(meta("iifname"), "eth*", "!="), V6, False),
        (match(meta("oifname"), "eth0", "!="), V4, True),
        (match(meta("skuid"), 0), V4, False),  # it came in: no process of the node sends it
        (match(meta("skuid"), 0, "!="), V4, False),
    ],
)
def test_families_and_protocols(test, asked, expected):
    assert told(test, tracked(*asked)) is expected


@pytest.mark.parametrize("family", ["ip", "inet"])
@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (match({"concat": [SADDR4, meta("l4proto"), ANY_DPORT]}, "@plain"), True),
        (match({"concat": [SADDR4, meta("l4proto"), ANY_DPORT]}, "@plain", "!="), False),
        (match({"concat": [SADDR4, ANY_DPORT]}, "@nets"), True),
        (match(ANY_DPORT, "@ports"), True),
        (match({"concat": [SADDR4, ANY_DPORT]}, {"concat": ["10.0.0.1", 80]}), True),
        (match(MASKED, 0, "!="), True),
        (match(MASKED, {"set": [0, 0x4000]}), True),
        (match({"<<": [meta("mark"), 1]}, 0x8020), True),
        (match({">>": [meta("mark"), 4]}, 0x401), True),
        (match({"|": [{"&": [meta("mark"), 0xFF]}, 1]}, 0x11), True),
        (match(meta("mark"), ct("mark")), False),
        (match({"&": [SADDR4, "255.255.0.0"]}, "10.0.0.0"), True),
        (match(SADDR4, prefix("10.0.0.1", 24)), False),  # a mask, and bits that no masked value has
    ],
)
def test_sets_and_operations(family, test, expected):
    key = ["ipv4_addr", "inet_service"]
    plain = [{"concat": ["10.0.0.1", "tcp", 80]}]
    nets = [{"concat": [prefix("10.0.0.0", 8), {"range": [70, 90]}]}]
    sets = [
        ("set", {"name": "plain", "type": [key[0], "inet_proto", key[1]], "elem": plain}),
        ("set", {"name": "nets", "type": key, "flags": ["interval"], "elem": nets}),
        ("set", {"name": "ports", "type": {"typeof": DPORT}, "elem": [80, 443]}),
    ]
    assert told(test, tracked(*V4, mark=0x4010), family, sets=sets) is expected


@pytest.mark.parametrize(
    ("state", "test", "expected"),
    [
        (NEW, match(STATE, "new", "in"), True),
        (NEW, match(STATE, ["established", "related"], "in"), False),
        (ESTABLISHED, match(STATE, ["established", "related"], "in"), True),
        (RELATED, match(STATE, {"set": ["established", "related"]}), True),
        (RELATED, match(STATE, "new", "!="), True),
        (INVALID, match(STATE, "invalid", "!"), False),
        (UNTRACKED, match(STATE, 64), True),
        (NEW, match(STATUS, "dnat", "in"), False),
        (INVALID, match(STATUS, "dnat", "!"), False),  # there is no connection to have a status
        (UNTRACKED, match(ct("mark"), 1, "!="), False),
        (ESTABLISHED, match(STATUS, "dnat", "in"), str),
        (ESTABLISHED, match(ct("direction"), "original"), str),
        (ESTABLISHED, match(ct("ip daddr", "original"), "10.0.0.2"), str),
        (RELATED, match(ct("proto-dst", "original"), 80), str),
        (ESTABLISHED, match(ct("mark"), 1), str),
        (ESTABLISHED, match(ct("protocol"), "tcp"), True),
        (NEW, match(ct("daddr", "original"), "10.0.0.2"), True),
        (NEW, match(ct("ip6 daddr", "original"), "::1", "!="), False),
        (NEW, match(ct("zone"), 1), str),
        (NEW, match(payload("tcp", "flags"), "syn", "in"), True),
        (NEW, match({"&": [payload("tcp", "flags"), ["syn", "ack"]]}, "syn"), True),
        (NEW, match(payload("tcp", "flags"), 0), False),
        (NEW, match(payload("tcp", "flags"), "syn"), str),  # it may offer ECN too
        (ESTABLISHED, match(payload("tcp", "flags"), "ack", "in"), True),
        (ESTABLISHED, match(payload("tcp", "flags"), "fin", "in"), str),
    ],
)
def test_conntrack_and_flags(state, test, expected):
    answer = told(test, tracked(*V4, state=state, ct=state))
    assert isinstance(answer, str) if expected is str else answer is expected


def test_what_nat_did_before_is_seen():
    asked = tracked(*V4, ctstatus=32)
    assert told(match(STATUS, "dnat", "in"), asked) is True
    assert told(match(STATUS, ["snat", "dnat"], "in"), asked) is True
    assert told(match(STATUS, "snat", "in"), asked) is False
    asked.dst, asked.dport = asked.dst + 5, 8080
    assert told(match(ct("ip daddr", "original"), "10.0.0.2"), asked) is True
    assert told(match(ct("ip saddr", "reply"), "10.0.0.7"), asked) is True
    assert told(match(ct("proto-src", "reply"), 8080), asked) is True


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (match(SPORT, 53), False),
        (match(SPORT, 53, "!="), True),
        (match(SPORT, 40000), str),
        (match(SPORT, {"range": [1024, 65535]}), True),
        (match(SPORT, {"range": [1024, 65535]}, "!="), False),
        (match(SPORT, 1023, ">"), True),
        (match(SPORT, 40000, ">"), str),
        (match(SPORT, {"set": [22, {"range": [1, 1024]}]}), False),
        (match(SPORT, {"set": [{"range": [1025, 45000]}, {"range": [45001, 65535]}]}), True),
        (match({"concat": [SADDR4, SPORT]}, {"set": [{"concat": ["10.0.0.9", 40000]}]}), False),
        (match({"concat": [SADDR4, SPORT]}, {"set": [{"concat": ["10.0.0.1", 40000]}]}), str),
        (
            match({"concat": [SADDR4, SPORT]}, {"set": [{"concat": ["10.0.0.1", {"range": [1, 65535]}]}]}),
            True,
        ),
    ],
)
def test_a_source_port_that_the_client_picks(test, expected):
    answer = told(test, tracked(*V4))
    assert isinstance(answer, str) if expected is str else answer is expected


@pytest.mark.parametrize(
    ("flags", "asked", "kind", "expected"),
    [
        (["daddr"], ("10.0.0.1", "192.168.0.2", 80), "local", True),
        (["daddr"], ("2001:db8::9", "2001:db8::2", 80), "local", True),
        (["daddr"], V4, "local", False),
        (["daddr"], V4, {"set": ["unicast", "local"]}, True),
        ("saddr", ("192.168.0.2", "10.0.0.1", 80), "local", True),
        (["daddr"], ("10.0.0.1", "224.0.0.5", 80), "multicast", True),
        (["daddr", "iif"], V6, "local", False),
        (["daddr", "iif"], ("10.0.0.1", "192.168.0.2", 80), "local", str),  # it may be another interface's
    ],
)
def test_fib_type(flags, asked, kind, expected):
    answer = told(match({"fib": {"result": "type", "flags": flags}}, kind), tracked(*asked))
    assert isinstance(answer, str) if expected is str else answer is expected


class Routes:
    """Surroundings whose reverse path is known; ``asked`` notes how it was asked for."""

    def __init__(self, answer):
        self.answer = answer
        self.asked = []

    def address_type(self, family, address):
        return None

    def reverse_path_ok(self, packet, loose):
        self.asked.append(loose)
        return self.answer


@pytest.mark.parametrize("answer", [True, False, "routes are not known"])
@pytest.mark.parametrize(("flags", "loose"), [(["saddr", "iif"], False), (["saddr", "mark"], True)])
def test_reverse_path(answer, flags, loose):
    routes = Routes(answer)
    fib = {"fib": {"result": "oif", "flags": flags}}
    for right, op, same in ((True, "==", True), (False, "==", False), (False, "!=", True)):
        given = told(match(fib, right, op), tracked(*V6), surroundings=routes)
        assert given == (answer if isinstance(answer, str) else answer is same)
    assert routes.asked == [loose] * 3
    kind = match({"fib": {"result": "type", "flags": ["daddr"]}}, "local")
    assert isinstance(told(kind, tracked(*V4), surroundings=routes), str)


@pytest.mark.parametrize(
    ("test", "names"),
    [
        (match(meta("cpu"), 1), "meta cpu"),
        (match({"socket": {"key": "transparent"}}, 1), "socket transparent"),
        (match({"rt": {"key": "mtu"}}, 1), "rt mtu"),
        (match({"osf": {"key": "name"}}, "Linux"), "osf name"),
        (match({"exthdr": {"name": "frag"}}, True), "exthdr frag"),
        (match({"tcp option": {"name": "maxseg", "field": "size"}}, 500), "tcp option maxseg"),
        (match({"payload": {"base": "nh", "offset": 128, "len": 32}}, 1), "@nh,128,32"),
        (match({"jhash": {"mod": 2, "expr": SADDR4}}, 0), "jhash"),
        (match({"newthing": {"key": "x"}}, 1), "newthing x"),
        (match(payload("ip", "ttl"), 5), "ip ttl"),
        (match(payload("tcp", "window"), 5), "tcp window"),
        (match(ct("helper"), "ftp"), "ct helper"),
        (match(DPORT, "ssh"), "'ssh'"),
        (match(meta("l4proto"), {"set": ["tcp", "nosuch"]}), "'nosuch'"),
        (match(SADDR4, "10.0.0.300"), "10.0.0.300"),
        (match(DPORT, "@nosuch"), "set nosuch"),
        (match(DPORT, 80, "like"), "'like'"),
        (match({"concat": [DPORT, SADDR4]}, 80, "<"), "<"),
        ({"match": {"op": "=="}}, "match"),
        ({"xt": {"type": "match", "name": "bpf"}}, "bpf"),
    ],
)
def test_what_is_not_modelled_is_named_and_may_still_not_match(test, names):
    answer = told(test, tracked(*V4))
    assert isinstance(answer, str)
    assert names in answer
    rules = ruleset([test, match(payload("tcp", "dport"), 81), {"accept": None}])
    assert holds(rules.chain("inet t", "base").rule(1).tests, tracked(*V4)) is False


def test_what_another_protocol_does_not_have_is_known():
    assert told(match(payload("tcp", "window"), 5), tracked(*UDP4)) is False
    assert told(match(payload("ip", "ttl"), 5), tracked(*V6)) is False
    assert told(match({"tcp option": {"name": "maxseg"}}, True), tracked(*UDP4)) is False
    assert told(match(DPORT, "ssh"), tracked(*UDP4)) is False


def test_a_port_of_icmp_decides_only_where_the_protocol_does_not():
    key = {"concat": [payload("ip", "daddr"), meta("l4proto"), ANY_DPORT]}
    assert told(match(key, {"set": [{"concat": ["10.0.0.2", "tcp", 80]}]}), tracked(*PING4)) is False
    assert isinstance(told(match(ANY_DPORT, 80), tracked(*PING4)), str)


def test_a_locally_made_packet():
    asked = tracked(*V4, iif="", local=True)
    assert isinstance(told(match(meta("skuid"), 0), asked), str)
    assert told(match(meta("iifname"), "eth0", "!="), asked) is True
    assert isinstance(told(match(meta("oifname"), "eth0"), tracked(*V4, oif=None)), str)
