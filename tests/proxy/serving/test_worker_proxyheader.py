"""PROXY protocol: what endpoints read before a client's bytes, parsed as its specification says, and by haproxy."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from working import (
    PATIENCE,
    Named,
    WorkerProcess,
    address,
    blackhole,
    connect,
    free_port,
    lines,
    missing,
    served,
    until,
)

from svcdoctor.proxy.balance import BalancerPolicy
from svcdoctor.proxy.serving.served import Backend, Listen

Start = Callable[..., WorkerProcess]
Serve = Callable[[Any], Any]


def parse(data: bytes) -> tuple[str, int, str, int, bytes]:
    """Source and destination, and the bytes behind the header."""
    assert data[:12] == bytes.fromhex("0d0a0d0a000d0a515549540a")
    assert data[12] >> 4 == 2, "version"
    assert data[12] & 15 == 1, "command PROXY"
    family, transport = data[13] >> 4, data[13] & 15
    assert transport == 1, "STREAM"
    length = data[14] << 8 | data[15]
    size = {1: 4, 2: 16}[family]
    assert length == 2 * size + 4
    body, rest = data[16 : 16 + length], data[16 + length :]

    def text(raw: bytes) -> str:
        if size == 4:
            return ".".join(map(str, raw))
        return socket.inet_ntop(socket.AF_INET6, raw)

    ports = body[2 * size :]
    source_port, target_port = ports[0] << 8 | ports[1], ports[2] << 8 | ports[3]
    return text(body[:size]), source_port, text(body[size : 2 * size]), target_port, rest


@pytest.mark.parametrize("wild", [False, True])
def test_an_endpoint_hears_who_the_client_is_and_then_its_bytes(
    workers: Start, servers: Serve, host: str, wild: bool, tmp_path: Path
) -> None:
    a = servers(Named("a", host))
    everywhere = "::" if ":" in host else "0.0.0.0"
    listen = Listen(everywhere if wild else host, free_port(host), "nodePort")
    port = served(a.backend, host=host, listens=(listen,), proxy_protocol=True)
    worker = workers(access_log=str(tmp_path / "log"))
    worker.control.put(port)
    with socket.create_connection((host, listen.port), PATIENCE) as sock:
        client = sock.getsockname()
        assert sock.recv(1) == b"a"
        until(lambda: a.heard)
        sock.sendall(b"hello")
        heard = b""
        while not heard.endswith(b"hello"):
            heard += sock.recv(100)
        assert parse(heard) == (client[0], client[1], host, listen.port, b"hello")
        counted = worker.control.endpoint(port.key, str(a.backend))
        assert counted is not None
        assert counted.sent == 5  # the header is not the client's
    until(lambda: lines(tmp_path / "log"))
    [line] = lines(tmp_path / "log")
    assert line["sent"] == 5
    assert line["listen"] == f"[{host}]:{listen.port}" if ":" in host else f"{host}:{listen.port}"


def test_the_next_endpoint_hears_one_header(workers: Start, servers: Serve) -> None:
    """Those that were tried before heard theirs, or nothing."""
    a = servers(Named("a"))
    with blackhole() as silent:
        gone = Backend("127.0.0.1", free_port())
        order = BalancerPolicy.ROUND_ROBIN
        port = served(gone, silent, a.backend, proxy_protocol=True, balance=order)
        workers().control.put(port)
        with connect(port) as sock:
            assert sock.recv(1) == b"a"
            sock.sendall(b"x")
            heard = b""
            while not heard.endswith(b"x"):
                heard += sock.recv(100)
            assert parse(heard)[4] == b"x"


@contextmanager
def running(*words: str) -> Iterator[None]:
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


HAPROXY = """
defaults
  mode http
  timeout client 9s
frontend web
  bind {at} accept-proxy
  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port] %[dst] %[dst_port]"
"""


def test_haproxy_understands_it(workers: Start, host: str, tmp_path: Path) -> None:
    if shutil.which("haproxy") is None:
        missing("haproxy is not installed")
    backend = Backend(host, free_port(host))
    (tmp_path / "cfg").write_text(HAPROXY.format(at=f"{host}:{backend.port}"))
    port = served(backend, host=host, proxy_protocol=True)
    workers().control.put(port)
    with running("haproxy", "-db", "-q", "-f", str(tmp_path / "cfg")):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with connect(port) as sock:
                    client = sock.getsockname()
                    sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                    answer = sock.makefile("rb").read().decode()
                break
            except ConnectionResetError:
                assert time.monotonic() < end
                time.sleep(0.05)
    assert answer.splitlines()[-1] == f"{client[0]} {client[1]} {host} {address(port)[1]}"
