"""Frames in, connections out: what each frame is to a connection, and how the legs of one connection find each other.

Theory. The first frame of a pair of ends makes a leg. Its other leg is known at once where connection tracking told of
the translation. Else the leg's first packets are compared with those of other legs (``matching``): the same packet on
two legs within two seconds joins them, unless both go to the same door of the Service.
"""

from __future__ import annotations

from struct import Struct

from svcdoctor.capture.connection import NANOSECONDS, Connection, Half, Join, Notice, NoticeKind, State
from svcdoctor.capture.doors import Doors
from svcdoctor.capture.frame import FRAGMENT, ICMP, ICMPV6, TCP, UDP, Dissected, dissect
from svcdoctor.capture.icmp import icmp_error
from svcdoctor.capture.matching import TRIES, identity, opening, plausible
from svcdoctor.capture.news import News, NewsKind, Tell
from svcdoctor.capture.recent import Recent
from svcdoctor.capture.sequence import MASK, Arrival, arrived
from svcdoctor.capture.table import MOST, MOST_NOTICES, Table

WITHIN = 2.0
"""Seconds between two sights of one packet on two legs."""

_SWEEP = 4096  # frames between two looks for silent connections, more where there are more connections
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
_TCP = Struct(">IIH").unpack_from


class Joiner:
    """Takes frames in the order of their times, and tells what they are of; ``live`` as `Table` has it."""

    def __init__(self, doors: Doors, tell: Tell, *, live: bool = False, most: int = MOST) -> None:
        self.table = Table(doors, tell, live, most)
        self.tally = self.table.tally
        self._halves = self.table.halves
        self._recent: Recent[tuple[Half, int]] = Recent(65536, WITHIN)
        self._datagrams: Recent[Half] = Recent(8192, 30)
        self._sweep = _SWEEP

    def take(
        self, buf: bytes, start: int, end: int, wire: int, time: int, interface: int, way: int, link: int
    ) -> Half | None:
        """One frame of ``wire`` bytes, of which ``buf[start:end]`` was captured; ``way`` is 1 for out of this node, 2
        for into it, 0 where that is not known. Gives the direction that it belongs to, ``None`` for a stranger."""
        self.tally.frames += 1
        self._sweep -= 1
        if not self._sweep:
            self.table.sweep(time)
            self._sweep = max(_SWEEP, len(self.table))
        found = dissect(buf, start, end, link)
        if found is None:
            self.tally.undecoded += 1
            return None
        protocol, key, l3, l4, stop, datagram = found
        point = interface << 2 | way
        table = self._halves.get(protocol)
        if table is None:
            return self._without_ports(buf, end, found, wire, time, point)
        half = table.get(key)
        if half is None or (protocol == TCP and self._reused(buf, l4, end, half, point)):
            half = self.table.begin(protocol, key, opening(protocol, buf, l4, end), time)
            if half is None:
                self.tally.strangers += 1
                return None
        if datagram is not None:
            self._datagrams.put(datagram, half, time)
        leg = half.leg
        connection = leg.connection
        connection.last = time
        if half.point != point:
            if half.point >= 0:
                if point not in half.others:
                    half.others += (point,)
                return half
            half.point = point
        half.packets += 1
        half.octets += wire
        if protocol == TCP:
            if end >= l4 + 20:
                seq, _, word = _TCP(buf, l4 + 4)
                length = stop - l4 - (word >> 10 & 0x3C)
                if not word & 7 and seq == half.expected:
                    half.expected = (seq + length) & MASK
                else:
                    self._irregular(half, word, seq, length, time)
        elif not connection.answered and not half.forward:
            connection.answered, connection.state = time, State.OPEN
        if leg.tries < TRIES:
            leg.tries += 1
            self._look(half, identity(protocol, buf, l3, l4, stop, end), time)
        return half

    # --- what is not simply the next segment

    def _reused(self, buf: bytes, l4: int, end: int, half: Half, point: int) -> bool:
        """Whether this opens another connection between the same ends; the one before is then told of."""
        if end < l4 + 14 or buf[l4 + 13] & (_SYN | _ACK) != _SYN or half.expected < 0:
            return False
        if half.point != point or (int.from_bytes(buf[l4 + 4 : l4 + 8], "big") + 1) & MASK == half.expected:
            return False
        if half.leg.connection.state is State.OPENING and half.leg.forward is not half:
            return False  # both ends open at once
        self.table.forget(half.leg.connection)
        return True

    def _irregular(self, half: Half, word: int, seq: int, length: int, time: int) -> None:
        connection = half.leg.connection
        if word & _RST:
            if not connection.ended:
                opening = connection.state is State.OPENING
                self.table.ended(connection, State.REFUSED if opening else State.RESET, time)
            words = "refused" if connection.state is State.REFUSED else "reset"
            self._notice(connection, NoticeKind.RESET, words, half.source, half.forward, time, half.point)
            return
        if not half.forward and not connection.answered:
            connection.answered = time
            if connection.state is State.OPENING:
                connection.state = State.OPEN
        extra = bool(word & _SYN) + bool(word & _FIN)
        stop = (seq + length + extra) & MASK
        if extra and half.expected == stop and (word & _SYN or half.finished == stop):
            half.again += 1
            arrival = Arrival.AGAIN
        else:
            arrival = arrived(half, seq, length + extra, time)
        if word & _FIN:
            half.finished = stop
            other = half.leg.backward if half.forward else half.leg.forward
            if other.finished >= 0 and not connection.ended:
                self.table.ended(connection, State.CLOSED, time)
        if arrival in (Arrival.AGAIN, Arrival.LATE) and connection.nearest(half.forward) is half:
            kind = "SYN" if word & _SYN else "FIN" if word & _FIN else "data"
            late = " (lost before this node)" if arrival is Arrival.LATE else ""
            self._notice(
                connection,
                NoticeKind.RETRANSMISSION,
                kind + late,
                half.source,
                half.forward,
                time,
                half.point,
            )

    def _without_ports(
        self, buf: bytes, end: int, found: Dissected, wire: int, time: int,
        point: int,
    ) -> Half | None:  # fmt: skip
        """An ICMP error about a connection, or a later fragment."""
        protocol, key, _, l4, _, _ = found
        if protocol == FRAGMENT:
            half = self._datagrams.get(key)
            if half is not None and half.point == point:
                half.packets += 1
                half.octets += wire
        else:
            error = icmp_error(buf, l4, end, protocol == ICMPV6) if protocol in (ICMP, ICMPV6) else None
            about = self._halves[error.protocol].get(error.key) if error is not None else None
            half = None
            if error is not None and about is not None:
                leg = about.leg
                half = leg.backward if about.forward else leg.forward
                if error.refuses and leg.connection.state is State.OPENING:
                    self.table.ended(leg.connection, State.REFUSED, time)
                sender = key[: (len(key) - 4) // 2]
                self._notice(leg.connection, NoticeKind.ICMP, error.words, sender, half.forward, time, point)
        if half is None:
            self.tally.strangers += 1
        else:
            half.leg.connection.last = time
        return half

    def _notice(
        self, connection: Connection, kind: NoticeKind, words: str, sender: bytes, forward: bool, time: int,
        point: int,
    ) -> None:  # fmt: skip
        """Something happened. The same packet at other places is the same thing: the first sight counts."""
        for notice in connection.notices:
            if (notice.kind, notice.words, notice.forward) == (kind, words, forward):
                if (notice.point, notice.sender) != (point, sender):
                    return
                notice.count += 1
                break
        else:
            if len(connection.notices) >= MOST_NOTICES:
                return
            notice = Notice(kind, words, sender, forward, time, point)
            connection.notices.append(notice)
        if connection.told and notice.count & (notice.count - 1) == 0:  # 1, 2, 4, 8 …
            self.table.tell(News(NewsKind.NOTICE, connection, notice))

    def _look(self, half: Half, mark: bytes, time: int) -> None:
        """Look for another leg on which the same packet was seen."""
        if not mark:
            return
        key = bytes((half.leg.connection.protocol,)) + mark
        seen = self._recent.get(key)
        if seen is None or abs(time - seen[1]) > WITHIN * NANOSECONDS:
            self._recent.put(key, (half, time), time)
            return
        other = seen[0]
        older, newer = other.leg.connection, half.leg.connection
        if older is newer:
            return
        if older not in self.table or not plausible(other, half, mark):
            self._recent.put(key, (half, time), time)
            return
        if half.forward != other.forward:
            turned = other if half.leg.entered is not None and other.leg.entered is None else half
            if len(turned.leg.connection.legs) > 1:
                return
            turned.leg.turn()
        older.join = older.join or (Join.PAYLOAD if older.protocol == UDP else Join.SEQUENCE)
        place = older.legs.index(other.leg)
        self.table.merge(older, newer, place + 1 if half.forward else place)
        self._recent.put(key, (half, time), time)  # a further leg stands next to this one
