"""The loop that all proxy I/O runs on: edge-triggered readiness of descriptors, timers, calls from other threads.

Theory of operation. A descriptor is registered once, for both directions, and stays registered until it is closed.
Readiness is told at its edges only: a handler that was told "readable" reads until there is no more (a short read,
or EAGAIN), or remembers that it stopped before; nothing is told twice. A handler may be told too much (readiness that
somebody has used up already), never too little.

Descriptors are closed through the loop, at the end of the turn: until then their numbers cannot be given to new
connections, and an event of this turn cannot reach the wrong one.

A handler does not raise: an exception ends `run`. Everything but `call_soon_threadsafe` and `stop` belongs to the
thread that runs the loop; `stop` may also be called by a signal handler.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Protocol

if sys.platform == "linux":
    from select import epoll as Poller

    ALL_EVENTS = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
else:
    from svcdoctor.proxy.kqueue import Poller

    ALL_EVENTS = 0

# The bits of epoll(7), which the poller of other systems uses too.
READABLE = 0x001
WRITABLE = 0x004
BROKEN = 0x008
"""The connection failed: reset, or not made, or an ICMP error arrived."""
ENDED = 0x2000
"""The peer will send no more."""
HANGUP = BROKEN | 0x010 | ENDED

_EVENTS_A_TURN = 256
_LONGEST_SLEEP = 3600.0


class Handler(Protocol):
    """What belongs to a registered descriptor."""

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """The descriptor became readable or writable (each 0 or not), or ended: ``hangup`` has the bits
        `BROKEN` and `ENDED`."""


class Timer:
    """A call that is due at a time, until it is cancelled."""

    __slots__ = ("_loop", "callback")

    def __init__(self, loop: Loop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not call. Nothing happens where it was called already."""
        if self.callback is not None:
            self.callback = None
            self._loop.timer_cancelled()


class Loop:
    """One thread's loop. ``clock`` gives seconds that never go back; `now` is its value at the start of the turn."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.now = clock()
        self._poller = Poller()
        self._handlers: list[Handler | None] = [None] * 64
        self._closing: list[int] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Timer]] = []
        self._timers_made = 0
        self._timers_cancelled = 0
        self._stopping = False
        self._telling = -1  # the descriptor whose event is being told
        self._wakeup = _Wakeup()
        self.watch(self._wakeup.receiver, self._wakeup)

    def watch(self, fd: int, handler: Handler) -> None:
        """Let ``handler`` have the events of a non-blocking descriptor from now on, beginning with what is ready
        now, whatever a former handler of it was told. A handler that is being told an event may leave the descriptor
        to another one: that is told the same event at once."""
        handlers = self._handlers
        if fd >= len(handlers):
            handlers.extend([None] * (fd + 1 - len(handlers) + len(handlers) // 2))
        if handlers[fd] is None:
            self._poller.register(fd, ALL_EVENTS)
        elif fd != self._telling:
            self._poller.modify(fd, ALL_EVENTS)  # or edges that it does not know of would be lost on it
        handlers[fd] = handler

    def close(self, fd: int) -> None:
        """Close a descriptor, whether it is watched or not, after this turn's events; none reach its handler."""
        if fd < len(self._handlers):
            self._handlers[fd] = None
        self._closing.append(fd)

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call after this turn's events, and after what waits already."""
        self._soon.append(callback)

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> None:
        """`call_soon` for other threads."""
        self._soon.append(callback)
        self._wakeup.wake()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call once when that many seconds have gone by."""
        timer = Timer(self, callback)
        self._timers_made += 1
        heapq.heappush(self._timers, (self._clock() + seconds, self._timers_made, timer))
        return timer

    def timer_cancelled(self) -> None:
        """Told by a timer; keeps those that are cancelled fewer than those that are not."""
        self._timers_cancelled += 1
        if self._timers_cancelled > 64 and self._timers_cancelled * 2 > len(self._timers):
            self._timers = [entry for entry in self._timers if entry[2].callback is not None]
            heapq.heapify(self._timers)
            self._timers_cancelled = 0

    def run(self) -> None:
        """Turn until `stop`."""
        while not self._stopping:
            self.turn()
        self._stopping = False

    def stop(self) -> None:
        """Let `run` return after its present turn."""
        self._stopping = True
        self._wakeup.wake()

    def turn(self, longest: float = _LONGEST_SLEEP) -> None:
        """Wait until something is ready or due, at most ``longest`` seconds, and handle that."""
        if self._soon or self._closing or self._stopping:
            longest = 0.0
        elif self._timers:
            longest = min(longest, max(self._timers[0][0] - self._clock(), 0.0))
        events = self._poller.poll(longest, _EVENTS_A_TURN)
        self.now = self._clock()
        handlers = self._handlers
        for fd, bits in events:
            handler = handlers[fd]
            if handler is not None:
                self._telling = fd
                handler.on_event(bits & READABLE, bits & WRITABLE, bits & HANGUP)
                while (heir := handlers[fd]) is not handler and heir is not None:
                    handler = heir
                    handler.on_event(bits & READABLE, bits & WRITABLE, bits & HANGUP)
        self._telling = -1
        if self._timers:
            self._call_timers()
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        if self._closing:
            self._close_now()

    def _call_timers(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            callback = heapq.heappop(self._timers)[2]
            if callback.callback is None:
                self._timers_cancelled -= 1
            else:
                call, callback.callback = callback.callback, None
                call()

    def _close_now(self) -> None:
        closing, self._closing = self._closing, []
        for fd in closing:
            try:  # noqa: SIM105 - every connection comes here twice
                os.close(fd)
            except ConnectionResetError:  # some systems tell it here; it is closed all the same
                pass

    def free(self) -> None:
        """Close what the loop itself holds; the descriptors that are watched are their owners'."""
        self._close_now()
        self._poller.close()
        self._wakeup.close()


class _Wakeup:
    """A pipe that ends the wait. What another thread asked for may free the loop before that thread has woken it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may wake while the same thread does
        self._open = True
        self.receiver, self._sender = os.pipe()
        os.set_blocking(self.receiver, False)
        os.set_blocking(self._sender, False)

    def wake(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):  # full: it will wake anyway
            if self._open:
                os.write(self._sender, b"\0")

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self.receiver, 4096)) == 4096:
                pass

    def close(self) -> None:
        with self._lock:
            self._open = False
            os.close(self.receiver)
            os.close(self._sender)
