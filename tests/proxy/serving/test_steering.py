"""All connections of one client's address meet the same one of the workers that share a port."""

import contextlib
import socket
from collections import Counter
from pathlib import Path

import pytest
from served_world import free_port
from working import Answering, Named, ask, served

from svcdoctor.proxy.listener import open_socket
from svcdoctor.proxy.netns import setns
from svcdoctor.proxy.serving.steering import steer

SOURCES = [f"127.0.{n}.{m}" for n in range(2) for m in range(1, 21)]


def shared(ip, kind, workers, sockets=4):
    port = free_port(ip) if kind == socket.SOCK_STREAM else 0
    made = []
    for _ in range(sockets):
        made.append(open_socket(ip, port, kind, shared=True))
        port = made[0].getsockname()[1]
        steer(made[-1].fileno(), workers)
    return made


def who_got(made, kind):
    """The socket that the connections, or datagrams, which were made came to, and how many."""
    found = Counter()
    for number, sock in enumerate(made):
        with contextlib.suppress(BlockingIOError):
            while True:
                if kind == socket.SOCK_STREAM:
                    sock.accept()[0].close()
                else:
                    sock.recv(100)
                found[number] += 1
    return found


def send(kind, source, to, times=6):
    for _ in range(times):
        with socket.socket(socket.AF_INET6 if ":" in source else socket.AF_INET, kind) as sock:
            sock.bind((source, 0))
            sock.connect(to[:2])
            if kind == socket.SOCK_DGRAM:
                sock.send(b"x")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_an_address_has_one_socket_and_addresses_are_spread(kind):
    made = shared("127.0.0.1", kind, 4)
    homes = Counter()
    with contextlib.ExitStack() as stack:
        for sock in made:
            stack.enter_context(sock)
        for source in SOURCES:
            send(kind, source, made[0].getsockname())
            [(home, count)] = who_got(made, kind).items()
            assert count == 6
            homes[home] += 1
        assert set(homes) == {0, 1, 2, 3} and max(homes.values()) < 25
        steer(made[1].fileno(), 0)
        send(kind, SOURCES[0], made[0].getsockname(), 60)
        assert len(who_got(made, kind)) > 1, "as if it never had been"


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_the_source_address_of_ipv6(kind, v6_sources):
    made = shared("::1", kind, 2)
    homes = set()
    with contextlib.ExitStack() as stack:
        for sock in made:
            stack.enter_context(sock)
        for source in v6_sources:
            send(kind, source, made[0].getsockname())
            [(home, count)] = who_got(made, kind).items()
            assert count == 6
            homes.add(home)
    assert homes == {0, 1}


@pytest.fixture
def v6_sources(namespaces):
    """This thread is where IPv6 has many addresses."""
    sources = [f"fd00:9::{n:x}" for n in range(1, 17)]
    pid = namespaces.add(*(f"ip -6 addr add {ip}/128 dev lo nodad" for ip in sources))
    with contextlib.ExitStack() as stack:
        own, other = (stack.enter_context(Path(f"/proc/{p}/ns/net").open()) for p in ("self", pid))
        setns(other.fileno())
        stack.callback(setns, own.fileno())
        yield sources


def test_where_a_worker_is_missing_nobody_is_turned_away():
    made = shared("127.0.0.1", socket.SOCK_STREAM, 64, sockets=2)
    with made[0], made[1]:
        for source in SOURCES:
            send(socket.SOCK_STREAM, source, made[0].getsockname(), 2)
        assert who_got(made, socket.SOCK_STREAM).total() == 2 * len(SOURCES)


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
def test_clients_keep_their_endpoints_when_some_are_added(workers, servers, protocol):
    """With two workers, of which each knows its clients alone."""
    make = Named if protocol == "TCP" else Answering
    first = [servers(make(f"a{n}")) for n in range(2)]
    port = served(*(s.backend for s in first), protocol=protocol, affinity_seconds=60, workers=2)
    two = [workers(), workers()]
    for worker in two:
        worker.control.put(port)
    met = {source: answer(port, protocol, source) for source in SOURCES}
    assert set(met.values()) == {"a0", "a1"}
    more = [*first, *(servers(make(f"b{n}")) for n in range(4))]
    wide = served(
        *(s.backend for s in more),
        protocol=protocol,
        affinity_seconds=60,
        workers=2,
        listens=port.listens,
    )
    for worker in two:
        worker.control.put(wide)
    for source, name in met.items():
        assert {answer(wide, protocol, source) for _ in range(4)} == {name}
    clients = [sum(e.connections for e in w.control.port(port.key).endpoints) for w in two]
    assert min(clients) >= 10


def test_affinity_that_comes_later_has_its_effect(workers, servers):
    first = servers(Named("a"))
    port = served(first.backend)
    two = [workers(), workers()]
    for worker in two:
        worker.control.put(port)
    for seconds, used in ((60, 1), (0, 2)):
        before = [sum(e.connections for e in w.control.port(port.key).endpoints) for w in two]
        changed = served(
            first.backend, listens=port.listens, affinity_seconds=seconds, workers=2 if seconds else 0
        )
        for worker in two:
            worker.control.put(changed)
        for _ in range(30):
            ask(changed)
        after = [sum(e.connections for e in w.control.port(port.key).endpoints) for w in two]
        assert sum(a > b for a, b in zip(after, before, strict=True)) == used


def answer(port, protocol, source):
    if protocol == "TCP":
        return ask(port, source=source)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(5)
        sock.bind((source, 0))
        sock.connect((port.listens[0].ip, port.listens[0].port))
        sock.send(b"?")
        return sock.recv(100).decode().split()[0]
