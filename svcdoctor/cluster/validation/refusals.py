"""Collects refusals of one object, in the words that the API server's field errors have."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.finding import Severity
from svcdoctor.model.rejection import Rejection


def said(value: Any) -> str:
    """A value as the API server quotes it."""
    return json.dumps(value, ensure_ascii=False)


class Refusals:
    """The refusals of one object, in the order in which they are found.

    ``below`` gives the same list for a part of the object: paths are relative to it.
    """

    def __init__(self, at: str = "", found: list[Rejection] | None = None) -> None:
        self.at = at
        self.found: list[Rejection] = [] if found is None else found

    def below(self, path: str) -> Refusals:
        return Refusals(self._path(path), self.found)

    def _path(self, field: str) -> str:
        if not field or field.startswith("["):
            return f"{self.at}{field}"
        return f"{self.at}.{field}" if self.at else field

    def add(
        self, field: str, words: str, fix: str, seen: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        self.found.append(Rejection(self._path(field), words, fix, seen, severity))

    def invalid(
        self,
        field: str,
        value: Any,
        reasons: str | Iterable[str],
        fix: str,
        seen: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """One refusal for each reason, none for none."""
        for reason in (reasons,) if isinstance(reasons, str) else reasons:
            self.add(field, f"Invalid value: {said(value)}: {reason}", fix, seen, severity)

    def required(self, field: str, fix: str, reason: str = "") -> None:
        self.add(field, f"Required value{f': {reason}' if reason else ''}", fix)

    def forbidden(self, field: str, reason: str, fix: str, seen: str = "") -> None:
        self.add(field, f"Forbidden: {reason}", fix, seen)

    def duplicate(self, field: str, value: Any, fix: str) -> None:
        self.add(field, f"Duplicate value: {said(value)}", fix)

    def unsupported(self, field: str, value: Any, supported: Sequence[str]) -> None:
        """A value that is none of a fixed few; the fix is the one that was probably meant."""
        near = near_names(str(value), supported, 1)
        name = field.rpartition(".")[2].partition("[")[0]
        few = ", ".join(said(s) for s in sorted(supported))
        fix = f"{name}: {near[0]}" if near else f"{name}: one of {', '.join(supported)}"
        self.add(field, f"Unsupported value: {said(value)}: supported values: {few}", fix)
