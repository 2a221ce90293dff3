"""``meta.json``: what a snapshot knows about itself, both directions.

Objects on disk cannot say "there are none" or "these could not be read". The meta file at a snapshot's root
says it: for each kind the facts (known within a scope, or unknown and why), for each node why dumps are missing,
and when, from where and by which version the snapshot was taken. ``apiVersion: svcdoctor/v1``, ``kind:
SnapshotMeta``; unknown fields are skipped, so that an older reader understands a newer file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from svcdoctor.cluster.decode import Buffer
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Scope, Unknown

META_FILE = "meta.json"
API_VERSION = "svcdoctor/v1"
KIND = "SnapshotMeta"

Facts = Mapping[Kind, tuple[Known | Unknown, ...]]


@dataclass(frozen=True, slots=True)
class SnapshotMeta:
    """What the meta file says.

    ``counts`` is how many objects of each kind were written: a file that holds another number was changed
    since. ``left_out`` names what was held and not written, with the reason. ``missing`` says for each node why
    a dump that was asked for is not there.
    """

    version: str
    time: datetime
    source: str
    facts: Facts
    counts: Mapping[Kind, int] = field(default_factory=dict)
    would_be: bool = False
    left_out: tuple[str, ...] = ()
    missing: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class _Scope(msgspec.Struct, frozen=True, omit_defaults=True):
    namespace: str | None = None
    labels: dict[str, str] = {}
    name: str | None = None


class _Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    known: bool
    scope: _Scope = _Scope()
    reason: str = ""
    grant: str = ""


class _Document(msgspec.Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    version: str = ""
    time: datetime | None = None
    source: str = ""
    would_be: bool = False
    counts: dict[str, int] = {}
    facts: dict[str, list[_Fact]] = {}
    left_out: list[str] = []
    missing: dict[str, dict[str, str]] = {}


def encode_meta(meta: SnapshotMeta) -> bytes:
    """The meta file's bytes: indented JSON in a fixed order."""
    document = _Document(
        API_VERSION,
        KIND,
        meta.version,
        meta.time.astimezone(UTC).replace(microsecond=0),
        meta.source,
        meta.would_be,
        {str(kind): meta.counts[kind] for kind in Kind if kind in meta.counts},
        {str(kind): [_written(f) for f in meta.facts[kind]] for kind in Kind if meta.facts.get(kind)},
        list(meta.left_out),
        {node: dict(sorted(why.items())) for node, why in sorted(meta.missing.items()) if why},
    )
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _written(fact: Known | Unknown) -> _Fact:
    scope = _Scope(fact.scope.namespace, dict(fact.scope.labels), fact.scope.name)
    if isinstance(fact, Known):
        return _Fact(True, scope)
    return _Fact(False, scope, fact.reason, fact.grant)


def facts_from_meta(data: Buffer, where: str) -> SnapshotMeta | None:
    """What a meta file says; ``None`` when the JSON is no meta file at all.

    Kinds that this version does not know are passed over. Raises SvcdoctorError, naming ``where``, for a
    damaged meta file or one of another apiVersion.
    """
    try:
        document = msgspec.json.decode(data, type=_Document)
    except (msgspec.DecodeError, RecursionError) as e:
        raise SvcdoctorError(f"{where}: not a snapshot's {META_FILE}: {e}") from None
    if document.kind != KIND:
        return None
    if document.api_version != API_VERSION:
        raise SvcdoctorError(
            f"{where}: apiVersion {document.api_version!r}, this version reads {API_VERSION}; "
            "use the svcdoctor that wrote it"
        )
    kinds = {str(kind): kind for kind in Kind}
    return SnapshotMeta(
        document.version,
        document.time or datetime.fromtimestamp(0, UTC),
        document.source,
        {kinds[name]: tuple(map(_read, facts)) for name, facts in document.facts.items() if name in kinds},
        {kinds[name]: count for name, count in document.counts.items() if name in kinds},
        document.would_be,
        tuple(document.left_out),
        document.missing,
    )


def _read(fact: _Fact) -> Known | Unknown:
    scope = Scope(fact.scope.namespace, tuple(sorted(fact.scope.labels.items())), fact.scope.name)
    return Known(scope) if fact.known else Unknown(fact.reason, fact.grant, scope)
