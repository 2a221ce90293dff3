"""All that a worker serves: the ports by their keys, and their listening sockets, which come and go with them.

Theory. A port listens where it has endpoints for somebody; where it has none the kernel refuses clients, as it would
by kube-proxy's rules. What cannot be listened on is told, and tried again: the program that has the port may end, and a
cluster IP's address may be set later. Sockets are shared with the other workers, whom the kernel spreads clients over;
those of ports with session affinity by the clients' addresses (``steering``).
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from svcdoctor.proxy.listener import Listener, open_socket, refusal
from svcdoctor.proxy.loop import Timer
from svcdoctor.proxy.serving.backoff import Backoff
from svcdoctor.proxy.serving.flows import UdpFlows, UdpListen
from svcdoctor.proxy.serving.port import Port
from svcdoctor.proxy.serving.served import Listen, ServedPort
from svcdoctor.proxy.serving.steering import steer
from svcdoctor.proxy.serving.tcp import TcpClients
from svcdoctor.proxy.serving.tcpclient import TcpListen

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds between attempts to listen."""

BATCH = 256
"""Ports that are tried again before others have their turn."""

NO_UDP = "UDP does not go through the API server; use --dial netns or --dial direct"
NO_SCTP = "user space has no SCTP; kernel mode has: --mode nftables"

Place = tuple[str, str, int]
"""A protocol, an address and a port."""


@dataclass(frozen=True, slots=True)
class _Tcp:
    """An opened TCP listener."""

    key: str
    clients: TcpListen
    listener: Listener
    sock: socket.socket

    @property
    def fd(self) -> int:
        return self.sock.fileno()

    def be(self, listen: Listen) -> None:
        self.clients.listen = listen

    def retire(self) -> None:
        self.listener.retire()


@dataclass(frozen=True, slots=True)
class _Udp:
    """A bound UDP socket."""

    key: str
    flows: UdpListen

    @property
    def fd(self) -> int:
        return self.flows.fd

    def be(self, listen: Listen) -> None:
        self.flows.listen = listen
        self.flows.leave()

    def retire(self) -> None:
        self.flows.retire()


class Opened:
    """``udp`` is None where the way to pods carries no datagrams. ``tell`` gets a port's key and why something of it
    is not listened on, empty when it is again."""

    def __init__(self, tcp: TcpClients, udp: UdpFlows | None, tell: Callable[[str, str], None]) -> None:
        self._tcp = tcp
        self._udp = udp
        self._tell = tell
        self._loop = tcp.loop
        self._generator = random.Random()
        self._ports: dict[str, Port] = {}
        self._sockets: dict[Place, _Tcp | _Udp] = {}
        self._retired: list[UdpListen] = []
        self._failing: dict[str, str] = {}
        self._refused: dict[Place, tuple[int | None, str]] = {}
        self._pause = FIRST_PAUSE
        self._timer: Timer | None = None

    @property
    def ports(self) -> Collection[Port]:
        return self._ports.values()

    @property
    def failing(self) -> dict[str, str]:
        """By key why something is not listened on."""
        return self._failing

    @property
    def sockets(self) -> int:
        """How many there are."""
        return len(self._sockets)

    def flows(self) -> Iterator[UdpListen]:
        """The UDP sockets."""
        yield from (opened.flows for opened in self._sockets.values() if isinstance(opened, _Udp))
        yield from self._retired

    def put(self, ports: Iterable[ServedPort], whole: bool) -> None:
        """Serve these; with ``whole``, no others."""
        wanted = {served.key: served for served in ports}
        if whole:
            self.remove([key for key in self._ports if key not in wanted])
        changed = []
        for key, served in wanted.items():
            port = self._ports.get(key)
            if port is None:
                clock = self._clock
                port = self._ports[key] = Port(served, self._backoff(served), clock, self._generator)
            elif port.served == served:
                continue
            else:
                self._shut(key, {_place(served, listen) for listen in served.listens})
                before = port.served.workers
                port.update(served)
                if served.workers != before:
                    self._steer(key)
            changed.append(key)
        # What one port leaves another may take, so all leave first.
        for key in changed:
            self._shut(key, {_place(self._ports[key].served, listen) for listen in self._ports[key].listens})
            self._open(key)
        self._try_later()

    def remove(self, keys: Iterable[str]) -> None:
        """Listen for these no longer."""
        for key in keys:
            if key in self._ports:
                self._shut(key, set())
                del self._ports[key]
                self._failing.pop(key, None)

    def retire(self) -> None:
        """Listen no longer."""
        for key in self._ports:
            self._shut(key, set())
        self._failing.clear()

    def close(self) -> None:
        """End what there is."""
        self.retire()
        for flows in self._retired:
            flows.close()
        if self._timer is not None:
            self._timer.cancel()

    def _clock(self) -> float:
        return self._loop.now

    def _backoff(self, served: ServedPort) -> Backoff:
        return self._udp.backoff if served.protocol == "UDP" and self._udp is not None else self._tcp.backoff

    def _open(self, key: str) -> None:
        """Listen where the port is to be listened for and is not yet."""
        port = self._ports[key]
        failures = []
        for listen in port.listens:
            place = _place(port.served, listen)
            found = self._sockets.get(place)
            if found is None:
                failures.append(self._open_one(key, port, place, listen))
            elif found.key == key:
                found.be(listen)
            else:
                failures.append(f"cannot listen on {listen}: {found.key} is served there")
        why = next(filter(None, failures), "")
        if why != self._failing.get(key, ""):
            self._tell(key, why)
        if why:
            self._failing[key] = why
        else:
            self._failing.pop(key, None)

    def _open_one(self, key: str, port: Port, place: Place, listen: Listen) -> str:
        """Listen there. Returns why not."""
        kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}.get(place[0])
        if kind is None:
            return NO_SCTP
        if kind == socket.SOCK_DGRAM and self._udp is None:
            return NO_UDP
        try:
            sock = open_socket(listen.ip, listen.port, kind, shared=True)
        except OSError as e:
            if (
                place not in self._refused or self._refused[place][0] != e.errno
            ):  # who has it is looked for once
                self._refused[place] = (e.errno, refusal(listen.ip, listen.port, kind, e).message)
            return self._refused[place][1]
        self._refused.pop(place, None)
        if port.served.workers:
            steer(sock.fileno(), port.served.workers)
        if kind == socket.SOCK_DGRAM:
            assert self._udp is not None
            self._sockets[place] = _Udp(key, UdpListen(self._udp, port, listen, sock))
        else:
            clients = TcpListen(self._tcp, port, listen)
            listener = Listener(self._loop, sock, clients.accepted, self._tcp.doors)
            self._sockets[place] = _Tcp(key, clients, listener, sock)
        return ""

    def _steer(self, key: str) -> None:
        """The number of workers that share the port's clients by their addresses has changed."""
        served = self._ports[key].served
        for listen in served.listens:
            found = self._sockets.get(_place(served, listen))
            if found is not None and found.key == key:
                steer(found.fd, served.workers)

    def _shut(self, key: str, kept: set[Place]) -> None:
        """Listen no longer where that is not wanted."""
        port = self._ports[key]
        for listen in port.served.listens:
            place = _place(port.served, listen)
            found = self._sockets.get(place)
            if place in kept or (found is not None and found.key != key):
                continue
            self._refused.pop(place, None)
            if found is not None:
                del self._sockets[place]
                found.retire()
                if isinstance(found, _Udp):
                    self._retired = [flows for flows in self._retired if not flows.closed] + [found.flows]

    def _try_later(self) -> None:
        if self._failing and self._timer is None:
            self._pause = FIRST_PAUSE
            self._timer = self._loop.call_later(self._pause, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        for key in list(self._failing)[:BATCH]:
            self._failing[key] = self._failing.pop(key)  # the next batch begins with others
            self._open(key)
        if self._failing:
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            self._timer = self._loop.call_later(self._pause, self._try_again)


def _place(served: ServedPort, listen: Listen) -> Place:
    return served.protocol, listen.ip, listen.port
