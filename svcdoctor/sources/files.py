"""The files of a folder or archive, bounded in size and number.

Large files of a folder are mapped, not read: what decoding skips is never copied. Nothing is written.
"""

from __future__ import annotations

import gzip
import mmap
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import msgspec

from svcdoctor.cluster.decode import Buffer, decode_documents, decode_json, looks_like_table
from svcdoctor.cluster.yamldoc import load_documents
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError

MAX_FILE = 1 << 30  # bytes of one file
MAX_TOTAL = 4 << 30  # bytes of an archive's files together
MAX_FILES = 100_000
MAX_YAML = 64 << 20  # bytes of one YAML file, which takes far more memory than JSON

OBJECT_SUFFIXES = frozenset({".json", ".yaml", ".yml"})


@dataclass(frozen=True, slots=True)
class File:
    """One file: its parts below the root, its name for messages, its bytes.

    ``named`` is true for a file that the user named himself, whatever its suffix.
    """

    parts: tuple[str, ...]
    where: str
    data: Buffer
    named: bool = False

    @property
    def suffix(self) -> str:
        return Path(self.parts[-1]).suffix.lower()


def read_tree(path: Path, unreadable: Callable[[str], None] | None = None) -> Iterator[File]:
    """Every file of a folder, a ``.tar``/``.tar.gz`` archive, or one file, in a stable order.

    Hidden files are left out. Raises SvcdoctorError for what cannot be read or exceeds the bounds; with
    ``unreadable`` that is told for a single file of a folder, and the others are read.
    """
    try:
        if path.is_dir():
            yield from _read_folder(path, unreadable)
        elif not path.exists():
            raise SvcdoctorError(f"{path}: no such file or folder")
        elif _is_archive(path):
            yield from _read_archive(path)
        else:
            yield File((path.name,), str(path), _map(path), named=True)
    except OSError as e:
        raise SvcdoctorError(f"{e.filename or path}: {e.strerror or e}") from None


def _is_archive(path: Path) -> bool:
    """Whether a file is, or is meant to be, a tar archive: by its name, or by gzip's or tar's magic."""
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return True
    with path.open("rb") as f:
        head = f.read(262)
    return head.startswith(b"\x1f\x8b") or head[257:262] == b"ustar"


def _read_folder(root: Path, unreadable: Callable[[str], None] | None) -> Iterator[File]:
    count = 0
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        above = Path(folder)
        parts = above.relative_to(root).parts
        for name in sorted(names):
            path = above / name
            if name.startswith(".") or not path.is_file():
                continue
            count += 1
            if count > MAX_FILES:
                raise SvcdoctorError(f"{root}: more than {MAX_FILES:,} files; name a smaller folder")
            try:
                data = _map(path)
            except (OSError, SvcdoctorError) as e:
                if unreadable is None:
                    raise
                unreadable(e.message if isinstance(e, SvcdoctorError) else f"{path}: {e.strerror or e}")
                continue
            yield File((*parts, name), str(path), data)


def _map(path: Path) -> Buffer:
    with path.open("rb") as f:
        size = os.fstat(f.fileno()).st_size
        if size > MAX_FILE:
            raise SvcdoctorError(
                f"{path}: {size >> 20} MiB, more than the {MAX_FILE >> 20} MiB that one file may have; "
                "dump fewer kinds or namespaces into one file"
            )
        if size < 65536:
            return f.read(65536 if size else MAX_FILE)  # what has no size may have content: /proc
        return memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))


def _read_archive(path: Path) -> Iterator[File]:
    total = 0
    try:
        with tarfile.open(path, "r:*") as tar:
            for count, member in enumerate(tar):
                if count > MAX_FILES:
                    raise SvcdoctorError(f"{path}: more than {MAX_FILES:,} files")
                parts = tuple(p for p in Path(member.name).parts if p not in ("/", "..", "."))
                if not member.isfile() or not parts or any(p.startswith(".") for p in parts):
                    continue
                total += member.size
                if member.size > MAX_FILE or total > MAX_TOTAL:
                    raise SvcdoctorError(f"{path}: {member.name} makes the archive too large to read")
                stream: IO[bytes] | None = tar.extractfile(member)
                data = stream.read() if stream else b""
                yield File(parts, f"{path}:{member.name}", data)
    except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError) as e:
        raise SvcdoctorError(f"{path}: the archive is cut off or damaged: {e}") from None


def as_text(data: Buffer, where: str) -> str:
    """The text of a file: UTF-8, or UTF-16 where a byte order mark says so (PowerShell's ``>``)."""
    head = bytes(data[:4])
    encoding = "utf-16" if head.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return bytes(data).decode(encoding)
    except UnicodeDecodeError as e:
        raise SvcdoctorError(f"{where}: not UTF-8 text (byte {e.start})") from None


def objects_in(file: File) -> list[KubeObject] | None:
    """The known objects of a JSON or YAML file; ``None`` when it holds none and is not meant to.

    Raises SvcdoctorError when the file is neither, or is a table made for people.
    """
    if not file.named and file.suffix not in OBJECT_SUFFIXES and file.suffix not in ("", ".txt"):
        return None
    data = file.data
    if bytes(data[:2]) in (b"\xff\xfe", b"\xfe\xff") or bytes(data[:3]) == b"\xef\xbb\xbf":
        data = as_text(data, file.where).encode()
    if file.suffix == ".json" or bytes(data[:1]) in (b"{", b"["):
        return decode_json(data, file.where)
    if looks_like_table(bytes(data[:4096])):
        raise SvcdoctorError(
            f"{file.where}: this is kubectl's table for people; dump it with -o json (kubectl get … -o json)"
        )
    if not file.named and file.suffix not in OBJECT_SUFFIXES:
        return None
    if len(data) > MAX_YAML:
        raise SvcdoctorError(f"{file.where}: more than {MAX_YAML >> 20} MiB of YAML; dump it with -o json")
    return yaml_objects(as_text(data, file.where), file.where)


def yaml_objects(text: str, where: str) -> list[KubeObject]:
    """The known objects among the YAML documents of ``text``."""
    return decode_documents(load_documents(text, where), where)


def raw_objects(path: Path) -> Iterator[dict[str, Any]]:
    """Every object or List below ``path`` as plain dicts, nothing left out; node dumps are passed over.

    For serving them again. Raises SvcdoctorError for what cannot be read.
    """
    for file in read_tree(path):
        if not (file.named or file.suffix in OBJECT_SUFFIXES) or "nodes" in file.parts[:-2]:
            continue
        if file.suffix == ".json" or bytes(file.data[:1]) == b"{":
            try:
                documents = [msgspec.json.decode(file.data)]
            except (msgspec.DecodeError, RecursionError) as e:
                raise SvcdoctorError(f"{file.where}: not JSON: {e}") from None
        else:
            documents = load_documents(as_text(file.data, file.where), file.where)
        for document in documents:
            if isinstance(document, dict) and isinstance(document.get("kind"), str):
                yield document
