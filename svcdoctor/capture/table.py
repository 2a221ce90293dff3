"""The connections that are held: found by the key of either direction of any leg, told of, and forgotten.

Theory. The table is bounded: what has been silent for long, or closed, is told and forgotten, and where it is full
closed ones and the longest silent ones go first. The look-out for those costs a fraction of what was taken in since the
last one.
"""

from __future__ import annotations

from svcdoctor.capture.connection import NANOSECONDS, Connection, Half, Join, Leg, State
from svcdoctor.capture.doors import NAMES, Door, Doors, Role, address_text
from svcdoctor.capture.frame import SCTP, TCP, UDP, reverse
from svcdoctor.capture.matching import TRIES
from svcdoctor.capture.news import News, NewsKind, Tally, Tell
from svcdoctor.capture.recent import Recent

MOST = 32768
"""How many connections are held at once."""

SILENT = {TCP: 300 * NANOSECONDS, UDP: 60 * NANOSECONDS, SCTP: 300 * NANOSECONDS}
"""How long a connection may say nothing before it is forgotten, in nanoseconds of the packets' time."""

LINGER = 5 * NANOSECONDS
"""How long a closed one is held, for what comes late."""

MOST_NOTICES = 16
"""How many different things are remembered of a connection."""

_PRIVILEGED = (1024).to_bytes(2, "big")  # ports below are servers'


class Table:
    """``halves`` are the directions by protocol and key. ``live`` tells of a connection soon after it began, else when
    it is forgotten. ``learned`` are doors that are not the Service's by its objects, but to which its packets went."""

    def __init__(self, doors: Doors, tell: Tell, live: bool, most: int) -> None:
        self.halves: dict[int, dict[bytes, Half]] = {TCP: {}, UDP: {}, SCTP: {}}
        self.tally = Tally()
        self.learned: list[Door] = []
        self.tell = tell
        self._live = live
        self._most = most
        self._doors = doors.table()
        self._connections: dict[Connection, None] = {}
        self._due: dict[Connection, int] = {}
        self._translations: Recent[tuple[bytes, bytes]] = Recent(MOST, 3600)
        self._number = 0

    def __len__(self) -> int:
        return len(self._connections)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._connections

    def begin(self, protocol: int, key: bytes, opens: bool | None, time: int) -> Half | None:
        """The first frame of a pair of ends: its half, or ``None`` where neither end is a door."""
        back = reverse(key)
        to, come = self._door(protocol, key), self._door(protocol, back)
        known = self._translation(protocol, key) or self._translation(protocol, back)
        if self._doors and to is None and come is None and known is None:
            return None
        if opens is not None:
            forward = opens
        elif known is not None:
            forward = key in (*known, between(*known))
        elif (to is None) != (come is None):
            forward = to is not None
        else:
            # Servers' ports are mostly the smaller ones; who speaks first by UDP is mostly the client.
            forward = key[-2:] <= key[-4:-2] or (protocol == UDP and key[-4:-2] >= _PRIVILEGED)
        whole = bool(opens) or (forward and protocol == UDP)
        if known is None:
            self._leg(self._connect(protocol, time, whole), key if forward else back)
        else:
            held = self.halves[protocol].get(known[0])
            connection = held.leg.connection if held is not None else self._connect(protocol, time, whole)
            self._translate(connection, *known, key if forward else back)
        return self.halves[protocol][key]

    def _connect(self, protocol: int, time: int, whole: bool) -> Connection:
        if len(self._connections) >= self._most:
            self._make_room()
        self._number += 1
        self.tally.connections += 1
        connection = Connection(protocol, time, time, number=self._number, whole=whole)
        self._connections[connection] = None
        if self._live:
            self._due[connection] = time
        return connection

    def _leg(self, connection: Connection, key: bytes) -> Leg:
        """A leg more, behind those that there are. ``key`` is that of what the client sends."""
        leg = Leg(connection, self._door(connection.protocol, key))
        back = reverse(key)
        leg.halves = Half(leg, key, True), Half(leg, back, False)
        table = self.halves[connection.protocol]
        table[key], table[back] = leg.halves
        connection.legs.append(leg)
        connection.relabel()
        return leg

    def _translate(self, connection: Connection, original: bytes, translated: bytes, seen: bytes) -> None:
        """Make sure that a connection has the legs that connection tracking tells, and one with the key ``seen``."""
        table = self.halves[connection.protocol]
        middle = between(original, translated)
        order = [original, middle, translated]
        for key in order:
            half = table.get(key)
            if half is None:
                if key != middle or key == seen:
                    self._leg(connection, key)
                continue
            if not half.forward:
                half.leg.turn()
            if half.leg.connection is not connection:
                self.merge(connection, half.leg.connection)
        for leg in list(connection.legs):
            leg.tries = TRIES
            if (
                leg.forward.key not in order and not leg.seen
            ):  # of an earlier connection between the same ends
                connection.legs.remove(leg)
                self._drop(leg)
        places = {key: place for place, key in enumerate(order)}
        connection.legs.sort(key=lambda leg: places.get(leg.forward.key, 1))
        connection.join = Join.CONNTRACK
        connection.relabel()

    def translate(self, protocol: int, original: bytes, translated: bytes, time: int) -> None:
        """What connection tracking says: packets with the key ``original`` go on with the key ``translated``."""
        if protocol not in self.halves or original == translated:
            return
        entered, sent = self._door(protocol, original), self._door(protocol, translated)
        if self._doors and entered is None and sent is None:
            return
        if entered is not None and sent is None and self._doors and entered.role is not Role.ENDPOINT:
            size = (len(translated) - 4) // 2
            ip, port = address_text(translated[size : 2 * size]), int.from_bytes(translated[-2:], "big")
            door = Door(ip, port, NAMES[protocol], Role.ENDPOINT)
            self._doors[door.key] = door
            self.learned.append(door)
        lead = bytes((protocol,))
        for key in (original, between(original, translated), translated):
            self._translations.put(lead + key, (original, translated), time)
            half = self.halves[protocol].get(key)
            if half is not None and not half.leg.connection.ended:
                self._translate(half.leg.connection, original, translated, key)

    def _translation(self, protocol: int, key: bytes) -> tuple[bytes, bytes] | None:
        return self._translations.get(bytes((protocol,)) + key)

    def _door(self, protocol: int, key: bytes) -> Door | None:
        """The door that a key's destination is."""
        size = (len(key) - 4) // 2
        lead = bytes((protocol,))
        return self._doors.get(lead + key[size : 2 * size] + key[-2:]) or self._doors.get(lead + key[-2:])

    def merge(self, kept: Connection, gone: Connection, at: int = 0) -> None:
        """One connection of two; the legs of the one that goes come at a place among those of the other."""
        for leg in gone.legs:
            leg.connection = kept
        kept.legs[at:at] = gone.legs
        if self._doors:
            kept.legs.sort(key=lambda leg: leg.entered is not None and leg.entered.role is Role.ENDPOINT)
        kept.began, kept.last = min(kept.began, gone.began), max(kept.last, gone.last)
        kept.whole = kept.whole or gone.whole
        kept.answered = min(filter(None, (kept.answered, gone.answered)), default=0)
        kept.notices = (kept.notices + gone.notices)[:MOST_NOTICES]
        if not kept.ended and gone.state is not State.OPENING:
            kept.state = gone.state
        self._connections.pop(gone, None)
        self._due.pop(gone, None)
        self.tally.connections -= 1
        if gone.number == self._number:
            self._number -= 1
        elif kept.number > gone.number:
            kept.number = gone.number
        kept.relabel()

    # --- telling and forgetting

    def ended(self, connection: Connection, state: State, time: int) -> None:
        connection.state = state
        if self._live and connection.told:
            self._due[connection] = time

    def settle(self, now: int, patience: int) -> None:
        """Tell of the connections that began, or ended, more than ``patience`` nanoseconds ago."""
        while self._due:
            connection, since = next(iter(self._due.items()))
            if now - since < patience:
                return
            del self._due[connection]
            self._tell_of(connection)

    def _tell_of(self, connection: Connection) -> None:
        if not connection.told:
            connection.told, connection.done = True, connection.ended or connection not in self
            self.tell(News(NewsKind.CONNECTION, connection))
        elif not connection.done:
            connection.done = True
            self.tell(News(NewsKind.ENDED, connection))

    def sweep(self, now: int) -> None:
        """Forget what is closed or silent."""
        for connection in [c for c in self._connections if self._is_over(c, now)]:
            self.forget(connection)

    @staticmethod
    def _is_over(connection: Connection, now: int) -> bool:
        return now - connection.last > (LINGER if connection.ended else SILENT[connection.protocol])

    def _make_room(self) -> None:
        oldest = sorted(self._connections, key=lambda c: (not c.ended, c.last))[: max(self._most // 8, 1)]
        self.tally.forgotten += sum(not c.ended for c in oldest)
        for connection in oldest:
            self.forget(connection)

    def forget(self, connection: Connection) -> None:
        del self._connections[connection]
        self._due.pop(connection, None)
        for leg in connection.legs:
            self._drop(leg)
        self._tell_of(connection)

    def _drop(self, leg: Leg) -> None:
        table = self.halves[leg.connection.protocol]
        for half in leg.halves:
            if table.get(half.key) is half:
                del table[half.key]

    def finish(self) -> None:
        """Tell of all that is left, in the order in which it began."""
        for connection in sorted(self._connections, key=lambda c: c.began):
            self.forget(connection)


def between(original: bytes, translated: bytes) -> bytes:
    """The key of what has its destination translated and its source not yet: a bridge's netfilter shows it."""
    size = (len(original) - 4) // 2
    return original[:size] + translated[size : 2 * size] + original[-4:-2] + translated[-2:]
