"""A worker as its control process has it: a real process, told over its socket, and servers behind it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from svcdoctor.proxy.serving.served import Backend, Listen, ServedPort
from svcdoctor.proxy.serving.wire import (
    ControlReader,
    Count,
    Counters,
    EndpointCounts,
    Failed,
    Hello,
    PortCounts,
    Put,
    Ready,
    Remove,
    Settings,
    ToControl,
    ToWorker,
    frame,
)

PATIENCE = 15.0


class Control:
    """One connection to a worker."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(path)
        self.reader = ControlReader()
        self.waiting: list[ToControl] = []
        self.failures: dict[str, str] = {}
        self.serial = 0
        self.hello: Any = self.next(Hello)

    def send(self, message: ToWorker) -> None:
        self.sock.sendall(frame(message))

    def next(self, kind: type) -> Any:
        """The next message of a kind; failures before it are kept."""
        while True:
            while self.waiting:
                message = self.waiting.pop(0)
                if isinstance(message, Failed):
                    self.failures[message.key] = message.why
                if isinstance(message, kind):
                    return message
            data = self.sock.recv(1 << 16)
            if not data:
                raise ConnectionError("the worker has ended the connection")
            self.waiting += self.reader.messages(data)

    def put(self, *ports: ServedPort, whole: bool = False) -> None:
        self.serial += 1
        self.send(Put(self.serial, ports, whole))
        assert self.next(Ready).serial == self.serial

    def remove(self, *keys: str) -> None:
        self.serial += 1
        self.send(Remove(self.serial, keys))
        assert self.next(Ready).serial == self.serial

    def counters(self) -> Counters:
        self.send(Count())
        found: Counters = self.next(Counters)
        return found

    def port(self, key: str) -> PortCounts:
        return next((p for p in self.counters().ports if p.key == key), PortCounts(key, ()))

    def endpoint(self, key: str, address: str) -> EndpointCounts | None:
        return next((e for e in self.port(key).endpoints if e.address == address), None)

    def close(self) -> None:
        self.sock.close()


class WorkerProcess:
    """A worker, and a control that is connected to it; ``before`` are words to start it with."""

    def __init__(self, before: tuple[str, ...] = (), **settings: Any) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = f"{self.folder.name}/control"
        self.settings = Settings(version="test", **settings)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(self.path)
        listening.listen(8)
        text = msgspec.json.encode(self.settings).decode()
        self.process = subprocess.Popen(
            [*before, sys.executable, "-m", "svcdoctor.proxy.serving.worker", str(listening.fileno()), text],
            pass_fds=[listening.fileno()],
            stderr=subprocess.PIPE,
        )
        listening.close()
        self.control = Control(self.path)

    def adopt(self) -> Control:
        """Another control takes over."""
        self.control.close()
        self.control = Control(self.path)
        return self.control

    def memory(self) -> int:
        """Bytes that the process has for itself."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return 1024 * int(next(line.split()[1] for line in text.splitlines() if line.startswith("Pss_Anon")))

    def wait(self) -> int:
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        self.control.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        assert self.process.stderr is not None
        said = self.process.stderr.read().decode()
        self.process.stderr.close()
        self.folder.cleanup()
        assert "Traceback" not in said, said


class Named:
    """A TCP server that says its name to each client and then echoes; it keeps what it heard first in ``heard``."""

    def __init__(self, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((host, port))
        self.sock.listen(1024)
        self.heard: list[bytes] = []
        self.clients: list[socket.socket] = []
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    @property
    def backend(self) -> Backend:
        ip, port = self.sock.getsockname()[:2]
        return Backend(ip, port, f"default/{self.name}", "node")

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.sock.accept()
            except OSError:
                return
            self.clients.append(client)
            self.threads.append(threading.Thread(target=self._serve, args=(client,)))
            self.threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            client.sendall(self.name.encode())
            first = True
            while data := client.recv(1 << 16):
                if first:
                    self.heard.append(data)
                    first = False
                client.sendall(data)
            client.shutdown(socket.SHUT_WR)

    def stop(self) -> None:
        """Listen no more; clients are refused from now on."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.threads[0].join(PATIENCE)
        self.sock.close()

    def close(self) -> None:
        self.stop()
        for client in self.clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        for client in self.clients:
            client.close()


class Answering:
    """A UDP server that answers each datagram with its name and that datagram."""

    def __init__(self, name: str, host: str = "127.0.0.1", port: int = 0) -> None:
        self.name = name
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((host, port))
        self.heard: list[bytes] = []
        self.over = False
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    @property
    def backend(self) -> Backend:
        ip, port = self.sock.getsockname()[:2]
        return Backend(ip, port, f"default/{self.name}", "node")

    def _serve(self) -> None:
        self.sock.settimeout(0.05)
        while not self.over:
            with contextlib.suppress(OSError):
                data, client = self.sock.recvfrom(65536)
                self.heard.append(data)
                self.sock.sendto(self.name.encode() + b" " + data, client)

    def close(self) -> None:
        self.over = True
        self.thread.join(PATIENCE)
        self.sock.close()


def free_port(host: str = "127.0.0.1", kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


def served(*backends: Backend, host: str = "127.0.0.1", protocol: str = "TCP", **more: Any) -> ServedPort:
    """A port on loopback that leads to these; ``more`` are fields."""
    kind = socket.SOCK_STREAM if protocol == "TCP" else socket.SOCK_DGRAM
    name = more.pop("name", "web")
    listens = more.pop("listens", None) or (Listen(host, free_port(host, kind), "clusterIP"),)
    fields = {"cluster": backends, "local": (), "has_endpoints": bool(backends), **more}
    return ServedPort(f"default/{name}:80/{protocol}/{6 if ':' in host else 4}", protocol, listens, **fields)


def address(port: ServedPort, number: int = 0) -> tuple[str, int]:
    return port.listens[number].ip, port.listens[number].port


def connect(port: ServedPort, number: int = 0, source: str = "") -> socket.socket:
    came_from = (source, 0) if source else None
    return socket.create_connection(address(port, number), PATIENCE, came_from)


def ask(port: ServedPort, number: int = 0, source: str = "") -> str:
    """The name of the server that a new connection reaches; raises OSError where it is none."""
    with connect(port, number, source) as sock:
        name = sock.recv(100)
        if not name:
            raise ConnectionResetError("ended without a word")
        return name.decode()


def until(true: Callable[[], object], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def lines(path: Path) -> list[dict[str, Any]]:
    """The access log's."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@contextlib.contextmanager
def blackhole(host: str = "127.0.0.1") -> Iterator[Backend]:
    """An endpoint that answers nobody: its backlog is full, and it accepts no one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket(family))
        listening.bind((host, 0))
        listening.listen(0)
        where = listening.getsockname()
        for _ in range(4):
            filler = stack.enter_context(socket.socket(family))
            filler.setblocking(False)
            filler.connect_ex(where)
        time.sleep(0.05)
        yield Backend(where[0], where[1], "default/silent", "node")


def root() -> bool:
    return os.geteuid() == 0


def missing(what: str) -> None:
    """The test cannot run here; in CI everything is there."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(what)
