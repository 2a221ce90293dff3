"""Serving one tunnel of port-forward: a client, the connections to a pod's ports, and the bytes between them.

Theory of operation. One thread serves a tunnel, on a loop of its own. Nothing is held without a bound: an
application is read while less than `ENOUGH` of it waits for the client; the client is read while less than
`MOST_HELD` waits for all applications together, since its protocol has one row for all of them (so one that does
not read stops the others, as it does at the real servers).

How a connection ends is the runtime's: see `Sandbox.half_close`.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

from svcdoctor.lab.forwardfaults import ForwardFaults
from svcdoctor.lab.forwardpeers import Peer
from svcdoctor.lab.podsandbox import LocalhostDial, Sandbox, broken_text
from svcdoctor.lab.tunnelwire import BLOCK, Wire
from svcdoctor.proxy.descriptors import end_writing
from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.tunnel.events import Data, Ended, Opened, RemoteEnd, Reset

ENOUGH = 128 << 10
"""Bytes of one application that may wait for the client."""

MOST_HELD = 1 << 20
"""Bytes of the client that may wait for applications."""

GRACE = 1.0
"""Seconds that a connection lasts when one direction has ended, with a runtime that does not pass that on."""


class Tunnel:
    """One client's tunnel to one pod. ``gone`` says whether the runtime has forgotten the sandbox by now."""

    def __init__(
        self,
        connection: socket.socket,
        peer: Peer,
        sandbox: Sandbox,
        gone: Callable[[], bool],
        faults: ForwardFaults,
    ) -> None:
        self.loop = Loop()
        self.peer = peer
        self.sandbox = sandbox
        self.held = 0
        self._gone = gone
        self._faults = faults
        self._forwards: dict[int, Forward] = {}
        self._stalled: dict[Forward, None] = {}
        self._wire = Wire(
            self.loop,
            connection,
            take=self._take,
            give=peer.outgoing,
            sent=self._sent,
            deaf=lambda: faults.deaf or self.held > MOST_HELD,
            latency=faults.latency,
        )

    def run(self, ahead: bytes) -> None:
        """Serve until the tunnel ends; ``ahead`` is what the client has sent already."""
        self._faults.join(self._wake)
        try:
            for event in self.peer.begin():
                self._on(event)
            self._wire.start(ahead)
            self._wire.write_soon()
            self.loop.run()
        finally:
            self._faults.leave(self._wake)
            for forward in [*self._forwards.values()]:
                forward.cancel()
            self.loop.free()

    # what forwards use

    def flush(self) -> None:
        """There is something to send."""
        self._wire.write_soon()

    def stall(self, forward: Forward) -> None:
        """Tell the forward to go on when all is sent."""
        self._stalled[forward] = None

    def release(self, count: int) -> None:
        """Applications took bytes."""
        was_full = self.held > MOST_HELD
        self.held -= count
        if was_full and self.held <= MOST_HELD:
            self.loop.call_soon(self._wire.read)

    def forget(self, forward: Forward) -> None:
        """The forward has ended."""
        self._stalled.pop(forward, None)
        if self._forwards.get(forward.handle) is forward:
            del self._forwards[forward.handle]

    # what happens

    def _wake(self) -> None:
        self.loop.call_soon_threadsafe(self._wire.read)

    def _take(self, data: bytes) -> None:
        for event in self.peer.receive(data) if data else self.peer.receive_end():
            self._on(event)
        if not data:
            self.loop.stop()
        self._wire.write_soon()

    def _on(self, event: object) -> None:
        match event:
            case Opened(handle, port):
                self._forwards[handle] = forward = Forward(self, handle, port)
                forward.start(self._gone())
            case Data(handle, data):
                if (known := self._forwards.get(handle)) is not None:
                    known.take(data)
            case RemoteEnd(handle):
                if (known := self._forwards.get(handle)) is not None:
                    known.client_ended()
            case Reset(handle):
                if (known := self._forwards.get(handle)) is not None:
                    known.cancel()
            case Ended():
                for forward in [*self._forwards.values()]:
                    forward.cancel()

    def _sent(self) -> None:
        if self.peer.over:
            self.loop.stop()
            return
        stalled, self._stalled = self._stalled, {}
        for forward in stalled:
            forward.go_on()


class Forward:
    """One connection to a port of the pod."""

    __slots__ = (
        *("_dial", "_error", "_fd", "_finishing", "_in_over", "_out_over", "_port", "_short_is_all"),
        *("_timer", "_tunnel", "_waiting", "_wants_end", "handle"),
    )

    def __init__(self, tunnel: Tunnel, handle: int, port: int) -> None:
        self._tunnel = tunnel
        self.handle = handle
        self._port = port
        self._dial: LocalhostDial | None = None
        self._fd = -1
        self._waiting = bytearray()  # the client's bytes that the application has not taken
        self._wants_end = False  # the client has sent its last byte
        self._in_over = self._out_over = False  # client to application, application to client
        self._error = ""
        self._timer: Timer | None = None
        self._finishing = False
        self._short_is_all = True  # whether a short read means that there is no more

    def start(self, gone: bool) -> None:
        """Connect; with ``gone`` it fails."""
        tunnel = self._tunnel
        if gone:
            text = f'failed to find sandbox "{tunnel.sandbox.id}" in store: not found'
            tunnel.loop.call_soon(lambda: self._dialed(text))
        else:
            self._dial = LocalhostDial(tunnel.loop, tunnel.sandbox, self._port, self._dialed)

    def take(self, data: bytes) -> None:
        """Bytes of the client."""
        if self._in_over:
            return
        self._tunnel.held += len(data)
        self._waiting += data
        if self._fd >= 0 and len(self._waiting) == len(data):
            self._flush()

    def client_ended(self) -> None:
        """The client has sent its last byte."""
        self._wants_end = True
        if self._fd >= 0 and not self._waiting and not self._in_over:
            self._over(incoming=True)

    def cancel(self) -> None:
        """End at once, without a word to the client."""
        if self._dial is not None:
            self._dial.cancel()
        self._close()
        self._tunnel.forget(self)

    def go_on(self) -> None:
        """What was begun before everything was sent."""
        if self._finishing:
            self._finish()
        elif self._out_over:
            self._tell_end()
        else:
            self._pump()

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        """Move what can be moved now."""
        if writable and self._waiting:
            self._flush()
        if hangup:
            self._short_is_all = False
        if readable or hangup:
            self._pump()

    def _dialed(self, result: int | str) -> None:
        self._dial = None
        if isinstance(result, str):
            self._error = result
            self._finish()
            return
        self._fd = result
        self._tunnel.loop.watch(result, self)
        if self._waiting:
            self._flush()
        elif self._wants_end:
            self._over(incoming=True)

    def _flush(self) -> None:
        """Write what waits for the application."""
        while self._waiting and self._fd >= 0:
            try:
                with memoryview(self._waiting) as view, view[:BLOCK] as piece:
                    count = os.write(self._fd, piece)
            except BlockingIOError:
                return
            except OSError as e:
                self._over(incoming=True, error=e)
                return
            del self._waiting[:count]
            self._tunnel.release(count)
        if self._wants_end and not self._in_over:
            self._over(incoming=True)

    def _pump(self) -> None:
        """Read from the application until there is no more, or enough waits for the client."""
        tunnel = self._tunnel
        while self._fd >= 0 and not self._out_over:
            if tunnel.peer.pending(self.handle) >= ENOUGH:
                tunnel.stall(self)
                return
            try:
                data = os.read(self._fd, BLOCK)
            except BlockingIOError:
                return
            except OSError as e:
                self._over(incoming=False, error=e)
                return
            if not data:
                self._over(incoming=False)
                return
            tunnel.peer.send(self.handle, data)
            tunnel.flush()
            if len(data) < BLOCK and self._short_is_all:
                return

    def _over(self, *, incoming: bool, error: OSError | None = None) -> None:
        """One direction has ended."""
        tunnel = self._tunnel
        if incoming:
            self._in_over = True
            self._drop_waiting()
        else:
            self._out_over = True
        if error is not None and not self._error:
            what = "write" if incoming else "read"
            self._error = broken_text(tunnel.sandbox, self._fd, self._port, what, error)
        passes_on = tunnel.sandbox.half_close
        if (self._in_over and self._out_over) or (passes_on and self._error):
            self._finish()
        elif not passes_on:
            self._timer = tunnel.loop.call_later(GRACE, self._finish)
        elif not incoming:
            self._tell_end()
        else:
            try:
                end_writing(self._fd)
            except OSError as e:
                self._over(incoming=True, error=e)

    def _tell_end(self) -> None:
        """Tell the client the application's end when it has been sent everything."""
        tunnel = self._tunnel
        if tunnel.peer.pending(self.handle):
            tunnel.stall(self)
        else:
            tunnel.peer.end(self.handle)
        tunnel.flush()

    def _finish(self) -> None:
        """Close the connection, and tell the client when it has been sent everything."""
        tunnel = self._tunnel
        self._finishing = True
        self._close()
        if tunnel.peer.pending(self.handle):
            tunnel.stall(self)
        elif self._error:
            sandbox = tunnel.sandbox.id
            text = f"error forwarding port {self._port} to pod {sandbox}, uid : {self._error}"
            tunnel.peer.fail(self.handle, text)
            tunnel.forget(self)
        else:
            tunnel.peer.end(self.handle)
            tunnel.forget(self)
        tunnel.flush()

    def _close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._in_over = self._out_over = True
        self._drop_waiting()
        if self._fd >= 0:
            self._tunnel.loop.close(self._fd)
            self._fd = -1

    def _drop_waiting(self) -> None:
        count = len(self._waiting)
        self._waiting.clear()
        if count:
            self._tunnel.release(count)
