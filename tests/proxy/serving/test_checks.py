"""Endpoints that are checked: who is passed by, who comes back, and that nobody is checked who is not served."""

import socket

import pytest
from msgspec import structs
from served_world import served, turn_for, turn_until

from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving import checks
from svcdoctor.proxy.serving.checkedplane import CheckedPlane
from svcdoctor.proxy.serving.checks import Checks
from svcdoctor.proxy.serving.served import Backend

EVERY = 0.05


class Server:
    """An endpoint; ``seen`` counts the connections that it had."""

    def __init__(self, ip="127.0.0.1", port=0):
        self.socket = socket.create_server(
            (ip, port), family=socket.AF_INET6 if ":" in ip else socket.AF_INET
        )
        self.socket.setblocking(False)
        self.ip, self.port = self.socket.getsockname()[:2]

    def seen(self):
        count = 0
        while True:
            try:
                self.socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    @property
    def endpoint(self):
        return Endpoint(self.ip, self.port)

    @property
    def backend(self):
        return Backend(self.ip, self.port, f"shop/{self.port}")

    def close(self):
        self.socket.close()


class Kept:
    """A plane that keeps what it is told."""

    def __init__(self):
        self.ports = {}
        self.told = []

    def start(self):
        self.told.append("start")

    def put(self, ports, whole=False):
        if whole:
            self.ports.clear()
        self.ports.update((p.key, p) for p in ports)

    def remove(self, keys):
        for key in keys:
            del self.ports[key]

    def drain(self, ended):
        self.told.append("drain")
        ended()

    def stop(self, ended):
        self.told.append("stop")
        ended()

    def abandon(self, ended):
        self.told.append("abandon")
        ended()


@pytest.fixture
def loop():
    made = Loop()
    yield made
    made.turn(0)
    made.free()


@pytest.fixture
def server(servers):
    def start(**more):
        made = Server(**more)
        servers(made)
        return made

    return start


def plane_of(loop, seconds=EVERY):
    plane, notes = Kept(), []
    return plane, notes, CheckedPlane(loop, plane, seconds, notes.append)


def port_of(*backends, local=(), name="cart"):
    return structs.replace(served(name, port=1), cluster=tuple(backends), local=tuple(local))


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_one_that_refuses_is_passed_by_until_it_answers(loop, server, ip):
    alive, dead = server(ip=ip), server(ip=ip)
    dead.close()
    plane, notes, checked = plane_of(loop)
    port = port_of(alive.backend, dead.backend, local=(dead.backend,))
    checked.put([port])
    assert plane.ports == {port.key: port}, "until it is known it is served"
    turn_until(loop, lambda: plane.ports[port.key].cluster == (alive.backend,))
    assert plane.ports[port.key].local == (dead.backend,), "it is the only one of its policy"
    assert notes == [f"{dead.endpoint} did not answer 3 checks: it is passed by until it does"]
    assert checked.answers(alive.backend) and not checked.answers(dead.backend)
    server(ip=ip, port=dead.port)
    turn_until(loop, lambda: plane.ports[port.key] == port)
    assert notes[1:] == [f"{dead.endpoint} answers again"]
    assert checked.answers(dead.backend)
    checked.stop(lambda: None)


def test_two_failures_are_none(loop, server):
    one = server()
    port, told = one.port, []
    one.close()
    failing = Checks(loop, EVERY, told.append)
    failing.begin(Endpoint("127.0.0.1", port))
    turn_until(loop, lambda: failing._checked[Endpoint("127.0.0.1", port)].failures == 2)
    again = server(port=port)
    turn_until(loop, again.seen)
    turn_for(loop, 3 * EVERY)
    assert told == [] and failing.answers(again.endpoint)
    failing.close()


def test_one_that_never_answers_is_one_that_fails(loop, server):
    """Its queue of connections is full, so that the kernel answers nothing."""
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    clients = []
    try:
        for _ in range(4):
            clients.append(socket.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex(full.getsockname())
        told = []
        silent = Endpoint(*full.getsockname())
        failing = Checks(loop, EVERY, told.append)
        failing.begin(silent)
        turn_until(loop, lambda: told == [silent])
        assert failing.silent == 1
        failing.close()
    finally:
        for sock in (*clients, full):
            sock.close()


def test_an_endpoint_of_many_ports_is_checked_once_and_for_as_long_as_one_is_served(loop, server):
    one, other = server(), server()
    plane, _, checked = plane_of(loop)
    a, b = port_of(one.backend), port_of(one.backend, other.backend, name="shop")
    checked.put([a, b], whole=True)
    turn_for(loop, 10 * EVERY)
    assert 5 <= one.seen() <= 12
    checked.remove([b.key])
    assert set(plane.ports) == {a.key}
    turn_for(loop, 2 * EVERY)  # what is under way
    other.seen(), one.seen()
    turn_for(loop, 5 * EVERY)
    assert one.seen() and not other.seen()
    checked.put([b], whole=True)
    assert set(plane.ports) == {b.key}
    checked.drain(lambda: None)
    one.seen()
    turn_for(loop, 5 * EVERY)
    assert not one.seen()
    assert plane.told == ["drain"]


def test_datagrams_are_not_checked(loop, server):
    one = server()
    _, _, checked = plane_of(loop)
    udp = structs.replace(port_of(one.backend), key="shop/dns:53/UDP/4", protocol="UDP")
    checked.put([udp])
    turn_for(loop, 4 * EVERY)
    assert not one.seen()
    checked.stop(lambda: None)


def test_so_many_at_once_and_all_in_their_turn(loop, server, monkeypatch):
    monkeypatch.setattr(checks, "AT_ONCE", 2)
    made = [server() for _ in range(20)]
    told = []
    many = Checks(loop, EVERY, told.append)
    for one in made:
        many.begin(one.endpoint)
    for one in made:
        turn_until(loop, one.seen)
    assert many._under_way <= 2
    many.end([made[0].endpoint])
    many.begin(made[0].endpoint)
    many.close()
    assert (many._under_way, told) == (0, [])


def test_when_a_whole_node_falls_silent_few_lines_tell_of_it(loop):
    plane, notes, checked = plane_of(loop)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        number = closed.getsockname()[1]
    dead = [Backend(f"127.0.1.{n}", number) for n in range(1, 61)]
    port = port_of(*dead)
    checked.put([port])
    turn_until(loop, lambda: not any(map(checked.answers, dead)))
    assert plane.ports[port.key] == port
    assert len(notes) == 20
    assert notes[-1].endswith("others are not named any more, the metrics have them")
    checked.stop(lambda: None)
