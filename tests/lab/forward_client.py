"""Applications behind pods, and clients of port-forward that say each byte themselves."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import socketserver
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lab_client import connect
from websockets.protocol import Side

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.podsandbox import Sandbox, sandbox_here
from svcdoctor.lab.resources import Object
from svcdoctor.tunnel.channels import ChannelClient
from svcdoctor.tunnel.events import Data, Ended, Event
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.websocket import WebSocket

SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": "portforward.k8s.io"}
WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
TUNNEL = WEBSOCKET | {"Sec-WebSocket-Protocol": "SPDY/3.1+portforward.k8s.io"}
CHANNELS = WEBSOCKET | {"Sec-WebSocket-Protocol": "v4.channel.k8s.io"}


class Local(PodRuntime):
    """Every pod's ports are addresses of this machine's loopback; a pod in ``unknown`` has no sandbox."""

    def __init__(self, ports: dict[int, tuple[str, int]], *, half_close: bool = False) -> None:
        self.ports = ports
        self.half_close = half_close
        self.unknown: set[str] = set()

    def sandbox(self, namespace: str, pod: str) -> Sandbox | None:
        if pod in self.unknown:
            return None
        return sandbox_here(f"{namespace}/{pod}", self.ports, half_close=self.half_close)


def pod(name: str, phase: str = "Running", node: str = "n1", **labels: str) -> Object:
    ports = [{"name": "web", "containerPort": 8080}, {"name": "more", "containerPort": 9090}]
    ready = [{"type": "Ready", "status": "True"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "truth", "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "i:1", "ports": ports}]},
        "status": {"phase": phase, "conditions": ready},
    }


Serving = Callable[[socket.socket], None]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 1024
    daemon_threads = False


@contextlib.contextmanager
def application(serving: Serving, host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """A server on loopback that does this with each connection; its address."""
    open_now: set[socket.socket] = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                with contextlib.suppress(OSError):
                    serving(self.request)
            finally:
                open_now.discard(self.request)

    class Server(_Server):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

        def process_request(self, request: Any, client_address: Any) -> None:
            open_now.add(request)  # before its thread begins, which may be late
            super().process_request(request, client_address)

    with Server((host, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield server.server_address[:2]  # type: ignore[misc]
        finally:
            server.shutdown()
            thread.join()
            for connection in [*open_now]:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def echo(connection: socket.socket) -> None:
    while data := connection.recv(1 << 16):
        connection.sendall(data)


def digest(connection: socket.socket) -> None:
    """Reads a length and as many bytes, answers with their SHA-256 and then with the same number of other bytes."""
    (size,) = struct.unpack(">I", exactly(connection, 4))
    connection.sendall(hashlib.sha256(exactly(connection, size)).digest())
    block = random_block(size)
    connection.sendall(hashlib.sha256(block).digest() + block)


def late(connection: socket.socket) -> None:
    """Answers 1.5 seconds after the client's last byte."""
    size = 0
    while data := connection.recv(1 << 16):
        size += len(data)
    time.sleep(1.5)
    connection.sendall(b"%d bytes" % size)


def resets(connection: socket.socket) -> None:
    """Answers the first bytes with a reset."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def random_block(size: int) -> bytes:
    return os.urandom(size)


def exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        piece = connection.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise ConnectionError(f"ended after {len(data):,} of {size:,} bytes")
        data += piece
    return bytes(data)


def exchange(connection: socket.socket, size: int) -> None:
    """The client's side of `digest`, with all hashes compared."""
    block = random_block(size)
    connection.sendall(struct.pack(">I", size) + block)
    assert exactly(connection, 32) == hashlib.sha256(block).digest()
    told = exactly(connection, 32)
    assert hashlib.sha256(exactly(connection, size)).digest() == told


def path_of(name: str, query: str = "") -> str:
    return f"/api/v1/namespaces/truth/pods/{name}/portforward" + (f"?{query}" if query else "")


class Client:
    """A tunnel's client: `session` is the machine, `pump` moves bytes. ``headers`` choose the protocol."""

    def __init__(
        self, server: ApiServer, headers: Mapping[str, str], *, name: str = "web", ports: tuple[int, ...] = ()
    ) -> None:
        http, identity = connect(server)
        query = "ports=" + ",".join(map(str, ports)) if ports else ""
        method = "POST" if headers is SPDY else "GET"
        http.request(method, path_of(name, query), headers={**identity, **headers})
        self.socket: Any = http.sock
        self._http = http
        self.status, rest = _read_head(self.socket)
        assert self.status == 101, rest
        self.session: Any = ChannelClient(ports) if headers is CHANNELS else ForwardClient()
        self._framing: Any = None
        if headers is TUNNEL:
            self._framing = WebSocket(Side.CLIENT)
        self.events: list[Event] = []
        self.received: dict[int, bytearray] = {}
        self._arrived(rest)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()
        self.socket.close()

    def flush(self) -> None:
        self.socket.settimeout(10)
        while data := self.session.outgoing():
            if self._framing is not None:
                self._framing.send(data)
                data = self._framing.outgoing()
            self.socket.sendall(data)

    def until(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Send what waits and take what comes until the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            with contextlib.suppress(OSError):  # reading tells it, after what came before
                self.flush()
            left = deadline - time.monotonic()
            assert left > 0, self.events[-5:]
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(1 << 16)
            except TimeoutError:
                continue
            except OSError:
                data = b""
            if data:
                self._arrived(data)
            else:
                self._note(self.session.receive_end())

    def _arrived(self, data: bytes) -> None:
        if self._framing is None:
            self._note(self.session.receive(data))
            return
        for message in self._framing.receive(data):
            if message.data:
                self._note(self.session.receive(message.data))

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, Data):
                self.received.setdefault(event.handle, bytearray()).extend(event.data)
            else:
                self.events.append(event)

    def of(self, kind: type, handle: int | None = None) -> list[Any]:
        return [
            e for e in self.events if isinstance(e, kind) and handle in (None, getattr(e, "handle", None))
        ]

    @property
    def ended(self) -> bool:
        return any(isinstance(event, Ended) for event in self.events)


def _read_head(connection: Any) -> tuple[int, bytes]:
    """The status of an answer, and what came behind its head."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), rest if b" 101 " in head else data
