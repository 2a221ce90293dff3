"""A Service's rules on one node as a tree, for people."""

from __future__ import annotations

from rich.console import Console

from svcdoctor.path.hops import percent
from svcdoctor.path.ruletree import Branch, Tree
from svcdoctor.report.layout import Lines, Pen, under, words

NARROW = 16  # columns, below which forks have no rail of their own
WHO = {"outside": "outside", "pod": "a pod of the node", "node": "the node itself"}


def render(trees: list[Tree], console: Console) -> None:
    """Prints a tree for each frontend."""
    pen = Pen.of(console, True, "")
    for i, tree in enumerate(trees):
        if i:
            console.print()
        for line in tree_lines(pen, tree):
            console.print(line, soft_wrap=True)


def tree_lines(pen: Pen, tree: Tree) -> Lines:
    """The frontend, then the rules that its packets pass through."""
    place = tree.place
    port = place.frontend.port
    head = words(
        (f"{place.frontend.kind} {place.text}/{port.protocol}", "bold"),
        f"  Service {place.frontend.service.namespace}/{place.frontend.service.name}"
        f"{' ' + port.name if port.name else ''} on {place.node}",
    )
    found = pen.wrap(head, 2)
    everyone = tuple(tree.root.shares)
    return found + _below(pen, tree.root, everyone)


def _below(pen: Pen, branch: Branch, from_: tuple[str, ...]) -> Lines:
    """What follows a rule. Rules that follow each other without a fork stand below each other; without room for
    another rail those of forks do, too."""
    deep = pen.width < NARROW
    inner = pen if deep else pen.narrower(3)
    blocks: list[Lines] = [
        inner.wrap(words(f"→ {percent(share)}  ", (end, "bold")), 2) for end, share in branch.ends.items()
    ]
    for following in branch.next.values():
        block = _rule(inner, following, from_)
        here = following
        while len(here.next) == 1 and not here.ends:
            clients = tuple(here.shares)
            here = next(iter(here.next.values()))
            block += _rule(inner, here, clients)
        blocks.append(block + _below(inner, here, tuple(here.shares)))
    return [line for block in blocks for line in block] if deep else pen.tree(blocks)


def _rule(pen: Pen, branch: Branch, from_: tuple[str, ...]) -> Lines:
    rule = branch.rule
    assert rule is not None
    clients = tuple(branch.shares)
    notes = [branch.meaning] if branch.meaning else []
    if clients != from_:
        notes.append("from " + ", ".join(WHO[c] for c in clients))
    if rule.packets is not None:
        notes.append(f"{rule.packets} packets")
    lines = pen.wrap(
        words((f"{rule.chain.table} {rule.chain.name} #{rule.number}", "cyan"), f"  {rule.text}"), 2
    )
    if notes:
        lines += under(pen.narrower(2).wrap(words(("; ".join(notes), "dim"))), "  ", "  ")
    return lines
