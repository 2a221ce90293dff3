"""A capture on the terminal: each connection with a line per leg and what happened on it, and a summary.

Lines are plain text, with colour where a terminal shows them: a file may hold a hundred thousand connections.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping

from rich.style import Style

from svcdoctor.capture.connection import NANOSECONDS, Connection, Join, Leg, Notice, NoticeKind, State
from svcdoctor.capture.doors import NAMES, Doors, Role
from svcdoctor.capture.news import News, NewsKind
from svcdoctor.capture.wording import end_text, role_words, sender_words
from svcdoctor.model.trace import Status
from svcdoctor.probe.sniffing.run import Ended
from svcdoctor.report.glyphs import STYLE, glyphs_for
from svcdoctor.report.printable import printable

_BAD = frozenset({State.REFUSED, State.RESET, State.OPENING})
_JOINED = {
    Join.CONNTRACK: "connection tracking",
    Join.SEQUENCE: "sequence numbers",
    Join.PAYLOAD: "equal payload",
}


class CaptureLines:
    """Puts news into lines. ``names`` are those of interfaces; ``color`` says whether the lines are styled."""

    def __init__(self, doors: Doors, names: Mapping[int, str], encoding: str, color: bool) -> None:
        self._doors = doors
        self._names = names
        self._glyphs = glyphs_for(encoding)
        self._arrow = "→" if self._glyphs.ok == "✔" else "->"
        self._color = color
        self._joined: Counter[Join | None] = Counter()
        self._happened: Counter[tuple[str, str]] = Counter()

    def lines(self, news: News) -> list[str]:
        """What a person reads of it."""
        connection = news.connection
        if news.kind is NewsKind.NOTICE and news.notice is not None:
            return [self._notice(connection, news.notice, f"#{connection.number} ")]
        if news.kind is NewsKind.ENDED:
            self._count(connection)
            return [f"#{connection.number} {self._state(connection)}, {_counts(connection.legs[0])}"]
        if connection.done:
            self._count(connection)
        return self._whole(connection)

    def _count(self, connection: Connection) -> None:
        """For the summary, when a connection is told of for the last time."""
        self._joined[connection.join if len(connection.legs) > 1 else None] += 1
        for notice in connection.notices:
            what = "ICMP error" if notice.kind is NoticeKind.ICMP else "reset"
            if notice.kind is not NoticeKind.RETRANSMISSION:
                who = sender_words(notice.sender, self._doors.names, connection.legs[0].source[0])
                self._happened[what, f" by {who}"] += notice.count
        again = sum(half.again + half.late for half in (connection.nearest(True), connection.nearest(False)))
        self._happened["retransmission", ""] += again

    def _whole(self, connection: Connection) -> list[str]:
        head = f"#{connection.number} {NAMES[connection.protocol]} {_clock(connection.began)}"
        found = [f"{self._paint(head, 'bold')}  {self._state(connection)}"]
        rows = [row for leg in connection.legs for row in self._leg(leg)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        for row in rows:
            cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True) if width)
            found.append("   " + "  ".join(cells).rstrip())
        leg = connection.legs[-1]
        if leg.entered is not None and leg.entered.role is not Role.ENDPOINT:
            found.append(f"   {self._mark(Status.UNKNOWN)} no leg behind the {leg.entered.role} was seen")
        return found + [self._notice(connection, notice, "   ") for notice in connection.notices]

    def _leg(self, leg: Leg) -> list[tuple[str, ...]]:
        """The leg's line; with both translations one for each."""
        done = leg.translations
        source, destination = end_text(leg.source), f"{self._arrow} {end_text(leg.destination)}"
        role = printable(role_words(leg, self._doors.names))
        where = ", ".join(dict.fromkeys(printable(self._names[i]) for i in leg.interfaces if self._names[i]))
        seen = (where or ("" if leg.seen else "on no interface"), _counts(leg) if leg.seen else "")
        if len(done) == 2:
            before = leg.connection.legs[leg.connection.legs.index(leg) - 1]
            return [
                ("DNAT", end_text(before.source), destination, role, "", ""),
                ("SNAT", source, destination, "", *seen),
            ]
        return [(done[0] if done else "", source, destination, role, *seen)]

    def _state(self, connection: Connection) -> str:
        status = Status.FAIL if connection.state in _BAD else Status.OK
        lasted = _duration(connection.last - connection.began)
        words = {
            State.OPENING: f"no answer in {lasted}",
            State.OPEN: f"open after {lasted}",
            State.CLOSED: f"closed after {lasted}",
            State.RESET: f"reset after {lasted}",
            State.REFUSED: f"refused after {lasted}",
        }[connection.state]
        if connection.answered and connection.whole:
            words += f", first answer after {_duration(connection.answered - connection.began)}"
        if not connection.whole:
            words += ", began before the capture"
        return f"{self._mark(status)} {words}"

    def _notice(self, connection: Connection, notice: Notice, lead: str) -> str:
        who = printable(sender_words(notice.sender, self._doors.names, connection.legs[0].source[0]))
        name = printable(self._names[notice.point >> 2])
        way = notice.point & 3
        where = ("seen", "made on this node, out", "came in")[way] + (f" by {name}" if name else "")
        if not way:
            where = f"seen on {name}" if name else ""
        what = {
            NoticeKind.RESET: f"RST ({notice.words})",
            NoticeKind.ICMP: f"ICMP {notice.words}",
            NoticeKind.RETRANSMISSION: f"retransmission of {notice.words}",
        }[notice.kind]
        times = f"{notice.count} × " if notice.count > 1 else ""
        status = Status.WARN if notice.kind is NoticeKind.RETRANSMISSION else Status.FAIL
        if notice.kind is NoticeKind.RETRANSMISSION:
            where = f"first after {_duration(notice.time - connection.began)}"
        elif where:
            where = f"{where}, after {_duration(notice.time - connection.began)}"
        return f"{lead}{self._mark(status)} {self._plain(times)}{what} from {who}" + (
            f", {where}" if where else ""
        )

    def summary(self, ended: Ended, written: str) -> list[str]:
        """What it all was; ``written`` names the file."""
        tally = ended.tally
        where = ", ".join(dict.fromkeys(printable(name) for name in ended.interfaces.values() if name))
        said = f"{_number(tally.connections, 'connection')}, {_number(ended.packets, 'packet')}"
        said += f" ({_size(ended.octets)})" + (f" on {where}" if where else "")
        found = ["", f"{said}; ended by {ended.reason} after {ended.seconds:.1f} s"]
        joined = [f"{n:,} by {_JOINED[join]}" for join, n in self._joined.items() if join is not None and n]
        alone = self._joined[None]
        if joined:
            found.append(
                f"joined across NAT: {', '.join(joined)}" + (f"; one leg: {alone:,}" if alone else "")
            )
        found += [_number(n, what) + printable(who) for (what, who), n in self._happened.items() if n]
        if ended.apart:
            found.append(f"connection tracking did not help to join legs: {ended.apart}")
        if tally.forgotten:
            found.append(f"{tally.forgotten:,} connections were told of early: there were too many at once")
        if tally.undecoded:
            found.append(f"{_number(tally.undecoded, 'frame')} could not be decoded (no IP, or cut short)")
        for link, count in ended.skipped.items():
            found.append(f"{_number(count, 'frame')} of link type {link} left out: it is not decoded")
        if ended.dropped:
            sign = self._mark(Status.WARN)
            found.append(f"{sign} {_number(ended.dropped, 'packet')} were lost: dropped by the kernel")
        elif ended.dropped == 0:
            found.append("no packet was dropped by the kernel")
        if written:
            where = "standard output" if written == "-" else printable(written)
            found.append(f"{_number(ended.written, 'packet')} written to {where}")
        return found

    def _mark(self, status: Status) -> str:
        return self._paint(self._glyphs.mark(status), STYLE[status])

    def _paint(self, text: str, style: str) -> str:
        return Style.parse(style).render(text) if self._color else text

    def _plain(self, text: str) -> str:
        return text if self._arrow == "→" else text.replace("×", "x")


def _counts(leg: Leg) -> str:
    forward, backward = leg.halves
    sent = f"{_number(forward.packets, 'packet')} ({_size(forward.octets)})"
    return f"{sent}, {backward.packets:,} back ({_size(backward.octets)})"


def _clock(nanoseconds: int) -> str:
    """The time of day, as it is here."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{rest // 1000:06}"


def _duration(nanoseconds: int) -> str:
    seconds = max(nanoseconds, 0) / NANOSECONDS
    return f"{seconds * 1000:.3g} ms" if seconds < 0.9995 else f"{seconds:,.1f} s"


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def _size(octets: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if octets >= size:
            return f"{octets / size:.1f} {unit}"
    return f"{octets} B"
