"""One local port on several addresses."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.arguments import ListenAddress
from svcdoctor.proxy.listener import Address, InUse, bound_socket, listening_socket

TRIES = 8
"""Ports that are tried where any is wanted: one that is free in one family may be somebody's in the other."""


def bound_addresses(sockets: Sequence[socket.socket]) -> tuple[Address, ...]:
    """The addresses and ports that they are bound to."""
    return tuple(sock.getsockname()[:2] for sock in sockets)


def local_sockets(
    addresses: Sequence[ListenAddress],
    port: int,
    in_use: Callable[[InUse], None],
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> list[socket.socket]:
    """Non-blocking sockets that are bound to the port on each address, and of TCP that listen; port 0 takes one that
    is free. ``in_use`` is told where one that is not required is somebody else's: clients of localhost may reach that.

    Raises SvcdoctorError where one that is required cannot be had, or none at all.
    """
    for attempt in range(TRIES):
        sockets, failures = _bound(addresses, port, kind)
        taken = any(isinstance(failure, InUse) for failure in failures)
        if port or not taken or attempt == TRIES - 1:
            break
        for sock in sockets:  # what was free in one family was not in the other
            sock.close()
    if not sockets or (failures and any(a.required for a in addresses)):
        for sock in sockets:
            sock.close()
        raise failures[0]
    for failure in failures:
        if isinstance(failure, InUse):
            in_use(failure)
    return sockets


def _bound(
    addresses: Sequence[ListenAddress], port: int, kind: socket.SocketKind
) -> tuple[list[socket.socket], list[SvcdoctorError]]:
    """The sockets that could be had, and why others could not."""
    sockets: list[socket.socket] = []
    failures: list[SvcdoctorError] = []
    for address in addresses:
        try:
            # The second family takes the port that was free in the first.
            wanted = port or (sockets[0].getsockname()[1] if sockets else 0)
            udp = kind == socket.SOCK_DGRAM
            made = bound_socket(address.ip, wanted, kind) if udp else listening_socket(address.ip, wanted)
            sockets.append(made)
        except SvcdoctorError as e:
            failures.append(e)
            if address.required:
                break
    return sockets, failures
