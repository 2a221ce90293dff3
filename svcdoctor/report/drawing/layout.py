"""Where everything stands: columns from left to right, lanes below each other, edges as rails between them.

Lengths are CSS pixels from the upper left corner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from svcdoctor.model.trace import Status
from svcdoctor.report.drawing.chart import Chart, Edge, Lane, Role
from svcdoctor.report.drawing.measure import HEAD, width
from svcdoctor.report.drawing.setting import Setting, set_block, set_box

MARGIN = 4.0
HEADS = 26.0  # the row of the columns' headings
GAP = {Role.ENTRY: 44.0, Role.SERVICE: 52.0, Role.END: 64.0}  # left of a column
NEAR = 10.0  # between boxes that belong together
APART = 22.0  # between what belongs to different sources or ends
LANE = 34.0  # between lanes
SINK = 120.0  # how far down a short column is moved beside a long one, at most
JOG = 14.0  # by how much an edge does not turn, where it can go straight on
CLOSE = 4.0  # between an end and what is said of it
RAIL = 24.0  # from a box to where its edges turn
HEADINGS = {Role.CLIENT: "who asks", Role.ENTRY: "comes in at", Role.SERVICE: "Service", Role.END: "ends at"}


@dataclass(frozen=True, slots=True)
class Placed:
    """A set box, or what is said of ends, at its place."""

    setting: Setting
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """The height at which edges meet it: beside its first lines, where it is tall."""
        return self.y + min(self.height / 2, 34.0)

    def takes(self, y: float) -> bool:
        """Whether an edge may meet it at that height."""
        return self.y + 12 <= y <= self.y + self.height - 12


@dataclass(frozen=True, slots=True)
class Wire:
    """An edge: from the right side of one box to the left side of another, turning at ``rail``."""

    edge: Edge
    x1: float
    y1: float
    rail: float
    x2: float
    y2: float


@dataclass(frozen=True, slots=True)
class Sheet:
    """A chart, laid out."""

    chart: Chart
    width: float
    height: float
    headings: tuple[tuple[float, str], ...]
    placed: tuple[Placed, ...]
    wires: tuple[Wire, ...]


def lay_out(chart: Chart) -> Sheet:
    """The chart at its natural size."""
    return _Layout(chart).sheet()


class _Layout:
    def __init__(self, chart: Chart) -> None:
        self.chart = chart
        self.clients = {box.key: set_box(box) for box in chart.clients}
        self.entries = {
            box.key: set_box(box) for lane in chart.lanes for s in lane.sources for box in s.entries
        }
        self.services = [set_box(lane.service) if lane.service else None for lane in chart.lanes]
        self.ends = [[set_block(block) for block in lane.ends] for lane in chart.lanes]
        self.placed: list[Placed] = []
        self.at: dict[str, Placed] = {}
        ends = [s for lane in self.ends for block in lane for s in block]
        self.settings = {
            Role.CLIENT: list(self.clients.values()),
            Role.ENTRY: list(self.entries.values()),
            Role.SERVICE: [s for s in self.services if s is not None],
            Role.END: ends,
        }
        # Boxes of a column are equally wide, but for those of many members.
        self.usual = {
            role: _widest(s for s in held if s.box is None or not s.box.members)
            for role, held in self.settings.items()
        }
        self.roles = {box.key: box.role for box in chart.boxes}
        self.columns = self._columns()

    def _columns(self) -> dict[Role, tuple[float, float]]:
        """Where each column begins, and how wide it is; those without boxes are left out."""
        widths = {role: _widest(held) for role, held in self.settings.items()}
        labels = max((width(edge.label, HEAD) for edge in self.chart.edges), default=0.0)
        found: dict[Role, tuple[float, float]] = {}
        x = MARGIN
        for role, wide in widths.items():
            if not wide:
                continue
            if found:
                x += GAP[role] + (labels + 26 if role is Role.END else 0)
            found[role] = x, wide
            x += wide
        return found

    def sheet(self) -> Sheet:
        y = HEADS
        for lane, service, ends in zip(self.chart.lanes, self.services, self.ends, strict=True):
            y = self._lane(lane, service, ends, y) + LANE
        bottom = y - LANE
        shared = [k for k in self.clients if k not in self.at]
        for key in shared:
            bottom = max(bottom, self._shared(key))
        right = max((p.x + p.width for p in self.placed), default=0.0)
        headings = tuple((x, HEADINGS[role]) for role, (x, _) in self.columns.items())
        size = round(right + MARGIN, 1), round(bottom + MARGIN, 1)
        return Sheet(self.chart, *size, headings, tuple(self.placed), tuple(self._wires()))

    def _shared(self, key: str) -> float:
        """A client of several lanes stands beside them all. Returns where it ends."""
        mine = [self.at[e.target] for e in self.chart.edges if e.source == key]
        setting = self.clients[key]
        middle = (mine[0].middle + mine[-1].middle) / 2 if mine else HEADS
        y = max(HEADS, min(middle - setting.height / 2, HEADS + SINK))
        self._place(Role.CLIENT, setting, y)
        return y + setting.height

    def _lane(
        self, lane: Lane, service: Setting | None, ends: list[tuple[Setting, ...]], top: float
    ) -> float:
        """Places a lane's boxes from ``top`` on, and says where it ends."""
        alone = len(self.chart.lanes) == 1
        heights = []
        for source in lane.sources:
            entries = _stack(self.entries[b.key].height for b in source.entries)
            heights.append(max(entries, self.clients[source.client].height if alone else 0.0))
        left = sum(heights) + APART * (len(heights) - 1)
        right = sum(_stack(s.height for s in block) for block in ends) + APART * (len(ends) - 1)
        middle = service.height if service is not None else 0.0
        tall = max(left, right, middle)
        y = top + min((tall - left) / 2, SINK)
        for source, height in zip(lane.sources, heights, strict=True):
            inner = [self.entries[b.key] for b in source.entries]
            at = y + max(0.0, min((height - _stack(s.height for s in inner)) / 2, SINK))
            for setting in inner:
                self._place(Role.ENTRY, setting, at)
                at += setting.height + NEAR
            if alone:
                client = self.clients[source.client]
                self._place(Role.CLIENT, client, y + max(0.0, min((height - client.height) / 2, SINK)))
            y += height + APART
        if service is not None:
            self._place(Role.SERVICE, service, top + min((tall - middle) / 2, SINK))
        y = top + min((tall - right) / 2, SINK)
        for block in ends:
            for i, setting in enumerate(block):
                y += 0 if not i else CLOSE if setting.box is None else NEAR
                self._place(Role.END, setting, y)
                y += setting.height
            y += APART
        return top + tall

    def _place(self, role: Role, setting: Setting, y: float) -> None:
        x, wide = self.columns[role]
        if setting.box is None or not setting.box.members:
            wide = self.usual[role]
        placed = Placed(setting, x, round(y, 1), wide, setting.height)
        self.placed.append(placed)
        if setting.box is not None:
            self.at[setting.box.key] = placed

    def _wires(self) -> Iterable[Wire]:
        """The edges, broken ones last: they are drawn over the others."""
        order = (Status.OK, Status.WARN, Status.UNKNOWN, Status.FAIL)
        out, into = Counter(e.source for e in self.chart.edges), Counter(e.target for e in self.chart.edges)
        for edge in sorted(self.chart.edges, key=lambda e: order.index(e.status)):
            start, end = self.at[edge.source], self.at[edge.target]
            x1, x2 = start.x + start.width, end.x
            y1, y2 = start.middle, end.middle
            if into[edge.target] == 1 and abs(y1 - y2) < JOG and end.takes(y1):
                y2 = y1
            elif out[edge.source] == 1 and start.takes(y2):
                y1 = y2
            elif out[edge.source] == into[edge.target] == 1 and end.takes(y1):
                y2 = y1
            rail = x2 - RAIL
            if self.roles[edge.target] is Role.END:
                rail = sum(self.columns[self.roles[edge.source]]) + RAIL
            yield Wire(edge, x1, y1, rail, x2, y2)


def _widest(settings: Iterable[Setting]) -> float:
    return max((s.width for s in settings), default=0.0)


def _stack(heights: Iterable[float]) -> float:
    held = list(heights)
    return sum(held) + NEAR * (len(held) - 1) if held else 0.0
