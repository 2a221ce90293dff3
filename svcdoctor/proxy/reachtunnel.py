"""The way to endpoints through the API server: forwards in tunnels."""

from __future__ import annotations

from collections.abc import Callable

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.reach import Caller, Connection, Sent
from svcdoctor.proxy.streamrelay import Ending, StreamRelay
from svcdoctor.proxy.tunnel import Tunnel
from svcdoctor.proxy.tunnels import Tunnels


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
            caller.unreachable(str(tunnel), self._sent, False)
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
            caller.unreachable(relay.why, Sent(bytes(relay.first or b""), relay.ended), False)
        else:
            caller.over(relay.up, relay.down, relay.why)

    def moved(self) -> tuple[int, int]:
        relay = self._relay
        return (relay.up if relay.first is None else 0, relay.down) if relay is not None else (0, 0)

    def withdraw(self) -> None:
        self._caller = None

    def end(self) -> None:
        self._caller = None
        if self._relay is None:
            self._way.loop.close(self._fd)
        else:
            self._relay.end()
