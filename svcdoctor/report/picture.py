"""One picture of ways: clients and entries above, the Service, the endpoints below.

    ╭─ client outside the cluster, by nodePort (TCP)
    │    node1  172.30.0.11:30080
    │    node2  172.30.0.12:30080
    ▼
    Service shop/web  10.96.1.3:80 (http)  targetPort 8080
    ├─ ✔   50 %  10.244.1.2:8080  web-1  node1
    ╰─ ✔   50 %  10.244.2.2:8080  web-2  node2

Where the entries end differently, each has its own ends:

    ╭─ client outside the cluster, by nodePort (TCP)
    ├─ node3  172.30.0.13:30080
    │  ╰─ ✘ dropped (timeout): externalTrafficPolicy Local and no endpoint on node3  RUL009
    ╰─ node1  172.30.0.11:30080  ✔  100 %  10.244.1.2:8080  web-1  node1
"""

from __future__ import annotations

from rich.text import Text

from svcdoctor.model.trace import EntryKind, Hop
from svcdoctor.report.ends import end_blocks
from svcdoctor.report.entries import FEW, entry_rows, entry_widths, head, names_of, policy_lines
from svcdoctor.report.layout import Lines, Pen, under, words
from svcdoctor.report.ways import Branch, Picture
from svcdoctor.report.wording import address, counted, family_of

BRANCHES = 6  # branches of a fan from which on only a few are shown
NAMED = 6  # failing entries from which on they are packed into one line


def picture_lines(pen: Pen, picture: Picture) -> Lines:
    """The picture, no line wider than the pen."""
    return _fan(pen, picture) if picture.fan else _joined(pen, picture)


def _joined(pen: Pen, picture: Picture) -> Lines:
    g = pen.glyphs
    inner = pen.narrower(5)
    found: Lines = []
    for i, approach in enumerate(picture.approaches):
        found += under(pen.narrower(3).wrap(head(approach)), g.fork if i else g.start, g.rail)
        body = entry_rows(inner, approach.paths) + policy_lines(inner, approach)
        found += under(body, g.rail + "  ", g.rail + "  ")
    found.append(Text(g.down, "dim"))
    found += _service(pen, picture)
    return found + pen.tree(end_blocks(pen.narrower(3), picture.branches[0].ends))


def _service(pen: Pen, picture: Picture) -> Lines:
    """The Service's line: name, address, port, targetPort."""
    hop = picture.service
    if hop is None:
        return []
    port = picture.paths[0].service_port
    title, where, target = hop.title, service_place(picture, hop), hop.detail
    name = ""
    if port is not None and port.name:
        title = title.removesuffix(f" {port.name}")
        name = f" ({port.name})"
    if port is not None and port.target_port_name and port.target_port:
        target += f" = {port.target_port}"
    where_and_name = words((where, "cyan"), name if where else name.lstrip())
    return pen.columns([[words((title, "bold")), where_and_name, words((target, "dim"))]])[0]


def service_place(picture: Picture, hop: Hop) -> str:
    """The Service's address of the family that the picture is about, with its port."""
    for path in picture.paths:
        if path.entry.kind is EntryKind.CLUSTER_IP:
            return address(path.entry.address, hop.port)
    ips = [p.entry.address for p in picture.paths]
    ips += [o.backend.ip for b in picture.branches for o in b.ends if o.backend]
    families = {family_of(ip) for ip in ips} - {None}
    if hop.address is not None and (not families or family_of(hop.address) in families):
        return address(hop.address, hop.port)
    return f"port {hop.port}" if hop.port is not None else ""


def _fan(pen: Pen, picture: Picture) -> Lines:
    approach = picture.approaches[0]
    g, inner = pen.glyphs, pen.narrower(3)
    found = under(inner.wrap(head(approach)), g.start, g.rail)
    notes = pen.narrower(5)
    body = policy_lines(notes, approach) + _service(notes, picture)
    found += under(body, g.rail + "  ", g.rail + "  ")
    good = [b for b in picture.branches if b.ok]
    bad = [b for b in picture.branches if not b.ok]
    shown = good if pen.verbose or len(good) <= BRANCHES else good[:FEW]
    least = entry_widths(inner, approach.paths)
    blocks = [_branch(inner, b, least) for b in (*bad, *shown)]
    if len(good) > len(shown):
        rest = sum(len(b.paths) for b in good[len(shown) :])
        what = "more node" if approach.entry.node else "more entry"
        text = f"and {counted(rest, what)}, each with its own endpoints; all with -v"
        blocks.append(inner.wrap(words((text, "dim"))))
    return found + pen.tree(blocks)


def _branch(pen: Pen, branch: Branch, least: tuple[int, int]) -> Lines:
    """Entries and their ends; a single end stands behind a single entry where there is room."""
    if not branch.ok and len(branch.paths) > NAMED and not pen.verbose:
        ports = {p.entry.port for p in branch.paths}
        port = f", port {ports.pop()}" if len(ports) == 1 else ""
        many = counted(len(branch.paths), "node" if branch.paths[0].entry.node else "entry")
        rows = pen.wrap(words((f"{many}{port}: ", "bold"), names_of(branch.paths)), 2)
    else:
        rows = entry_rows(pen, branch.paths, least)
    blocks = end_blocks(pen.narrower(3), branch.ends)
    if len(rows) == len(blocks) == len(blocks[0]) == 1:
        line = rows[0].copy().append("  ").append_text(blocks[0][0])
        if line.cell_len <= pen.width:
            return [line]
    return rows + pen.tree(blocks)
