"""A worker's process: ``python -m svcdoctor.proxy.serving.worker FD SETTINGS``, see ``wire``.

Theory. One loop carries all traffic, and reads what a control process says; whether there is one changes nothing for
the traffic. SIGTERM drains as `Drain` does; what a terminal sends is left to the control process.
"""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.datagrams import make_datagrams
from svcdoctor.proxy.dial_direct import DirectDialer
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.listener import Doors
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.reach import ByConnection, Way
from svcdoctor.proxy.serving.accesslog import AccessLog
from svcdoctor.proxy.serving.backoff import Backoff
from svcdoctor.proxy.serving.flows import UdpFlows
from svcdoctor.proxy.serving.icmp import IcmpErrors
from svcdoctor.proxy.serving.link import Link, of_our_own
from svcdoctor.proxy.serving.opened import Opened
from svcdoctor.proxy.serving.port import Port
from svcdoctor.proxy.serving.tcp import IMPATIENCE, TUNNEL_IMPATIENCE, TcpClients
from svcdoctor.proxy.serving.wire import (
    Count,
    Counters,
    Drain,
    Failed,
    Held,
    Hello,
    Put,
    Ready,
    Recall,
    Remove,
    Settings,
    Stop,
    ToWorker,
    WorkerReader,
)

DRAIN_LOOK = 0.1
"""Seconds between looks whether the last connection has ended."""

ORPHAN_SECONDS = 60.0
"""How long a worker that serves nothing waits for a control process."""

SPARE_DESCRIPTORS = 256
"""For pipes, the control process, and whatever else."""

_YOUNG = 20_000  # objects between collections of garbage; relays leave none


class Worker:
    """Serves until it is told to stop, or is drained. ``control`` is the listening socket. Raises SvcdoctorError."""

    def __init__(self, control: socket.socket, text: str, settings: Settings) -> None:
        self.loop = Loop()
        self._text = text
        self._settings = settings
        self._control = control
        self._link: Link[ToWorker] | None = None
        self._draining = False
        self._drained_until = 0.0
        self._timer: Timer | None = None
        loop = self.loop
        self._log = AccessLog(loop, settings.access_log) if settings.access_log else None
        self._way, self._close_way = _way(loop, settings)
        self._icmp = IcmpErrors(self._clock)
        self._doors = Doors()
        patience = IMPATIENCE if isinstance(self._way, ByConnection) else TUNNEL_IMPATIENCE
        self._tcp = TcpClients(loop, self._way, Backoff(self._clock), self._doors, self._log, 0, patience)
        udp = None
        if isinstance(self._way, ByConnection):
            dialer, backoff = self._way.dialer, Backoff(self._clock)
            udp = UdpFlows(loop, dialer, make_datagrams(), backoff, self._icmp, self._log)
        self._opened = Opened(self._tcp, udp, self._failed)
        self._make_room()
        control.setblocking(False)
        loop.watch(control.fileno(), self)
        self._orphan = loop.call_later(ORPHAN_SECONDS, self._look_for_work)

    def run(self) -> None:
        """Until the end."""
        self.loop.run()
        if self._link is not None:
            self._link.close()
        self._opened.close()
        self._tcp.retire()
        self._orphan.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._close_way()
        self._icmp.close()
        self._doors.spend()
        if self._log is not None:
            self._log.close()
        self.loop.turn(0.0)
        self.loop.free()
        self._control.close()

    def drain(self) -> None:
        """Listen no longer, and end with the last connection."""
        if not self._draining:
            self._draining = True
            self._opened.retire()
            self._drained_until = self.loop.now + self._settings.drain_seconds
            self._look_whether_drained()

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """A control process wants to speak."""
        while True:
            try:
                sock, _ = self._control.accept()
            except OSError:  # nobody more, or no descriptors: it will try again
                return
            if of_our_own(sock):
                self._listen_to(sock)
            else:
                sock.close()

    def _clock(self) -> float:
        return self.loop.now

    def _listen_to(self, sock: socket.socket) -> None:
        if self._link is not None:
            self._link.close()
        self._link = Link(self.loop, sock, WorkerReader(), self._received, self._lost)
        self._link.send(Hello(os.getpid(), self._text, self._draining))

    def _lost(self, why: str) -> None:
        """The control process is gone; everything goes on."""
        self._link = None
        self._orphan.cancel()
        self._orphan = self.loop.call_later(ORPHAN_SECONDS, self._look_for_work)

    def _look_for_work(self) -> None:
        if self._link is None and not self._opened.ports and not self._live:
            self.loop.stop()

    def _failed(self, key: str, why: str) -> None:
        if self._link is not None:
            self._link.send(Failed(key, why))

    def _received(self, message: ToWorker) -> None:
        assert self._link is not None
        match message:
            case Put(serial, ports, whole):
                if not self._draining:
                    known = dict(self._opened.failing)
                    self._opened.put(ports, whole)
                    self._make_room()
                    again = self._opened.failing.items() & known.items()
                    for key, why in again:  # others were told just now
                        self._link.send(Failed(key, why))
                self._link.send(Ready(serial))
            case Remove(serial, keys):
                self._opened.remove(keys)
                self._link.send(Ready(serial))
            case Count():
                self._link.send(self._counters())
            case Recall():
                self._link.send(Held(tuple(port.served for port in self._opened.ports)))
            case Drain():
                self.drain()
            case Stop():
                self.loop.stop()

    @property
    def _live(self) -> int:
        return len(self._tcp.alive) + sum(flows.live for flows in self._opened.flows())

    def _counters(self) -> Counters:
        moving: dict[Port, dict[Endpoint, tuple[int, int]]] = {}
        sources = [self._tcp.moving(), *(flows.moving() for flows in self._opened.flows())]
        for source in sources:
            for port, endpoint, up, down in source:
                sums = moving.setdefault(port, {})
                sent, received = sums.get(endpoint, (0, 0))
                sums[endpoint] = (sent + up, received + down)
        counts = (port.counts(moving.get(port, {})) for port in self._opened.ports)
        found = tuple(count for count in counts if count is not None)
        return Counters(os.getpid(), self._live, self._draining, found)

    def _make_room(self) -> None:
        """Let as many connections be as there are descriptors for."""
        most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._tcp.most = max((most - SPARE_DESCRIPTORS - self._opened.sockets) // 2, 1)

    def _look_whether_drained(self) -> None:
        self._timer = None
        if self._live == 0 or self.loop.now >= self._drained_until:
            self.loop.stop()
        else:
            self._timer = self.loop.call_later(DRAIN_LOOK, self._look_whether_drained)


def _way(loop: Loop, settings: Settings) -> tuple[Way, Callable[[], None]]:
    """The way to pods, and what releases it. Raises SvcdoctorError."""
    if settings.dial == "direct":
        direct = ByConnection(loop, DirectDialer(loop))
        return direct, direct.close
    from svcdoctor.proxy.serving.dials import chosen_way  # the API's client takes more memory than all else

    chosen = chosen_way(loop, settings)
    return chosen.way, chosen.close


def main(words: Sequence[str]) -> int:
    """Run a worker with its arguments; returns the process's exit code."""
    number, text = words
    try:
        settings = msgspec.json.decode(text, type=Settings)
        control = socket.socket(fileno=int(number))
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with contextlib.suppress(OSError, ValueError):  # unlimited is more than some systems take
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        worker = Worker(control, text, settings)
    except SvcdoctorError as e:
        print(f"error: {e.message}", file=sys.stderr)
        return 1
    for ignored in (signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: worker.loop.call_soon_threadsafe(worker.drain))
    gc.set_threshold(_YOUNG, 10, 10)
    gc.freeze()
    worker.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
