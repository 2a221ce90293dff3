"""The screen on which a Service is picked: what was typed, the Services that fit with their state, and which is meant.

Theory. A row is a line, whatever the width: the name stands whole as long as it can, and of the columns behind it those
are left out that have no room, the last first. Every state is a sign and a word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from svcdoctor.model.checkup import Row
from svcdoctor.report.checkupwords import worst_first
from svcdoctor.report.fuzzy import Match, ranked
from svcdoctor.report.glyphs import ASCII, OF_VERDICT, STYLE, Glyphs
from svcdoctor.report.printable import printable

LEAST_WIDTH, LEAST_HEIGHT = 12, 3
GAP = "  "


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be picked. ``states`` are the checked ones by name; ``about`` says how far the check is."""

    namespace: str
    names: tuple[str, ...]
    states: Mapping[str, Row]
    about: str

    def fitting(self, query: str) -> list[tuple[str, Match]]:
        """The names that fit, the best first; of those that fit alike the worst off, then as the alphabet goes."""
        checked = [row.name for row in worst_first(self.states[n] for n in self.names if n in self.states)]
        order = dict.fromkeys((*checked, *self.names))
        return ranked(query, order, str)


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user has typed, and where the cursor is among what fits."""

    query: str = ""
    at: int = 0


def picture(offer: Offer, choice: Choice, size: tuple[int, int], glyphs: Glyphs) -> list[Text]:
    """The lines, as many as the terminal has and none wider. ``size`` is its width and height."""
    width, height = max(size[0], LEAST_WIDTH), max(size[1], LEAST_HEIGHT)
    fitting = offer.fitting(choice.query)
    head = Text.assemble(("Services in ", "dim"), (printable(offer.namespace), "bold"))
    head.append(f"{GAP}{len(fitting)} of {len(offer.names)}", "dim")
    head.append(f"{GAP}{printable(offer.about)}" if offer.about else "", "dim")
    lines = [head, Text.assemble(("> ", "bold"), printable(choice.query), ("_", "blink"))]
    foot = [Text("Enter traces it, Esc leaves", "dim")] if height > LEAST_HEIGHT else []
    room = height - len(lines) - len(foot)
    lines += _rows(offer, fitting, choice.at, room, width, glyphs)
    lines += [Text()] * (height - len(foot) - len(lines))
    lines += foot
    for line in lines:
        line.truncate(width, overflow="crop")
    return lines


def _rows(
    offer: Offer, fitting: Sequence[tuple[str, Match]], at: int, room: int, width: int, glyphs: Glyphs
) -> list[Text]:
    """The window of rows around the cursor."""
    if not fitting:
        return [Text("  none fits", "dim")]
    first = max(0, min(at - room // 2, len(fitting) - room))
    shown = fitting[first : first + room]
    cells = [_cells(offer, name, match, glyphs) for name, match in shown]
    widths = [max(row[i].cell_len for row in cells) for i in range(len(cells[0]))]
    kept = _kept(widths, width - 2)
    found: list[Text] = []
    for n, row in enumerate(cells, first):
        line = Text.assemble(("> ", "bold cyan") if n == at else "  ")
        for i in kept:
            line.append_text(row[i])
            line.append(" " * (widths[i] - row[i].cell_len) + GAP)
        line.rstrip()
        if n == at:
            line.stylize("reverse", 2)
        found.append(line)
    return found


def _kept(widths: Sequence[int], room: int) -> list[int]:
    """The columns that have room; sign and name always."""
    kept: list[int] = []
    used = 0
    for i, width in enumerate(widths):
        if not width:
            continue
        if i > 1 and used + width > room:
            break
        kept.append(i)
        used += width + len(GAP)
    return kept


def _cells(offer: Offer, name: str, match: Match, glyphs: Glyphs) -> list[Text]:
    shown = Text("".join(printable(c) for c in name), "bold")
    for place in match.places:
        shown.stylize("underline", place, place + 1)
    row = offer.states.get(name)
    if row is None:
        return [Text(" " * len(glyphs.ok)), shown, *[Text()] * 5]
    status = OF_VERDICT[row.verdict]
    ready = "" if row.endpoints is None else f"{row.endpoints[0]}/{row.endpoints[1]} ready"
    ports = ", ".join(row.ports)
    return [
        Text(glyphs.mark(status), f"bold {STYLE[status]}"),
        shown,
        Text(str(row.verdict), STYLE[status]),
        Text(", ".join(row.codes)),
        Text(ready),
        Text(printable(row.type)),
        Text(printable(ports.replace("→", "->") if glyphs is ASCII else ports), "dim"),
    ]
