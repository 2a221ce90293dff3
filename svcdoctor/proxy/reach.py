"""The ways from a client's connection to an endpoint: what they have in common, and connections of our own.

A way is asked to connect a client's descriptor to an endpoint. Until the endpoint took it the descriptor belongs to
the caller, and a failure is told together with what the client has sent meanwhile, so that another endpoint can be
tried; from then on it belongs to the way, which tells when the connection is over.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.buffers import Buffers
from svcdoctor.proxy.dialing import Dialed, Dialer, Dialing
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.relay import Relay


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client has said so far: its bytes, and whether these are all."""

    data: bytes = b""
    ended: bool = False


NOTHING = Sent()

GONE = "the client went away"

SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""Of descriptors, of memory, and of source ports: no endpoint's fault."""


class Caller(Protocol):
    """Who asked for a connection."""

    def connected(self) -> None:
        """The endpoint is there, as far as the way can know it before it answers; bytes begin to move."""

    def unreachable(self, why: str, sent: Sent, here: bool) -> None:
        """The endpoint did not take it, or with ``here`` this machine is short of what it takes to ask it. The client's
        descriptor is the caller's again."""

    def over(self, up: int, down: int, why: str) -> None:
        """It has ended, after so many bytes from and to the client; ``why`` is empty where it was in order."""


class Connection(Protocol):
    """One that is being made or lives."""

    def moved(self) -> tuple[int, int]:
        """The bytes from and to the client so far, without what may yet be sent to another endpoint again."""

    def withdraw(self) -> None:
        """Do not make it any more; nothing is told, and the client's descriptor is the caller's again. Not after
        `Caller.connected`."""

    def end(self) -> None:
        """End it at once. Nothing is told."""


class Way(Protocol):
    """A way to endpoints."""

    def connect(self, fd: int, endpoint: Endpoint, sent: Sent, caller: Caller) -> Connection:
        """Connect a client's non-blocking descriptor to an endpoint. Nothing is told before this has returned."""

    def prepare(self, endpoint: Endpoint, done: Callable[[SvcdoctorError | None], None]) -> None:
        """Have ready what connections to the endpoint need; call ``done`` with why that cannot be had."""

    def close(self) -> None:
        """Release what the way itself holds."""


class ByConnection:
    """Connections of our own, made by a dialer."""

    def __init__(self, loop: Loop, dialer: Dialer) -> None:
        self.loop = loop
        self.dialer = dialer
        self.buffers = Buffers()

    def connect(self, fd: int, endpoint: Endpoint, sent: Sent, caller: Caller) -> Connection:
        return _Dialed(self, fd, endpoint, sent, caller)

    def prepare(self, endpoint: Endpoint, done: Callable[[SvcdoctorError | None], None]) -> None:
        self.loop.call_soon(lambda: done(None))  # each connection is made by itself

    def close(self) -> None:
        self.buffers.free()


class _Dialed:
    __slots__ = ("_caller", "_dialing", "_fd", "_relay", "_sent", "_way")

    def __init__(self, way: ByConnection, fd: int, endpoint: Endpoint, sent: Sent, caller: Caller) -> None:
        self._way = way
        self._fd = fd
        self._sent = sent
        self._caller: Caller | None = caller
        self._relay: Relay | None = None
        self._dialing: Dialing | None = way.dialer.dial(endpoint, self._dialed)

    def _dialed(self, result: Dialed) -> None:
        caller = self._caller
        self._dialing = None
        if caller is None:
            if isinstance(result, int):
                self._way.loop.close(result)
            return
        if isinstance(result, OSError):
            self._caller = None
            why = (result.strerror or str(result)).lower()
            caller.unreachable(why, self._sent, result.errno in SHORTAGES)
            return
        caller.connected()
        self._relay = Relay(self._way.loop, self._way.buffers, self._fd, result, self._done, self._sent.data)
        self._relay.start()

    def _done(self, relay: Relay) -> None:
        caller, self._caller = self._caller, None
        if caller is not None:
            why = (relay.error.strerror or str(relay.error)).lower() if relay.error is not None else ""
            caller.over(*self.moved(), GONE if relay.failed is relay.left else why)

    def moved(self) -> tuple[int, int]:
        relay = self._relay
        return (relay.left.moved, relay.right.moved) if relay is not None else (0, 0)

    def withdraw(self) -> None:
        self._caller = None
        if self._dialing is not None:
            self._dialing.cancel()

    def end(self) -> None:
        if self._relay is None:
            self.withdraw()
            self._way.loop.close(self._fd)
        else:
            self._caller = None
            self._relay.reset()
