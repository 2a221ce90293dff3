"""A command in a real pseudo-terminal, and what its screen shows, read by a terminal emulator."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import termios
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyte
import warm

ALTERNATE, NORMAL = "\x1b[?1049h", "\x1b[?1049l"
HIDDEN, SHOWN = "\x1b[?25l", "\x1b[?25h"
SECONDS = 20.0


class Screen:
    """The command. ``seen`` is all that it wrote; `lines` is what the screen shows now."""

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        columns: int = 100,
        rows: int = 30,
        before: Callable[[], object] | None = None,
    ) -> None:
        self.master, slave = os.openpty()
        self._emulated = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._emulated)
        self._lock = threading.Lock()
        self._window(slave, columns, rows)
        self.modes = termios.tcgetattr(slave)
        self.slave = os.dup(slave)

        self.process = warm.Popen(
            words,
            terminal=True,  # so that its Ctrl-C and its end reach the command
            before=before,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={k: v for k, v in environment.items() if k not in ("COLUMNS", "LINES")},  # the window tells
        )
        os.close(slave)
        self.seen = ""
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _window(self, terminal: int, columns: int, rows: int) -> None:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self.master, 65536):
                with self._lock:
                    self.seen += data.decode(errors="replace")
                    self._stream.feed(data)

    def resize(self, columns: int, rows: int) -> None:
        """The terminal's window gets another size, of which the kernel tells the command."""
        with self._lock:
            self._emulated.resize(rows, columns)
            self._emulated.reset()
        self._window(self.master, columns, rows)

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self._emulated.display]

    @property
    def colours(self) -> set[str]:
        """Those of the letters on the screen."""
        with self._lock:
            cells = [cell for row in self._emulated.buffer.values() for cell in row.values()]
        return {cell.fg for cell in cells if cell.data.strip()}

    def line(self, pattern: str) -> re.Match[str] | None:
        """The first line of the screen in which this is found."""
        return next((m for line in self.lines if (m := re.search(pattern, line))), None)

    @property
    def below(self) -> list[str]:
        """What was written when the live screen was over, as lines."""
        text = self.seen.rpartition(NORMAL)[2]
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).split("\r\n")

    def until(self, true: Callable[[], Any], seconds: float = SECONDS) -> Any:
        end = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < end, (self.process.poll(), "\n".join(self.lines), self.seen[-800:])
            time.sleep(0.02)
        return found

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code, when all that it wrote was read."""
        code = self.process.wait(seconds)
        os.close(self.slave)
        self.reader.join(5)
        os.close(self.master)
        self.master = -1
        return code

    def close(self) -> None:
        if self.master >= 0:
            self.process.kill()
            self.wait()
