"""Probing through the API server's port-forward: what answers on the pod's localhost.

Theory. The tunnels and their loop are those that `forward` uses; the loop runs on a thread, and what it tells goes to
the probe's own loop. A forward has no answer to say that the application took the connection, only errors where it
did not. So a connection counts as made when the application's first bytes come, or when no error came for a while;
a probe that asks something (HTTP, TLS) does not rest on that.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.observed import Aim, Met, Place, PlaceKind, ProbeKind
from svcdoctor.probe.attempts import attempts
from svcdoctor.probe.failing import Failed
from svcdoctor.probe.origin import Order, Tell
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.tunnel import Failure, Tunnel
from svcdoctor.proxy.tunnels import Open, Tunnels
from svcdoctor.tunnel.events import DialFailed, StreamError
from svcdoctor.tunnel.failures import Reason

GRACE = 0.5
"""Seconds without an error after which a connection counts as made, where the probe is for nothing else."""

_ENDING = 0.5  # seconds
_BUFFERED = 256 << 10  # bytes from a pod that wait for the probe, before its tunnel is held

_MET = {
    Reason.REFUSED: Met.REFUSED,
    Reason.UNREACHABLE: Met.UNREACHABLE,
    Reason.TIMEOUT: Met.TIMEOUT,
    Reason.CUT: Met.RESET,
}


class Tunnelled:
    """An `Origin`. ``open_carrier`` is ``ForwardOpener.open``; aims name their pods."""

    place = Place(PlaceKind.TUNNEL)

    def __init__(self, open_carrier: Open) -> None:
        self._open_carrier = open_carrier

    async def observe(self, aims: Sequence[Aim], order: Order, tell: Tell) -> None:
        if any(aim.kind is ProbeKind.UDP for aim in aims):
            raise SvcdoctorError("port-forward carries TCP only: probe UDP from a pod or a node")
        loop = Loop()
        tunnels = Tunnels(loop, self._open_carrier, lambda pod, why: None)
        thread = threading.Thread(target=_run, args=(loop,), name="probe-tunnels", daemon=True)
        thread.start()
        try:
            await attempts(_Opener(loop, tunnels), aims, order, tell)
        finally:
            loop.call_soon_threadsafe(lambda: _end(loop, tunnels))
            # A tunnel that is just being opened is ended when it is there; nobody waits for that.
            thread.join(_ENDING)


def _run(loop: Loop) -> None:
    loop.run()
    loop.free()


def _end(loop: Loop, tunnels: Tunnels) -> None:
    tunnels.close()
    if tunnels.opening:
        loop.call_later(_ENDING / 10, lambda: _end(loop, tunnels))
    else:
        loop.stop()


class _Opener:
    """Opens forwards as an `Opener`."""

    def __init__(self, loop: Loop, tunnels: Tunnels) -> None:
        self._loop = loop
        self._tunnels = tunnels

    async def connect(self, aim: Aim) -> _Forward:
        namespace, _, name = aim.pod.partition("/")
        if not name:
            raise Failed(
                Met.ERROR, "the tunnel leads to pods only, and this address is not known to be one's"
            )
        forward = _Forward(self._loop, aim.port)
        self._loop.call_soon_threadsafe(lambda: self._tunnels.take(namespace, name, aim.port, forward.given))
        try:
            await forward.opened(GRACE if aim.kind is ProbeKind.TCP else 0.0)
        except BaseException:
            forward.close()
            raise
        return forward

    async def datagrams(self, aim: Aim) -> socket.socket:
        raise Failed(Met.ERROR, "port-forward carries TCP only")


class _Forward:
    """One forward: a `Stream` on the probe's loop, a `LocalEnd` on the tunnels'."""

    def __init__(self, loop: Loop, port: int) -> None:
        self._loop = loop
        self._port = port
        self._own = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._open = False
        self._waiting = bytearray()
        self._ended = False
        self._failed: Failed | None = None
        self._room = True
        self._closed = False
        # Of the tunnels' loop:
        self._tunnel: Tunnel | None = None
        self._handle = 0
        self._held = False
        self._over = False

    # --- on the probe's loop

    async def opened(self, grace: float) -> None:
        """Wait until the tunnel takes the forward, and so long for an error. Raises `Failed`."""
        await self._until(lambda: self._open)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._until(lambda: bool(self._waiting) or self._ended)

    async def receive(self) -> bytes:
        await self._until(lambda: bool(self._waiting) or self._ended)
        data, self._waiting = bytes(self._waiting), bytearray()
        self._loop.call_soon_threadsafe(lambda: self._hold(False))
        return data

    async def send(self, data: bytes) -> None:
        self._room = False
        self._loop.call_soon_threadsafe(lambda: self._send(data))
        await self._until(lambda: self._room or self._ended)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon_threadsafe(self._reset)

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            if self._failed is not None:
                raise self._failed.with_traceback(None)
            self._changed.clear()
            await self._changed.wait()

    def _tell(self, change: Callable[[], None]) -> None:
        """Change something on the probe's loop."""

        def do() -> None:
            change()
            self._changed.set()

        with contextlib.suppress(RuntimeError):  # it was interrupted, and is closed
            self._own.call_soon_threadsafe(do)

    # --- on the tunnels' loop

    def given(self, tunnel: Tunnel | SvcdoctorError) -> None:
        """The tunnel is there, or not."""
        if isinstance(tunnel, SvcdoctorError):
            self._fail(Failed(Met.ERROR, tunnel.message))
            return
        if self._over:
            return
        self._tunnel = tunnel
        self._handle = tunnel.open(self._port, self)
        self._tell(lambda: setattr(self, "_open", True))

    def on_data(self, data: bytes) -> None:
        self._tell(lambda: self._waiting.extend(data))
        if len(self._waiting) > _BUFFERED:
            self._hold(True)

    def on_end(self) -> None:
        self._over = True
        self._tell(lambda: setattr(self, "_ended", True))

    def on_failure(self, failure: Failure, why: str) -> None:
        self._over = True
        met = Met.RESET
        if isinstance(failure, DialFailed | StreamError):
            met = _MET.get(failure.reason, Met.ERROR)
        self._fail(Failed(met, why))

    def on_room(self) -> None:
        self._tell(lambda: setattr(self, "_room", True))

    def _fail(self, failed: Failed) -> None:
        self._tell(lambda: setattr(self, "_failed", failed))

    def _send(self, data: bytes) -> None:
        if self._tunnel is not None and not self._over and self._tunnel.send(self._handle, data):
            self.on_room()

    def _hold(self, held: bool) -> None:
        if self._tunnel is not None and not self._over and self._held is not held:
            self._held = held
            self._tunnel.hold(self._handle, held)

    def _reset(self) -> None:
        if self._tunnel is not None and not self._over:
            self._tunnel.reset(self._handle)
        self._over = True
