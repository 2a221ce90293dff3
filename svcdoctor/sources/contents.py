"""What a snapshot holds and what it lacks, with the command that would add it: ``snapshot show``.

A pure reading of a Snapshot and of the names of its nodes' dumps, as plain values and as lines of text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from svcdoctor.cluster.kinds import KINDS, KindInfo
from svcdoctor.model.facts import EVERYTHING, Kind, Known, Unknown
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.dumpnames import DUMPS, INSTEAD, MODES, OPTIONAL


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of object. ``known`` is true when all of the kind are held.

    ``scopes`` are the parts that are known when not all are; ``reason`` says why the rest is unknown and
    ``command`` what would add it, both empty for a kind that is known.
    """

    kind: Kind
    count: int
    known: bool
    scopes: tuple[str, ...] = ()
    reason: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node's dumps. ``missing`` are (file, command) of those that matter for kube-proxy's mode there.

    Where it is known why one is missing, that stands in the command's place; ``reason`` is the one reason why
    a node has none at all.
    """

    name: str
    mode: str | None
    dumps: tuple[str, ...]
    missing: tuple[tuple[str, str], ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Contents:
    kinds: tuple[KindRow, ...]
    nodes: tuple[NodeRow, ...]


def describe(snapshot: Snapshot, dumps: Mapping[str, Collection[str]] | None = None) -> Contents:
    """Every kind's row and every node's; ``dumps`` names the nodes' dumps, by default the Snapshot's own."""
    by_node: dict[str, Collection[str]] = {n: f.dumps for n, f in snapshot.node_facts.items()}
    by_node.update(dumps or {})
    names = sorted({*snapshot.node_names, *by_node})
    return Contents(
        tuple(_kind_row(snapshot, KINDS[kind]) for kind in Kind),
        tuple(_node_row(snapshot, name, by_node.get(name, ())) for name in names),
    )


def _kind_row(snapshot: Snapshot, info: KindInfo) -> KindRow:
    count = len(snapshot.of(info.kind))
    if snapshot.knows(info.kind):
        return KindRow(info.kind, count, True)
    facts = snapshot.facts.get(info.kind, ())
    scopes = tuple(str(f.scope) for f in facts if isinstance(f, Known))
    unknown = next((f for f in facts if isinstance(f, Unknown)), None)
    if unknown is not None:
        where = "" if unknown.scope == EVERYTHING else f" ({unknown.scope})"
        return KindRow(
            info.kind, count, False, scopes, unknown.reason + where, unknown.grant or dump_command(info)
        )
    reason = "no more was asked for" if scopes else "never asked for"
    return KindRow(info.kind, count, False, scopes, reason, dump_command(info))


def dump_command(info: KindInfo) -> str:
    """The command that writes all objects of a kind where ``read_snapshot`` finds them."""
    everywhere = " -A" if info.namespaced else ""
    return f"kubectl get {info.resource}{everywhere} -o json > cluster/{info.plural}.json"


def _node_row(snapshot: Snapshot, name: str, dumps: Collection[str]) -> NodeRow:
    facts = snapshot.node_facts.get(name)
    mode = facts.proxy.mode if facts is not None and facts.proxy is not None else None
    why = facts.missing if facts is not None else {}
    missing = tuple(
        (dump, why.get(dump) or why.get(INSTEAD.get(dump, "")) or command)
        for dump, command in DUMPS.items()
        if dump not in dumps
        and dump not in OPTIONAL
        and (mode is None or dump not in MODES or mode in MODES[dump])
        and INSTEAD.get(dump) not in dumps
    )
    reason = "" if dumps or not why else next(iter(why.values()))
    return NodeRow(name, mode, tuple(sorted(dumps)), missing, reason)


def lines(contents: Contents) -> list[str]:
    """The contents as text, a line each: kinds first, then nodes; without colour or table borders."""
    width = max(len(str(row.kind)) for row in contents.kinds)
    text = [_kind_line(row, width) for row in contents.kinds]
    for row in contents.nodes:
        mode = f" ({row.mode})" if row.mode else ""
        text.append(
            f"node {row.name}{mode}: {', '.join(row.dumps) or 'no dumps'}{row.reason and f': {row.reason}'}"
        )
        text += [f"  missing {dump}: {command}" for dump, command in row.missing if row.dumps]
    bare = sum(not row.dumps and not row.reason for row in contents.nodes)
    if bare:
        nodes = f"{bare} node has" if bare == 1 else f"{bare} nodes have"
        text.append(
            f"{nodes} no dumps: put what is taken there into nodes/NAME/ (iptables-save.txt, nft.json, …)"
        )
    return text


def _kind_line(row: KindRow, width: int) -> str:
    head = f"{row.kind:{width}} {row.count:>7,}"
    if row.known:
        return f"{head}  known"
    parts = f"known for {'; '.join(row.scopes)}; " if row.scopes else ""
    return f"{head}  unknown: {parts}{row.reason}; to add it: {row.command}"
