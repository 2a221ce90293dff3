"""The UDP flows of a worker: each client's datagrams go to one endpoint, until that fails or is no longer one.

Theory. kube-proxy forgets the connections of a UDP endpoint that is gone, and so are its flows ended here: the next
datagram goes elsewhere. An endpoint that answers with an ICMP error before it said anything else is left for another,
with what the client has sent; where there is none the client is told the error.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from svcdoctor.proxy.datagrams import Datagrams
from svcdoctor.proxy.dialing import Dialer, Dialing, Done, Telling
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.reach import SHORTAGES
from svcdoctor.proxy.serving.accesslog import AccessLog
from svcdoctor.proxy.serving.backoff import Backoff
from svcdoctor.proxy.serving.icmp import IcmpErrors
from svcdoctor.proxy.serving.port import Port, pod_text
from svcdoctor.proxy.serving.served import Listen, address_text
from svcdoctor.proxy.udp import Flow, UdpRelay

LINGER = 3.0
"""Seconds that answers are still passed on for, after the port is no longer listened for."""


@dataclass(frozen=True, slots=True)
class UdpFlows:
    """What all flows share."""

    loop: Loop
    dialer: Dialer
    datagrams: Datagrams
    backoff: Backoff
    icmp: IcmpErrors
    log: AccessLog | None


@dataclass(slots=True)
class _Going:
    """Where a flow goes, and where it went before in vain."""

    endpoint: Endpoint
    dialed: float
    tried: tuple[Endpoint, ...] = ()
    counted: bool = False


class UdpListen:
    """A bound socket's flows; ``listen`` is what it is bound for."""

    def __init__(self, shared: UdpFlows, port: Port, listen: Listen, sock: socket.socket) -> None:
        self._shared = shared
        self.port = port
        self.listen = listen
        self._going: dict[Flow, _Going] = {}
        self._relay = UdpRelay(shared.loop, shared.datagrams, sock, self)
        self._linger: Timer | None = None

    @property
    def live(self) -> int:
        """How many flows there are."""
        return len(self._going)

    @property
    def fd(self) -> int:
        """The socket's, -1 when it is closed."""
        return self._relay.fd

    @property
    def closed(self) -> bool:
        return self._relay.fd < 0

    def retire(self) -> None:
        """Listen no longer; answers that are on their way are waited for, but not long."""
        if self._linger is None:
            try:
                self._relay.retire()
            except OSError:  # it is bound to an address that is gone
                self.close()
                return
            self._linger = self._shared.loop.call_later(LINGER, self.close)

    def close(self) -> None:
        """End all flows."""
        if self._linger is not None:
            self._linger.cancel()
        self._relay.close()

    def leave(self) -> None:
        """End the flows to endpoints that are no longer the port's."""
        there = self.port.endpoints()
        for flow, going in list(self._going.items()):
            if going.endpoint not in there:
                self._relay.end(flow)

    def moving(self) -> Iterator[tuple[Port, Endpoint, int, int]]:
        """Of each flow its port and endpoint, and the bytes from and to the client so far."""
        return ((self.port, going.endpoint, flow.sent, flow.received) for flow, going in self._going.items())

    # --- of the relay

    def dial(self, flow: Flow, done: Done) -> Dialing:
        shared, port = self._shared, self.port
        if not port.admits(self.listen, flow.client[0]):
            self._log(flow, None, "not within the source ranges")
            return Telling(shared.loop, OSError(errno.EPERM, "not within the source ranges"), done)
        endpoint = port.take(self.listen, flow.client[0], ())
        if endpoint is None:
            self._log(flow, None, port.turn_away(self.listen, flow.client[0]))
            return Telling(shared.loop, OSError(errno.ECONNREFUSED, "no endpoint"), done)
        self._going[flow] = _Going(endpoint, shared.loop.now)
        return shared.dialer.dial_udp(endpoint, self._counting(flow, done))

    def failed(self, flow: Flow, error: OSError, done: Done | None) -> Dialing | None:
        shared, port = self._shared, self.port
        number = error.errno or 0
        going = self._going.get(flow)
        if going is not None and number not in SHORTAGES:
            port.tally(going.endpoint).failed += 1
            shared.backoff.failed(going.endpoint)
            tried = (*going.tried, going.endpoint)
            other = port.take(self.listen, flow.client[0], tried) if done is not None else None
            if other is not None and done is not None:
                self._release(going, flow)
                self._going[flow] = _Going(other, shared.loop.now, tried)
                return shared.dialer.dial_udp(other, self._counting(flow, done))
            # The next datagram begins anew, maybe with an endpoint that answers.
            shared.loop.call_soon(lambda: self._relay.end(flow))
        shared.icmp.tell(flow.client, (flow.local or self.listen.ip, self.listen.port), number)
        return None

    def answered(self, flow: Flow) -> None:
        if self._shared.backoff:
            self._shared.backoff.worked(self._going[flow].endpoint)

    def ended(self, flow: Flow) -> None:
        going = self._going.pop(flow, None)
        if going is not None:
            self._log(flow, going.endpoint, "")
            self._release(going, flow)

    def _counting(self, flow: Flow, done: Done) -> Done:
        def dialed(result: int | OSError) -> None:
            going = self._going.get(flow)
            if going is not None and isinstance(result, int):
                going.counted = True
                self.port.tally(going.endpoint).dialed(self._shared.loop.now - going.dialed)
            done(result)

        return dialed

    def _release(self, going: _Going, flow: Flow) -> None:
        self.port.release(going.endpoint)
        if going.counted:
            self.port.tally(going.endpoint).over(flow.sent, flow.received)
            flow.sent = flow.received = 0

    def _log(self, flow: Flow, endpoint: Endpoint | None, why: str) -> None:
        shared = self._shared
        if shared.log is not None:
            shared.log.add(
                self.port.served.key,
                address_text(*flow.client),
                address_text(flow.local or self.listen.ip, self.listen.port),
                address_text(endpoint.ip, endpoint.port) if endpoint is not None else "",
                pod_text(endpoint) if endpoint is not None else "",
                (flow.sent, flow.received),
                shared.loop.now - flow.begun,
                why,
            )
