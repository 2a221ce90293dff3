"""One end of the connection between the control process and a worker, on the loop: messages in and out.

Specification: unix(7), SO_PEERCRED
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.serving.wire import MAX_FRAME, ToControl, ToWorker, WireError, frame

MAX_UNSENT = 2 * MAX_FRAME
"""Bytes that wait for a peer that does not read; with more it counts as lost."""

_CHUNK = 1 << 18
_CREDENTIALS = struct.Struct("3i")

ENDED = "it has ended"
"""Why a peer is lost that closed its end, as it does when its process ends."""

In = TypeVar("In", covariant=True)


class Reader(Protocol[In]):
    """Makes messages of bytes."""

    def messages(self, data: bytes) -> Sequence[In]:
        """The next messages. Raises WireError."""


class Link(Generic[In]):
    """A connected socket, which it owns. ``received`` gets each message, ``lost`` is called once, in words why, when
    the peer is gone or does not speak the protocol; not after `close`."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        reader: Reader[In],
        received: Callable[[In], None],
        lost: Callable[[str], None],
    ) -> None:
        sock.setblocking(False)
        self._loop = loop
        self._fd = sock.detach()
        self._reader = reader
        self._received, self._lost = received, lost
        self._unsent: deque[memoryview] = deque()
        self._waiting = 0
        self._open = True
        loop.watch(self._fd, self)

    def send(self, message: ToWorker | ToControl) -> None:
        """Send as soon as the peer reads. Nothing happens where it is lost by now. Raises WireError for what is too
        long."""
        self.send_frame(frame(message))

    def send_frame(self, data: bytes) -> None:
        """`send` for what was made into a frame, once for many peers."""
        if self._open:
            self._unsent.append(memoryview(data))
            self._waiting += len(data)
            self._write()
            if self._waiting > MAX_UNSENT:
                self._lose("it does not read what it is told")

    def close(self) -> None:
        """End the connection; what was not sent is not."""
        if self._open:
            self._open = False
            self._loop.close(self._fd)
            self._unsent.clear()

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        if writable and self._unsent:
            self._write()
        if self._open and (readable or hangup):
            self._read()

    def _write(self) -> None:
        try:
            while self._unsent:
                sent = os.write(self._fd, self._unsent[0])
                self._waiting -= sent
                if sent < len(self._unsent[0]):
                    self._unsent[0] = self._unsent[0][sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # what it said before is read, and then its end
            self._waiting = 0

    def _read(self) -> None:
        try:
            while self._open:
                data = os.read(self._fd, _CHUNK)
                if not data:
                    return self._lose(ENDED)
                for message in self._reader.messages(data):
                    if self._open:
                        self._received(message)
        except BlockingIOError:
            pass
        except WireError as e:
            self._lose(f"it says what is not understood: {e}")
        except OSError as e:
            self._lose(f"the connection to it broke: {e.strerror}")

    def _lose(self, why: str) -> None:
        if self._open:
            self.close()
            self._lost(why)


def of_our_own(sock: socket.socket) -> bool:
    """Whether the peer is a process of this user, or root's. Systems that cannot tell rely on the socket's mode."""
    if sys.platform != "linux":
        return True
    held = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(held)
    return uid in (0, os.geteuid())
