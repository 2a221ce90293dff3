"""A finding: one cause, with its evidence and its fix."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    """error: requests fail now; warning: some fail, or will; info: worth knowing, no exit code."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    @property
    def rank(self) -> int:
        return ("error", "warning", "info").index(self.value)


class Finding(msgspec.Struct, frozen=True):
    """One named cause. ``subjects`` are ``Kind/namespace/name`` (``Kind/name`` without a namespace).

    ``field`` is where in the first subject's manifest the cause is written (``spec.ports[0].nodePort``), where it
    is written anywhere.
    """

    code: str
    severity: Severity
    title: str
    subjects: tuple[str, ...]
    evidence: tuple[str, ...]
    explanation: str
    fix: str
    field: str = ""
