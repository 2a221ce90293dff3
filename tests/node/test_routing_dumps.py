"""Addresses, routes, routing rules and settings: the dumps of a real namespace, and the kernel's own answers."""

import json
import random
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from svcdoctor.dataplane.packet import Packet, address_text
from svcdoctor.dataplane.routing import Way
from svcdoctor.dataplane.tablerouter import TableRouter
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.facts import addresses
from svcdoctor.node.links import read_links
from svcdoctor.node.routerules import read_rules
from svcdoctor.node.routes import RoutingTable, read_routes
from svcdoctor.node.sysctls import read_sysctls

SEED = 20261121


@pytest.fixture(scope="module")
def space(namespace):
    """The namespace with three links, their addresses and nothing else."""
    run = namespace
    run(
        "for i in 0 1 2; do ip link add d$i type veth peer name p$i; ip link set d$i up; ip link set p$i up; done"
    )
    run(
        "ip addr add 10.1.0.1/24 dev d0; ip addr add 10.1.0.9/24 dev d0; ip addr add 10.2.0.1/16 dev d1;"
        "ip addr add 10.3.0.1/24 dev d2; ip -6 addr add fd00:1::1/64 dev d0 nodad;"
        "ip -6 addr add fd00:2::1/64 dev d1 nodad; ip -6 addr add fd00:3::1/64 dev d2 nodad"
    )
    return run


def random_routes(rng, family):
    """ip commands for routes of every kind, many with nested networks."""
    gateways = {4: ["10.1.0.254", "10.2.0.254", "10.3.0.254"], 6: ["fd00:1::fe", "fd00:2::fe", "fd00:3::fe"]}[
        family
    ]
    lines = [f"route add default via {gateways[0]} dev d0 metric 100"]
    for _ in range(120):
        if family == 4:
            length = rng.choice([8, 12, 16, 20, 24, 28, 32])
            network = ip_network(
                (rng.choice([10 << 24, 172 << 24 | 16 << 16]) | rng.getrandbits(20), length), strict=False
            )
        else:
            length = rng.choice([32, 48, 56, 64, 96, 128])
            network = ip_network((0xFD00 << 112 | rng.getrandbits(40) << 60, length), strict=False)
        link = rng.randrange(3)
        kind = rng.choice(["via", "via", "link", "blackhole", "unreachable", "prohibit", "throw"])
        metric = f" metric {rng.randrange(1, 300)}"
        if kind == "via":
            lines.append(f"route add {network} via {gateways[link]} dev d{link}{metric}")
        elif kind == "link":
            lines.append(f"route add {network} dev d{link}{metric}")
        else:
            lines.append(f"route add {kind} {network}{metric}")
    return lines


def router_of(space):
    names = {
        "ip-addr.json": "ip -j addr",
        "ip-route.json": "ip -4 -j route show table all",
        "ip-6-route.json": "ip -6 -j route show table all",
        "ip-rule.json": "ip -4 -j rule",
        "ip-6-rule.json": "ip -6 -j rule",
    }
    return TableRouter({n: Dump(n, space(c).encode()) for n, c in names.items()})


def kernel(space, family, questions):
    """What ``ip route get`` answers to each question: local, unreachable, or (device, gateway)."""
    script = "; ".join(f"ip -{family} -j route get {q} 2>/dev/null || echo none" for q in questions)
    answers = []
    decoder = json.JSONDecoder()
    text = space(script, check=False).strip()
    while text:
        if text.startswith("none"):
            answers.append(None)
            text = text[4:].lstrip()
            continue
        value, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        answers.append(value[0])
    assert len(answers) == len(questions)
    return answers


def same(decision, answer):
    """Whether a Decision is what the kernel said."""
    if answer is None or answer.get("type") in ("unreachable", "blackhole", "prohibit"):
        return decision.way in (Way.UNREACHABLE, Way.DROPPED)
    if answer.get("type") == "local" or answer.get("dev") == "lo":
        return decision.way is Way.LOCAL
    gateway = answer.get("gateway")
    expected = int(ip_address(gateway)) if gateway else None
    return decision.way is Way.FORWARD and (decision.oif, decision.gateway) == (answer["dev"], expected)


@pytest.mark.parametrize("family", [4, 6])
def test_every_destination_goes_where_the_kernel_sends_it(space, family):
    rng = random.Random(SEED + family)
    commands = random_routes(rng, family)
    space("; ".join(f"ip -{family} {c} 2>/dev/null" for c in commands) + "; true")
    space(
        f"ip -{family} rule add pref 100 fwmark 0x10/0xff table 77;"
        f"ip -{family} route add {'10.99.0.0/16' if family == 4 else 'fd00:99::/32'} dev d2 table 77;"
        f"ip -{family} rule add pref 200 to {'10.98.0.0/16' if family == 4 else 'fd00:98::/32'} unreachable;"
        f"ip -{family} rule add pref 300 from {'10.3.0.1' if family == 4 else 'fd00:3::1'} table 78;"
        f"ip -{family} route add default dev d2 table 78"
    )
    router = router_of(space)
    table = read_routes(space(f"ip -{family} -j route").encode(), "dump", family)
    targets = [r.network + rng.randrange(4) for r in table] * 3
    targets += [
        int(ip_address(a))
        for a in (
            ["10.1.0.1", "127.0.0.5", "10.98.3.4", "10.99.1.1"]
            if family == 4
            else ["fd00:1::1", "::1", "fd00:98::7", "fd00:99::1"]
        )
    ] * 4
    questions, packets = [], []
    for target in targets:
        mark = rng.choice([0, 0, 0x10, 0x110, 0x11])
        source = rng.choice([None, None, "10.3.0.1" if family == 4 else "fd00:3::1"])
        address = ip_address(address_text(family, target))
        if address.is_multicast or address.is_link_local or target == 0:  # a link-local one needs a zone
            continue
        text = address_text(family, target)
        questions.append(f"{text}{f' from {source}' if source else ''}{f' mark {mark}' if mark else ''}")
        live = Packet(family, 6, int(ip_address(source)) if source else 0, target, 80, mark=mark)
        live.local, live.iif = True, ""
        packets.append(live)
    answers = kernel(space, family, questions)
    wrong = [
        (q, router.outgoing(p), a)
        for q, p, a in zip(questions, packets, answers, strict=True)
        if not same(router.outgoing(p), a)
    ]
    assert not wrong, f"{len(wrong)} of {len(questions)}: {wrong[:3]}"
    assert len(questions) > 200


def test_text_and_json_of_ip_route_mean_the_same(space):
    for family in (4, 6):
        as_json = read_routes(space(f"ip -{family} -j route").encode(), "json", family)
        as_text = read_routes(space(f"ip -{family} route").encode(), "text", family)
        shown = [(r.network, r.prefix, r.dev, r.gateway, r.kind, r.metric) for r in as_json]
        assert shown == [(r.network, r.prefix, r.dev, r.gateway, r.kind, r.metric) for r in as_text]
        assert len(shown) > 50


def test_text_and_json_of_ip_rule_mean_the_same(space):
    for family in (4, 6):
        as_json = read_rules(space(f"ip -{family} -j rule").encode(), "json", family)
        as_text = read_rules(space(f"ip -{family} rule").encode(), "text", family)
        assert as_json == as_text
        assert len(as_json) >= 5


def test_multipath_routes_have_every_next_hop(space):
    space("ip route add 10.77.0.0/16 nexthop via 10.1.0.254 dev d0 nexthop via 10.2.0.254 dev d1")
    for command in ("ip -j route", "ip route"):
        table = RoutingTable(4, read_routes(space(command).encode(), "dump", 4))
        assert {r.dev for r in table.lookup(int(ip_address("10.77.1.1")))} == {"d0", "d1"}


def test_addresses_and_the_source_that_the_kernel_chooses(space):
    router = router_of(space)
    for target in ("10.1.0.77", "10.2.9.9", "10.3.0.5", "fd00:1::7", "fd00:2::9"):
        family = 6 if ":" in target else 4
        [answer] = kernel(space, family, [target])
        assert (
            address_text(family, router.source_towards(family, int(ip_address(target)))) == answer["prefsrc"]
        )
    held = {link.name: link for link in read_links(space("ip -j addr").encode(), "dump")}
    assert [
        (address_text(4, a.ip), a.prefix, a.secondary) for a in held["d0"].addresses if a.family == 4
    ] == [
        ("10.1.0.1", 24, False),
        ("10.1.0.9", 24, True),
    ]
    assert router.address_type(4, int(ip_address("10.1.0.255"))) == "broadcast"
    assert router.address_type(4, int(ip_address("224.0.0.1"))) == "multicast"
    assert router.address_type(6, int(ip_address("fd00:1::1"))) == "local"


def test_settings_as_the_kernel_combines_them(space):
    space(
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.d0.rp_filter=1 net.ipv4.conf.d1.rp_filter=2 "
        "net.ipv4.conf.d2.rp_filter=0 net.ipv4.conf.d0.route_localnet=1 net.ipv4.ip_forward=1"
    )
    settings = read_sysctls(space("sysctl -a -r '^net\\.'", check=False).encode())
    assert [settings.rp_filter(d) for d in ("d0", "d1", "d2", "d9")] == [1, 2, 0, None]
    assert [settings.route_localnet(d) for d in ("d0", "d1", None)] == [True, False, None]
    assert settings.forwards(4) is True and settings.forwards(6) is not None
    assert read_sysctls(b"").forwards(4) is None


READERS = [
    lambda data: read_links(data, "dump"),
    lambda data: read_routes(data, "dump", 4),
    lambda data: read_routes(data, "dump", 6),
    lambda data: read_rules(data, "dump", 4),
]


@pytest.mark.parametrize("read", READERS)
@given(
    data=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.recursive(
            st.none() | st.text() | st.integers(),
            lambda x: (
                st.lists(x)
                | st.dictionaries(
                    st.sampled_from(["dst", "dev", "ifname", "addr_info", "priority", "src", "table"]), x
                )
            ),
            max_leaves=8,
        ).map(lambda v: json.dumps(v).encode()),
    )
)
def test_garbage_is_one_error_that_names_the_dump(read, data):
    try:
        read(data)
    except SvcdoctorError as e:
        assert "dump" in e.message and "\n" not in e.message


@pytest.mark.parametrize("data", [b"[" * 100_000, b"[" + b'{"a":' * 100_000, b"[\xff]"])
@pytest.mark.parametrize(
    "read", [addresses, lambda d, w: read_routes(d, w, 4), lambda d, w: read_rules(d, w, 4)]
)
def test_what_is_nested_too_deep_is_one_error(read, data):
    with pytest.raises(SvcdoctorError, match=r"^dump: not the output of ip -j"):
        read(data, "dump")


@pytest.mark.parametrize(
    "link",
    [
        {"ifname": {}, "addr_info": []},
        {"ifname": "eth0", "addr_info": [{"local": "10.0.0.1", "prefixlen": 33}]},
        {"ifname": "eth0", "addr_info": [{"local": "fd00::1", "prefixlen": -1}]},
        {"ifname": "eth0", "addr_info": [{"local": "nobody", "prefixlen": 8}]},
    ],
)
def test_addresses_that_cannot_be_are_refused(link):
    with pytest.raises(SvcdoctorError, match=r"^dump: not the output of ip -j addr"):
        addresses(json.dumps([{}, link]).encode(), "dump")


def test_a_route_by_no_interface_is_refused():
    with pytest.raises(SvcdoctorError, match=r"^dump: not the output of ip -j route"):
        read_routes(b'[{"dst": "default", "dev": ["eth0"]}]', "dump", 4)


@pytest.mark.parametrize("family", [4, 6])
def test_a_dump_that_ends_within_a_line_is_refused(family):
    text = b"default via 10.0.0.12" if family == 4 else b"default via fd00::12"
    with pytest.raises(SvcdoctorError, match=r"^dump line 1: the dump ends in the middle of a line"):
        read_routes(text, "dump", family)
    with pytest.raises(SvcdoctorError, match=r"^dump line 1: the dump ends in the middle of a line"):
        read_rules(b"100: from all lookup 10", "dump", family)


def test_a_line_that_is_no_route_is_named():
    with pytest.raises(SvcdoctorError, match="dump line 2: not a route"):
        read_routes(b"default via 10.0.0.1 dev eth0\nhello world\n", "dump", 4)
