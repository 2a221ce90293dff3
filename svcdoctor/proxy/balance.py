"""Which endpoint a new connection goes to: the policies, and the balancer that keeps the endpoints as they change.

Pure: no I/O; time and randomness are given. Endpoints come and go while connections to them live. One that is no
longer offered is not chosen any more; it is draining until its last connection ends.
"""

from __future__ import annotations

import random
import zlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from enum import Enum
from typing import Protocol

from svcdoctor.proxy.endpoint import Endpoint

AFFINITY_SECONDS = 10800.0
"""The default of sessionAffinityConfig.clientIP.timeoutSeconds (Service, core/v1)."""

MOST_CLIENTS = 65536
"""Clients that are remembered; with more, the one that was not seen for longest is forgotten."""

_DRAWS = 4
_SPREAD = 0x9E3779B97F4A7C15
_WORD = (1 << 64) - 1


class BalancerPolicy(Enum):
    """The policies by the names that a user gives them."""

    ROUND_ROBIN = "round-robin"
    LEAST_CONN = "least-conn"
    RANDOM = "random"
    STICKY = "sticky"
    CONSISTENT_HASH = "consistent-hash"


class Policy(Protocol):
    """Chooses among endpoints."""

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """From now on there are these."""

    def choose(
        self, client: str, avoid: Collection[Endpoint], live: Mapping[Endpoint, int]
    ) -> Endpoint | None:
        """An endpoint for a client (its IP address) that is not to be avoided; None where there is none. ``live``
        has the connections of each endpoint that has any."""


class RoundRobin:
    """Each in its turn; new ones come last. O(1) but for what is avoided."""

    def __init__(self) -> None:
        self._turn: OrderedDict[Endpoint, None] = OrderedDict()

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        now = dict.fromkeys(endpoints)
        for gone in [e for e in self._turn if e not in now]:
            del self._turn[gone]
        self._turn.update(now)

    def choose(
        self, client: str, avoid: Collection[Endpoint], live: Mapping[Endpoint, int]
    ) -> Endpoint | None:
        chosen = next((e for e in self._turn if e not in avoid), None)
        if chosen is not None:
            self._turn.move_to_end(chosen)
        return chosen


class LeastConn(RoundRobin):
    """The one with the fewest connections, and of several the one whose turn it is. O(endpoints)."""

    def choose(
        self, client: str, avoid: Collection[Endpoint], live: Mapping[Endpoint, int]
    ) -> Endpoint | None:
        candidates = (e for e in self._turn if e not in avoid)
        chosen = min(candidates, key=lambda e: live.get(e, 0), default=None)
        if chosen is not None:
            self._turn.move_to_end(chosen)
        return chosen


class Random:
    """Any, with equal probability. O(1) but for what is avoided."""

    def __init__(self, generator: random.Random) -> None:
        self._generator = generator
        self._endpoints: list[Endpoint] = []

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = list(dict.fromkeys(endpoints))

    def choose(
        self, client: str, avoid: Collection[Endpoint], live: Mapping[Endpoint, int]
    ) -> Endpoint | None:
        endpoints = self._endpoints
        if not endpoints:
            return None
        for _ in range(_DRAWS):  # mostly little is to be avoided, and a list of the others is long
            chosen = endpoints[int(self._generator.random() * len(endpoints))]
            if chosen not in avoid:
                return chosen
        left = [e for e in endpoints if e not in avoid]
        return self._generator.choice(left) if left else None


class ConsistentHash:
    """A client's connections all go to the same one, in every process; where endpoints come and go, only the clients
    of those move (rendezvous hashing). O(endpoints)."""

    def __init__(self) -> None:
        self._seeds: dict[Endpoint, int] = {}

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        self._seeds = {e: zlib.crc32(f"{e.ip} {e.port}".encode()) * _SPREAD & _WORD for e in endpoints}

    def choose(
        self, client: str, avoid: Collection[Endpoint], live: Mapping[Endpoint, int]
    ) -> Endpoint | None:
        key = zlib.crc32(client.encode()) * _SPREAD & _WORD
        candidates = (e for e in self._seeds if e not in avoid)
        return max(candidates, key=lambda e: _mixed(self._seeds[e] ^ key), default=None)


def _mixed(word: int) -> int:
    """The finalizer of splitmix64: every bit depends on every other."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _WORD
    return word ^ word >> 31


class Sticky:
    """A client's connections go where its last one went, while that endpoint is there and ``seconds`` have not gone
    by since (sessionAffinity: ClientIP); the first one goes where another policy says."""

    def __init__(
        self,
        first: Policy,
        clock: Callable[[], float],
        seconds: float = AFFINITY_SECONDS,
        most: int = MOST_CLIENTS,
    ) -> None:
        self._first = first
        self._clock = clock
        self._seconds = seconds
        self._most = most
        self._clients: OrderedDict[str, tuple[Endpoint, float]] = OrderedDict()
        self._offered: frozenset[Endpoint] = frozenset()

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        offered = list(endpoints)
        self._offered = frozenset(offered)
        self._first.update(offered)

    def choose(
        self, client: str, avoid: Collection[Endpoint], live: Mapping[Endpoint, int]
    ) -> Endpoint | None:
        now = self._clock()
        known = self._clients.get(client)
        chosen: Endpoint | None
        if known and known[0] in self._offered and known[0] not in avoid and now - known[1] < self._seconds:
            chosen = known[0]
        else:
            chosen = self._first.choose(client, avoid, live)
        if chosen is not None:
            self._clients[client] = (chosen, now)
            self._clients.move_to_end(client)
            if len(self._clients) > self._most:
                self._clients.popitem(last=False)
        return chosen


def make_policy(name: BalancerPolicy, seed: int, clock: Callable[[], float]) -> Policy:
    """The policy of that name; ``seed`` is for the random one, ``clock`` (seconds) for the sticky one."""
    match name:
        case BalancerPolicy.ROUND_ROBIN:
            return RoundRobin()
        case BalancerPolicy.LEAST_CONN:
            return LeastConn()
        case BalancerPolicy.RANDOM:
            return Random(random.Random(seed))
        case BalancerPolicy.STICKY:
            return Sticky(RoundRobin(), clock)
        case BalancerPolicy.CONSISTENT_HASH:
            return ConsistentHash()


class Balancer:
    """The endpoints that are offered, and how many connections each one has. Balancers that share endpoints may share
    these counts, ``live``."""

    def __init__(self, policy: Policy, live: dict[Endpoint, int] | None = None) -> None:
        self._policy = policy
        self._offered: tuple[Endpoint, ...] = ()
        self._live: dict[Endpoint, int] = {} if live is None else live

    def update(self, endpoints: Iterable[Endpoint]) -> None:
        """Offer these, and no others."""
        self._offered = tuple(dict.fromkeys(endpoints))
        self._policy.update(self._offered)

    @property
    def offered(self) -> tuple[Endpoint, ...]:
        return self._offered

    @property
    def draining(self) -> tuple[Endpoint, ...]:
        """Those that are not offered any more and have connections."""
        return tuple(e for e in self._live if e not in self._offered)

    def live(self, endpoint: Endpoint) -> int:
        """How many connections an endpoint has."""
        return self._live.get(endpoint, 0)

    def take(self, client: str, avoid: Collection[Endpoint] = ()) -> Endpoint | None:
        """An endpoint for a new connection of a client (its IP address), which counts as its own from now on. None
        where none is left: ``avoid`` are those that could not be reached."""
        chosen = self._policy.choose(client, avoid, self._live)
        if chosen is not None:
            self._live[chosen] = self._live.get(chosen, 0) + 1
        return chosen

    def full(self, limit: int) -> set[Endpoint]:
        """Those that have ``limit`` connections or more."""
        return {e for e, count in self._live.items() if count >= limit}

    def release(self, endpoint: Endpoint) -> None:
        """A connection that was taken has ended, or was never made."""
        left = self._live[endpoint] - 1
        if left:
            self._live[endpoint] = left
        else:
            del self._live[endpoint]
