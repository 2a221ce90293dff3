"""Probing from this process: sockets of its own network namespace, or of another one of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from svcdoctor.model.observed import Aim, Place, PlaceKind
from svcdoctor.probe.attempts import attempts
from svcdoctor.probe.exchange import SocketStream
from svcdoctor.probe.origin import Order, Tell
from svcdoctor.proxy.descriptors import family_of, unblocking_socket
from svcdoctor.proxy.netns import sockets_of


class Here:
    """An `Origin` and an `Opener`. ``namespace`` is the path of a network namespace (``/proc/PID/ns/net``), which
    takes root; ``place`` says what reports name it."""

    def __init__(self, place: Place | None = None, namespace: Path | None = None) -> None:
        self.place = place or Place(PlaceKind.HERE if namespace is None else PlaceKind.NETNS)
        self._namespace = namespace

    async def observe(self, aims: Sequence[Aim], order: Order, tell: Tell) -> None:
        await attempts(self, aims, order, tell)

    async def connect(self, aim: Aim) -> SocketStream:
        sock = self._socket(aim, socket.SOCK_STREAM)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (aim.ip, aim.port))
        except BaseException:
            sock.close()
            raise
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return SocketStream(sock)

    async def datagrams(self, aim: Aim) -> socket.socket:
        sock = self._socket(aim, socket.SOCK_DGRAM)
        if sys.platform == "linux":
            # Or the kernel would keep all but the port's own refusal to itself: ip(7), ipv6(7).
            level, option = (socket.IPPROTO_IPV6, 25) if ":" in aim.ip else (socket.IPPROTO_IP, 11)
            sock.setsockopt(level, option, 1)
        try:
            sock.connect((aim.ip, aim.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _socket(self, aim: Aim, kind: socket.SocketKind) -> socket.socket:
        if self._namespace is None:
            return unblocking_socket(family_of(aim.ip), kind)
        namespace = self._namespace
        made = sockets_of(lambda: namespace, (family_of(aim.ip),), kind)
        if isinstance(made, OSError):
            raise made
        return made[0]
