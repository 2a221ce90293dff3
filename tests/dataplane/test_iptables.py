"""iptables' rulesets: base chains and their priorities, texts and counters, and looking rules up in long chains."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from iptablesdump import asked, dump, endings, rule, ruleset

from svcdoctor.dataplane import iptables
from svcdoctor.dataplane.evaluate import ACCEPTED, DROPPED, POLICY, UNKNOWN, holds
from svcdoctor.dataplane.iptableskeys import demanded
from svcdoctor.dataplane.language import LONG
from svcdoctor.dataplane.packet import NEW, Packet
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.iptablessave import read_iptables_save


@pytest.mark.parametrize("family", [4, 6])
def test_base_chains(family):
    text = "".join(dump(table, family=family) for table in ("raw", "mangle", "nat", "filter", "security"))
    found = {(b.chain.table, b.hook): b for b in ruleset(text).base_chains()}
    priorities = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
    for (table, hook), base in found.items():
        nat = 100 if hook in ("input", "postrouting") else -100
        assert base.priority == priorities.get(table, nat)
        kind = "nat" if table == "nat" else "route" if (table, hook) == ("mangle", "output") else "filter"
        assert (base.kind, base.families, base.backend) == (kind, {family}, "iptables-nft")
        assert base.accepts
    assert {hook for table, hook in found if table == "filter"} == {"input", "forward", "output"}


def test_policies_and_backends():
    text = dump("filter", policy="DROP").replace(" (nf_tables)", "")
    rules = ruleset(text)
    assert rules.backend == "iptables-legacy"
    assert not any(base.accepts for base in rules.base_chains())
    assert endings(rules, "filter", "forward", asked())[0][0] == DROPPED


def test_chains_are_made_once_and_others_are_none():
    rules = ruleset(dump("nat", "A -j B", chains=("B",)))
    assert rules.tables() == ["nat"]
    assert rules.chains("nat") == ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING", "B", "A"]
    assert rules.chain("nat", "A") is rules.chain("nat", "A")
    assert len(rules.chain("nat", "B")) == 0
    assert rules.chain("nat", "C") is None
    assert rules.chain("filter", "A") is None
    assert rules.chains("filter") == []


@pytest.mark.parametrize("ending", ["", "\r"])
def test_text_and_counters(ending):
    words = '-s 10.0.0.0/8 -m comment --comment "über \\"x\\"" -j ACCEPT'
    text = dump("filter", f"INPUT {words}", "INPUT").replace("-A INPUT -s", "[12:345] -A INPUT -s")
    rules = ruleset(text.replace("\n", ending + "\n"))
    first, second = rules.chain("filter", "INPUT").rules()
    assert (first.text, first.packets) == (words, 12)
    assert (second.text, second.packets) == ("", None)
    assert str(first) == f"filter INPUT #1: {words}"


@pytest.mark.parametrize(
    ("family", "rule", "key"),
    [
        (4, "-d 10.0.0.1/32 -p tcp -m tcp --dport 80 -j X", (0x0A000001, None)),
        (4, "! -s 10.0.0.0/8 -d 10.0.0.1/32 -j X", (0x0A000001, None)),
        (4, "-s 10.0.0.0/8 -d 10.0.0.1/32 -j X", (0x0A000001, None)),
        (4, "! -d 10.0.0.1/32 -j X", (None, None)),
        (4, "-d 10.0.0.0/31 -j X", (None, None)),
        (4, "-d 10.0.0.300/32 -j X", (None, None)),
        (4, '-p tcp -m comment --comment "x" -m tcp --dport 80 -j X', (None, 80)),
        (4, "-p tcp -m tcp ! --dport 80 -j X", (None, None)),
        (4, "-p tcp -m tcp --dport 80:90 -j X", (None, None)),
        (4, "-p tcp -m multiport --dports 80 -j X", (None, None)),
        (4, '-m comment --comment "-p tcp --dport 80 " -j X', (None, None)),
        (4, '-m comment --comment "\\" --dport 80 " -p tcp -m tcp --dport 90', (None, 90)),
        (4, "-p tcp -m tcp --sport 80 -j X", (None, None)),
        (6, "-d fd00::1/128 -p tcp -m tcp --dport 80 -j X", (0xFD << 120 | 1, None)),
        (6, "-d ::ffff:1.2.3.4/128 -j X", (0xFFFF01020304, None)),
        (6, "-d fd00::/64 -p udp -m udp --dport 53 -j X", (None, 53)),
        (6, "! -d fd00::1/128 -j X", (None, None)),
    ],
)
def test_keys(family, rule, key):
    assert demanded(b"-A CHAIN " + rule.encode(), family) == key
    assert demanded(b"[1:2] -A CHAIN " + rule.encode(), family) == key


ADDRESSES = {4: ["10.0.0.1", "10.0.0.2", "10.0.0.11"], 6: ["fd00::1", "fd00::2", "::ffff:10.0.0.1"]}
PORTS = [8, 80, 8080]


@st.composite
def rule_lines(draw, family):
    addresses, bits = (
        st.sampled_from(ADDRESSES[family]),
        st.sampled_from([24, 32] if family == 4 else [64, 128]),
    )
    words = []
    for option in ("-s", "-d"):
        if draw(st.booleans()):
            words.append(f"{draw(st.sampled_from(['', '! ']))}{option} {draw(addresses)}/{draw(bits)}")
    words.append("-p tcp")
    if draw(st.booleans()):
        words.append(
            draw(st.sampled_from(['-m comment --comment "a --dport 8 b"', "-m comment --comment x"]))
        )
    if draw(st.booleans()):
        words.append(f"-m tcp {draw(st.sampled_from(['', '! ']))}--dport {draw(st.sampled_from(PORTS))}")
    return " ".join(words)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("many", [0, 10**9], ids=["scanned", "indexed"])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_looking_up_leaves_out_only_what_does_not_match(family, many, data):
    lines = data.draw(st.lists(rule_lines(family), min_size=LONG, max_size=60))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iptables, "SCANNED", many or 1)
        rules = ruleset(dump("filter", *(f"T {line} -j ACCEPT" for line in lines), family=family))
        chain = rules.chain("filter", "T")
        for _ in range(4):
            src, dst = (data.draw(st.sampled_from(ADDRESSES[family])) for _ in range(2))
            live = asked(family, src=src, dst=dst, dport=data.draw(st.sampled_from([*PORTS, None])))
            matching = [rule.number for rule in chain.rules() if holds(rule.tests, live) is not False]
            found = [rule.number for rule in chain.for_packet(live)]
            assert found == sorted(found)
            assert [n for n in found if holds(chain.rule(n).tests, live) is not False] == matching
            assert chain.for_packet(live) is chain.for_packet(live)


@pytest.mark.parametrize("family", [4, 6])
def test_a_long_blocklist_is_not_translated(family):
    listed = [f"10.{n >> 8}.{n & 255}.1/32" if family == 4 else f"fd00::{n:x}:1/128" for n in range(5000)]
    rules = ruleset(dump("filter", *(f"INPUT -s {a} -j DROP" for a in listed), family=family))
    chain = rules.chain("filter", "INPUT")
    blocked = asked(family, src=listed[4711].partition("/")[0])
    for live, how in ((asked(family), POLICY), (blocked, DROPPED)):
        assert len(chain.for_packet(live)) == (how == DROPPED)
        assert endings(rules, "filter", "input", live)[0][0] == how


def test_a_port_that_is_not_known_is_unknown_in_a_long_chain_too():
    rules = ruleset(dump("filter", *(f"INPUT -p tcp -m tcp --dport {n} -j DROP" for n in range(1, 100))))
    [(how, _, why)] = endings(rules, "filter", "input", asked(dport=None))
    assert how == UNKNOWN
    assert "port" in why
    assert endings(rules, "filter", "input", asked(dport=500))[0][0] == POLICY


VOCABULARY = """
    ! -s -d -p -i -o -f -m -j -g tcp udp icmp comment --comment --dport --sport --dports --syn --tcp-flags 80 1:2
    10.0.0.1/32 fd00::1/128 conntrack --ctstate NEW,DNAT --ctorigdst recent --set --rcheck --name x mark --mark
    0x1/0x1 set --match-set src,dst statistic --mode random --probability 0.5 nth --every 3 addrtype --dst-type LOCAL
    DNAT --to-destination 10.0.0.1:80 [fd00::1]:80 MARK --set-xmark SNAT REDIRECT --to-ports NETMAP --to CT --zone
    ACCEPT DROP owner --uid-owner 0 "quoted words" " \\ u32 --u32
"""
WORDS = st.sampled_from(VOCABULARY.split())
SENTENCES = st.lists(st.one_of(WORDS, st.text(max_size=6)), max_size=14).map(" ".join)


@given(st.lists(SENTENCES, min_size=1, max_size=5), st.sampled_from([4, 6]))
@settings(max_examples=300, deadline=None)
def test_no_rule_ends_in_a_traceback(sentences, family):
    lines = [re.sub(r"[\n\r]", "", s) for s in sentences]
    good = ruleset(dump("nat", "T -j ACCEPT", family=family))
    chain = good.chain("nat", "T")
    for line in lines:
        raw = b"-A T " + line.encode("utf-8", "surrogatepass")
        rule = chain.dialect.translate(chain, 1, raw)
        assert isinstance(rule.text, str)
        chain.dialect.key(raw)
        answer = holds(rule.tests, asked(family))
        assert isinstance(answer, bool | str)
        for op, argument in rule.actions:
            if callable(argument):
                assert argument(asked(family)) is not False, op


def test_a_rule_that_nothing_writes_is_unknown_and_not_shown_whole():
    rules = ruleset(dump("filter", "FORWARD -m comment --comment " + "x" * 10_000_000 + " -j ACCEPT"))
    [(how, _, why)] = endings(rules, "filter", "forward", asked())
    assert (how, why) == (UNKNOWN, "rule 1 of filter FORWARD is longer than any that iptables writes")
    assert len(str(rules.chain("filter", "FORWARD").rule(1))) < 70_000


@pytest.mark.parametrize("words", ["-p tcp -m tcp --dport 90:80", "-p tcp -m multiport --dports 1,90:80"])
def test_a_range_of_ports_that_ends_before_it_begins_is_unknown(words):
    assert "90:80 ends before it begins" in str(holds(rule(f"{words} -j DROP").tests, asked()))


def test_a_ruleset_for_every_backend_and_family():
    legacy = dump("nat").replace(" (nf_tables)", "")
    saves = read_iptables_save(
        (dump("nat") + dump("filter") + legacy + dump("nat", family=6)).encode(), "all.txt"
    )
    rules = [iptables.IptablesRules(save, PlainSurroundings()) for save in saves]
    assert [(r.backend, r.family, list(r.tables())) for r in rules] == [
        ("iptables-nft", 4, ["nat", "filter"]),
        ("iptables-legacy", 4, ["nat"]),
        ("iptables-nft", 6, ["nat"]),
    ]


@pytest.mark.parametrize(("backend", "family"), [("(nf_tables) ", 4), ("", 6)])
def test_kube_proxy_in_short(backend, family):
    """A Service with two endpoints, affinity, hairpin and masquerading, as kube-proxy writes it."""
    service, one, two = (
        ("10.96.0.1", "10.244.0.2", "10.244.1.2") if family == 4 else ("fd96::1", "fd24::2", "fd24::12")
    )
    bits, pods = (32, "10.244.0.0/16") if family == 4 else (128, "fd24::/64")
    target = (lambda ip: f"[{ip}]:8080") if family == 6 else (lambda ip: f"{ip}:8080")
    sep = [
        rule
        for name, ip in (("KUBE-SEP-A", one), ("KUBE-SEP-B", two))
        for rule in (
            f"{name} -s {ip}/{bits} -j KUBE-MARK-MASQ",
            f"{name} -p tcp -m recent --set --name {name} --rsource -m tcp -j DNAT --to-destination {target(ip)}",
        )
    ]
    text = dump(
        "nat",
        "PREROUTING -j KUBE-SERVICES",
        "KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
        f"KUBE-SERVICES -d {service}/{bits} -p tcp -m tcp --dport 80 -j KUBE-SVC-A",
        f"KUBE-SVC-A ! -s {pods} -d {service}/{bits} -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ",
        "KUBE-SVC-A -m recent --rcheck --seconds 10 --reap --name KUBE-SEP-A --rsource -j KUBE-SEP-A",
        "KUBE-SVC-A -m recent --rcheck --seconds 10 --reap --name KUBE-SEP-B --rsource -j KUBE-SEP-B",
        "KUBE-SVC-A -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-A",
        "KUBE-SVC-A -j KUBE-SEP-B",
        *sep,
        family=family,
    )
    rules = ruleset(text.replace("(nf_tables) ", backend))

    def to(**fields):
        live = asked(family, dst=service, **fields)
        return sorted(
            (Packet.copy(p).dst, p.probability, p.mark, sorted(p.remembered))
            for _, p, _ in endings(rules, "nat", "prerouting", live)
        )

    ends = [asked(family, dst=ip).dst for ip in (one, two)]
    outside = to()
    assert outside == sorted([(ends[0], 0.5, 0x4000, ["KUBE-SEP-A"]), (ends[1], 0.5, 0x4000, ["KUBE-SEP-B"])])
    assert [mark for _, _, mark, _ in to(src=two)] == [0, 0x4000]  # only the hairpin
    assert to(remembered=frozenset({"KUBE-SEP-B"})) == [(ends[1], 1.0, 0x4000, ["KUBE-SEP-B"])]
    assert to(dport=81) == [(asked(family, dst=service).dst, 1.0, 0, [])]
    assert endings(rules, "nat", "prerouting", asked(family, dst=service, ct=NEW))[0][0] != ACCEPTED
