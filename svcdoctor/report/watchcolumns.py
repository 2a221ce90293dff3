"""The columns of a watch's picture: what is left out on a narrow terminal, and how wide the histories are."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from svcdoctor.report.printable import printable

_GAP = 2
_NODE_FROM = 90  # columns of a terminal from which on nodes are shown
_SPARK_FROM = 56  # and histories
_SPARK_MOST = 60


class Columns:
    """The widths of a part's columns. ``spark`` is that of its histories, 0 where there is no room for them."""

    def __init__(self, width: int, names: Sequence[str], *, probed: bool, entries: bool = False) -> None:
        self._probes = probed
        self._ready = not entries
        self._node = 14 if width >= _NODE_FROM else 0
        self._last = 17 if self._probes and width >= _SPARK_FROM else 0
        fixed = sum(w + _GAP for w in (self._node, self._last, 11, 4) if w)
        longest = max([*map(len, names), 8])
        sparks = self._ready + self._probes
        least = sparks * (10 + _GAP) if width >= _SPARK_FROM else 0
        self._name = max(8, min(longest, width - fixed - least))
        left = width - fixed - self._name - sparks * _GAP
        self.spark = min(_SPARK_MOST, left // sparks) if sparks and width >= _SPARK_FROM else 0

    def row(
        self,
        name: str,
        node: str,
        state: str | Text,
        age: str,
        ready: Text,
        probes: Text,
        last: str | Text,
        style: str = "",
    ) -> Text:
        cells: list[tuple[Text, int]] = [(Text(_end_of(printable(name), self._name)), self._name)]
        cells.append((Text(_end_of(printable(node), self._node)), self._node))
        cells += [(_text(state), 11), (Text(age), 4)]
        cells.append((ready, self.spark if self._ready else 0))
        cells.append((probes, self.spark if self._probes else 0))
        cells.append((_text(last), self._last))
        line = Text(style=style)
        for text, width in cells:
            if width:
                text.truncate(width)
                line.append_text(text)
                line.append(" " * (width - text.cell_len + _GAP))
        line.rstrip()
        return line


def _text(cell: str | Text) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _end_of(name: str, width: int) -> str:
    """A name that is too long by its end: pods of one Deployment differ there."""
    return name if len(name) <= width or width < 2 else f"~{name[1 - width :]}"
