"""A Snapshot from manifests: what the cluster would look like if they were applied.

Nothing else exists in that cluster, and nothing that only a running cluster has (nodes, events) is asked for. What
the API server would refuse of them is in the Snapshot's ``rejections``; what cannot be read at all is a ``Trouble``,
and does not hide the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec

from svcdoctor.cluster.decode import decode_manifest
from svcdoctor.cluster.kinds import BY_NAME, KINDS
from svcdoctor.cluster.validation.rules import rejections
from svcdoctor.cluster.validation.twice import taken_twice
from svcdoctor.cluster.validation.versions import unserved
from svcdoctor.cluster.wouldbe import would_be
from svcdoctor.model.base import KubeObject
from svcdoctor.model.checkup import Place
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Need
from svcdoctor.model.finding import Severity
from svcdoctor.model.rejection import Rejection
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.manifestfiles import Text, texts
from svcdoctor.sources.manifestlines import Written
from svcdoctor.sources.manifesttext import Document, documents


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with an input. ``unread`` where part of it could not be read and so is not checked.

    ``stops`` where a single question about the manifests must not be answered without it.
    """

    message: str
    place: Place | None
    unread: bool = True
    stops: bool = True

    def __str__(self) -> str:
        if self.place is None:
            return self.message
        line = f" line {self.place.line}" if self.place.line > 1 else ""
        return f"{'standard input' if self.place.file == '-' else self.place.file}{line}: {self.message}"


@dataclass(slots=True)
class Manifest:
    """One object as it is written, and what the API server refuses of it."""

    kind: str
    namespace: str
    name: str
    plain: dict[str, Any]
    written: Written
    rejections: list[Rejection]
    object: KubeObject | None = None

    @property
    def subject(self) -> str:
        return "/".join(filter(None, (self.kind, self.namespace, self.name)))


@dataclass(slots=True)
class Read:
    """All that the named inputs hold.

    ``by_subject`` has the manifest that counts for each object, the last one; ``others`` are the kinds that nothing
    here rests on, with their number.
    """

    manifests: list[Manifest] = field(default_factory=list)
    by_subject: dict[str, Manifest] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    others: dict[str, int] = field(default_factory=dict)
    no_objects: list[str] = field(default_factory=list)  # files that hold values, but no Kubernetes object


class ManifestSource:
    """``-f FILE|DIR|-``, as often as given. ``namespace`` is where objects without one would go.

    ``tolerant`` takes what can be read; what cannot is in ``read``.
    """

    def __init__(self, names: Sequence[str], namespace: str, *, tolerant: bool = False) -> None:
        self.names = names
        self.namespace = namespace
        self.tolerant = tolerant

    @cached_property
    def read(self) -> Read:
        return read_manifests(self.names, self.namespace)

    def snapshot(self) -> Snapshot:
        """The would-be cluster. Raises SvcdoctorError for what is no manifest, or given twice."""
        if self.tolerant:
            return self._would_be()
        for trouble in self.read.troubles:
            if trouble.stops:
                raise SvcdoctorError(str(trouble))
        if not any(m.object is not None for m in self.read.manifests):
            raise SvcdoctorError(
                f"{', '.join(self.names)}: no Kubernetes objects of a kind that matters here"
            )
        return self._would_be()

    def _would_be(self) -> Snapshot:
        counting = self.read.by_subject
        by_kind: dict[Kind, list[KubeObject]] = {}
        for obj in would_be(m.object for m in counting.values() if m.object is not None):
            by_kind.setdefault(Kind(obj.kind), []).append(obj)
        return Snapshot(
            {kind: tuple(found) for kind, found in by_kind.items()},
            {kind: (Known(),) for kind in Kind},
            source=f"manifests {', '.join(self.names)}",
            would_be=True,
            rejections={s: tuple(m.rejections) for s, m in counting.items() if m.rejections},
        )

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        """Nothing more is to be had."""
        return snapshot


def read_manifests(names: Sequence[str], namespace: str) -> Read:
    """Everything that files, folders and standard input hold; what is wrong with them is in the answer."""
    read = Read()
    for name in names:
        for text in texts(name, lambda message: read.troubles.append(Trouble(message, None))):
            for document in documents(text.text, text.file, rendered=text.rendered):
                _take(read, document, text, namespace)
    services = [(m.subject, m.plain) for m in read.by_subject.values() if m.kind == "Service"]
    for subject, rejection in taken_twice(services):
        read.by_subject[subject].rejections.append(rejection)
    return read


def _take(read: Read, document: Document, text: Text, namespace: str) -> None:
    value, written = document.value, document.written
    if document.problem:
        read.troubles.append(Trouble(document.problem, written.place()))
    elif not isinstance(value, dict):
        what = "a list" if isinstance(value, list) else "text" if isinstance(value, str) else "a value"
        read.troubles.append(Trouble(f"not a Kubernetes object: {what}", written.place()))
    elif not value.get("kind") and not value.get("apiVersion") and text.found:
        read.no_objects.append(text.file)
    elif not isinstance(value.get("kind"), str) or not value["kind"]:
        read.troubles.append(Trouble("not a Kubernetes object (no kind)", written.place()))
    else:
        first = len(read.manifests)
        _objects(read, value, written, namespace)
        for key in document.repeated:
            _repeated(read.manifests[first:], key)


def _objects(read: Read, value: dict[str, Any], written: Written, namespace: str, depth: int = 0) -> None:
    """An object, or those of a List; items of a typed list have the list's kind and version."""
    kind, version = value["kind"], value.get("apiVersion")
    items = value.get("items")
    if not kind.endswith("List") or not isinstance(items, list) or depth > 4:
        _object(read, value, written, namespace)
        return
    for i, item in enumerate(items):
        at = written.item("items", i)
        if not isinstance(item, dict):
            read.troubles.append(Trouble("not a Kubernetes object in a list", at.place()))
            continue
        if kind != "List":
            item.setdefault("kind", kind.removesuffix("List"))
            item.setdefault("apiVersion", version)
        if not isinstance(item.get("kind"), str) or not item["kind"]:
            read.troubles.append(Trouble("not a Kubernetes object (no kind)", at.place()))
            continue
        _objects(read, item, at, namespace, depth + 1)


def _object(read: Read, value: dict[str, Any], written: Written, namespace: str) -> None:
    kind, version = value["kind"], value.get("apiVersion")
    if not isinstance(version, str) or not version:
        read.troubles.append(Trouble(f"{kind}: no apiVersion", written.place(), stops=False))
        version = value["apiVersion"] = ""
    wrong = unserved(version, kind) if version else None
    info = BY_NAME.get(kind)
    if info is None or not info.accepts(version):
        if wrong is not None:
            message = f"{wrong.words}; meant is perhaps {wrong.fix}"
            read.troubles.append(Trouble(message, written.place("kind"), unread=True, stops=False))
        else:
            read.others[kind] = read.others.get(kind, 0) + 1
        return
    refused = rejections(value)
    if wrong is not None:
        refused.insert(0, Rejection("apiVersion", wrong.words, wrong.fix))
    try:
        obj = decode_manifest(value)
    except SvcdoctorError as e:
        read.troubles.append(Trouble(f"{kind}: {e.message}", written.place()))
        return
    if obj is None:
        read.others[kind] = read.others.get(kind, 0) + 1
        return
    if not obj.namespace and KINDS[info.kind].namespaced:
        meta = msgspec.structs.replace(obj.metadata, namespace=namespace)
        obj = msgspec.structs.replace(obj, metadata=meta)
    name = obj.name or str((value.get("metadata") or {}).get("generateName") or "")
    made = Manifest(kind, obj.namespace, name, value, written, refused, obj)
    _check_twice(read, made)
    read.manifests.append(made)
    read.by_subject[made.subject] = made


def _check_twice(read: Read, made: Manifest) -> None:
    before = read.by_subject.get(made.subject) if made.object and made.object.name else None
    if before is not None and before.object != made.object:
        first = before.written.place()
        read.troubles.append(
            Trouble(
                f"{made.subject} is defined twice, differently: also in {first.file} line {first.line}; the last "
                "one applied counts",
                made.written.place(),
                unread=False,
            )
        )


def _repeated(manifests: list[Manifest], key: Any) -> None:
    for manifest in manifests:
        path = manifest.written.field_of(key)
        if path:
            words = f'yaml: key "{key.value}" already set in map'
            seen = "kubectl takes the last one; Helm and kustomize refuse it"
            manifest.rejections.append(Rejection(path, words, f"{key.value}: once", seen, Severity.WARNING))
            return
