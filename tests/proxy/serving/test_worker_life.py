"""A worker's life: controls that die and come, drains, descriptors that run out, thousands of everything, its log."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from forward_world import NAMESPACE, World
from piping import descriptors_left
from working import (
    PATIENCE,
    Named,
    WorkerProcess,
    address,
    ask,
    connect,
    free_port,
    lines,
    missing,
    served,
    until,
)

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.listener import Doors
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.reach import ByConnection
from svcdoctor.proxy.serving import accesslog, tcp
from svcdoctor.proxy.serving.accesslog import AccessLog
from svcdoctor.proxy.serving.backoff import Backoff
from svcdoctor.proxy.serving.opened import NO_SCTP, NO_UDP, Opened
from svcdoctor.proxy.serving.served import Backend, Listen
from svcdoctor.proxy.serving.tcp import TcpClients
from svcdoctor.proxy.serving.wire import Count, Drain, Held, Put, Ready, Recall, Settings, Stop, frame

Start = Callable[..., WorkerProcess]
Serve = Callable[[Any], Any]

KILLED_CONTROL = """
import sys, time
sys.path.insert(0, sys.argv[1])
from working import Control
from svcdoctor.proxy.serving.served import ServedPort
import msgspec
control = Control(sys.argv[2])
control.put(msgspec.json.decode(sys.argv[3], type=ServedPort))
print("put", flush=True)
time.sleep(60)
"""


def test_a_transfer_survives_its_control_s_death_and_another_one_s_coming(
    workers: Start, servers: Serve, host: str
) -> None:
    a = servers(Named("a", host))
    port = served(a.backend, host=host)
    worker = workers()
    words = [
        sys.executable,
        "-c",
        KILLED_CONTROL,
        str(Path(__file__).parent),
        worker.path,
        msgspec.json.encode(port).decode(),
    ]
    control = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert control.stdout is not None
    assert control.stdout.readline() == b"put\n"
    data = os.urandom(1 << 20) * 48
    said, heard = hashlib.sha256(), hashlib.sha256()
    half, go_on = threading.Event(), threading.Event()
    with connect(port) as sock:
        assert sock.recv(1) == b"a"

        def write() -> None:
            for number in range(48):
                if number == 24:
                    half.set()
                    go_on.wait(PATIENCE)
                piece = data[number << 20 : (number + 1) << 20]
                said.update(piece)
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=write)
        writer.start()
        half.wait(PATIENCE)
        control.kill()
        control.wait()
        control.stdout.close()
        threading.Timer(0.2, go_on.set).start()
        assert ask(port) == "a"  # new ones, too
        while piece := sock.recv(1 << 18):
            heard.update(piece)
        writer.join()
    assert said.digest() == heard.digest()
    adopter = worker.adopt()
    assert adopter.hello.pid == worker.process.pid
    adopter.send(Recall())
    assert adopter.next(Held).ports == (port,)
    adopter.put(port, whole=True)
    assert ask(port) == "a"


def test_the_last_control_that_came_is_the_one(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    worker = workers()
    first = worker.control
    worker.control = type(first)(worker.path)
    assert first.sock.recv(1) == b""
    first.close()
    port = served(a.backend)
    worker.control.put(port)
    assert ask(port) == "a"
    # Who does not speak the protocol is left, and harms nobody.
    worker.control.sock.sendall(b"\0\0\0\5hello")
    assert worker.control.sock.recv(1) == b""
    worker.adopt()
    assert ask(port) == "a"


def test_a_whole_state_replaces_what_was(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    ports = [served(a.backend, name=f"s{n}") for n in range(4)]
    worker = workers()
    worker.control.put(*ports)
    with connect(ports[0]) as kept:
        assert kept.recv(1) == b"a"
        worker.control.put(*ports[2:], whole=True)
        for port in ports[:2]:
            with pytest.raises(ConnectionRefusedError):
                ask(port)
        assert [ask(port) for port in ports[2:]] == ["a", "a"]
        kept.sendall(b"still")
        assert kept.recv(10) == b"still"


@pytest.mark.parametrize("how", ["message", "signal"])
def test_a_drain_ends_with_the_last_connection(workers: Start, servers: Serve, how: str) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    worker = workers(drain_seconds=10.0)
    worker.control.put(port)
    with connect(port) as sock:
        assert sock.recv(1) == b"a"
        if how == "message":
            worker.control.send(Drain())
        else:
            worker.process.send_signal(signal.SIGTERM)
        until(lambda: worker.control.counters().draining)
        with pytest.raises(ConnectionRefusedError):
            ask(port)
        sock.sendall(b"still")
        assert sock.recv(10) == b"still"
        assert worker.adopt().hello.draining
        assert worker.process.poll() is None
    assert worker.wait() == 0


def test_a_drain_ends_when_its_time_is_over(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    worker = workers(drain_seconds=0.5)
    worker.control.put(port)
    with connect(port) as sock:
        assert sock.recv(1) == b"a"
        began = time.monotonic()
        worker.control.send(Drain())
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
        assert 0.4 < time.monotonic() - began < 3
    assert worker.wait() == 0


def test_who_waits_to_be_accepted_when_the_drain_begins_is_served(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    worker = workers()
    worker.control.put(port)
    worker.process.send_signal(signal.SIGSTOP)
    socks = [connect(port) for _ in range(200)]
    worker.control.send(Drain())
    worker.process.send_signal(signal.SIGCONT)
    assert [sock.recv(1) for sock in socks] == [b"a"] * 200
    for sock in socks:
        sock.close()
    assert worker.wait() == 0


def test_what_a_terminal_sends_ends_no_worker_and_stop_does(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    worker = workers()
    worker.control.put(port)
    for number in (signal.SIGINT, signal.SIGHUP):
        worker.process.send_signal(number)
    assert ask(port) == "a"
    with connect(port) as sock:
        assert sock.recv(1) == b"a"
        worker.control.send(Stop())
        with pytest.raises(ConnectionResetError):
            sock.recv(1)
    assert worker.wait() == 0


def test_without_descriptors_clients_wait_and_nothing_breaks(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    worker = workers(before=("prlimit", "--nofile=320:320"))
    worker.control.put(port)
    socks = [connect(port) for _ in range(40)]
    heard = 0
    for sock in socks:
        sock.settimeout(0.05)
        try:
            heard += sock.recv(1) == b"a"
        except TimeoutError:
            break
    assert heard == (320 - 256 - 1) // 2
    for sock in socks[:heard]:
        sock.close()
    for sock in socks[heard:]:
        sock.settimeout(PATIENCE)
        assert sock.recv(1) == b"a"
        sock.close()
    assert ask(port) == "a"


def test_where_others_use_the_descriptors_up_clients_wait(servers: Serve) -> None:
    """The worker's parts, in this process, whose descriptors the test takes."""
    a = servers(Named("a"))
    port = served(a.backend)
    with Parts(most=1000) as parts:
        parts.opened.put([port], whole=True)
        sock = connect(port)
        with descriptors_left(1):  # for the client, and none for its endpoint
            parts.turn_until(lambda: not parts.doors.open)
            assert len(parts.tcp.alive) == 1
        parts.turn_until(lambda: parts.doors.open and select.select([sock], [], [], 0)[0])
        assert sock.recv(1) == b"a"
        sock.close()
        assert not parts.tcp.backoff  # it was no endpoint's fault


class Parts:
    """What a worker is made of, on a loop that the test turns, at a time that it sets forward."""

    def __init__(self, most: int) -> None:
        self.ahead = 0.0
        self.loop = Loop(lambda: time.monotonic() + self.ahead)
        self.way = ByConnection(self.loop, DirectDialer(self.loop))
        self.doors = Doors()
        self.tcp = TcpClients(self.loop, self.way, Backoff(lambda: self.loop.now), self.doors, None, most)
        self.told: dict[str, str] = {}
        self.opened = Opened(self.tcp, None, self.told.__setitem__)

    def __enter__(self) -> Parts:
        return self

    def turn_until(self, true: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < end, "waited in vain"
            self.loop.turn(0.02)

    def turn_for(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.loop.turn(0.02)

    def __exit__(self, *_: object) -> None:
        self.opened.close()
        self.tcp.retire()
        self.way.close()
        self.doors.spend()
        self.loop.turn(0.0)
        self.loop.free()


def test_silent_clients_make_room_for_others_and_those_that_talk_stay(servers: Serve) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    with Parts(most=10) as parts:
        parts.opened.put([port], whole=True)
        socks = [connect(port) for _ in range(10)]
        parts.turn_for(0.2)
        assert len(parts.tcp.alive) == 10
        waiting = connect(port)
        for _ in range(10):
            socks[0].sendall(b"x")
            parts.turn_for(0.05)
            parts.ahead += tcp.SWEEP_SECONDS
        parts.turn_for(0.2)
        assert waiting.recv(1) == b"a"
        ended = []
        for number, sock in enumerate(socks):
            sock.settimeout(0.01)
            try:
                while sock.recv(100):
                    pass
            except ConnectionResetError:
                ended.append(number)
            except TimeoutError:
                pass
        assert ended
        assert 0 not in ended
        for sock in [*socks, waiting]:
            sock.close()


def test_what_cannot_be_listened_on_is_told_and_tried_again(
    workers: Start, servers: Serve, host: str
) -> None:
    a = servers(Named("a", host))
    here = "192.0.2.7" if ":" not in host else "2001:db8::7"
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as other:
        other.bind((host, 0))
        other.listen()
        number = other.getsockname()[1]
        listens = (Listen(host, number, "clusterIP"), Listen(host, free_port(host), "nodePort"))
        port = served(a.backend, host=host, listens=listens)
        far = served(a.backend, host=host, name="far", listens=(Listen(here, 80, "clusterIP"),))
        sctp = served(a.backend, host=host, name="sctp", protocol="SCTP", listens=listens[1:])
        twice = served(a.backend, host=host, name="twice", listens=listens[1:])
        worker = workers()
        worker.control.put(port, far, sctp, twice)
        where = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        failures = worker.control.failures
        assert failures[port.key].startswith(f"cannot listen on {where}: Address already in use by ")
        assert f"(pid {os.getpid()})" in failures[port.key]
        assert "choose an address of this machine" in failures[far.key]
        assert failures[sctp.key] == NO_SCTP
        assert failures[twice.key] == f"cannot listen on {twice.listens[0]}: {port.key} is served there"
        assert ask(port, 1) == "a"
        # Who comes later is told as well.
        adopter = worker.adopt()
        adopter.put(port, far, sctp, twice, whole=True)
        assert set(adopter.failures) == {port.key, far.key, sctp.key, twice.key}
    until(lambda: (adopter.counters(), adopter.failures[port.key])[1] == "", 8)
    assert ask(port, 0) == "a"
    adopter.remove(port.key)
    until(lambda: (adopter.counters(), adopter.failures[twice.key])[1] == "", 8)
    assert ask(twice) == "a"


def test_a_thousand_ports_of_three_listens_each(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    ports = []
    for number in range(1000):
        ip = f"127.{10 + (number >> 8)}.{number & 255}.1"
        listens = tuple(Listen(ip, at, "clusterIP") for at in (20080, 20443, 20053))
        backends = tuple(Backend(f"10.1.{number >> 8}.{n}", 80, f"default/p{number}-{n}") for n in range(9))
        ports.append(served(*backends, a.backend, name=f"s{number}", listens=listens))
    worker = workers()
    before = worker.memory()
    began = time.monotonic()
    worker.control.put(*ports, whole=True)
    took = time.monotonic() - began
    held = worker.memory() - before
    assert not worker.control.failures
    # 5,000 Services shall start in five seconds; with room for a machine that is busy.
    assert took < 3
    assert held < 16 << 20
    alone = served(a.backend, name="s7", listens=ports[7].listens)
    began = time.monotonic()
    worker.control.put(alone)
    assert time.monotonic() - began < 0.1
    assert [ask(alone, n) for n in range(3)] == ["a"] * 3
    began = time.monotonic()
    worker.control.put(*ports[:7], alone, *ports[8:], whole=True)  # as a new control does: nothing changes
    assert time.monotonic() - began < 1


def test_thousands_of_connections_at_once(workers: Start) -> None:
    count = 4000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3 * count:
        missing("so many descriptors are not allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("echoing.py"))], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    backend = Backend("127.0.0.1", int(server.stdout.readline()))
    port = served(backend)
    worker = workers()
    worker.control.put(port)
    socks: list[socket.socket] = []
    try:
        before = worker.memory()
        socks += [connect(port) for _ in range(count)]
        for turn in range(2):
            for number, sock in enumerate(socks):
                sock.sendall(b"%d %d" % (turn, number))
            for number, sock in enumerate(socks):
                assert sock.recv(100) == b"%d %d" % (turn, number)
        assert worker.control.counters().active == count
        # Of haproxy's 3.2 MiB for 1,000.
        assert (worker.memory() - before) / count < 1200
    finally:
        for sock in socks:
            sock.close()
        server.kill()
        server.wait()
        server.stdout.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    until(lambda: worker.control.counters().active == 0)


def test_a_half_close_is_passed_on_and_the_answer_comes_later(workers: Start, host: str) -> None:
    count = 100
    server = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("echoing.py")), host, "1.5"], stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    port = served(Backend(host, int(server.stdout.readline())), host=host)
    worker = workers()
    worker.control.put(port)
    socks = [connect(port) for _ in range(count)]
    for number, sock in enumerate(socks):
        sock.sendall(b"%d" % number)
        sock.shutdown(socket.SHUT_WR)
    answers = [sock.makefile("rb").read() for sock in socks]
    assert answers == [b"%d" % number for number in range(count)]
    for sock in socks:
        sock.close()
    server.kill()
    server.wait()
    server.stdout.close()


def test_counts_and_the_access_log_agree(workers: Start, servers: Serve, host: str, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    a = servers(Named("a", host))
    port = served(a.backend, host=host)
    worker = workers(access_log=str(log))
    worker.control.put(port)
    with connect(port) as sock:
        assert sock.recv(1) == b"a"
        sock.sendall(b"x" * 1000)
        heard = 0
        while heard < 1000:
            heard += len(sock.recv(1000))
        live = worker.control.endpoint(port.key, str(a.backend))
        assert live is not None
        assert (live.connections, live.active, live.sent, live.received) == (1, 1, 1000, 1001)
        assert sum(live.dials) == 1
        assert live.dial_seconds < 1
        client = sock.getsockname()
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(1) == b""
    with connect(port) as sock:
        assert sock.recv(1) == b"a"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: len(lines(log)) == 2)
    first, second = lines(log)
    shown = f"[{client[0]}]:{client[1]}" if ":" in host else f"{client[0]}:{client[1]}"
    assert (first["service"], first["client"]) == (port.key, shown)
    assert (first["listen"], first["endpoint"]) == (str(port.listens[0]), str(a.backend))
    assert (first["pod"], first["sent"], first["received"], first["error"]) == ("default/a", 1000, 1001, "")
    assert 0 < first["seconds"] < 10
    assert second["error"] == "the client went away"
    ended = worker.control.endpoint(port.key, str(a.backend))
    assert ended is not None
    assert (ended.connections, ended.active, ended.sent, ended.received) == (2, 0, 1000, 1002)
    # The file is moved away, as logrotate does.
    log.rename(tmp_path / "access.log.1")
    assert ask(port) == "a"
    until(lambda: len(lines(log)) == 1)
    assert len(lines(tmp_path / "access.log.1")) == 2


def test_log_lines_that_cannot_be_written_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accesslog, "MOST_WAITING", 2000)
    loop = Loop()
    log = AccessLog(loop, str(tmp_path / "log"), lambda: 86400.25)

    def add(count: int) -> None:
        for _ in range(count):
            log.add("default/web:80/TCP/4", "10.0.0.9:1", "10.0.0.1:80", "", "", (0, 0), 0.5, "no endpoint")

    add(100)
    log.write()
    said = lines(tmp_path / "log")
    assert said[0]["time"] == "1970-01-02T00:00:00.250Z"
    assert said[-1] == {"time": "1970-01-02T00:00:00.250Z", "dropped": 101 - len(said)}
    (tmp_path / "log").unlink()
    full = Path("/dev/full")
    (tmp_path / "log").symlink_to(full)
    add(3)
    log.write()
    (tmp_path / "log").unlink()
    add(1)
    log.write()
    assert lines(tmp_path / "log")[-1]["dropped"] == 3
    log.close()
    loop.free()
    with pytest.raises(SvcdoctorError, match="name a file that can be written"):
        AccessLog(loop, str(tmp_path / "none" / "log"))


def test_settings_that_cannot_be_had_are_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        text = msgspec.json.encode(Settings("test", access_log=str(tmp_path))).decode()
        words = [sys.executable, "-m", "svcdoctor.proxy.serving.worker", str(listening.fileno()), text]
        done = subprocess.run(
            words, pass_fds=[listening.fileno()], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"error: access log {tmp_path}: Is a directory; name a file that can be written"
    ]


def test_messages_in_pieces_and_many_at_once(workers: Start, servers: Serve) -> None:
    a = servers(Named("a"))
    port = served(a.backend)
    control = workers().control
    for byte in frame(Put(7, (port,))):
        control.sock.sendall(bytes([byte]))
    assert control.next(Ready).serial == 7
    control.sock.sendall(b"".join(frame(m) for m in (Put(8, ()), Count(), Recall(), Put(9, ()))))
    assert control.next(Ready).serial == 8
    assert control.next(Held).ports == (port,)
    assert control.next(Ready).serial == 9
    assert ask(port) == "a"
    assert json.loads(control.hello.settings)["version"] == "test"
    assert address(port)[0] == "127.0.0.1"


def test_pods_behind_the_api_server(workers: Start, tmp_path: Path) -> None:
    """The way of `forward`, for clients of a Service."""
    world = World()
    try:
        world.add("web-1")
        kubeconfig = world.kubeconfig(tmp_path / "kubeconfig")
        port = served(Backend("10.0.0.1", 28080, f"{NAMESPACE}/web-1"), limit=3)
        udp = served(Backend("10.0.0.1", 53, f"{NAMESPACE}/web-1"), protocol="UDP")
        worker = workers(dial="tunnel", kubeconfig=str(kubeconfig))
        worker.control.put(port, udp)
        assert worker.control.failures == {udp.key: NO_UDP}
        for number in range(3):
            with connect(port) as sock:
                sock.sendall(b"hello %d\n" % number)
                assert sock.makefile("rb").readline() == b"web-1 28080 hello %d\n" % number
        until(lambda: worker.control.counters().active == 0)
        assert worker.control.port(port.key).endpoints[0].connections == 3
    finally:
        world.close()
