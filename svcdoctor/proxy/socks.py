"""The SOCKS proxy on the loop: clients say where to, are answered when that is reached, and are then like any others.

Theory. A client's handshake and the search for what it names happen here; then its connection belongs to the
destination's `Forwarding`, and what is left here is the one answer that the client waits for. Through the API server
that is "succeeded" when there is a tunnel to a pod: only the pod's first bytes would tell more, and many protocols
have the client speak first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Sequence

from svcdoctor.proxy.destinations import Destinations
from svcdoctor.proxy.forwarder import Tell, Troubled
from svcdoctor.proxy.forwarding import Forwarding
from svcdoctor.proxy.listener import Address, Listener
from svcdoctor.proxy.loop import BROKEN, Loop, Timer
from svcdoctor.proxy.reach import Sent
from svcdoctor.proxy.socks5 import Connect, Handshake, Refused, Reply, reply_bytes

HANDSHAKE_SECONDS = 10.0
"""How long a client may take to say what it wants."""

_READ = 4096
_REFUSED = os.strerror(errno.ECONNREFUSED).lower()


class SocksProxy:
    """Serves the clients of listening sockets, which it owns."""

    def __init__(
        self, loop: Loop, sockets: Sequence[socket.socket], destinations: Destinations, tell: Tell
    ) -> None:
        self.loop = loop
        self.destinations = destinations
        self.tell = tell
        self.refused = 0
        """Clients that got no connection because of what they asked."""
        self.clients: set[_Client] = set()
        self._listeners = [Listener(loop, sock, self._accept) for sock in sockets]

    @property
    def addresses(self) -> tuple[Address, ...]:
        return tuple(listener.address for listener in self._listeners)

    def close(self) -> None:
        """Listen no more, and end what is connected."""
        for listener in self._listeners:
            listener.close()
        for client in list(self.clients):
            client.drop()
        self.destinations.close()

    def _accept(self, fd: int, address: Address) -> None:
        self.clients.add(_Client(self, fd, address))


class _Client:
    """One client until its connection belongs to a `Forwarding`; then its `Greeter`."""

    __slots__ = ("_address", "_asked", "_fd", "_handshake", "_owned", "_proxy", "_timer")

    def __init__(self, proxy: SocksProxy, fd: int, address: Address) -> None:
        self._proxy = proxy
        self._fd = fd
        self._address = address
        self._handshake = Handshake()
        self._asked: Connect | None = None
        self._owned = True  # the connection is still this one's
        self._timer: Timer = proxy.loop.call_later(HANDSHAKE_SECONDS, self._too_slow)
        proxy.loop.watch(fd, self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        if not self._owned:
            return
        if hangup & BROKEN:
            self.drop()
        elif self._asked is None and (readable or hangup):
            self._read()

    def drop(self) -> None:
        """Close the connection; nothing comes of it."""
        self._let_go()
        self._proxy.loop.close(self._fd)
        if self._asked is not None:
            self._proxy.destinations.withdraw(self)

    def _read(self) -> None:
        found: Connect | Refused | None = None
        while found is None:
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.drop()
                return
            found = self._handshake.receive(data)
            self._write(self._handshake.outgoing())
        if isinstance(found, Refused):
            ip, port = self._address
            self._turn_away(f"SOCKS client {f'[{ip}]' if ':' in ip else ip}:{port}", found.why)
            return
        self._timer.cancel()
        self._asked = found
        self._proxy.destinations.ask(found.host, found.port, self)

    def _write(self, data: bytes) -> None:
        """Send a few bytes. A client that does not even take these is found out by the next read."""
        if data:
            with contextlib.suppress(OSError):
                os.write(self._fd, data)

    def _too_slow(self) -> None:
        self._proxy.refused += 1
        self.drop()

    def _turn_away(self, what: str, why: str) -> None:
        self._proxy.refused += 1
        self._let_go()
        self._proxy.loop.close(self._fd)
        self._proxy.tell(Troubled(what, why))

    def _let_go(self) -> None:
        self._owned = False
        self._timer.cancel()
        self._proxy.clients.discard(self)

    # --- of the destination

    def given(self, forwarding: Forwarding) -> None:
        if self._owned:
            self._let_go()
            forwarding.accept(self._fd, self._address, Sent(self._handshake.rest), self)

    def refused(self, reply: Reply, why: str) -> None:
        asked = self._asked
        if self._owned and asked is not None:
            self._write(reply_bytes(reply))
            host = asked.host if asked.host.isprintable() else ascii(asked.host)
            self._turn_away(f"{host}:{asked.port}", why)

    # --- of the forwarding, which tells the rest itself

    def connected(self) -> None:
        self._write(reply_bytes(Reply.SUCCEEDED))

    def failed(self, why: str) -> None:
        self._write(reply_bytes(Reply.REFUSED if why.endswith(_REFUSED) else Reply.HOST_UNREACHABLE))
