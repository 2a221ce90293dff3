"""Clients' connections to a changing set of endpoints: choose one, connect, try another, wait.

Theory. Each client gets an endpoint from the balancer. One that cannot be reached is avoided for this client and the
next one is tried; nothing that a client sent is lost, because an endpoint that did not answer did not get it either.
When all were tried, or there are none, the client waits: for a change of the endpoints, or for the next attempt,
until its time is up. Then its connection is reset, unless it expects to be told so: that is what a `Greeter` does.

What may live here: what becomes of one client. How bytes get there: ``reach``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from svcdoctor.proxy.balance import Balancer
from svcdoctor.proxy.descriptors import reset_at_close
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Address
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.reach import NOTHING, Connection, Sent, Way

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between attempts when all endpoints were tried."""


@dataclass(frozen=True, slots=True)
class Began:
    """A client was accepted on the local port."""

    client: Address
    local: int


@dataclass(frozen=True, slots=True)
class Missed:
    """An endpoint did not take a client's connection; another one is tried."""

    client: Address
    local: int
    endpoint: Endpoint
    why: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A client's connection is over; ``endpoint`` is None where none was ever reached. ``why`` where not in order."""

    client: Address
    local: int
    endpoint: Endpoint | None
    up: int
    down: int
    why: str


Event = Began | Missed | Ended


class Greeter(Protocol):
    """Writes to a client, whose connection is not its own, what that expects to hear before its bytes move."""

    def connected(self) -> None:
        """It is connected."""

    def failed(self, why: str) -> None:
        """It will not be; its connection is closed next."""


class Forwarding:
    """The clients of one local port. ``wait`` is in seconds; ``tell`` gets the events."""

    def __init__(
        self,
        loop: Loop,
        way: Way,
        balancer: Balancer,
        local: int,
        wait: float,
        tell: Callable[[Event], None],
    ) -> None:
        self.loop = loop
        self.way = way
        self.balancer = balancer
        self.local = local
        self.wait = wait
        self.tell = tell
        self.clients: set[_Client] = set()

    def accept(self, fd: int, client: Address, sent: Sent = NOTHING, greeter: Greeter | None = None) -> None:
        """Take over a client's connection; a listener's callback."""
        self.tell(Began(client, self.local))
        found = _Client(self, fd, client, sent, greeter)
        self.clients.add(found)
        found.choose()

    def offer(self, endpoints: Iterable[Endpoint]) -> None:
        """From now on there are these endpoints; who waits for one goes on."""
        self.balancer.update(endpoints)
        for client in [c for c in self.clients if c.waits]:
            client.go_on()

    def moving(self) -> Iterator[tuple[Endpoint, int, int]]:
        """Of each connection that lives its endpoint, and the bytes from and to the client so far."""
        return (found for client in self.clients if (found := client.moving()) is not None)

    def close(self) -> None:
        """End all connections."""
        for client in list(self.clients):
            client.end()


class _Client:
    __slots__ = (
        "_address",
        "_avoid",
        "_connection",
        "_deadline",
        "_endpoint",
        "_fd",
        "_forwarding",
        "_greeter",
        "_pause",
        "_sent",
        "_timer",
        "_why",
    )

    def __init__(
        self, forwarding: Forwarding, fd: int, address: Address, sent: Sent, greeter: Greeter | None
    ) -> None:
        self._forwarding = forwarding
        self._fd = fd
        self._address = address
        self._sent = sent
        self._greeter = greeter
        self._avoid: set[Endpoint] = set()
        self._endpoint: Endpoint | None = None
        self._connection: Connection | None = None
        self._timer: Timer | None = None
        self._pause = FIRST_PAUSE
        self._deadline = forwarding.loop.now + forwarding.wait
        self._why = "no pod is ready"

    @property
    def waits(self) -> bool:
        """Whether it has no endpoint now."""
        return self._timer is not None

    def choose(self) -> None:
        """Connect to an endpoint, or wait for one."""
        forwarding = self._forwarding
        endpoint = forwarding.balancer.take(self._address[0], self._avoid)
        if endpoint is not None:
            self._endpoint = endpoint
            self._connection = forwarding.way.connect(self._fd, endpoint, self._sent, self)
            return
        left = self._deadline - forwarding.loop.now
        if left <= 0:
            self._give_up()
            return
        pause = left
        if self._avoid:
            self._avoid.clear()
            pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE)
        self._timer = forwarding.loop.call_later(min(pause, left), self.go_on)

    def go_on(self) -> None:
        """The endpoints changed, or it is time to try again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self.choose()

    def moving(self) -> tuple[Endpoint, int, int] | None:
        if self._connection is None or self._endpoint is None:
            return None
        return (self._endpoint, *self._connection.moved())

    def connected(self) -> None:
        if self._greeter is not None:
            self._greeter.connected()
            self._greeter = None

    def unreachable(self, why: str, sent: Sent, here: bool) -> None:
        forwarding, endpoint = self._forwarding, self._endpoint
        assert endpoint is not None
        forwarding.balancer.release(endpoint)
        forwarding.tell(Missed(self._address, forwarding.local, endpoint, why))
        self._connection = self._endpoint = None
        self._sent = sent
        self._why = f"{endpoint}: {why}"
        self._avoid.add(endpoint)
        self.choose()

    def over(self, up: int, down: int, why: str) -> None:
        forwarding, endpoint = self._forwarding, self._endpoint
        assert endpoint is not None
        forwarding.balancer.release(endpoint)
        forwarding.clients.discard(self)
        forwarding.tell(Ended(self._address, forwarding.local, endpoint, up, down, why))

    def end(self) -> None:
        """End at once."""
        forwarding = self._forwarding
        forwarding.clients.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.end()
            assert self._endpoint is not None
            forwarding.balancer.release(self._endpoint)
        else:
            if self._greeter is None:
                reset_at_close(self._fd)
            forwarding.loop.close(self._fd)

    def _give_up(self) -> None:
        forwarding = self._forwarding
        if self._greeter is not None:
            self._greeter.failed(self._why)
        self.end()
        forwarding.tell(Ended(self._address, forwarding.local, None, 0, 0, self._why))
