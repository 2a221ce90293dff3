"""What the control process and a worker say to each other, over a Unix socket.

Theory. A message is a four-byte length (network order) and that much MessagePack: a list whose first item is the
message's name. A worker is started as ``python -m svcdoctor.proxy.serving.worker FD SETTINGS``: FD is a listening Unix
socket that it inherits, SETTINGS its `Settings` as JSON; its descriptors 1 and 2 are its log. Only its own user and
root may connect; whoever connects last is its control, and the one before is closed. It says `Hello` first. A new
control puts the whole state, and from then on only what changes; a worker that has no control goes on with the last
state. Every `Put` and `Remove` is answered with `Ready` once it holds.

Specification: https://github.com/msgpack/msgpack/blob/master/spec.md
"""

from __future__ import annotations

import struct

import msgspec

from svcdoctor.proxy.serving.served import ServedPort, Value

MAX_FRAME = 64 << 20
"""Bytes of one message; 5,000 Services with ten endpoints each take about 5 MiB."""

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds in seconds of the counts of dials; what took longer comes last."""

_LENGTH = struct.Struct("!I")


class Settings(msgspec.Struct, frozen=True):
    """What a worker is started with, as JSON in its arguments; other settings need another worker.

    ``dial`` is a way to pods as ``--dial`` names it; ``kubeconfig`` and ``context`` are for those by the API server.
    ``access_log`` is a file's path, empty for none. ``drain_seconds`` is how long a drain waits for connections.
    """

    version: str
    dial: str = "direct"
    kubeconfig: str = ""
    context: str = ""
    access_log: str = ""
    drain_seconds: float = 30.0


# --- from the control process


class Put(Value, frozen=True, tag=True):
    """Serve these from now on, in the place of those with the same keys; with ``whole``, these and no others."""

    serial: int
    ports: tuple[ServedPort, ...]
    whole: bool = False


class Remove(Value, frozen=True, tag=True):
    """Listen for these no longer; their connections go on."""

    serial: int
    keys: tuple[str, ...]


class Count(Value, frozen=True, tag=True):
    """Answer with `Counters`."""


class Recall(Value, frozen=True, tag=True):
    """Answer with `Held`: a control that cannot ask the API server goes on with what its workers know."""


class Drain(Value, frozen=True, tag=True):
    """Listen no longer, and end when the last connection has, or after the settings' drain_seconds."""


class Stop(Value, frozen=True, tag=True):
    """End at once."""


# --- from a worker


class Hello(Value, frozen=True, tag=True):
    """The first message. ``settings`` are those that the worker was started with, ``draining`` tells a drain."""

    pid: int
    settings: str
    draining: bool = False


class Ready(Value, frozen=True, tag=True):
    """The message of that serial holds: what it asked to be listened for is, but for what `Failed` named before."""

    serial: int


class Failed(Value, frozen=True, tag=True):
    """Something of the port cannot be served, in one line for the user; an empty ``why`` takes that back."""

    key: str
    why: str


class Held(Value, frozen=True, tag=True):
    """What the worker serves."""

    ports: tuple[ServedPort, ...]


class EndpointCounts(Value, frozen=True):
    """Of one endpoint, since the worker's start: connections that were made to it (of UDP, flows), that live and that
    it refused or never answered; bytes to it and from it; how long the dials took: seconds in all, and how many by
    LATENCY_BUCKETS."""

    address: str
    pod: str
    connections: int
    active: int
    failed: int
    sent: int
    received: int
    dial_seconds: float
    dials: tuple[int, ...]


class PortCounts(Value, frozen=True):
    """Of one port that had any client: clients turned away by source ranges, for want of an endpoint that takes them,
    and for limits."""

    key: str
    endpoints: tuple[EndpointCounts, ...]
    forbidden: int = 0
    unserved: int = 0
    limited: int = 0


class Counters(Value, frozen=True, tag=True):
    """All counts. ``active`` is the connections that live, UDP flows among them; ``draining`` tells a drain."""

    pid: int
    active: int
    draining: bool
    ports: tuple[PortCounts, ...]


ToWorker = Put | Remove | Count | Recall | Drain | Stop
ToControl = Hello | Ready | Failed | Held | Counters

_encoder = msgspec.msgpack.Encoder()
_to_worker: msgspec.msgpack.Decoder[ToWorker] = msgspec.msgpack.Decoder(ToWorker)
_to_control: msgspec.msgpack.Decoder[ToControl] = msgspec.msgpack.Decoder(ToControl)


class WireError(Exception):
    """The other side does not speak this protocol."""


def frame(message: ToWorker | ToControl) -> bytes:
    """The message as it is sent. Raises WireError where it is longer than MAX_FRAME."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME:
        raise WireError(f"a message of {len(body) >> 20} MiB; {MAX_FRAME >> 20} MiB are the most")
    return _LENGTH.pack(len(body)) + body


class _Frames:
    """Messages out of bytes as they come."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The bodies that are complete by now. Raises WireError for one that is too long."""
        self._held += data
        bodies = []
        at = 0
        while len(self._held) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._held, at)
            if length > MAX_FRAME:
                raise WireError(f"a message of {length} bytes is announced")
            end = at + _LENGTH.size + length
            if len(self._held) < end:
                break
            bodies.append(bytes(self._held[at + _LENGTH.size : end]))
            at = end
        del self._held[:at]
        return bodies


class WorkerReader(_Frames):
    """What a worker reads."""

    def messages(self, data: bytes) -> list[ToWorker]:
        """The next messages. Raises WireError."""
        try:
            return [_to_worker.decode(body) for body in self.feed(data)]
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise WireError(str(e)) from None


class ControlReader(_Frames):
    """What the control process reads."""

    def messages(self, data: bytes) -> list[ToControl]:
        """The next messages. Raises WireError."""
        try:
            return [_to_control.decode(body) for body in self.feed(data)]
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            raise WireError(str(e)) from None
