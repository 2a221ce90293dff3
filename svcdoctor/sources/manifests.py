"""A Snapshot from manifests: what the cluster would look like if they were applied.

Nothing else exists in that cluster, and nothing that only a running cluster has (nodes, events) is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.cluster.wouldbe import would_be
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Need
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.files import MAX_YAML, OBJECT_SUFFIXES, as_text, objects_in, read_tree, yaml_objects


class ManifestSource:
    """``-f FILE|DIR|-``, as often as given. ``namespace`` is where objects without one would go."""

    def __init__(self, names: Sequence[str], namespace: str) -> None:
        self.names = names
        self.namespace = namespace

    def snapshot(self) -> Snapshot:
        """The would-be cluster. Raises SvcdoctorError for what is no manifest, or given twice."""
        objects: dict[tuple[str, str, str], KubeObject] = {}
        for name in self.names:
            for where, obj in _read(name):
                placed = self._placed(obj)
                key = (placed.kind, placed.namespace, placed.name)
                if key in objects and objects[key] != placed:
                    raise SvcdoctorError(
                        f"{where}: {'/'.join(filter(None, key))} is defined twice, differently"
                    )
                objects[key] = placed
        if not objects:
            raise SvcdoctorError(
                f"{', '.join(self.names)}: no Kubernetes objects of a kind that matters here"
            )
        by_kind: dict[Kind, list[KubeObject]] = {}
        for obj in would_be(objects.values()):
            by_kind.setdefault(Kind(obj.kind), []).append(obj)
        return Snapshot(
            {kind: tuple(found) for kind, found in by_kind.items()},
            {kind: (Known(),) for kind in Kind},
            source=f"manifests {', '.join(self.names)}",
            would_be=True,
        )

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        """Nothing more is to be had."""
        return snapshot

    def _placed(self, obj: KubeObject) -> KubeObject:
        if obj.namespace or not KINDS[Kind(obj.kind)].namespaced:
            return obj
        return msgspec.structs.replace(
            obj, metadata=msgspec.structs.replace(obj.metadata, namespace=self.namespace)
        )


def _read(name: str) -> list[tuple[str, KubeObject]]:
    if name == "-":
        data = sys.stdin.buffer.read(MAX_YAML + 1)
        if len(data) > MAX_YAML:
            raise SvcdoctorError(f"standard input: more than {MAX_YAML >> 20} MiB of manifests")
        return [
            ("standard input", o) for o in yaml_objects(as_text(data, "standard input"), "standard input")
        ]
    found: list[tuple[str, KubeObject]] = []
    for file in read_tree(Path(name)):
        if file.named or file.suffix in OBJECT_SUFFIXES:
            found += [(file.where, o) for o in objects_in(file) or ()]
    return found
