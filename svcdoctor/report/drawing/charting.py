"""The charts of a trace: every picture of its ways as boxes, edges and what is to be said of the broken ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from svcdoctor.model.trace import Backend, Outcome, Path, Status, Trace
from svcdoctor.report.drawing.chart import Block, Box, Chart, Edge, Lane, Member, Remark, Role, Source
from svcdoctor.report.ends import URGENCY, alike, backend_name, note_of, share_seen
from svcdoctor.report.entries import UNREMARKABLE, by_number, entry_places
from svcdoctor.report.picture import service_place
from svcdoctor.report.ways import Approach, Branch, Picture, entry_hops, pictures
from svcdoctor.report.wording import address, counted, entry_words, family_of, result_words, share

FEW = 6  # entries, or endpoints, that are alike and still have a box each
NAMED = 3  # nodes that are named; more are counted
LANES = 4  # sound lanes that are drawn of a Service that each node treats otherwise

# Codes of findings that say that a request is lost before it is the Service's, beside those of names (DNS…).
BEFORE_SERVICE = frozenset({"RUL001", "RUL003", "RUL006", "NOD008"})


def drawn_pictures(trace: Trace) -> tuple[Picture, ...]:
    """The pictures of a trace's ways, those with something wrong first."""
    return tuple(sorted(pictures(trace.paths), key=lambda picture: picture.ok))


def charts(trace: Trace, drawn: Iterable[Picture] | None = None) -> tuple[Chart, ...]:
    """A chart for each of the ``drawn_pictures``, which may be at hand."""
    drawing = _Charting(trace)
    return tuple(drawing.chart(p) for p in (drawn_pictures(trace) if drawn is None else drawn))


def worst(statuses: Iterable[Status]) -> Status:
    """The most urgent of them; ok of none."""
    return min(statuses, key=URGENCY.index, default=Status.OK)


class _Charting:
    """Keys are unique over all charts of a trace, and a finding is told whole once."""

    def __init__(self, trace: Trace) -> None:
        self.namespace = trace.target.namespace
        self.findings = {f.code: f for f in reversed(trace.findings)}
        self.told: set[str] = set()
        self.keys = 0

    def key(self, letter: str) -> str:
        self.keys += 1
        return f"{letter}{self.keys}"

    def chart(self, picture: Picture) -> Chart:
        clients = tuple(self.client(approach) for approach in picture.approaches)
        edges: list[Edge] = []
        if picture.fan:
            lanes = self.fan(picture, clients[0], edges)
        else:
            whole = tuple(zip(clients, (a.paths for a in picture.approaches), strict=True))
            lanes = (self.lane(picture, picture.branches[0], whole, edges),)
        statuses = [b.status for lane in lanes for block in lane.ends for b in block.boxes]
        statuses += [b.status for lane in lanes for source in lane.sources for b in source.entries]
        return Chart(_title(picture), worst(statuses), clients, lanes, tuple(edges))

    def client(self, approach: Approach) -> Box:
        hop, entry = approach.client, approach.entry
        name = hop.address if hop.address and hop.address not in hop.title else ""
        lines = [f"by {entry_words(entry)} ({entry.protocol})"]
        title, parts = approach.policy
        named = title != UNREMARKABLE
        if title and (named or len(parts) > 1):
            lines.append(f"{title}: " * named + "; ".join(parts))
        return Box(self.key("c"), Role.CLIENT, Status.OK, hop.title, name, lines=tuple(lines))

    def fan(self, picture: Picture, client: Box, edges: list[Edge]) -> tuple[Lane, ...]:
        """A lane for each branch: those that go wrong, and of the sound ones a few."""
        bad = [b for b in picture.branches if not b.ok]
        good = [b for b in picture.branches if b.ok]
        shown = good if len(good) <= LANES + 1 else good[:LANES]
        lanes = [self.lane(picture, b, ((client, b.paths),), edges) for b in (*bad, *shown)]
        if len(good) > len(shown):
            rest = [p for b in good[len(shown) :] for p in b.paths]
            noun = "nodes" if rest[0].entry.node else "entries"
            members = _members((r[1].plain, r[2].plain) for path in rest for r in entry_places(path)[:1])
            text = f"{len(rest)} more {noun}, each with its own endpoints"
            box = Box(self.key("e"), Role.ENTRY, Status.OK, text, members=members)
            edges.append(Edge(client.key, box.key))
            lanes.append(Lane((Source(client.key, (box,)),), None, ()))
        return tuple(lanes)

    def lane(
        self,
        picture: Picture,
        branch: Branch,
        comers: Sequence[tuple[Box, tuple[Path, ...]]],
        edges: list[Edge],
    ) -> Lane:
        sources = tuple(Source(client.key, self.entries(paths)) for client, paths in comers)
        for source in sources:
            edges += [Edge(source.client, box.key, box.status) for box in source.entries]
        if picture.fan and not branch.ok:
            status, unlike = _health(branch), _unlike(picture, branch)
            sources = tuple(Source(s.client, _marked(s.entries, status, unlike)) for s in sources)
        entries = [box for source in sources for box in source.entries]
        early = {id(o): _before_service(branch.paths, o) for o in branch.ends}
        service = None if all(early.values()) else self.service(picture, branch)
        if service is not None:
            edges += [Edge(box.key, service.key) for box in entries]
        blocks = []
        for group in alike(branch.ends):
            block, shares = self.block(group)
            blocks.append(block)
            at = entries if service is None or early[id(group[0])] else [service]
            for box, label in zip(block.boxes, shares, strict=True):
                edges += [Edge(start.key, box.key, box.status, label) for start in at]
        return Lane(sources, service, tuple(blocks))

    def entries(self, paths: Sequence[Path]) -> tuple[Box, ...]:
        """A box for each place that the requests meet first; many that are alike share one."""
        found: dict[tuple[str, str], dict[str, Status]] = {}
        for path in paths:
            rows = entry_places(path)
            place = address(path.entry.address, path.entry.port)
            key = (rows[0][1].plain, rows[0][2].plain) if rows else ("", place)
            lines = found.setdefault(key, {})
            for i, (status, label, where, note) in enumerate(rows):
                said = (note,) if not i else (label.plain, where.plain, note)
                if any(said):
                    lines[" ".join(filter(None, said))] = status
        alone = [key for key, lines in found.items() if not lines]
        boxes = []
        if len(alone) > FEW:
            what = counted(len(alone), "node") if paths[0].entry.node else f"{len(alone)} entries"
            boxes.append(Box(self.key("e"), Role.ENTRY, Status.OK, what, members=_members(alone)))
        for (name, place), lines in found.items():
            if not lines and len(alone) > FEW:
                continue
            told = [*lines][:FEW] + ([f"and {len(lines) - FEW} more"] if len(lines) > FEW else [])
            status, (first, _, rest) = worst(lines.values()), (name or place).partition("  ")
            at = place if name else ""
            boxes.append(Box(self.key("e"), Role.ENTRY, status, first, at, rest, tuple(told)))
        return tuple(sorted(boxes, key=lambda box: URGENCY.index(box.status)))

    def service(self, picture: Picture, branch: Branch) -> Box | None:
        hop = picture.service
        if hop is None:
            return None
        port = picture.paths[0].service_port
        title, target = hop.title, hop.detail
        lines = []
        if port is not None and port.name:
            title = title.removesuffix(f" {port.name}")
            lines.append(f"port {port.name}")
        if port is not None and port.target_port_name and port.target_port:
            target += f" = {port.target_port}"
        lines.append(target)
        if picture.fan and (where := _where(branch.paths)):
            lines.append(f"as {where}")
        kind, _, name = title.partition(" ")
        place = service_place(picture, hop)
        return Box(self.key("s"), Role.SERVICE, Status.OK, kind, place, name, tuple(filter(None, lines)))

    def block(self, group: Sequence[Outcome]) -> tuple[Block, tuple[str, ...]]:
        """Ends that are alike, and for each of its boxes what stands at the edge that leads to it."""
        sample = group[0]
        if sample.backend is None:
            title = result_words(sample) or "ends here"
            boxes: tuple[Box, ...] = (Box(self.key("d"), Role.END, sample.status, title),)
            labels: tuple[str, ...] = (share(sample.probability) if sample.probability < 1 else "",)
        elif len(group) > FEW:
            boxes = (self.many(group),)
            shares = {share(o.probability) for o in group}
            each = f"{len(group)} × {shares.pop()}" if len(shares) == 1 else ""
            labels = (each or share(sum(o.probability for o in group)),)
        else:
            boxes = tuple(self.end(o) for o in group)
            labels = tuple(" · ".join(filter(None, (share(o.probability), share_seen(o)))) for o in group)
        return Block(boxes, self.remark(sample)), labels

    def end(self, outcome: Outcome) -> Box:
        backend = outcome.backend or Backend()
        place, name = address(backend.ip, backend.port), backend_name(backend, self.namespace)
        node = backend.node if backend.node != backend.host else None
        lines = (f"on {node}",) if node else ()
        return Box(self.key("d"), Role.END, outcome.status, place or name, "", name if place else "", lines)

    def many(self, group: Sequence[Outcome]) -> Box:
        held = [o.backend or Backend() for o in group]
        members = [Member(address(b.ip, b.port), backend_name(b, self.namespace), b.node or "") for b in held]
        members.sort(key=lambda m: (by_number(m.group), by_number(m.address)))
        title = counted(len(group), "endpoint")
        return Box(self.key("d"), Role.END, group[0].status, title, members=tuple(members))

    def remark(self, outcome: Outcome) -> Remark | None:
        reason, code = note_of(outcome), outcome.code or ""
        if not reason and not code:
            return None
        if outcome.backend is not None and (result := result_words(outcome)):
            reason = f"{result}: {reason}"
        finding = self.findings.get(code)
        told = code in self.told
        if finding is not None:
            self.told.add(code)
        return Remark(self.key("r"), outcome.status, reason, code, finding, told)


def _health(branch: Branch) -> Status:
    """How requests by these entries fare: of a part that fails, doubtful."""
    statuses = {o.status for o in branch.ends}
    return statuses.pop() if len(statuses) == 1 else Status.WARN


def _unlike(picture: Picture, branch: Branch) -> str:
    """``unlike node1, node3``: the nodes that do better, where these are not the fewer."""
    mine = _nodes(branch.paths)
    others = [n for n in _nodes(p for b in picture.branches if b.ok for p in b.paths) if n not in mine]
    if not others or len(others) < len(mine):
        return ""
    return f"unlike {', '.join(others)}" if len(others) <= NAMED else f"unlike {len(others)} nodes"


def _nodes(paths: Iterable[Path]) -> tuple[str, ...]:
    """The nodes by which requests come in; a cluster IP's are those that its client may be on."""
    found: dict[str, None] = {}
    for path in paths:
        where = path.hops[0].detail
        names = where.removeprefix("on ").split(", ") if where else [path.entry.node]
        found.update((name, None) for name in names if name)
    return tuple(found)


def _marked(boxes: Sequence[Box], status: Status, line: str) -> tuple[Box, ...]:
    more = (line,) if line else ()
    return tuple(replace(b, status=worst((b.status, status)), lines=(*b.lines, *more)) for b in boxes)


def _where(paths: Sequence[Path]) -> str:
    """``on node1, node2``: the nodes whose rules or pods decide it; empty where any does."""
    nodes = _nodes(paths)
    if not nodes:
        return ""
    return f"on {', '.join(nodes)}" if len(nodes) <= NAMED else f"on {len(nodes)} nodes"


def _before_service(paths: Sequence[Path], outcome: Outcome) -> bool:
    """Whether a request that ends so has not come to the Service: its name or the entry's address failed."""
    if outcome.backend is not None:
        return False
    code = outcome.code or ""
    if code in BEFORE_SERVICE or code.startswith("DNS"):
        return True
    hops = (hop for path in paths for hop in entry_hops(path))
    return any(hop.status is not Status.OK and hop.detail == outcome.reason for hop in hops)


def _members(places: Iterable[tuple[str, str]]) -> tuple[Member, ...]:
    """Entries, by name and address."""
    found = (Member(where, name) for name, where in dict.fromkeys(places))
    return tuple(sorted(found, key=lambda m: (by_number(m.name), by_number(m.address))))


def _family(picture: Picture) -> int | None:
    ips = [p.entry.address for p in picture.paths]
    ips += [o.backend.ip for b in picture.branches for o in b.ends if o.backend]
    return next((family for ip in ips if (family := family_of(ip)) is not None), None)


def _title(picture: Picture) -> str:
    """``Service shop/web, port http, by nodePort``"""
    hop, port = picture.service, picture.paths[0].service_port
    parts = []
    if hop is not None:
        name = f" {port.name}" if port is not None and port.name else ""
        parts.append(hop.title.removesuffix(name) if name else hop.title)
    if port is not None:
        parts.append(f"port {port.name} ({port.port})" if port.name else f"port {port.port}")
    if _family(picture) == 6:
        parts.append("IPv6")
    ways = dict.fromkeys(entry_words(a.entry) for a in picture.approaches)
    parts.append(f"by {' and '.join(ways)}" if len(ways) < 3 else f"by {', '.join(ways)}")
    return ", ".join(parts)
