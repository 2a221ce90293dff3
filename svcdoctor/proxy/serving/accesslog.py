"""The access log: a line of JSON for each connection and UDP flow that ended, and each client that got none.

Theory. Lines wait and are written together, some at a time; several workers append to one file, each write being whole
lines. A file that was moved away (log rotation) is noticed and made anew. Of a named pipe no more is written at a time
than it takes as a whole. What cannot be written is dropped, and a
later line says how much: a full disk holds up nobody's traffic.
"""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.loop import Loop, Timer

WRITE_SECONDS = 0.5
MOST_WAITING = 1 << 20
"""Bytes of lines; more are dropped until these are written."""

_MODE = 0o640


class Line(msgspec.Struct, frozen=True):
    """``service`` is the served port's key, ``endpoint`` and ``pod`` are empty where none was reached, ``sent`` and
    ``received`` the client's bytes. ``error`` is empty for what ended in order."""

    time: str
    service: str
    client: str
    listen: str
    endpoint: str
    pod: str
    sent: int
    received: int
    seconds: float
    error: str


class _Dropped(msgspec.Struct, frozen=True):
    time: str
    dropped: int


class AccessLog:
    """Appends to the file at ``path``; ``clock`` gives seconds since 1970. Raises SvcdoctorError where it cannot."""

    def __init__(self, loop: Loop, path: str, clock: Callable[[], float] = time.time) -> None:
        self._loop = loop
        self._path = Path(path)
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._waiting = bytearray()
        self._dropped = 0
        self._timer: Timer | None = None
        try:
            self._fd = self._open()
        except OSError as e:
            raise SvcdoctorError(
                f"access log {path}: {e.strerror}; name a file that can be written"
            ) from None

    def add(
        self,
        service: str,
        client: str,
        listen: str,
        endpoint: str,
        pod: str,
        moved: tuple[int, int],
        seconds: float,
        error: str,
    ) -> None:
        """A line for what ends now."""
        if len(self._waiting) >= MOST_WAITING:
            self._dropped += 1
            return
        line = Line(self._now(), service, client, listen, endpoint, pod, *moved, round(seconds, 6), error)
        self._waiting += self._encoder.encode(line)
        self._waiting += b"\n"
        if self._timer is None:
            self._timer = self._loop.call_later(WRITE_SECONDS, self.write)

    def write(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._dropped:
            self._waiting += self._encoder.encode(_Dropped(self._now(), self._dropped)) + b"\n"
        lost = self._waiting.count(b"\n") + self._dropped
        try:
            self._follow()
            for piece in self._pieces():
                os.write(self._fd, piece)
                lost -= piece.count(b"\n")
            self._dropped = 0
        except OSError:
            self._dropped = lost
        self._waiting.clear()

    def close(self) -> None:
        """Write what waits, and close the file."""
        if self._waiting:
            self.write()
        elif self._timer is not None:
            self._timer.cancel()
        os.close(self._fd)

    def _open(self) -> int:
        """A pipe that nobody reads, or that is full, must not be waited for."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(self._path, flags, _MODE)

    def _pieces(self) -> Iterator[bytes]:
        """What waits, in whole lines that are written at once."""
        if not stat.S_ISFIFO(os.fstat(self._fd).st_mode):
            yield bytes(self._waiting)
            return
        piece = b""
        for line in self._waiting.splitlines(keepends=True):
            if len(piece) + len(line) > select.PIPE_BUF:
                yield piece
                piece = b""
            piece += line
        yield piece

    def _follow(self) -> None:
        """Open the file anew where its path leads to another one, or to none."""
        held = os.fstat(self._fd)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            named = None
        if named is None or (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino):
            new = self._open()
            os.close(self._fd)
            self._fd = new

    def _now(self) -> str:
        seconds = self._clock()
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        return f"{whole}.{int(seconds % 1 * 1000):03d}Z"
