"""Small histories in a row of characters: how long answers took, and what was ready.

Latencies are drawn on one fixed scale, each step about three times the one before, so that rows can be compared:
up to 1 ms, 3 ms, 10 ms, 30 ms, 100 ms, 300 ms, 1 s, and longer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import TypeVar

from rich.text import Text

from svcdoctor.probe.watch.endpoints import Readiness

T = TypeVar("T")

STEPS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
_BLOCKS = "▁▂▃▄▅▆▇█"
_LETTERS = "_.-~=+*#"

_READINESS: dict[Readiness | None, tuple[str, str, str]] = {
    Readiness.READY: ("█", "#", "green"),
    Readiness.STARTING: ("▂", ".", "yellow"),
    Readiness.NOT_READY: ("×", "x", "bold red"),
    Readiness.TERMINATING: ("▄", "=", "yellow"),
    None: ("?", "?", "magenta"),
}


def drawable(encoding: str) -> bool:
    """Whether the encoding has the characters; letters stand for them where it has not."""
    try:
        f"{_BLOCKS}×…".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def latencies(history: Iterable[float | None], width: int, drawn: bool) -> Text:
    """The newest ``width`` answers, oldest first, None for what was no answer."""
    text = Text()
    for seconds in _newest(history, width):
        if seconds is None:
            text.append("×" if drawn else "x", "bold red")
        else:
            text.append((_BLOCKS if drawn else _LETTERS)[bisect_left(STEPS, seconds)], "green")
    return text


def readinesses(history: Iterable[Readiness | None], width: int, drawn: bool) -> Text:
    """The newest ``width`` marks, oldest first, None for what was not known."""
    text = Text()
    for readiness in _newest(history, width):
        mark, letter, style = _READINESS.get(readiness, (" ", " ", ""))
        text.append(mark if drawn else letter, style)
    return text


def _newest(history: Iterable[T], width: int) -> list[T]:
    return list(history)[-width:] if width > 0 else []
