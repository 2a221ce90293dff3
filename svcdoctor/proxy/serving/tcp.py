"""All TCP clients of a worker: how many there may be, and what is done at times.

Theory. Where this machine is short of descriptors, no more clients are accepted and those that were wait. So that a
crowd of silent clients cannot keep others out, those that nothing was heard of for longest are ended when there is no
room left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Doors
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.reach import Way
from svcdoctor.proxy.serving.accesslog import AccessLog
from svcdoctor.proxy.serving.backoff import Backoff
from svcdoctor.proxy.serving.port import Port

IMPATIENCE = 0.5
"""Seconds after which another endpoint is tried where there is one; the last one has the dialer's time."""

TUNNEL_IMPATIENCE = 5.0
"""The same where the API server has to open a tunnel first."""

SHORT_PAUSE = 0.1
"""Seconds that nobody is accepted for, when a descriptor was wanted and there was none."""

SWEEP_SECONDS = 5.0
SILENT_SECONDS = 30.0
"""Connections that were silent for so long may be ended for want of room."""


class Member(Protocol):
    """A client."""

    port: Port
    endpoint: Endpoint | None
    """The one that it is connected to, or will be."""
    heard: float
    """When bytes were last seen to have moved."""

    def moved(self) -> tuple[int, int]:
        """The bytes from the client, and to it."""

    def unanswered(self, endpoint: Endpoint) -> None:
        """The endpoint that it went to some time ago may have to be left for another."""

    def look(self, now: float) -> None:
        """See whether bytes have moved."""

    def end(self, why: str) -> None:
        """End at once."""


@dataclass(slots=True)
class TcpClients:
    """There are at most ``most`` at once; `retire` ends what they share. ``impatience`` is in seconds."""

    loop: Loop
    way: Way
    backoff: Backoff
    doors: Doors
    log: AccessLog | None
    most: int
    impatience: float = IMPATIENCE
    alive: dict[Member, None] = field(default_factory=dict)  # smaller than a set
    _impatient: deque[tuple[float, Member, Endpoint]] = field(default_factory=deque)
    _timer: Timer | None = None
    _sweeper: Timer | None = None
    _short: Timer | None = None

    def __post_init__(self) -> None:
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def retire(self) -> None:
        """End all connections."""
        for client in list(self.alive):
            client.end("the worker ends")
        for timer in (self._timer, self._sweeper, self._short):
            if timer is not None:
                timer.cancel()

    def moving(self) -> Iterator[tuple[Port, Endpoint, int, int]]:
        """Of each connection that lives its port and endpoint, and the bytes from and to the client so far."""
        for client in self.alive:
            if client.endpoint is not None:
                yield (client.port, client.endpoint, *client.moved())

    def came(self, client: Member) -> None:
        """One more lives."""
        self.alive[client] = None
        if len(self.alive) >= self.most:
            self.doors.open = False

    def went(self, client: Member) -> None:
        """One has ended."""
        self.alive.pop(client, None)
        self._open_doors()

    def watch_dial(self, client: Member, endpoint: Endpoint) -> None:
        """Tell the client when its endpoint has not answered after a moment."""
        self._impatient.append((self.loop.now + self.impatience, client, endpoint))
        if self._timer is None:
            self._timer = self.loop.call_later(self.impatience, self._lose_patience)

    def fall_short(self) -> None:
        """A descriptor was wanted, and there are none: accept nobody for a while."""
        self.doors.open = False
        if self._short is None:
            self._short = self.loop.call_later(SHORT_PAUSE, self._short_over)

    def _short_over(self) -> None:
        self._short = None
        self._open_doors()

    def _open_doors(self) -> None:
        if not self.doors.open and self._short is None and len(self.alive) < self.most:
            self.doors.open = True

    def _lose_patience(self) -> None:
        self._timer = None
        while self._impatient:
            at, client, endpoint = self._impatient[0]
            if at > self.loop.now:
                self._timer = self.loop.call_later(at - self.loop.now, self._lose_patience)
                return
            self._impatient.popleft()
            client.unanswered(endpoint)

    def _sweep(self) -> None:
        now = self.loop.now
        if len(self.alive) * 2 >= self.most:
            for client in self.alive:
                client.look(now)
        if len(self.alive) >= self.most:
            silent = sorted((c for c in self.alive if now - c.heard >= SILENT_SECONDS), key=lambda c: c.heard)
            for client in silent[: max(self.most // 20, 1)]:
                client.port.limited += 1
                client.end("it was silent, and others had no room")
        self._sweeper = self.loop.call_later(SWEEP_SECONDS, self._sweep)
