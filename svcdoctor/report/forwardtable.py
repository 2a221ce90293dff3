"""The forwards as a table on the terminal, drawn again while they run.

Theory. Twice a second the loop takes a picture of how the forwards stand, which costs the same whether they move
bytes or not, and a thread draws it where it says something new: a terminal that is stopped (Ctrl-S), slow or gone
holds up the drawing only. kubectl's "Forwarding from" lines are printed above the table and stay.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from svcdoctor.proxy.arguments import LOCALHOST
from svcdoctor.proxy.forwarder import Event, Listening, Troubled
from svcdoctor.proxy.listener import Address
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.status import ForwardStatus, PortStatus
from svcdoctor.report.forwarding import address_text, listening_line
from svcdoctor.report.printable import printable

PAUSE = 0.5
"""Seconds between two pictures."""

_HEADS = ("LOCAL", "TARGET", "PODS", "OPEN", "TOTAL", "SENT", "RECEIVED")
_WORDS = 2  # columns that may be folded; the others are numbers
_NARROW = 70  # columns of a terminal below which the sums are left out

Row = tuple[str, ...]


class ForwardTable:
    """Takes the events of a run, and draws between `start` and `close`. The console's file is its own, so that
    nothing else waits for a terminal that takes no more."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lines: list[str] = []
        self._trouble: tuple[str, float] | None = None
        self._drawn: tuple[list[Row], list[str]] | None = None
        self._now: Callable[[], float] = lambda: 0.0
        self._pictures: queue.SimpleQueue[tuple[list[str], Group] | None] = queue.SimpleQueue()
        self._painter = threading.Thread(target=self._paint, name="table", daemon=True)

    def __call__(self, event: Event) -> None:
        """Take an event; the counts of all others are in the status."""
        if isinstance(event, Listening):
            self._lines.append(listening_line(event))
        elif isinstance(event, Troubled):
            self._trouble = printable(f"{event.what}: {event.why}"), self._now()

    def start(self, loop: Loop, status: Callable[[], ForwardStatus]) -> None:
        """Begin to draw when the loop runs: from then on whatever ends the program ends the drawing first."""
        self._now = lambda: loop.now

        def tick() -> None:
            self._take(status(), loop.now)
            loop.call_later(PAUSE, tick)

        loop.call_soon(self._painter.start)
        loop.call_soon(tick)

    def close(self) -> None:
        """Leave the last picture, and the terminal as it was."""
        self._pictures.put(None)
        if self._painter.is_alive():
            self._painter.join(1.0)  # no longer: the terminal may be stopped

    def _take(self, status: ForwardStatus, now: float) -> None:
        if not self._pictures.empty():
            return  # the last one is still being drawn
        shown = [_row(port) for port in status.ports]
        if status.socks:
            shown.append((_where(status.socks), "SOCKS 5, any Service", *[""] * 5))
        errors = [
            printable(f"! {row[0]} {row[1]}: {port.counts.error} ({_age(port.counts.since)} ago)")
            for row, port in zip(shown, status.ports, strict=False)
            if port.counts.error
        ]
        if self._trouble is not None:
            text, at = self._trouble
            errors.append(f"! {text} ({_age(now - at)} ago)")
        if self._lines or ((shown or errors) and (shown, errors) != self._drawn):
            self._drawn = shown, errors
            lines, self._lines = self._lines, []
            self._pictures.put((lines, _picture(shown, errors, self._console.width)))

    # --- on the painter's thread

    def _paint(self) -> None:
        live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        try:
            with live:
                while (picture := self._pictures.get()) is not None:
                    lines, group = picture
                    for line in lines:
                        self._console.print(Text(line), soft_wrap=True)
                    live.update(group, refresh=True)
        except OSError:
            pass  # the terminal has gone


def _picture(rows: list[Row], errors: list[str], width: int) -> Group:
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = _HEADS if width >= _NARROW else _HEADS[:4]
    for number, head in enumerate(heads):
        word = number < _WORDS
        least = len("localhost:65535") if number == 0 else None
        table.add_column(
            head, justify="left" if word else "right", no_wrap=not word, overflow="fold", min_width=least
        )
    for row in rows:
        cells = [Text(cell) for cell in row[: len(heads)]]
        if row[2] == "0":
            cells[2].stylize("red")
        table.add_row(*cells)
    return Group(Text(), table, *[Text(error, "yellow") for error in errors])


def _row(port: PortStatus) -> Row:
    counts, asked = port.counts, port.request
    protocol = "" if asked.protocol == "TCP" else "/udp"
    if port.socks:
        target = f"{port.target.name}.{port.namespace}:{asked.remote}"
    else:
        target = f"{port.target} {asked.remote}{protocol}"
        if port.remote != asked.remote:
            target += f" -> {port.remote}"
    return (
        _where(port.addresses),
        f"{target} pod/{port.pod}" if port.pod else target,
        str(port.ready),
        str(counts.live),
        str(counts.accepted),
        "" if protocol else _size(counts.total.up),
        "" if protocol else _size(counts.total.down),
    )


def _where(addresses: tuple[Address, ...]) -> str:
    if all(ip in LOCALHOST for ip, _ in addresses):
        return f"localhost:{addresses[0][1]}"
    return ", ".join(map(address_text, addresses))


def _size(count: int) -> str:
    """Bytes with three digits and a unit: 0, 999 B, 1.2 KiB, 345 MiB."""
    size, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1000 or unit == "TiB":
            break
        size /= 1024
    digits = f"{size:.0f}" if size >= 10 or unit == "B" else f"{size:.1f}"
    return f"{digits} {unit}"


def _age(seconds: float) -> str:
    """Whole seconds, minutes, hours or days, as kubectl's ages are, in the largest unit only."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"
