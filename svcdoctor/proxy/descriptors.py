"""Making sockets, and what a descriptor of one cannot be asked through `os`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator

_libc = ctypes.CDLL(None, use_errno=True)
_RESET = struct.pack("ii", 1, 0)

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


@contextlib.contextmanager
def borrowed(fd: int) -> Iterator[socket.socket]:
    """The descriptor's socket; it stays open."""
    # The family is not asked for: nothing that it is borrowed for depends on it.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, fd)
    try:
        yield sock
    finally:
        sock.detach()


def end_writing(fd: int) -> None:
    """Send FIN after what was written. Raises OSError where the connection is gone."""
    # By the C library: every connection needs it, and a socket object costs more than the call itself.
    if _libc.shutdown(fd, socket.SHUT_WR):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


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
