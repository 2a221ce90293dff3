"""The live screen of ``watch``: pictures on the terminal's alternate screen, and lines below it at the end.

Theory. As with the table of ``forward``: the run takes a picture twice a second, and a thread draws it. A terminal that
is stopped (Ctrl-S), slow or gone holds up the drawing only.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from svcdoctor.probe.watch.events import Event, WatchBegan, WatchTroubled
from svcdoctor.probe.watch.view import ServiceView
from svcdoctor.report.sparkline import drawable
from svcdoctor.report.watchpicture import Surroundings, picture
from svcdoctor.report.watchwords import event_line, is_news

EVENTS = 200
"""The newest lines that a tall terminal may show."""

TROUBLE_SECONDS = 60.0
"""How long the last trouble stands at the top; its line stays among the others."""

END_SECONDS = 2.0
"""How long a terminal may take for the last lines."""


class WatchScreen:
    """Takes a run's events and pictures. The console's file is its own, so that nothing else waits for a terminal that
    takes no more. ``pace`` is the seconds between two probes of a target, ``gone`` is called where the terminal has
    gone."""

    def __init__(self, console: Console, namespace: str, gone: Callable[[], None]) -> None:
        self._console = console
        self._namespace = namespace
        self._gone = gone
        self._drawn = drawable(console.encoding)
        self._events: deque[tuple[float, str]] = deque(maxlen=EVENTS)
        self._trouble = 0.0, ""
        self._began = 0.0
        self._pictures: queue.SimpleQueue[list[Text] | None] = queue.SimpleQueue()
        self._last: Sequence[str] = ()
        self._painter = threading.Thread(target=self._paint, name="screen", daemon=True)
        self._painter.start()

    def __call__(self, event: Event) -> None:
        """Take an event."""
        if isinstance(event, WatchTroubled):
            self._trouble = event.at, event.why
        if isinstance(event, WatchBegan):
            self._began = event.at
        if is_news(event, self._began):
            self._events.append((event.at, event_line(event, self._namespace)))

    def draw(self, view: ServiceView, now: float, pace: float | None) -> None:
        """Draw a picture, unless the last one is still being drawn."""
        if self._pictures.empty():
            width, height = self._console.size
            events = tuple(self._events)[-height:]
            at, trouble = self._trouble
            trouble = trouble if now - at < TROUBLE_SECONDS else ""
            around = Surroundings(now, width, height, self._drawn, pace, trouble, events)
            self._pictures.put(picture(view, around))

    def close(self, lines: Sequence[str] = ()) -> None:
        """Leave the terminal as it was, and these lines on it."""
        self._last = lines
        self._pictures.put(None)
        self._painter.join(END_SECONDS)  # no longer: the terminal may be stopped

    # --- on the painter's thread

    def _paint(self) -> None:
        try:
            first = self._pictures.get()
            if first is not None:
                with Live(
                    _whole(first),
                    console=self._console,
                    screen=True,
                    auto_refresh=False,
                    redirect_stdout=False,
                    redirect_stderr=False,
                ) as live:
                    live.refresh()
                    while (lines := self._pictures.get()) is not None:
                        if not self._console.is_terminal:  # rich draws no more, and does not tell
                            raise OSError("the terminal has gone")
                        live.update(_whole(lines), refresh=True)
            for line in self._last:
                self._console.print(Text(line), soft_wrap=True)
        except OSError:
            self._gone()


def _whole(lines: Sequence[Text]) -> Group:
    for line in lines:
        line.no_wrap, line.overflow = True, "crop"
    return Group(*lines)
