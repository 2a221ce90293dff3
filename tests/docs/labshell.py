"""A shell that is open somewhere in the lab, as a reader has one in another window."""

from __future__ import annotations

import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

MARK = "--- the command has ended "
SECONDS = 60.0  # for one command


class LabShell:
    """``svcdoctor lab shell --in PLACE``, which is told one command after the other."""

    def __init__(self, place: str, environment: Mapping[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            ["svcdoctor", "lab", "shell", "--in", place, "--", "bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            bufsize=0,
        )

    def __enter__(self) -> LabShell:
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stdout.close()

    def call(self, command: str) -> tuple[int, str]:
        """Run a command: its exit code, and errors and output in one."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{{ {command}\n}} </dev/null; echo '{MARK}'$?\n".encode())
        read = b""
        until = time.monotonic() + SECONDS
        while not (MARK.encode() in read and read.endswith(b"\n")):
            ready, _, _ = select.select([self._process.stdout], [], [], max(until - time.monotonic(), 0))
            piece = os.read(self._process.stdout.fileno(), 65536) if ready else b""
            assert piece, f"no end of {command}: {read.decode(errors='replace')}"
            read += piece
        output, _, code = read.decode().rpartition(MARK)
        return int(code), output
