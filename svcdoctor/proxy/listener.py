"""TCP listeners: they accept in batches, and go on when the process runs out of descriptors."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.descriptors import family_of, keep_alive, reset_at_close, unblocking_socket
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


def listening_socket(ip: str, port: int, shared: bool = False) -> socket.socket:
    """A TCP socket that listens; port 0 takes a free one. IPv6 sockets take no IPv4. ``shared`` lets other processes
    of this user listen there as well, and the kernel spreads clients over them (SO_REUSEPORT). Raises SvcdoctorError,
    ``InUse`` where something else has the port."""
    try:
        return open_socket(ip, port, socket.SOCK_STREAM, shared)
    except OSError as e:
        raise refusal(ip, port, socket.SOCK_STREAM, e) from None


def bound_socket(ip: str, port: int, kind: socket.SocketKind) -> socket.socket:
    """A non-blocking socket that is bound. Raises SvcdoctorError as `listening_socket` does."""
    try:
        return open_socket(ip, port, kind)
    except OSError as e:
        raise refusal(ip, port, kind, e) from None


def open_socket(ip: str, port: int, kind: socket.SocketKind, shared: bool = False) -> socket.socket:
    """A non-blocking socket that is bound, and of TCP listens. Raises OSError, of which `refusal` tells the user."""
    sock = unblocking_socket(family_of(ip), kind)
    try:
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        if kind == socket.SOCK_STREAM:
            # Accepted connections inherit these; a relay writes what it reads, and must not wait for more.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            keep_alive(sock)
            sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def refusal(ip: str, port: int, kind: socket.SocketKind, error: OSError) -> SvcdoctorError:
    """Why a socket cannot be bound, for the user; it is looked up who has the port."""
    where = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
    if error.errno == errno.EADDRINUSE:
        owner = port_owner(ip, port, kind)
        return InUse(
            f"cannot listen on {where}: {error.strerror}{f' by {owner}' if owner else ''}; choose another port, or "
            "end the program that listens there"
        )
    advice = {
        errno.EACCES: "choose a port from 1024 on, run as root, or grant the capability CAP_NET_BIND_SERVICE",
        errno.EADDRNOTAVAIL: "choose an address of this machine",
        errno.EMFILE: "let it open more files (ulimit -n)",
    }.get(error.errno or 0, "choose another address")
    return SvcdoctorError(f"cannot listen on {where}: {error.strerror}; {advice}")


class Doors:
    """What the listeners of a process share: whether there is room for clients, and a descriptor in reserve."""

    __slots__ = ("_reserve", "open")

    def __init__(self) -> None:
        self.open = True
        """Clients stay in the kernel's queues while it is not."""
        self._reserve: int | None = None
        self.restore()

    def spend(self) -> None:
        """Make the descriptor free, until `restore`."""
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def restore(self) -> None:
        """Have a descriptor in reserve, if there are any."""
        if self._reserve is None:
            with contextlib.suppress(OSError):
                self._reserve = os.open(os.devnull, os.O_RDONLY)


class Listener:
    """Accepts connections on a non-blocking listening socket, which it owns, and gives each descriptor with its
    client's address to ``accepted``, which owns it. ``doors`` may be shared, and is then not the listener's."""

    __slots__ = (
        *("_accepted", "_doors", "_loop", "_own", "_pause", "_paused_since", "_socket"),
        *("address", "turned_away"),
    )

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        accepted: Callable[[int, Address], None],
        doors: Doors | None = None,
    ) -> None:
        self._loop = loop
        self._socket = sock
        self._accepted = accepted
        self._own = doors is None
        self._doors = doors or Doors()
        self._pause: Timer | None = None
        self._paused_since: float | None = None
        name = sock.getsockname()
        self.address: Address = (name[0], name[1])
        self.turned_away = 0
        """Clients that were reset because no descriptors became free."""
        loop.watch(sock.fileno(), self)

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """Clients wait."""
        if self._pause is None:
            self._accept()

    def retire(self) -> None:
        """Accept who waits by now, and no more: who was told that there is a connection shall have one."""
        while self._accept_some():
            pass
        self.close()

    def close(self) -> None:
        """Accept no more. Clients that were not accepted yet are reset by the kernel."""
        if self._socket.fileno() < 0:
            return
        if self._pause is not None:
            self._pause.cancel()
        with contextlib.suppress(OSError):  # Linux ends the listening with it, now and not after this turn
            self._socket.shutdown(socket.SHUT_RDWR)
        self._loop.close(self._socket.detach())
        if self._own:
            self._doors.spend()

    def pause(self, seconds: float = PAUSE) -> None:
        """Leave clients in the kernel's queue for a while."""
        if self._pause is None:
            self._pause = self._loop.call_later(seconds, self._go_on)

    def _accept(self) -> None:
        if self._accept_some():
            self._loop.call_soon(self._accept)

    def _accept_some(self) -> bool:
        """Accept a batch. Returns whether there may be more."""
        listening = self._socket
        for _ in range(BATCH):
            if listening.fileno() < 0 or self._pause is not None:
                return False  # by what `accepted` did
            if not self._doors.open:
                self.pause()
                return False
            try:
                # What `accept` calls, which makes a socket object for each client: half of the time that this takes.
                fd, peer = listening._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                return False
            except OSError as e:
                if e.errno in _BUG:
                    raise
                if e.errno in _EXHAUSTED:
                    self._exhausted()
                    return False
                continue  # this client went away, or its network did: accept(2), "Error handling"
            self._paused_since = None
            os.set_blocking(fd, False)
            self._accepted(fd, (peer[0], peer[1]))
        return True

    def _go_on(self) -> None:
        self._pause = None
        self._accept()

    def _exhausted(self) -> None:
        """No descriptors: clients wait until some become free, but not for ever."""
        if self._paused_since is None:
            self._paused_since = self._loop.now
        elif self._loop.now - self._paused_since >= PATIENCE:
            self._turn_away()
        self.pause()

    def _turn_away(self) -> None:
        """Reset the clients that wait, one after the other, with the descriptor that was kept for that."""
        self._doors.spend()
        with contextlib.suppress(OSError):
            for _ in range(BACKLOG):
                fd, _peer = self._socket._accept()  # type: ignore[attr-defined]
                reset_at_close(fd)
                os.close(fd)
                self.turned_away += 1
        self._doors.restore()
