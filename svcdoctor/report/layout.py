"""Lines of styled text within a width: wrapping, trees, columns.

Theory. Everything that is drawn is a list of lines no wider than the pen's width, and every part is drawn
by a pen of what width is left to it. Nothing is ever cut: prose wraps at spaces, columns that do not fit
move to the next line in all rows alike, and a name that is wider than the screen is folded.

What may live here: placing text. No words of the report.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from rich.console import Console
from rich.text import Span, Text

from svcdoctor.model.trace import Status
from svcdoctor.report.glyphs import STYLE, Glyphs, glyphs_for
from svcdoctor.report.printable import printable, spelled

Lines = list[Text]

GAP = 2  # spaces between two columns
HANG = 2  # by how much the columns that moved to the next line stand in


@dataclass(frozen=True, slots=True)
class Pen:
    """What a part of the report needs to draw itself. ``namespace`` is the one not worth repeating."""

    console: Console
    glyphs: Glyphs
    width: int
    verbose: bool
    namespace: str

    @classmethod
    def of(cls, console: Console, verbose: bool, namespace: str) -> Pen:
        return cls(console, glyphs_for(console.encoding), max(console.width, 20), verbose, namespace)

    def narrower(self, by: int) -> Pen:
        return replace(self, width=max(self.width - by, 8))

    def wrap(self, text: Text, hang: int = 0) -> Lines:
        """``text`` in lines, those after the first one standing in by ``hang``."""
        text = encodable(text, self.console.encoding)
        if text.cell_len <= self.width:
            return [text]
        found: Lines = []
        for line in text.wrap(self.console, max(self.width - hang, 8), overflow="fold"):
            line.rstrip()
            found.append(stand_in(line, hang) if found and hang else line)
        return found

    def mark(self, status: Status) -> tuple[str, str]:
        return self.glyphs.mark(status), f"bold {STYLE[status]}"

    def tree(self, blocks: Sequence[Lines]) -> Lines:
        """Blocks as the forks of one rail; they were drawn by a pen narrower by 3."""
        g = self.glyphs
        found: Lines = []
        for i, block in enumerate(blocks):
            last = i == len(blocks) - 1
            found += under(block, g.last if last else g.fork, "   " if last else g.rail)
        return found

    def columns(self, rows: Sequence[Sequence[Text]], least: Sequence[int] = ()) -> list[Lines]:
        """Each row's lines, with the columns of all rows aligned, and as wide as ``least`` says."""
        count = max((len(row) for row in rows), default=0)
        widths = [max((row[i].cell_len for row in rows if i < len(row)), default=0) for i in range(count)]
        widths = [max(w, least[i]) if w and i < len(least) else w for i, w in enumerate(widths)]
        breaks = _breaks(widths, self.width)
        return [self._row(row, widths, breaks) for row in rows]

    def _row(self, row: Sequence[Text], widths: list[int], breaks: list[list[int]]) -> Lines:
        found: Lines = []
        for at, columns in enumerate(breaks):
            line = Text()
            for i in columns:
                cell = row[i] if i < len(row) else Text()
                line.append_text(cell)
                line.append(" " * (widths[i] - cell.cell_len + GAP))
            line.rstrip()
            if line.plain or not at:
                narrow = self.narrower(HANG) if at else self
                found += [stand_in(part, HANG) if at else part for part in narrow.wrap(line)]
        return found


def _breaks(widths: list[int], width: int) -> list[list[int]]:
    """Which columns stand on which line of a row."""
    lines: list[list[int]] = [[]]
    used = 0
    for i, w in enumerate(widths):
        if not w:
            continue
        if lines[-1] and used + GAP + w > width - (HANG if len(lines) > 1 else 0):
            lines.append([])
            used = 0
        used += w + (GAP if lines[-1] else 0)
        lines[-1].append(i)
    return lines


def words(*parts: str | tuple[str, str]) -> Text:
    """Text of plain and (text, style) parts, each made printable; nothing in them is read as markup."""
    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(printable(content), style or None)
    return text


def encodable(text: Text, encoding: str) -> Text:
    """The text with other signs for those that the encoding lacks."""
    if _has(encoding, text.plain):
        return text
    signs = [c if _has(encoding, c) else spelled(c) for c in text.plain]
    ends = [0, *accumulate(map(len, signs))]
    spans = [Span(ends[s.start], ends[s.end], s.style) for s in text.spans]
    return Text("".join(signs), text.style, spans=spans)


def _has(encoding: str, text: str) -> bool:
    try:
        return text.isascii() or bool(text.encode(encoding))
    except (UnicodeEncodeError, LookupError):
        return False


def stand_in(line: Text, by: int) -> Text:
    return Text(" " * by).append_text(line)


def under(block: Lines, first: str, rest: str) -> Lines:
    """The block behind a dim sign on its first line and another one on the others."""
    return [
        Text.assemble((first if i == 0 else rest, "dim")).append_text(line) for i, line in enumerate(block)
    ]
