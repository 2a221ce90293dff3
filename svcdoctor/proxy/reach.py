"""The ways from a client's connection to an endpoint: a connection of our own, or a forward in a tunnel.

A way is asked to connect a client's descriptor to an endpoint. Until the endpoint took it the descriptor belongs to
the caller, and a failure is told together with what the client has sent meanwhile, so that another endpoint can be
tried; from then on it belongs to the way, which tells when the connection is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.buffers import Buffers
from svcdoctor.proxy.dialing import Dialed, Dialer, Dialing
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.relay import Relay
from svcdoctor.proxy.streamrelay import GONE, Ending, StreamRelay
from svcdoctor.proxy.tunnel import Tunnel
from svcdoctor.proxy.tunnels import Tunnels


@dataclass(frozen=True, slots=True)
class Sent:
    """What a client has said so far: its bytes, and whether these are all."""

    data: bytes = b""
    ended: bool = False


NOTHING = Sent()


class Caller(Protocol):
    """Who asked for a connection."""

    def connected(self) -> None:
        """The endpoint is there, as far as the way can know it before it answers; bytes begin to move."""

    def unreachable(self, why: str, sent: Sent) -> None:
        """The endpoint did not take it. The client's descriptor is the caller's again."""

    def over(self, up: int, down: int, why: str) -> None:
        """It has ended, after so many bytes from and to the client; ``why`` is empty where it was in order."""


class Connection(Protocol):
    """One that is being made or lives."""

    def moved(self) -> tuple[int, int]:
        """The bytes from and to the client so far, without what may yet be sent to another endpoint again."""

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
        self._dialing: Dialing = way.dialer.dial(endpoint, self._dialed)

    def _dialed(self, result: Dialed) -> None:
        caller = self._caller
        if caller is None:
            if isinstance(result, int):
                self._way.loop.close(result)
            return
        if isinstance(result, OSError):
            self._caller = None
            caller.unreachable((result.strerror or str(result)).lower(), self._sent)
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

    def end(self) -> None:
        self._caller = None
        if self._relay is None:
            self._dialing.cancel()
            self._way.loop.close(self._fd)
        else:
            self._relay.reset()


class ByTunnel:
    """Forwards in tunnels through the API server."""

    def __init__(self, loop: Loop, tunnels: Tunnels) -> None:
        self.loop = loop
        self.tunnels = tunnels

    def connect(self, fd: int, endpoint: Endpoint, sent: Sent, caller: Caller) -> Connection:
        return _Forwarded(self, fd, endpoint, sent, caller)

    def prepare(self, endpoint: Endpoint, done: Callable[[SvcdoctorError | None], None]) -> None:
        def given(tunnel: Tunnel | SvcdoctorError) -> None:
            done(tunnel if isinstance(tunnel, SvcdoctorError) else None)

        self.tunnels.take(endpoint.namespace, endpoint.pod, endpoint.port, given)

    def close(self) -> None:
        self.tunnels.close()


class Nearest:
    """Of two ways the first where it leads to the endpoint, else the second."""

    def __init__(self, first: Way, leads_to: Callable[[Endpoint], bool], second: Way) -> None:
        self._first = first
        self._leads_to = leads_to
        self._second = second

    def connect(self, fd: int, endpoint: Endpoint, sent: Sent, caller: Caller) -> Connection:
        return self._way(endpoint).connect(fd, endpoint, sent, caller)

    def prepare(self, endpoint: Endpoint, done: Callable[[SvcdoctorError | None], None]) -> None:
        self._way(endpoint).prepare(endpoint, done)

    def close(self) -> None:
        self._first.close()
        self._second.close()

    def _way(self, endpoint: Endpoint) -> Way:
        return self._first if self._leads_to(endpoint) else self._second


class _Forwarded:
    __slots__ = ("_caller", "_endpoint", "_fd", "_relay", "_sent", "_way")

    def __init__(self, way: ByTunnel, fd: int, endpoint: Endpoint, sent: Sent, caller: Caller) -> None:
        self._way = way
        self._fd = fd
        self._endpoint = endpoint
        self._sent = sent
        self._caller: Caller | None = caller
        self._relay: StreamRelay | None = None
        way.loop.call_soon(self._take)

    def _take(self) -> None:
        if self._caller is not None:
            endpoint = self._endpoint
            self._way.tunnels.take(endpoint.namespace, endpoint.pod, endpoint.port, self._given)

    def _given(self, tunnel: Tunnel | SvcdoctorError) -> None:
        caller = self._caller
        if caller is None:
            return
        if isinstance(tunnel, SvcdoctorError):
            self._caller = None
            caller.unreachable(str(tunnel), self._sent)
            return
        caller.connected()
        self._relay = StreamRelay(
            self._way.loop,
            self._fd,
            tunnel,
            self._endpoint.port,
            self._done,
            self._sent.data,
            self._sent.ended,
        )
        self._relay.start()

    def _done(self, relay: StreamRelay, ending: Ending) -> None:
        caller, self._caller = self._caller, None
        if caller is None:
            return
        if ending is Ending.RETRY:
            caller.unreachable(relay.why, Sent(bytes(relay.first or b""), relay.ended))
        else:
            caller.over(relay.up, relay.down, relay.why)

    def moved(self) -> tuple[int, int]:
        relay = self._relay
        return (relay.up if relay.first is None else 0, relay.down) if relay is not None else (0, 0)

    def end(self) -> None:
        self._caller = None
        if self._relay is None:
            self._way.loop.close(self._fd)
        else:
            self._relay.end()
