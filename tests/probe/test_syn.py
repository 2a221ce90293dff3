"""SYN probes over real routers: who answers what, where it ends, and which backend a flow takes."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from routers import Chain, chain_with_server, without_raw_sockets

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim
from svcdoctor.model.packetpath import Said, SynAnswer, SynWay
from svcdoctor.probe.packets import scapypackets as packets
from svcdoctor.probe.packets.inside import inside
from svcdoctor.probe.packets.rawsockets import RawSockets, raw_sockets
from svcdoctor.probe.packets.syn import TRIES, WAVE, syn_flows, syn_ways

SECONDS = 0.2
CODES = {
    4: "icmp-net-unreachable icmp-host-unreachable icmp-proto-unreachable icmp-port-unreachable "
    "icmp-net-prohibited icmp-host-prohibited icmp-admin-prohibited",
    6: "icmp6-no-route icmp6-adm-prohibited icmp6-addr-unreachable icmp6-port-unreachable "
    "icmp6-policy-fail icmp6-reject-route",
}
families = pytest.mark.parametrize("family", [4, 6])


@pytest.fixture(scope="module")
def chain() -> Iterator[Chain]:
    with chain_with_server() as made:
        yield made


def way(chain: Chain, family: int, port: int = 8080, sport: int = 0, ip: str = "") -> SynWay:
    aim = Aim(ip or chain.server(family), port)
    (found,) = syn_ways([aim], seconds=SECONDS, sports=[sport], namespace=chain.namespace("client"))
    return found


@families
@pytest.mark.parametrize(("port", "said"), [(8080, Said.SYN_ACK), (81, Said.RST)])
def test_the_way_to_a_server_has_every_router(chain: Chain, family: int, port: int, said: Said) -> None:
    found = way(chain, family, port)
    assert [hop.by for hop in found.routers] == chain.routers(family)
    assert (found.end.said, found.end.by, found.end.by_port) == (said, chain.server(family), port)
    assert found.distance == 4
    assert found.end.back == 3
    assert not found.reset_on_the_way
    assert found.raw


@pytest.mark.parametrize(("family", "at"), [(4, 1), (6, 2), (4, 3)])
def test_where_a_syn_is_dropped_the_last_router_is_named(chain: Chain, family: int, at: int) -> None:
    with chain.rule(f"r{at}", family, "FORWARD -p tcp --dport 8080 -j DROP"):
        found = way(chain, family)
    assert found.end.said is Said.SILENCE
    assert [hop.by for hop in found.hops] == chain.routers(family)[:at]
    assert f"silence behind hop {at} ({chain.routers(family)[at - 1]})" in found.told


@families
def test_a_server_that_drops_is_behind_the_last_router(chain: Chain, family: int) -> None:
    with chain.rule("server", family, "INPUT -p tcp --dport 8080 -j DROP"):
        found = way(chain, family)
    assert found.end.said is Said.SILENCE
    assert found.distance is None
    assert [hop.by for hop in found.hops] == chain.routers(family)


@pytest.mark.parametrize(
    ("family", "code"), [(f, code) for f, codes in CODES.items() for code in codes.split()]
)
def test_each_icmp_error_is_named_with_its_sender(chain: Chain, family: int, code: str) -> None:
    with chain.rule("r2", family, f"FORWARD -p tcp --dport 8080 -j REJECT --reject-with {code}"):
        found = way(chain, family)
    assert (found.end.said, found.end.code) == (Said.UNREACHABLE, code)
    assert found.end.by == chain.routers(family)[1]
    assert [hop.said for hop in found.hops] == [Said.TIME_EXCEEDED, Said.TIME_EXCEEDED, Said.UNREACHABLE]
    assert f"{found.end.by} answers {code}" in found.told


@pytest.mark.parametrize(("family", "at"), [(4, 1), (6, 1), (4, 2), (6, 3), (4, 3)])
def test_a_firewalls_reset_is_told_from_a_closed_port(chain: Chain, family: int, at: int) -> None:
    with chain.rule(f"r{at}", family, "FORWARD -p tcp --dport 8080 -j REJECT --reject-with tcp-reset"):
        found = way(chain, family)
    assert (found.end.said, found.end.by) == (Said.RST, chain.server(family))  # in its name
    assert found.reset_on_the_way
    assert f"reset by a firewall on hop {at} ({chain.routers(family)[at - 1]})" in found.told
    with chain.rule("server", family, "INPUT -p tcp --dport 8080 -j REJECT --reject-with tcp-reset"):
        assert not way(chain, family).reset_on_the_way


@families
def test_a_router_that_says_nothing_is_passed_over(chain: Chain, family: int) -> None:
    protocol, kind = ("icmp", "icmp") if family == 4 else ("icmpv6", "icmpv6")
    with chain.rule("r2", family, f"OUTPUT -p {protocol} --{kind}-type time-exceeded -j DROP"):
        found = way(chain, family)
        with chain.rule("server", family, "INPUT -p tcp --dport 8080 -j DROP"):
            silent = way(chain, family)
    first, _, third = chain.routers(family)
    assert [hop.by for hop in found.hops] == [first, "", third, chain.server(family)]
    assert [hop.by for hop in silent.hops] == [first, "", third]


def test_a_lost_syn_is_sent_again(chain: Chain) -> None:
    family = 4
    every_other = "FORWARD -p tcp --dport 8080 -m statistic --mode nth --every 2 --packet 0 -j DROP"
    with chain.rule("r1", family, every_other):
        found = way(chain, family)
    assert found.end.said is Said.SYN_ACK
    assert [hop.by for hop in found.routers] == chain.routers(family)


@families
def test_a_routing_loop_is_told(chain: Chain, family: int) -> None:
    lost = "10.99.77.0/24" if family == 4 else "fd99:77::/64"
    back, on = chain.routers(family)[0], chain.routers(family)[1]
    chain.run("client", f"ip route add {lost} via {back}")
    chain.run("r1", f"ip route add {lost} via {on}")
    chain.run("r2", f"ip route add {lost} via {on[:-1]}1")
    found = way(chain, family, ip="10.99.77.7" if family == 4 else "fd99:77::7")
    assert found.end.said is Said.TIME_EXCEEDED
    assert "round in circles" in found.told
    assert {hop.by for hop in found.hops} <= {back, on, on[:-1] + "1"}


@families
def test_a_chosen_source_port_is_used(chain: Chain, family: int) -> None:
    with chain.rule("r3", family, "FORWARD -p tcp --sport 40001 -j DROP"):
        aims = [Aim(chain.server(family), 8080)] * 2
        dropped, passed = syn_ways(
            aims, seconds=SECONDS, sports=[40001, 40002], namespace=chain.namespace("client")
        )
    assert (dropped.end.said, dropped.end.sport) == (Said.SILENCE, 40001)
    assert (passed.end.said, passed.end.sport) == (Said.SYN_ACK, 40002)


@families
def test_this_machines_own_rules_are_told_apart(chain: Chain, family: int) -> None:
    with chain.rule("client", family, "OUTPUT -p tcp --dport 8080 -j DROP"):
        assert "does not send it: a rule of its OUTPUT chain drops it" in way(chain, family).told
    reject = "icmp-admin-prohibited" if family == 4 else "icmp6-adm-prohibited"
    with chain.rule("client", family, f"OUTPUT -p tcp --dport 8080 -j REJECT --reject-with {reject}"):
        end = way(chain, family).end
        assert (end.said, end.code) == (Said.UNREACHABLE, reject)
    with chain.rule("client", family, "INPUT -p tcp --sport 8080 -j DROP"):
        found = way(chain, family)
        assert (found.end.said, found.end.by) == (Said.NOT_LET_IN, chain.server(family))
        assert "this machine's own rules drop the answer (synAck" in found.told


@families
def test_what_cannot_be_sent_says_why(chain: Chain, family: int) -> None:
    nowhere = way(chain, family, ip="192.0.2.1" if family == 4 else "2001:db8::1")
    assert (nowhere.end.said, nowhere.end.detail) == (Said.NOT_SENT, "Network is unreachable")
    taken = way(chain, family, sport=40003)
    assert taken.end.said is Said.SYN_ACK
    both = syn_ways(
        [Aim(chain.server(family), 8080)] * 2,
        seconds=SECONDS,
        sports=[40003, 40003],
        namespace=chain.namespace("client"),
    )
    assert sorted(way.end.said for way in both) == [Said.NOT_SENT, Said.SYN_ACK]
    with pytest.raises(SvcdoctorError, match="cannot enter the network namespace"):
        syn_ways([Aim(chain.server(family), 8080)], namespace=Path("/proc/1/ns/none"))


@pytest.fixture(scope="module", params=[4, 6])
def service(chain: Chain, request: pytest.FixtureRequest) -> tuple[int, str, list[str]]:
    """A family, a Service's address that the client translates itself, as a node does, and its two backends."""
    family = request.param
    address, other = ("10.96.0.10", "10.99.4.7") if family == 4 else ("fd96::10", "fd99:4::7")
    length = "24" if family == 4 else "64 nodad"
    chain.run("server", f"ip addr add dev west {other}/{length}")
    chain.run("client", f"ip -{family} route add {address} via {chain.routers(family)[0]}")
    return family, address, [chain.server(family), other]


@contextmanager
def translated(chain: Chain, service: tuple[int, str, list[str]], by: str) -> Iterator[None]:
    family, address, (one, other) = service
    ip = "ip" if family == 4 else "ip6"
    rule = f"{ip} daddr {address} tcp dport 8080 dnat to {by} mod 2 map {{ 0 : {one}, 1 : {other} }}"
    hook = "{ type nat hook output priority -100; }"
    chain.run(
        "client", f"nft 'add table {ip} own; add chain {ip} own out {hook}; add rule {ip} own out {rule}'"
    )
    try:
        yield
    finally:
        chain.run("client", f"nft delete table {ip} own")


def test_the_backend_that_each_flow_takes_is_named(chain: Chain, service: tuple[int, str, list[str]]) -> None:
    family, address, backends = service

    def flows() -> list[list[str]]:
        found = syn_flows(
            Aim(address, 8080), flows=16, repeat=3, seconds=SECONDS, namespace=chain.namespace("client")
        )
        assert len({answer.sport for flow in found for answer in flow}) == 16
        assert {(answer.said, answer.by_port) for flow in found for answer in flow} == {(Said.SYN_ACK, 8080)}
        return [[answer.by for answer in flow] for flow in found]

    with translated(chain, service, "jhash tcp sport"):  # by the flow's hash
        hashed = flows()
        found = way(chain, family, ip=address)
    assert all(len(set(flow)) == 1 for flow in hashed)
    assert {flow[0] for flow in hashed} == set(backends)
    assert found.end.by in backends
    assert [hop.by for hop in found.routers] == chain.routers(family)
    with translated(
        chain, service, f"jhash {'ip' if family == 4 else 'ip6'} saddr"
    ):  # by the client's address
        assert len({by for flow in flows() for by in flow}) == 1
    with translated(chain, service, "numgen random"):  # for each connection
        drawn = flows()
    assert {by for flow in drawn for by in flow} == set(backends)
    assert any(len(set(flow)) == 2 for flow in drawn)


@families
def test_nothing_is_left_at_the_server(chain: Chain, family: int) -> None:
    """No connection to accept, none half-open."""
    syn_flows(
        Aim(chain.server(family), 8080),
        flows=8,
        repeat=2,
        seconds=SECONDS,
        namespace=chain.namespace("client"),
    )
    table = chain.run("server", f"cat /proc/net/tcp{'6' if family == 6 else ''}")
    states = {line.split()[3] for line in table.splitlines()[1:] if ":1F90" in line.split()[1]}
    assert states == {"0A"}  # LISTEN


@families
def test_other_connections_are_not_heard(chain: Chain, family: int, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    real = packets.decode
    monkeypatch.setattr(packets, "decode", lambda data: (decoded.append(data), real(data))[1])

    async def beside() -> SynAnswer:
        with contextlib.ExitStack() as opened:
            sockets = raw_sockets(opened, socket.AF_INET6 if family == 6 else socket.AF_INET)
            assert isinstance(sockets, RawSockets)
            for _ in range(20):
                socket.create_connection((chain.server(family), 8080), 5).close()
            with contextlib.closing(sockets.flow(chain.server(family), 8080)) as flow:
                return (await sockets.ask(flow, 1.0)).syn

    found = inside(chain.namespace("client"), lambda: asyncio.run(beside()))
    assert found.said is Said.SYN_ACK
    answers = [h.acknowledged for data in decoded if (h := real(data)) and h.acknowledged is not None]
    assert answers[-2:] == [answers[-1]] * 2
    # One connection in 4,096 has a number with the same first bits.
    assert len({number >> 8 for number in answers}) <= 2
    assert len(decoded) <= 12  # there is ICMPv6 beside: neighbours


def test_syns_are_bounded_in_number_and_time(chain: Chain) -> None:
    with chain.rule("r1", 4, "FORWARD -p tcp --dport 9000:9011 -j DROP"):
        counter = "mangle -A PREROUTING -p tcp --dport 9000:9011 -j ACCEPT"
        chain.run("r1", f"iptables -t {counter}")
        begin = time.monotonic()
        aims = [Aim(chain.server(4), port) for port in range(9000, 9012)]
        ways = syn_ways(aims, seconds=SECONDS, namespace=chain.namespace("client"))
        took = time.monotonic() - begin
        counted = chain.run("r1", "iptables -t mangle -L PREROUTING -v -x -n")
    assert [hop.by for found in ways for hop in found.hops] == [chain.routers(4)[0]] * 12
    found = re.search(r"^\s*(\d+) .*dpts:9000:9011", counted, re.MULTILINE)
    assert found is not None
    assert 12 * (1 + WAVE) <= int(found[1]) <= 12 * (1 + WAVE * TRIES)
    assert took < 12 * SECONDS  # one such way takes three


@families
def test_without_raw_sockets_connect_stands_in(chain: Chain, family: int) -> None:
    accepted, refused = without_raw_sockets(
        lambda: syn_ways(
            [Aim(chain.server(family), 8080), Aim(chain.server(family), 81)],
            sports=[40010],
            seconds=SECONDS,
            namespace=chain.namespace("client"),
        )
    )
    assert (accepted.end.said, accepted.end.sport, accepted.raw) == (Said.SYN_ACK, 40010, False)
    assert (refused.end.said, refused.hops) == (Said.RST, ())
    for part in ("CAP_NET_RAW", "sudo", "setcap cap_net_raw+ep /", "connect() was used instead"):
        assert part in refused.note
    assert refused.note in refused.told
    with chain.rule("r2", family, "FORWARD -p tcp --dport 8080 -j DROP"):
        flows = without_raw_sockets(
            lambda: syn_flows(
                Aim(chain.server(family), 8080),
                flows=2,
                seconds=SECONDS,
                namespace=chain.namespace("client"),
            )
        )
    assert [[answer.said for answer in flow] for flow in flows] == [[Said.SILENCE] * 2] * 2
