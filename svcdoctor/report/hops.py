"""Every hop with its status and detail: what -v adds below the pictures."""

from __future__ import annotations

from itertools import zip_longest

from rich.text import Text

from svcdoctor.model.trace import Hop, Status
from svcdoctor.report.entries import head
from svcdoctor.report.glyphs import STYLE
from svcdoctor.report.layout import Lines, Pen, stand_in, words
from svcdoctor.report.ways import Picture
from svcdoctor.report.wording import address


def hops_lines(pen: Pen, picture: Picture) -> Lines:
    """The hops of every path of the picture; those that paths have in common stand once."""
    found: Lines = []
    for approach in picture.approaches:
        for branch in picture.branches:
            paths = tuple(p for p in branch.paths if p in approach.paths)
            found += pen.wrap(head(approach), 2)
            for step in zip_longest(*(p.hops for p in paths)):
                for hop in dict.fromkeys(step):
                    if hop is not None:
                        found += [stand_in(line, 2) for line in _hop(pen.narrower(2), hop)]
    return found


def _hop(pen: Pen, hop: Hop) -> Lines:
    place = address(hop.address, hop.port)
    title = "" if hop.title.startswith(f"{hop.kind} ") else f"{hop.kind} "
    line = Text.assemble(pen.mark(hop.status), " ")
    line.append_text(words((title, "dim"), hop.title, (f"  {place}" if place else "", "cyan")))
    style = STYLE[hop.status] if hop.status is not Status.OK else "dim"
    if hop.detail:
        line.append_text(words((f"  {hop.detail}", style)))
    if hop.observed is not None:
        seen = hop.observed
        predicted = "" if seen.predicted is seen.status else f" (predicted {seen.predicted})"
        line.append_text(words(("  observed: ", "bold"), f"{seen.status}{predicted}, {seen.detail}"))
    found = pen.wrap(line, 4)
    for rule in hop.rules:
        found += [stand_in(part, 4) for part in pen.narrower(4).wrap(words((rule, "dim")))]
    return found
