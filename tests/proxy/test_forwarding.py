"""Clients through tunnels to pods: real sockets on both ends, the protocol's own server between."""

import hashlib
import os
import socket
import threading
import time

import pytest

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.balance import Balancer, RoundRobin
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarding import Began, Ended, Forwarding, Missed
from svcdoctor.proxy.listener import Listener, listening_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.reachtunnel import ByTunnel
from svcdoctor.proxy.tunnels import Tunnels
from svcdoctor.sources.forwarding import Carrier, Way
from svcdoctor.tunnel import events
from svcdoctor.tunnel.forwardserver import ForwardServer
from svcdoctor.tunnel.portforward import ForwardClient

ECHO, REFUSED, GREETS, SINK = 8080, 7, 25, 9
REFUSAL = (
    "error forwarding port 7 to pod x, uid : failed to connect to localhost:7: "
    "dial tcp4 127.0.0.1:7: connect: connection refused"
)


class Pod(threading.Thread):
    """What is behind a tunnel: it echoes and says goodbye, refuses, greets, or swallows, by the port."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.name = name
        self.ours, self.theirs = socket.socketpair()
        self.server = ForwardServer()
        self.got = {}
        self.stalled = threading.Event()
        self.over = threading.Event()

    def run(self):
        with self.theirs:
            self.serve()
            self.over.wait(20)  # a peer that stalls keeps its connection

    def serve(self):
        while not self.stalled.is_set():
            try:
                data = self.theirs.recv(65536)
            except OSError:
                self.over.set()
                return
            for event in self.server.receive(data) if data else self.server.receive_end():
                self.take(event)
            while out := self.server.outgoing():
                try:
                    self.theirs.sendall(out)
                except OSError:
                    self.over.set()
                    return
            if not data:
                self.over.set()
                return

    def take(self, event):
        server = self.server
        match event:
            case events.Opened(handle, port):
                self.got[handle] = (port, bytearray())
                if port == REFUSED:
                    server.fail(handle, REFUSAL)
                elif port == GREETS:
                    server.send(handle, f"220 {self.name}\n".encode())
            case events.Data(handle, data):
                port, got = self.got[handle]
                got += data
                if port == ECHO:
                    server.send(handle, data)
            case events.RemoteEnd(handle):
                port, got = self.got[handle]
                if port == ECHO:
                    server.send(handle, f" {self.name}".encode())
                elif port == SINK:
                    server.send(handle, hashlib.sha256(got).hexdigest().encode())
                server.half_close(handle)

    def cut(self):
        self.theirs.shutdown(socket.SHUT_RDWR)


class Stage:
    """A loop on a thread, one local port, and pods that come and go."""

    def __init__(self, wait=5.0):
        self.loop = Loop()
        self.pods = {}
        self.opened = []
        self.down = set()
        self.told = []
        self.lost = []
        self.tunnels = Tunnels(self.loop, self.open, lambda pod, why: self.lost.append((pod, why)))
        self.balancer = Balancer(RoundRobin())
        listening = listening_socket("127.0.0.1", 0)
        self.port = listening.getsockname()[1]
        self.forwarding = Forwarding(
            self.loop, ByTunnel(self.loop, self.tunnels), self.balancer, self.port, wait, self.told.append
        )
        self.listener = Listener(self.loop, listening, self.forwarding.accept)
        self.thread = threading.Thread(target=self.loop.run, daemon=True)
        self.thread.start()

    def open(self, namespace, name, port, seconds):
        if name in self.down:
            raise SvcdoctorError(f"no pod {name} in namespace {namespace}", 1)
        pod = Pod(name)
        self.pods.setdefault(name, []).append(pod)
        pod.start()
        pod.ours.setblocking(False)
        return Carrier(pod.ours, ForwardClient(), Way.SPDY, b"")

    def offer(self, *names, port=ECHO):
        done = threading.Event()
        endpoints = [Endpoint(f"10.0.0.{n}", port, "default", name) for n, name in enumerate(names, 1)]

        def change():
            self.forwarding.offer(endpoints)
            done.set()

        self.loop.call_soon_threadsafe(change)
        assert done.wait(5)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 10)

    def ask(self, data=b"hello"):
        """What comes back until the end."""
        with self.connect() as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def of(self, kind):
        return [e for e in self.told if isinstance(e, kind)]

    def close(self):
        done = threading.Event()

        def end():
            self.listener.close()
            self.forwarding.close()
            self.tunnels.close()
            self.loop.call_soon(lambda: (self.loop.stop(), done.set()))

        self.loop.call_soon_threadsafe(end)
        assert done.wait(5)
        self.thread.join(5)
        assert not self.thread.is_alive()
        self.loop.free()
        for pod in (p for pods in self.pods.values() for p in pods):
            pod.over.set()
            pod.join(5)
            assert not pod.is_alive()


def read_all(client):
    found = bytearray()
    while data := client.recv(65536):
        found += data
    return bytes(found)


@pytest.fixture
def stage():
    made = Stage()
    yield made
    made.close()


def until(true, seconds=5.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def test_bytes_go_both_ways_and_half_close_is_passed_on(stage):
    stage.offer("a")
    assert stage.ask(b"hello") == b"hello a"
    until(lambda: stage.of(Ended))
    [began], [ended] = stage.of(Began), stage.of(Ended)
    assert began.local == ended.local == stage.port
    assert (ended.endpoint.pod, ended.up, ended.down, ended.why) == ("a", 5, 7, "")


def test_connections_are_balanced_over_pods(stage):
    stage.offer("a", "b", "c")
    assert sorted(stage.ask()[-1:] for _ in range(9)) == [b"a"] * 3 + [b"b"] * 3 + [b"c"] * 3


def test_a_server_that_speaks_first_is_heard(stage):
    stage.offer("a", port=GREETS)
    with stage.connect() as client:
        assert client.recv(100) == b"220 a\n"


def test_large_payloads_arrive_whole(stage):
    stage.offer("a")
    payload = os.urandom(8 << 20)
    with stage.connect() as client:
        threading.Thread(target=lambda: (client.sendall(payload), client.shutdown(socket.SHUT_WR))).start()
        found = read_all(client)
    assert hashlib.sha256(found[:-2]).digest() == hashlib.sha256(payload).digest()
    assert found.endswith(b" a")


def test_a_refused_connection_is_tried_on_another_pod_with_its_bytes(stage):
    endpoints = [
        Endpoint("10.0.0.1", REFUSED, "default", "bad"),
        Endpoint("10.0.0.2", ECHO, "default", "good"),
    ]
    stage.loop.call_soon_threadsafe(lambda: stage.forwarding.offer(endpoints))
    until(lambda: stage.balancer.offered)
    assert [stage.ask(b"x" * 1000) for _ in range(4)] == [b"x" * 1000 + b" good"] * 4
    assert {m.why for m in stage.of(Missed)} == {"port 7 in the pod: connection refused"}


def test_a_refused_port_does_not_end_other_connections(stage):
    stage.offer("a")
    with stage.connect() as kept:
        kept.sendall(b"one")
        assert kept.recv(100) == b"one"
        stage.forwarding.wait = 0.3
        stage.offer("a", port=REFUSED)
        with pytest.raises(ConnectionResetError):
            stage.ask()
        kept.sendall(b"two")
        assert kept.recv(100) == b"two"
    assert not stage.lost


def test_a_client_waits_for_a_pod(stage):
    threading.Timer(0.3, lambda: stage.offer("late")).start()
    assert stage.ask() == b"hello late"


def test_a_client_that_waited_too_long_is_reset(stage):
    stage.forwarding.wait = 0.2
    with pytest.raises(ConnectionResetError):
        stage.ask()
    [ended] = stage.of(Ended)
    assert (ended.endpoint, ended.why) == (None, "no pod is ready")


def test_a_pod_whose_tunnel_cannot_be_opened_is_passed_by(stage):
    stage.down.add("gone")
    stage.offer("gone", "here")
    assert {stage.ask() for _ in range(4)} == {b"hello here"}


def test_a_tunnel_that_is_cut_is_opened_again(stage):
    stage.offer("a")
    assert stage.ask() == b"hello a"
    with stage.connect() as client:
        client.sendall(b"one")
        assert client.recv(10) == b"one"
        stage.pods["a"][0].cut()
        with pytest.raises(ConnectionResetError):
            client.recv(10)
    assert stage.ask() == b"hello a"
    assert len(stage.pods["a"]) == 2
    assert stage.lost == [("a", "the API server ended the session")]


def test_a_slow_reader_fills_no_memory_and_holds_up_nobody(stage):
    stage.offer("a")
    assert stage.ask() == b"hello a"
    slow = stage.connect()
    slow.setblocking(False)
    sent = 0
    idle = 0
    while idle < 50:  # an echo that nobody reads: at some point nothing more is taken
        try:
            sent += slow.send(b"z" * 65536)
            idle = 0
        except BlockingIOError:
            idle += 1
            time.sleep(0.01)
    assert sent < 64 << 20
    assert stage.ask() == b"hello a"  # over another tunnel
    slow.close()


def test_a_thousand_connections_at_once(stage):
    stage.offer("a", "b")
    clients = [stage.connect() for _ in range(1000)]
    for number, client in enumerate(clients):
        client.sendall(f"{number}".encode())
    assert all(client.recv(10) == f"{n}".encode() for n, client in enumerate(clients))
    assert max(len(pods) for pods in stage.pods.values()) <= 8
    for client in clients:
        client.close()


def test_a_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr("svcdoctor.proxy.tunnel.PING_SECONDS", 0.1)
    monkeypatch.setattr("svcdoctor.proxy.tunnel.SILENCE_SECONDS", 0.3)
    stage = Stage()
    try:
        stage.offer("a")
        with stage.connect() as client:
            client.sendall(b"one")
            assert client.recv(10) == b"one"
            stage.pods["a"][0].stalled.set()
            client.sendall(b"two")
            client.settimeout(5)
            with pytest.raises(ConnectionResetError):
                while client.recv(10):
                    pass
        assert "has not answered" in stage.lost[0][1]
        assert stage.ask() == b"hello a"
    finally:
        stage.close()
