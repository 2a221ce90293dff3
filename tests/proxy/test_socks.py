"""The SOCKS proxy between real clients and the lab's API server: what is watched, what is answered, what is kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from forward_world import NAMESPACE, World, service

from svcdoctor.lab.resources import PODS, SERVICES
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.proxy import destinations, socks
from svcdoctor.proxy.arguments import ForwardTarget, ListenAddress, parse_listening, socks_addresses
from svcdoctor.proxy.destination import Surroundings
from svcdoctor.proxy.destinations import Destinations, service_named
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.forwarder import Event, Offered, Settings, Troubled
from svcdoctor.proxy.listening import bound_addresses, local_sockets
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.reach import ByConnection, Way
from svcdoctor.proxy.reachtunnel import ByTunnel
from svcdoctor.proxy.socks import SocksProxy
from svcdoctor.proxy.socks5 import Reply, reply_bytes
from svcdoctor.proxy.tally import Traffic
from svcdoctor.proxy.tunnels import Tunnels
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.forwarding import ForwardOpener

LOCALHOST = (ListenAddress("127.0.0.1", False), ListenAddress("::1", False))
WEB = ForwardTarget(Kind.SERVICE, "web")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("web", ("mine", "web")),
        ("WEB.", ("mine", "web")),
        ("web.shop", ("shop", "web")),
        ("web.shop.svc", ("shop", "web")),
        ("web.shop.svc.cluster.local", ("shop", "web")),
        ("web.shop.svc.cluster.local.", ("shop", "web")),
        ("web.shop.svc.corp.example", ("shop", "web")),
        ("web.shop.pod.cluster.local", None),
        ("www.shop.example", None),
        ("web_1.shop", None),
        ("-web", None),
        ("", None),
        (".", None),
        ("web..svc", None),
        ("a" * 64, None),
        ("web\x1b[2J", None),
    ],
)
def test_names(host: str, expected: tuple[str, str] | None) -> None:
    found = service_named(host, "mine")
    assert found == (None if expected is None else (expected[0], ForwardTarget(Kind.SERVICE, expected[1])))


@pytest.mark.parametrize(
    ("text", "ips", "port"),
    [
        ("1080", ["127.0.0.1", "::1"], 1080),
        ("0", ["127.0.0.1", "::1"], 0),
        ("127.0.0.1:1080", ["127.0.0.1"], 1080),
        ("127.9.9.9:1080", ["127.9.9.9"], 1080),
        ("[::1]:65535", ["::1"], 65535),
        ("localhost:9", ["127.0.0.1", "::1"], 9),
    ],
)
def test_where_it_listens(text: str, ips: list[str], port: int) -> None:
    found, number = socks_addresses(text, LOCALHOST)
    assert ([address.ip for address in found], number) == (ips, port)


@pytest.mark.parametrize(
    "text", ["", "x", ":1080", "::1:1080", "127.0.0.1:", "127.0.0.1:65536", "1:2:3", "-1"]
)
def test_where_it_cannot_listen(text: str) -> None:
    with pytest.raises(SvcdoctorError, match=r"--socks5 '.*': say PORT, IP:PORT or \[IPV6\]:PORT"):
        parse_listening("--socks5", text, LOCALHOST)


def test_a_host_that_is_no_address() -> None:
    with pytest.raises(SvcdoctorError, match="'web' is not an IP address"):
        parse_listening("--metrics", "web:80", LOCALHOST)


@pytest.mark.parametrize("ip", ["0.0.0.0", "10.1.2.3", "::"])
def test_others_may_use_it_only_where_address_says_so(ip: str) -> None:
    text = f"[{ip}]:1080" if ":" in ip else f"{ip}:1080"
    with pytest.raises(SvcdoctorError, match=f"if that is meant, say --address {ip} as well"):
        socks_addresses(text, LOCALHOST)
    meant = (ListenAddress(ip),)
    assert socks_addresses(text, meant) == socks_addresses("1080", meant) == (meant, 1080)


class Stage:
    """A cluster on loopback, and a proxy to it on a loop of its own thread."""

    def __init__(
        self, folder: Path, user: str = "admin", wait: float = 10.0, *, direct: bool = False
    ) -> None:
        self.world = World("web-1", "web-2")
        config = self.world.kubeconfig(folder / "config", user)
        self.session = open_connection(Connection(kubeconfig=config))
        self.loop = Loop()
        self.told: list[Event] = []
        self.way: Way
        if direct:
            self.way = ByConnection(self.loop, DirectDialer(self.loop))
        else:
            opener = ForwardOpener(self.session)
            self.way = ByTunnel(self.loop, Tunnels(self.loop, opener.open, lambda *_: None))
        sockets = local_sockets(LOCALHOST, 0, lambda error: pytest.fail(error.message))
        settings = Settings(wait=wait)
        around = Surroundings(
            self.loop, self.session, self.way, settings, None, bound_addresses(sockets), self.told.append
        )
        self.destinations = Destinations(around, NAMESPACE)
        self.proxy = SocksProxy(self.loop, sockets, self.destinations, self.told.append)
        self.port = self.proxy.addresses[0][1]
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def connect(self, host: str = "127.0.0.1") -> socket.socket:
        return socket.create_connection((host, self.port), 10)

    def asked(
        self, name: str, port: int = 80, *, host: str = "127.0.0.1", more: bytes = b""
    ) -> socket.socket:
        """A client that has said all at once."""
        client = self.connect(host)
        named = bytes([3, len(name)]) + name.encode()
        client.sendall(b"\x05\x01\x00" + b"\x05\x01\x00" + named + port.to_bytes(2, "big") + more)
        return client

    def code(self, name: str, port: int = 80) -> int:
        """What the proxy answers to a request."""
        with self.asked(name, port) as client:
            found = exactly(client, 12)
            if found[3]:
                assert client.recv(10) == b""
            return found[3]

    def line(self, name: str, port: int = 80, host: str = "127.0.0.1") -> str:
        """What the pod answers to a line."""
        with self.asked(name, port, host=host, more=b"hello\n") as client:
            assert exactly(client, 12) == b"\x05\x00" + reply_bytes(Reply.SUCCEEDED)
            return client.makefile().readline().rstrip("\n")

    def known(self) -> list[str]:
        return [target.name for _, target in self.destinations._known]

    def of(self, kind: type) -> list[Any]:
        return [e for e in self.told if isinstance(e, kind)]

    def do(self, call: Callable[[], Any]) -> Any:
        """On the loop's thread."""
        done, found = threading.Event(), []

        def now() -> None:
            found.append(call())
            done.set()

        self.loop.call_soon_threadsafe(now)
        assert done.wait(5)
        return found[0]

    def close(self) -> None:
        self.do(lambda: (self.proxy.close(), self.way.close()))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(5)
        self.loop.turn(0)
        self.loop.free()
        self.session.close()
        self.world.close()


def exactly(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (data := client.recv(size - len(found))):
        found += data
    return found


def until(true: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def test_a_service_by_its_names_in_both_families(stage: Stage, host: str) -> None:
    names = ["web", "web.truth", "web.truth.svc", "WEB.truth.svc.cluster.local."]
    found = [stage.line(name, host=host) for name in names]
    assert sorted(found) == ["web-1 28080 hello"] * 2 + ["web-2 28080 hello"] * 2
    assert stage.line("web", 81, host).split()[1] == "29090"
    assert stage.known() == ["web"]


def test_what_is_answered_where_there_is_nothing(stage: Stage) -> None:
    assert stage.code("nope.truth") == Reply.HOST_UNREACHABLE
    assert stage.code("web.elsewhere") == Reply.HOST_UNREACHABLE
    assert stage.code("www.example.org") == Reply.HOST_UNREACHABLE
    assert stage.code("by-hand") == Reply.HOST_UNREACHABLE
    assert stage.code("web", 82) == Reply.REFUSED
    assert stage.code("10.9.9.9") == Reply.HOST_UNREACHABLE
    assert stage.code("fd00::9") == Reply.HOST_UNREACHABLE
    whys = [e.why for e in stage.of(Troubled)]
    assert whys[0] == "no Service nope in namespace truth"
    assert "has no port 82; it has 80 (main), 81 (second)" in whys[4]
    assert stage.proxy.refused == 7
    assert stage.known() == ["web"]  # the others are not watched


def test_a_client_that_sends_each_byte_for_itself(stage: Stage) -> None:
    with stage.connect() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"\x05\x01\x00\x05\x01\x00\x03\x03web\x00\x50":
            client.sendall(bytes([byte]))
            time.sleep(0.002)
        assert exactly(client, 12)[3] == Reply.SUCCEEDED
        client.sendall(b"x\n")
        assert client.recv(100).endswith(b"28080 x\n")


def test_the_end_of_what_a_client_says_comes_through(stage: Stage) -> None:
    with stage.asked("web", more=b"one\ntwo\n") as client:
        client.shutdown(socket.SHUT_WR)
        assert exactly(client, 12)[3] == Reply.SUCCEEDED
        assert client.makefile().read().count("28080") == 2


def test_bind_and_udp_get_their_reply(stage: Stage) -> None:
    for command in (2, 3):
        with stage.connect() as client:
            client.sendall(b"\x05\x01\x00" + bytes([5, command, 0, 1, 0, 0, 0, 0, 0, 0]))
            assert exactly(client, 12)[2:] == reply_bytes(Reply.COMMAND_NOT_SUPPORTED)
            assert client.recv(10) == b""
    with stage.connect() as client:
        client.sendall(b"\x05\x01\x02")
        assert exactly(client, 2) == b"\x05\xff"


def test_who_says_nothing_is_ended(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socks, "HANDSHAKE_SECONDS", 0.2)
    with stage.connect() as client:
        client.sendall(b"\x05\x01")
        assert client.recv(10) == b""
    assert stage.proxy.refused == 1


def test_addresses_are_looked_up(stage: Stage) -> None:
    made = service("other", {"app": "other"}, [{"port": 8080, "targetPort": "web", "protocol": "TCP"}])
    made["spec"]["clusterIP"] = "fd00:96::8"
    stage.world.store.create(made)
    stage.world.add("other-1", app="other")
    pod = stage.world.store.get(PODS, NAMESPACE, "other-1")
    stage.world.store.update(pod | {"status": pod["status"] | {"podIP": "10.0.0.77"}})
    assert stage.line("fd00:96::8", 8080) == "other-1 28080 hello"
    assert stage.line("10.0.0.77", 29090) == "other-1 29090 hello"
    assert stage.line("::ffff:10.0.0.77", 28080) == "other-1 28080 hello"


def test_a_client_waits_for_a_pod(stage: Stage) -> None:
    stage.world.store.create(service("late", {"app": "late"}, [{"port": 80, "targetPort": 28080}]))
    with stage.asked("late", more=b"x\n") as client:
        client.settimeout(0.2)
        assert exactly(client, 2) == b"\x05\x00"
        with pytest.raises(TimeoutError):
            client.recv(1)
        client.settimeout(10)
        stage.world.add("late-1", app="late")
        assert exactly(client, 10)[1] == Reply.SUCCEEDED
        assert client.recv(100) == b"late-1 28080 x\n"


def test_who_waited_long_enough_is_told_so(tmp_path: Path) -> None:
    stage = Stage(tmp_path, wait=0.3)
    try:
        stage.world.store.create(service("late", {"app": "late"}, [{"port": 80, "targetPort": 28080}]))
        assert stage.code("late") == Reply.HOST_UNREACHABLE
    finally:
        stage.close()


@pytest.mark.parametrize("user", ["no-forward", "no-list"])
def test_what_is_forbidden(tmp_path: Path, user: str) -> None:
    stage = Stage(tmp_path, user)
    try:
        assert stage.code("web") == Reply.NOT_ALLOWED
        assert stage.code("web.default") == Reply.NOT_ALLOWED
        assert stage.code("10.96.0.7") == Reply.NOT_ALLOWED
        whys = [e.why for e in stage.of(Troubled)]
        assert ("pods/portforward" if user == "no-forward" else "verbs list and watch on pods") in whys[0]
        assert 'cannot list resource "services"' in whys[2]
    finally:
        stage.close()


def test_who_may_get_services_but_not_list_them_is_served(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "no-watch")
    try:
        assert stage.line("web").endswith("28080 hello")
    finally:
        stage.close()


def test_a_service_that_becomes_another_one(stage: Stage) -> None:
    assert stage.line("web").startswith("web-")
    stage.world.add("new-1", app="new")
    was = stage.world.store.get(SERVICES, NAMESPACE, "web")
    ports = [{"name": "main", "port": 8000, "targetPort": 28080, "protocol": "TCP"}]
    with stage.asked("web", more=b"kept\n") as kept:
        assert exactly(kept, 12)[3] == Reply.SUCCEEDED
        assert kept.recv(100).endswith(b"kept\n")
        stage.world.store.update(was | {"spec": was["spec"] | {"selector": {"app": "new"}, "ports": ports}})
        until(lambda: stage.of(Offered)[-1].endpoints == ())  # the port 80 that is no more
        assert stage.line("web", 8000) == "new-1 28080 hello"
        assert stage.code("web", 80) == Reply.REFUSED
        stage.world.store.delete(SERVICES, NAMESPACE, "web")
        until(lambda: stage.code("web", 8000) == Reply.HOST_UNREACHABLE)
        kept.sendall(b"still\n")
        assert kept.recv(100).endswith(b"still\n")
    stage.world.store.create(was)
    until(lambda: stage.code("web", 80) == Reply.SUCCEEDED)


def test_what_is_not_used_is_forgotten(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "IDLE_SECONDS", 0.2)
    with stage.asked("web", more=b"x\n") as client:
        assert exactly(client, 12)[3] == Reply.SUCCEEDED
        threads = threading.active_count()
        time.sleep(0.5)
        client.sendall(b"y\n")
        assert b"x\n" in client.recv(100)  # it is in use, however quiet
        assert stage.known() == ["web"]
    until(lambda: not stage.known())
    until(lambda: threading.active_count() <= threads - 2)  # the two watches are over
    assert stage.line("web").endswith("hello")


def test_there_are_never_too_many(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destinations, "MOST", 2)
    for number in range(3):
        made = service(f"more-{number}", {"app": "web"}, [{"port": 80, "targetPort": 28080}])
        stage.world.store.create(made)
    with stage.asked("more-0") as first, stage.asked("more-1") as second:
        assert exactly(first, 12)[3] == exactly(second, 12)[3] == Reply.SUCCEEDED
        assert stage.code("more-2") == Reply.GENERAL_FAILURE
    until(lambda: not any(d.busy for d in stage.destinations._known.values()))
    assert stage.code("more-2") == Reply.SUCCEEDED  # in place of the one that was not used for longest
    assert stage.known() == ["more-1", "more-2"]


def test_a_client_that_goes_away_early_leaves_nothing(stage: Stage) -> None:
    stage.world.store.create(service("late", {"app": "late"}, [{"port": 80, "targetPort": 28080}]))
    for more in (b"", b"x" * 100):
        client = stage.asked("late", more=more)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
    stage.world.add("late-1", app="late")
    until(lambda: not stage.proxy.clients)
    assert stage.line("late") == "late-1 28080 hello"
    until(lambda: not any(d.busy for d in stage.destinations._known.values()))


def test_many_clients_at_once(stage: Stage) -> None:
    clients = [stage.asked("web", more=b"%d\n" % n) for n in range(200)]
    for number, client in enumerate(clients):
        assert exactly(client, 12)[3] == Reply.SUCCEEDED
        assert client.makefile().readline().split()[2] == str(number)
        client.close()
    [status] = stage.do(stage.destinations.status)
    assert (status.counts.accepted, status.ready, status.remote, status.socks) == (200, 2, 28080, True)
    assert set(status.counts.pods) == {"web-1", "web-2"}


def test_without_tunnels_the_answer_tells_of_the_connection(tmp_path: Path) -> None:
    stage = Stage(tmp_path, wait=0.3, direct=True)
    try:
        _, there = stage.world.runtime.pods["web-1"][28080]
        with socket.create_server(("127.0.0.1", 0)) as closed:
            gone = closed.getsockname()[1]
        ports = [{"name": str(p), "port": p, "targetPort": t} for p, t in ((80, there), (81, gone))]
        stage.world.store.create(service("direct", {"app": "direct"}, ports))
        stage.world.add("direct-1", app="direct")
        pod = stage.world.store.get(PODS, NAMESPACE, "direct-1")
        stage.world.store.update(pod | {"status": pod["status"] | {"podIP": "127.0.0.1"}})
        assert stage.code("direct", 81) == Reply.REFUSED
        with stage.asked("direct", more=b"x" * 999 + b"\n") as client:
            assert exactly(client, 12)[3] == Reply.SUCCEEDED
            assert exactly(client, 1012).endswith(b"x\n")
            by_port = {s.request.remote: s.counts for s in stage.do(stage.destinations.status)}
            assert by_port[80].pods == {"direct-1": Traffic(1000, 1012)}  # while it lives
            assert (by_port[80].live, by_port[81].failed, by_port[81].live) == (1, 1, 0)
        until(lambda: not any(d.busy for d in stage.destinations._known.values()))
        counts = stage.do(stage.destinations.status)[1].counts
        assert (counts.total, counts.failed, counts.live) == (Traffic(1000, 1012), 0, 0)
    finally:
        stage.close()
