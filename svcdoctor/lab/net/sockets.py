"""Sockets of other network namespaces, held by this process: a thread enters the namespace and makes them."""

from __future__ import annotations

import ctypes
import os
import socket
import threading

CLONE_NEWNET = 0x40000000


def socket_in(
    pid: int,
    family: socket.AddressFamily,
    kind: socket.SocketKind,
    address: str,
    port: int,
    *,
    listening: bool = True,
) -> socket.socket:
    """A bound socket of the network namespace that process ``pid`` is in; a stream socket listens unless it shall not.

    Raises OSError.
    """
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
            try:
                if libc.setns(fd, CLONE_NEWNET):  # of this thread only, and it ends here
                    raise OSError(ctypes.get_errno(), "setns")
            finally:
                os.close(fd)
            new = socket.socket(family, kind)
            if family == socket.AF_INET6:
                new.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            new.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            new.bind((address, port))
            if listening and kind == socket.SOCK_STREAM:
                new.listen(64)
            made.append(new)
        except OSError as e:
            failed.append(e)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
