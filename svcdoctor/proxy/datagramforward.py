"""UDP clients to a changing set of endpoints: what ``forwarding`` is for TCP.

A client's flow keeps its endpoint for as long as it lives; UDP does not say whether anything answered.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.balance import Balancer
from svcdoctor.proxy.datagrams import make_datagrams
from svcdoctor.proxy.dialing import Dialing, Done, Telling
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.forwarding import Began, Ended, Event, Missed
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.reach import ByConnection, Way
from svcdoctor.proxy.udp import Flow, UdpRelay


def check_datagrams(way: Way) -> ByConnection:
    """The way, where it carries datagrams. Raises SvcdoctorError."""
    if not isinstance(way, ByConnection):
        raise SvcdoctorError(
            "UDP does not go through the API server: its port-forward carries TCP only; use --dial netns on the "
            "pod's node (as root), or --dial direct where the pods' addresses can be reached"
        )
    return way


class DatagramForwarding:
    """The flows of one local UDP port."""

    def __init__(
        self, loop: Loop, way: ByConnection, balancer: Balancer, local: int, tell: Callable[[Event], None]
    ) -> None:
        self._loop = loop
        self._dialer = way.dialer
        self._balancer = balancer
        self._local = local
        self._tell = tell
        self._datagrams = make_datagrams()
        self._relays: list[UdpRelay] = []
        self._flows: dict[Flow, Endpoint] = {}

    def add(self, sock: socket.socket) -> None:
        """Take over a bound, non-blocking socket."""
        self._relays.append(UdpRelay(self._loop, self._datagrams, sock, self))

    def offer(self, endpoints: Iterable[Endpoint]) -> None:
        """From now on new flows go to these endpoints."""
        self._balancer.update(endpoints)

    def close(self) -> None:
        """End all flows."""
        for relay in self._relays:
            relay.close()

    # --- of the relays

    def dial(self, flow: Flow, done: Done) -> Dialing:
        endpoint = self._balancer.take(flow.client[0])
        if endpoint is None:
            return Telling(self._loop, OSError(113, "no pod is ready"), done)
        self._flows[flow] = endpoint
        self._tell(Began(flow.client, self._local))
        return self._dialer.dial_udp(endpoint, done)

    def failed(self, flow: Flow, error: OSError, done: Done | None) -> None:
        endpoint = self._flows.get(flow)
        if endpoint is not None:
            why = (error.strerror or str(error)).lower()
            self._tell(Missed(flow.client, self._local, endpoint, why))

    def answered(self, flow: Flow) -> None:
        pass

    def ended(self, flow: Flow) -> None:
        endpoint = self._flows.pop(flow, None)
        if endpoint is not None:
            self._balancer.release(endpoint)
            self._tell(Ended(flow.client, self._local, endpoint, 0, 0, ""))
