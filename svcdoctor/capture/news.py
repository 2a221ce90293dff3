"""What the joiner tells: connections, what happened on them, their ends, and how much was taken in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from svcdoctor.capture.connection import Connection, Notice


class NewsKind(StrEnum):
    """Why something is told."""

    CONNECTION = "connection"
    NOTICE = "notice"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class News:
    """A connection as it is now, and what just happened on it."""

    kind: NewsKind
    connection: Connection
    notice: Notice | None = None


@dataclass(slots=True)
class Tally:
    """What was taken in. ``undecoded`` frames are no IP packets or too short, ``strangers`` are not the Service's."""

    frames: int = 0
    undecoded: int = 0
    strangers: int = 0
    connections: int = 0
    forgotten: int = 0  # for want of room


Tell = Callable[[News], None]
