"""HTTP for Prometheus, on the loop: GET /metrics is answered with a text, and nothing else is served.

Theory. A request is its head, which is short; whatever body follows is not looked at. Each connection gets one
answer and is closed, and one that is slow is closed without. There is nothing to configure and nothing to keep, so
that a scrape costs the forwards no more than making the text.

Specification: RFC 9112; https://prometheus.io/docs/instrumenting/exposition_formats/ (text format)
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

from svcdoctor.proxy.listener import Address, Listener
from svcdoctor.proxy.loop import BROKEN, Loop

PATH = "/metrics"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

SECONDS = 5.0
"""How long one request may take."""

MOST = 16
"""Requests at a time; further ones are turned away."""

MAX_HEAD = 8192

_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed"}


class ScrapeServer:
    """Answers on listening sockets, which it owns; ``render`` makes the text."""

    def __init__(self, loop: Loop, sockets: Sequence[socket.socket], render: Callable[[], str]) -> None:
        self.loop = loop
        self.render = render
        self.requests: set[_Request] = set()
        self._listeners = [Listener(loop, sock, self._accept) for sock in sockets]

    def close(self) -> None:
        """Answer no more."""
        for listener in self._listeners:
            listener.close()
        for request in list(self.requests):
            request.close()

    def _accept(self, fd: int, address: Address) -> None:
        if len(self.requests) < MOST:
            self.requests.add(_Request(self, fd))
        else:
            self.loop.close(fd)


class _Request:
    __slots__ = ("_answer", "_fd", "_head", "_server", "_timer")

    def __init__(self, server: ScrapeServer, fd: int) -> None:
        self._server = server
        self._fd = fd
        self._head = b""
        self._answer: memoryview | None = None
        self._timer = server.loop.call_later(SECONDS, self.close)
        server.loop.watch(fd, self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        if hangup & BROKEN:
            self.close()
        elif self._answer is not None:
            self._write()
        elif readable or hangup:
            self._read()

    def close(self) -> None:
        self._timer.cancel()
        self._server.requests.discard(self)
        self._server.loop.close(self._fd)

    def _read(self) -> None:
        while b"\r\n\r\n" not in self._head:
            try:
                data = os.read(self._fd, MAX_HEAD)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            self._head += data
            if not data:
                self.close()
                return
            if len(self._head) > MAX_HEAD:
                break
        self._answer = memoryview(self._response())
        self._write()

    def _response(self) -> bytes:
        words = self._head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        status, text = 400, ""
        if len(words) == 3 and words[2].startswith("HTTP/1.") and len(self._head) <= MAX_HEAD:
            method, target, _ = words
            if method not in ("GET", "HEAD"):
                status = 405
            elif target.partition("?")[0] != PATH:
                status, text = 404, f"metrics are at {PATH}\n"
            else:
                status, text = 200, self._server.render()
        body = text.encode()
        head = [
            f"HTTP/1.1 {status} {_PHRASES[status]}",
            f"Content-Type: {CONTENT_TYPE}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(["Allow: GET, HEAD"] if status == 405 else []),
        ]
        return "\r\n".join([*head, "", ""]).encode() + (b"" if words[0] == "HEAD" else body)

    def _write(self) -> None:
        try:
            while self._answer:
                self._answer = self._answer[os.write(self._fd, self._answer) :]
        except BlockingIOError:
            return
        except OSError:
            pass  # the client has gone
        self.close()
