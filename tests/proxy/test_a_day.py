"""A forward that runs for a day: tokens expire, tunnels idle, pods and the API server come and go."""

from __future__ import annotations

import collections
import contextlib
import functools
import gc
import hashlib
import json
import os
import random
import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import chaos
import forward_world
import pytest
import yaml
from chaos import Forwarded, forwarded
from day import START, Day, DayLoop, DayStore
from forward_client import exactly
from forward_world import NAMESPACE, World
from test_chaos import in_parallel

from svcdoctor.lab import watches
from svcdoctor.lab.resources import SERVICES
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy import forwardrun
from svcdoctor.proxy.forwarder import Offered, Troubled
from svcdoctor.sources.session import ApiSession
from svcdoctor.sources.streaming import Streaming
from svcdoctor.sources.watching import Watcher
from svcdoctor.tunnel.portforward import ForwardClient

HOUR = 3600.0
DAY = 24 * HOUR
RESTARTS = [3.3 * HOUR, 9.1 * HOUR, 15.7 * HOUR, 21.2 * HOUR]
"""The API server is away for 20 seconds, and forgets its history meanwhile."""

DEAF = 12.5 * HOUR
"""It stops reading its tunnels for a minute."""

SILENT = 18.2 * HOUR
"""Watches hear nothing for four minutes, though a pod is replaced."""

REPLACED = sorted([number * 1.5 * HOUR + 700 for number in range(1, 15)] + [SILENT + 30])
TURN = 420.0
"""Between two exchanges of the connection that lasts."""


def sums(name, port):
    """Both directions, each checked by the other end: the hash of what came, something to hash, the verdict on it."""

    def serve(connection):
        draw = random.Random()
        while True:
            size = int.from_bytes(exactly(connection, 4), "big")
            came = exactly(connection, size)
            own = draw.randbytes(size)
            connection.sendall(hashlib.sha256(came).digest() + own)
            connection.sendall(
                b"same" if exactly(connection, 32) == hashlib.sha256(own).digest() else b"else"
            )

    return serve


def talk(client: socket.socket, size: int) -> None:
    """Raises ConnectionError where it is cut."""
    payload = os.urandom(size)
    client.sendall(size.to_bytes(4, "big") + payload)
    assert receive(client, 32) == hashlib.sha256(payload).digest()
    client.sendall(hashlib.sha256(receive(client, size)).digest())
    assert receive(client, 4) == b"same"


def receive(client: socket.socket, count: int) -> bytes:
    heard = bytearray()
    while len(heard) < count:
        piece = client.recv(min(1 << 18, count - len(heard)))
        if not piece:
            raise ConnectionResetError("ended too early")
        heard += piece
    return bytes(heard)


@pytest.fixture
def day(monkeypatch):
    if not Path("/proc/thread-self/schedstat").exists():
        reason = "the clock needs Linux' count of how often threads run"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    made = Day()
    monkeypatch.setattr(DayStore, "day", made, raising=False)
    monkeypatch.setattr(forward_world, "ObjectStore", DayStore)
    monkeypatch.setattr(forward_world, "time", SimpleNamespace(sleep=made.pause))
    monkeypatch.setattr(watches, "time", SimpleNamespace(monotonic=made.clock))
    monkeypatch.setattr(watches, "IDLE_SECONDS", 60.0)
    monkeypatch.setattr(forwardrun, "Loop", lambda: DayLoop(made))
    watcher = functools.partial(Watcher, clock=made.clock, sleep=made.sleep, draw=random.Random(1).random)
    monkeypatch.setattr(forwardrun, "Watcher", watcher)
    made.silences = 0
    real_piece = Streaming.piece

    def piece(stream, seconds):
        late = []
        due = made.at(made.now + seconds, lambda: (late.append(True), stream.end()))
        try:
            found = real_piece(stream, HOUR)
        except SvcdoctorError:
            if not late:
                raise
            found = b""
        finally:
            due.cancel()
        if late and not found:
            made.silences += 1
            raise TimeoutError
        return found

    monkeypatch.setattr(Streaming, "piece", piece)
    real_sent = ApiSession._sent

    def sent(*arguments):
        with made.talking():
            return real_sent(*arguments)

    monkeypatch.setattr(ApiSession, "_sent", sent)
    real_open = chaos.open_connection

    def opened(connection):
        session = real_open(connection)
        session._clock, session._now, session._sleep = made.clock, made.wall, made.sleep
        renew = session._renew

        def renewed():
            with made.busy():
                return renew()

        session._renew = renewed
        return session

    monkeypatch.setattr(chaos, "open_connection", opened)
    yield made
    made.end()


@pytest.fixture
def world(day):
    made = World()
    made.server._follower.stop()  # it looks every second whether anything is to be run, and nothing is
    yield made
    day.end()
    made.close()
    gc.collect()  # urllib3's errors hold, in circles, the connections of clients whose token has expired


@contextlib.contextmanager
def cut_noted(cut, day):
    try:
        yield
    except ConnectionError:
        cut.append(day.now)


def credential(world, folder, number):
    """From now on the user's token is this one, for an hour; the old one is refused."""
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START + (number + 1) * HOUR))
    answer = {"token": f"token-{number}", "expirationTimestamp": expires}
    kind = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    (folder / "new").write_text(json.dumps(kind | {"status": answer}))
    (folder / "new").replace(folder / "credential")
    world.new_token(f"token-{number}")


def with_plugin(world, folder):
    """A kubeconfig whose tokens come from a program."""
    kubeconfig = world.kubeconfig(folder / "kubeconfig")
    config = yaml.safe_load(kubeconfig.read_text())
    script = f"echo >> {folder}/asked; exec cat {folder}/credential"
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh",
        "args": ["-c", script],
        "interactiveMode": "Never",
    }
    config["users"][0]["user"] = {"exec": plugin}
    kubeconfig.write_text(json.dumps(config))
    return kubeconfig


def test_a_day(world, day, tmp_path, monkeypatch):
    """Every exchange is whole, or cut where its pod or the server went; nothing grows."""
    pings = collections.Counter()
    real_ping = ForwardClient.ping

    def ping(client):
        pings[int(day.now // HOUR)] += 1
        real_ping(client)

    monkeypatch.setattr(ForwardClient, "ping", ping)
    kubeconfig = with_plugin(world, tmp_path)
    credential(world, tmp_path, 0)
    for number in range(2):
        world.add(f"web-{number}", sums)
    exchanges = collections.Counter()
    cut, used, told = [], [], []

    def replace(number):
        world.add(f"web-{number}", sums)
        world.remove(f"web-{number - 2}")

    def forget():
        service = world.store.get(SERVICES, NAMESPACE, "by-hand")
        world.store.update(service | {"metadata": service["metadata"] | {"labels": {"at": str(day.now)}}})
        world.store.compact()

    def silence():
        world.store.silent_until = SILENT + 240

    def look(forward):
        tunnels = forward.run._chosen.way.tunnels
        count = sum(len(pod.tunnels) for pod in tunnels._pods.values())
        timers, descriptors = len(forward.run.loop._timers), len([*Path("/proc/self/fd").iterdir()])
        used.append((count, len(tunnels._pods), timers, descriptors, threading.active_count()))

    def happenings(forward):
        """What is done to it, in order."""
        plan = [
            (number * HOUR, functools.partial(credential, world, tmp_path, number)) for number in range(1, 24)
        ]
        plan += [(number * HOUR + 1, functools.partial(look, forward)) for number in range(1, 24)]
        plan += [(when, functools.partial(replace, number)) for number, when in enumerate(REPLACED, 2)]
        plan += [(when + 5, forget) for when in RESTARTS]
        faults = world.server.forward_faults
        plan += [(DEAF, faults.stop_reading), (DEAF + 60, faults.go_on_reading), (SILENT, silence)]
        for when, do in sorted(plan, key=lambda step: step[0]):
            day.until(when)
            with day.busy():  # applications take their time to end
                do()
        day.until(DAY)

    def restarts(forward):
        for when in RESTARTS:
            day.until(when)
            with day.busy():
                world.restart(20.0)

    def short(forward):
        """A new connection every ten minutes."""
        draw = random.Random(7)
        for number in range(1, 144):
            day.until(number * 600 + draw.uniform(0, 60))
            with day.talking(), forward.connect() as client:
                talk(client, draw.choice((10, 1000, 100_000, 700_000)))
                exchanges["short"] += 1

    def while_away(forward):
        """As soon as the server is away."""
        for when in RESTARTS:
            day.until(when + 1)
            with day.talking(), forward.connect() as client:
                talk(client, 1000)
                exchanges["while away"] += 1
            assert day.now < when + 30

    def long(forward):
        """One connection for as long as it lasts."""
        draw = random.Random(8)
        while day.now < DAY - TURN:
            with forward.connect() as client, cut_noted(cut, day):
                while day.now < DAY - TURN:
                    with day.talking():
                        talk(client, draw.choice((10, 1000, 100_000)))
                    exchanges["long"] += 1
                    day.sleep(TURN)

    def body(forward: Forwarded):
        def tell(event):
            told.append((day.now, event))
            forward.events.append(event)

        forward.run._tell_user = tell
        tasks = (happenings, restarts, short, while_away, long)
        try:
            in_parallel([lambda task=task: task(forward) for task in tasks])
        finally:
            forward.run._tell_user = forward.events.append  # or they would hold each other

    forwarded(world, tmp_path, body, kubeconfig=kubeconfig)
    troubles = [(at, event.why) for at, event in told if isinstance(event, Troubled)]
    offered = [event.endpoints for _, event in told if isinstance(event, Offered)]
    assert day.now == DAY
    assert (exchanges["short"], exchanges["while away"]) == (143, 4)
    assert exchanges["long"] >= 200
    disturbed = [*REPLACED, *RESTARTS, DEAF]
    assert all(any(when <= at <= when + TURN + 60 for when in disturbed) for at in cut), cut
    # Tunnels: kept alive all day, closed when idle, given up where the server does not answer.
    assert min(pings[hour] for hour in range(24)) >= 350
    assert max(pings.values()) <= 800
    unanswered = [at for at, why in troubles if why == "the API server has not answered for 30 s"]
    assert unanswered and all(DEAF + 20 <= at <= DEAF + 70 for at in unanswered)
    assert 60 <= world.tunnels <= 120
    # Watches: asked for again all day, from where they ended; listed again where the server has forgotten.
    asked = collections.Counter(
        ("watch" in r.query, r.status) for r in world.server.requests if r.path.endswith("/pods")
    )
    assert asked[False, 200] == 1 + len(RESTARTS)
    assert 144 <= asked[True, 200] <= 300
    assert asked.total() <= 320
    assert day.silences >= 2
    assert {endpoint.pod for endpoint in offered[-1]} == {
        f"web-{len(REPLACED)}",
        f"web-{len(REPLACED) + 1}",
    }
    # Tokens: renewed before they are refused; one run of the plugin for each, or two in the last seconds of one.
    assert not [r for r in world.server.requests if r.status == 401]
    assert 24 <= len((tmp_path / "asked").read_text()) <= 47
    # Nothing grows.
    tunnels, pods, timers, descriptors, threads = zip(*used, strict=True)
    assert max(tunnels) <= 2 and max(pods) <= 2 and max(timers) <= 12
    assert max(descriptors[12:]) <= max(descriptors[:12]) + 8
    assert max(threads[12:]) <= max(threads[:12]) + 3
