"""A small HTTP server on the loop: GET of a path is answered with a text, and nothing else is served.

Theory. A request is its head, which is short; whatever body follows is not looked at. Each connection gets one
answer and is closed, and one that is slow is closed without. There is nothing to configure and nothing to keep, so
that an answer costs the traffic no more than making its text.

Specification: RFC 9112
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from svcdoctor.proxy.listener import Address, Listener
from svcdoctor.proxy.loop import BROKEN, Loop

PLAIN = "text/plain; charset=utf-8"

SECONDS = 5.0
"""How long one request may take."""

MOST = 16
"""Requests at a time; further ones are turned away."""

MAX_HEAD = 8192

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A status of those above, and the body."""

    status: int
    text: str = ""
    content_type: str = PLAIN
    headers: Mapping[str, str] = field(default_factory=dict)


Respond: TypeAlias = "Callable[[str, Callable[[Answer], None]], None]"
"""Has the answer for a path given to the second argument, at once or later."""


class AnswerServer:
    """Answers on listening sockets, which it owns."""

    def __init__(self, loop: Loop, sockets: Sequence[socket.socket], respond: Respond) -> None:
        self.loop = loop
        self.respond = respond
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
    __slots__ = ("_answer", "_asked", "_fd", "_head", "_open", "_server", "_timer")

    def __init__(self, server: AnswerServer, fd: int) -> None:
        self._server = server
        self._fd = fd
        self._head = b""
        self._asked = False
        self._open = True
        self._answer: memoryview | None = None
        self._timer = server.loop.call_later(SECONDS, self.close)
        server.loop.watch(fd, self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        if hangup & BROKEN:
            self.close()
        elif self._answer is not None:
            self._write()
        elif (readable or hangup) and not self._asked:
            self._read()

    def close(self) -> None:
        if self._open:
            self._open = False
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
        self._asked = True
        words = self._head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or len(self._head) > MAX_HEAD:
            self._say(Answer(400))
        elif words[0] not in ("GET", "HEAD"):
            self._say(Answer(405, headers={"Allow": "GET, HEAD"}))
        else:
            self._server.respond(
                words[1].partition("?")[0], lambda answer: self._say(answer, words[0] == "GET")
            )

    def _say(self, answer: Answer, whole: bool = True) -> None:
        if not self._open:  # it took too long
            return
        body = answer.text.encode()
        head = [
            f"HTTP/1.1 {answer.status} {_PHRASES[answer.status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *(f"{name}: {value}" for name, value in answer.headers.items()),
        ]
        self._answer = memoryview("\r\n".join([*head, "", ""]).encode() + (body if whole else b""))
        self._write()

    def _write(self) -> None:
        try:
            while self._answer:
                self._answer = self._answer[os.write(self._fd, self._answer) :]
        except BlockingIOError:
            return
        except OSError:
            pass  # the client has gone
        self.close()
