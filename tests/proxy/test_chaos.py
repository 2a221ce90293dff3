"""Forwards while everything around them breaks: pods, rollouts, the API server, tunnels, peers, credentials."""

import collections
import contextlib
import hashlib
import json
import os
import socket
import sys
import threading
import time
from typing import ClassVar

import pytest
import yaml
from chaos import ask_on, forwarded, proxied, until
from forward_client import digest, echo, exactly, exchange
from forward_world import NAMESPACE, World

from svcdoctor.lab import portforward
from svcdoctor.lab.forwardpeers import ChannelPeer
from svcdoctor.lab.resources import PODS
from svcdoctor.proxy.forwarder import Listening, Offered, Troubled
from svcdoctor.proxy.forwarding import Ended

WAYS = pytest.mark.parametrize("way", ["tunnel", "spdy", "channels"])


@pytest.fixture
def world():
    made = World()
    yield made
    made.close()


def only(world, way):
    """Let the server speak one protocol."""
    world.server.forward_faults.refuse_websocket = way != "tunnel"
    world.server.forward_faults.refuse_spdy = way == "channels"


@WAYS
def test_payloads_arrive_whole_both_ways(world, tmp_path, way):
    only(world, way)
    world.add("web-1", lambda name, port: digest)

    def body(forward):
        def one():
            with forward.connect() as client:
                exchange(client, 3 << 20)

        in_parallel([one] * 4)

    forwarded(world, tmp_path, body)


def in_parallel(tasks):
    """Run each on a thread; what one raises is raised."""
    errors = []

    def run(task):
        try:
            task()
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


class CutChannels(ChannelPeer):
    """A peer over channels. Connections are cut after so many messages, those of both directions together."""

    cuts: ClassVar[list[int]] = []

    def __init__(self, ports):
        super().__init__(ports)
        self.left = self.cuts.pop(0) if self.cuts else 1 << 30
        self.receive = self._receive
        self.outgoing = self._outgoing

    def _receive(self, data):
        events = self._server.receive(data)
        self.left -= len(events)
        return events if self.left >= 0 else []

    def _outgoing(self):
        data = self._server.outgoing()
        self.left -= bool(data)
        return data if self.left >= 0 else b""

    @property
    def over(self):
        return self.left <= 0 or not self._server.live


@WAYS
def test_a_tunnel_that_is_cut_anywhere(world, tmp_path, way, monkeypatch):
    """After each of the first 30 frames. A client gets its right answers, or is cut off; nothing reaches an
    application twice, and the next client is served."""
    only(world, way)
    seen = collections.Counter()

    def counting(name, port):
        def serve(connection):
            with connection.makefile("rb") as lines:
                for line in lines:
                    seen[line] += 1
                    connection.sendall(b"got " + line)

        return serve

    monkeypatch.setattr(portforward, "ChannelPeer", CutChannels)
    CutChannels.cuts = list(range(1, 31)) if way == "channels" else []
    for frame in range(1, 31):
        if way != "channels":
            world.server.forward_faults.cut_after(frame)
    world.add("web-1", counting)
    outcomes = collections.Counter()

    def talk(forward, name):
        with forward.connect() as client:
            for turn in range(16):
                assert ask_on(client, f"{name} {turn}") == f"got {name} {turn}"

    def body(forward):
        attempt = 0
        while CutChannels.cuts if way == "channels" else len(forward.of(Troubled)) < 30:
            attempt += 1
            try:
                talk(forward, f"{way} {attempt}")
                outcomes["whole"] += 1
            except ConnectionError:
                outcomes["cut off"] += 1
        talk(forward, "after")

    forwarded(world, tmp_path, body)
    assert outcomes["cut off"] >= 15, outcomes
    assert set(seen.values()) == {1}


def test_pods_are_deleted_and_replaced(world, tmp_path):
    """Between requests, all of them at once at times: none fails."""
    world.add("web-1")

    def body(forward):
        answers = []
        for generation in range(2, 12):
            answers.append(forward.ask())
            world.add(f"web-{generation}", ready=generation % 2 == 0)
            world.remove(f"web-{generation - 1}")
            if generation % 2:
                threading.Timer(0.1, lambda g=generation: world.change(f"web-{g}")).start()
        answers.append(forward.ask())
        assert [a.split()[0] for a in answers] == [f"web-{n}" for n in range(1, 12)]
        assert not [e for e in forward.of(Ended) if e.why]

    forwarded(world, tmp_path, body)


@pytest.mark.parametrize("target", ["svc/web :80", "deploy/web :28080"])
def test_a_rolling_restart_fails_no_request(world, tmp_path, target):
    names = [f"web-1-{n}" for n in range(3)]
    for name in names:
        world.start(name)
    failed, served = [], collections.Counter()
    over = threading.Event()

    def body(forward):
        until(lambda: forward.of(Listening))

        def requests():
            while not over.is_set() or sum(served.values()) < 300:
                try:
                    name, line = forward.ask(f"{time.monotonic()}").split()
                    assert time.monotonic() - float(line) < 5
                    served[name] += 1
                except (ConnectionError, TimeoutError) as e:
                    failed.append((e, len(served)))

        def roll():
            try:
                world.roll(world.roll(names, 2), 3)
            finally:
                over.set()

        in_parallel([roll, requests, requests, requests])

    forwarded(world, tmp_path, body, *target.split())
    assert failed == []
    assert len(served) == 9 and sum(served.values()) >= 300


def test_the_api_server_restarts(world, tmp_path):
    """Who connects while it is away waits; a pod that came meanwhile is found."""
    world.add("web-1")
    answers = []

    def body(forward):
        assert forward.ask() == "web-1 28080 hello"
        for number in range(2, 5):
            away = threading.Thread(target=world.restart, args=(0.4,))
            away.start()
            time.sleep(0.1)
            world.store.delete(PODS, NAMESPACE, f"web-{number - 1}")
            world.add(f"web-{number}")
            answers.clear()
            in_parallel([lambda: answers.append(forward.ask())] * 20)
            away.join()
            assert set(answers) <= {f"web-{number} 28080 hello", f"web-{number - 1} 28080 hello"}
            assert len(answers) == 20
            until(lambda n=number: forward.of(Offered)[-1].endpoints[0].pod == f"web-{n}")
            assert forward.ask() == f"web-{number} 28080 hello"

    forwarded(world, tmp_path, body)


def test_a_silent_connection_to_the_server_is_given_up(world, tmp_path, monkeypatch):
    """Half open: the other end is gone, and nobody says so."""
    monkeypatch.setattr("svcdoctor.proxy.tunnel.PING_SECONDS", 0.2)
    monkeypatch.setattr("svcdoctor.proxy.tunnel.SILENCE_SECONDS", 0.6)
    world.add("web-1")
    kubeconfig = world.kubeconfig(tmp_path / "kubeconfig")

    def body(forward):
        with forward.connect() as client:
            assert ask_on(client, "one") == "web-1 28080 one"
            time.sleep(1.0)  # pings are answered
            assert ask_on(client, "two") == "web-1 28080 two"
            proxy.freeze()
            with pytest.raises(ConnectionResetError):
                ask_on(client, "three")
        assert "has not answered" in forward.of(Troubled)[0].why
        assert forward.ask("four") == "web-1 28080 four"

    with proxied(world, kubeconfig) as proxy:
        forwarded(world, tmp_path, body, kubeconfig=kubeconfig)


@WAYS
def test_a_peer_that_stops_reading_is_waited_for(world, tmp_path, way):
    """Nothing is lost, and not much is held: the client is not read either."""
    only(world, way)
    world.add("web-1", lambda name, port: digest)
    faults = world.server.forward_faults
    size = 24 << 20

    def body(forward):
        with forward.connect() as client:
            client.sendall(size.to_bytes(4, "big"))
            faults.stop_reading()
            block, taken = os.urandom(size), 0
            client.settimeout(0.5)
            with contextlib.suppress(TimeoutError):
                while taken < size:
                    taken += client.send(memoryview(block)[taken : taken + 65536])
            assert taken < 20 << 20, "kernel buffers, and what a tunnel may hold"
            faults.go_on_reading()
            client.settimeout(20)
            client.sendall(memoryview(block)[taken:])
            assert exactly(client, 32) == hashlib.sha256(block).digest()

    forwarded(world, tmp_path, body)


def test_a_thousand_connections_at_once(world, tmp_path):
    for number in range(3):
        world.add(f"web-{number}", lambda name, port: echo)

    def body(forward):
        clients = []
        try:
            for _ in range(1000):
                clients.append(forward.connect())
            for turn in range(2):
                for number, client in enumerate(clients):
                    client.sendall(b"%d %d\n" % (turn, number))
                for number, client in enumerate(clients):
                    said = b"%d %d\n" % (turn, number)
                    assert exactly(client, len(said)) == said
        finally:
            for client in clients:
                client.close()
        until(lambda: len(forward.of(Ended)) == 1000)
        assert not forward.of(Troubled)

    forwarded(world, tmp_path, body)


PLUGIN = """
import json, pathlib, sys
here = pathlib.Path(sys.argv[1])
with (here / "asked").open("a") as file: file.write("x")
status = {"token": (here / "token").read_text()}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


def test_tokens_that_expire(world, tmp_path):
    """Each time the server knows only a new one: the plugin of the kubeconfig is asked again."""
    world.add("web-1")
    (tmp_path / "plugin.py").write_text(PLUGIN)
    kubeconfig = world.kubeconfig(tmp_path / "kubeconfig")
    config = yaml.safe_load(kubeconfig.read_text())
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-I", str(tmp_path / "plugin.py"), str(tmp_path)],
        "interactiveMode": "Never",
    }
    config["users"][0]["user"] = {"exec": plugin}
    kubeconfig.write_text(json.dumps(config))

    def expire(number):
        (tmp_path / "token").write_text(f"token-{number}")
        world.new_token(f"token-{number}")

    expire(0)

    def body(forward):
        assert forward.ask() == "web-1 28080 hello"
        for number in range(1, 4):
            with forward.connect() as client:
                assert ask_on(client, "before").endswith("before")
                expire(number)
                assert ask_on(client, "after").endswith("after")
            world.restart(0.0)
            assert forward.until_asked().endswith(" 28080 hello")
            world.add(f"more-{number}")
            until(lambda: len(forward.of(Offered)[-1].endpoints) == 2)
            world.remove(f"more-{number}")

    forwarded(world, tmp_path, body, kubeconfig=kubeconfig)
    assert 4 <= len((tmp_path / "asked").read_text()) <= 12


def test_clients_that_go_away_at_any_moment(world, tmp_path):
    """With a reset, before, while and after they are served; others notice nothing."""
    world.add("web-1")

    def body(forward):
        with forward.connect() as kept:
            for number in range(200):
                client = forward.connect()
                if number % 3:
                    client.sendall(b"hello\n")
                if number % 3 == 2:
                    client.recv(100)
                linger = (1).to_bytes(4, sys.byteorder) + bytes(4)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                client.close()
            assert ask_on(kept, "still") == "web-1 28080 still"
        assert not forward.of(Troubled)

    forwarded(world, tmp_path, body)
