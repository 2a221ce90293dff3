"""Sockets of other network namespaces, made by a thread of its own.

A socket stays in the namespace that it was created in (network_namespaces(7)). The thread enters the namespace,
creates the socket and goes back; no other thread ever leaves its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from svcdoctor.proxy.descriptors import unblocking_socket

CLONE_NEWNET = 0x40000000

Made = list[socket.socket] | OSError
_Job = Callable[[], None]

SUPPORTED = sys.platform == "linux"

_libc = ctypes.CDLL(None, use_errno=True)


def setns(fd: int) -> None:
    """Put this thread into a network namespace (setns(2)). Raises OSError; needs CAP_SYS_ADMIN."""
    if sys.version_info >= (3, 12):
        os.setns(fd, CLONE_NEWNET)
    elif _libc.setns(fd, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class SocketMaker:
    """The thread. It begins with the first order and ends with `close`."""

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def order(
        self,
        find: Callable[[], Path],
        families: tuple[socket.AddressFamily, ...],
        kind: socket.SocketKind,
        made: Callable[[Made], None],
    ) -> None:
        """One non-blocking socket of each family in the namespace that ``find`` gives, or the error; ``find`` and
        ``made`` are called on the thread. Families that the kernel does not have are left out."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="netns-sockets", daemon=True)
            self._thread.start()
        self._orders.put(lambda: made(sockets_of(find, families, kind)))

    def close(self) -> None:
        """Wait until what was ordered is made, and end."""
        if self._thread is not None:
            self._orders.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while job := self._orders.get():
            job()


def sockets_of(
    find: Callable[[], Path], families: tuple[socket.AddressFamily, ...], kind: socket.SocketKind
) -> Made:
    """As `SocketMaker.order`, on the thread that calls, which leaves its namespace for the time being."""
    try:
        path = find()
        with contextlib.ExitStack() as stack:
            own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, own)
            other = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, other)
            if not os.path.sameopenfile(own, other):  # a host-network pod's is our own
                setns(own)  # who may not do this could leave and not come back
                setns(other)
                stack.callback(setns, own)
            return _sockets(families, kind)
    except OSError as e:
        return e


def _sockets(families: tuple[socket.AddressFamily, ...], kind: socket.SocketKind) -> Made:
    made: list[socket.socket] = []
    refused = OSError()
    for family in families:
        try:
            made.append(unblocking_socket(family, kind))
        except OSError as e:
            refused = e
    return made or refused
