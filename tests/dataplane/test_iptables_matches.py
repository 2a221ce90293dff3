"""Every match of iptables: which packets it takes, which it leaves, and when that cannot be said."""

import pytest
from iptablesdump import OWN, asked, dump, endings, holds_for, rule, ruleset

from svcdoctor.dataplane.evaluate import DROPPED, POLICY, UNKNOWN
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.packet import DNATTED, ESTABLISHED, INVALID, RELATED, SNATTED, UNTRACKED
from svcdoctor.dataplane.surroundings import PlainSurroundings

V4, V6 = asked(4), asked(6)


def agrees(answer, expected):
    return (
        answer is expected if isinstance(expected, bool) else isinstance(answer, str) and expected in answer
    )


def check(words, live, expected):
    answer = holds_for(words, live)
    assert agrees(answer, expected), f"{words}: {answer!r}, not {expected!r}"


@pytest.mark.parametrize(
    ("family", "words", "expected"),
    [
        (4, "-s 198.51.100.7/32", True),
        (4, "-s 198.51.100.7", True),
        (4, "-s 198.51.100.8/32", False),
        (4, "! -s 198.51.100.7/32", False),
        (4, "! -s 198.51.100.0/25", False),
        (4, "-s ! 198.51.100.7", False),
        (4, "-d 10.0.0.0/8 ! -s 10.0.0.0/8", True),
        (4, "-d 10.0.0.0/255.0.0.255", False),
        (4, "-d 10.9.9.1/255.0.0.255", True),
        (4, "-d 0.0.0.0/0", True),
        (4, "-d fd00::1/128", "cannot be read"),
        (4, "-d 10.0.0.1/33", "cannot be read"),
        (6, "-s 2001:db8:ff::7/128", True),
        (6, "-s 2001:db8::/32 -d fd00::/8", True),
        (6, "! -d fd00::1/128", False),
        (6, "-d fd00::9:1/ffff::ffff", True),
        (6, "-d ::ffff:10.0.0.1/128", False),
        (6, "-d 10.0.0.1/32", "cannot be read"),
    ],
)
def test_addresses(family, words, expected):
    text = f"T {words}"
    if expected == "cannot be read" and (":" in words) == (family == 4):
        # The reader refuses a table of mixed families; here is what becomes of one rule by itself.
        live = asked(family)
        rules = ruleset(dump("filter", "T -j ACCEPT", family=family))
        chain = rules.chain("filter", "T")
        translated = chain.dialect.translate(chain, 1, b"-A " + text.encode() + b" -j ACCEPT")
        assert expected in translated.tests[0](live)
    else:
        check(words, asked(family), expected)


@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        ("-i eth0", {"iif": "eth0"}, True),
        ("-i eth0", {"iif": "eth01"}, False),
        ("-i eth+", {"iif": "eth01"}, True),
        ("! -i eth+", {"iif": "eth01"}, False),
        ("-i +", {"iif": None}, True),
        ("-i eth0", {"iif": None}, "comes in"),
        ("! -i eth0", {"iif": None}, "comes in"),
        ("-i lo", {"iif": None}, False),
        ("! -i lo", {"iif": None}, True),
        ("-i lo", {"iif": None, "src": OWN}, "comes in"),
        ("-i lo", {"iif": None, "local": True}, "comes in"),
        ("-i eth0", {"iif": ""}, False),
        ("! -i eth0", {"iif": ""}, True),
        ("-o eth0", {"oif": "eth0"}, True),
        ("-o eth0", {"oif": None}, "goes out"),
        ("-o lo", {"oif": None}, False),
        ("-o lo", {"oif": None, "dst": OWN}, "goes out"),
        ("! -o veth+", {"oif": "vethab"}, False),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_interfaces(family, words, fields, expected):
    own = {name: value[family == 6] for name, value in fields.items() if value is OWN}
    check(words, asked(family, **{**fields, **own}), expected)


@pytest.mark.parametrize(
    ("family", "proto", "words", "expected"),
    [
        (4, "tcp", "-p tcp", True),
        (4, "tcp", "-p 6", True),
        (4, "tcp", "-p all", True),
        (4, "tcp", "-p 0", True),
        (4, "tcp", "! -p tcp", False),
        (4, "udp", "! -p tcp", True),
        (4, "udp", "-p tcp", False),
        (4, "icmp", "-p icmp", True),
        (4, "sctp", "-p sctp", True),
        (4, "tcp", "-p vrrp", False),
        (4, "tcp", "-p nobodys", "cannot be read"),
        (6, "icmpv6", "-p ipv6-icmp", True),
        (6, "icmpv6", "-p icmpv6", True),
        (6, "tcp", "! -p udp", True),
        (6, "udp", "-p udplite", False),
    ],
)
def test_protocols(family, proto, words, expected):
    check(words, asked(family, proto), expected)


def test_a_first_packet_is_no_later_fragment():
    check("-f", V4, False)
    check("! -f", V4, True)


@pytest.mark.parametrize("proto", ["tcp", "udp", "sctp", "dccp", "udplite"])
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        ("--dport 80", {}, True),
        ("! --dport 80", {}, False),
        ("--dport 79:81", {}, True),
        ("--dport :79", {}, False),
        ("--dport 80:", {}, True),
        ("--dport 80", {"dport": None}, "destination port"),
        ("! --dport 80", {"dport": None}, "destination port"),
        ("--sport 40000", {"sport": 40000}, True),
        ("! --sport 40000", {"sport": 40000}, False),
        ("--sport 40000", {}, "source port"),
        ("! --sport 40000", {}, "source port"),
        ("--sport 1024:65535", {}, True),
        ("--sport 32768:60999", {}, True),
        ("--sport 32769:60999", {}, "source port"),
        ("--sport 0:1023", {}, False),
        ("! --sport 0:1023", {}, True),
        ("--sport 61000:", {}, False),
        ("--dport 80:70000", {}, "cannot be read"),
        ("--dport http", {}, "cannot be read"),
    ],
)
def test_ports(family, proto, words, fields, expected):
    check(f"-p {proto} -m {proto} {words}", asked(family, proto, **fields), expected)
    if expected != "cannot be read":
        check(f"-p {proto} {words}", asked(family, proto, **fields), expected)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("words", "fields", "expected"),
    [
        ("--dports 22,80,443", {}, True),
        ("! --dports 22,80,443", {}, False),
        ("--dports 22,1000:2000", {}, False),
        ("--sports 22,32768:50000,50001:60999", {}, True),
        ("--sports 22,32768:50000", {}, "source port"),
        ("! --sports 22,80", {}, True),
        ("--ports 80,22", {}, True),
        ("--ports 22", {}, False),
        ("! --ports 22", {}, True),
        ("--ports 22,40000", {}, "source port"),
        ("--ports 22,40000", {"sport": 40000}, True),
        ("--ports 22,40000", {"dport": None}, "port is not known"),
        ("--ports 22", {"dport": None}, "destination port"),
    ],
)
def test_multiport(family, words, fields, expected):
    check(f"-p tcp -m multiport {words}", asked(family, **fields), expected)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("words", "state", "expected"),
    [
        ("--syn", None, True),
        ("! --syn", None, False),
        ("--tcp-flags FIN,SYN,RST,ACK SYN", None, True),
        ("! --tcp-flags FIN,SYN,RST,ACK SYN", None, False),
        ("--tcp-flags SYN,RST SYN", None, True),
        ("--tcp-flags ALL NONE", None, False),
        ("--tcp-flags RST RST", None, False),
        ("--tcp-flags SYN,ACK SYN,ACK", None, False),
        ("--syn", ESTABLISHED, "flags"),
        ("! --syn", ESTABLISHED, "flags"),
        ("--tcp-option 8", None, "--tcp-option"),
        ("--tcp-flags BAD NONE", None, "cannot be read"),
    ],
)
def test_tcp_flags(family, words, state, expected):
    live = asked(family)
    if state is not None:
        live.state = live.ct = state
    check(f"-p tcp -m tcp {words}", live, expected)


def test_icmp_types():
    check("-p icmp -m icmp --icmp-type any", asked(4, "icmp"), True)
    check("-p icmp -m icmp --icmp-type 8", asked(4, "icmp"), "ICMP")
    check("-p icmp -m icmp ! --icmp-type 8/0", asked(4, "icmp"), "ICMP")
    check("-p icmp -m icmp --icmp-type 8", asked(4, "tcp"), False)
    check("-p ipv6-icmp -m icmp6 --icmpv6-type 128", asked(6, "icmpv6"), "ICMP")


@pytest.mark.parametrize(
    ("family", "words", "expected"),
    [
        (4, "--src-range 198.51.100.0-198.51.100.9", True),
        (4, "! --src-range 198.51.100.0-198.51.100.9", False),
        (4, "--dst-range 10.0.0.2-10.0.0.9", False),
        (4, "--dst-range 10.0.0.1", True),
        (4, "--src-range 198.51.100.7-198.51.100.7 --dst-range 10.0.0.0-10.0.0.1", True),
        (4, "--src-range nobody", "cannot be read"),
        (6, "--dst-range fd00::-fd00::ff", True),
        (6, "! --dst-range fd00::2-fd00::ff", True),
    ],
)
def test_iprange(family, words, expected):
    check(f"-m iprange {words}", asked(family), expected)


class NobodyKnows(PlainSurroundings):
    def is_local(self, family, address):
        return "not asked"

    def address_type(self, family, address):
        return None


@pytest.mark.parametrize(
    ("dst", "words", "expected"),
    [
        ("192.0.2.1", "--dst-type LOCAL", True),
        ("127.3.4.5", "--dst-type LOCAL", True),
        ("10.0.0.1", "--dst-type LOCAL", False),
        ("10.0.0.1", "! --dst-type LOCAL", True),
        ("10.0.0.1", "--dst-type UNICAST", True),
        ("192.0.2.1", "--dst-type UNICAST", False),
        ("192.0.2.1", "--dst-type UNICAST,LOCAL", True),
        ("224.0.0.1", "--dst-type MULTICAST", True),
        ("224.0.0.1", "! --dst-type MULTICAST", False),
        ("255.255.255.255", "--dst-type BROADCAST", True),
        ("255.255.255.255", "--dst-type BROADCAST --limit-iface-in", True),
        ("0.0.0.0", "--dst-type BROADCAST", True),
        ("10.0.0.1", "--src-type LOCAL", False),
        ("10.0.0.1", "--src-type UNICAST --dst-type UNICAST", True),
        ("192.0.2.1", "--src-type UNICAST ! --dst-type LOCAL", False),
        ("192.0.2.1", "--dst-type LOCAL --limit-iface-in", "which interface"),
        ("10.0.0.1", "--dst-type LOCAL --limit-iface-in", False),
        ("192.0.2.1", "--dst-type UNICAST,LOCAL --limit-iface-out", True),
        ("192.0.2.1", "--dst-type MULTICAST --limit-iface-out", False),
        ("10.0.0.1", "--dst-type NOBODY", "cannot be read"),
        # IPv6 demands every type that is named; an address of the node is unicast as well.
        ("2001:db8::1", "--dst-type LOCAL", True),
        ("::1", "--dst-type LOCAL", True),
        ("fd00::1", "--dst-type LOCAL", False),
        ("fd00::1", "! --dst-type LOCAL", True),
        ("2001:db8::1", "--dst-type UNICAST", True),
        ("fd00::1", "--dst-type UNICAST,LOCAL", False),
        ("2001:db8::1", "--dst-type UNICAST,LOCAL", True),
        ("ff02::1", "--dst-type MULTICAST", True),
        ("ff02::1", "--dst-type UNICAST", False),
        ("ff02::1", "--dst-type UNICAST,MULTICAST", False),
        ("::", "--dst-type UNSPEC", True),
        ("2001:db8::1", "--dst-type LOCAL --limit-iface-in", "which interface"),
        ("fd00::1", "--src-type UNICAST ! --dst-type LOCAL", True),
    ],
)
def test_addrtype(dst, words, expected):
    check(f"-m addrtype {words}", asked(6 if ":" in dst else 4, dst=dst), expected)


@pytest.mark.parametrize(("family", "live"), [(4, V4), (6, V6)])
def test_addrtype_of_an_address_that_nobody_knows(family, live):
    nobody = NobodyKnows()
    assert "is not known" in holds_for("-m addrtype --dst-type LOCAL", live, nobody)
    assert "is not known" in holds_for("-m addrtype ! --dst-type LOCAL", live, nobody)
    assert "comes in" in holds_for("-i lo", asked(family, iif=None), nobody)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("mark", "words", "expected"),
    [
        (0x4000, "--mark 0x4000/0x4000", True),
        (0x4001, "--mark 0x4000/0x4000", True),
        (0x4001, "--mark 0x4000", False),
        (0x4000, "! --mark 0x4000/0x4000", False),
        (0, "! --mark 0x4000/0x4000", True),
        (16, "--mark 16", True),
        (0, "--mark 0x100000000", "cannot be read"),
        (0, "--mark x", "cannot be read"),
    ],
)
def test_mark(family, mark, words, expected):
    check(f"-m mark {words}", asked(family, mark=mark), expected)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("ct", "words", "expected"),
    [
        (None, "--mark 0x1/0x1", True),
        (None, "! --mark 0x1/0x1", False),
        (None, "--mark 0x2", False),
        (INVALID, "--mark 0x1/0x1", False),
        (INVALID, "! --mark 0x1/0x1", False),
        (UNTRACKED, "! --mark 0x1/0x1", False),
        (ESTABLISHED, "--mark 0x1/0x1", "exists already"),
    ],
)
def test_connmark(family, ct, words, expected):
    live = asked(family, ctmark=1)
    live.ct = ct if ct is not None else live.ct
    check(f"-m connmark {words}", live, expected)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("ct", "status", "words", "expected"),
    [
        (None, 0, "--ctstate NEW", True),
        (None, 0, "! --ctstate NEW", False),
        (None, 0, "--ctstate RELATED,ESTABLISHED", False),
        (ESTABLISHED, 0, "--ctstate RELATED,ESTABLISHED", True),
        (RELATED, 0, "--ctstate RELATED,ESTABLISHED", True),
        (INVALID, 0, "--ctstate INVALID", True),
        (INVALID, 0, "! --ctstate NEW", True),
        (UNTRACKED, 0, "--ctstate UNTRACKED", True),
        (UNTRACKED, 0, "--ctstate INVALID", False),
        (None, 0, "--ctstate DNAT", False),
        (None, DNATTED, "--ctstate DNAT", True),
        (None, DNATTED, "--ctstate SNAT", False),
        (None, SNATTED, "--ctstate SNAT,INVALID", True),
        (None, DNATTED, "! --ctstate RELATED,ESTABLISHED,DNAT", False),
        (None, 0, "! --ctstate RELATED,ESTABLISHED,DNAT", True),
        (ESTABLISHED, 0, "! --ctstate RELATED,ESTABLISHED,DNAT", False),
        (ESTABLISHED, 0, "--ctstate DNAT", "exists already"),
        (INVALID, DNATTED, "--ctstate DNAT", False),
        (None, 0, "--ctstate NOWHERE", "cannot be read"),
        (None, 0, "--ctproto tcp", True),
        (None, 0, "! --ctproto 6", False),
        (None, 0, "--ctdir ORIGINAL", True),
        (None, 0, "--ctdir REPLY", False),
        (ESTABLISHED, 0, "--ctdir ORIGINAL", "exists already"),
        (None, 0, "--ctstatus NONE", False),
        (None, 0, "--ctstatus CONFIRMED", False),
        (None, 0, "! --ctstatus EXPECTED,ASSURED", True),
        (ESTABLISHED, 0, "--ctstatus SEEN_REPLY", True),
        (ESTABLISHED, 0, "--ctstatus ASSURED", "exists already"),
        (None, 0, "--ctorigdstport 80", True),
        (None, 0, "! --ctorigdstport 79:81", False),
        (None, 0, "--ctorigsrcport 1024:65535", True),
        (None, 0, "--ctorigsrcport 40000", "source port"),
        (None, 0, "--ctreplsrcport 80", True),
        (None, 0, "--ctrepldstport 80", False),
        (None, 0, "--ctexpire 10:20", "expires"),
        # Without a connection the kernel compares the state and nothing else.
        (INVALID, 0, "--ctproto udp", False),
        (INVALID, 0, "! --ctproto udp", False),
        (INVALID, 0, "--ctstate INVALID --ctproto udp", True),
        (INVALID, 0, "--ctstate NEW --ctproto tcp", False),
        (None, 0, "--ctstate NEW --ctproto udp", False),
    ],
)
def test_conntrack(family, ct, status, words, expected):
    live = asked(family, ctstatus=status)
    live.ct = ct if ct is not None else live.ct
    check(f"-m conntrack {words}", live, expected)


@pytest.mark.parametrize(
    ("family", "words", "expected"),
    [
        (4, "--ctorigsrc 198.51.100.7", True),
        (4, "--ctorigdst 10.0.0.1/32", True),
        (4, "--ctorigdst 10.9.0.0/16", False),
        (4, "! --ctorigdst 10.9.0.0/16", True),
        (4, "--ctreplsrc 10.9.0.1", True),
        (4, "--ctrepldst 198.51.100.0/24", True),
        (6, "--ctorigdst fd00::/16", True),
        (6, "--ctreplsrc fd00::9", True),
        (6, "! --ctorigsrc 2001:db8:ff::7", False),
    ],
)
def test_conntrack_tuples(family, words, expected):
    live = asked(family)
    live.dst = asked(family, dst="10.9.0.1" if family == 4 else "fd00::9").dst  # translated
    check(f"-m conntrack {words}", live, expected)


def test_a_packet_that_left_by_lo_is_confirmed():
    check("-m conntrack --ctstatus CONFIRMED", asked(local=True, iif="lo"), True)


@pytest.mark.parametrize("family", [4, 6])
def test_state(family):
    check("-m state --state NEW", asked(family), True)
    check("-m state ! --state NEW", asked(family), False)
    check("-m state --state RELATED,ESTABLISHED", asked(family, ct=ESTABLISHED), True)
    check("-m state --state INVALID", asked(family, ct=INVALID), True)


@pytest.mark.parametrize(
    ("words", "probability"),
    [
        ("--mode random --probability 0.25000000000", 0.25),
        ("--mode random ! --probability 0.25000000000", 0.75),
        ("--mode random --probability 1.0", 1.0),
        ("--mode random --probability 0.00000000000", 0.0),
        ("--mode nth --every 4 --packet 0", 0.25),
        ("--mode nth ! --every 4 --packet 3", 0.75),
        ("--mode nth --every 1 --packet 0", 1.0),
    ],
)
@pytest.mark.parametrize("family", [4, 6])
def test_statistic(family, words, probability):
    rules = ruleset(dump("filter", f"INPUT -m statistic {words} -j DROP", family=family))
    found = {how: live.probability for how, live, _ in endings(rules, "filter", "input", asked(family))}
    assert found.get(DROPPED, 0.0) == probability
    assert found.get(POLICY, 0.0) == 1.0 - probability


@pytest.mark.parametrize("words", ["--mode random --probability 2", "--mode nth", "--mode nth --every 0"])
def test_statistic_that_cannot_be(words):
    check(f"-m statistic {words}", V4, "cannot be read")


AFFINITY = "--name LIST --mask 255.255.255.255 --rsource"


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("words", "held", "expected"),
    [
        ("--rcheck --seconds 10800 --reap", True, True),
        ("--rcheck --seconds 10800 --reap", False, False),
        ("! --rcheck --seconds 10", True, False),
        ("! --rcheck --seconds 10", False, True),
        ("--update --seconds 60", True, True),
        ("--update --seconds 60", False, False),
        ("--rcheck --hitcount 1", True, True),
        ("--rcheck --hitcount 4", True, "how often"),
        ("--rcheck --hitcount 4", False, False),
        ("--rcheck --rttl", True, "TTL"),
        ("--rcheck --rttl", False, False),
        ("--remove", False, False),
        ("! --remove", False, True),
        ("! --remove", True, False),
        ("--seconds 10", True, "cannot be read"),
    ],
)
def test_recent(family, words, held, expected):
    live = asked(family, remembered=frozenset({"LIST"} if held else {"OTHER"}))
    check(f"-m recent {words} {AFFINITY}", live, expected)


def test_recent_by_destination_is_not_known():
    check("-m recent --rcheck --name LIST --rdest", asked(remembered=frozenset({"LIST"})), "destinations")


@pytest.mark.parametrize("family", [4, 6])
def test_recent_remembers_and_forgets(family):
    rules = ruleset(
        dump(
            "filter",
            f"INPUT -p udp -m recent --set {AFFINITY} -j DROP",
            f"INPUT -m recent --set {AFFINITY}",
            "INPUT -m recent --rcheck --name LIST -m recent --remove --name LIST",
            "INPUT -m recent --rcheck --name LIST -j DROP",
            "INPUT -m recent ! --set --name DEFAULT -j DROP",
            family=family,
        )
    )
    [(how, live, _)] = endings(rules, "filter", "input", asked(family))
    assert how == POLICY
    assert live.remembered == {"DEFAULT"}


def test_what_follows_a_change_is_tested_after_it():
    rules = ruleset(
        dump(
            "filter",
            "INPUT -m recent --set --name A -m recent --rcheck --name A -m mark --mark 1 -j DROP",
            "INPUT -m recent --rcheck --name A -j ACCEPT",
        )
    )
    for mark, expected in ((1, DROPPED), (0, 0)):
        [(how, live, _)] = endings(rules, "filter", "input", asked(mark=mark))
        assert how == expected
        assert live.remembered == {"A"}


def test_a_list_is_set_only_where_chance_lets_the_rule_go_on():
    match = "-m statistic --mode random --probability 0.5 -m recent --set --name A"
    rules = ruleset(dump("filter", f"INPUT {match} -j DROP"))
    found = {
        how: (live.probability, set(live.remembered))
        for how, live, _ in endings(rules, "filter", "input", asked())
    }
    assert found == {DROPPED: (0.5, {"A"}), POLICY: (0.5, set())}


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "words",
    [
        '-m comment --comment "a \\"quoted\\" \\\\ comment -j DROP"',
        "-m comment --comment -m",
        '-m comment --comment "!"',
        "-m nfacct --nfacct-name localhost_nps_accepted_pkts",
        "-m limit --limit 5/min --limit-burst 7",
    ],
)
def test_matches_that_every_packet_passes(family, words):
    found = rule(f"{words} -p tcp -j ACCEPT", family)
    assert [op for op, _ in found.actions] == [Op.ACCEPT]
    check(words, asked(family), True)


class Sets(PlainSurroundings):
    def __init__(self, answer):
        super().__init__(OWN)
        self.answer = answer
        self.asked = []

    def in_set(self, name, packet, directions):
        self.asked.append((name, packet.dport, directions))
        return self.answer

    def reverse_path_ok(self, packet, loose):
        self.asked.append((packet.iif, loose))
        return self.answer


@pytest.mark.parametrize("live", [V4, V6])
def test_set(live):
    for answer in (True, False, "no such set"):
        sets = Sets(answer)
        assert holds_for("-m set --match-set X dst,dst", live, sets) == answer
        assert sets.asked == [("X", 80, ("dst", "dst"))]
        negated = holds_for("-m set ! --match-set X src", live, sets)
        assert negated == (answer if isinstance(answer, str) else not answer)
    assert "packets-gt" in holds_for("-m set --match-set X src --packets-gt 3", live, Sets(True))
    assert holds_for("-m set --match-set X src ! --update-counters", live, Sets(True)) is True
    check("-m set --match-set X src", live, "ipset X")
    check("-m set --match-set X up", live, "cannot be read")


@pytest.mark.parametrize("family", [4, 6])
def test_rpfilter(family):
    live = asked(family, iif="eth0")
    own = asked(family, iif="eth0", src=OWN[family == 6])
    for answer in (True, False, "no routes"):
        sets = Sets(answer)
        assert holds_for("-m rpfilter", live, sets) == answer
        assert holds_for("-m rpfilter --loose", live, sets) == answer
        assert sets.asked == [("eth0", False), ("eth0", True)]
        inverted = holds_for("-m rpfilter --invert --validmark", live, sets)
        assert inverted == (answer if isinstance(answer, str) else not answer)
        assert holds_for("-m rpfilter", own, sets) is False
        assert holds_for("-m rpfilter --accept-local", own, sets) == answer
        assert holds_for("-m rpfilter", asked(family, local=True, iif="lo"), sets) is True
    check("-m rpfilter", live, "routes")


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("words", "local", "expected"),
    [
        ("--uid-owner 0", False, False),
        ("! --uid-owner 0", False, True),
        ("! --uid-owner 0 --gid-owner 1", False, False),
        ("--uid-owner 0", True, "which user"),
        ("! --gid-owner 0-99 --suppl-groups", True, "which user"),
        ("--socket-exists", False, False),
        ("--socket-exists", True, True),
        ("! --socket-exists", True, False),
        ("! --socket-exists", False, True),
    ],
)
def test_owner(family, words, local, expected):
    check(f"-m owner {words}", asked(family, local=local), expected)


@pytest.mark.parametrize("family", [4, 6])
def test_physdev(family):
    check("-m physdev --physdev-is-bridged", asked(family), "bridge")
    check("-m physdev ! --physdev-is-bridged", asked(family), "bridge")
    check("-m physdev --physdev-in veth0", asked(family, local=True), False)
    check("-m physdev ! --physdev-is-bridged", asked(family, local=True), True)


UNMODELLED = [
    "-m u32 --u32 0x0>>0x16&0x3c@0x8=0x1",
    '-m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0"',
    '-m string --string "-j" --algo bm --to 65535',
    "-m time --timestart 08:00:00 --timestop 17:00:00",
    "-m cgroup --path system.slice",
    "-m hashlimit --hashlimit-above 5/sec --hashlimit-burst 5 --hashlimit-name x",
    "-m length ! --length 20:40",
    "-m pkttype --pkt-type broadcast",
    "-m ttl --ttl-eq 1",
    "-m nobodys --option",
]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("words", UNMODELLED)
def test_what_is_not_modelled_is_unknown_and_says_which(family, words):
    module = words.split()[1]
    for target in ("DROP", "ACCEPT"):
        rules = ruleset(dump("filter", f"INPUT -p tcp {words} -j {target}", family=family))
        [(how, live, why)] = endings(rules, "filter", "input", asked(family))
        assert how == UNKNOWN
        assert module in why
        assert live.trail[0].number == 1
        # What another test excludes needs no answer of the unknown one; nor does a rule that only counts.
        assert endings(rules, "filter", "input", asked(family, "udp"))[0][0] == POLICY
    counting = ruleset(
        dump("filter", f"INPUT {words}", f"INPUT {words} -j LOG --log-prefix x", family=family)
    )
    assert endings(counting, "filter", "input", asked(family))[0][0] == POLICY


@pytest.mark.parametrize(
    "words",
    [
        '-m comment --comment "open',
        "-p",
        "--dport 80 -j DROP",
        "-m tcp --nothing 1",
        "-x",
        "[unsupported match] -j DROP",
    ],
)
def test_a_rule_that_cannot_be_read_is_unknown(words):
    rules = ruleset(dump("filter", f"INPUT {words}" if "-j" in words else f"INPUT {words} -j DROP"))
    [(how, _, why)] = endings(rules, "filter", "input", asked())
    assert how == UNKNOWN
    assert "INPUT" in why or "unsupported" in why
