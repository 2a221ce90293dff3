"""Probes from this process against real servers that answer well, badly, or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import probing_servers as servers
import pytest
from probing_servers import Serve, Server, datagrams

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, Met, Observation, Place, PlaceKind, ProbeKind, Speaks
from svcdoctor.probe.here import Here
from svcdoctor.probe.origin import Order
from svcdoctor.probe.run import probe, probe_all, probing

TCP, TLS, HTTP, UDP, GRPC = ProbeKind.TCP, ProbeKind.TLS, ProbeKind.HTTP, ProbeKind.UDP, ProbeKind.GRPC
V4 = "127.0.0.1"


def one(aim: Aim, count: int = 1, seconds: float = 0.4) -> Observation:
    (observation,) = probe([aim], Here(), count=count, seconds=seconds)
    assert observation.sent == count == sum(observation.met.values())
    return observation


def free_port(host: str = V4) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_each_kind_is_answered_over_both_families(host: str, tmp_path: Path) -> None:
    context = servers.server_context(tmp_path, servers.issue("x", host))
    with (
        Server(servers.page, host) as plain,
        Server(servers.page, host, context) as secured,
        Server(servers.health(1), host) as health,
        datagrams(b"web-0", host) as udp,
    ):
        seen = probe(
            [
                Aim(host, plain.port),
                Aim(host, plain.port, HTTP),
                Aim(host, secured.port, TLS),
                Aim(host, secured.port, HTTP, tls=True),
                Aim(host, health.port, GRPC),
                Aim(host, udp, UDP),
            ],
            Here(),
            count=3,
        )
    assert [dict(o.met) for o in seen] == [{Met.ANSWERED: 3}] * 6
    assert [dict(o.who) for o in seen] == [
        {"": 3},
        {"web-0": 3},
        {"": 3},
        {"web-0": 3},
        {"": 3},
        {"web-0": 3},
    ]
    assert [dict(o.statuses) for o in seen] == [
        {},
        {"200": 3},
        {"TLSv1.3": 3},
        {"200": 3},
        {"SERVING": 3},
        {},
    ]
    for o in seen:
        assert o.place == Place(PlaceKind.HERE)
        assert o.latency is not None
        assert 0 < o.latency.p50 <= o.latency.p90 <= o.latency.p99 <= o.latency.max < 1


@pytest.mark.parametrize(
    ("serve", "met", "detail"),
    [
        (servers.closes, Met.CLOSED, "closed without an answer"),
        (servers.resets, Met.RESET, "reset before any answer"),
        (servers.resets_in_the_middle, Met.RESET, "reset after 47 bytes of an answer"),
        (servers.silent, Met.TIMEOUT, "connected, and then no answer within 0.4 s"),
        (servers.drips, Met.STALLED, "the answer stalled: "),
        (servers.endless_head, Met.GARBLED, "no HTTP/1.1: "),
        (servers.said(b"\x00\xff garbage \n\n garbage\n"), Met.GARBLED, "no HTTP/1.1: "),
        (servers.said(b"SSH-2.0-OpenSSH_9.2\r\n", first=True), Met.GARBLED, "(SSH-2.0-OpenSSH_9.2\\r\\n)"),
        (servers.said(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"), Met.CLOSED, "in the middle"),
        (servers.said(b"HTTP/1.1 2000 OK\r\n\r\n"), Met.GARBLED, "no HTTP/1.1: "),
    ],
)
def test_what_is_no_answer_to_http(serve: Serve, met: Met, detail: str) -> None:
    start = time.monotonic()
    with Server(serve) as server:
        seen = one(Aim(V4, server.port, HTTP), count=2)
    assert seen.mostly is met
    assert detail in seen.detail
    assert "\n" not in seen.detail
    assert seen.latency is None
    assert time.monotonic() - start < 10  # one of them drips for ever


def test_an_endless_answer_is_an_answer_that_is_not_read_to_its_end() -> None:
    with Server(servers.endless) as server:
        seen = one(Aim(V4, server.port, HTTP), seconds=5)
    assert dict(seen.met) == {Met.ANSWERED: 1}
    assert seen.detail == "the body is longer than 64 KiB; the rest was not read"
    assert seen.latency is not None
    assert seen.latency.max < 2


def test_a_status_is_an_answer_whatever_it_is() -> None:
    with Server(servers.said(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")) as server:
        seen = one(Aim(V4, server.port, HTTP, path="/healthz"))
    assert (dict(seen.met), dict(seen.statuses)) == ({Met.ANSWERED: 1}, {"503": 1})


def test_the_shares_of_those_who_answer() -> None:
    turn = iter(["web-a", "web-b", "web-a", "web-c"] * 25)
    lock = threading.Lock()

    def serve(sock: socket.socket) -> None:
        servers.request(sock)
        with lock:
            body = f"{next(turn)} on n1 saw you\n".encode()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with Server(serve) as server:
        (seen,) = probe(
            [Aim(V4, server.port, HTTP)], Here(), count=100, names=("web-a", "web-b", "web-c", "web")
        )
    assert dict(seen.who) == {"web-a": 50, "web-b": 25, "web-c": 25}
    assert next(iter(seen.who)) == "web-a"


# --- another protocol than was asked in


def test_http_spoken_to_https(tmp_path: Path) -> None:
    """Python's and OpenSSL's servers end the connection; what they speak is asked once, however many tries."""
    context = servers.server_context(tmp_path, servers.issue("x", V4))
    with Server(servers.page, context=context) as server:
        seen = one(Aim(V4, server.port, HTTP), count=10)
        accepted = server.accepted
    assert seen.speaks is Speaks.TLS
    assert seen.answered == 0
    assert "the port speaks TLS" in seen.detail
    assert accepted == 11


@pytest.mark.parametrize(
    "body",
    [
        b"Client sent an HTTP request to an HTTPS server.\n",
        b"<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>",
        b"You're speaking plain HTTP to an SSL-enabled server port.",
    ],
)
def test_http_spoken_to_an_https_server_that_says_so(body: bytes) -> None:
    with Server(servers.said(b"HTTP/1.1 400 Bad Request\r\n\r\n" + body)) as server:
        seen = one(Aim(V4, server.port, HTTP))
    assert (seen.speaks, dict(seen.statuses)) == (Speaks.TLS, {"400": 1})
    assert seen.detail == "the port speaks TLS"


def test_tls_and_grpc_spoken_to_http() -> None:
    with Server(servers.said(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as server:
        tls, grpc = one(Aim(V4, server.port, TLS)), one(Aim(V4, server.port, GRPC))
    assert (tls.mostly, tls.speaks) == (Met.TLS_FAILED, Speaks.HTTP)
    assert tls.detail.startswith("no TLS: the port speaks HTTP/1.1 without TLS (HTTP/1.1 400")
    assert (grpc.mostly, grpc.speaks) == (Met.GARBLED, Speaks.HTTP)


@pytest.fixture
def nghttpd(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """The ports of a real HTTP/2 server without and with TLS."""
    if shutil.which("nghttpd") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("nghttpd is not installed")
    certificate, key = servers.write(tmp_path, servers.issue("x", V4))
    ports = free_port(), free_port()
    commands = [
        ["nghttpd", "--no-tls", "-d", str(tmp_path), str(ports[0])],
        ["nghttpd", "-d", str(tmp_path), str(ports[1]), str(key), str(certificate)],
    ]
    processes = [subprocess.Popen(c, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for c in commands]
    try:
        for port in ports:
            end = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection((V4, port)).close()
                    break
                except OSError:
                    assert time.monotonic() < end
                    time.sleep(0.02)
        yield ports
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_http2_by_a_real_server(nghttpd: tuple[int, int]) -> None:
    plain, secured = nghttpd
    http = one(Aim(V4, plain, HTTP))
    assert (http.speaks, http.answered) == (Speaks.HTTP2, 0)
    assert "the port speaks HTTP/2 only" in http.detail
    for aim in (Aim(V4, plain, GRPC), Aim(V4, secured, GRPC, tls=True)):
        grpc = one(aim)
        assert dict(grpc.met) == {Met.ANSWERED: 1}
        assert dict(grpc.statuses) == {"404": 1}
        assert grpc.detail.startswith("no gRPC: HTTP/2 with status 404")
    assert one(Aim(V4, secured, GRPC)).speaks is Speaks.TLS


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (1, 0, "SERVING"),
        (2, 0, "NOT_SERVING"),
        (3, 0, "SERVICE_UNKNOWN"),
        (0, 0, "UNKNOWN"),
        (None, 5, "NOT_FOUND"),
        (None, 12, "UNIMPLEMENTED"),
        (None, 99, "code 99"),
    ],
)
def test_grpc_health(status: int | None, code: int, told: str) -> None:
    with Server(servers.health(status, code)) as server:
        seen = one(Aim(V4, server.port, GRPC, path="my.Service"))
    assert (dict(seen.met), dict(seen.statuses)) == ({Met.ANSWERED: 1}, {told: 1})


@pytest.mark.parametrize(
    ("serve", "met"),
    [
        (servers.closes, Met.CLOSED),
        (servers.silent, Met.TIMEOUT),
        (servers.said(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0d" + b"\0\0\4\x08\0\0\0\0\1abc"), Met.CLOSED),
        (servers.said(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0d" + b"\0\0\x01\x01\x04\0\0\0\1\xff"), Met.GARBLED),
        (servers.said(b"\xff" * 300), Met.GARBLED),
    ],
)
def test_what_is_no_answer_to_grpc(serve: Serve, met: Met) -> None:
    with Server(serve) as server:
        seen = one(Aim(V4, server.port, GRPC)).mostly
    # What we acknowledge may meet a connection that is closed already.
    assert seen is met or (met, seen) == (Met.CLOSED, Met.RESET)


def test_silence_after_the_handshake_is_no_answer_that_stalled(tmp_path: Path) -> None:
    context = servers.server_context(tmp_path, servers.issue("x", V4))
    with Server(servers.silent, context=context) as server:
        seen = one(Aim(V4, server.port, HTTP, tls=True))
    assert seen.mostly is Met.TIMEOUT
    assert seen.detail.startswith("connected, and then no answer within 0.4 s")


def test_tls_that_is_cut_or_wants_a_certificate(tmp_path: Path) -> None:
    context = servers.server_context(tmp_path, servers.issue("x", V4))
    context.verify_mode = ssl.CERT_REQUIRED
    with Server(servers.page, context=context) as mutual, Server(servers.closes) as cut:
        asked = one(Aim(V4, mutual.port, TLS))
        asked_http = one(Aim(V4, mutual.port, HTTP, tls=True))
        closed = one(Aim(V4, cut.port, TLS))
    for seen in (asked, asked_http):
        assert seen.mostly is Met.TLS_FAILED
        assert seen.detail == "the server asks for a client certificate (mutual TLS)"
    assert (closed.mostly, closed.detail) == (Met.CLOSED, "closed in the middle of the TLS handshake")


# --- the kernel's answers


def test_refused_tcp_and_udp() -> None:
    for host in (V4, "::1"):
        for kind in ProbeKind:
            seen = one(Aim(host, free_port(host), kind), count=2)
            assert dict(seen.met) == {Met.REFUSED: 2}
            assert seen.detail == "connection refused"


def test_udp_silence_is_not_taken_for_an_answer() -> None:
    with datagrams(None) as port:
        seen = one(Aim(V4, port, UDP, payload=b"ping"), seconds=0.3)
    assert dict(seen.met) == {Met.TIMEOUT: 1}
    assert seen.detail.startswith("silence: ")


def test_a_payload_arrives_whole() -> None:
    with Server(servers.silent) as silent, Server(servers.closes) as closes, datagrams(b"ok") as udp:
        taken = one(Aim(V4, silent.port, payload=b"hello", payload_size=200_000), seconds=3)
        closed = one(Aim(V4, closes.port, payload=b"hello"))
        datagram = one(Aim(V4, udp, UDP, payload_size=9000))
    assert (taken.answered, taken.detail) == (1, "200,000 bytes were acknowledged; it said nothing to them")
    assert closed.answered == 1
    assert datagram.answered == 1
    bodies = []

    def serve(sock: socket.socket) -> None:
        bodies.append(servers.request(sock))
        sock.sendall(servers.OK)

    with Server(serve) as server:
        assert one(Aim(V4, server.port, HTTP, payload=b"abc", payload_size=100_000, path="/x")).answered == 1
    (body,) = bodies
    assert body.startswith(b"POST /x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert body.endswith(b"\r\n\r\nabc" + b"x" * 99_997)


def test_too_many_open_files() -> None:
    code = """
import resource
from svcdoctor.model.observed import Aim, ProbeKind
from svcdoctor.probe.here import Here
from svcdoctor.probe.run import probe
import sys
resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))
many = probe([Aim("127.0.0.1", int(sys.argv[1]), ProbeKind.HTTP)] * 40, Here(), seconds=1)
print({str(m): sum(x.met.get(m, 0) for x in many) for x in many for m in x.met})
print({x.detail for x in many if "error" in x.met})
"""
    with Server(servers.silent) as server:
        done = subprocess.run(
            [sys.executable, "-c", code, str(server.port)], capture_output=True, text=True, timeout=30
        )
    assert done.returncode == 0, done.stderr
    counts, details = done.stdout.splitlines()
    assert "'error'" in counts
    assert "'timeout'" in counts
    assert details == "{'too many open files: raise the limit (ulimit -n), or lower the concurrency'}"


# --- bounds


class Crowd:
    """Serves slowly, and knows how many came at once, and how long they were there, one added to the other."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.seconds = 0.0
        self._lock = threading.Lock()

    def __call__(self, sock: socket.socket) -> None:
        servers.request(sock)
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        start = time.monotonic()
        time.sleep(0.1)
        with self._lock:
            self.now -= 1
            self.seconds += time.monotonic() - start
        sock.sendall(servers.OK)


def test_tries_run_at_once_and_are_bounded() -> None:
    crowd = Crowd()
    done: list[tuple[int, int]] = []
    with Server(crowd) as server:
        aims = [Aim(V4, server.port, HTTP)] * 6
        start = time.monotonic()
        probe(aims, Here(), count=4, concurrency=8, progress=lambda d, n: done.append((d, n)))
        took = time.monotonic() - start
    assert 2 <= crowd.most <= 8
    assert 0.3 <= took < crowd.seconds
    assert done == [(n, 24) for n in range(1, 25)]


def test_one_aim_is_not_flooded() -> None:
    crowd = Crowd()
    with Server(crowd) as server:
        seen = one(Aim(V4, server.port, HTTP), count=50, seconds=5)
    assert seen.answered == 50
    assert 8 <= crowd.most <= 16


def test_a_slow_aim_delays_no_other_one() -> None:
    with Server(servers.silent) as slow, Server(servers.page) as quick:
        start = time.monotonic()
        seen = probe([Aim(V4, slow.port, HTTP)] * 20 + [Aim(V4, quick.port, HTTP)] * 20, Here(), seconds=1.5)
        took = time.monotonic() - start
    assert [o.mostly for o in seen] == [Met.TIMEOUT] * 20 + [Met.ANSWERED] * 20
    assert 1.5 <= took < 3


def test_a_place_that_fails_says_so_and_others_go_on() -> None:
    class Nowhere:
        place = Place(PlaceKind.POD, "default/gone")

        async def observe(self, aims: object, order: object, tell: object) -> None:
            raise SvcdoctorError("no probe from pod/default/gone: it is gone", 3)

    with Server(servers.page) as server:
        aim = Aim(V4, server.port, HTTP)
        here, nowhere = probe_all([(Here(), [aim]), (Nowhere(), [aim])], count=2)
        with pytest.raises(SvcdoctorError, match="it is gone"):
            probe([aim], Nowhere())
    assert here.answered == 2
    assert (dict(nowhere.met), nowhere.place.name) == ({Met.ERROR: 2}, "default/gone")
    assert nowhere.detail == "no probe from pod/default/gone: it is gone"


@pytest.mark.parametrize(
    ("aim", "problem"),
    [
        (Aim("web.default", 80), "'web.default' is no IP address; a probe does not resolve names"),
        (Aim(V4, 0), "0 is no port"),
        (Aim(V4, 70000), "70000 is no port"),
        (Aim(V4, 80, HTTP, path="/a\r\nX: y"), "cannot be sent"),
        (Aim(V4, 80, HTTP, host="bücher.example"), "cannot be sent"),
    ],
)
def test_aims_that_cannot_be_meant(aim: Aim, problem: str) -> None:
    with pytest.raises(SvcdoctorError, match=problem):
        probe([aim], Here())


def test_counts_that_cannot_be_meant() -> None:
    for wrong in ({"count": 0}, {"concurrency": 0}, {"seconds": 0.0}, {"count": 200_000}):
        with pytest.raises(SvcdoctorError):
            probe([Aim(V4, 80)], Here(), **wrong)  # type: ignore[arg-type]


def test_nothing_is_open_after_an_interruption() -> None:
    """Ctrl-C in the middle: the command ends at once, and the server sees every connection end."""
    code = (
        "import sys\nfrom svcdoctor.model.observed import Aim\nfrom svcdoctor.probe.here import Here\n"
        "from svcdoctor.probe.run import probe\nprint('on', flush=True)\n"
        "probe([Aim('127.0.0.1', int(sys.argv[1]), 'http')] * 50, Here(), seconds=60)"
    )
    with Server(servers.silent) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(server.port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()
        end = time.monotonic() + 10
        while server.accepted < 50 and time.monotonic() < end:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == -signal.SIGINT, errors
    assert b"never" not in errors


def test_a_cancelled_probe_closes_its_connections() -> None:
    async def run(port: int) -> None:
        task = asyncio.create_task(probing([(Here(), [Aim(V4, port, HTTP)] * 20)], Order(seconds=60)))
        while server.accepted < 20:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    before = len(list(Path("/proc/self/fd").iterdir()))
    with Server(servers.silent) as server:
        asyncio.run(run(server.port))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_observations_are_json() -> None:
    with Server(servers.page) as server:
        seen = one(Aim(V4, server.port, HTTP))
    said = msgspec.json.decode(msgspec.json.encode(seen))
    assert said["met"] == {"answered": 1}
    assert said["aim"]["ip"] == V4
