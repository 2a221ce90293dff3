"""`pods/portforward` by clients that say each byte themselves: negotiation, limits, and the switches of faults."""

from __future__ import annotations

import gc
import hashlib
import os
import resource
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from forward_client import (
    CHANNELS,
    SPDY,
    TUNNEL,
    WEBSOCKET,
    Client,
    Local,
    application,
    echo,
    late,
    path_of,
    pod,
    resets,
)
from lab_client import Call, connect

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.forwarding import ENOUGH, MOST_HELD
from svcdoctor.lab.resources import PODS
from svcdoctor.lab.store import ObjectStore
from svcdoctor.tunnel.channels import ChannelClient
from svcdoctor.tunnel.events import DialFailed, Opened, RemoteEnd, Reset, StreamError
from svcdoctor.tunnel.failures import Reason
from svcdoctor.tunnel.portforward import ForwardClient

BOTH = pytest.mark.parametrize("headers", [SPDY, TUNNEL], ids=["spdy", "tunnel"])


@pytest.fixture
def runtime() -> Local:
    return Local({})


@pytest.fixture
def server(runtime: Local) -> Iterator[ApiServer]:
    objects = [pod("web"), pod("waiting", "Pending")]
    with ApiServer(ObjectStore(objects), runtime=runtime) as server:
        yield server


@pytest.fixture(autouse=True)
def no_descriptors_left() -> Iterator[None]:
    before = descriptors()
    yield
    assert descriptors() <= before


def descriptors() -> set[str]:
    gc.collect()
    return {f"{p.name} {p.readlink()}" for p in Path("/proc/self/fd").iterdir() if p.is_symlink()}


def other(headers: Mapping[str, str], **changes: str) -> dict[str, str]:
    changed = dict(headers) | {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in changed.items() if value}


@pytest.mark.parametrize(
    ("method", "query", "headers", "status", "text"),
    [
        ("POST", "", {}, 400, "Upgrade request required"),
        ("GET", "", {}, 400, "Upgrade request required"),
        ("PUT", "", SPDY, 405, "does not allow this method"),
        ("POST", "", other(SPDY, Upgrade="h2c"), 400, "missing upgrade headers"),
        (
            "POST",
            "",
            other(SPDY, X_Stream_Protocol_Version=""),
            400,
            "unable to upgrade: X-Stream-Protocol-Version is required",
        ),
        (
            "POST",
            "",
            other(SPDY, X_Stream_Protocol_Version="v1, v2"),
            403,
            "unable to negotiate protocol: client supports [v1 v2], server accepts [portforward.k8s.io]",
        ),
        ("GET", "", WEBSOCKET, 400, 'query parameter "port" is required'),
        ("GET", "", CHANNELS, 400, 'query parameter "port" is required'),
        ("GET", "ports=", CHANNELS, 400, 'unable to parse "" as a port'),
        ("GET", "ports=80,x", CHANNELS, 400, 'unable to parse "x" as a port'),
        ("GET", "ports=65536", CHANNELS, 400, 'unable to parse "65536" as a port'),
        ("GET", "ports=0", CHANNELS, 400, 'port "0" must be > 0'),
        ("GET", "ports=" + "1," * 127 + "1", CHANNELS, 400, "128 ports"),
        ("GET", "ports=80", other(CHANNELS, Sec_WebSocket_Protocol="v9"), 400, "Bad Request"),
        ("GET", "", other(TUNNEL, Sec_WebSocket_Key=""), 400, "Sec-WebSocket-Key"),
        ("POST", "", TUNNEL, 400, "begins with a GET"),
    ],
)
def test_what_is_no_upgrade(
    call: Call, method: str, query: str, headers: Mapping[str, str], status: int, text: str
) -> None:
    reply = call(path_of("web", query), method=method, headers=headers)
    assert (reply.status, text in reply.body.decode().replace('\\"', '"')) == (status, True), reply
    if status == 403:
        assert reply.headers["X-Accepted-Stream-Protocol-Versions"] == "portforward.k8s.io"


@pytest.mark.parametrize("headers", [SPDY, TUNNEL, CHANNELS])
def test_a_pod_that_does_not_run_is_what_the_kubelet_says(call: Call, headers: Mapping[str, str]) -> None:
    method = "POST" if headers is SPDY else "GET"
    reply = call(path_of("waiting", "ports=1"), method=method, headers=headers)
    assert (reply.status, reply.body) == (500, b'pod not found ("waiting_truth")\n')
    assert call(path_of("gone"), method=method, headers=headers).json()["reason"] == "NotFound"


@BOTH
def test_a_forward_and_its_end(server: ApiServer, runtime: Local, headers: Mapping[str, str]) -> None:
    with application(echo) as address, Client(server, headers) as client:
        runtime.ports.update({80: address})
        handle = client.session.open(80)
        data = os.urandom(300_000)
        client.session.send(handle, data)
        client.until(lambda: len(client.received.get(handle, b"")) == len(data))
        assert client.received[handle] == data
        started = time.monotonic()
        client.session.half_close(handle)  # echo ends then, and both directions have
        client.until(lambda: client.of(RemoteEnd, handle))
        assert time.monotonic() - started > 0.9, "but it is not told, and containerd waits"
        assert [type(e) for e in client.events] == [Opened, RemoteEnd]


@BOTH
def test_a_runtime_that_passes_half_close_on(
    server: ApiServer, runtime: Local, headers: Mapping[str, str]
) -> None:
    runtime.half_close = True
    with application(late) as address, Client(server, headers) as client:
        runtime.ports.update({80: address})
        handles = [client.session.open(80) for _ in range(3)]
        for handle in handles:
            client.session.send(handle, b"x" * handle)
            client.session.half_close(handle)
        client.until(lambda: len(client.of(RemoteEnd)) == 3)
        assert client.received == {h: b"%d bytes" % h for h in handles}


def test_frames_that_come_with_the_request(server: ApiServer, runtime: Local) -> None:
    with application(echo) as address:
        runtime.ports.update({80: address})
        http, identity = connect(server)
        http.connect()
        session = ForwardClient()
        session.send(session.open(80), b"early")
        lines = [f"{name}: {value}" for name, value in {**identity, **SPDY, "Host": "lab"}.items()]
        head = "\r\n".join([f"POST {path_of('web')} HTTP/1.1", *lines, "", ""])
        with http.sock as connection:
            connection.sendall(head.encode() + session.outgoing())
            received = b""
            while b"early" not in received:
                received += connection.recv(1 << 16) or pytest.fail(repr(received))
        assert received.startswith(b"HTTP/1.1 101 ")


@BOTH
def test_failures_are_the_forwards_alone(
    server: ApiServer, runtime: Local, headers: Mapping[str, str]
) -> None:
    with application(echo) as address, application(resets) as cutter, Client(server, headers) as client:
        runtime.ports.update({80: address, 81: cutter})
        good, nobody, cut = (client.session.open(port) for port in (80, 7, 81))
        client.session.send(good, b"one")
        client.session.send(cut, b"x")
        client.until(lambda: client.of(DialFailed) and client.of(StreamError))
        assert [(e.handle, e.port, e.reason) for e in client.of(DialFailed)] == [(nobody, 7, Reason.REFUSED)]
        assert [(e.handle, e.reason) for e in client.of(StreamError)] == [(cut, Reason.CUT)]
        server.store.delete(PODS, "truth", "web")
        later = client.session.open(80)
        client.session.send(good, b" two")
        client.until(lambda: client.of(DialFailed, later) and client.received.get(good) == b"one two")
        assert client.of(DialFailed, later)[0].reason is Reason.NO_SANDBOX


def test_channels(server: ApiServer, runtime: Local) -> None:
    with application(echo) as address:
        runtime.ports.update({80: address})
        with Client(server, CHANNELS, ports=(80, 7)) as client:
            client.session.send(0, b"hello")
            client.until(lambda: client.received.get(0) == b"hello" and client.of(DialFailed, 1))
            assert isinstance(client.session, ChannelClient)
            assert {(e.handle, e.port) for e in client.of(Opened)} == {(0, 80), (1, 7)}
            assert not client.ended


def test_channels_end_with_the_last_forward(server: ApiServer, runtime: Local) -> None:
    data = os.urandom(3_000_000)

    def speaks(connection: socket.socket) -> None:
        connection.sendall(data)

    with application(speaks) as address:
        runtime.ports.update({80: address})
        with Client(server, CHANNELS, ports=(80,)) as client:
            client.until(lambda: client.ended)
            assert client.received[0] == data
            assert client.of(RemoteEnd) == [RemoteEnd(0)]


@BOTH
def test_a_thousand_forwards_on_two_tunnels(
    server: ApiServer, runtime: Local, headers: Mapping[str, str]
) -> None:
    with application(echo) as address, Client(server, headers) as one, Client(server, headers) as two:
        runtime.ports.update({80: address})
        sent: dict[tuple[int, int], bytes] = {}
        for number, client in enumerate((one, two)):
            for _ in range(500):
                handle = client.session.open(80)
                sent[number, handle] = data = os.urandom(3000)
                client.session.send(handle, data)
        for number, client in enumerate((one, two)):
            client.until(lambda c=client: sum(map(len, c.received.values())) == 500 * 3000, 20)  # type: ignore[misc]
            for handle, data in client.received.items():
                assert hashlib.sha256(data).digest() == hashlib.sha256(sent[number, handle]).digest()
        before = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - before < 0.1, "a thousand idle forwards cost nothing"


@BOTH
def test_a_client_that_does_not_read_stops_the_application(
    server: ApiServer, runtime: Local, headers: Mapping[str, str]
) -> None:
    taken = [0]
    stop = threading.Event()

    def floods(connection: socket.socket) -> None:
        connection.settimeout(0.05)
        while not stop.is_set():
            try:
                taken[0] += connection.send(bytes(1 << 16))
            except TimeoutError:
                continue

    with application(floods) as address, Client(server, headers) as client:
        runtime.ports.update({80: address})
        handles = [client.session.open(80) for _ in range(4)]
        client.flush()
        still = -1
        while still != taken[0]:
            still = taken[0]
            time.sleep(0.4)
            assert taken[0] < 100 << 20, "kernels buffer some ten MiB on each of five connections"
        assert still > 4 * ENOUGH
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.1
        client.until(lambda: all(len(client.received.get(h, b"")) > 5_000_000 for h in handles))
        stop.set()


@BOTH
def test_an_application_that_does_not_read_stops_the_client(
    server: ApiServer, runtime: Local, headers: Mapping[str, str]
) -> None:
    go_on = threading.Event()
    got = [0]

    def waits(connection: socket.socket) -> None:
        go_on.wait(10)
        while data := connection.recv(1 << 16):
            got[0] += len(data)
            if got[0] == size:
                connection.sendall(b"all")

    size = 40 << 20
    with application(waits) as address, Client(server, headers) as client:
        runtime.ports.update({80: address})
        handle = client.session.open(80)
        client.session.send(handle, bytes(size))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        client.socket.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while data := client.session.outgoing(1 << 16):
                framed = data
                if client._framing is not None:
                    client._framing.send(data)
                    framed = client._framing.outgoing()
                left = memoryview(framed)
                while left:
                    count = client.socket.send(left)
                    left = left[count:]
                    sent += count
        assert sent < MOST_HELD + (16 << 20)
        go_on.set()
        client.socket.settimeout(10)
        client.socket.sendall(left)
        client.until(lambda: client.received.get(handle) == b"all", 20)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


@BOTH
def test_a_tunnel_that_is_cut_after_each_frame(
    server: ApiServer, runtime: Local, headers: Mapping[str, str]
) -> None:
    seen = []
    with application(echo) as address:
        runtime.ports.update({80: address})
        for frames in range(11):
            server.forward_faults.cut_after(frames)
            with Client(server, headers) as client:
                handle = client.session.open(80)
                client.session.send(handle, b"x")
                client.until(lambda c=client, h=handle: c.ended or c.received.get(h))  # type: ignore[misc]
                if not client.ended:
                    client.session.reset(handle)
                    for _ in range(3):
                        client.session.ping()
                client.until(lambda c=client: c.ended)  # type: ignore[misc]
                seen.append((bool(client.of(Opened)), bytes(client.received.get(handle, b""))))
    assert seen[0] == (False, b"")
    assert seen[-1] == (True, b"x")
    assert seen == sorted(seen), "each frame brings the client as far or further"
    with application(echo) as address, Client(server, headers) as client:
        runtime.ports.update({80: address})
        client.session.send(client.session.open(80), b"x")
        client.until(lambda: client.received)  # the next tunnel is not cut


@BOTH
def test_a_server_that_stops_reading(server: ApiServer, runtime: Local, headers: Mapping[str, str]) -> None:
    with application(echo) as address, Client(server, headers) as client:
        runtime.ports.update({80: address})
        handle = client.session.open(80)
        client.session.send(handle, b"a")
        client.until(lambda: client.received.get(handle) == b"a")
        server.forward_faults.stop_reading()
        client.session.send(handle, b"b")
        with pytest.raises(AssertionError):
            client.until(lambda: client.received[handle] == b"ab", 0.3)
        server.forward_faults.go_on_reading()
        client.until(lambda: client.received[handle] == b"ab")


def test_latency(server: ApiServer, runtime: Local) -> None:
    server.forward_faults.latency = 0.8
    with application(echo) as address, Client(server, SPDY) as client:
        runtime.ports.update({80: address})
        handle = client.session.open(80)
        started = time.monotonic()
        client.session.send(handle, b"abc")
        client.until(lambda: client.received.get(handle) == b"abc")
        assert 0.8 <= time.monotonic() - started < 1.6, "streams and data are one write"


def test_what_is_no_spdy_ends_the_tunnel(server: ApiServer, runtime: Local) -> None:
    with Client(server, SPDY) as client:
        client.socket.sendall(b"GET / HTTP/1.1\r\n\r\n")
        client.until(lambda: client.ended)


def test_a_client_that_leaves_ends_the_applications_connections(server: ApiServer, runtime: Local) -> None:
    left = threading.Event()

    def serving(connection: socket.socket) -> None:
        connection.sendall(b"x")
        connection.recv(1)
        left.set()

    with application(serving) as address:
        runtime.ports.update({80: address})
        with Client(server, SPDY) as client:
            client.session.open(80)
            client.until(lambda: client.received)
        assert left.wait(5)


def test_a_forward_that_the_client_resets(server: ApiServer, runtime: Local) -> None:
    left = threading.Event()

    def serving(connection: socket.socket) -> None:
        connection.sendall(b"x")
        connection.recv(1)
        left.set()

    with application(serving) as address, Client(server, SPDY) as client:
        runtime.ports.update({80: address})
        handle = client.session.open(80)
        client.until(lambda: client.received)
        client.session.reset(handle)
        client.flush()
        assert left.wait(5)
        assert not client.of(Reset)
