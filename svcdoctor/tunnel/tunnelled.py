"""SPDY in a WebSocket, the client's side: binary messages carry the bytes of a SPDY session. No I/O.

Theory. The messages are a plain byte stream; a frame may span them. What ends the WebSocket ends the session in it,
and the WebSocket's own error is the one that is told. Everything else is the session's.

Specification: KEP-4006 (SPDY/3.1+portforward.k8s.io), and what kubectl and API server were seen to do: fixtures/wire.
"""

from __future__ import annotations

from dataclasses import replace

from websockets.frames import Opcode
from websockets.protocol import Side

from svcdoctor.tunnel.channels import ChannelClient
from svcdoctor.tunnel.errors import TunnelError
from svcdoctor.tunnel.events import Ended, Event
from svcdoctor.tunnel.outbox import TAKE
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.websocket import WebSocket

PROTOCOL = "SPDY/3.1+portforward.k8s.io"


class TunnelledClient(ForwardClient):
    """A ForwardClient whose bytes are those of the WebSocket around it."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = WebSocket(Side.CLIENT)

    @property
    def sends(self) -> bool:
        return super().sends or self._socket.sends

    def receive(self, data: bytes | bytearray | memoryview) -> list[Event]:
        events: list[Event] = []
        for message in self._socket.receive(data):
            if message.opcode is Opcode.CLOSE:
                events += super().receive_end()
            elif message.opcode is Opcode.BINARY:
                events += super().receive(message.data)
        if self._socket.error is not None:
            self._socket.close(1002)
            events += super().receive_end()
            events = [_because(e, self._socket.error) for e in events]
        return events

    def outgoing(self, limit: int = TAKE) -> bytearray:
        data = super().outgoing(limit)
        if data:
            self._socket.send(data)
        return bytearray(self._socket.outgoing())


def _because(event: Event, error: TunnelError) -> Event:
    return replace(event, error=error) if isinstance(event, Ended) and event.error is None else event


class SingleForward(ChannelClient):
    """A ChannelClient as the other clients are: it takes one forward, to the one port of its query.

    Neither direction can be ended by itself on these channels, so `half_close` has no effect.
    """

    def __init__(self, port: int) -> None:
        super().__init__((port,))
        self._taken = False

    @property
    def accepts(self) -> bool:
        """Whether `open` may be called."""
        return not self._taken

    def open(self, port: int) -> int:
        """The handle of the one forward. Raises ChannelError when it was given already."""
        if self._taken or port != self._ports[0]:
            raise TunnelError("a WebSocket of channels takes one forward, to the port that it was opened for")
        self._taken = True
        return 0

    def half_close(self, handle: int) -> None:
        """Nothing: the end of one direction cannot be told."""
