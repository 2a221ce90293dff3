"""TCP listeners: they accept in batches, and go on when the process runs out of descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.descriptors import family_of, reset_at_close, unblocking_socket
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.proxy.portowner import port_owner

Address = tuple[str, int]
"""An IP address and a port."""

BACKLOG = 4096
BATCH = 64
"""Connections that are accepted before others have their turn."""

PAUSE = 0.1
PATIENCE = 1.0
"""Seconds that clients may wait for a descriptor before they are turned away."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_BUG = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP, errno.EFAULT}


class InUse(SvcdoctorError):
    """Something else has the port."""


def listening_socket(ip: str, port: int) -> socket.socket:
    """A TCP socket that listens; port 0 takes a free one. IPv6 sockets take no IPv4. Raises SvcdoctorError,
    ``InUse`` where something else has the port."""
    sock = bound_socket(ip, port, socket.SOCK_STREAM)
    # Accepted connections inherit it; a relay writes what it reads, and must not wait for more.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.listen(BACKLOG)
    return sock


def bound_socket(ip: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A non-blocking socket that is bound. Raises SvcdoctorError as `listening_socket` does."""
    sock = unblocking_socket(family_of(ip), kind)
    try:
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((ip, port))
    except OSError as e:
        sock.close()
        where = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        if e.errno == errno.EADDRINUSE:
            owner = port_owner(ip, port, kind)
            raise InUse(
                f"cannot listen on {where}: {e.strerror}{f' by {owner}' if owner else ''}; choose another port, or "
                "end the program that listens there"
            ) from None
        advice = {
            errno.EACCES: "choose a port from 1024 on, or run as root",
            errno.EADDRNOTAVAIL: "choose an address of this machine",
        }.get(e.errno or 0, "choose another address")
        raise SvcdoctorError(f"cannot listen on {where}: {e.strerror}; {advice}") from None
    return sock


class Listener:
    """Accepts connections on a non-blocking listening socket, which it owns, and gives each descriptor with its
    client's address to ``accepted``, which owns it."""

    def __init__(self, loop: Loop, sock: socket.socket, accepted: Callable[[int, Address], None]) -> None:
        self._loop = loop
        self._socket = sock
        self._accepted = accepted
        self._pause: Timer | None = None
        self._paused_since: float | None = None
        self._reserve: int | None = os.open(os.devnull, os.O_RDONLY)
        name = sock.getsockname()
        self.address: Address = (name[0], name[1])
        self.turned_away = 0
        """Clients that were reset because no descriptors became free."""
        loop.watch(sock.fileno(), self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """Clients wait."""
        if self._pause is None:
            self._accept()

    def close(self) -> None:
        """Accept no more. Clients that were not accepted yet are reset by the kernel."""
        if self._socket.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        self._loop.close(self._socket.detach())
        if self._reserve is not None:
            os.close(self._reserve)

    def pause(self, seconds: float = PAUSE) -> None:
        """Leave clients in the kernel's queue for a while."""
        if self._pause is None:
            self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._accept()

    def _accept(self) -> None:
        for _ in range(BATCH):
            if self._socket.fileno() < 0 or self._pause is not None:
                return  # by what `accepted` did
            try:
                sock, peer = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno in _BUG:
                    raise
                if e.errno in _EXHAUSTED:
                    self._exhausted()
                    return
                continue  # this client went away, or its network did: accept(2), "Error handling"
            self._paused_since = None
            sock.setblocking(False)
            self._accepted(sock.detach(), (peer[0], peer[1]))
        self._loop.call_soon(self._accept)

    def _exhausted(self) -> None:
        """No descriptors: clients wait until some become free, but not for ever."""
        if self._paused_since is None:
            self._paused_since = self._loop.now
        elif self._loop.now - self._paused_since >= PATIENCE:
            self._turn_away()
        self.pause()

    def _turn_away(self) -> None:
        """Reset the clients that wait, one after the other, with the descriptor that was kept for that."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        with contextlib.suppress(OSError):
            for _ in range(BACKLOG):
                sock, _peer = self._socket.accept()
                reset_at_close(sock.fileno())
                sock.close()
                self.turned_away += 1
        with contextlib.suppress(OSError):
            self._reserve = os.open(os.devnull, os.O_RDONLY)
