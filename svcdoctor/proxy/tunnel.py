"""One connection to the API server that carries forwards to a pod, on the loop.

Theory of operation. The client of the protocol is pure; this moves its bytes. What several forwards want to send in
one turn of the loop goes out in one write: a new forward with its first bytes is one segment. A forward whose local
side takes no more holds the whole connection once a cap of bytes waits for it, because the protocol has no window
for a single stream; the others go on over other tunnels. A connection that is silent although it was asked is over.

What may live here: bytes, pings, and which forward an event is for. Which pod, which tunnel: ``tunnels``.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Sequence
from typing import Protocol

from svcdoctor.proxy.loop import Loop, Timer
from svcdoctor.sources.forwarding import Carrier, Way
from svcdoctor.tunnel.errors import TunnelError
from svcdoctor.tunnel.events import (
    Data,
    DialFailed,
    Ended,
    Event,
    GoingAway,
    Opened,
    Pong,
    RemoteEnd,
    Reset,
    StreamError,
)
from svcdoctor.tunnel.failures import Reason

READ = 256 << 10
"""Bytes that are read at once."""

ROUNDS = 16
"""Reads before others have their turn."""

MOST_PENDING = 256 << 10
"""Bytes of a forward that may wait to be sent; its local side is not read while there are more."""

PING_SECONDS = 10.0
SILENCE_SECONDS = 30.0
"""Without any byte for so long, though pings were sent, the connection is over."""

_GONE = {Reason.NO_SANDBOX, Reason.NO_NAMESPACE}

Failure = DialFailed | StreamError | Reset


class LocalEnd(Protocol):
    """The local side of a forward."""

    def on_data(self, data: bytes) -> None:
        """Bytes came from the pod."""

    def on_end(self) -> None:
        """The pod has sent its last byte, and all is well. Nothing else follows."""

    def on_failure(self, failure: Failure, why: str) -> None:
        """The forward is over. Nothing else follows."""

    def on_room(self) -> None:
        """What waited to be sent is less than `MOST_PENDING` again."""


class Tunnel:
    """A carrier in use. ``over`` is called once, with what ended it where that was not orderly."""

    def __init__(self, loop: Loop, carrier: Carrier, over: Callable[[Tunnel, str], None]) -> None:
        self.way = carrier.way
        self._loop = loop
        self._socket = carrier.connection
        self._client = carrier.client
        self._over: Callable[[Tunnel, str], None] | None = over
        self._ends: dict[int, LocalEnd] = {}
        self._holders: set[int] = set()
        self._full: set[int] = set()  # forwards whose local side waits for room
        self._out = memoryview(b"")
        self._blocked = self._flushing = self._reading = False
        self._heard = loop.now
        self._asked = False  # a ping was sent since
        self._stale = False  # it leads to a pod that is gone, even where another one has its name by now
        self._timer: Timer = loop.call_later(PING_SECONDS, self._keep_alive)
        loop.watch(self._socket.fileno(), self)
        if carrier.received:
            loop.call_soon(lambda: self._take(carrier.received))

    @property
    def closed(self) -> bool:
        return self._over is None

    @property
    def accepts(self) -> bool:
        """Whether it takes another forward, and is not held by one."""
        return not (self.closed or self._holders or self._stale) and self._client.accepts

    @property
    def live(self) -> int:
        """Forwards that are not over."""
        return len(self._ends)

    # --- forwards

    def open(self, port: int, end: LocalEnd) -> int:
        """Begin a forward; its handle. Raises TunnelError where `accepts` is false."""
        handle = self._client.open(port)
        self._ends[handle] = end
        self._flush_soon()
        return handle

    def send(self, handle: int, data: bytes | memoryview) -> bool:
        """Send bytes. Returns whether there is room for more: if not, `on_room` is called when there is."""
        self._client.send(handle, data)
        self._flush_soon()
        if self._client.pending(handle) < MOST_PENDING:
            return True
        self._full.add(handle)
        return False

    def half_close(self, handle: int) -> None:
        """The local side has sent its last byte."""
        self._client.half_close(handle)
        self._flush_soon()

    def reset(self, handle: int) -> None:
        """Drop a forward; nothing of it follows. Nothing happens where it is over."""
        if self._ends.pop(handle, None) is None:
            return
        self._client.reset(handle)
        self._forget(handle)
        self._flush_soon()
        if self.way is Way.CHANNELS:  # there is no other way to tell
            self._loop.call_soon(self.close)

    def hold(self, handle: int, held: bool) -> None:
        """Read no more for a forward that cannot take it, or go on."""
        if held:
            self._holders.add(handle)
        elif handle in self._holders:
            self._holders.discard(handle)
            if not self._holders:
                self._loop.call_soon(self._read)

    def close(self) -> None:
        """End it, and what is left of its forwards as resets."""
        if not self.closed:
            self._client.close()
            self._flush()
            self._end("")

    # --- the connection

    def on_event(self, readable: int, writable: int, hangup: int) -> None:
        # TLS may have to write before it can read, and the other way round.
        if self._blocked:
            self._blocked = False
            self._flush()
        self._read()

    def _read(self) -> None:
        for _ in range(ROUNDS):
            if self.closed or self._holders:
                return
            try:
                data = self._socket.recv(READ)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except OSError as e:
                self._end(f"the connection to the API server failed: {e.strerror or e}")
                return
            if not data:
                self._dispatch(self._client.receive_end())
                self._end("the API server ended the connection")
                return
            self._take(data)
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        self._reading = False
        self._read()

    def _take(self, data: bytes) -> None:
        if not self.closed:
            self._heard = self._loop.now
            self._asked = False
            self._dispatch(self._client.receive(data))
            self._flush_soon()

    def _dispatch(self, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case Data(handle, data):
                    end = self._ends.get(handle)
                    if end is not None:
                        end.on_data(data)
                case RemoteEnd(handle):
                    end = self._ends.pop(handle, None)
                    if end is not None:
                        self._forget(handle)
                        end.on_end()
                case DialFailed(handle, port, reason):
                    self._stale |= reason in _GONE
                    self._fail(handle, event, f"port {port} in the pod: {reason.value}")
                case StreamError(handle, port, reason):
                    self._fail(handle, event, f"port {port} in the pod: {reason.value}")
                case Reset(handle, refused):
                    why = "the API server refused the forward" if refused else "the forward was cut"
                    self._fail(handle, event, why)
                case Ended(error):
                    self._end(str(error) if error is not None else "the API server ended the session")
                case Opened() | Pong() | GoingAway():
                    pass

    def _fail(self, handle: int, failure: Failure, why: str) -> None:
        end = self._ends.pop(handle, None)
        if end is not None:
            self._forget(handle)
            end.on_failure(failure, why)
        if self._stale and not self._ends:
            self._loop.call_soon(self.close)

    def _forget(self, handle: int) -> None:
        self._full.discard(handle)
        self.hold(handle, False)

    def _flush_soon(self) -> None:
        if not self._flushing and not self._blocked:
            self._flushing = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flushing = False
        self._flush()

    def _flush(self) -> None:
        while not self.closed:
            if not self._out:
                self._out = memoryview(self._client.outgoing())
                if not self._out:
                    break
            try:
                self._out = self._out[self._socket.send(self._out) :]
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                self._blocked = True
                break
            except OSError as e:
                # What the server said before it closed may still be read, and says more.
                self._read()
                self._end(f"the connection to the API server failed: {e.strerror or e}")
                return
        for handle in [h for h in self._full if self._client.pending(h) < MOST_PENDING // 2]:
            self._full.discard(handle)
            end = self._ends.get(handle)
            if end is not None:
                end.on_room()

    def _keep_alive(self) -> None:
        silent = self._loop.now - self._heard
        if self._asked and silent >= SILENCE_SECONDS and not self._holders:
            self._end(f"the API server has not answered for {silent:.0f} s")
            return
        with contextlib.suppress(TunnelError):
            self._client.ping()
        self._asked = True
        self._flush_soon()
        self._timer = self._loop.call_later(PING_SECONDS, self._keep_alive)

    def _end(self, why: str) -> None:
        over, self._over = self._over, None
        if over is None:
            return
        self._timer.cancel()
        self._loop.close(self._socket.detach())
        ends, self._ends = self._ends, {}
        for handle, end in ends.items():
            end.on_failure(Reset(handle), why or "the tunnel was closed")
        over(self, why)
