"""A WebSocket after its handshake, either side: bytes in, whole messages out. No I/O.

The framing, with masking in C, is the websockets library's protocol layer. Here messages are put together out of
their fragments, pings are answered, and an end of any kind is a value instead of an exception. Extensions are
never agreed on.

Specification: RFC 6455, section 5
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from svcdoctor.tunnel.errors import WebSocketError

MAX_MESSAGE = 16 << 20
"""Bytes of one message; the API server's have 32 KiB."""

MAX_ANSWERS = 1 << 20
"""Bytes of answers to pings that may wait. Only a side that asks without reading the answers needs more."""

_ORDERLY = (1000, 1001, 1005)  # done, going away, no code


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message: BINARY or TEXT; or PONG, or CLOSE, after which there is nothing else."""

    opcode: Opcode
    data: bytes


class WebSocket:
    """One side of a connection. ``error`` says what ended it where it was not an orderly CLOSE."""

    def __init__(self, side: Side, limit: int = MAX_MESSAGE) -> None:
        self.error: WebSocketError | None = None
        self._protocol = Protocol(side, max_size=limit)
        self._out: list[bytes] = []
        self._answers = 0
        self._parts = bytearray()
        self._opcode = Opcode.BINARY
        self._closed = False

    @property
    def open(self) -> bool:
        """Whether messages may be sent."""
        return self._protocol.state is State.OPEN and self.error is None

    def receive(self, data: bytes | bytearray | memoryview) -> list[Message]:
        """The messages that are complete with the bytes. Those before an ``error`` are among them."""
        if self.error is not None or self._closed or not data:
            return []
        self._protocol.receive_data(bytes(data) if isinstance(data, memoryview) else data)
        frames = [frame for frame in self._protocol.events_received() if isinstance(frame, Frame)]
        messages = [message for frame in frames for message in self._messages(frame)]
        cause = self._protocol.parser_exc
        if cause is not None:
            self.error = WebSocketError(f"the other side does not speak WebSocket: {cause}")
        elif self._answers > MAX_ANSWERS:
            self.error = WebSocketError(f"the other side asks without reading: {self._answers:,} bytes wait")
        return messages

    def send(self, data: bytes | bytearray | memoryview) -> None:
        """Sends a binary message, unless the connection is not open any more."""
        if self.open:
            self._protocol.send_binary(data)

    def ping(self, data: bytes) -> None:
        """Asks for a PONG with up to 125 bytes of data."""
        if self.open:
            self._protocol.send_ping(data)

    def close(self, code: int = 1000) -> None:
        """Sends CLOSE after all that was sent; the other side answers with its own."""
        if self.open:
            self._protocol.send_close(code)

    @property
    def sends(self) -> bool:
        """Whether `outgoing` has something to write: messages, answers to pings, CLOSE."""
        self._out += self._protocol.data_to_send()
        return any(self._out)

    def outgoing(self) -> bytes:
        """What to write to the connection now."""
        out, self._out, self._answers = self._out, [], 0
        return b"".join((*out, *self._protocol.data_to_send()))

    def _messages(self, frame: Frame) -> Iterable[Message]:
        if frame.opcode is Opcode.PING:
            self._answers += len(frame.data) + 6
        elif frame.opcode is not Opcode.CONT and frame.fin:
            if frame.opcode is Opcode.CLOSE:
                self._end(bytes(frame.data))
            yield Message(frame.opcode, bytes(frame.data))
        else:
            if frame.opcode is not Opcode.CONT:
                self._opcode = frame.opcode
            self._parts += frame.data
            if frame.fin:
                whole, self._parts = bytes(self._parts), bytearray()
                yield Message(self._opcode, whole)

    def _end(self, data: bytes) -> None:
        self._closed = True
        close = Close.parse(data)
        if close.code not in _ORDERLY:
            self.error = WebSocketError(f"the other side closes the WebSocket: {close}")
