"""Running ``svcdoctor forward``, or kubectl's port-forward, as a process whose lines are read as they come."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import warm

SECONDS = 20.0
"""Time for what should happen soon, on a machine that does other things too."""

_FORWARDING = re.compile(r"Forwarding from (\S+):(\d+) -> (\d+)")


class Running:
    """The process. ``out`` and ``err`` are the lines so far."""

    def __init__(self, words: list[str], environment: dict[str, str], cwd: Path) -> None:
        pipe = subprocess.PIPE
        self.process = warm.Popen(
            words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environment, cwd=cwd
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair)
            for pair in ((self.process.stdout, self.out), (self.process.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, lines: list[str]) -> None:
        with contextlib.suppress(ValueError):  # it was closed
            for line in stream:
                lines.append(line.rstrip("\n"))

    def until(self, true: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """What is true at last."""
        end = time.monotonic() + seconds
        while not (found := true()):
            assert time.monotonic() < end, (self.process.poll(), self.out, self.err)
            time.sleep(0.01)
        return found

    def opened(self, count: int = 1) -> Running:
        """Wait for so many open ports; the program must live."""
        self.until(lambda: len(self.ports) >= count or self.process.poll() is not None)
        assert self.process.poll() is None and len(self.ports) == count, (self.out, self.err)
        return self

    @property
    def ports(self) -> list[tuple[str, int, int]]:
        """Address, local and remote port of each that is open."""
        found = (_FORWARDING.match(line) for line in self.out)
        return [(m[1].strip("[]"), int(m[2]), int(m[3])) for m in found if m]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The lines of ``-o json``."""
        return [json.loads(line) for line in self.out]

    def local(self, remote: int = 28080) -> int:
        return next(local for _, local, at in self.ports if at == remote)

    def ask(self, local: int | None = None, host: str = "127.0.0.1", line: str = "hello") -> str:
        """What the pod answers to a line."""
        with socket.create_connection((host, local or self.local()), SECONDS) as client:
            client.sendall(line.encode() + b"\n")
            with client.makefile() as answers:
                return answers.readline().rstrip("\n")

    def end(self, number: int = signal.SIGINT) -> int:
        """Its exit code after a signal."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self, seconds: float = SECONDS) -> int:
        """Its exit code, when all that it wrote was read."""
        code = self.process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
            assert not reader.is_alive(), "something that it started holds its output open"
        return code

    @property
    def said(self) -> str:
        return "\n".join(self.err)

    def close(self) -> None:
        self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
