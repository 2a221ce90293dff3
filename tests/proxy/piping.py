"""The pipeline as `forward` has it, on a thread, and what stands at both of its ends."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from svcdoctor.proxy.buffers import Buffers
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.dialing import Dialed, Dialer
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Listener, listening_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.relay import Relay

PATIENCE = 30.0
RESET = struct.pack("ii", 1, 0)


class Forwarding:
    """Listener, dialer and relays on a loop of their own thread, until the end of the block."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.buffers = Buffers()
        self.dialer: Dialer = DirectDialer(self.loop)
        self.ended: list[Relay] = []
        self.alive: set[Relay] = set()
        self.errors: list[OSError] = []
        self.first = b""
        self.listener: Listener | None = None
        self.thread = threading.Thread(target=self.loop.run)

    def __enter__(self) -> Forwarding:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stop)
        self.loop.stop()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.loop.free()
        self.buffers.free()

    def _stop(self) -> None:
        if self.listener is not None:
            self.listener.close()
        for relay in list(self.alive):
            relay.reset()

    def call(self, function: Callable[[], object]) -> object:
        """Call on the loop's thread and wait."""
        results: list[object] = []
        done = threading.Event()

        def run() -> None:
            results.append(function())
            done.set()

        self.loop.call_soon_threadsafe(run)
        assert done.wait(PATIENCE)
        return results[0]

    def to(self, endpoint: Endpoint, host: str = "127.0.0.1") -> tuple[str, int]:
        """Forward to an endpoint; returns where clients connect to."""

        def accepted(fd: int, peer: tuple[str, int]) -> None:
            def dialed(result: Dialed) -> None:
                if isinstance(result, OSError):
                    self.errors.append(result)
                    self.loop.close(fd)
                    return
                relay = Relay(self.loop, self.buffers, fd, result, self._over, self.first)
                self.alive.add(relay)
                relay.start()

            self.dialer.dial(endpoint, dialed)

        sock = listening_socket(host, 0)
        self.call(lambda: setattr(self, "listener", Listener(self.loop, sock, accepted)))
        assert self.listener is not None
        return self.listener.address

    def _over(self, relay: Relay) -> None:
        self.alive.discard(relay)
        self.ended.append(relay)

    def wait_ended(self, count: int) -> list[Relay]:
        """The relays that have ended, when there are so many."""
        wait_for(lambda: len(self.ended) >= count)
        self.call(lambda: None)  # their descriptors are closed at the end of the turn
        return self.ended


def wait_for(reached: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Server:
    """A TCP server that has ``serve`` answer each connection on a thread of its own."""

    def __init__(self, host: str, serve: Callable[[socket.socket], None]) -> None:
        self.listening = listening_socket(host, 0)
        self.listening.setblocking(True)
        self.endpoint = Endpoint(*self.listening.getsockname()[:2])
        self.serve = serve
        self.connections: list[threading.Thread] = []
        self.thread = threading.Thread(target=self._accept)
        self.failures: list[BaseException] = []

    def __enter__(self) -> Server:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listening.shutdown(socket.SHUT_RDWR)
        self.thread.join(PATIENCE)
        self.listening.close()
        for thread in self.connections:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not self.failures

    def _accept(self) -> None:
        while True:
            try:
                sock, _peer = self.listening.accept()
            except OSError:
                return
            self.connections.append(threading.Thread(target=self._serve, args=(sock,)))
            self.connections[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(PATIENCE)
            try:
                self.serve(sock)
            except BaseException as e:
                self.failures.append(e)


def connect(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE)


def reset(sock: socket.socket) -> None:
    """End a connection with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def read_all(sock: socket.socket) -> bytes:
    """Everything until the end."""
    pieces = []
    while piece := sock.recv(1 << 18):
        pieces.append(piece)
    return b"".join(pieces)


def receive(sock: socket.socket, count: int) -> bytes:
    """Exactly so many bytes."""
    heard = bytearray()
    while len(heard) < count:
        piece = sock.recv(count - len(heard))
        assert piece, "ended too early"
        heard += piece
    return bytes(heard)


def payload(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def echo(sock: socket.socket) -> None:
    """Send back what comes, and the end of it."""
    while data := sock.recv(1 << 16):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


class Namespaces:
    """Network namespaces, each held by a process; `add` gives the process's id."""

    def __init__(self) -> None:
        self.holders: list[subprocess.Popen[bytes]] = []

    def add(self, *more: str) -> int:
        """A namespace whose loopback is up; ``more`` are commands to run in it first."""
        script = "; ".join(["ip link set lo up", *more, "echo", "exec sleep 600"])
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", script], stdout=subprocess.PIPE)
        self.holders.append(holder)
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.stdout.close()
        return holder.pid

    def close(self) -> None:
        for holder in self.holders:
            holder.kill()
            holder.wait()


def namespace_of(process: str = "self") -> str:
    return str(Path(f"/proc/{process}/ns/net").readlink())


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Let this process open so many more descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    taken = {int(path.name) for path in Path("/proc/self/fd").iterdir()} - {probe}  # which lists itself, too
    limit, free = probe, 0
    while free < count:
        free += limit not in taken
        limit += 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
