"""A UDP relay: datagrams between clients and endpoints, with one upstream socket for each client.

Theory of operation. All clients talk to one bound socket. A client that was not heard of before gets a flow: a socket
that is connected to an endpoint, so that its answers are the client's, and the kernel tells what ICMP says of it. What
clients send before the flow is there waits, one batch of it. UDP ends nothing, so a flow ends when nothing was sent on
it for a while; and when there are too many, the one ends that was quiet for longest.

Datagrams that a full socket does not take are dropped, as any router does. An error is told to the flow's owner, who
may have another endpoint for it: what was sent to one that never answered is little, is kept, and is sent to the next
one. Else the flow goes on, and the next datagram may get through.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Hashable
from typing import Protocol

from svcdoctor.proxy.datagrams import BATCH, Datagrams, Peer
from svcdoctor.proxy.descriptors import borrowed, whole_socket
from svcdoctor.proxy.dialing import Dialed, Dialing, Done
from svcdoctor.proxy.loop import BROKEN, Loop, Timer

IDLE = 60.0
"""Seconds; longer than the kernel's conntrack keeps a flow that was not answered (30 s)."""

MOST_CLIENTS = 4096

ROUNDS = 16
"""Batches that one socket's datagrams are moved in before others have their turn."""


MOST_KEPT = 4096
"""Bytes that are kept of what a client sends before it is answered."""

KEEP = 5.0
"""Seconds; what is older is not sent to another endpoint any more."""


_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # of sockets that are bound to no address


class FlowOwner(Protocol):
    """Who says where the flows of a `UdpRelay` go."""

    def dial(self, flow: Flow, done: Done) -> Dialing:
        """Make the upstream socket for a new client. ``done`` is not called before this returns."""

    def failed(self, flow: Flow, error: OSError, done: Done | None) -> Dialing | None:
        """A flow met an error: once, until an answer comes. Where ``done`` is given it can go to another endpoint, and
        nothing is lost: make that upstream socket, or return None and it goes on, if it could be dialed."""

    def answered(self, flow: Flow) -> None:
        """The flow's first answer is here."""

    def ended(self, flow: Flow) -> None:
        """A flow is no more; told for each that was dialed."""


class UdpRelay:
    """Relays between the clients of a bound, non-blocking UDP socket, which it owns, and endpoints.

    A flow ends after ``idle`` seconds of the loop's clock, and there are never more than ``most``.
    """

    def __init__(
        self,
        loop: Loop,
        datagrams: Datagrams,
        sock: socket.socket,
        owner: FlowOwner,
        idle: float = IDLE,
        most: int = MOST_CLIENTS,
    ) -> None:
        self.loop = loop
        self.datagrams = datagrams
        self.owner = owner
        name = sock.getsockname()
        self.address: Peer = (name[0], name[1])
        if self.address[0] in _LOOPBACK:
            datagrams.tell_local(sock)
        self.sent = 0
        """Datagrams that went to endpoints."""
        self.answered = 0
        """Datagrams that went to clients."""
        self.dropped = 0
        self._idle = idle
        self._most = most
        self._flows: OrderedDict[Hashable, Flow] = (
            OrderedDict()
        )  # the one that was quiet for longest is first
        self._expiry: Timer | None = None
        self.fd = sock.detach()
        loop.watch(self.fd, self)

    def __len__(self) -> int:
        return len(self._flows)

    def close(self) -> None:
        """End all flows and take no more."""
        if self.fd < 0:
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self.loop.close(self.fd)
        self.fd = -1
        for flow in list(self._flows.values()):
            self.end(flow)

    def retire(self) -> None:
        """Take no more datagrams, and go on with the answers to those that were: others that are bound to the same
        address get what comes. Raises OSError."""
        ip, port = self.address
        with whole_socket(self.fd) as sock:  # connected, and to itself, where nothing comes from
            sock.connect((_LOOPBACK.get(ip, ip), port))

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """Clients have sent something."""
        if readable or hangup:
            self._receive()

    def _receive(self) -> None:
        datagrams = self.datagrams
        for _ in range(ROUNDS):
            if self.fd < 0:
                return
            try:
                count = datagrams.receive(self.fd, named=True)
            except BlockingIOError:
                return
            except OSError:  # of something sent to a client that is gone; there are others
                continue
            for key, first, end in datagrams.senders(count):
                flow = self._flows.get(key) or self._open(key)
                self.touch(flow)
                flow.send(first, end)
            if count < BATCH:
                return
        self.loop.call_soon(self._receive)

    def touch(self, flow: Flow) -> None:
        """A flow is in use."""
        flow.used = self.loop.now
        self._flows.move_to_end(flow.key)

    def _open(self, key: Hashable) -> Flow:
        if len(self._flows) >= self._most:
            self.end(next(iter(self._flows.values())))
        flow = self._flows[key] = Flow(self, key, self.datagrams.peer(key))
        if self._expiry is None:
            self._expiry = self.loop.call_later(self._idle, self._expire)
        return flow

    def _expire(self) -> None:
        self._expiry = None
        for flow in list(self._flows.values()):
            left = flow.used + self._idle - self.loop.now
            if left > 0:
                self._expiry = self.loop.call_later(left, self._expire)
                return
            self.end(flow)

    def end(self, flow: Flow) -> None:
        """End one flow."""
        if self._flows.get(flow.key) is flow:
            del self._flows[flow.key]
            flow.close()
            self.owner.ended(flow)

    @property
    def flows(self) -> tuple[Flow, ...]:
        """Those that live."""
        return tuple(self._flows.values())


class Flow:
    """One client's way to its endpoint. ``local`` is the address of this machine that the client sent to, empty where
    the relay has only one."""

    __slots__ = (
        *("_dialing", "_failing", "_fd", "_kept", "_relay", "_waiting"),
        *("begun", "client", "key", "local", "received", "sent", "used"),
    )

    def __init__(self, relay: UdpRelay, key: Hashable, client: Peer) -> None:
        self._relay = relay
        self.key = key
        self.client = client
        self.local = relay.datagrams.local(key)
        self.begun = self.used = relay.loop.now
        self.sent = 0
        """Bytes to the endpoint."""
        self.received = 0
        """Bytes from it."""
        self._fd = -1
        self._failing = False
        self._waiting: list[bytes] = []
        self._kept: list[bytes] | None = []
        self._dialing: Dialing | None = relay.owner.dial(self, self._dialed)

    def _dialed(self, result: Dialed) -> None:
        self._dialing = None
        relay = self._relay
        if isinstance(result, OSError):
            self._tell(result)
            if self._dialing is None:
                relay.dropped += len(self._waiting)
                relay.end(self)
            return
        self._fd = result
        relay.loop.watch(result, self)
        waiting, self._waiting = self._waiting, []
        with borrowed(result) as sock:
            for data in waiting:
                try:
                    sock.send(data)
                    relay.sent += 1
                    self.sent += len(data)
                except OSError as e:
                    relay.dropped += 1
                    self._tell(e)

    def send(self, first: int, end: int) -> None:
        """Send datagrams of the batch to the endpoint."""
        relay = self._relay
        if self._kept is not None:
            self._keep(first, end)
        if self._dialing is not None:
            keep = min(end - first, BATCH - len(self._waiting))
            self._waiting += [relay.datagrams.data(i) for i in range(first, first + keep)]
            relay.dropped += end - first - keep
            return
        taken = self._pass_on(self._fd, first, end, None)
        relay.sent += taken
        self.sent += relay.datagrams.size(first, first + taken)

    def _keep(self, first: int, end: int) -> None:
        """What may have to be sent again."""
        assert self._kept is not None
        datagrams = self._relay.datagrams
        if sum(map(len, self._kept)) + datagrams.size(first, end) > MOST_KEPT:
            self._kept = None
        else:
            self._kept += [datagrams.data(i) for i in range(first, end)]

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """The endpoint has answered, or ICMP has."""
        if readable or hangup:
            self._receive(bool(hangup & BROKEN))

    def _receive(self, broken: bool = False) -> None:
        relay = self._relay
        for _ in range(ROUNDS):
            if self._fd < 0 or relay.fd < 0:
                return
            try:
                count = relay.datagrams.receive(self._fd, named=False)
            except BlockingIOError:
                return
            except OSError as e:
                self._tell(e)
                continue
            relay.touch(self)
            if not self.received:
                relay.owner.answered(self)
            self._failing = False
            self._kept = None
            self.received += relay.datagrams.size(0, count)
            relay.answered += self._pass_on(relay.fd, 0, count, self.key)
            if count < BATCH and not broken:  # an error is behind the datagrams
                return
        relay.loop.call_soon(self._receive)

    def _pass_on(self, fd: int, first: int, end: int, to: Hashable | None) -> int:
        """Send datagrams of the batch; returns how many were taken."""
        relay = self._relay
        taken = 0
        again = True
        while first < end:
            try:
                count = relay.datagrams.send(fd, first, end, to)
            except BlockingIOError:
                relay.dropped += end - first
                break
            except OSError as e:
                self._tell(e)
                # It may be an earlier datagram's error, told by ICMP. Twice is this one's own.
                if not again:
                    relay.dropped += 1
                    first += 1
                again = not again
                continue
            again = True
            taken += count
            first += count
        return taken

    def _tell(self, error: OSError) -> None:
        if self._failing:
            return
        self._failing = True
        relay = self._relay
        young = self._kept is not None and relay.loop.now - self.begun < KEEP
        dialing = relay.owner.failed(self, error, self._dialed if young else None)
        if dialing is None:
            return
        assert self._kept is not None
        self._failing = False
        self._waiting = list(self._kept)
        self._dialing = dialing
        if self._fd >= 0:
            relay.loop.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """Told when the flow ends."""
        if self._dialing is not None:
            self._dialing.cancel()
        if self._fd >= 0:
            self._relay.loop.close(self._fd)
            self._fd = -1
