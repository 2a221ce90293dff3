"""The direct dialer: connects to an endpoint's address from where svcdoctor itself runs."""

from __future__ import annotations

import errno
import socket

from svcdoctor.proxy.descriptors import family_of, unblocking_socket
from svcdoctor.proxy.dialing import PATIENCE, Connecting, Dialing, Done, Telling, connected_udp
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop


class DirectDialer:
    """Connects to ``ip:port``. A connection that takes longer than ``timeout`` seconds ends in ETIMEDOUT."""

    def __init__(self, loop: Loop, timeout: float = PATIENCE) -> None:
        self._loop = loop
        self._timeout = timeout

    def dial(self, endpoint: Endpoint, done: Done) -> Dialing:
        try:
            sock = _socket(endpoint, socket.SOCK_STREAM)
        except OSError as e:
            return Telling(self._loop, e, done)
        return Connecting(self._loop, sock, (endpoint.ip, endpoint.port), self._timeout, done)

    def dial_udp(self, endpoint: Endpoint, done: Done) -> Dialing:
        try:
            sock = _socket(endpoint, socket.SOCK_DGRAM)
        except OSError as e:
            return Telling(self._loop, e, done)
        return Telling(self._loop, connected_udp(sock, (endpoint.ip, endpoint.port)), done)


def _socket(endpoint: Endpoint, kind: socket.SocketKind) -> socket.socket:
    if not endpoint.ip:  # connected to no address it would be to this machine itself
        raise OSError(errno.EADDRNOTAVAIL, "it has no address yet")
    return unblocking_socket(family_of(endpoint.ip), kind)
