"""Probes in network namespaces: firewalls that drop and refuse, missing routes, links that take small packets only."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import probing_servers as servers
import pytest
from conftest import Spaces
from probing_shell import Container

from svcdoctor.lab.net.sockets import socket_in
from svcdoctor.model.observed import Aim, Met, Observation, Place, PlaceKind, ProbeKind
from svcdoctor.probe.here import Here
from svcdoctor.probe.run import probe, probe_all

HTTP, UDP = ProbeKind.HTTP, ProbeKind.UDP
PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nweb-0\n"
FAMILIES = ["10.9.1.2", "fd00:9:1::2"]


@contextmanager
def serving(pid: int, host: str, answer: bytes = PAGE) -> Iterator[int]:
    """An HTTP server in a namespace, which reads all of a request's body; its port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET

    def serve(sock: socket.socket) -> None:
        servers.request(sock)
        sock.sendall(answer)

    server = servers.Server(serve)
    server.patience = 0.7  # a client's end may never arrive
    server.listening.close()
    server.listening = socket_in(pid, family, socket.SOCK_STREAM, host, 8080)
    with server:
        yield 8080


def tried(pid: int, *aims: Aim, count: int = 1, seconds: float = 0.5) -> list[Observation]:
    place = Place(PlaceKind.NODE, "n1")
    seen = probe(aims, Here(place, Path(f"/proc/{pid}/ns/net")), count=count, seconds=seconds)
    assert {o.place for o in seen} == {place}
    return list(seen)


@pytest.fixture
def pair(spaces: Spaces) -> tuple[Spaces, int, int]:
    here, there = spaces.add(), spaces.add()
    spaces.link(here, there)
    return spaces, here, there


@pytest.mark.parametrize("host", FAMILIES)
def test_every_answer_of_a_firewall(pair: tuple[Spaces, int, int], host: str) -> None:
    spaces, here, there = pair
    tables, prefix = ("ip6tables", "icmp6") if ":" in host else ("iptables", "icmp")
    denied = {"icmp": "admin-prohibited", "icmp6": "adm-prohibited"}[prefix]
    spaces.run(
        there,
        "sysctl -q -w net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0",
        f"{tables} -A INPUT -p tcp --dport 81 -j DROP",
        f"{tables} -A INPUT -p tcp --dport 82 -j REJECT --reject-with tcp-reset",
        f"{tables} -A INPUT -p tcp --dport 83 -j REJECT",
        f"{tables} -A INPUT -p tcp --dport 84 -j REJECT --reject-with {prefix}-{denied}",
        f"{tables} -A INPUT -p udp --dport 85 -j DROP",
        f"{tables} -A INPUT -p udp --dport 86 -j REJECT --reject-with {prefix}-{denied}",
    )
    with serving(there, host):
        ports = [
            (8080, HTTP),
            (81, HTTP),
            (82, HTTP),
            (83, HTTP),
            (84, HTTP),
            (85, UDP),
            (86, UDP),
            (87, UDP),
        ]
        # An ICMP error that comes while the SYN is still being sent counts with the next SYN only.
        seen = tried(here, *(Aim(host, port, kind) for port, kind in ports), seconds=1.5)
    prohibited = Met.UNREACHABLE
    assert [o.mostly for o in seen] == [
        Met.ANSWERED, Met.TIMEOUT, Met.REFUSED, Met.REFUSED, prohibited, Met.TIMEOUT, prohibited, Met.REFUSED,
    ]  # fmt: skip
    assert seen[1].detail == "no answer to the connection within 1.5 s"
    assert seen[0].who == {"web-0": 1}


@pytest.mark.parametrize("host", ["10.9.77.1", "fd00:9:77::1", "10.9.1.77"])
def test_no_route_and_no_neighbour(pair: tuple[Spaces, int, int], host: str) -> None:
    spaces, here, _ = pair
    spaces.run(here, "sysctl -q -w net.ipv4.neigh.v1.retrans_time_ms=50 net.ipv4.neigh.v1.mcast_solicit=2")
    for kind in (HTTP, UDP):
        (seen,) = tried(here, Aim(host, 80, kind), seconds=3)
        assert seen.mostly is Met.UNREACHABLE
        assert seen.detail.startswith("no route to the ")


def test_a_family_that_a_place_does_not_have(spaces: Spaces) -> None:
    here = spaces.add()
    spaces.run(here, "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1")
    (seen,) = tried(here, Aim("::1", 80))
    assert seen.mostly in (Met.ERROR, Met.UNREACHABLE)
    assert seen.detail


@pytest.mark.parametrize(
    ("way", "host"), [("sockets", FAMILIES[0]), ("sockets", FAMILIES[1]), ("python3", FAMILIES[0])]
)
def test_large_requests_that_a_link_swallows(
    pair: tuple[Spaces, int, int], host: str, way: str, tmp_path: Path
) -> None:
    """The peer's link takes smaller packets than ours knows, and nobody says so: an MTU that is wrong somewhere."""
    spaces, here, there = pair
    tables, length = ("ip6tables", "1000:") if ":" in host else ("iptables", "1000:")
    spaces.run(there, f"{tables} -A INPUT -m length --length {length} -j DROP")
    small, large = Aim(host, 8080, HTTP), Aim(host, 8080, HTTP, payload_size=4000)
    with serving(there, host):
        if way == "sockets":
            seen = tried(here, small, large, seconds=0.5)
            assert "bytes of the request were never acknowledged" in seen[1].detail
            plain = tried(here, Aim(host, 8080, payload_size=4000), seconds=0.3)
            assert plain[0].mostly is Met.TIMEOUT
        else:
            origin = Container(tmp_path, [way], pid=here).origin()
            seen = list(probe([small, large], origin, seconds=0.5))
    assert [o.mostly for o in seen] == [Met.ANSWERED, Met.TIMEOUT]


def test_the_same_endpoint_from_two_nodes(pair: tuple[Spaces, int, int]) -> None:
    """From node a, not from node b: what differs is the node."""
    spaces, a, there = pair
    b = spaces.add()
    spaces.link(b, there, 2)
    spaces.run(b, "ip route add 10.9.1.0/24 via 10.9.2.2")
    spaces.run(there, "iptables -A INPUT -i v2 -p tcp -j DROP")
    nodes = [Here(Place(PlaceKind.NODE, n), Path(f"/proc/{pid}/ns/net")) for n, pid in (("a", a), ("b", b))]
    with serving(there, "10.9.1.2"):
        seen = probe_all([(node, [Aim("10.9.1.2", 8080, HTTP)]) for node in nodes], count=3, seconds=0.5)
    assert [(str(o.place), dict(o.met)) for o in seen] == [
        ("node/a", {Met.ANSWERED: 3}),
        ("node/b", {Met.TIMEOUT: 3}),
    ]


def test_some_tries_are_lost(pair: tuple[Spaces, int, int]) -> None:
    spaces, here, there = pair
    spaces.run(there, "iptables -A INPUT -p tcp --syn -m statistic --mode nth --every 2 --packet 0 -j DROP")
    with serving(there, "10.9.1.2"):
        (seen,) = tried(here, Aim("10.9.1.2", 8080, HTTP), count=20)
    assert seen.met == {Met.ANSWERED: 10, Met.TIMEOUT: 10}
    assert seen.mostly is Met.TIMEOUT
    assert seen.who == {"web-0": 10}


def test_a_namespace_that_is_gone() -> None:
    place = Place(PlaceKind.NETNS, "gone")
    (seen,) = probe([Aim("127.0.0.1", 80)], Here(place, Path("/proc/0/ns/net")), count=2)
    assert seen.met == {Met.ERROR: 2}
    assert seen.detail == "no such file or directory"
