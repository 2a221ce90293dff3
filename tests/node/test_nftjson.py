"""The JSON of nft: what is read, what is left for later, and what every other file is told to be."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.node.nftjson import read_nft_json

HEAD = {"family": "ip", "table": "shop", "name": "in", "handle": 2}
ENTRIES = [
    {"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
    {"table": {"family": "ip", "name": "shop", "handle": 1}},
    {"table": {"family": "inet", "name": "asleep", "handle": 2, "flags": ["dormant"]}},
    {"table": {"family": "bridge", "name": "shop", "handle": 3}},
    {"counter": {"family": "ip", "name": "c", "table": "shop", "handle": 1, "packets": 1, "bytes": 60}},
    {"quota": {"family": "ip", "name": "q", "table": "shop", "bytes": 100, "used": 7, "inv": True}},
    {"limit": {"family": "ip", "name": "l", "table": "shop", "rate": 400, "per": "minute", "burst": 5}},
    {"set": {"family": "ip", "name": "s", "table": "shop", "type": "ipv4_addr", "elem": ["10.0.0.1"]}},
    {"map": {"family": "ip", "name": "m", "table": "shop", "type": "inet_service", "map": "verdict"}},
    {"chain": {"family": "ip", "table": "shop", "name": "plain", "handle": 1}},
    {"chain": {**HEAD, "type": "filter", "hook": "input", "prio": -10, "policy": "drop"}},
    {"rule": {"family": "ip", "table": "shop", "chain": "in", "handle": 5, "expr": [{"accept": None}]}},
    {"rule": {"family": "ip", "table": "shop", "chain": "plain", "handle": 6, "comment": "é", "expr": []}},
    {"rule": {"family": "ip", "table": "shop", "chain": "in", "handle": 7, "expr": [{"drop": None}]}},
]
DUMP = json.dumps({"nftables": ENTRIES}).encode()


def test_a_dump_is_read():
    tables = read_nft_json(DUMP, "nft.json").tables
    assert list(tables) == ["ip shop", "inet asleep", "bridge shop"]
    shop = tables["ip shop"]
    assert [bytes(rule.expr) for rule in shop.rules["in"]] == [b'[{"accept": null}]', b'[{"drop": null}]']
    assert [(rule.handle, rule.comment) for rule in shop.rules["plain"]] == [(6, "é")]
    assert list(shop.chains) == ["plain", "in"]
    assert (shop.chains["in"].hook, shop.chains["in"].prio, shop.chains["in"].policy) == (
        "input",
        -10,
        "drop",
    )
    assert (shop.chains["plain"].hook, shop.chains["plain"].policy) == (None, "accept")
    assert (bytes(shop.sets["s"].map), bytes(shop.sets["m"].map)) == (b"", b'"verdict"')
    assert (bytes(shop.sets["s"].elem), bytes(shop.sets["m"].elem)) == (b'["10.0.0.1"]', b"[]")
    assert (shop.quotas["q"].used, shop.quotas["q"].inv, shop.limits["l"].inv) == (7, True, False)
    assert [tables[name].dormant for name in tables] == [False, True, False]


@pytest.mark.parametrize("name", ["chain", "set", "map"])
def test_what_is_listed_twice_is_refused(name):
    twice = [*ENTRIES, *(e for e in ENTRIES if name in e)]
    with pytest.raises(
        SvcdoctorError, match=r"^nft\.json: (chain|set) \w+ of table ip shop is listed twice; "
    ):
        read_nft_json(json.dumps({"nftables": twice}).encode(), "nft.json")


def test_a_policy_that_there_is_not_is_refused():
    chain = {"chain": {**HEAD, "type": "filter", "hook": "input", "prio": 0, "policy": "reject"}}
    with pytest.raises(SvcdoctorError, match=r"^nft\.json: .*'reject'.*policy"):
        read_nft_json(json.dumps({"nftables": [chain]}).encode(), "nft.json")


def test_no_rules_at_all_are_a_ruleset():
    assert read_nft_json(b'{"nftables": [{"metainfo": {"version": "1.0.6"}}]}', "nft.json").tables == {}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "nft.json: empty"),
        (b" \n\n", "nft.json: empty"),
        (b"table ip kube-proxy {\n}\n", "the text of nft list ruleset, not its JSON"),
        (
            b"# Warning: table ip nat is managed by iptables-nft\ntable inet x {\n",
            "the text of nft list ruleset",
        ),
        (b'{"items": []}', "JSON, but not what nft -j list ruleset writes"),
        (b"[]", "JSON, but not what nft -j list ruleset writes"),
        (b'{"nftables": [7]}', "$.nftables[0]"),
        (b'{"nftables": [{"chain": {"family": "ip", "table": "t", "name": "c", "prio": "raw"}}]}', "prio"),
        (b'{"nftables": [{"add": {"table": {}}}]}', "no list of a ruleset"),
        (b'{"nftables": [\n{"metainfo": {}},\n{oops}]}', "at byte 34 (line 3)"),
        (DUMP[:400], "ends unfinished at byte 400 (line 1)"),
        (DUMP.replace(b", {", b",\n{")[:400], "ends unfinished at byte 400 (line 5)"),
        (DUMP + b" x", "trailing characters at byte"),
        (b"\x7fELF\x02\x01", "not the JSON of nft -j list ruleset"),
        (b"[" * 100_000, "JSON, but not"),
        (b'{"nftables": [{"rule": {"expr": ' + b"[" * 100_000, "nested deeper"),
    ],
)
def test_anything_else_is_named_with_its_place(data, says):
    with pytest.raises(SvcdoctorError) as raised:
        read_nft_json(data, "nft.json")
    assert says in raised.value.message
    assert raised.value.message.startswith("nft.json: ")
    assert "nft -j list ruleset" in raised.value.message
    assert "\n" not in raised.value.message


@given(st.integers(min_value=0, max_value=len(DUMP) - 1))
def test_a_dump_that_was_cut_off_anywhere_is_refused(length):
    with pytest.raises(SvcdoctorError):
        read_nft_json(DUMP[:length], "nft.json")


@given(st.integers(min_value=0, max_value=len(DUMP) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_dump_is_refused_or_read(at, damage):
    try:
        dump = read_nft_json(DUMP[:at] + damage + DUMP[at + len(damage) :], "nft.json")
    except SvcdoctorError as e:
        assert e.message.startswith("nft.json: ")
    else:
        assert isinstance(dump.tables, dict)


@given(st.binary(max_size=200))
def test_garbage_is_refused(data):
    with pytest.raises(SvcdoctorError):
        read_nft_json(data, "nft.json")
