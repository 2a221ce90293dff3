"""What a session has yet to send: control first, then the streams' bytes, in turn.

Theory. Nothing is framed before there is room to send it. Until then each stream's bytes stay with the stream,
where the owner can measure them (and stop reading its client), where a reset can throw them away, and where a
bulk stream takes its turn with the others, a frame at a time. There is no window: whatever is here goes out as
soon as the connection takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from svcdoctor.tunnel.errors import TunnelError

FRAME = 32 << 10
"""Bytes of a data frame, as kubectl and the runtimes make them."""

TAKE = 256 << 10
"""Bytes that are framed at a time."""

MAX_CONTROL = 1 << 20
"""Bytes of control frames that may wait. Only a side that asks without reading the answers needs more."""

Framer = Callable[[bytearray, int, memoryview, bool], None]
"""Appends to the first argument a frame of the stream with these bytes; true for the stream's last."""


class _Queue:
    __slots__ = ("data", "ended", "waits")

    def __init__(self) -> None:
        self.data = bytearray()
        self.ended = False  # the end is to be sent after the bytes
        self.waits = False  # it is in the row


class Outbox:
    """The streams that may still be sent to, and what waits. `frame` puts bytes into the protocol's form."""

    def __init__(self, frame: Framer) -> None:
        self._frame = frame
        self._control = bytearray()
        self._queues: dict[int, _Queue] = {}
        self._row: deque[int] = deque()

    def __bool__(self) -> bool:
        """Whether there is anything to send."""
        return bool(self._control or self._row)

    @property
    def full(self) -> bool:
        """Whether so much control waits that nothing should be begun."""
        return len(self._control) > MAX_CONTROL

    def control(self, frame: bytes) -> None:
        """Sends a frame ahead of all streams' bytes."""
        self._control += frame

    def answer(self, frame: bytes) -> None:
        """Sends what the other side asked for. Raises TunnelError where it asks and does not read."""
        if self.full:
            raise TunnelError(
                f"the other side asks without reading: {len(self._control):,} bytes of answers wait"
            )
        self._control += frame

    def add(self, stream: int) -> None:
        """The stream may be sent to."""
        self._queues[stream] = _Queue()

    def send(self, stream: int, data: bytes | bytearray | memoryview) -> None:
        """Queues bytes; for a stream that is gone they go nowhere. Raises ValueError after `end`."""
        queue = self._queues.get(stream)
        if queue is None or not data:
            return
        if queue.ended:
            raise ValueError(f"stream {stream} was ended")
        queue.data += data
        self._wait(stream, queue)

    def end(self, stream: int) -> None:
        """Ends our direction of the stream after the bytes that wait; a second time changes nothing."""
        queue = self._queues.get(stream)
        if queue is not None:
            queue.ended = True
            self._wait(stream, queue)

    def discard(self, stream: int) -> bool:
        """Throws away what waits. Whether our direction had not ended, so that the other side must be told."""
        queue = self._queues.pop(stream, None)
        if queue is not None and queue.waits:
            self._row.remove(stream)
        return queue is not None

    def pending(self, stream: int) -> int:
        """Bytes of the stream that wait."""
        queue = self._queues.get(stream)
        return len(queue.data) if queue is not None else 0

    def take(self, limit: int = TAKE) -> bytearray:
        """What to send now: all control, and frames of streams until there are ``limit`` bytes or more."""
        out, self._control = self._control, bytearray()
        while self._row and len(out) < limit:
            stream = self._row.popleft()
            queue = self._queues[stream]
            size = min(len(queue.data), FRAME)
            last = queue.ended and size == len(queue.data)
            with memoryview(queue.data) as view, view[:size] as piece:
                self._frame(out, stream, piece, last)
            del queue.data[:size]
            if last:
                del self._queues[stream]
            elif queue.data:
                self._row.append(stream)
            else:
                queue.waits = False
        return out

    def _wait(self, stream: int, queue: _Queue) -> None:
        if not queue.waits:
            queue.waits = True
            self._row.append(stream)
