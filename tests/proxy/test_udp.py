"""UDP relays between real sockets, in batches and one by one."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from piping import PATIENCE

from svcdoctor.proxy.datagrams import BATCH, BatchedDatagrams, Datagrams, Peer, SingleDatagrams
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.dialing import Dialed, Dialing, Done, Telling
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import bound_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.udp import KEEP, Flow, UdpRelay

KINDS: list[Callable[[], Datagrams]] = [SingleDatagrams]
if sys.platform == "linux":
    KINDS.append(BatchedDatagrams)


class Owner:
    """Every client's flow goes to one server."""

    def __init__(self, loop: Loop, server: Peer) -> None:
        self.dialer = DirectDialer(loop)
        self.loop = loop
        self.server = Endpoint(*server)
        self.dialed: list[Peer] = []
        self.errors: list[tuple[Peer, int | None]] = []
        self.over: list[Peer] = []
        self.heard: list[Peer] = []
        self.refuse: OSError | None = None
        self.other: Endpoint | None = None

    def dial(self, flow: Flow, done: Done) -> Dialing:
        self.dialed.append(flow.client)
        if self.refuse:
            result: Dialed = self.refuse
            return Telling(self.loop, result, done)
        return self.dialer.dial_udp(self.server, done)

    def failed(self, flow: Flow, error: OSError, done: Done | None) -> Dialing | None:
        self.errors.append((flow.client, error.errno))
        if self.other is None or done is None:
            return None
        self.server, self.other = self.other, None
        return self.dialer.dial_udp(self.server, done)

    def answered(self, flow: Flow) -> None:
        self.heard.append(flow.client)

    def ended(self, flow: Flow) -> None:
        self.over.append(flow.client)


class Udp:
    """A relay that the test turns itself, between clients and a server on loopback."""

    def __init__(self, host: str, datagrams: Datagrams, idle: float = 60.0, most: int = 4096) -> None:
        self.now = 1000.0
        self.host = host
        self.loop = Loop(lambda: self.now)
        self.server = self.socket()
        self.server.bind((host, 0))
        self.owner = Owner(self.loop, self.server.getsockname()[:2])
        sock = bound_socket(host, 0, socket.SOCK_DGRAM)
        self.relay = UdpRelay(self.loop, datagrams, sock, self.owner, idle, most)
        self.clients: list[socket.socket] = []

    def socket(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(0.01)
        return sock

    def client(self) -> socket.socket:
        sock = self.socket()
        sock.connect(self.relay.address)
        self.clients.append(sock)
        return sock

    def turn(self, times: int = 4) -> None:
        for _ in range(times):
            self.loop.turn(0.0)

    def receive(self, sock: socket.socket) -> tuple[bytes, Peer]:
        """A datagram that the loop has brought, and who sent it."""
        end = time.monotonic() + PATIENCE
        while True:
            self.loop.turn(0.0)
            try:
                data, peer = sock.recvfrom(70000)
            except TimeoutError:
                assert time.monotonic() < end
                continue
            return data, peer[:2]

    def ask(self, client: socket.socket, data: bytes) -> Peer:
        """A question and its answer, which is the question turned round; who asked the server."""
        client.send(data)
        asked, peer = self.receive(self.server)
        assert asked == data
        self.server.sendto(data[::-1], peer)
        assert self.receive(client)[0] == data[::-1]
        return peer

    def close(self) -> None:
        self.relay.close()
        for sock in [*self.clients, self.server]:
            sock.close()
        self.loop.free()


@pytest.fixture(params=KINDS)
def datagrams(request: pytest.FixtureRequest) -> Datagrams:
    made: Datagrams = request.param()
    return made


@pytest.fixture
def udp(host: str, datagrams: Datagrams) -> Iterator[Udp]:
    made = Udp(host, datagrams, idle=30.0, most=5)
    yield made
    made.close()


def test_each_client_has_a_flow_and_hears_its_own_answers(udp: Udp) -> None:
    clients = [udp.client() for _ in range(4)]
    seen = [[udp.ask(client, b"question %d" % i) for i, client in enumerate(clients)] for _ in range(3)]
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) == 4
    assert udp.owner.dialed == [c.getsockname()[:2] for c in clients]
    assert len(udp.relay) == 4
    assert (udp.relay.sent, udp.relay.answered, udp.relay.dropped) == (12, 12, 0)
    assert udp.owner.errors == []


@pytest.mark.parametrize("size", [0, 1, 1400, 9000, 60000])
def test_datagrams_arrive_whole_whatever_their_size(udp: Udp, size: int) -> None:
    client = udp.client()
    for _ in range(3):
        udp.ask(client, os.urandom(size))


def test_many_datagrams_of_many_clients_arrive_each_at_its_own(udp: Udp) -> None:
    clients = [udp.client() for _ in range(3)]
    for number, client in enumerate(clients):
        udp.ask(client, b"hello %d" % number)
    for i in range(30):
        for number, client in enumerate(clients):
            for _ in range(1 + (i + number) % 3):  # runs of one client's
                client.send(b"%d of %d" % (i, number))
    udp.turn(20)
    heard: dict[Peer, list[bytes]] = {}
    for _ in range(180):
        data, peer = udp.receive(udp.server)
        heard.setdefault(peer, []).append(data)
        udp.server.sendto(data, peer)
    assert sorted(map(len, heard.values())) == [60, 60, 60]
    for number, client in enumerate(clients):
        mine = [b"%d of %d" % (i, number) for i in range(30) for _ in range(1 + (i + number) % 3)]
        assert mine in heard.values()
        assert [udp.receive(client)[0] for _ in mine] == mine
    assert udp.relay.dropped == 0


def test_what_comes_before_the_flow_is_there_waits_but_not_without_end(udp: Udp) -> None:
    client = udp.client()
    for number in range(BATCH + 6):
        client.send(b"%d" % number)
    udp.relay._receive()  # all, before the loop can tell that the flow is there
    udp.turn()
    assert [udp.receive(udp.server)[0] for _ in range(BATCH)] == [b"%d" % n for n in range(BATCH)]
    assert udp.relay.dropped == 6


def test_a_quiet_flow_ends_by_the_clock_and_a_busy_one_does_not(udp: Udp) -> None:
    quiet, busy = udp.client(), udp.client()
    udp.ask(quiet, b"a")
    first = udp.ask(busy, b"b")
    udp.now += 20
    assert udp.ask(busy, b"c") == first
    udp.now += 10
    udp.turn()
    assert udp.owner.over == [quiet.getsockname()[:2]]
    assert len(udp.relay) == 1
    # What the server says keeps it, too.
    udp.now += 15
    udp.server.sendto(b"news", first)
    assert udp.receive(busy)[0] == b"news"
    udp.now += 20
    udp.turn()
    assert len(udp.relay) == 1
    udp.now += 10
    udp.turn()
    assert len(udp.relay) == 0
    assert udp.ask(quiet, b"again")
    assert len(udp.owner.dialed) == 3


def test_with_too_many_clients_the_one_that_was_quiet_for_longest_goes(udp: Udp) -> None:
    clients = [udp.client() for _ in range(6)]
    for client in clients[:5]:
        udp.now += 1
        udp.ask(client, b"x")
    udp.ask(clients[0], b"still here")
    udp.ask(clients[5], b"new")
    assert udp.owner.over == [clients[1].getsockname()[:2]]
    assert len(udp.relay) == 5


def test_a_server_that_is_not_there_is_told_once_and_is_heard_when_it_comes(udp: Udp) -> None:
    client = udp.client()
    address = udp.server.getsockname()
    udp.server.close()
    for _ in range(3):
        client.send(b"anybody?")
        udp.turn()
    mine = client.getsockname()[:2]
    assert udp.owner.errors == [(mine, errno.ECONNREFUSED)]
    assert len(udp.relay) == 1
    udp.server = udp.socket()
    udp.server.bind(address)
    udp.ask(client, b"now?")
    udp.ask(client, b"and again?")
    assert udp.owner.errors == [(mine, errno.ECONNREFUSED)]
    # It goes once more: that is news.
    udp.server.close()
    for _ in range(3):
        client.send(b"anybody?")
        udp.turn()
    assert udp.owner.errors == [(mine, errno.ECONNREFUSED)] * 2
    udp.server = udp.socket()


def test_a_burst_to_a_server_that_is_not_there_ends(udp: Udp) -> None:
    client = udp.client()
    udp.ask(client, b"x")
    udp.server.close()
    for _ in range(3 * BATCH):
        client.send(b"anybody?")
    udp.turn(10)
    assert udp.owner.errors == [(client.getsockname()[:2], errno.ECONNREFUSED)]
    assert udp.relay.sent + udp.relay.dropped == 1 + 3 * BATCH
    udp.server = udp.socket()


def test_a_flow_that_cannot_be_dialed_is_told_and_tried_again(udp: Udp) -> None:
    udp.owner.refuse = OSError(errno.EMFILE, "Too many open files")
    client = udp.client()
    client.send(b"x")
    udp.turn()
    mine = client.getsockname()[:2]
    assert udp.owner.errors == [(mine, errno.EMFILE)]
    assert udp.owner.over == [mine]
    assert udp.relay.dropped == 1
    udp.owner.refuse = None
    udp.ask(client, b"y")


def test_a_client_that_is_gone_harms_nobody(udp: Udp) -> None:
    gone, there = udp.client(), udp.client()
    peer = udp.ask(gone, b"x")
    gone.close()
    for _ in range(3):
        udp.server.sendto(b"late", peer)
        udp.turn()
    udp.ask(there, b"y")


def test_closing_ends_every_flow(udp: Udp) -> None:
    clients = [udp.client() for _ in range(3)]
    for client in clients[:2]:
        udp.ask(client, b"x")
    clients[2].send(b"not dialed yet")
    udp.relay._receive()
    udp.relay.close()
    udp.relay.close()
    assert udp.owner.over == [c.getsockname()[:2] for c in clients]
    udp.turn()


def test_what_an_endpoint_refused_is_sent_to_another(udp: Udp) -> None:
    other = udp.server
    udp.server = udp.socket()
    udp.server.bind((udp.host, 0))
    udp.owner.server = Endpoint(*udp.server.getsockname()[:2])
    udp.owner.other = Endpoint(*other.getsockname()[:2])
    udp.server.close()
    udp.server = other
    client = udp.client()
    for number in range(3):
        client.send(b"%d" % number)
    heard = {udp.receive(other)[0] for _ in range(3)}
    assert heard == {b"0", b"1", b"2"}
    assert udp.owner.errors == [(client.getsockname()[:2], errno.ECONNREFUSED)]
    udp.ask(client, b"more")
    assert udp.owner.heard == [client.getsockname()[:2]]


@pytest.mark.parametrize("kept", [True, False])
def test_only_what_is_little_and_young_is_kept(udp: Udp, kept: bool) -> None:
    other = udp.server
    udp.owner.other = Endpoint(*other.getsockname()[:2])
    silent = udp.socket()
    silent.bind((udp.host, 0))
    udp.owner.server = Endpoint(*silent.getsockname()[:2])
    client = udp.client()
    client.send(b"x" * 1000)
    udp.turn()
    if not kept:
        udp.now += KEEP + 1
    silent.close()
    client.send(b"y" * 1000)
    udp.turn(8)
    if kept:
        assert {udp.receive(other)[0][:1], udp.receive(other)[0][:1]} == {b"x", b"y"}
    else:
        with pytest.raises(TimeoutError):
            other.recv(2000)
        for _ in range(5):
            client.send(b"z" * 1000)
        udp.turn(8)
        with pytest.raises(TimeoutError):
            other.recv(2000)


def test_bytes_are_counted(udp: Udp) -> None:
    client = udp.client()
    for size in (0, 1, 700):
        udp.ask(client, b"x" * size)
    (flow,) = udp.relay.flows
    assert (flow.sent, flow.received) == (701, 701)
