"""The lines of a dump that is text."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from svcdoctor.model.errors import SvcdoctorError


def numbered(data: bytes, where: str, command: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, stripped at their ends, with their numbers from 1.

    Raises SvcdoctorError where the last one has no newline: a part of an address or of a port would still be one.
    """
    for number, line in enumerate(BytesIO(data), 1):
        if not line.strip():
            continue
        yield number, line.decode("utf-8", "replace").rstrip()
        if not line.endswith(b"\n"):
            raise SvcdoctorError(
                f"{where} line {number}: the dump ends in the middle of a line; write it again with: {command}"
            )
