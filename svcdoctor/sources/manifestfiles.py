"""The texts of ``-f FILE|DIR|-``, bounded; what cannot be read is told, and the rest is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from svcdoctor.cluster.decode import looks_like_table
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.files import MAX_YAML, OBJECT_SUFFIXES, as_text, read_tree

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Text:
    """One file's text. ``found`` in a folder, not named by the user; ``rendered`` by another program."""

    file: str
    text: str
    found: bool = False
    rendered: bool = False


def texts(name: str, trouble: Callable[[str], None]) -> Iterator[Text]:
    """The texts of one ``-f``; what cannot be read is handed to ``trouble`` in one line."""
    try:
        if name == STDIN:
            data = sys.stdin.buffer.read(MAX_YAML + 1)
            yield Text(STDIN, _text(data, "standard input"), rendered=True)
            return
        for file in read_tree(Path(name), trouble):
            if not file.named and file.suffix not in OBJECT_SUFFIXES:
                continue
            try:
                yield Text(file.where, _text(bytes(file.data), file.where), found=not file.named)
            except SvcdoctorError as e:
                trouble(e.message)
    except SvcdoctorError as e:
        trouble(e.message)


def _text(data: bytes, where: str) -> str:
    if len(data) > MAX_YAML:
        raise SvcdoctorError(f"{where}: more than {MAX_YAML >> 20} MiB of manifests")
    if looks_like_table(data[:4096]):
        raise SvcdoctorError(f"{where}: this is kubectl's table for people; dump it with -o yaml")
    return as_text(data, where)
