"""The memory that all relays of a loop share: one block to copy through, and pipes to splice through.

A relay uses the block only within a call, and holds a pipe only while bytes wait in it, so that a connection that is
idle holds neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import sys

BLOCK = 64 * 1024
"""Bytes that are copied at once."""

PIPE = 1024 * 1024
"""Bytes that a pipe can hold: the most that an unprivileged user may ask for (pipe(7), pipe-max-size)."""

MOST_PIPES = 64
"""Pipes in use or kept. Further directions copy."""

SPLICES = sys.platform == "linux"
"""Whether there is splice(2)."""

if sys.platform == "linux":
    _FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE


class Pipe:
    """A pipe and how many bytes wait in it."""

    __slots__ = ("held", "receiver", "sender")

    def __init__(self) -> None:
        self.receiver, self.sender = os.pipe()
        self.held = 0
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # a user who has many large pipes already gets a smaller one
                fcntl.fcntl(self.sender, fcntl.F_SETPIPE_SZ, PIPE)

    def fill(self, fd: int) -> bool:
        """Move bytes that can be read into the empty pipe. Returns whether there were any; there are none at the end.
        Raises OSError, and BlockingIOError when there are none now."""
        if sys.platform == "linux":
            self.held = os.splice(fd, self.sender, PIPE, flags=_FLAGS)
        return self.held > 0

    def drain(self, fd: int) -> int:
        """Write what the pipe holds. Returns the bytes that were taken. Raises OSError."""
        taken = 0
        if sys.platform == "linux":
            taken = os.splice(self.receiver, fd, self.held, flags=_FLAGS)
        self.held -= taken
        return taken

    def close(self) -> None:
        os.close(self.receiver)
        os.close(self.sender)


class Buffers:
    """The block and the pipes of one loop's relays."""

    def __init__(self) -> None:
        block = bytearray(BLOCK)
        self.vector = [block]
        self.view = memoryview(block)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(block))
        """The block's, for calls of the C library."""
        self._free: list[Pipe] = []
        self.made = 0
        """Pipes that there are."""

    @property
    def kept(self) -> int:
        """Pipes that nobody uses."""
        return len(self._free)

    def take_pipe(self) -> Pipe | None:
        """An empty pipe; None where there are none (left), and the caller has to copy."""
        if self._free:
            return self._free.pop()
        if self.made == MOST_PIPES or not SPLICES:
            return None
        try:
            pipe = Pipe()
        except OSError:  # no descriptors left
            return None
        self.made += 1
        return pipe

    def give_pipe(self, pipe: Pipe) -> None:
        """Give a pipe back; one that bytes are left in is closed."""
        if pipe.held:
            pipe.close()
            self.made -= 1
        else:
            self._free.append(pipe)

    def free(self) -> None:
        """Close the pipes that are kept."""
        while self._free:
            self._free.pop().close()
            self.made -= 1
