"""Making sockets, and what a descriptor of one cannot be asked through `os`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import sys
from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_libc.send.restype = ctypes.c_ssize_t
_libc.send.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_RESET = struct.pack("ii", 1, 0)
_MORE = getattr(socket, "MSG_MORE", 0)

KEEP_ALIVE_SECONDS = 60
"""Of silence before a peer is asked; unanswered questions are repeated as the system has it."""

_KEEPIDLE: int = getattr(socket, "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE")

# Linux makes a socket non-blocking in the same call.
_UNBLOCKING = getattr(socket, "SOCK_NONBLOCK", 0)


def family_of(ip: str) -> socket.AddressFamily:
    """The family of an IP address."""
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def unblocking_socket(family: socket.AddressFamily, kind: socket.SocketKind) -> socket.socket:
    """A non-blocking socket. Raises OSError."""
    sock = socket.socket(family, kind | _UNBLOCKING)
    if not _UNBLOCKING:
        sock.setblocking(False)
    return sock


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel ask a peer that is silent whether it is still there, and end the connection where it is not: a
    peer that vanished would hold it for ever."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _KEEPIDLE, KEEP_ALIVE_SECONDS)


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """The descriptor's socket; it stays open."""
    # The family is not asked for: nothing that it is borrowed for depends on it.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        yield sock
    finally:
        sock.detach()


@contextlib.contextmanager
def whole_socket(fd: int) -> Iterator[socket.socket]:
    """`borrowed` for what depends on the family: addresses. Asking the kernel for it takes longer."""
    sock = socket.socket(fileno=fd)
    try:
        yield sock
    finally:
        sock.detach()


def local_address(fd: int) -> tuple[str, int]:
    """The IP address and port of the descriptor's own end."""
    with whole_socket(fd) as sock:
        name = sock.getsockname()
        return name[0], name[1]


def end_writing(fd: int) -> None:
    """Send FIN after what was written. Raises OSError where the connection is gone."""
    # By the C library: every connection needs it, and a socket object costs more than the call itself.
    if _libc.shutdown(fd, socket.SHUT_WR):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def write_before_end(fd: int, address: int, count: int) -> int:
    """Write ``count`` bytes from memory to a socket; the FIN that `end_writing` sends next goes with them in one
    segment, where the system can (MSG_MORE, send(2)). Returns the bytes that were taken. Raises OSError."""
    taken: int = _libc.send(fd, address, count, _MORE)
    if taken < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return taken


def reset_at_close(fd: int) -> None:
    """Let close(2) send RST and drop what was not sent (SO_LINGER of 0 seconds, socket(7))."""
    # macOS refuses it where the peer has gone already.
    with borrowed(fd) as sock, contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def error_of(fd: int) -> OSError | None:
    """The error that the kernel holds for the connection (SO_ERROR), which forgets it."""
    with borrowed(fd) as sock:
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(number, os.strerror(number)) if number else None
