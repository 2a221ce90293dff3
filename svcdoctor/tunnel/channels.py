"""v4.channel.k8s.io as port-forward uses it, both sides: a WebSocket of channels, bytes in, events out. No I/O.

Theory. The ports are fixed by the request's query. Port number n of it has two channels: 2n for data, 2n+1 for an
error, and the first byte of every message names its channel. The server's first message on each channel is its
port, 16 bits, little-endian. There is one connection to each port, made when the WebSocket opens, and it ends with
the WebSocket: neither side can end one direction, or one port. So there is one local connection to a WebSocket,
and a handle is the port's place in the query.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect GET requests
to portforward), and what API server and kubelet were seen to do: fixtures/wire.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from websockets.frames import Opcode
from websockets.protocol import Side

from svcdoctor.tunnel.errors import ChannelError, TunnelError
from svcdoctor.tunnel.events import (
    Data,
    DialFailed,
    Ended,
    Event,
    Opened,
    Pong,
    RemoteEnd,
    Reset,
    StreamError,
)
from svcdoctor.tunnel.failures import MAX_TEXT, before_connection, reason_of
from svcdoctor.tunnel.outbox import TAKE, Outbox
from svcdoctor.tunnel.websocket import WebSocket

PROTOCOL = "v4.channel.k8s.io"
MAX_PORTS = 127
"""Ports of one WebSocket: a channel is one byte."""


class _Channels(ABC):
    """What both sides do alike."""

    def __init__(self, side: Side, ports: Sequence[int]) -> None:
        if not 1 <= len(ports) <= MAX_PORTS:
            raise ValueError(f"{len(ports)} ports for one WebSocket")
        self._socket = WebSocket(side)
        self._outbox = Outbox(self._frame)
        self._ports = tuple(ports)
        self._live = dict.fromkeys(range(len(ports)))
        self._events: list[Event] = []
        self._closing = self._over = False
        self._pings = 0
        for handle in self._live:
            self._outbox.add(handle)

    @property
    def live(self) -> int:
        """Forwards that are not over."""
        return len(self._live)

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        """What the bytes bring. What breaks the protocol ends the session after the events before it."""
        if self._over:
            return []
        closed = False
        try:
            for message in self._socket.receive(data):
                if message.opcode is Opcode.CLOSE:
                    closed = True
                elif message.opcode is Opcode.PONG:
                    self._events.append(Pong(int.from_bytes(message.data, "big")))
                elif message.data:
                    self._take(message.data[0], message.data[1:])
            if self._socket.error is not None:
                raise self._socket.error
        except TunnelError as error:
            self._socket.close(1002)
            self._end(Reset, error)
        else:
            if closed:
                self._end(RemoteEnd, None)
        return self._reported()

    def receive_end(self) -> list[Event]:
        """The connection has ended without a CLOSE."""
        if not self._over:
            self._end(Reset, None if self._closing else ChannelError("the connection was cut"))
        return self._reported()

    def outgoing(self, limit: int = TAKE) -> bytearray:
        """What to write to the connection now, about ``limit`` bytes; to be asked for again when all is written."""
        out = self._outbox.take(limit)
        if self._closing and not self._outbox:
            self._socket.close()
        out += self._socket.outgoing()
        return out

    @property
    def sends(self) -> bool:
        """Whether `outgoing` has something to write."""
        return bool(self._outbox) or self._socket.sends or (self._closing and self._socket.open)

    def pending(self, handle: int) -> int:
        """Bytes of the forward that `outgoing` has not given away yet. Nothing bounds them but the owner."""
        return self._outbox.pending(handle)

    def send(self, handle: int, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes; of a forward that is over they go nowhere."""
        self._outbox.send(handle, data)

    def reset(self, handle: int) -> None:
        """Drops the forward here; the other side learns of it by `close` only. No event follows for it."""
        if handle in self._live:
            self._drop(handle)

    def ping(self) -> int:
        """Asks for a `Pong` with the id that is returned."""
        self._pings += 1
        self._socket.ping(self._pings.to_bytes(8, "big"))
        return self._pings

    def close(self) -> None:
        """Ends all forwards, after what waits was sent."""
        self._closing = True

    @abstractmethod
    def _take(self, channel: int, data: bytes) -> None: ...

    def _frame(self, out: bytearray, handle: int, data: memoryview, last: bool) -> None:
        self._socket.send(b"".join((bytes((2 * handle,)), data)))
        out += self._socket.outgoing()

    def _drop(self, handle: int) -> None:
        del self._live[handle]
        self._outbox.discard(handle)

    def _end(self, each: type[Reset | RemoteEnd], error: TunnelError | None) -> None:
        self._over = True
        for handle in [*self._live]:
            self._drop(handle)
            self._events.append(each(handle))
        self._events.append(Ended(error))

    def _reported(self) -> list[Event]:
        events, self._events = self._events, []
        return events


class ChannelClient(_Channels):
    """The client's side, for the ports of the query, in its order. `Opened` comes for each, then its bytes."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(Side.CLIENT, ports)
        self._silent = {*range(2 * len(ports))}  # channels without their first message
        self._received: set[int] = set()

    def _take(self, channel: int, data: bytes) -> None:
        handle, on_error = divmod(channel, 2)
        if handle >= len(self._ports):
            raise ChannelError(f"a message on channel {channel}; there are {2 * len(self._ports)}")
        port = self._ports[handle]
        if channel in self._silent:
            if data != port.to_bytes(2, "little"):
                raise ChannelError(f"channel {channel} does not begin with its port, {port}")
            self._silent.discard(channel)
            if not {2 * handle, 2 * handle + 1} & self._silent:
                self._events.append(Opened(handle, port))
        elif handle not in self._live or not data:
            return
        elif on_error:
            self._drop(handle)
            text = data[:MAX_TEXT].decode(errors="replace")
            kind = DialFailed if before_connection(text) and handle not in self._received else StreamError
            self._events.append(kind(handle, port, reason_of(text), text))
        else:
            self._received.add(handle)
            self._events.append(Data(handle, data))


class ChannelServer(_Channels):
    """The server's side, for the ports of the query, in its order. It begins by naming the ports."""

    def __init__(self, ports: Sequence[int]) -> None:
        super().__init__(Side.SERVER, ports)
        for handle, port in enumerate(ports):
            for channel in (2 * handle, 2 * handle + 1):
                self._socket.send(bytes((channel,)) + port.to_bytes(2, "little"))

    def fail(self, handle: int, text: str) -> None:
        """Tells the client what went wrong and drops the forward. No event follows for it."""
        if handle in self._live:
            self._drop(handle)
            self._socket.send(bytes((2 * handle + 1,)) + text.encode()[:MAX_TEXT])

    def _take(self, channel: int, data: bytes) -> None:
        handle, on_error = divmod(channel, 2)
        if handle >= len(self._ports):
            raise ChannelError(f"a message on channel {channel}; there are {2 * len(self._ports)}")
        if handle in self._live and data and not on_error:
            self._events.append(Data(handle, data))
