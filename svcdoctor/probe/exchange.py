"""One try's connection: its bytes, and what is known of it if it ends here."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import sys
import time
from typing import Protocol

READ = 1 << 16
HEAD = 4096
"""Bytes of what came that are kept to tell what it is."""

_UNACKNOWLEDGED = 0x5411  # SIOCOUTQ, tcp(7)


class Stream(Protocol):
    """An ordered stream of bytes in both directions. Its methods raise OSError or `Failed`."""

    async def receive(self) -> bytes:
        """What came, at least one byte; empty at the end."""

    async def send(self, data: bytes) -> None:
        """Send all of it; with flow control."""

    def close(self) -> None:
        """End it at once. May be called twice."""


class SocketStream:
    """A connected, non-blocking socket, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    async def receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, READ)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def unacknowledged(self) -> int | None:
        """Bytes that the other side has not acknowledged, where the kernel tells it."""
        if sys.platform != "linux":
            return None
        with contextlib.suppress(OSError):
            return int(struct.unpack("i", fcntl.ioctl(self._socket, _UNACKNOWLEDGED, b"\0\0\0\0"))[0])
        return None

    def close(self) -> None:
        self._socket.close()


class Exchange:
    """A try from its beginning: times, and the bytes that came. The stream is there once it is connected."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.connect: float | None = None
        self.received = 0
        """Bytes of the answer: inside TLS once its handshake is over."""
        self.head = b""
        self.secured = False
        self._stream: Stream | None = None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def connected(self, stream: Stream) -> None:
        """The connection stands."""
        self._stream = stream
        self.connect = self.seconds

    async def receive(self) -> bytes:
        data = await self._open.receive()
        if not self.secured:
            self.received += len(data)
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
        return data

    async def send(self, data: bytes) -> None:
        await self._open.send(data)

    def unacknowledged(self) -> int | None:
        """As `SocketStream.unacknowledged`; not known of other streams."""
        return self._stream.unacknowledged() if isinstance(self._stream, SocketStream) else None

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    @property
    def _open(self) -> Stream:
        if self._stream is None:
            raise ConnectionError("not connected")
        return self._stream
