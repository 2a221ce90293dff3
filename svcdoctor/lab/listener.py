"""HTTPS underneath the API server: connections, threads, heads and bodies, and nothing about Kubernetes.

One thread per connection. The handshake happens on that thread, so a client that connects and says nothing
holds up nobody. All input is bounded: the request line and headers by `http.server`, bodies and the number of
connections here.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from svcdoctor.lab.faults import internal_error
from svcdoctor.lab.requests import Answer, Response, Stream
from svcdoctor.lab.status import ApiError

MAX_BODY = 3 * 1024 * 1024
"""Bytes of a request's body; the limit of the real API server."""

MAX_CONNECTIONS = 256
"""Connections served at a time; further ones are closed at once."""

_IDLE_SECONDS = 120.0


class Connection(BaseHTTPRequestHandler):
    """One client's connection, request after request."""

    protocol_version = "HTTP/1.1"
    server_version = "svcdoctor-lab"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed: requests go into the server's log."""

    def do_GET(self) -> None:
        """Answer a request of any method."""
        try:
            body = self._read_body()
        except ApiError as error:
            self.close_connection = True
            self._send_error(error)
            return
        try:
            answer, cut = self.server.respond(self, body)
        except ApiError as error:
            self._send_error(error)
            return
        except Exception:
            # A fault of this server or of an object that it was given: the client is told, and the
            # traceback goes where `socketserver` prints it.
            self.close_connection = True
            self._send_error(internal_error("the request could not be answered"))
            raise
        if answer is None:
            self.close_connection = True
        elif isinstance(answer, Response):
            self._send(answer, cut)
        else:
            self._send_stream(answer, cut)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_GET

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what cannot be parsed as HTTP; called by `http.server`."""
        self.close_connection = True
        self._send_error(ApiError(code, "BadRequest", message or "malformed HTTP request"))

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding"):
            raise ApiError(411, "LengthRequired", "a request's body must come with a Content-Length")
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise ApiError(400, "BadRequest", f"invalid Content-Length {length!r}")
        if len(length) > 12 or int(length) > MAX_BODY:
            message = f"Request entity too large: limit is {MAX_BODY}"
            raise ApiError(413, "RequestEntityTooLarge", message, details={})
        return self.rfile.read(int(length))

    def _send_error(self, error: ApiError) -> None:
        if error.reason:
            body, content_type = msgspec.json.encode(error.status()) + b"\n", "application/json"
        else:
            body, content_type = f"{error.message}\n".encode(), "text/plain; charset=utf-8"
        self._send(Response(error.code, body, content_type, error.headers), cut=False)

    def _send(self, response: Response, cut: bool) -> None:
        body = b"" if self.command == "HEAD" else response.body
        head = self._head(
            response.status,
            {
                "Content-Type": response.content_type,
                "Content-Length": str(len(response.body)),
                **response.headers,
                **({"Connection": "close"} if self.close_connection else {}),
            },
        )
        # Head and body in one write: one TLS record for small answers.
        self.wfile.write(head + (body[: len(body) // 2] if cut else body))
        if cut:
            self._cut()

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        reason = self.responses.get(HTTPStatus(status), ("", ""))[0]
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _send_stream(self, stream: Stream, cut: bool) -> None:
        head = {"Content-Type": stream.content_type, "Transfer-Encoding": "chunked"}
        self.wfile.write(self._head(200, head))
        for chunk in stream.chunks:
            if self.server.stopping.is_set() or (chunk is None and self._client_left()):
                self.close_connection = True
                return
            if not chunk:
                continue
            framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
            self.wfile.write(framed[: len(framed) // 2] if cut else framed)
            if cut:
                self._cut()
                return
        self.wfile.write(b"0\r\n\r\n")

    def _client_left(self) -> bool:
        """Whether the connection has become readable: a client that waits for a stream sends nothing more,
        so this is its good-bye."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        return bool(poll.poll(0))

    def _cut(self) -> None:
        self.close_connection = True
        _shut([self.connection])


class Listener(ThreadingHTTPServer):
    """The listening socket and its connections.

    `respond` gets a connection whose request's head is parsed and the body; it returns the answer and
    whether to break the connection in the middle of it, or raises `ApiError`. Raises OSError where the
    address cannot be bound.
    """

    daemon_threads = False
    block_on_close = True
    request_queue_size = 64

    def __init__(
        self,
        host: str,
        port: int,
        context: ssl.SSLContext,
        respond: Callable[[Connection, bytes], tuple[Answer, bool]],
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.respond = respond
        self.stopping = threading.Event()
        self._context = context
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        super().__init__((host, port), Connection)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.05,), name="lab-apiserver", daemon=True
        )

    def start(self) -> None:
        """Accept connections, on a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """Close everything and wait until every thread has ended."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        with self._lock:
            _shut(self._open)
        self.server_close()

    def server_bind(self) -> None:
        """Bind without looking the address's name up, which can take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for another connection."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS or self.stopping.is_set():
                return False
            self._open.add(request)
            return True

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection until it ends, on the connection's thread."""
        secured: socket.socket | None = None
        try:
            request.settimeout(_IDLE_SECONDS)
            secured = self._context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
            with self._lock:
                self._open.discard(request)
                self._open.add(secured)
            if not self.stopping.is_set():
                secured.do_handshake()
                Connection(secured, client_address, self)
        except OSError:
            # The client went away, or did not get through the handshake; it knows best why.
            pass
        finally:
            with self._lock:
                self._open -= {request, secured}
            if secured is not None:
                _shut([secured])
                secured.close()


def _shut(sockets: Iterable[socket.socket]) -> None:
    # Past the TLS layer: its own shutdown takes the session away from the thread that is reading from it.
    for connection in sockets:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connection, socket.SHUT_RDWR)
