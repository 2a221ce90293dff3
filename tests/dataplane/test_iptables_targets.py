"""Every target of iptables: what it does to a packet, and where the packet goes on."""

import pytest
from iptablesdump import asked, dump, endings, rule, ruleset

from svcdoctor.dataplane.evaluate import ACCEPTED, DROPPED, POLICY, REJECTED, TRANSLATED, UNKNOWN
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.packet import DNATTED, ESTABLISHED, INVALID, UNTRACKED, endpoint_text

FAMILIES = pytest.mark.parametrize("family", [4, 6])


def after(words, live, table="filter", hook="input", further=()):
    """The endings of a packet that meets one rule in a base chain."""
    rules = ruleset(dump(table, f"{hook.upper()} {words}", *further, family=live.family))
    return endings(rules, table, hook, live)


def one(*args, **options):
    [ending] = after(*args, **options)
    return ending


@FAMILIES
@pytest.mark.parametrize(
    ("words", "how", "why"),
    [
        ("-j ACCEPT", ACCEPTED, ""),
        ("-j DROP", DROPPED, ""),
        ("-j RETURN", POLICY, ""),
        ("", POLICY, ""),
        ("-p tcp -m comment --comment counts", POLICY, ""),
        ("-p tcp -j REJECT --reject-with tcp-reset", REJECTED, "tcp-reset"),
    ],
)
def test_verdicts(family, words, how, why):
    found, _, reason = one(words, asked(family))
    assert (found, reason) == (how, why)


@pytest.mark.parametrize(
    ("family", "words", "how"),
    [
        (4, "", "icmp-port-unreachable"),
        (4, " --reject-with icmp-admin-prohibited", "icmp-admin-prohibited"),
        (6, "", "icmp6-port-unreachable"),
        (6, " --reject-with icmp6-no-route", "icmp6-no-route"),
    ],
)
def test_reject(family, words, how):
    assert one(f"-j REJECT{words}", asked(family))[2] == how


@FAMILIES
@pytest.mark.parametrize(
    "words",
    [
        'LOG --log-prefix "-m " --log-level 4',
        "NFLOG --nflog-group 5 --nflog-prefix x",
        "ULOG --ulog-nlgroup 2",
        "TRACE",
        "TCPMSS --clamp-mss-to-pmtu",
        "CHECKSUM --checksum-fill",
        "CLASSIFY --set-class 0001:0002",
        "DSCP --set-dscp 0x0a",
        "TOS --set-tos 0x10/0x3f",
        "CT --helper ftp",
    ],
)
def test_targets_without_effect(family, words):
    how, live, _ = one(f"-j {words}", asked(family))
    assert how == POLICY
    assert live.trail is None
    how, live, _ = one(f"-j {words} -m comment --comment x", asked(family), further=["INPUT -j DROP"])
    assert how == DROPPED


@FAMILIES
@pytest.mark.parametrize(
    ("words", "before", "expected"),
    [
        ("--set-xmark 0x4000/0x4000", 0x1, 0x4001),
        ("--set-xmark 0x4000/0x0", 0x4001, 0x1),
        ("--set-xmark 0x0/0xffffffff", 0x4001, 0),
        ("--set-mark 0x2", 0xF0, 0x2),
        ("--set-mark 0x1/0xf", 0xF2, 0xF1),
        ("--set-mark 0x11/0xf", 0xE2, 0xF1),
        ("--and-mark 0xf", 0xF2, 0x2),
        ("--or-mark 0x10", 0x2, 0x12),
        ("--xor-mark 0x3", 0x2, 0x1),
    ],
)
def test_mark(family, words, before, expected):
    how, live, _ = one(f"-j MARK {words}", asked(family, mark=before))
    assert (how, live.mark) == (POLICY, expected)
    how, live, _ = one(f"-j CONNMARK {words}", asked(family, ctmark=before))
    assert (how, live.ctmark, live.mark) == (POLICY, expected, 0)


@FAMILIES
@pytest.mark.parametrize(
    ("words", "marks", "expected"),
    [
        ("--save-mark --nfmask 0xffffffff --ctmask 0xffffffff", (0x12, 0xFF), (0x12, 0x12)),
        ("--save-mark --nfmask 0xf --ctmask 0xf", (0x12, 0xF0), (0x12, 0xF2)),
        ("--restore-mark --nfmask 0xffffffff --ctmask 0xffffffff", (0x12, 0x34), (0x34, 0x34)),
        ("--restore-mark --nfmask 0xf --ctmask 0xf", (0x12, 0x34), (0x14, 0x34)),
        ("--restore-mark --mask 0xf0", (0x12, 0x34), (0x32, 0x34)),
        ("--save-mark --mask 0xf0", (0x12, 0x34), (0x12, 0x14)),
    ],
)
def test_connmark_saves_and_restores(family, words, marks, expected):
    how, live, _ = one(f"-j CONNMARK {words}", asked(family, mark=marks[0], ctmark=marks[1]))
    assert how == POLICY
    assert (live.mark, live.ctmark) == expected


@pytest.mark.parametrize("ct", [INVALID, UNTRACKED])
@pytest.mark.parametrize("words", ["--set-xmark 0x1/0x1", "--save-mark", "--restore-mark"])
def test_connmark_leaves_a_packet_without_connection_alone(ct, words):
    how, live, _ = one(f"-j CONNMARK {words}", asked(mark=2, ctmark=4, ct=ct))
    assert (how, live.mark, live.ctmark) == (POLICY, 2, 4)


def test_the_mark_of_an_earlier_connection_is_not_known():
    how, _, why = one("-j CONNMARK --restore-mark", asked(ct=ESTABLISHED))
    assert how == UNKNOWN
    assert "exists already" in why
    assert one("-j CONNMARK --restore-mark --left-shift-mark 2", asked())[0] == UNKNOWN


def translated(words, live, hook="prerouting"):
    """Where the packet goes, with probabilities: its destination, or what SNAT chose."""
    found = {}
    for how, live_, why in after(words, live, "nat", hook):
        assert how == TRANSLATED, why
        to = live_.snat if live_.snat is not None else (live_.dst, live_.dport)
        text = endpoint_text(live_.family, *to)
        found[text] = round(found.get(text, 0) + live_.probability, 9)
    return found


@pytest.mark.parametrize(
    ("family", "words", "expected"),
    [
        (4, "10.9.0.1", {"10.9.0.1:80": 1}),
        (4, "10.9.0.1:8080", {"10.9.0.1:8080": 1}),
        (4, ":8080", {"10.0.0.1:8080": 1}),
        (4, "10.9.0.1:8080 --random", {"10.9.0.1:8080": 1}),
        (4, "10.9.0.1-10.9.0.2:8080 --persistent", {"10.9.0.1:8080": 0.5, "10.9.0.2:8080": 0.5}),
        (4, "10.9.0.1-10.9.0.1", {"10.9.0.1:80": 1}),
        (4, "10.9.0.1:8080-8081", {"10.9.0.1:8080": 0.5, "10.9.0.1:8081": 0.5}),
        (4, "10.9.0.1:79-81", {"10.9.0.1:80": 1}),
        (4, "10.9.0.1:80-81 --random", {"10.9.0.1:80": 0.5, "10.9.0.1:81": 0.5}),
        (4, "10.9.0.1:8000-8099/70", {"10.9.0.1:8010": 1}),
        (4, "10.9.0.1:80-90/85", {"10.9.0.1:84": 1}),
        (6, "fd00::9", {"[fd00::9]:80": 1}),
        (6, "[fd00::9]:8080", {"[fd00::9]:8080": 1}),
        (6, "[fd00::9-fd00::a]:8080", {"[fd00::9]:8080": 0.5, "[fd00::a]:8080": 0.5}),
        (6, "fd00::9-fd00::a", {"[fd00::9]:80": 0.5, "[fd00::a]:80": 0.5}),
        (6, ":8080", {"[fd00::1]:8080": 1}),
        (6, "::9", {"[::9]:80": 1}),
    ],
)
def test_dnat(family, words, expected):
    assert translated(f"-p tcp -j DNAT --to-destination {words}", asked(family)) == expected


def test_dnat_tells_conntrack():
    how, live, _ = one("-p tcp -j DNAT --to-destination 10.9.0.1", asked(), table="nat", hook="prerouting")
    assert live.ctstatus == DNATTED
    how, live, _ = one("-p tcp -j DNAT --to-destination 10.0.0.1", asked(), table="nat", hook="prerouting")
    assert (how, live.ctstatus) == (TRANSLATED, 0)


@pytest.mark.parametrize(
    "words",
    [
        "DNAT --to-destination 10.9.0.1:1-65000 --random",
        "DNAT --to-destination 10.0.0.0-10.255.255.255",
        "DNAT --to-destination nowhere",
        "DNAT --to-destination 10.9.0.9-10.9.0.1",
        "DNAT --to-destination [fd00::1]:80",
        "DNAT --to-destination 10.9.0.1:99999",
        "DNAT",
        "MARK",
        "CONNMARK --set-mark -1",
    ],
)
def test_targets_that_cannot_be_read_or_followed(words):
    assert one(f"-p tcp -j {words}", asked(), table="nat", hook="prerouting")[0] == UNKNOWN


@pytest.mark.parametrize(
    ("family", "words", "expected"),
    [
        (4, "192.0.2.9", {"192.0.2.9": 1}),
        (4, "192.0.2.9:4000", {"192.0.2.9:4000": 1}),
        (4, "192.0.2.9:4000-5000", {"192.0.2.9": 1}),
        (4, "192.0.2.8-192.0.2.9 --random-fully", {"192.0.2.8": 0.5, "192.0.2.9": 0.5}),
        (4, "198.51.100.0-198.51.100.255", {"198.51.100.7": 1}),
        (6, "2001:db8::9", {"2001:db8::9": 1}),
        (6, "[2001:db8::9]:4000", {"[2001:db8::9]:4000": 1}),
    ],
)
def test_snat(family, words, expected):
    assert translated(f"-p tcp -j SNAT --to-source {words}", asked(family), "postrouting") == expected


@FAMILIES
@pytest.mark.parametrize("words", ["", "--random-fully", "--to-ports 1024-65535 --random"])
def test_masquerade(family, words):
    how, live, _ = one(f"-p tcp -j MASQUERADE {words}", asked(family), table="nat", hook="postrouting")
    assert (how, live.masquerade, live.snat) == (TRANSLATED, True, None)


@FAMILIES
@pytest.mark.parametrize(
    ("words", "ports"),
    [("", {80}), ("--to-ports 8080", {8080}), ("--to-ports 8080-8081 --random", {8080, 8081})],
)
def test_redirect(family, words, ports):
    found = after(f"-p tcp -j REDIRECT {words}", asked(family), "nat", "prerouting")
    assert {live.dport for how, live, _ in found if how == TRANSLATED and live.redirected} == ports


@pytest.mark.parametrize(
    ("family", "hook", "network", "expected"),
    [
        (4, "prerouting", "10.9.0.0/16", "10.9.0.1:80"),
        (4, "output", "172.16.0.0/12", "172.16.0.1:80"),
        (4, "postrouting", "203.0.113.0/24", "203.0.113.7"),
        (4, "input", "203.0.113.0/24", "203.0.113.7"),
        (6, "prerouting", "fd01::/64", "[fd01::1]:80"),
        (6, "postrouting", "fd01::/64", "fd01::7"),
    ],
)
def test_netmap(family, hook, network, expected):
    assert list(translated(f"-j NETMAP --to {network}", asked(family), hook)) == [expected]
    through = ruleset(
        dump("nat", f"{hook.upper()} -j A", "A -g B", f"B -j NETMAP --to {network}", family=family)
    )
    [(how, _, _)] = endings(through, "nat", hook, asked(family))
    assert how == TRANSLATED


def test_netmap_that_several_hooks_call_is_not_known():
    rules = dump("nat", "PREROUTING -j A", "POSTROUTING -j A", "A -j NETMAP --to 10.9.0.0/16")
    [(how, _, why)] = endings(ruleset(rules), "nat", "prerouting", asked())
    assert how == UNKNOWN
    assert "hook" in why


@FAMILIES
def test_a_chain_of_another_table_with_its_name_calls_no_netmap(family):
    network = "10.9.0.0/16" if family == 4 else "fd09::/64"
    nat = dump("nat", "PREROUTING -j A", f"A -j NETMAP --to {network}", family=family)
    mangle = dump("mangle", "POSTROUTING -j A", family=family, chains=("A",))
    [(how, _, _)] = endings(ruleset(nat + mangle), "nat", "prerouting", asked(family))
    assert how == TRANSLATED


@FAMILIES
@pytest.mark.parametrize("words", ["NOTRACK", "CT --notrack"])
def test_notrack(family, words):
    how, live, _ = one(f"-j {words}", asked(family, ct=INVALID), table="raw", hook="prerouting")
    assert (how, live.ct) == (POLICY, UNTRACKED)


@FAMILIES
@pytest.mark.parametrize(
    "words",
    [
        "TEE --gateway 10.0.0.9",
        "NFQUEUE --queue-num 1",
        "TPROXY --on-port 1",
        "CT --zone 5",
        "SET --add-set x src",
    ],
)
def test_targets_that_are_not_modelled_say_so(family, words):
    how, _, why = one(f"-j {words}", asked(family))
    assert how == UNKNOWN
    assert words.split()[0] in why


@FAMILIES
def test_jump_and_goto(family):
    rules = ruleset(
        dump(
            "filter",
            "INPUT -j FIRST",
            "INPUT -j DROP",
            "FIRST -p tcp -g SECOND",
            "FIRST -j ACCEPT",
            "SECOND -m mark --mark 1 -j ACCEPT",
            family=family,
        )
    )
    [(how, _, _)] = endings(rules, "filter", "input", asked(family))
    assert how == DROPPED
    [(how, _, _)] = endings(rules, "filter", "input", asked(family, mark=1))
    assert how == ACCEPTED
    assert rules.chain("filter", "FIRST").rule(1).actions[0] == (Op.GOTO, rules.chain("filter", "SECOND"))


@pytest.mark.parametrize("words", ["-j KUBE-GONE", "-g KUBE-GONE", "-j gone"])
def test_a_chain_that_is_not_in_the_dump_is_unknown_to_the_packet_that_gets_there(words):
    rules = ruleset(dump("filter", f"INPUT -p udp {words}", "INPUT -j ACCEPT"))
    assert endings(rules, "filter", "input", asked())[0][0] == ACCEPTED
    [(how, _, why)] = endings(rules, "filter", "input", asked(proto="udp"))
    assert how == UNKNOWN
    assert words.split()[1] in why


def test_a_chain_named_like_a_module_is_a_chain():
    found = rule("-j TEE", chains=("TEE",))
    assert found.actions[0][0] is Op.JUMP
