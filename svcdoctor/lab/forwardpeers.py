"""The client of a tunnel, whichever protocol it speaks: its bytes in, what it wants out, and answers to it.

The protocols themselves are machines in `svcdoctor.tunnel`. A WebSocket tunnel is a SPDY session whose bytes are
wrapped in messages; messages and frames do not know of each other's bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from websockets.frames import Opcode
from websockets.protocol import Side

from svcdoctor.tunnel.channels import ChannelServer
from svcdoctor.tunnel.events import Ended, Event, Opened
from svcdoctor.tunnel.forwardserver import ForwardServer
from svcdoctor.tunnel.websocket import WebSocket

MAX_FORWARDS = 8192
"""Forwards of a tunnel; the real servers have no limit."""

_HEAD = 8  # bytes of a SPDY frame's head, the last three of which are the length of the rest


class Peer(Protocol):
    """One tunnel's client."""

    @property
    def over(self) -> bool:
        """Whether the tunnel ends when what `outgoing` gave is sent."""

    def begin(self) -> list[Event]:
        """What the request asked for already."""

    def receive(self, data: bytes) -> list[Event]:
        """What the client's bytes bring."""

    def receive_end(self) -> list[Event]:
        """What the end of the connection brings."""

    def outgoing(self) -> bytes | bytearray:
        """What to send now; to be asked again when it is sent."""

    def pending(self, handle: int) -> int:
        """Bytes of a forward that `outgoing` has not given yet."""

    def send(self, handle: int, data: bytes) -> None:
        """Send an application's bytes."""

    def end(self, handle: int) -> None:
        """The application has ended, and nothing of it is pending."""

    def fail(self, handle: int, text: str) -> None:
        """The forward has failed, and nothing of it is pending."""


class SpdyPeer:
    """A `Peer` over SPDY, plain or in a WebSocket. After ``cut_after`` frames nothing more passes."""

    def __init__(self, *, in_websocket: bool, cut_after: int | None) -> None:
        self._session = ForwardServer(MAX_FORWARDS)
        self._socket = WebSocket(Side.SERVER) if in_websocket else None
        self._cut = _Cut(cut_after) if cut_after is not None else None
        self._ended = False
        self.pending = self._session.pending
        self.send = self._session.send
        self.end = self._session.half_close
        self.fail = self._session.fail

    @property
    def over(self) -> bool:
        return self._ended or (self._cut is not None and self._cut.done)

    def begin(self) -> list[Event]:
        return []

    def receive(self, data: bytes) -> list[Event]:
        if self._socket is None:
            return self._noted(self._session.receive(self._received(data)))
        events: list[Event] = []
        for message in self._socket.receive(data):
            if message.opcode is Opcode.BINARY:
                events += self._session.receive(self._received(message.data))
        if not self._socket.open:
            events += self._session.receive_end()
        return self._noted(events)

    def receive_end(self) -> list[Event]:
        return self._noted(self._session.receive_end())

    def outgoing(self) -> bytes | bytearray:
        data: bytes | bytearray = self._session.outgoing()
        if self._cut is not None:
            data = self._cut.sent.allowed(data)
        if self._socket is None:
            return data
        if data:
            self._socket.send(data)
        return self._socket.outgoing()

    def _received(self, data: bytes) -> bytes | bytearray:
        return data if self._cut is None else self._cut.received.allowed(data)

    def _noted(self, events: list[Event]) -> list[Event]:
        self._ended = self._ended or any(isinstance(event, Ended) for event in events)
        return events


class ChannelPeer:
    """A `Peer` over v4 channels: the ports are those of the request, and the tunnel ends with the last of them."""

    def __init__(self, ports: Sequence[int]) -> None:
        self._ports = ports
        self._server = ChannelServer(ports)
        self.receive = self._server.receive
        self.receive_end = self._server.receive_end
        self.outgoing = self._server.outgoing
        self.pending = self._server.pending
        self.send = self._server.send

    @property
    def over(self) -> bool:
        return not self._server.live

    def begin(self) -> list[Event]:
        return [Opened(handle, port) for handle, port in enumerate(self._ports)]

    def end(self, handle: int) -> None:
        self._server.reset(handle)
        self._close()

    def fail(self, handle: int, text: str) -> None:
        self._server.fail(handle, text)
        self._close()

    def _close(self) -> None:
        if not self._server.live:
            self._server.close()


class _Cut:
    """Lets a number of frames pass, those of both directions together."""

    def __init__(self, frames: int) -> None:
        self.left = frames
        self.received = _Frames(self)
        self.sent = _Frames(self)

    @property
    def done(self) -> bool:
        return self.left <= 0


class _Frames:
    """The frames of one direction, counted."""

    def __init__(self, cut: _Cut) -> None:
        self._cut = cut
        self._head = bytearray()
        self._rest = 0  # bytes of the frame's body that are still to come

    def allowed(self, data: bytes | bytearray) -> bytes | bytearray:
        """The part that may still pass."""
        at = 0
        while at < len(data) and not self._cut.done:
            if len(self._head) < _HEAD:
                piece = data[at : at + _HEAD - len(self._head)]
                self._head += piece
                at += len(piece)
                self._rest = int.from_bytes(self._head[5:])
            else:
                step = min(self._rest, len(data) - at)
                self._rest -= step
                at += step
            if len(self._head) == _HEAD and not self._rest:
                self._head.clear()
                self._cut.left -= 1
        return data[:at]
