"""The pcapng file that a capture is written to: valid after each write, however it ends."""

from __future__ import annotations

import contextlib
import os
import sys

from svcdoctor.capture.connection import Half
from svcdoctor.capture.doors import Doors
from svcdoctor.capture.pcapngwriting import (
    comment_option,
    interface_block,
    packet_block,
    section_block,
    statistics_block,
)
from svcdoctor.capture.wording import comment
from svcdoctor.model.errors import SvcdoctorError

FULL = 1 << 20
"""Bytes that are gathered before they are written."""


class CaptureFile:
    """The file of that name, made anew; ``-`` is standard output. Raises SvcdoctorError where it cannot be written."""

    def __init__(self, name: str, doors: Doors, comment: str, application: str) -> None:
        self.name = "standard output" if name == "-" else name
        self.packets = 0
        self._doors = doors
        self._numbers: dict[int, int] = {}
        self._received: list[int] = []
        self._last = 0
        self._whole = 0  # bytes of the file that are whole blocks
        self._gathered = [section_block(application, comment)]
        self._size = 0
        try:
            self._fd = (
                os.dup(sys.stdout.fileno())
                if name == "-"
                else os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            )
        except OSError as e:
            raise SvcdoctorError(f"{self.name} cannot be written: {e.strerror}") from None
        self._seekable = name != "-"
        self.flush()

    def add(
        self, half: Half, frame: bytes, wire: int, time: int, interface: int, way: int, name: str, link: int
    ) -> None:
        """A packet, of the interface of that name."""
        number = self._numbers.get(interface)
        if number is None:
            number = self._numbers[interface] = len(self._numbers)
            self._received.append(0)
            self._gathered.append(interface_block(name, link))
        if not half.comment:
            half.comment = comment_option(comment(half, self._doors.names))
        self._received[number] += 1
        self.packets += 1
        self._last = time
        block = packet_block(number, time, frame, wire, half.comment, way)
        self._gathered.append(block)
        self._size += len(block)
        if self._size >= FULL:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered. Raises SvcdoctorError where that fails; the file is then cut to what is whole."""
        data = memoryview(b"".join(self._gathered))
        self._gathered, self._size = [], 0
        total = len(data)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise
        except OSError as e:
            if self._seekable:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._fd, self._whole)
            raise SvcdoctorError(
                f"{self.name} cannot be written: {e.strerror}; what was whole is kept"
            ) from None
        self._whole += total

    def close(self, dropped: int | None) -> None:
        """Write what is left, and what was lost. The count is of all interfaces, and stands with the first one."""
        try:
            for number, received in enumerate(self._received):
                first = number == 0 and dropped is not None
                words = "dropped by the kernel: of all interfaces together" if first else ""
                lost = dropped if first else 0 if dropped is not None else None
                self._gathered.append(statistics_block(number, self._last, received, lost, words))
            self.flush()
        finally:
            os.close(self._fd)

    def abandon(self) -> None:
        """Close it with what was taken so far."""
        with contextlib.suppress(SvcdoctorError, OSError):
            self.flush()
        os.close(self._fd)
