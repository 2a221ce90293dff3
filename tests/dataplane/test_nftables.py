"""A whole ruleset: its base chains, its long chains' keys, its texts; the captures and flows; and garbage."""

import json
import re
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nftdump import goto, jump, match, meta, payload, prefix, ruleset, tracked

from svcdoctor.dataplane.answers import Question, ask, outcome_json, packet_of
from svcdoctor.dataplane.evaluate import DROPPED, UNKNOWN, run
from svcdoctor.dataplane.hooks import Fate, Node
from svcdoctor.dataplane.language import Op
from svcdoctor.dataplane.nftables import NftablesRules, is_iptables
from svcdoctor.dataplane.packet import packet
from svcdoctor.dataplane.routing import PlainRouter
from svcdoctor.dataplane.surroundings import PlainSurroundings
from svcdoctor.node.nftjson import read_nft_json

FIXTURES = Path(__file__).parents[2] / "fixtures"
FLOWS = [f for f in json.loads((FIXTURES / "flows" / "flows.json").read_text()) if f["mode"] == "nftables"]
TABLES = [
    {"table": {"family": "ip", "name": "shop"}},
    {
        "chain": {
            "family": "ip",
            "table": "shop",
            "name": "late",
            "type": "nat",
            "hook": "output",
            "prio": -90,
        }
    },
    {"chain": {"family": "ip", "table": "shop", "name": "plain"}},
    {"table": {"family": "inet", "name": "guard"}},
    {
        "chain": {
            "family": "inet",
            "table": "guard",
            "name": "in",
            "type": "route",
            "hook": "output",
            "prio": 5,
            "policy": "drop",
        }
    },
    {
        "chain": {
            "family": "inet",
            "table": "guard",
            "name": "dev",
            "type": "filter",
            "hook": "ingress",
            "prio": 0,
        }
    },
    {"table": {"family": "ip6", "name": "asleep", "flags": "dormant"}},
    {
        "chain": {
            "family": "ip6",
            "table": "asleep",
            "name": "in",
            "type": "filter",
            "hook": "input",
            "prio": 0,
        }
    },
    {"table": {"family": "bridge", "name": "filter"}},
    {
        "chain": {
            "family": "bridge",
            "table": "filter",
            "name": "in",
            "type": "filter",
            "hook": "input",
            "prio": 0,
        }
    },
]


def read(entries, left_out=()):
    data = json.dumps({"nftables": entries}).encode()
    return NftablesRules(read_nft_json(data, "nft.json"), PlainSurroundings(), left_out)


def test_base_chains_tables_and_chains():
    rules = read(TABLES)
    assert [
        (b.chain.table, b.chain.name, b.hook, b.priority, b.kind, b.families, b.accepts)
        for b in rules.base_chains()
    ] == [
        ("ip shop", "late", "output", -90, "nat", {4}, True),
        ("inet guard", "in", "output", 5, "route", {4, 6}, False),
        ("inet guard", "dev", "ingress", 0, "filter", {4, 6}, True),
    ]
    assert list(rules.tables()) == ["ip shop", "inet guard", "ip6 asleep"]
    assert list(rules.chains("ip shop")) == ["late", "plain"]
    assert list(rules.chains("bridge filter")) == []
    assert rules.chain("ip shop", "late") is rules.base_chains()[0].chain
    assert rules.chain("ip shop", "nosuch") is None
    assert rules.chain("nosuch", "late") is None
    assert (rules.backend, rules.where, rules.chain("ip shop", "late").where) == (
        "nftables",
        "nft.json",
        "nft.json",
    )
    assert list(read(TABLES, {"ip shop"}).tables()) == ["inet guard", "ip6 asleep"]


def capture(name):
    """Every nft.json of a captured cluster."""
    with tarfile.open(FIXTURES / "captures" / f"{name}.tar.gz") as archive:
        for member in archive.getmembers():
            if member.name.endswith("/nft.json"):
                yield member.name, archive.extractfile(member).read()


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_every_rule_of_the_captures_is_modelled(mode):
    seen = 0
    for where, data in capture(mode):
        dump = read_nft_json(data, where)
        owned = {name for name, table in dump.tables.items() if is_iptables(table)}
        assert set(dump.tables) - owned == (
            {"ip kube-proxy", "ip6 kube-proxy"} if mode == "nftables" else set()
        )
        rules = NftablesRules(dump, PlainSurroundings())
        for table in rules.tables():
            for name in rules.chains(table):
                for rule in rules.chain(table, name).rules():
                    seen += 1
                    unknown = [why for op, why in rule.actions if op is Op.UNKNOWN]
                    assert not unknown or (table in owned and all(why.startswith("xt ") for why in unknown))
                    assert '":' not in rule.text  # no statement is left as JSON
    assert seen > 400


@pytest.mark.parametrize(
    ("family", "name", "bases", "expr", "expected"),
    [
        ("ip", "nat", ["PREROUTING", "OUTPUT"], [], True),
        ("ip6", "filter", ["INPUT"], [], True),
        ("ip", "mangle", [], [], True),
        ("ip", "filter", ["input"], [], False),
        ("ip", "filter", ["input"], [{"xt": {"type": "match", "name": "comment"}}], True),
        ("ip", "filter", ["INPUT", "mine"], [{"log": {"prefix": '"xt"'}}], False),
        ("inet", "filter", ["INPUT"], [], False),
        ("ip", "kube-proxy", ["INPUT"], [], False),
        ("bridge", "filter", ["INPUT"], [], False),
    ],
)
def test_whose_a_table_is(family, name, bases, expr, expected):
    of = {"family": family, "table": name}
    entries = [{"table": {"family": family, "name": name}}]
    entries += [
        {"chain": {**of, "name": base, "type": "filter", "hook": "input", "prio": 0}} for base in bases
    ]
    entries += [{"rule": {**of, "chain": "INPUT", "expr": expr}}]
    data = json.dumps({"nftables": entries}).encode()
    assert is_iptables(read_nft_json(data, "nft.json").tables[f"{family} {name}"]) is expected


# --- flows


def flow_id(flow):
    return flow["id"]


@pytest.mark.parametrize("flow", FLOWS, ids=flow_id)
def test_flows(flow):
    data = json.dumps(flow["dump"]).encode()
    own = flow["node_ips"]
    node = Node([NftablesRules(read_nft_json(data, flow["id"]), PlainSurroundings(own))], PlainRouter(own))
    for case in flow["cases"]:
        question = Question(case["src"], case["dst"], case["dport"], case["proto"])
        told = [outcome_json(outcome) for outcome in ask(node, packet_of(question))]
        assert sum(answer["probability"] for answer in told) == pytest.approx(1)
        words = {"drop": ["DROP"], "reject": ["REJECT"], "accept": ["ACCEPT"], "none": [], "unknown": ["?"]}
        met = {to for answer in told for to in words.get(answer["verdict"], [answer["to"]])}
        assert met == {to for expected in case["expect"] for to in expected.split(", ")}, case
        if any(answer["verdict"] == "dnat" for answer in told):
            assert {answer["masquerade"] for answer in told} == {case["masq"]}, case


@pytest.mark.parametrize("flow", FLOWS, ids=flow_id)
def test_texts_are_those_of_nft(flow):
    rules = NftablesRules(read_nft_json(json.dumps(flow["dump"]).encode(), "flow"), PlainSurroundings())
    (table,) = rules.tables()
    written = {}
    for line in flow["text"].splitlines():
        if found := re.match(r"\tchain (\S+) \{", line):
            chain = written.setdefault(found[1], [])
        elif re.match(r"\t(set|map) ", line):
            chain = []
        elif line.startswith("\t\t") and not re.match(r"\t\t(type \w+ hook |comment )", line):
            chain.append(line.strip())
    assert set(written) == set(rules.chains(table))
    for name, lines in written.items():
        assert [rule.text for rule in rules.chain(table, name).rules()] == lines


# --- long chains, counters, nesting


def test_long_chains_are_looked_up_by_what_their_rules_demand():
    addresses = [f"10.0.0.{n}" for n in range(1, 60)]
    known = [
        [match(payload("ip", "daddr"), a), match(payload("tcp", "dport"), 80), {"accept": None}]
        for a in addresses
    ]
    ports = [[match(payload("th", "dport"), port), {"reject": None}] for port in range(1000, 1040)]
    late = [
        [
            {"mangle": {"key": meta("mark"), "value": 1}},
            match(payload("ip", "daddr"), "10.0.0.1"),
            {"drop": None},
        ]
    ]
    other = [[match(payload("ip", "daddr"), prefix("10.9.0.0", 16)), {"drop": None}]]
    (base,) = ruleset(*late, *known, *ports, *other).base_chains()
    chain = base.chain
    looked_up = [
        len(chain.for_packet(tracked("10.0.1.1", to, port)))
        for to, port in (("10.0.0.7", 80), ("10.0.0.7", 1001))
    ]
    assert looked_up == [3, 4]  # of 101 rules
    for to, port, how in (
        ("10.0.0.7", 80, 0),
        ("10.0.0.7", 81, 2),
        ("10.0.0.7", 1001, 4),
        ("10.9.0.1", 80, 3),
    ):
        ((ended, packet, _),) = run(base, tracked("10.0.1.1", to, port))
        assert (ended, packet.mark) == (how, 1)


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        ([match(payload("ip", "daddr"), "10.0.0.1")], (10 << 24 | 1, None)),
        ([match(payload("ip6", "daddr"), "::7")], (7, None)),
        ([match(meta("l4proto"), "tcp"), match(payload("th", "dport"), 80)], (None, 80)),
        ([{"counter": None}, match(payload("udp", "dport"), 53)], (None, 53)),
        ([match(payload("ip", "daddr"), "10.0.0.1", "!=")], (None, None)),
        ([match(payload("ip", "daddr"), "@s"), match(payload("tcp", "dport"), {"set": [80]})], (None, None)),
        ([match(payload("tcp", "dport"), "ssh"), match(payload("ip", "daddr"), "nonsense")], (None, None)),
        ([{"notrack": None}, match(payload("tcp", "dport"), 80)], (None, None)),
    ],
)
def test_keys(statements, expected):
    chain = ruleset([*statements, {"accept": None}]).chain("inet t", "base")
    assert chain.dialect.key(chain.raws[0]) == expected


def test_counters():
    chain = ruleset(
        [{"counter": {"packets": 7, "bytes": 420}}, {"accept": None}], [{"accept": None}], [{"counter": "c"}]
    )
    assert [rule.packets for rule in chain.chain("inet t", "base").rules()] == [7, None, None]


def test_chains_that_call_each_other_in_a_loop():
    chains = [("a", [[jump("b")]]), ("b", [[goto("a")]])]
    (base,) = ruleset([jump("a")], chains=chains).base_chains()
    ((how, _, why),) = run(base, tracked("10.0.0.1", "10.0.0.2", 80))
    assert (how, "loop" in why) == (5, True)


# --- garbage

NAMES = """
match op == in left right payload protocol field ip ip6 tcp daddr dport th meta key mark ct state set concat prefix
addr len range elem val vmap data map numgen mode mod offset jump target goto accept drop reject dnat port family
snat mangle value limit quota counter @s @m new fib flags result type oif saddr tcp & | ^ << newthing
"""
WORDS = st.sampled_from(NAMES.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1 << 40) | WORDS | st.text(max_size=3) | st.just("10.0.0.1"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=25,
)
GOOD = [
    match(payload("ip", "daddr"), "10.0.0.1"),
    {
        "vmap": {
            "key": {"numgen": {"mode": "random", "mod": 2, "offset": 0}},
            "data": {"set": [[0, {"drop": None}]]},
        }
    },
    {"vmap": {"key": {"concat": [payload("ip", "daddr"), payload("th", "dport")]}, "data": "@m"}},
    {
        "dnat": {
            "family": "ip",
            "addr": {"map": {"key": payload("tcp", "dport"), "data": {"set": [[80, "10.0.0.1"]]}}},
        }
    },
    {"mangle": {"key": meta("mark"), "value": {"|": [meta("mark"), 1]}}},
    {"set": {"op": "update", "elem": payload("ip", "saddr"), "set": "@s"}},
    match({"fib": {"result": "type", "flags": ["daddr"]}}, {"set": ["local"]}),
    {"dnat": {"flags": "netmap", "addr": prefix("10.0.0.0", 24)}},
    {"log": {"prefix": "x", "flags": ["tcp options"]}},
    {"limit": {"rate": 1, "per": "day", "burst": 7}},
    {"reject": {"type": "icmp", "expr": "port-unreachable"}},
]


@st.composite
def damaged(draw):
    """A good statement in which something was replaced by any JSON."""
    statement = json.loads(json.dumps(draw(st.sampled_from(GOOD))))
    place = statement
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inner = place[key]
        if not isinstance(inner, (dict, list)) or not inner or draw(st.booleans()):
            place[key] = draw(JSON)
            return statement
        place = inner


def survives(expr, elem=()):
    sets = [
        ("set", {"name": "s", "type": "ipv4_addr", "elem": elem}),
        ("map", {"name": "m", "type": ["ipv4_addr", "inet_service"], "map": "verdict", "elem": elem}),
    ]
    (base,) = ruleset(expr, sets=sets).base_chains()
    for asked in (tracked("10.0.0.1", "10.0.0.2", 80), tracked("fd00::1", "fd00::2", None, "icmpv6")):
        run(base, asked)
    (rule,) = base.chain.rules()
    assert isinstance(rule.text, str)
    assert rule.packets is None or isinstance(rule.packets, int)
    base.chain.dialect.key(rule.raw)


@given(JSON)
def test_a_rule_of_any_json_is_translated(expr):
    survives(expr)


@given(st.lists(damaged(), min_size=1, max_size=3))
def test_a_damaged_rule_is_translated(expr):
    survives(expr)


@given(JSON)
def test_elements_of_any_json_are_read(elem):
    survives([match(payload("ip", "saddr"), "@s")], elem)
    survives([GOOD[2]], elem)


def test_an_element_that_is_none():
    survives([match(payload("ip", "daddr"), {"elem": 5}), {"dnat": {"addr": {"elem": 5}}}])


def test_a_rule_that_is_nested_deep_is_followed_or_unknown():
    endings = {}
    for depth in (50, 450):  # deeper ones do not load
        deep = meta("mark")
        for _ in range(depth):
            deep = {"|": [deep, 1]}
        expr = [match(deep, 1), {"drop": None}]
        survives(expr)
        (base,) = ruleset(expr).base_chains()
        ((endings[depth], _, _),) = run(base, tracked("10.0.0.1", "10.0.0.2", 80))
    assert endings[50] == DROPPED
    assert endings[450] in (DROPPED, UNKNOWN)


def ingress(*rules, family="netdev", **head):
    """A ruleset with one chain at ingress, in front of nothing else."""
    chain = {"family": family, "table": "t", "name": "in", "handle": 1, "type": "filter", "hook": "ingress"}
    listed = [{"chain": chain | {"prio": 0, "policy": "accept"} | head}]
    listed += [
        {"rule": {"family": family, "table": "t", "chain": "in", "handle": 2, "expr": r}} for r in rules
    ]
    dump = {
        "nftables": [{"metainfo": {"json_schema_version": 1}}, {"table": {"family": family, "name": "t"}}]
    }
    dump["nftables"] += listed
    return NftablesRules(read_nft_json(json.dumps(dump).encode(), "nft.json"), PlainSurroundings([]))


def saddr(ip, address):
    return {"match": {"op": "==", "left": {"payload": {"protocol": ip, "field": "saddr"}}, "right": address}}


@pytest.mark.parametrize("family", ["netdev", "inet"])
@pytest.mark.parametrize(
    ("ip", "source", "target"), [("ip", "192.0.2.1", "10.0.0.1"), ("ip6", "2001:db8::1", "fd00::1")]
)
def test_an_ingress_chain_drops_before_all_others(family, ip, source, target):
    drop = [saddr(ip, source), {"drop": None}]

    def fate(rules, iif):
        live = packet(source, target, 80)
        live.iif = iif
        [outcome] = Node([rules], PlainRouter([])).receive(live)
        return outcome.fate

    bound = ingress(drop, family=family, dev="eth0")
    assert fate(bound, "eth0") is Fate.DROPPED
    assert fate(bound, "eth1") is Fate.FORWARDED
    assert fate(bound, None) is Fate.UNKNOWN
    assert fate(ingress(drop, family=family, dev=["eth1", "eth0"]), "eth1") is Fate.DROPPED
    assert (
        fate(ingress(drop, family=family), "eth0") is Fate.UNKNOWN
    )  # some versions of nft leave the device out
    other = [saddr(ip, target), {"drop": None}]
    assert fate(ingress(other, family=family), None) is Fate.FORWARDED
