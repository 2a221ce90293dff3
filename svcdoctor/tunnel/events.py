"""What a session reports to its owner, the same for every protocol of port-forward.

``handle`` is the number that `open` gave, or that `Opened` names on the side that serves. After `RemoteEnd` (of a
client), `DialFailed`, `StreamError` or `Reset` nothing else comes for the handle. `Ended` comes once, last, and
after the end of every handle.
"""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.tunnel.errors import TunnelError
from svcdoctor.tunnel.failures import Reason


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side takes the forward. To a client it does not say that anything answers on the port."""

    handle: int
    port: int


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes from the other side."""

    handle: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RemoteEnd:
    """The other side has sent its last byte, and all is well."""

    handle: int


@dataclass(frozen=True, slots=True)
class DialFailed:
    """The application never saw the connection: trying elsewhere repeats nothing."""

    handle: int
    port: int
    reason: Reason
    text: str  # of the container runtime, as it was sent


@dataclass(frozen=True, slots=True)
class StreamError:
    """The container runtime reports an error after the connection was there, or perhaps was."""

    handle: int
    port: int
    reason: Reason
    text: str


@dataclass(frozen=True, slots=True)
class Reset:
    """The forward was cut off. ``refused``: the other side never took it, so trying elsewhere repeats nothing."""

    handle: int
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to our ping of this id."""

    id: int


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The other side takes no new forwards; those that it took go on."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The session is over; ``error`` says why where it was not an orderly end."""

    error: TunnelError | None


Event = Opened | Data | RemoteEnd | DialFailed | StreamError | Reset | Pong | GoingAway | Ended
