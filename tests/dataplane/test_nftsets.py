"""Sets and maps: what is found is what going through the elements one by one would find."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.dataplane.nftfields import declared
from svcdoctor.dataplane.nftsets import MISSING, Elements
from svcdoctor.dataplane.nfttypes import TYPES, ipv4, ipv6
from svcdoctor.dataplane.nftvalues import Unmodelled, Vague, within
from svcdoctor.dataplane.packet import address_text

ADDRESS, PORT, PROTOCOL = TYPES["ipv4_addr"], TYPES["inet_service"], TYPES["inet_proto"]
SMALL = st.integers(min_value=0, max_value=31)


def of(types, *elements, is_map=False):
    return Elements.of_json(declared(types, "ip"), msgspec.Raw(json.dumps(elements).encode()), is_map)


@st.composite
def written_addresses(draw):
    """10.0.0.0 to 10.0.0.31 as nft writes them: one, a prefix, or a range."""
    first, kind = draw(SMALL), draw(st.sampled_from(["one", "prefix", "range"]))
    if kind == "one":
        return f"10.0.0.{first}"
    if kind == "prefix":
        length = draw(st.integers(min_value=28, max_value=31))
        return {"prefix": {"addr": f"10.0.0.{first & ~((1 << 32 - length) - 1)}", "len": length}}
    last = draw(st.integers(min_value=first, max_value=31))
    return {"range": [f"10.0.0.{first}", f"10.0.0.{last}"]}


def written_ports():
    return SMALL | st.tuples(SMALL, SMALL).map(lambda ends: {"range": [min(ends), max(ends)]})


@given(
    st.lists(
        st.tuples(written_addresses(), st.sampled_from(["tcp", "udp", 200]), written_ports()), max_size=8
    ),
    st.tuples(SMALL, st.sampled_from([6, 17, 200]), SMALL),
)
def test_concatenations_with_intervals(elements, asked):
    types = (ADDRESS, PROTOCOL, PORT)
    found = of(["ipv4_addr", "inet_proto", "inet_service"], *({"concat": list(parts)} for parts in elements))
    key = (ipv4("10.0.0.0") + asked[0], asked[1], asked[2])
    patterns = [tuple(t.pattern(part) for t, part in zip(types, e, strict=True)) for e in elements]
    expected = any(all(within(v, p) for v, p in zip(key, e, strict=True)) for e in patterns)
    assert (found.find(key) is not MISSING) is expected
    # The same with a port that is not known: certain only where every port, or none, is among the elements.
    vague = found.find((*key[:2], Vague("port?", 0, 65535)))
    possible = any(all(within(v, p) for v, p in zip(key[:2], e, strict=False)) for e in patterns)
    assert isinstance(vague, Vague) if possible else vague is MISSING


@pytest.mark.parametrize("last", ["10.0.0.9", "10.0.0.5"])
def test_intervals_that_overlap_are_not_guessed(last):
    wide, narrow = {"range": ["10.0.0.1", "10.0.0.30"]}, {"range": ["10.0.0.5", last]}
    for elements in ([wide, narrow], [narrow, wide]):
        with pytest.raises(Unmodelled, match="intervals that overlap"):
            of("ipv4_addr", *elements)
        with pytest.raises(Unmodelled, match="intervals that overlap"):
            of("ipv4_addr", *([e, {"drop": None}] for e in elements), is_map=True)


@given(st.lists(SMALL, max_size=12, unique=True), SMALL)
def test_intervals_of_one_field(ends, asked):
    ends = sorted(ends)[: len(ends) // 2 * 2]
    pairs = list(zip(ends[::2], ends[1::2], strict=True))
    elements = [[{"range": [low, high]}, {"jump": {"target": str(low)}}] for low, high in pairs]
    found = of("inet_service", *elements, is_map=True).find(asked)
    expected = [low for low, high in pairs if low <= asked <= high]
    assert found is MISSING if not expected else found == {"jump": {"target": str(expected[0])}}


@pytest.mark.parametrize(
    ("types", "elements", "value", "found"),
    [
        ("ipv4_addr", ["10.0.0.1", "10.0.0.2"], ipv4("10.0.0.2"), True),
        ("ipv4_addr", ["10.0.0.1", "10.0.0.2"], ipv4("10.0.0.3"), False),
        ("ipv6_addr", ["fd00::1", {"prefix": {"addr": "fd01::", "len": 16}}], ipv6("fd01::7"), True),
        ("ipv6_addr", ["fd00::1", {"prefix": {"addr": "fd01::", "len": 16}}], ipv6("fd02::7"), False),
        ("ipv6_addr", ["::ffff:1.2.3.4"], ipv6("::ffff:102:304"), True),
        ("inet_proto", ["ipv6-icmp"], 58, True),
        ("inet_proto", ["icmpv6"], 58, True),
        ("inet_proto", [58], 58, True),
        ("inet_service", [{"elem": {"val": 80, "comment": "web"}}], 80, True),
        ("inet_service", ["*"], 80, True),
        ("ifname", ["eth*", "lo"], "eth7", True),
        ("ifname", ["eth*", "lo"], "lo7", False),
        ("ifname", ["a\\*"], "a*", True),
        ("ifname", ["a\\*"], "ab", False),
        (["ifname", "inet_service"], [{"concat": ["eth*", 80]}], ("eth1", 80), True),
        (["ifname", "inet_service"], [{"concat": ["eth*", 80]}], ("eth1", 81), False),
        ("ipv4_addr . inet_service", [{"concat": ["1.2.3.4", 80]}], (ipv4("1.2.3.4"), 80), True),
        ({"typeof": {"payload": {"protocol": "tcp", "field": "dport"}}}, [80], 80, True),
        ("mark", [16], 16, True),
    ],
)
def test_find(types, elements, value, found):
    assert (of(types, *elements).find(value) is not MISSING) is found


def test_a_port_that_is_not_known_is_in_a_set_that_has_them_all():
    ephemeral = Vague("port?", 32768, 60999)
    assert of("inet_service", {"range": [1024, 40000]}, {"range": [40001, 65535]}).find(ephemeral) is True
    assert of("inet_service", {"range": [1, 1024]}, 8080).find(ephemeral) is MISSING
    assert isinstance(of("inet_service", {"range": [1024, 40000]}).find(ephemeral), Vague)


@pytest.mark.parametrize("protocol", [*PROTOCOL.symbols, 200])
def test_every_way_to_write_a_protocol_is_found(protocol):
    number = PROTOCOL.symbols.get(protocol, protocol)
    found = of(["inet_proto", "inet_service"], {"concat": [protocol, 80]})
    assert found.find((number, 80)) is True
    assert found.find((number, 81)) is MISSING
    assert found.find((number + 1, 80)) is MISSING


@given(st.lists(st.integers(min_value=0, max_value=(1 << 32) - 1), max_size=5), st.booleans())
def test_blanks_between_the_elements_do_not_matter(numbers, spread):
    texts = [address_text(4, number) for number in numbers]
    elements = [{"concat": [text, "tcp", 80]} for text in texts]
    written = json.dumps(elements, indent=2 if spread else None, separators=None if spread else (",", ":"))
    found = Elements.of_json((ADDRESS, PROTOCOL, PORT), msgspec.Raw(written.encode()), False)
    assert all(found.find((number, 6, 80)) is True for number in numbers)
    assert [patterns for patterns, _ in found.items()] == [(n, 6, 80) for n in dict.fromkeys(numbers)]


@pytest.mark.parametrize(
    ("types", "elements"),
    [
        ("ipv4_addr", [{"foo": 1}]),
        ("ipv4_addr", [{"prefix": {"addr": "10.0.0.300", "len": 8}}]),
        ("ipv4_addr", [{"range": ["10.0.0.1"]}]),
        ("inet_service", ["ssh", {"range": [1, 2]}]),
        ("mark", ["none"]),
        (["mark", "inet_service"], [{"concat": [1]}]),
        (["mark", "inet_service"], [7]),
        ("inet_service", [70000, {"range": [1, 2]}]),
        ("inet_service", [{"range": [90, 80]}]),
    ],
)
def test_what_cannot_be_read_is_said(types, elements):
    with pytest.raises(Unmodelled):
        of(types, *elements)
