"""A way as a graph: what stands in the drawing and what leads to what, before anything has a place or a colour.

Theory. A chart is one picture of ``report.ways``. It reads from left to right: who asks, where the request comes in,
the Service's port, where it ends. A *lane* is what belongs together on that way; a Service that each node treats
alike has one, one that a node treats otherwise has a lane for that node. What is broken carries its ``Remark``: why,
and the finding that mends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from svcdoctor.model.finding import Finding
from svcdoctor.model.trace import Status


class Role(StrEnum):
    """What a box stands for; also the column that it stands in."""

    CLIENT = "client"
    ENTRY = "entry"
    SERVICE = "service"
    END = "end"


@dataclass(frozen=True, slots=True)
class Member:
    """One of many alike, in a box for all of them. ``group`` is what some of them share, such as their node."""

    address: str
    name: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Box:
    """A place on the way. ``title`` and ``name`` are identifiers, ``lines`` are sentences.

    With ``members`` the box stands for as many places as it has members.
    """

    key: str
    role: Role
    status: Status
    title: str
    address: str = ""
    name: str = ""
    lines: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """From one box to another, by their keys. Of a broken one the request does not get to the target."""

    source: str
    target: str
    status: Status = Status.OK
    label: str = ""


@dataclass(frozen=True, slots=True)
class Remark:
    """What is to be said of ends that are not as they should be.

    ``told`` is true where another remark of the drawing already shows the finding with its fix.
    """

    key: str
    status: Status
    reason: str
    code: str = ""
    finding: Finding | None = None
    told: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """Ends that are alike, and what is to be said of them all."""

    boxes: tuple[Box, ...]
    remark: Remark | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The entries by which one client comes in; ``client`` is the key of its box."""

    client: str
    entries: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Lane:
    """Entries that lead to the same ends. ``service`` is ``None`` where none is on the way, or none is reached."""

    sources: tuple[Source, ...]
    service: Box | None
    ends: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One drawing. ``status`` is the worst of what is in it."""

    title: str
    status: Status
    clients: tuple[Box, ...]
    lanes: tuple[Lane, ...]
    edges: tuple[Edge, ...]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """Every box, in reading order."""
        found = list(self.clients)
        for lane in self.lanes:
            found += [box for source in lane.sources for box in source.entries]
            found += [lane.service] if lane.service is not None else []
            found += [box for block in lane.ends for box in block.boxes]
        return tuple(found)

    @property
    def remarks(self) -> tuple[tuple[Block, Remark], ...]:
        """Every remark with the ends that it is about."""
        blocks = (block for lane in self.lanes for block in lane.ends)
        return tuple((block, block.remark) for block in blocks if block.remark is not None)
