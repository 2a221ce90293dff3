"""What ``--probe`` gathered for one question: observations, and the listening sockets of pods. Facts like the others
of a Snapshot, gathered before anything is judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.nodefacts import Listener
from svcdoctor.model.observed import Met, Observation, Place, PlaceKind
from svcdoctor.model.packetpath import PathMtu, SynWay
from svcdoctor.model.trace import Client

ARRIVED = frozenset({Met.ANSWERED, Met.STALLED, Met.RESET, Met.CLOSED, Met.GARBLED, Met.TLS_FAILED})
"""What only a process that took the connection can cause."""

SILENT = frozenset({Met.TIMEOUT, Met.UNREACHABLE})


def arrived(observation: Observation) -> int:
    """How many tries reached a process, whatever it said then."""
    if observation.speaks is not None:
        return observation.sent - observation.met.get(Met.ERROR, 0) - silent(observation)
    return sum(observation.met.get(met, 0) for met in ARRIVED)


def silent(observation: Observation) -> int:
    """How many tries met nothing: no answer in time, or no way there."""
    return sum(observation.met.get(met, 0) for met in SILENT)


@dataclass(frozen=True)
class Evidence:
    """``place`` is where the requests were sent from, ``client`` who that is to the cluster. ``sockets`` are the
    listening sockets of pods by ``namespace/name``, ``missing`` what could not be had. ``ways`` and ``mtus`` are what
    single packets met where requests failed."""

    place: Place
    client: Client
    observations: tuple[Observation, ...] = ()
    sockets: Mapping[str, tuple[Listener, ...]] = field(default_factory=dict)
    missing: tuple[MissingFact, ...] = ()
    ways: tuple[SynWay, ...] = ()
    mtus: tuple[PathMtu, ...] = ()

    @cached_property
    def _by_aim(self) -> dict[tuple[str, int, str, bool, bool], Observation]:
        return {
            (
                o.aim.ip,
                o.aim.port,
                o.aim.protocol,
                o.aim.payload_size > 0,
                o.place.kind is PlaceKind.TUNNEL,
            ): o
            for o in reversed(self.observations)
        }

    def at(self, ip: str, port: int, protocol: str, *, large: bool = False) -> Observation | None:
        """What requests from the place to an address met; with ``large``, requests with a large payload."""
        return self._by_aim.get((ip, port, protocol, large, False))

    def tunnelled(self, ip: str, port: int) -> Observation | None:
        """What requests through a tunnel into the pod with this address met."""
        return self._by_aim.get((ip, port, "TCP", False, True))
