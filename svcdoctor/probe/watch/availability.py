"""When something was available and when not, from what was seen of it one after the other.

Theory. A subject (an endpoint, an entry, a Service) is in one of four states. *Unknown* is a state of its own: what was
not seen is never counted as unavailable. *Away* is not to be expected: an endpoint that has not been ready yet, or has
left. Who comes back under the same name was unavailable in between; who does not, has left and missed nothing.

Times are seconds on one clock that does not go back. Pure.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from enum import StrEnum

KEPT = 200
"""Spells of each kind that are kept, the newest; all are counted."""


class State(StrEnum):
    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Spell:
    """From when to when, and why; ``end`` is None while it lasts. ``why`` is what was said when it began."""

    start: float
    end: float | None
    why: str = ""

    def seconds(self, now: float) -> float:
        """How long it lasted, or has lasted so far."""
        return (now if self.end is None else self.end) - self.start


class Spells:
    """Spells that have ended, in order; those that touch are one. ``count`` and ``total`` (seconds) are of all."""

    def __init__(self) -> None:
        self.kept: deque[Spell] = deque(maxlen=KEPT)
        self.count = 0
        self.total = 0.0

    def add(self, start: float, end: float, why: str) -> None:
        """Add one that began no earlier than the last one ended; what took no time was not."""
        if end <= start:
            return
        self.total += end - start
        if self.kept and self.kept[-1].end == start:
            self.kept[-1] = replace(self.kept[-1], end=end)
            return
        self.kept.append(Spell(start, end, why))
        self.count += 1


class Availability:
    """One subject's states. ``state`` is None before anything was seen of it."""

    def __init__(self) -> None:
        self.state: State | None = None
        self.since = 0.0
        self.why = ""
        self.unavailable = Spells()
        self.unknown = Spells()
        self._was_here = False
        self._away: list[Spell] = []

    def note(self, at: float, state: State, why: str = "") -> bool:
        """From ``at`` on it is in this state. Whether that is another one.

        A time before the last change counts as the time of that change.
        """
        at = max(at, self.since)
        if state is self.state:
            return False
        self._leave(at)
        if state in (State.AVAILABLE, State.UNAVAILABLE):
            if self._was_here:
                for spell in self._away:
                    self.unavailable.add(spell.start, spell.end or at, spell.why)
            self._was_here = True
            self._away.clear()
        self.state, self.since, self.why = state, at, why
        return True

    def _leave(self, at: float) -> None:
        match self.state:
            case State.UNAVAILABLE:
                self.unavailable.add(self.since, at, self.why)
            case State.UNKNOWN:
                self.unknown.add(self.since, at, self.why)
            case State.AWAY:
                self._away.append(Spell(self.since, at, self.why))

    def when_unavailable(self) -> tuple[Spell, ...]:
        """When it was unavailable, in order; the last one may still last."""
        return self._spells(self.unavailable, State.UNAVAILABLE)

    def when_unknown(self) -> tuple[Spell, ...]:
        """When nothing was known of it, in order; the last one may still last."""
        return self._spells(self.unknown, State.UNKNOWN)

    def counted(self, now: float) -> tuple[int, float]:
        """How often it was unavailable, and for how many seconds together."""
        count, total = self.unavailable.count, self.unavailable.total
        if self.state is not State.UNAVAILABLE:
            return count, total
        kept = self.unavailable.kept
        goes_on = bool(kept) and kept[-1].end == self.since
        return count + (not goes_on), total + now - self.since

    def _spells(self, ended: Spells, state: State) -> tuple[Spell, ...]:
        held = tuple(ended.kept)
        if self.state is not state:
            return held
        if held and held[-1].end == self.since:  # it goes on, after a time away
            return (*held[:-1], replace(held[-1], end=None))
        return (*held, Spell(self.since, None, self.why))
