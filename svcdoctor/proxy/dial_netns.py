"""The namespace dialer: connects to a pod's own localhost from its node, as container runtimes do for port-forward.

It needs no route to the pod, no policy lets or stops it, and it reaches applications that listen on localhost only.
containerd and CRI-O enter the pod's namespace and dial ``localhost``, IPv4 and then IPv6; unlike theirs, these
connections pass a half-close on.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.descriptors import family_of
from svcdoctor.proxy.dialing import PATIENCE, Connecting, Dialed, Dialing, Done, connected_udp
from svcdoctor.proxy.endpoint import Endpoint
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.netns import SUPPORTED, Made, SocketMaker

LOCALHOST = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

Find = Callable[[str, str], Path]
"""From a pod's namespace and name to the path of its network namespace; raises SvcdoctorError. `PodFinder.namespace`
is one. Called on another thread."""


class NamespaceDialer:
    """Connects to ports of pods on this node. ``timeout`` is in seconds, for each address. `close` ends its thread.

    Raises SvcdoctorError on systems that have no network namespaces.
    """

    def __init__(self, loop: Loop, find: Find, timeout: float = PATIENCE) -> None:
        if not SUPPORTED:
            raise SvcdoctorError("network namespaces need Linux; use --dial tunnel")
        self._loop = loop
        self._find = find
        self._timeout = timeout
        self._maker = SocketMaker()

    def dial(self, endpoint: Endpoint, done: Done) -> Dialing:
        dialing = _InNamespace(self._loop, endpoint.port, self._timeout, done)
        self._order(endpoint, tuple(LOCALHOST), socket.SOCK_STREAM, dialing.made)
        return dialing

    def dial_udp(self, endpoint: Endpoint, done: Done) -> Dialing:
        """To the pod's own address, from inside: nothing tells which one of localhost's a UDP server listens on."""
        dialing = _DatagramsInNamespace(self._loop, endpoint, done)
        self._order(endpoint, (family_of(endpoint.ip),), socket.SOCK_DGRAM, dialing.made)
        return dialing

    def close(self) -> None:
        self._maker.close()

    def _order(
        self,
        endpoint: Endpoint,
        families: tuple[socket.AddressFamily, ...],
        kind: socket.SocketKind,
        made: Callable[[Made], None],
    ) -> None:
        def find() -> Path:
            try:
                return self._find(endpoint.namespace, endpoint.pod)
            except SvcdoctorError as e:
                raise OSError(errno.ESRCH, e.message) from None

        def told(sockets: Made) -> None:
            if isinstance(sockets, OSError) and sockets.errno == errno.EPERM:
                sockets = OSError(
                    errno.EPERM, "entering the pod's network namespace needs root (CAP_SYS_ADMIN)"
                )
            self._loop.call_soon_threadsafe(lambda: made(sockets))

        self._maker.order(find, families, kind, told)


class _InNamespace:
    """A `Dialing`: sockets from the thread, then one address after the other."""

    def __init__(self, loop: Loop, port: int, timeout: float, done: Done) -> None:
        self._loop = loop
        self._port = port
        self._timeout = timeout
        self._done: Done | None = done
        self._sockets: list[socket.socket] = []
        self._connecting: Connecting | None = None
        self._errors: list[OSError] = []

    def made(self, sockets: Made) -> None:
        if isinstance(sockets, OSError):
            self._tell(sockets)
            return
        self._sockets = sockets
        if self._done is None:
            self.cancel()
        else:
            self._try_next()

    def cancel(self) -> None:
        self._done = None
        for sock in self._sockets:
            sock.close()
        self._sockets = []
        if self._connecting is not None:
            self._connecting.cancel()

    def _try_next(self) -> None:
        sock = self._sockets.pop(0)
        host = LOCALHOST[sock.family]

        def connected(result: Dialed) -> None:
            if isinstance(result, int):
                self._tell(result)
                return
            where = f"[{host}]" if ":" in host else host
            self._errors.append(OSError(result.errno, f"{where}:{self._port} in the pod: {result.strerror}"))
            if self._sockets:
                self._try_next()
            else:
                text = "; ".join(str(e.strerror) for e in self._errors)
                self._tell(OSError(self._errors[0].errno, text))

        self._connecting = Connecting(self._loop, sock, (host, self._port), self._timeout, connected)

    def _tell(self, result: Dialed) -> None:
        done, self._done = self._done, None
        left, self._sockets = self._sockets, []
        for sock in left:
            sock.close()
        if done is not None:
            done(result)


class _DatagramsInNamespace:
    """A `Dialing` of UDP."""

    def __init__(self, loop: Loop, endpoint: Endpoint, done: Done) -> None:
        self._loop = loop
        self._endpoint = endpoint
        self._done: Done | None = done

    def made(self, sockets: Made) -> None:
        done, self._done = self._done, None
        if isinstance(sockets, OSError):
            if done is not None:
                done(sockets)
            return
        (sock,) = sockets
        if done is None:
            sock.close()
        else:
            done(connected_udp(sock, (self._endpoint.ip, self._endpoint.port)))

    def cancel(self) -> None:
        self._done = None
