"""One TCP client of a worker: what becomes of it, from its coming to its end.

Theory. An endpoint that refuses is left for another one at once, one that does not answer after a moment, and the
client notices neither; when all were tried, its connection is reset.
"""

from __future__ import annotations

from svcdoctor.proxy.descriptors import local_address, reset_at_close
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Address
from svcdoctor.proxy.loop import Timer
from svcdoctor.proxy.reach import NOTHING, Connection, Sent
from svcdoctor.proxy.serving.port import Port, pod_text
from svcdoctor.proxy.serving.proxyheader import proxy_header
from svcdoctor.proxy.serving.served import Listen, address_text
from svcdoctor.proxy.serving.tcp import SHORT_PAUSE, TcpClients

SHORT_TRIES = 20
"""How often a client whose connection this machine was short of descriptors for is tried again."""

_WILD = ("0.0.0.0", "::")
_FORGOTTEN: Address = ("", 0)  # a sixth of what an idle connection takes


class Client:
    """One client; what its `Way` calls."""

    __slots__ = (
        *(
            "_address",
            "_attempts",
            "_begun",
            "_clients",
            "_connection",
            "_dialed",
            "_fd",
            "_header",
            "_listen",
        ),
        *("_moved", "_sent", "_timer", "_tried", "endpoint", "heard", "port"),
    )

    def __init__(self, clients: TcpClients, port: Port, listen: Listen, fd: int, address: Address) -> None:
        self._clients = clients
        self._fd = fd
        self._address = address
        self._listen = listen
        self._connection: Connection | None = None
        self._tried: set[Endpoint] | tuple[()] = ()
        self._attempts = 0
        self._timer: Timer | None = None
        self._begun = self._dialed = clients.loop.now
        self._sent: Sent | None = NOTHING  # None when it is connected
        self._header = 0
        self._moved = 0
        self.heard = self._begun
        """When bytes were last seen to have moved."""
        self.port = port
        self.endpoint: Endpoint | None = None
        """The one that it is connected to, or will be."""
        if port.served.proxy_protocol:
            header = proxy_header(address, self._local())
            self._sent, self._header = Sent(header), len(header)
        clients.came(self)

    def choose(self) -> None:
        """Go to an endpoint."""
        self._timer = None
        clients, port, listen = self._clients, self.port, self._listen
        endpoint = port.take(listen, self._address[0], self._tried)
        if endpoint is None:
            self._turn_away()
            return
        assert self._sent is not None
        self.endpoint = endpoint
        self._dialed = clients.loop.now
        self._connection = clients.way.connect(self._fd, endpoint, self._sent, self)
        if port.has_others(listen, self._address[0], len(self._tried) + 1):
            clients.watch_dial(self, endpoint)

    def unanswered(self, endpoint: Endpoint) -> None:
        """The endpoint that it went to some time ago may have to be left for another."""
        if self.endpoint is endpoint and self._sent is not None:
            assert self._connection is not None
            self._connection.withdraw()
            self._missed()

    def look(self, now: float) -> None:
        """See whether bytes have moved."""
        moved = sum(self.moved())
        if moved != self._moved:
            self._moved, self.heard = moved, now

    def moved(self) -> tuple[int, int]:
        """The bytes from the client, and to it."""
        if self._connection is None:
            return 0, 0
        up, down = self._connection.moved()
        return max(up - self._header, 0), down

    def end(self, why: str) -> None:
        """End at once."""
        if self._timer is not None:
            self._timer.cancel()
        moved = self.moved()
        if self._connection is not None:
            reset_at_close(self._fd)
            self._connection.end()
            self._leave(moved, why)
        else:
            self._close(why)

    # --- of the way

    def connected(self) -> None:
        endpoint = self.endpoint
        assert endpoint is not None
        self._sent = None
        clients = self._clients
        self.port.tally(endpoint).dialed(clients.loop.now - self._dialed)
        if clients.log is None:
            self._address = _FORGOTTEN
        backoff = clients.backoff
        if backoff:
            backoff.worked(endpoint)

    def unreachable(self, why: str, sent: Sent, here: bool) -> None:
        self._sent = sent
        if not here:
            self._missed()
            return
        assert self.endpoint is not None
        self.port.release(self.endpoint)
        self._connection = self.endpoint = None
        self._clients.fall_short()
        self._attempts += 1
        if self._attempts > SHORT_TRIES:
            self.port.limited += 1
            self._close(f"this machine: {why}")
        else:
            self._timer = self._clients.loop.call_later(SHORT_PAUSE, self.choose)

    def over(self, up: int, down: int, why: str) -> None:
        self._leave((max(up - self._header, 0), down), why)

    def _missed(self) -> None:
        endpoint = self.endpoint
        assert endpoint is not None
        self.port.release(endpoint)
        self.port.tally(endpoint).failed += 1
        self._clients.backoff.failed(endpoint)
        self._connection = self.endpoint = None
        self._tried = {*self._tried, endpoint}
        self.choose()

    def _leave(self, moved: tuple[int, int], why: str) -> None:
        """Its connection is over."""
        endpoint = self.endpoint
        assert endpoint is not None
        self.port.release(endpoint)
        if self._sent is None:
            self.port.tally(endpoint).over(*moved)
        self._clients.went(self)
        self._log(endpoint, moved, why)
        self._connection = None

    def _turn_away(self) -> None:
        self._close(self.port.turn_away(self._listen, self._address[0]))

    def _close(self, why: str) -> None:
        reset_at_close(self._fd)
        self._clients.loop.close(self._fd)
        self._clients.went(self)
        self._log(None, (0, 0), why)

    def _local(self) -> Address:
        """Where it connected to."""
        listen = self._listen
        if listen.ip not in _WILD:
            return listen.ip, listen.port
        return local_address(self._fd)

    def _log(self, endpoint: Endpoint | None, moved: tuple[int, int], why: str) -> None:
        clients = self._clients
        if clients.log is not None:
            clients.log.add(
                self.port.served.key,
                address_text(*self._address),
                address_text(*self._local()),
                address_text(endpoint.ip, endpoint.port) if endpoint is not None else "",
                pod_text(endpoint) if endpoint is not None else "",
                moved,
                clients.loop.now - self._begun,
                why,
            )


class TcpListen:
    """One listener's clients; ``listen`` is where it listens."""

    __slots__ = ("_clients", "listen", "port")

    def __init__(self, clients: TcpClients, port: Port, listen: Listen) -> None:
        self._clients = clients
        self.port = port
        self.listen = listen

    def accepted(self, fd: int, address: Address) -> None:
        """A client came."""
        clients = self._clients
        if self.port.admits(self.listen, address[0]):
            Client(clients, self.port, self.listen, fd, address).choose()
            return
        reset_at_close(fd)
        clients.loop.close(fd)
        if clients.log is not None:
            clients.log.add(
                self.port.served.key,
                address_text(*address),
                str(self.listen),
                *("", "", (0, 0), 0.0, "not within the source ranges"),
            )
