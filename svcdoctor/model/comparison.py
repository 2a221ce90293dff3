"""The answer of ``diff``: what of two snapshots differs on Services' ways, and which findings came or went."""

from __future__ import annotations

from svcdoctor.model.checkup import Reported
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Severity
from svcdoctor.model.trace import Value, Verdict


class Change(Value, frozen=True):
    """One thing that is otherwise than before.

    ``subject`` is the object, ``part`` what of it (``spec.selector``, ``endpoint web-1``; empty: the object itself);
    ``before`` and ``after`` are its values in words, ``None`` where it is not there. ``services`` are those whose
    way it lies on, sorted.
    """

    subject: str
    part: str
    before: str | None
    after: str | None
    services: tuple[str, ...] = ()


class Compared(Value, frozen=True):
    """One Service with its verdicts, ``None`` where it does not exist, and how many changes lie on its way."""

    subject: str
    before: Verdict | None
    after: Verdict | None
    changes: int


class Shifted(Value, frozen=True):
    """A finding of both snapshots whose severity differs: ``before`` is what it was."""

    reported: Reported
    before: Severity


class Comparison(Value, frozen=True):
    """What differs. ``services`` are those with a change or another verdict, of ``compared`` ones.

    ``before`` and ``after`` name the snapshots, ``unknowns`` what could not be compared.
    """

    before: str
    after: str
    scope: str
    compared: int
    services: tuple[Compared, ...] = ()
    changes: tuple[Change, ...] = ()
    appeared: tuple[Reported, ...] = ()
    gone: tuple[Reported, ...] = ()
    shifted: tuple[Shifted, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not (self.services or self.changes or self.appeared or self.gone or self.shifted)
