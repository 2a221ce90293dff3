"""The access log on the control process' own output: workers write to a named pipe of the run, which is read here.

Theory. Workers open the pipe as they would a file. While no control process reads it their lines are dropped; the next
one opens the same pipe. Writing never waits: what the pipe does not hold is dropped, too, and told in the log.

Specification: fifo(7), pipe(7)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from svcdoctor.proxy.loop import Loop

_NAME = "access"
_CHUNK = 1 << 16


def pipe_of(run: Path) -> Path:
    """Where the pipe of a run is."""
    return run / _NAME


class AccessPipe:
    """``write`` gets what workers wrote, in whole lines. Raises OSError."""

    def __init__(self, loop: Loop, path: Path, write: Callable[[bytes], None]) -> None:
        self._loop = loop
        self._write = write
        self._held = b""
        if not path.exists():
            os.mkfifo(path, 0o600)
        # Open for writing, too, it does not end with its last worker.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        loop.watch(self._fd, self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        self.read()

    def read(self) -> None:
        """Write what is there."""
        while True:
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return
            whole, end, rest = (self._held + data).rpartition(b"\n")
            self._held = rest
            if end:
                self._write(whole + end)

    def close(self) -> None:
        self.read()
        self._loop.close(self._fd)
