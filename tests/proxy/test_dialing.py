"""The direct dialer, against real sockets."""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from piping import PATIENCE, Server, descriptors_left, echo

from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.dialing import Dialed, Dialing, Done
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.free()


def wait(loop: Loop, dial: Callable[[Endpoint, Done], Dialing], endpoint: Endpoint) -> Dialed:
    told: list[Dialed] = []
    dial(endpoint, told.append)
    assert not told, "told before dial has returned"
    end = time.monotonic() + PATIENCE
    while not told:
        assert time.monotonic() < end
        loop.turn(0.1)
    assert len(told) == 1
    return told[0]


def test_a_connection_is_made(loop: Loop, host: str) -> None:
    with Server(host, echo) as server:
        fd = wait(loop, DirectDialer(loop).dial, server.endpoint)
        assert isinstance(fd, int)
        assert not os.get_blocking(fd)
        with socket.socket(fileno=os.dup(fd)) as sock:
            loop.close(fd)
            loop.turn(0)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            sock.setblocking(True)
            sock.sendall(b"hello")
            assert sock.recv(5) == b"hello"


def test_a_refusal_is_a_value(loop: Loop, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as bound:
        bound.bind((host, 0))  # and does not listen
        result = wait(loop, DirectDialer(loop).dial, Endpoint(host, bound.getsockname()[1]))
    assert isinstance(result, OSError)
    assert result.errno == errno.ECONNREFUSED
    assert result.strerror == "Connection refused"


def test_no_route_is_a_value(loop: Loop) -> None:
    result = wait(loop, DirectDialer(loop).dial, Endpoint("255.255.255.255", 80))
    assert isinstance(result, OSError)
    assert result.errno in (errno.ENETUNREACH, errno.EACCES, errno.EHOSTUNREACH)


def test_a_server_that_does_not_answer_times_out(loop: Loop, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as full:
        full.bind((host, 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()[:2]):  # its queue is full: SYNs are dropped
            begin = time.monotonic()
            endpoint = Endpoint(host, full.getsockname()[1])
            result = wait(loop, DirectDialer(loop, timeout=0.3).dial, endpoint)
            assert isinstance(result, OSError)
            assert result.errno == errno.ETIMEDOUT
            assert 0.25 < time.monotonic() - begin < 2


def test_what_is_cancelled_is_not_told(loop: Loop) -> None:
    told: list[Dialed] = []
    dialer = DirectDialer(loop)
    with socket.socket() as full, socket.socket() as bound:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        bound.bind(("127.0.0.1", 0))
        with socket.create_connection(full.getsockname()):
            for made in (
                dialer.dial(Endpoint(*full.getsockname()), told.append),
                dialer.dial(Endpoint(*bound.getsockname()), told.append),
                dialer.dial_udp(Endpoint(*bound.getsockname()), told.append),
            ):
                made.cancel()
                made.cancel()
            for _ in range(5):
                loop.turn(0.02)
    assert told == []


def test_no_descriptors_is_a_value(loop: Loop) -> None:
    dialer = DirectDialer(loop)
    with descriptors_left(0):
        for dial in (dialer.dial, dialer.dial_udp):
            result = wait(loop, dial, Endpoint("127.0.0.1", 9))
            assert isinstance(result, OSError)
            assert result.errno == errno.EMFILE


def test_a_udp_socket_is_connected(loop: Loop, host: str) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((host, 0))
        fd = wait(loop, DirectDialer(loop).dial_udp, Endpoint(host, server.getsockname()[1]))
        assert isinstance(fd, int)
        os.write(fd, b"hello")
        assert server.recv(100) == b"hello"
        loop.close(fd)


def test_an_endpoint_says_what_it_is() -> None:
    assert str(Endpoint("10.0.0.1", 80)) == "10.0.0.1:80"
    assert str(Endpoint("fd00::1", 80, "default", "web-0")) == "default/web-0 at [fd00::1]:80"
