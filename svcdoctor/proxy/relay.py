"""A TCP relay: what one connection says the other one hears, in both directions, until both have ended.

Theory of operation. Each side is a descriptor, and the direction that reads from it. `Side.pump` moves bytes until
there are no more (the source is empty) or no more are taken (the target is full); the loop's edges start it again.
Nothing is read while bytes wait, so a reader who stalls stops the writer at the other end, and a relay never holds
more than one block or one pipe per direction.

- Bytes are copied through the loop's one block. A direction that fills it twice in a row is bulk: it splices through
  a pipe (splice(2)) and copies again when two events in a row bring less than a block.
- A short read means that the source is empty, and saves the read that would say so. Not so when the peer has ended
  its side: the FIN is behind the bytes, and no other edge will tell of it; so then it reads until the end.
- The end of one direction is passed on when its last byte is (shutdown(2)), and in one segment with it where it was
  known; the other direction goes on. Where both have ended, the relay has.
- A reset, or any other failure, is passed on as a reset: the other connection ends with RST, too.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from os import readv, strerror, write

from svcdoctor.proxy.buffers import BLOCK, SPLICES, Buffers, Pipe
from svcdoctor.proxy.descriptors import end_writing, error_of, reset_at_close, write_before_end
from svcdoctor.proxy.loop import BROKEN, ENDED, Loop

_ROUNDS = range(16)  # blocks or pipes that a direction moves before others have their turn


class Relay:
    """Two connections that are each other's peer. Owns both descriptors, which are non-blocking, from `start` on.

    ``first`` is what was read from the left side already. ``done`` is called once, after both sides were given to
    the loop to be closed; it may be called by `start`. `error` is None where both sides ended in order.
    """

    __slots__ = ("_done", "buffers", "error", "failed", "left", "loop", "right")

    def __init__(
        self,
        loop: Loop,
        buffers: Buffers,
        left: int,
        right: int,
        done: Callable[[Relay], None],
        first: bytes = b"",
    ) -> None:
        self.loop = loop
        self.buffers = buffers
        self._done: Callable[[Relay], None] | None = done
        self.error: OSError | None = None
        self.failed: Side | None = None
        """The side whose connection failed."""
        self.left = Side(self, left)
        self.right = Side(self, right)
        self.left.other, self.right.other = self.right, self.left
        self.left.waiting = first

    @property
    def closed(self) -> bool:
        return self._done is None

    def start(self) -> None:
        """Begin to move bytes."""
        self.loop.watch(self.left.fd, self.left)
        self.loop.watch(self.right.fd, self.right)
        if self.left.waiting:
            self.left.pump()

    def reset(self, error: OSError | None = None, failed: Side | None = None) -> None:
        """End at once: the connections (but for the failed one) end with RST, and bytes that wait are lost."""
        if self.closed:
            return
        self.error, self.failed = error, failed
        for side in (self.left, self.right):
            if side is not failed:
                reset_at_close(side.fd)
        self._close()

    def finish(self) -> None:
        """Told by a side when both have ended."""
        self._close()

    def _close(self) -> None:
        for side in (self.left, self.right):
            self.loop.close(side.fd)
            side.free()
        done, self._done = self._done, None
        assert done is not None
        done(self)


class Side:
    """One connection of a relay, and the direction from it to the other. `moved` counts the bytes of that direction
    that the other connection took."""

    __slots__ = (
        *("_ahead", "_buffers", "_bulk", "_drain", "_full", "_pipe", "_relay"),
        *("blocked", "ended", "fd", "moved", "other", "waiting"),
    )

    def __init__(self, relay: Relay, fd: int) -> None:
        self._relay = relay
        self._buffers = relay.buffers
        self.fd = fd
        self.other: Side
        self.moved = 0
        self.waiting = b""
        """Bytes that were read, and not taken yet."""
        self.blocked = False
        """Whether the other connection takes no more, until it is writable."""
        self.ended = False
        """Whether there is nothing more to read."""
        self._pipe: Pipe | None = None
        self._bulk = 0  # events that may still bring less than a block before this is no longer bulk
        self._full = False  # whether the last read filled the block
        self._drain = 0  # not 0 where a short read no longer means that there is no more
        self._ahead = False  # whether the loop will call `_go_on`

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """Move what can be moved now."""
        if hangup:
            readable = 1
            self._drain = hangup
            if hangup & BROKEN:
                self._broken()
                return
        if writable and self.other.blocked:
            self.other.blocked = False
            self.other.pump()
        if readable and not self.blocked and not self.ended:
            self.pump()

    def pump(self) -> None:
        """Move bytes from here to the other side until there are no more or no more are taken."""
        if self.waiting and not self._flush():
            return
        if self._bulk:
            self._splice()
            return
        buffers, fd, target = self._buffers, self.fd, self.other.fd
        for _ in _ROUNDS:
            try:
                count = readv(fd, buffers.vector)
            except BlockingIOError:
                return
            except OSError as e:
                self._relay.reset(e, self)
                return
            if not count:
                self._end()
                return
            try:
                if self._drain == ENDED:
                    sent = write_before_end(target, buffers.address, count)
                else:
                    sent = write(target, buffers.view[:count])
            except BlockingIOError:
                sent = 0
            except OSError as e:
                self._relay.reset(e, self.other)
                return
            self.moved += sent
            if sent < count:
                self.waiting = bytes(buffers.view[sent:count])
                # Only a write that takes nothing makes the kernel tell when there is room again.
                if not self._flush():
                    return
            if count < BLOCK:
                self._full = False
                if not self._drain:
                    return
            elif self._full and SPLICES:
                self._bulk = 2
                self._splice()
                return
            else:
                self._full = True
        self._go_on_later()

    def _flush(self) -> bool:
        """Write what waits. Returns whether all was taken."""
        while self.waiting:
            try:
                sent = write(self.other.fd, self.waiting)
            except BlockingIOError:
                self.blocked = True
                return False
            except OSError as e:
                self._relay.reset(e, self.other)
                return False
            self.moved += sent
            self.waiting = self.waiting[sent:]
        return True

    def _splice(self) -> None:
        """As `pump`, through a pipe, which is kept only when the other side takes no more."""
        pipe = self._pipe or self._buffers.take_pipe()
        if pipe is None:
            self._bulk = 0
            self._full = False
            self._go_on_later()
            return
        self._pipe = pipe
        fd, target = self.fd, self.other.fd
        before = self.moved
        for _ in _ROUNDS:
            while pipe.held:
                try:
                    self.moved += pipe.drain(target)
                except BlockingIOError:
                    self.blocked = True
                    return
                except OSError as e:
                    self._relay.reset(e, self.other)
                    return
            # Into an empty pipe only: one that is full says EAGAIN, as an empty source does.
            try:
                more = pipe.fill(fd)
            except BlockingIOError:
                self._bulk = 2 if self.moved - before >= BLOCK else self._bulk - 1
                self._full = False
                self._leave_pipe()
                return
            except OSError as e:
                self._relay.reset(e, self)
                return
            if not more:
                self._leave_pipe()
                self._end()
                return
        self._go_on_later()

    def _leave_pipe(self) -> None:
        assert self._pipe is not None
        self._buffers.give_pipe(self._pipe)
        self._pipe = None

    def _go_on_later(self) -> None:
        if not self._ahead:
            self._ahead = True
            self._relay.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        ahead, self._ahead = self._ahead, False
        if ahead and not self.blocked and not self.ended:
            self.pump()

    def _end(self) -> None:
        """The peer has said all, and the other side has taken it."""
        self.ended = True
        other = self.other
        if other.ended:
            self._relay.finish()
            return
        try:
            end_writing(other.fd)
        except OSError as e:
            self._relay.reset(e, other)

    def _broken(self) -> None:
        """The connection failed. What arrived before is still readable; reading to the end of it says the error."""
        relay = self._relay
        if not self.blocked and not self.ended:
            self.pump()
            while self._ahead and not self.blocked and not self.ended:
                self._ahead = False
                self.pump()
        if not relay.closed:
            relay.reset(error_of(self.fd) or OSError(errno.ECONNRESET, strerror(errno.ECONNRESET)), self)

    def free(self) -> None:
        """Told when the relay ends."""
        self.ended = True
        if self._pipe is not None:
            self._leave_pipe()
        self.waiting = b""
        del self.other, self._relay  # or the relay would wait for the garbage collector
