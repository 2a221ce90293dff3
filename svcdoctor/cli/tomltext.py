"""A configuration's TOML: its text, what it says, and the line of a key, for messages that name it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from svcdoctor.model.errors import SvcdoctorError

MAX_FILE = 1 << 20  # bytes of a configuration


def text_of(path: Path) -> str:
    """The file's text. Raises SvcdoctorError for what cannot be read, is too long, or is no text."""
    try:
        with path.open("rb") as f:
            data = f.read(MAX_FILE + 1)
    except OSError as e:
        raise SvcdoctorError(f"{path}: {e.strerror}") from None
    if len(data) > MAX_FILE:
        raise SvcdoctorError(f"{path}: more than {MAX_FILE >> 20} MiB of configuration")
    try:
        return data.decode()
    except UnicodeDecodeError as e:
        raise SvcdoctorError(f"{path}: not UTF-8 text (byte {e.start})") from None


def parsed(text: str, path: Path) -> dict[str, Any]:
    """What the text says. Raises SvcdoctorError, with the line, for what is no TOML."""
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise SvcdoctorError(f"{path}: not TOML: {e}") from None


def line_of(text: str, section: str, key: str) -> int:
    """The line, from 1, of a key within its section; the section's, or 1, where it cannot be seen."""
    inside = not section
    start = 1
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[([^\[\]]+)\]", line)
        if header:
            name = header[1].strip()
            inside = not section or name == section or name.startswith(f"{section}.")
            if inside and name.rpartition(".")[2] == key:
                return number
            start = number if inside and start == 1 else start
        elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[=.]""", line):
            return number
    return start
