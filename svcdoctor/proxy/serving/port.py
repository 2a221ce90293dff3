"""One served port in a worker: which clients may come, which endpoint each gets, and what is counted.

What may live here: choosing and counting. No I/O. Thousands of ports have no client at all: what choosing needs is made
when the first one comes.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable

from svcdoctor.proxy.balance import (
    Balancer,
    BalancerPolicy,
    ConsistentHash,
    Policy,
    Random,
    Sticky,
    make_policy,
)
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.serving.backoff import Backoff
from svcdoctor.proxy.serving.networks import Networks
from svcdoctor.proxy.serving.served import Backend, Kind, Listen, ServedPort, address_text
from svcdoctor.proxy.serving.wire import LATENCY_BUCKETS, EndpointCounts, PortCounts

_EXTERNAL: frozenset[Kind] = frozenset({"nodePort", "loadBalancer", "externalIP"})


class Tally:
    """The counts of one endpoint, as `EndpointCounts` has them."""

    __slots__ = ("active", "connections", "dials", "failed", "received", "seconds", "sent")

    def __init__(self) -> None:
        self.connections = self.active = self.failed = self.sent = self.received = 0
        self.seconds = 0.0
        self.dials = [0] * (len(LATENCY_BUCKETS) + 1)

    def dialed(self, seconds: float) -> None:
        """A connection was made, and that took so long."""
        self.connections += 1
        self.active += 1
        self.seconds += seconds
        self.dials[bisect_left(LATENCY_BUCKETS, seconds)] += 1

    def over(self, sent: int, received: int) -> None:
        """A connection has ended after so many bytes to the endpoint and from it."""
        self.active -= 1
        self.sent += sent
        self.received += received


class Port:
    """``backoff`` is that of the port's protocol, ``clock`` gives seconds; both, and ``generator``, are shared by all
    ports."""

    __slots__ = (
        *(
            "_backoff",
            "_clock",
            "_cluster",
            "_generator",
            "_inside",
            "_live",
            "_local",
            "_sources",
            "_tallies",
        ),
        *("forbidden", "limited", "served", "unserved"),
    )

    def __init__(
        self, served: ServedPort, backoff: Backoff, clock: Callable[[], float], generator: random.Random
    ) -> None:
        self.served = served
        self._backoff = backoff
        self._clock = clock
        self._generator = generator
        self._live: dict[Endpoint, int] = {}
        self._tallies: dict[Endpoint, Tally] = {}
        self._cluster: Balancer | None = None
        self._local: Balancer | None = None
        self._inside: Networks | None = None
        self._sources: Networks | None = None
        self.forbidden = self.unserved = self.limited = 0

    @property
    def listens(self) -> tuple[Listen, ...]:
        """Where it is to be listened. Not where no client would get an endpoint: there the kernel itself refuses, as
        with the rules of kube-proxy."""
        return tuple(listen for listen in self.served.listens if self._leads_anywhere(listen.kind))

    def update(self, served: ServedPort) -> None:
        """It is served like this from now on."""
        before, self.served = self.served, served
        self._inside = self._sources = None
        same = (before.balance, before.affinity_seconds) == (served.balance, served.affinity_seconds)
        self._cluster = self._updated(self._cluster, served.cluster, same)
        self._local = self._updated(self._local, served.local, same)
        if self._tallies:
            kept = self.endpoints()
            self._tallies = {e: tally for e, tally in self._tallies.items() if tally.active or e in kept}

    def endpoints(self) -> set[Endpoint]:
        """All that a client may get."""
        return set(_endpoints((*self.served.cluster, *self.served.local)))

    def admits(self, listen: Listen, ip: str) -> bool:
        """Whether the source ranges let a client in; counted where they do not."""
        if listen.kind != "loadBalancer" or not self.served.sources:
            return True
        if self._sources is None:
            self._sources = Networks(self.served.sources)
        if self._sources.hold(ip):
            return True
        self.forbidden += 1
        return False

    def take(self, listen: Listen, ip: str, tried: Collection[Endpoint]) -> Endpoint | None:
        """An endpoint for a client that came to ``listen``, not one of ``tried``; to be released. None where there is
        none that takes it."""
        balancer = self._balancer(listen.kind, ip)
        limit = self.served.limit
        avoid = {*tried, *balancer.full(limit)} if limit else tried
        backoff = self._backoff
        if not backoff:
            return balancer.take(ip, avoid)
        endpoint = balancer.take(ip, {*avoid, *backoff.avoided()}) or balancer.take(ip, avoid)
        if endpoint is not None:
            backoff.trying(endpoint)
        return endpoint

    def release(self, endpoint: Endpoint) -> None:
        """What was taken has ended, or was never made."""
        balancer = self._cluster or self._local  # they share the count
        assert balancer is not None
        balancer.release(endpoint)

    def has_others(self, listen: Listen, ip: str, tried: int) -> bool:
        """Whether a client that tried so many endpoints has one more to go to."""
        return len(self._balancer(listen.kind, ip).offered) > tried

    def turn_away(self, listen: Listen, ip: str) -> str:
        """Count a client that `take` had nothing for; returns why, in words."""
        if not self._balancer(listen.kind, ip).offered:
            self.unserved += 1
            return "no endpoint"
        if self.served.limit and self._balancer(listen.kind, ip).full(self.served.limit):
            self.limited += 1
            return "every endpoint has as many connections as it may"
        self.unserved += 1
        return "no endpoint takes connections"

    def tally(self, endpoint: Endpoint) -> Tally:
        """The endpoint's counts."""
        found = self._tallies.get(endpoint)
        if found is None:
            found = self._tallies[endpoint] = Tally()
        return found

    def counts(self, moving: dict[Endpoint, tuple[int, int]]) -> PortCounts | None:
        """The counts, with the bytes that were moved on connections that live; None where there was no client."""
        if not (self._tallies or self.forbidden or self.unserved or self.limited):
            return None
        rows = []
        for endpoint, tally in self._tallies.items():
            sent, received = moving.get(endpoint, (0, 0))
            rows.append(
                EndpointCounts(
                    address_text(endpoint.ip, endpoint.port),
                    pod_text(endpoint),
                    tally.connections,
                    tally.active,
                    tally.failed,
                    tally.sent + sent,
                    tally.received + received,
                    tally.seconds,
                    tuple(tally.dials),
                )
            )
        return PortCounts(self.served.key, tuple(rows), self.forbidden, self.unserved, self.limited)

    def _leads_anywhere(self, kind: Kind) -> bool:
        served = self.served
        if kind not in _EXTERNAL:
            return bool(served.local if served.internal_local else served.cluster)
        return bool(served.local or (served.cluster and (served.inside or not served.external_local)))

    def _balancer(self, kind: Kind, ip: str) -> Balancer:
        served = self.served
        local = served.external_local if kind in _EXTERNAL else served.internal_local
        if local and kind in _EXTERNAL and served.inside:
            if self._inside is None:
                self._inside = Networks(served.inside)
            local = not self._inside.hold(ip)
        if local:
            if self._local is None:
                self._local = self._made(served.local)
            return self._local
        if self._cluster is None:
            self._cluster = self._made(served.cluster)
        return self._cluster

    def _updated(self, balancer: Balancer | None, backends: Iterable[Backend], same: bool) -> Balancer | None:
        if balancer is None or not same:
            return balancer and self._made(backends)
        balancer.update(_endpoints(backends))
        return balancer

    def _made(self, backends: Iterable[Backend]) -> Balancer:
        balancer = Balancer(self._policy(), self._live)
        balancer.update(_endpoints(backends))
        return balancer

    def _policy(self) -> Policy:
        served = self.served
        if served.affinity_seconds:
            # All workers send a client that they do not know yet to the same one.
            return Sticky(ConsistentHash(), self._clock, served.affinity_seconds)
        if served.balance is BalancerPolicy.RANDOM:
            return Random(self._generator)
        return make_policy(served.balance, 0, self._clock)


def pod_text(endpoint: Endpoint) -> str:
    """``NAMESPACE/NAME`` of an endpoint's pod, empty where not known."""
    return f"{endpoint.namespace}/{endpoint.pod}" if endpoint.pod else ""


def _endpoints(backends: Iterable[Backend]) -> list[Endpoint]:
    made = []
    for backend in backends:
        namespace, _, pod = backend.pod.partition("/")
        made.append(Endpoint(backend.ip, backend.port, namespace, pod))
    return made
