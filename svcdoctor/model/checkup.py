"""The answer of ``check`` and ``lint``: what was looked at, what is wrong by root cause, what was left out.

The field names are those of the JSON contract (``apiVersion: svcdoctor/v1``, report/schema.json).
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding
from svcdoctor.model.trace import Value, Verdict


class Place(Value, frozen=True):
    """Where in a manifest: the file as it was named (``-`` for standard input), and the line from 1."""

    file: str
    line: int


class Reported(Value, frozen=True):
    """One root cause, once, whatever it breaks.

    ``affects`` are the checked objects that suffer from it (``Kind/namespace/name``, sorted), ``place`` is where
    a manifest says it, ``new`` is false where a baseline holds it already.
    """

    finding: Finding
    affects: tuple[str, ...] = ()
    place: Place | None = None
    new: bool = True

    @property
    def fingerprint(self) -> str:
        """What stays the same of a finding from run to run: its code, subjects and field, not its numbers."""
        parts = (self.finding.code, *self.finding.subjects[:1], self.finding.field)
        return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


class Row(Value, frozen=True):
    """One checked object: its verdict and the codes of its findings, the worst first.

    ``type``, ``ports`` and ``endpoints`` (ready, all) are a Service's.
    """

    kind: str
    namespace: str
    name: str
    verdict: Verdict
    codes: tuple[str, ...] = ()
    type: str = ""
    ports: tuple[str, ...] = ()
    endpoints: tuple[int, int] | None = None

    @property
    def subject(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


class By(StrEnum):
    """What suppressed a finding: the command's or configuration's choice, an object's annotation, a baseline."""

    SELECT = "select"
    IGNORE = "ignore"
    ANNOTATION = "annotation"
    BASELINE = "baseline"


class Suppressed(Value, frozen=True):
    """A finding that was left out of the answer, and why."""

    code: str
    subject: str
    by: By


class Problem(Value, frozen=True):
    """An input that could not be read or understood; the rest was checked."""

    message: str
    place: Place | None = None


class Checkup(Value, frozen=True):
    """All that a run of ``check`` or ``lint`` found.

    ``scope`` says in words what was looked at. ``rows`` are all checked objects, sound ones too; ``findings`` come
    worst first.
    """

    scope: str
    rows: tuple[Row, ...]
    findings: tuple[Reported, ...] = ()
    suppressed: tuple[Suppressed, ...] = ()
    problems: tuple[Problem, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()
    notes: tuple[str, ...] = ()
