"""A client's connection on a loop, beneath TLS or not: bytes arrive, and what there is to send is fetched.

Theory of operation. TLS has records: one may wait decrypted while the socket is not readable, so reading goes on
until the layer asks for more (`ssl.SSLWantReadError`). A write that it could not finish has to be repeated with
the same bytes; they are kept until they are taken. Either side's wish ends with the socket's next edge.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from svcdoctor.proxy.loop import BROKEN, Loop

BLOCK = 64 << 10
ROUNDS = 16
"""Blocks that are read or written before others have their turn."""

_LATER = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


class Wire:
    """The connection, from `start` on; it is not closed.

    ``take`` is called with what arrives, and with nothing at the end; ``give`` is asked for what to send whenever
    the former is sent, and ``sent`` called where there is no more. Nothing is read while ``deaf`` says so; `read`
    goes on. ``latency`` is the seconds by which `take` is called later.
    """

    def __init__(
        self,
        loop: Loop,
        connection: socket.socket,
        *,
        take: Callable[[bytes], None],
        give: Callable[[], bytes | bytearray],
        sent: Callable[[], None],
        deaf: Callable[[], bool],
        latency: float,
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._take = take
        self._give = give
        self._sent = sent
        self._deaf = deaf
        self._latency = latency
        self._chunk = memoryview(b"")
        self._ended = False
        self._reading_later = self._writing_later = False

    def start(self, ahead: bytes) -> None:
        """Begin; ``ahead`` was read from the connection before."""
        self._connection.setblocking(False)
        self._loop.watch(self._connection.fileno(), self)
        if ahead:
            self._arrived(ahead)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """Read and write what can be."""
        if self._chunk:
            self.write()
        self.read()
        if hangup & BROKEN:
            self._end()

    def read(self) -> None:
        """Read until there is no more."""
        self._reading_later = False
        for _ in range(ROUNDS):
            if self._ended or self._deaf():
                return
            try:
                data = self._connection.recv(BLOCK)
            except _LATER:
                return
            except OSError:
                data = b""
            if not data:
                self._end()
                return
            self._arrived(data)
        if not self._reading_later:
            self._reading_later = True
            self._loop.call_soon(self.read)

    def write(self) -> None:
        """Send until there is no more, or no more is taken."""
        self._writing_later = False
        for _ in range(ROUNDS):
            if self._ended:
                return
            if not self._chunk:
                self._chunk = memoryview(bytes(self._give()))
                if not self._chunk:
                    self._sent()
                    return
            try:
                count = self._connection.send(self._chunk)
            except _LATER:
                return
            except OSError:
                self._end()
                return
            self._chunk = self._chunk[count:]
        self.write_soon()

    def write_soon(self) -> None:
        """`write` after this turn's events."""
        if not self._writing_later:
            self._writing_later = True
            self._loop.call_soon(self.write)

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._arrived(b"")

    def _arrived(self, data: bytes) -> None:
        if self._latency:
            self._loop.call_later(self._latency, lambda: self._take(data))
        else:
            self._take(data)
