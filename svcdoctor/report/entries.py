"""The upper half of a picture: clients, the addresses at which they enter, what the entry's policy means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rich.text import Text

from svcdoctor.model.trace import EntryKind, Hop, HopKind, Path, Status
from svcdoctor.path.observedhops import counts_words
from svcdoctor.report.layout import Lines, Pen, stand_in, words
from svcdoctor.report.ways import Approach, entry_hops
from svcdoctor.report.wording import address, entry_words

FEW = 4  # entries shown of many that are alike
MANY = 8  # entries from which on only a few are shown

UNREMARKABLE = "internalTrafficPolicy Cluster"  # the default, which most have never heard of

_NAMED_BY_NODE = frozenset({EntryKind.NODE_PORT, EntryKind.HOST_PORT})
_QUIET = frozenset({HopKind.DNS})  # their details are for -v


def head(approach: Approach) -> Text:
    """``client outside the cluster, by nodePort (TCP)``"""
    entry, client = approach.entry, approach.client
    ip = f" {client.address}" if client.address and client.address not in client.title else ""
    return words((f"{client.title}{ip}", "bold"), f", by {entry_words(entry)} ({entry.protocol})")


def policy_lines(pen: Pen, approach: Approach) -> Lines:
    title, parts = approach.policy
    named = title != UNREMARKABLE or pen.verbose
    if not title or (not named and len(parts) < 2):
        return []
    return pen.wrap(words((f"{title}: " * named + "; ".join(parts), "dim")))


def entry_rows(pen: Pen, paths: Sequence[Path], least: Sequence[int] = ()) -> Lines:
    """A line for each entry. Of many alike a few are shown; one that differs always is.

    ``least`` are widths of the columns (``entry_widths``), for branches that stand below each other.
    """
    rows = [row for path in paths for row in entry_places(path)]
    rows = list({(str(r[1]), str(r[2]), r[3]): r for r in rows}.values())
    plain = [r for r in rows if r[0] is Status.OK]
    odd = [r for r in rows if r[0] is not Status.OK]
    shown = plain if pen.verbose or len(plain) <= MANY else plain[:FEW]
    drawn = pen.columns([[_marked(pen, r[0], r[1]), r[2]] for r in odd + shown], least)
    found: Lines = []
    for row, lines in zip(odd + shown, drawn, strict=True):
        note = words((row[3], "yellow" if row[0] is not Status.OK else "dim"))
        if note.plain and len(lines) == 1 and lines[0].cell_len + 2 + note.cell_len <= pen.width:
            lines = [lines[0].append("  ").append_text(note)]
        elif note.plain:
            lines += [stand_in(line, 2) for line in pen.narrower(2).wrap(note)]
        found += lines
    if len(plain) > len(shown):
        what = "nodes" if paths[0].entry.node else "entries"
        more = f"and {len(plain) - len(shown)} more {what} alike; all with -v"
        found += pen.wrap(words((more, "dim")))
    return found


def entry_widths(pen: Pen, paths: Sequence[Path]) -> tuple[int, int]:
    """How wide the columns of these entries are: label and address, in cells."""
    rows = [row for path in paths for row in entry_places(path)]
    return max(_marked(pen, r[0], r[1]).cell_len for r in rows), max(r[2].cell_len for r in rows)


def names_of(paths: Sequence[Path]) -> str:
    """Many entries packed: their nodes or addresses, ``node-2`` before ``node-10``."""
    names = {p.entry.node or address(p.entry.address, None) for p in paths}
    return ", ".join(sorted(names, key=by_number))


def by_number(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _marked(pen: Pen, status: Status, label: Text) -> Text:
    if status is Status.OK:
        return label
    return Text.assemble(pen.mark(status), " ").append_text(label)


Row = tuple[Status, Text, Text, str]


def entry_places(path: Path) -> list[Row]:
    """(status, label, address, note) of each place that the request passes before the Service."""
    hops = entry_hops(path)
    said = {o.reason for o in path.outcomes}
    place = _place(path.entry.address, path.entry.port)
    if path.entry.kind in _NAMED_BY_NODE:
        label = path.entry.node or "<any node>"
        if path.entry.kind is EntryKind.NODE_PORT and path.entry.port is None:
            place = "  ".join(filter(None, (place, "a nodePort that the API server picks")))
        return [(_worst(hops, said), words(label), words((place, "cyan")), _notes(hops, said, path))]
    if path.entry.kind in (EntryKind.CLUSTER_IP, EntryKind.DNS):
        name = next((h.title for h in hops if h.kind is HopKind.DNS), "")
        where = path.hops[0].detail
        label = "  ".join(filter(None, (where, name if name != path.entry.address else "")))
        return [(_worst(hops, said), words(label), words((place, "cyan")), _notes(hops, said, path))]
    rows: list[Row] = []
    for hop in hops:
        label = f"through {hop.title}" if hop.kind is HopKind.NODE and rows else hop.title
        status = Status.OK if hop.detail in said else hop.status
        place = _place(hop.address, hop.port)
        rows.append(
            (status, words(label), words((place, "cyan")), _notes((hop,), said, None if rows else path))
        )
    return rows


def _place(host: str | None, port: int | None) -> str:
    return f"port {port}" if host is None and port is not None else address(host, port)


def _worst(hops: Sequence[Hop], said: set[str]) -> Status:
    told = [h.status for h in hops if h.detail not in said and h.status is not Status.OK]
    return Status.FAIL if Status.FAIL in told else told[0] if told else Status.OK


def _notes(hops: Sequence[Hop], said: set[str], path: Path | None) -> str:
    """What requests by the path met, and what the hops say that is not told at the end of the way already."""
    details = [h.detail for h in hops if h.kind not in _QUIET and h.detail and h.detail not in said]
    if path is not None and path.observed is not None:
        details.insert(0, counts_words(path.observed))
    return "; ".join(dict.fromkeys(details))
