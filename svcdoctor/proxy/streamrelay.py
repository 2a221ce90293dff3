"""A relay between a client's connection and a forward of a tunnel; what ``relay`` is for two connections.

Theory of operation. What the client sends goes into the tunnel, and is not read while too much of it waits there.
What the pod sends is written to the client at once; what the client does not take waits here, and past a cap the
tunnel is held. The end of the client's direction is passed on; after the pod's last byte the client is told the end,
and what it still sends is read and dropped for a moment, because closing at once could destroy what it has not read.

The first bytes are kept until the pod answers: a forward that failed before anything answered can be tried again
elsewhere, and the client notices nothing.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum

from svcdoctor.proxy.buffers import BLOCK
from svcdoctor.proxy.descriptors import end_writing, reset_at_close
from svcdoctor.proxy.loop import BROKEN, Loop, Timer
from svcdoctor.proxy.reach import GONE
from svcdoctor.proxy.tunnel import Failure, Tunnel
from svcdoctor.tunnel.events import DialFailed, Reset

MOST_KEPT = 64 << 10
"""Bytes of the client that are kept to be sent again."""

MOST_WAITING = 1 << 20
"""Bytes of the pod that may wait for the client before the tunnel is held."""

LINGER_SECONDS = 2.0
ROUNDS = 16


class Ending(Enum):
    """How a relay ended."""

    DONE = "done"  # both sides ended in order
    RETRY = "retry"  # it failed before anything answered; the client's connection is the caller's again
    FAILED = "failed"  # the tunnel or the pod failed; the client was reset
    GONE = "gone"  # the client went away


class StreamRelay:
    """Owns the client's non-blocking descriptor from `start` until ``done``, which is called once.

    ``first`` is what was read from the client already, ``ended`` whether the client has sent its last byte.
    """

    __slots__ = (
        "_blocked",
        "_done",
        "_fd",
        "_handle",
        "_held",
        "_loop",
        "_over",
        "_timer",
        "_tunnel",
        "_waiting",
        "answered",
        "down",
        "ended",
        "first",
        "up",
        "why",
    )

    def __init__(
        self,
        loop: Loop,
        fd: int,
        tunnel: Tunnel,
        port: int,
        done: Callable[[StreamRelay, Ending], None],
        first: bytes = b"",
        ended: bool = False,
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._tunnel = tunnel
        self._done: Callable[[StreamRelay, Ending], None] | None = done
        self._waiting = bytearray()
        self._held = False
        self._blocked = False  # too much waits in the tunnel
        self._over = False  # the pod has sent its last byte
        self._timer: Timer | None = None
        self.first: bytearray | None = bytearray()
        """What the client has sent so far, while it is kept."""
        self.ended = ended
        self.answered = False
        self.up = self.down = 0
        """Bytes from the client, and to it."""
        self.why = ""
        self._handle = tunnel.open(port, self)
        if first:
            self._send(first)
        if ended:
            tunnel.half_close(self._handle)

    def start(self) -> None:
        """Begin to move the client's bytes."""
        self._loop.watch(self._fd, self)
        self._pump()

    def end(self) -> None:
        """End at once, both sides with a reset."""
        if self._done is not None:
            self._tunnel.reset(self._handle)
            reset_at_close(self._fd)
            self._finish(Ending.FAILED)

    # --- the client

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        if hangup & BROKEN:
            self._gone()
            return
        if writable and self._waiting:
            self._write_on()
        if (readable or hangup) and not self._blocked:
            self._pump()

    def _pump(self) -> None:
        for _ in range(ROUNDS):
            if self._done is None or self.ended or self._blocked:
                return
            try:
                data = os.read(self._fd, BLOCK)
            except BlockingIOError:
                return
            except OSError:
                self._gone()
                return
            if not data:
                self.ended = True
                if self._over:
                    self._close_if_through()
                else:
                    self._tunnel.half_close(self._handle)
                return
            if not self._over:  # after the pod's last byte nobody wants it
                self._send(data)
        self._loop.call_soon(self._pump)

    def _send(self, data: bytes) -> None:
        self.up += len(data)
        if self.first is not None:
            if self.answered or len(self.first) + len(data) > MOST_KEPT:
                self.first = None
            else:
                self.first += data
        self._blocked = not self._tunnel.send(self._handle, data)

    def _gone(self) -> None:
        if self._done is not None:
            self.why = GONE
            self._tunnel.reset(self._handle)
            reset_at_close(self._fd)
            self._finish(Ending.GONE)

    def _write_on(self) -> None:
        try:
            while self._waiting:
                sent = os.write(self._fd, self._waiting)
                self.down += sent
                del self._waiting[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._gone()
            return
        if self._held and len(self._waiting) < MOST_WAITING // 2:
            self._held = False
            self._tunnel.hold(self._handle, False)
        if self._over and not self._waiting:
            self._end_writing()

    # --- the pod

    def on_data(self, data: bytes) -> None:
        if self._done is None:
            return
        self.answered = True
        self.first = None
        if self._waiting:
            self._waiting += data
        else:
            try:
                sent = os.write(self._fd, data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._gone()
                return
            self.down += sent
            if sent < len(data):
                self._waiting += memoryview(data)[sent:]
                self._write_on()  # only a write that takes nothing makes the kernel tell when there is room again
        if not self._held and len(self._waiting) > MOST_WAITING:
            self._held = True
            self._tunnel.hold(self._handle, True)

    def on_end(self) -> None:
        if self._done is None:
            return
        self._over = True
        if not self._waiting:
            self._end_writing()

    def on_failure(self, failure: Failure, why: str) -> None:
        if self._done is None:
            return
        self.why = why
        if self._may_try_again(failure):
            self._finish(Ending.RETRY, close=False)
            return
        reset_at_close(self._fd)
        self._finish(Ending.FAILED)

    def on_room(self) -> None:
        self._blocked = False
        self._pump()

    def _may_try_again(self, failure: Failure) -> bool:
        """Whether no application can have seen anything of this."""
        if self.answered or self.first is None:
            return False
        never_there = isinstance(failure, DialFailed) or (isinstance(failure, Reset) and failure.refused)
        return never_there or not self.first

    # --- the end

    def _end_writing(self) -> None:
        try:
            end_writing(self._fd)
        except OSError as e:
            if e.errno != errno.ENOTCONN:
                self._gone()
                return
        if not self._close_if_through():
            self._timer = self._loop.call_later(LINGER_SECONDS, self._close)
            self._pump()

    def _close_if_through(self) -> bool:
        if self.ended and self._over and not self._waiting:
            self._close()
            return True
        return False

    def _close(self) -> None:
        if self._done is not None:
            self._finish(Ending.DONE)

    def _finish(self, ending: Ending, close: bool = True) -> None:
        done, self._done = self._done, None
        assert done is not None
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        if close:
            self._loop.close(self._fd)
        done(self, ending)
