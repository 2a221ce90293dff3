"""What dialers have in common: how they tell the result, and the wait for a TCP connection to be made."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Protocol

from svcdoctor.proxy.descriptors import error_of, keep_alive
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import BROKEN, Loop

Dialed = int | OSError
"""A connected, non-blocking descriptor, which the receiver owns, or why there is none. The loop may be watching it for
the dialer: `Loop.watch` gives it another handler, and only `Loop.close` may close it."""

Done = Callable[[Dialed], None]

PATIENCE = 5.0
"""Seconds that a connection may take."""


class Dialing(Protocol):
    """A connection in the making."""

    def cancel(self) -> None:
        """Give up; ``done`` is not called. Nothing happens where it was called already."""


class Dialer(Protocol):
    """A way to reach endpoints. ``done`` is called once, by the loop, after `dial` has returned."""

    def dial(self, endpoint: Endpoint, done: Done) -> Dialing:
        """Connect to the endpoint's port over TCP."""

    def dial_udp(self, endpoint: Endpoint, done: Done) -> Dialing:
        """A UDP socket that is connected to the endpoint's port; nobody answers for it being reachable."""


class Nearest:
    """Of two dialers the first where it leads to the endpoint, else the second."""

    def __init__(self, first: Dialer, leads_to: Callable[[Endpoint], bool], second: Dialer) -> None:
        self._first = first
        self._leads_to = leads_to
        self._second = second

    def dial(self, endpoint: Endpoint, done: Done) -> Dialing:
        return self._dialer(endpoint).dial(endpoint, done)

    def dial_udp(self, endpoint: Endpoint, done: Done) -> Dialing:
        return self._dialer(endpoint).dial_udp(endpoint, done)

    def _dialer(self, endpoint: Endpoint) -> Dialer:
        return self._first if self._leads_to(endpoint) else self._second


class Connecting:
    """A TCP connect on the loop; a `Dialing`."""

    __slots__ = ("_done", "_fd", "_loop", "_timer")

    def __init__(
        self, loop: Loop, sock: socket.socket, address: tuple[str, int], timeout: float, done: Done
    ) -> None:
        """Takes over a non-blocking socket."""
        self._loop = loop
        self._done: Done | None = done
        error = sock.connect_ex(address)
        if not error or error == errno.EINPROGRESS:
            # A relay writes what it reads, and must not wait for more.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(sock)
        self._fd = sock.detach()
        if error and error != errno.EINPROGRESS:
            self._timer = loop.call_later(0.0, lambda: self._fail(OSError(error, os.strerror(error))))
            return
        self._timer = loop.call_later(timeout, self._timed_out)
        loop.watch(self._fd, self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """The connection was made, or not."""
        if hangup & BROKEN:
            self._fail(error_of(self._fd) or OSError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)))
        elif writable and self._done is not None:
            done, self._done = self._done, None
            self._timer.cancel()
            done(self._fd)

    def cancel(self) -> None:
        if self._done is not None:
            self._done = None
            self._timer.cancel()
            self._loop.close(self._fd)

    def _timed_out(self) -> None:
        self._fail(OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _fail(self, error: OSError) -> None:
        done = self._done
        if done is not None:
            self.cancel()
            done(error)


class Telling:
    """A result that was known at once; a `Dialing`."""

    __slots__ = ("_done", "_loop", "_result")

    def __init__(self, loop: Loop, result: Dialed, done: Done) -> None:
        self._loop = loop
        self._result = result
        self._done: Done | None = done
        loop.call_soon(self._tell)

    def cancel(self) -> None:
        if self._done is not None:
            self._done = None
            if isinstance(self._result, int):
                self._loop.close(self._result)

    def _tell(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(self._result)


def connected_udp(sock: socket.socket, address: tuple[str, int]) -> Dialed:
    """Connects a non-blocking UDP socket, which it takes over; that is immediate."""
    error = sock.connect_ex(address)
    if error:
        sock.close()
        return OSError(error, os.strerror(error))
    return sock.detach()
