"""A clock that goes on only when nothing in this process can: a day passes in seconds, and nothing is skipped.

Everything is real but the time: threads, sockets, TLS, the API server. Whoever waits for a time waits for this clock;
it is put forward, to the next time that anybody waits for, when every other thread sleeps and no descriptor of the
loop is ready. What a thread does takes no time at all.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

from svcdoctor.lab.store import Event, ObjectStore
from svcdoctor.proxy.loop import Loop

START = 1_800_000_000.0
"""Midnight, in seconds since 1970."""

_BREATH = 0.00005  # seconds in which others get on

_GRACE = 0.01
"""Seconds in which the kernel of a busy machine delivers what it has."""


class Over(Exception):
    """The day has ended; nobody's time comes any more."""


class Due:
    """A call that is due at a time, until it is cancelled."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        self.call = None


class Day:
    """The clock, in seconds since midnight."""

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, Due]] = []
        self._made = 0
        self._busy = self._talks = 0
        self._over = False
        self._main = threading.get_native_id()
        self._files: dict[int, tuple[int, int]] = {}

    def clock(self) -> float:
        return self.now

    def wall(self) -> float:
        return START + self.now

    def at(self, when: float, call: Callable[[], object]) -> Due:
        """Call at a time, on the loop's thread; it must not block."""
        due = Due(call)
        with self._lock:
            self._made += 1
            heapq.heappush(self._due, (when, self._made, due))
        return due

    def sleep(self, seconds: float) -> None:
        """Raises Over."""
        awake = threading.Event()
        self.at(self.now + seconds, awake.set)
        if not self._over:
            awake.wait()
        if self._over:
            raise Over

    def until(self, when: float) -> None:
        if when > self.now:
            self.sleep(when - self.now)

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Something is waited for that takes real time: the clock stands still, but for `pause`."""
        self._count_busy(1)
        try:
            yield
        finally:
            self._count_busy(-1)

    def pause(self, seconds: float) -> None:
        """`sleep` within `busy`."""
        self._count_busy(-1)
        try:
            self.sleep(seconds)
        finally:
            self._count_busy(1)

    def _count_busy(self, more: int) -> None:
        with self._lock:
            self._busy += more

    @contextlib.contextmanager
    def talking(self) -> Iterator[None]:
        """Bytes are under way; the clock goes on only when the kernel cannot have any of them, either."""
        with self._lock:
            self._talks += 1
        try:
            yield
        finally:
            with self._lock:
                self._talks -= 1

    def settle(self, descriptor: int, when: float) -> None:
        """Return when the descriptor is readable, or when it is ``when``."""
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        asleep_since: float | None = None
        while not poll.poll(0):
            if self._busy or not self._asleep():
                asleep_since = None
                time.sleep(_BREATH)
                continue
            if poll.poll(0):
                return
            if self._talks:
                asleep_since = asleep_since or time.monotonic()
                if time.monotonic() - asleep_since < _GRACE:
                    time.sleep(0.002)
                    continue
            asleep_since = None
            with self._lock:
                first = self._due[0][0] if self._due else when
            self.now = max(self.now, min(first, when))
            self._call()
            if self.now >= when:
                return

    def end(self) -> None:
        """The day is over: whoever sleeps wakes."""
        self._over = True
        with self._lock:
            due, self._due = self._due, []
        for _, _, one in due:
            if one.call is not None:
                one.call()
        for number in [*self._files]:
            self._close(number)

    def _call(self) -> None:
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > self.now:
                    return
                due = heapq.heappop(self._due)[2]
            if due.call is not None:
                due.call()

    def _asleep(self) -> bool:
        """Whether every other thread waits for something, and none was about to run.

        One that waits for the interpreter looks alike, but it is woken whenever this thread lets go of it, as it does
        for every file that it reads, and the kernel counts that.
        """
        before = self._turns()
        return before is not None and before == self._turns()

    def _turns(self) -> dict[int, bytes] | None:
        """How often each other thread was given a processor; None where one has one, or waits for one."""
        turns: dict[int, bytes] = {}
        alive = {thread.native_id for thread in threading.enumerate()}
        if None in alive:  # it is just beginning
            return None
        for number in {*self._files}.difference(alive):
            self._close(number)
        for number in alive:
            if number == self._main or number is None:
                continue
            try:
                stat, schedstat = self._files.get(number) or self._open(number)
                if os.pread(stat, 512, 0).rpartition(b") ")[2][:1] != b"S":
                    return None
                turns[number] = os.pread(schedstat, 64, 0)
            except OSError:  # it has just ended, or another one has its number by now
                self._close(number)
                return None
        return turns

    def _open(self, number: int) -> tuple[int, int]:
        folder = f"/proc/self/task/{number}/"
        stat = os.open(folder + "stat", os.O_RDONLY)
        try:
            self._files[number] = stat, os.open(folder + "schedstat", os.O_RDONLY)
        except OSError:
            os.close(stat)
            raise
        return self._files[number]

    def _close(self, number: int) -> None:
        for fd in self._files.pop(number, ()):
            os.close(fd)


class DayLoop(Loop):
    """The loop, on that clock."""

    def __init__(self, day: Day) -> None:
        super().__init__(day.clock)
        self._day = day

    def turn(self, longest: float = 3600.0) -> None:
        if not (self._soon or self._closing or self._stopping):
            wanted = self._timers[0][0] if self._timers else float("inf")
            self._day.settle(self._poller.fileno(), min(wanted, self._day.now + longest))
        super().turn(0.0)


class DayStore(ObjectStore):
    """The API server's objects; who watches them waits on that clock. ``silent_until``: nobody hears anything."""

    day: Day
    silent_until = 0.0

    def events_since(self, version: int, timeout: float) -> list[Event]:
        self.day.until(self.silent_until)
        due = self.day.at(self.day.now + timeout, self.wake)
        try:
            return super().events_since(version, 3600.0)
        finally:
            due.cancel()
            self.day.until(self.silent_until)
