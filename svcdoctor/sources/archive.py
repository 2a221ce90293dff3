"""A Snapshot from a folder or archive of dumps.

Any JSON or YAML file below the root may hold objects or Lists; ``nodes/NAME/`` holds one node's dumps. What
a kind has no file for is Unknown: nobody can tell "none" from "not dumped".
"""

from __future__ import annotations

import gc
from pathlib import Path

from svcdoctor.cluster.kinds import BY_NAME, KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Need, Unknown
from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.files import File, objects_in, read_tree
from svcdoctor.sources.metafile import META_FILE, SnapshotMeta, facts_from_meta
from svcdoctor.sources.nodedumps import node_facts


def read_snapshot(path: Path) -> Snapshot:
    """The Snapshot that a folder, archive or single dump holds. Raises SvcdoctorError.

    A kind is known where at least one object of it, or an empty list of it, was found.
    """
    enabled = gc.isenabled()
    gc.disable()  # decoding makes millions of objects and no cycles
    try:
        return _read(path)
    finally:
        gc.freeze()  # and they stay: no later collection needs to look at them
        if enabled:
            gc.enable()


def _read(path: Path) -> Snapshot:
    found: dict[Kind, dict[tuple[str, str], KubeObject]] = {}
    lists: set[Kind] = set()
    dumps: dict[str, list[File]] = {}
    warnings: list[str] = []
    meta: SnapshotMeta | None = None
    for file in read_tree(path):
        name = node_of(file.parts)
        if name is not None:
            dumps.setdefault(name, []).append(file)
            continue
        if file.parts[-1] == META_FILE and len(file.parts) <= 2:
            meta = facts_from_meta(file.data, file.where)
            if meta is not None:
                continue
        objects = objects_in(file)
        if objects is None:
            if file.suffix == ".json":
                warnings.append(f"{file.where}: no Kubernetes object in it, passed over")
            continue
        if not objects:
            lists.update(_kinds_by_name(file))
        _add(objects, file.where, found, warnings)
    if not found and not lists and not dumps and meta is None:
        raise SvcdoctorError(
            f"{path}: no Kubernetes objects found; dump some with "
            "kubectl get services,endpointslices,pods,nodes,ingresses,networkpolicies -A -o json"
        )
    facts = {kind: _fact(kind, kind in found or kind in lists) for kind in Kind}
    if meta is not None:
        # A kind that somebody added by hand to a saved snapshot is held, whatever was known when it was saved.
        facts |= {k: f for k, f in meta.facts.items() if k in meta.counts or k not in found}
        for kind, count in meta.counts.items():
            if count != len(found.get(kind, ())):
                warnings.append(
                    f"{path}: {count} {KINDS[kind].plural} were saved, {len(found.get(kind, ()))} are there"
                )
    return Snapshot(
        {kind: tuple(objects.values()) for kind, objects in found.items()},
        facts,
        _nodes(dumps, meta),
        source=str(path),
        would_be=meta is not None and meta.would_be,
        warnings=tuple(warnings),
    )


def _fact(kind: Kind, held: bool) -> tuple[Known | Unknown, ...]:
    """What a dump says of a kind: nobody can tell "none" from "not dumped"."""
    if held:
        return (Known(),)
    info = KINDS[kind]
    everywhere = " -A" if info.namespaced else ""
    dump = f"kubectl get {info.resource}{everywhere} -o json > {info.plural}.json"
    return (Unknown(f"the snapshot holds no {info.plural}", dump),)


def node_dumps(path: Path) -> dict[str, dict[str, bytes]]:
    """The nodes' dumps of a snapshot as they are: node, file name, bytes. Raises SvcdoctorError."""
    dumps: dict[str, dict[str, bytes]] = {}
    for file in read_tree(path):
        node_name = node_of(file.parts)
        if node_name is not None:
            dumps.setdefault(node_name, {})[file.parts[-1]] = bytes(file.data)
    return dumps


def _add(
    objects: list[KubeObject],
    where: str,
    found: dict[Kind, dict[tuple[str, str], KubeObject]],
    warnings: list[str],
) -> None:
    for obj in objects:
        kind = Kind(obj.kind)
        key = (obj.metadata.namespace, obj.metadata.name)
        of_kind = found.setdefault(kind, {})
        if key in of_kind and of_kind[key] != obj:
            name = "/".join(filter(None, key))
            warnings.append(f"{where}: {kind} {name} was read before and differs; this one counts")
        of_kind[key] = obj


def _kinds_by_name(file: File) -> set[Kind]:
    """The kind that an empty list's file name promises: ``ingress.json`` holds no Ingress."""
    stem = Path(file.parts[-1]).stem.lower()
    names = {"svc": Kind.SERVICE, "ep": Kind.ENDPOINTS, "netpol": Kind.NETWORK_POLICY, "ns": Kind.NAMESPACE}
    for info in BY_NAME.values():
        names |= {info.plural: info.kind, str(info.kind).lower(): info.kind, info.resource: info.kind}
    data = bytes(file.data[:4096])
    typed = {info.kind for name, info in BY_NAME.items() if f'"{name}List"'.encode() in data}
    return typed or ({names[stem]} if stem in names else set())


def node_of(parts: tuple[str, ...]) -> str | None:
    """The node whose dump a file is, ``None`` for a file of objects: ``nodes/NAME/file``."""
    if len(parts) >= 3 and "nodes" in parts[:-2]:
        return parts[parts.index("nodes") + 1]
    return None


def _nodes(dumps: dict[str, list[File]], meta: SnapshotMeta | None) -> dict[str, NodeFacts]:
    """The facts of every node that has dumps, or of which the meta file says why it has none."""
    missing = meta.missing if meta is not None else {}
    return {
        name: node_facts(
            name,
            {f.parts[-1]: Dump(f.where, bytes(f.data)) for f in dumps.get(name, ())},
            missing.get(name),
        )
        for name in (*dumps, *(name for name in missing if name not in dumps))
    }


class ArchiveSource:
    """A snapshot on disk as a source: everything is read once, nothing can be asked again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.requests = 0

    def snapshot(self) -> Snapshot:
        return read_snapshot(self.path)

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        return snapshot
