"""A connection as it was seen: its legs, both directions of each, and what happened on them.

Theory. A leg is one pair of ends, client's and server's, as it stands in packets: translation of addresses gives a
connection a second leg. Each direction of a leg is a `Half`, found by its key. The same packet passes several
interfaces (a pod's, its bridge, the node's); it is counted where that direction was seen first, its *point*, and
elsewhere only noted. Where a packet was seen first is also who sent it: by an interface into this node, or out of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from svcdoctor.capture.doors import Door, address_text

NANOSECONDS = 1_000_000_000


class State(StrEnum):
    """How far a connection came. ``opening`` is unanswered, ``refused`` was reset before it was open."""

    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"
    RESET = "reset"
    REFUSED = "refused"


class Join(StrEnum):
    """What says that legs are of one connection: the node's connection tracking, TCP's sequence numbers (and SCTP's
    tags), or equal payload."""

    CONNTRACK = "conntrack"
    SEQUENCE = "sequence"
    PAYLOAD = "payload"


class NoticeKind(StrEnum):
    """What else happened."""

    RESET = "reset"
    ICMP = "icmp"
    RETRANSMISSION = "retransmission"


@dataclass(slots=True, eq=False)
class Notice:
    """One thing that happened ``count`` times since ``time``, sent by ``sender``, first seen at ``point``."""

    kind: NoticeKind
    words: str
    sender: bytes
    forward: bool
    time: int
    point: int
    count: int = 1


@dataclass(slots=True, eq=False)
class Half:
    """One direction of a leg. ``point`` is interface * 4 and 1 for out of this node, 2 for into it, 0 not known.

    ``expected`` is the sequence number behind the highest seen, -1 before there is one; ``gaps`` are stretches below it
    that were not seen. ``again`` counts segments that were seen before, ``late`` those that filled a gap so late that
    they were lost before this node.
    """

    leg: Leg
    key: bytes
    forward: bool
    point: int = -1
    others: tuple[int, ...] = ()
    packets: int = 0
    octets: int = 0
    expected: int = -1
    gaps: tuple[tuple[int, int, int], ...] = ()  # and when they were torn
    again: int = 0
    late: int = 0
    finished: int = -1  # the sequence number behind its FIN
    comment: bytes = b""

    @property
    def source(self) -> bytes:
        return self.key[: (len(self.key) - 4) // 2]

    @property
    def destination(self) -> bytes:
        size = (len(self.key) - 4) // 2
        return self.key[size : 2 * size]

    @property
    def interfaces(self) -> tuple[int, ...]:
        """The interfaces on which it was seen, in that order."""
        points = (self.point, *self.others) if self.point >= 0 else ()
        return tuple(dict.fromkeys(point >> 2 for point in points))


@dataclass(slots=True, eq=False)
class Leg:
    """One pair of ends. ``entered`` is the Service's door that the client's end goes to."""

    connection: Connection
    entered: Door | None
    halves: tuple[Half, ...] = ()  # forward, backward
    tries: int = 0  # packets by which its other legs were looked for

    @property
    def forward(self) -> Half:
        return self.halves[0]

    @property
    def backward(self) -> Half:
        return self.halves[1]

    @property
    def source(self) -> tuple[str, int]:
        key = self.forward.key
        return address_text(self.forward.source), int.from_bytes(key[-4:-2], "big")

    @property
    def destination(self) -> tuple[str, int]:
        key = self.forward.key
        return address_text(self.forward.destination), int.from_bytes(key[-2:], "big")

    @property
    def interfaces(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys((*self.forward.interfaces, *self.backward.interfaces)))

    @property
    def seen(self) -> bool:
        """Whether a packet of it was, rather than that it is only known from connection tracking."""
        return any(half.point >= 0 for half in self.halves)

    @property
    def translations(self) -> tuple[str, ...]:
        """What was translated since the leg before: ``DNAT``, ``SNAT``."""
        legs = self.connection.legs
        at = legs.index(self)
        if not at:
            return ()
        before = legs[at - 1]
        dnat = ("DNAT",) if before.destination != self.destination else ()
        return (*dnat, "SNAT") if before.source != self.source else dnat

    def turn(self) -> None:
        """Take the other end for the client."""
        self.halves = self.halves[::-1]
        for half in self.halves:
            half.forward = not half.forward


@dataclass(slots=True, eq=False)
class Connection:
    """Its legs stand in the order in which a client's packet passes them.

    Times are nanoseconds since 1970. ``answered`` is 0 before the first answer.
    """

    protocol: int
    began: int
    last: int
    legs: list[Leg] = field(default_factory=list)
    state: State = State.OPENING
    answered: int = 0
    join: Join | None = None
    notices: list[Notice] = field(default_factory=list)
    number: int = 0
    whole: bool = True  # its first packet was seen
    told: bool = False
    done: bool = False  # told of to its end

    @property
    def ended(self) -> bool:
        return self.state in (State.CLOSED, State.RESET, State.REFUSED)

    def nearest(self, forward: bool) -> Half:
        """The half that is nearest to who sends in a direction."""
        return self.legs[0].forward if forward else self.legs[-1].backward

    def relabel(self) -> None:
        """What packets' comments said of its legs is no longer so."""
        for leg in self.legs:
            for half in leg.halves:
                half.comment = b""
