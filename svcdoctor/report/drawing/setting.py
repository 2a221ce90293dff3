"""Text set into boxes: which lines a box has, in which type, and how large that makes it. Nothing has a place yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from svcdoctor.model.trace import Status
from svcdoctor.report.commands import fix_lines
from svcdoctor.report.drawing.chart import Block, Box, Member, Remark, Role
from svcdoctor.report.drawing.measure import (
    CELL,
    CODE,
    HEAD,
    MONO,
    NAME,
    PROSE,
    STRONG,
    TITLE,
    Type,
    width,
    wrapped,
)
from svcdoctor.report.entries import by_number
from svcdoctor.report.printable import printable

ROOM = {Role.CLIENT: 185.0, Role.ENTRY: 250.0, Role.SERVICE: 200.0, Role.END: 370.0}  # for a line of text
GRID = {Role.ENTRY: 380.0, Role.END: 560.0}  # for many that are alike
PAD = 12.0
SIGN = 24.0  # the room of a status's sign before the text
COLUMNS = 4  # of a grid, at most
MEMBERS = 240  # of a box that are shown; the others are counted
PREFIX = 8  # characters that all names of a grid begin with, from which on they are said once
GUTTER = 10.0  # between the cells of a grid
FEW = 4  # members of a group from which on it has a heading of its own


@dataclass(frozen=True, slots=True)
class Run:
    """A line of text. ``x`` and ``y`` (of its base line) are from the corner of what it stands in."""

    x: float
    y: float
    text: str
    kind: Type
    classes: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """A box's text. ``status`` is that of the sign before it, ``None`` for none."""

    box: Box | None
    remark: Remark | None
    width: float
    height: float
    runs: tuple[Run, ...]
    status: Status | None = None


class _Column:
    """Lines below each other, from the upper left corner of the padding."""

    def __init__(self, room: float, indent: float = 0.0) -> None:
        self.room, self.indent = room, indent
        self.y = PAD - 2
        self.widest = 0.0
        self.runs: list[Run] = []

    def write(self, text: str, kind: Type, classes: str = "", hang: float = 0.0) -> None:
        """A paragraph, its lines all standing in by ``hang``."""
        for line in wrapped(printable(text), kind, self.room - self.indent - hang) if text else ():
            self.y += kind.leading
            self.put(self.indent + hang, self.y, line, kind, classes)

    def put(self, x: float, y: float, text: str, kind: Type, classes: str = "") -> None:
        self.runs.append(Run(PAD + x, y - kind.leading * 0.24, text, kind, classes))
        self.widest = max(self.widest, x + width(text, kind))

    def set(self, box: Box | None, remark: Remark | None = None, status: Status | None = None) -> Setting:
        size = round(self.widest + 2 * PAD, 1), round(self.y + PAD - 2, 1)
        return Setting(box, remark, *size, tuple(self.runs), status)


def set_box(box: Box) -> Setting:
    """A box's text."""
    shown = box.status if box.role is Role.END or box.status is not Status.OK else None
    room = GRID[box.role] if box.members else ROOM[box.role]
    column = _Column(room, SIGN if shown is not None else 0.0)
    tone = str(box.status) if box.role is Role.ENTRY and box.status is not Status.OK else ""
    words = box.role in (Role.CLIENT, Role.SERVICE) or box.members
    column.write(box.title, TITLE if words else STRONG)
    column.write(box.name, STRONG if box.role is Role.SERVICE else NAME)
    column.write(box.address, NAME, "a")
    for line in box.lines:
        column.write(line, PROSE, tone)
    if box.members:
        column.indent = 0.0
        _grid(column, box.members)
    return column.set(box, status=shown)


def set_block(block: Block) -> tuple[Setting, ...]:
    """The boxes of a block, then what is said of them. An end without an address is one with what is said of it."""
    first, remark = block.boxes[0], block.remark
    bare = not (first.name or first.address or first.lines or first.members)
    if bare and remark is not None and len(block.boxes) == 1:
        column = _Column(ROOM[Role.END], SIGN)
        column.write(first.title, TITLE, str(first.status))
        _remark(column, remark)
        return (column.set(first, remark, first.status),)
    settings = [set_box(box) for box in block.boxes]
    if remark is not None:
        column = _Column(ROOM[Role.END])
        _remark(column, remark)
        settings.append(column.set(None, remark))
    return tuple(settings)


def _remark(column: _Column, remark: Remark) -> None:
    column.write(remark.reason, PROSE)
    finding = remark.finding
    if remark.code:
        column.y += 3
        start = column.y
        hang = width(remark.code, STRONG) + 8
        column.write(finding.title if finding is not None else "", TITLE, hang=hang)
        column.put(column.indent, start + TITLE.leading, remark.code, STRONG, str(remark.status))
        column.y = max(column.y, start + TITLE.leading)
    if finding is None or not finding.fix.strip():
        return
    if remark.told:
        column.write("Its fix is shown with the first of its kind.", PROSE)
        return
    column.y += 3
    column.write("Fix", HEAD)
    room = column.room - column.indent
    for line in fix_lines(finding.fix, int(room / (CODE.size * MONO))):
        column.write(line, CODE)


def _grid(column: _Column, members: Sequence[Member]) -> None:
    shown = members[:MEMBERS]
    names = _prefix([m.name for m in members])
    port = _port([m.address for m in members])
    groups = [(name, list(held)) for name, held in groupby(shown, key=lambda m: m.group)]
    headed = len(groups) > 1 and len(shown) >= FEW * len(groups)
    if len(groups) == 1 and groups[0][0]:
        column.write(f"on {groups[0][0]}", PROSE)
    if port:
        column.write(f"port {port}", PROSE)
    if names:
        column.write(f"{names}…", NAME)
    if not headed:
        groups = [("", sorted(shown, key=lambda m: by_number(m.address)))]
    sizes = [max(width(cell[i], CELL) for cell in (_cell(m, names, port) for m in shown)) for i in (0, 1)]
    each = sum(size + GUTTER for size in sizes if size) + GUTTER
    count = int(max(1, min(COLUMNS, (column.room + 2 * GUTTER) // each)))
    column.y += 3
    for name, held in groups:
        if headed:
            column.y += 3
            column.write(f"{name or 'no node known'} · {len(held)}", HEAD)
        rows = -(-len(held) // count)
        for i, member in enumerate(held):
            x, y = (i // rows) * each, column.y + (i % rows + 1) * CELL.leading
            for text, size, classes in zip(_cell(member, names, port), sizes, ("a", ""), strict=True):
                if text:
                    column.put(x, y, text, CELL, classes)
                x += size + GUTTER if size else 0
        column.y += rows * CELL.leading
    if len(members) > len(shown):
        column.write(f"and {len(members) - len(shown):,} more", PROSE)


def _cell(member: Member, names: str, port: str) -> tuple[str, str]:
    """A member's address and name, without what all have in common."""
    name, place = printable(member.name), printable(member.address)
    place = place.removesuffix(f":{port}") if port else place
    return place, f"…{name.removeprefix(names)}" if names else name


def _port(addresses: Sequence[str]) -> str:
    """The port that all addresses have."""
    ports = {address.rpartition(":")[2] for address in addresses if ":" in address}
    return ports.pop() if len(ports) == 1 and all(":" in a for a in addresses) else ""


def _prefix(names: Sequence[str]) -> str:
    """What all names begin with, up to a hyphen, where it is worth saying once."""
    first, last = printable(min(names)), printable(max(names))
    alike = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    found = first[: first.rfind("-", 0, alike) + 1]
    return found if len(found) >= PREFIX else ""
