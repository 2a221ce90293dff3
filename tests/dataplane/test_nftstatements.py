"""What nftables' statements do to a packet, in ip, ip6 and inet tables."""

import pytest
from nftdump import ct, goto, jump, match, meta, payload, prefix, ruleset, tracked

from svcdoctor.dataplane.evaluate import ACCEPTED, DROPPED, POLICY, REJECTED, TRANSLATED, UNKNOWN, run
from svcdoctor.dataplane.packet import INVALID, UNTRACKED, endpoint_text

V4, V6 = ("10.0.0.1", "10.0.0.2", 80), ("fd00::1", "fd00::2", 80)
DADDR4, DPORT, SADDR4 = payload("ip", "daddr"), payload("tcp", "dport"), payload("ip", "saddr")
ACCEPT, DROP = {"accept": None}, {"drop": None}


def endings(*rules, asked=V4, family="inet", **more):
    fields = more.pop("fields", {})
    base = ruleset(*rules, family=family, **more).base_chains()[0]
    return run(base, tracked(*asked, **fields))


def one(*rules, **more):
    (ending,) = endings(*rules, **more)
    return ending


def numgen(modulus, mode="random", **more):
    return {"numgen": {"mode": mode, "mod": modulus, "offset": 0, **more}}


def mapped(key, *pairs):
    return {"map": {"key": key, "data": {"set": [list(pair) for pair in pairs]}}}


def vmap(key, *pairs):
    return {"vmap": {"key": key, "data": {"set": [list(pair) for pair in pairs]}}}


def mark(value):
    return {"mangle": {"key": meta("mark"), "value": value}}


@pytest.mark.parametrize(
    ("statement", "how"),
    [
        (ACCEPT, ACCEPTED),
        (DROP, DROPPED),
        ({"reject": None}, REJECTED),
        ({"return": None}, POLICY),
        ({"continue": None}, POLICY),
        ({"counter": {"packets": 1, "bytes": 60}}, POLICY),
        ({"counter": None}, POLICY),
        ({"log": {"prefix": "x"}}, POLICY),
        ({"limit": {"rate": 1, "per": "day"}}, POLICY),
        ({"ct helper": "ftp"}, POLICY),
        ({"flow": {"op": "add", "flowtable": "@ft"}}, POLICY),
        ({"mangle": {"key": ct("zone"), "value": 1}}, POLICY),
        ({"mangle": {"key": meta("priority"), "value": "1:2"}}, POLICY),
        ({"mangle": {"key": {"tcp option": {"name": "maxseg", "field": "size"}}, "value": 1400}}, POLICY),
        ({"mangle": {"key": DADDR4, "value": "10.0.0.9"}}, UNKNOWN),
        ({"queue": {"num": 0}}, UNKNOWN),
        ({"tproxy": {"port": 8080}}, UNKNOWN),
        ({"synproxy": None}, UNKNOWN),
        ({"dup": {"addr": "10.0.0.9"}}, UNKNOWN),
        ({"fwd": {"dev": "eth0"}}, UNKNOWN),
        ({"ct count": {"val": 20, "inv": True}}, UNKNOWN),
        ({"newthing": None}, UNKNOWN),
        ({"xt": {"type": "target", "name": "TPROXY"}}, UNKNOWN),
        (jump("nosuch"), UNKNOWN),
    ],
)
@pytest.mark.parametrize(("family", "asked"), [("ip", V4), ("ip6", V6), ("inet", V4), ("inet", V6)])
def test_statements(family, asked, statement, how):
    ended, _, why = one([statement], asked=asked, family=family)
    assert ended == how
    if how == UNKNOWN:
        name = next(iter(statement))
        assert name in why or "ip daddr" in why or "nosuch" in why


@pytest.mark.parametrize(
    ("about", "asked", "says"),
    [
        ({"type": "icmp", "expr": "port-unreachable"}, V4, "icmp-port-unreachable"),
        ({"type": "icmpv6", "expr": "no-route"}, V6, "icmp6-no-route"),
        ({"type": "icmpx", "expr": "admin-prohibited"}, V6, "icmp-admin-prohibited"),
        ({"type": "tcp reset"}, V4, "tcp-reset"),
        (None, V6, "icmp-port-unreachable"),
    ],
)
def test_reject_says_how(about, asked, says):
    assert one([{"reject": about}], asked=asked)[::2] == (REJECTED, says)


def test_verdict_maps():
    chains = [("sub", [[match(DPORT, 80), DROP]]), ("quiet", [])]
    pairs = [(80, jump("sub")), ({"range": [81, 90]}, goto("quiet")), (443, ACCEPT), (22, {"return": None})]
    ways = {80: DROPPED, 85: POLICY, 443: ACCEPTED, 22: POLICY, 99: REJECTED}
    for port, how in ways.items():
        for asked in (V4, V6):
            told = one([vmap(DPORT, *pairs)], [{"reject": None}], asked=(*asked[:2], port), chains=chains)
            assert told[0] == how, port
    # Where the map has no such element the rule does not match, and leaves no trace.
    assert one([vmap(DPORT, *pairs)], asked=(*V4[:2], 99), chains=chains)[1].trail is None


@pytest.mark.parametrize("mode", ["random", "inc"])
@pytest.mark.parametrize("offset", [0, 10])
def test_numgen_chooses(mode, offset):
    pairs = [(offset, DROP), ({"range": [offset + 1, offset + 2]}, ACCEPT), (offset + 9, {"reject": None})]
    told = endings([vmap(numgen(4, mode, offset=offset), *pairs)])
    assert {how: packet.probability for how, packet, _ in told} == {
        DROPPED: 0.25,
        ACCEPTED: 0.5,
        POLICY: 0.25,
    }


@pytest.mark.parametrize(
    ("op", "right", "chance"),
    [
        ("==", 0, 0.25),
        ("!=", 0, 0.75),
        ("<", 3, 0.75),
        (">=", 3, 0.25),
        ("==", {"set": [0, {"range": [2, 9]}]}, 0.75),
        ("==", 7, 0.0),
    ],
)
def test_numgen_compared(op, right, chance):
    told = {how: packet.probability for how, packet, _ in endings([match(numgen(4), right, op), DROP])}
    assert told.get(DROPPED, 0.0) == chance
    assert told.get(POLICY, 0.0) == 1 - chance


def nat(name, table="inet", asked=V4, **about):
    hook = {"type": "nat", "hook": "postrouting" if name == "snat" else "prerouting"}
    rule = [{name: about or None}]
    return endings(rule, asked=asked, family=table, **hook)


def targets(told):
    return {
        endpoint_text(p.family, p.dst, p.dport) if how == TRANSLATED else how: round(p.probability, 6)
        for how, p, _ in told
    }


@pytest.mark.parametrize(
    ("about", "asked", "expected"),
    [
        ({"addr": "10.1.0.1", "port": 8080}, V4, {"10.1.0.1:8080": 1}),
        ({"family": "ip6", "addr": "fd01::1", "port": 8080}, V6, {"[fd01::1]:8080": 1}),
        ({"family": "ip6", "addr": "fd01::1"}, V4, {POLICY: 1}),  # for the other family: the next rule
        ({"family": "ip", "addr": "10.1.0.1"}, V4, {"10.1.0.1:80": 1}),
        ({"port": 8080}, V6, {"[fd00::2]:8080": 1}),
        ({"addr": {"range": ["10.1.0.1", "10.1.0.2"]}}, V4, {"10.1.0.1:80": 0.5, "10.1.0.2:80": 0.5}),
        (
            {"addr": "10.1.0.1", "port": {"range": [1, 2]}},
            V4,
            {"10.1.0.1:1": 0.5, "10.1.0.1:2": 0.5},
        ),
        ({"port": {"range": [1, 60000]}}, V4, {UNKNOWN: 1}),
        ({"addr": mapped(DPORT, (80, "10.1.0.1"), (81, "10.1.0.2"))}, V4, {"10.1.0.1:80": 1}),
        ({"addr": mapped(DPORT, (81, "10.1.0.2"))}, V4, {POLICY: 1}),
        ({"port": mapped(DPORT, (80, 8000))}, V6, {"[fd00::2]:8000": 1}),
        (
            {
                "family": "ip",
                "addr": mapped(numgen(2), (0, {"concat": ["10.1.0.1", 1]}), (1, {"concat": ["10.1.0.2", 2]})),
            },
            V4,
            {"10.1.0.1:1": 0.5, "10.1.0.2:2": 0.5},
        ),
        (
            {
                "family": "ip6",
                "addr": mapped(numgen(2), (0, {"concat": ["fd01::1", 1]}), (1, {"concat": ["fd01::2", 2]})),
            },
            V6,
            {"[fd01::1]:1": 0.5, "[fd01::2]:2": 0.5},
        ),
        (
            {"addr": mapped(numgen(4), (0, "10.1.0.1"), (1, "10.1.0.2")), "port": 8},
            V4,
            {"10.1.0.1:8": 0.25, "10.1.0.2:8": 0.25, POLICY: 0.5},
        ),
        (
            {"flags": "netmap", "addr": mapped(DADDR4, (prefix("10.0.0.0", 24), prefix("10.7.0.0", 24)))},
            V4,
            {"10.7.0.2:80": 1},
        ),
        ({"flags": "netmap", "addr": prefix("10.8.0.0", 16)}, V4, {"10.8.0.2:80": 1}),
        ({"addr": mapped({"jhash": {"mod": 2, "expr": SADDR4}}, (0, "10.1.0.1"))}, V4, {UNKNOWN: 1}),
        ({"addr": {"newthing": {}}}, V4, {UNKNOWN: 1}),
    ],
)
def test_dnat(about, asked, expected):
    assert targets(nat("dnat", asked=asked, **about)) == expected


def test_dnat_by_a_named_map_of_addresses_with_ports():
    pairs = [[80, {"concat": ["10.1.0.1", 8080]}]]
    for data in (["ipv4_addr", "inet_service"], "ipv4_addr . inet_service"):
        sets = [("map", {"name": "m", "type": "inet_service", "map": data, "elem": pairs})]
        rule = [{"dnat": {"family": "ip", "addr": {"map": {"key": DPORT, "data": "@m"}}}}]
        assert targets(endings(rule, sets=sets, type="nat")) == {"10.1.0.1:8080": 1}


def test_snat_masquerade_and_redirect():
    ((how, packet, _),) = nat("snat", table="ip", addr="10.1.0.1", port={"range": [1024, 65535]})
    assert (how, packet.snat) == (TRANSLATED, (10 << 24 | 1 << 16 | 1, None))
    ((how, packet, _),) = nat("masquerade", table="ip6", asked=V6)
    assert (how, packet.masquerade) == (TRANSLATED, True)
    ((how, packet, _),) = nat("redirect", port=8080)
    assert (how, packet.redirected, packet.dport) == (TRANSLATED, True, 8080)
    ((how, packet, _),) = nat("redirect", asked=V6)
    assert (how, packet.redirected, packet.dport) == (TRANSLATED, True, 80)
    shares = nat("snat", table="ip", addr={"range": ["10.1.0.1", "10.1.0.4"]})
    assert [p.probability for _, p, _ in shares] == [0.25] * 4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, 7),
        ({"|": [meta("mark"), 0x4000]}, 0x4010),
        ({"&": [meta("mark"), 0xFFFFFFEF]}, 0),
        ({"^": [meta("mark"), 0x4010]}, 0x4000),
        ({"<<": [meta("mark"), 30]}, 0),
        ({"|": [{"&": [meta("mark"), 0xF0]}, 1]}, 0x11),
        ({"|": [meta("mark"), ct("mark")]}, 0x77),
        (ct("mark"), 0x67),
        (mapped(DPORT, (80, 5), (443, 6)), 5),
    ],
)
def test_marks(value, expected):
    rule = [mark(value), match(meta("mark"), expected), DROP]  # what comes later sees the new mark
    how, packet, _ = one(rule, fields={"mark": 0x10, "ctmark": 0x67})
    assert (how, packet.mark) == (DROPPED, expected)


def test_marks_that_are_drawn_or_missing():
    told = endings([mark(numgen(2, offset=100))], [match(meta("mark"), 100), DROP])
    assert {(how, p.mark): p.probability for how, p, _ in told} == {(DROPPED, 100): 0.5, (POLICY, 101): 0.5}
    # Without such an element, or without a connection, the kernel leaves the rule.
    assert one([mark(mapped(DPORT, (443, 6))), DROP])[0] == POLICY
    assert one([mark(ct("mark")), DROP], fields={"ct": INVALID})[0] == POLICY
    assert one([mark({"jhash": {"mod": 2, "expr": SADDR4}}), DROP])[0] == UNKNOWN
    assert one([mark({"payload": {"base": "nh", "offset": 0, "len": 8}}), DROP])[0] == UNKNOWN


def test_a_connection_has_a_mark_of_its_own():
    rules = [[{"mangle": {"key": ct("mark"), "value": meta("mark")}}], [match(ct("mark"), 0x10), DROP]]
    assert one(*rules, fields={"mark": 0x10})[0] == DROPPED
    assert one(*rules, fields={"mark": 0x10, "ct": INVALID})[1].ctmark == 0


def test_a_test_behind_an_action_does_not_undo_it():
    how, packet, _ = one([mark(1), match(DPORT, 443), DROP], [match(meta("mark"), 1), {"reject": None}])
    assert (how, packet.mark) == (REJECTED, 1)


def test_notrack():
    how, packet, _ = one(
        [{"notrack": None}], [match(ct("state"), "untracked", "in"), DROP], fields={"ct": INVALID}
    )
    assert (how, packet.ct) == (DROPPED, UNTRACKED)


@pytest.mark.parametrize(
    ("statement", "matches"),
    [
        ({"limit": {"rate": 1, "per": "day"}}, True),
        ({"limit": {"rate": 1, "per": "day", "inv": True}}, False),
        ({"limit": "slow"}, True),
        ({"limit": "over"}, False),
        ({"quota": {"val": 25, "val_unit": "mbytes"}}, True),
        ({"quota": {"val": 25, "val_unit": "mbytes", "inv": True}}, False),
        ({"quota": {"val": 25, "val_unit": "kbytes", "used": 1, "used_unit": "mbytes", "inv": True}}, True),
        ({"quota": {"val": 25, "val_unit": "kbytes", "used": 1, "used_unit": "mbytes"}}, False),
        ({"quota": "spent"}, True),
        ({"quota": "fresh"}, False),
        ({"limit": "nosuch"}, None),
        ({"quota": "nosuch"}, None),
        ({"meter": {"key": SADDR4, "name": "m", "stmt": {"limit": {"rate": 1, "per": "day"}}}}, True),
        ({"set": {"op": "update", "set": "@dyn", "elem": SADDR4}}, True),
        (
            {
                "set": {
                    "op": "add",
                    "set": "@dyn",
                    "elem": SADDR4,
                    "stmt": [{"limit": {"rate": 1, "inv": True}}],
                }
            },
            False,
        ),
    ],
)
def test_limits_and_quotas(statement, matches):
    sets = [
        ("limit", {"name": "slow"}),
        ("limit", {"name": "over", "inv": True}),
        ("quota", {"name": "spent", "bytes": 100, "used": 100, "inv": True}),
        ("quota", {"name": "fresh", "bytes": 100, "used": 0, "inv": True}),
    ]
    how = one([statement, DROP], sets=sets)[0]
    assert how == {True: DROPPED, False: POLICY, None: UNKNOWN}[matches]


def test_sets_that_packets_fill():
    own = ("set", {"name": "dyn", "type": "ipv4_addr", "flags": ["timeout"], "timeout": 60})
    filled = ("set", {**own[1], "elem": [{"elem": {"val": "10.0.0.1", "timeout": 60, "expires": 7}}]})
    known = [match(SADDR4, "@dyn"), DROP]
    update = [{"set": {"op": "update", "elem": SADDR4, "set": "@dyn"}}]
    delete = [{"set": {"op": "delete", "elem": SADDR4, "set": "@dyn"}}]
    assert one(known, sets=[own])[0] == POLICY
    assert one(known, sets=[filled])[0] == DROPPED
    assert one(known, sets=[own], fields={"remembered": frozenset({"dyn"})})[0] == DROPPED
    how, packet, _ = one(update, known, sets=[own])
    assert (how, packet.remembered) == (DROPPED, {"dyn"})
    assert one(update, delete, known, sets=[own])[0] == POLICY
