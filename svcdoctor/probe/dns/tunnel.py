"""DNS over TCP through the API server's port-forward to one of cluster DNS's pods.

It shows what CoreDNS answers, whoever can or cannot reach it: the API server connects to port 53 inside the pod, so
neither the Service, its rules nor policies are on the way, and UDP cannot be tried.
"""

from __future__ import annotations

import contextlib
import select
import ssl
import time

from svcdoctor.probe.dns.asking import Server
from svcdoctor.sources.forwarding import Carrier, ForwardOpener
from svcdoctor.sources.session import ApiSession
from svcdoctor.tunnel.errors import TunnelError
from svcdoctor.tunnel.events import Data, DialFailed, Ended, Event, RemoteEnd, Reset, StreamError

PERMISSIONS = (
    "verbs get and create on pods/portforward, and list on pods and endpointslices, in namespace {namespace}"
)
_CHUNK = 1 << 16
_OPEN_SECONDS = 15.0


def through_tunnel(session: ApiSession, namespace: str, pod: str, port: int) -> Server:
    """The server that is a pod behind the tunnel. Asking it raises SvcdoctorError where no tunnel can be had."""
    opener = ForwardOpener(session)

    def dial(seconds: float) -> TunnelStream:
        return TunnelStream(opener.open(namespace, pod, port, _OPEN_SECONDS), port)

    return Server(f"pod/{namespace}/{pod}", port, dial)


class TunnelStream:
    """One forward on a carrier of its own, blocking."""

    def __init__(self, carrier: Carrier, port: int) -> None:
        self._socket = carrier.connection
        self._client = carrier.client
        self._data = bytearray()
        self._over: Exception | None = None
        self._handle = -1
        try:
            self._handle = self._client.open(port)
            self._take(self._client.receive(carrier.received))
        except TunnelError as e:
            self._over = ConnectionResetError(None, str(e))

    def send(self, data: bytes, end: float) -> None:
        """As `Stream.send`."""
        self._check()
        self._client.send(self._handle, data)
        self._flush(end)

    def receive(self, count: int, end: float) -> bytes:
        """As `Stream.receive`."""
        while len(self._data) < count:
            self._check()
            self._flush(end)
            self._read(end)
        found = bytes(self._data[:count])
        del self._data[:count]
        return found

    def close(self) -> None:
        """End the carrier too."""
        with contextlib.suppress(OSError, TunnelError):
            self._client.close()
            self._flush(time.monotonic() + 1)
        self._socket.close()

    def _check(self) -> None:
        if self._over is not None:
            raise self._over

    def _flush(self, end: float) -> None:
        while waiting := memoryview(self._client.outgoing()):
            while waiting:
                try:
                    waiting = waiting[self._socket.send(waiting) :]
                except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                    self._wait(end, write=True)

    def _read(self, end: float) -> None:
        try:
            data = self._socket.recv(_CHUNK)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self._wait(end, write=False)
            return
        self._take(self._client.receive(data) if data else self._client.receive_end())

    def _wait(self, end: float, *, write: bool) -> None:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        ends = [self._socket]
        select.select(ends, ends if write else [], [], left)

    def _take(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case Data(_, data):
                    self._data += data
                case RemoteEnd():
                    self._over = EOFError()
                case DialFailed(_, port, reason) | StreamError(_, port, reason):
                    self._over = ConnectionRefusedError(None, f"port {port} in the pod: {reason.value}")
                case Reset():
                    self._over = ConnectionResetError(None, "the forward was cut")
                case Ended(error):
                    why = str(error) if error is not None else "the API server ended the session"
                    self._over = self._over or ConnectionResetError(None, why)
                case _:
                    pass
