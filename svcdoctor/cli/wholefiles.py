"""Files that are there whole or not at all: each is written beside its name first, and renamed when all are."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from svcdoctor.model.errors import SvcdoctorError


def write_whole(files: Mapping[Path, bytes]) -> None:
    """Writes every file, or none and leaves nothing behind. Raises SvcdoctorError.

    A file that exists is replaced and keeps its mode, a link's target is written, and what is no file (a pipe, a
    device) is written into. All contents are on disk before the first name is taken.
    """
    pending: list[tuple[Path, Path]] = []
    path = Path()
    try:
        for path, data in files.items():
            mode = _mode(path)
            if mode is not None and not stat.S_ISREG(mode):
                with path.open("wb", buffering=0) as stream:
                    _write(stream.fileno(), data)
                continue
            target = Path(os.path.realpath(path))
            temporary = target.parent / f".{target.name[:100]}.{secrets.token_hex(8)}"
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
            pending.append((temporary, target))
            try:
                if mode is not None:
                    os.fchmod(descriptor, stat.S_IMODE(mode))
                _write(descriptor, data)
            finally:
                os.close(descriptor)
        while pending:
            temporary, path = pending[-1]
            temporary.rename(path)
            pending.pop()
    except OSError as e:
        raise SvcdoctorError(f"{path}: cannot be written: {e.strerror or e}") from None
    finally:
        for temporary, _ in pending:
            temporary.unlink(missing_ok=True)


def _mode(path: Path) -> int | None:
    """The mode of what is there; ``None`` for nothing. Raises SvcdoctorError where no file can be."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if not Path(os.path.realpath(path)).parent.is_dir():
            raise SvcdoctorError(f"{path}: there is no folder {path.parent}") from None
        return None
    if stat.S_ISDIR(mode):
        raise SvcdoctorError(f"{path}: is a folder; name a file")
    return mode


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
