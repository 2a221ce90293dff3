"""WebSocket framing, both directions, for clients and servers: bytes in, frames out, no I/O.

Only what the Kubernetes API's channels need: no extensions. A client masks what it sends, a server does not.

Specification: RFC 6455, section 5 (frames) and 4.2.2 (the accept key)
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from enum import IntEnum

MAX_MESSAGE = 16 << 20
"""Bytes of one message; the API server's have 32 KiB."""

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_FIN = 0x80
_MASKED = 0x80


class Opcode(IntEnum):
    """What a frame is; CONTINUATION goes on with the message before it."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class ProtocolError(Exception):
    """The other side does not speak WebSocket as RFC 6455 has it."""


@dataclass(frozen=True, slots=True)
class Message:
    """A whole message, or a control frame."""

    opcode: Opcode
    data: bytes


def accept_key(key: str) -> str:
    """The ``Sec-WebSocket-Accept`` that answers a ``Sec-WebSocket-Key``."""
    return base64.b64encode(hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()).decode()


def frame(opcode: Opcode, data: bytes, mask: bytes = b"") -> bytes:
    """A message in one frame, masked where ``mask`` has the four bytes for it."""
    masked = _MASKED if mask else 0
    size = len(data)
    if size < 126:
        head = bytes((_FIN | opcode, masked | size))
    elif size < 1 << 16:
        head = bytes((_FIN | opcode, masked | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FIN | opcode, masked | 127)) + size.to_bytes(8, "big")
    return head + mask + (_xor(data, mask) if mask else data)


def _xor(data: bytes, mask: bytes) -> bytes:
    """The data masked or unmasked: one XOR of two large numbers, since a loop over bytes takes far longer."""
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")


class MessageReader:
    """Puts messages together from bytes in any pieces."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._buffer = bytearray()
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._opcode: Opcode | None = None

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are complete with ``data``. Raises ProtocolError."""
        self._buffer += data
        found = []
        while (part := self._frame()) is not None:
            final, message = part
            if message.opcode >= Opcode.CLOSE:
                found.append(message)
                continue
            self._keep(message)
            if final:
                found.append(Message(self._opcode or message.opcode, b"".join(self._parts)))
                self._parts, self._size, self._opcode = [], 0, None
        return found

    def _frame(self) -> tuple[bool, Message] | None:
        """The next frame and whether it ends a message; ``None`` while it is not complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] & 0x70:
            raise ProtocolError("a frame of an extension that was not agreed on")
        try:
            opcode = Opcode(buffer[0] & 0x0F)
        except ValueError:
            raise ProtocolError(f"unknown kind of frame {buffer[0] & 0x0F}") from None
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            start += width
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if self._size + size > self._limit:
            raise ProtocolError(f"a message of more than {self._limit >> 20} MiB")
        mask = b""
        if buffer[1] & _MASKED:
            mask = bytes(buffer[start : start + 4])
            start += 4
        if len(buffer) < start + size:
            return None
        data = bytes(buffer[start : start + size])
        final = bool(buffer[0] & _FIN)
        del buffer[: start + size]
        return final, Message(opcode, _xor(data, mask) if mask else data)

    def _keep(self, part: Message) -> None:
        if (part.opcode is Opcode.CONTINUATION) == (self._opcode is None):
            raise ProtocolError("the pieces of a message are out of order")
        self._opcode = self._opcode or part.opcode
        self._parts.append(part.data)
        self._size += len(part.data)
