"""A Snapshot to disk: a folder or an archive, whole or not at all.

``cluster/PLURAL.json`` holds a List of each kind (an empty one where there are none), ``nodes/NAME/`` that
node's dumps as they were taken, ``meta.json`` what is known and what is not. Everything goes into a temporary
sibling first and is renamed at the end. Only the owner can read the result. An archive of the same facts and
time has the same bytes. Of objects only what ``redaction`` lets through is written.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path

import msgspec

from svcdoctor import __version__
from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Known, Unknown
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.masking import masked
from svcdoctor.sources.metafile import META_FILE, SnapshotMeta, encode_meta, facts_from_meta
from svcdoctor.sources.redaction import redacted

Dumps = Mapping[str, Mapping[str, bytes]]  # node, file name, bytes
Progress = Callable[[str], None]

ARCHIVE_SUFFIXES = (".tar.gz", ".tgz")
ARCHIVE_ROOT = "snapshot"  # the one folder that an archive unpacks to, whatever the archive's name


@dataclass(frozen=True, slots=True)
class Written:
    """What was written. ``size`` is the bytes of all files, in an archive before compression."""

    path: Path
    objects: int
    nodes: tuple[str, ...]
    files: int
    size: int


def _now() -> datetime:
    return datetime.now(UTC)


def write_snapshot(
    snapshot: Snapshot,
    path: Path,
    *,
    dumps: Dumps | None = None,
    left_out: tuple[str, ...] = (),
    beside: Mapping[str, bytes] | None = None,
    progress: Progress | None = None,
    force: bool = False,
    clock: Callable[[], datetime] = _now,
) -> Written:
    """Write ``snapshot`` and the nodes' ``dumps`` to ``path``, an archive when it ends in .tar.gz or .tgz.

    ``left_out`` names what the snapshot knowingly lacks, for the meta file; ``beside`` are files of other kinds
    to lie at the root. ``force`` replaces an existing
    archive, or a folder that is a snapshot or empty, never any other folder. Raises SvcdoctorError when the
    path exists, cannot be written (nothing is left behind then), or a name would lead out of the folder.
    """
    dumps = dumps or {}
    for node, named in dumps.items():
        _check_name(node, "node")
        for name in named:
            _check_name(name, "dump")
    archive = path.name.endswith(ARCHIVE_SUFFIXES)
    try:
        _check_target(path, archive, force)
        time = clock().astimezone(UTC).replace(microsecond=0)
        held = _files(snapshot, dumps, time, left_out, progress or (lambda text: None))
        files = _Counted(chain((beside or {}).items(), held))
        if archive:
            _write_archive(path, files, time)
        else:
            _write_folder(path, files, force)
    except OSError as e:
        raise SvcdoctorError(f"{path}: cannot write the snapshot: {e.strerror or e}") from None
    return Written(
        path, sum(len(snapshot.of(kind)) for kind in Kind), tuple(sorted(dumps)), files.files, files.size
    )


def encoded_list(objects: Iterable[KubeObject]) -> bytes:
    """A Kubernetes List of the objects, an object a line, with only what may be written."""
    items = b",\n".join(msgspec.json.encode(o) for o in map(redacted, objects) if o is not None)
    return b'{"apiVersion":"v1","kind":"List","items":[' + (b"\n" + items + b"\n" if items else b"") + b"]}\n"


class _Counted:
    """The files on their way to disk, counted."""

    def __init__(self, files: Iterator[tuple[str, bytes]]) -> None:
        self._source = files
        self.files = 0
        self.size = 0

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        for name, data in self._source:
            self.files += 1
            self.size += len(data)
            yield name, data


def _files(
    snapshot: Snapshot, dumps: Dumps, time: datetime, left_out: tuple[str, ...], progress: Progress
) -> Iterator[tuple[str, bytes]]:
    """Every file's name below the root and its bytes."""
    for kind in sorted(Kind, key=lambda k: KINDS[k].plural):
        objects = snapshot.of(kind)
        known = any(isinstance(f, Known) for f in snapshot.facts.get(kind, ()))
        if objects or known:
            progress(f"{KINDS[kind].plural}: {len(objects):,}")
            yield f"cluster/{KINDS[kind].plural}.json", encoded_list(objects)
    counts = {kind: len(snapshot.of(kind)) for kind in Kind if snapshot.of(kind)}
    meta = SnapshotMeta(
        __version__,
        time,
        masked(snapshot.source),
        _masked_facts(snapshot),
        counts,
        snapshot.would_be,
        left_out,
        _masked_missing(snapshot, dumps),
    )
    yield META_FILE, encode_meta(meta)
    for node in sorted(dumps):
        progress(f"node {node}: {len(dumps[node])} dumps")
        for name in sorted(dumps[node]):
            yield f"nodes/{node}/{name}", dumps[node][name]


def _masked_facts(snapshot: Snapshot) -> dict[Kind, tuple[Known | Unknown, ...]]:
    """The facts, their reasons (an API server's own words) without what looks like a credential."""
    return {
        kind: tuple(
            Unknown(masked(f.reason), f.grant, f.scope) if isinstance(f, Unknown) else f for f in facts
        )
        for kind, facts in snapshot.facts.items()
    }


def _masked_missing(snapshot: Snapshot, dumps: Dumps) -> dict[str, dict[str, str]]:
    """Why nodes' dumps are missing, in words of programs and API servers, without credentials."""
    return {
        node: {n: masked(why) for n, why in facts.missing.items() if n not in dumps.get(node, ())}
        for node, facts in snapshot.node_facts.items()
    }


def _check_name(name: str, what: str) -> None:
    bad = not name or name.startswith(".") or len(name.encode()) > 200
    if bad or any(c in "/\\" or not c.isprintable() for c in name):
        raise SvcdoctorError(f"{what} name {name[:80]!r}: not a plain file name, so it cannot be written")


def _check_target(path: Path, archive: bool, force: bool) -> None:
    if not path.name or not path.absolute().parent.is_dir():
        raise SvcdoctorError(f"{path}: no such folder to write into: {path.absolute().parent}")
    if not os.path.lexists(path):
        return
    if not force:
        raise SvcdoctorError(f"{path}: exists already; name another path, or overwrite it with --force")
    if archive:
        if path.is_dir():
            raise SvcdoctorError(f"{path}: is a folder, an archive cannot replace it")
    elif path.is_symlink() or not path.is_dir() or not _replaceable(path):
        raise SvcdoctorError(f"{path}: exists and is no snapshot, so --force does not replace it")


def _replaceable(folder: Path) -> bool:
    """Whether a folder is empty or a snapshot: ``--force`` must not delete anything else."""
    meta = folder / META_FILE
    try:
        if meta.is_file():
            return facts_from_meta(meta.read_bytes(), str(meta)) is not None
    except SvcdoctorError:
        return False
    return not any(folder.iterdir())


def _write_folder(path: Path, files: _Counted, force: bool) -> None:
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", dir=path.absolute().parent))
    try:
        for name, data in files:
            target = temporary / name
            for folder in reversed(target.relative_to(temporary).parents[:-1]):
                (temporary / folder).mkdir(mode=0o700, exist_ok=True)
            with open(target, "xb", opener=_private) as f:
                f.write(data)
        if force and path.exists():
            _replace(path, temporary)
        else:
            temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _replace(path: Path, new: Path) -> None:
    """Put ``new`` in the place of the folder ``path``; the old one stays until the new one is there."""
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", dir=new.parent))
    path.rename(aside / "old")
    try:
        new.rename(path)
    except OSError:
        (aside / "old").rename(path)
        aside.rmdir()
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _write_archive(path: Path, files: _Counted, time: datetime) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.absolute().parent)
    seconds = int(time.timestamp())
    try:
        with (
            os.fdopen(descriptor, "wb") as raw,
            gzip.GzipFile("", "wb", 6, raw, mtime=seconds) as zipped,
            tarfile.open(fileobj=zipped, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name, data in files:
                member = tarfile.TarInfo(f"{ARCHIVE_ROOT}/{name}")
                member.size, member.mtime, member.mode = len(data), seconds, 0o600
                tar.addfile(member, io.BytesIO(data))
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)
