"""A Snapshot as one question sees it: looking something up that is not held is noted.

Theory. The trace and the checks are pure: when a fact is missing they neither fetch nor guess. ``complete``
says whether a scope is fully held; when it is not, the view notes either a ``Need`` (nobody asked yet: the
source may refill, and the step runs again) or a ``MissingFact`` (it was asked and could not be read).
"""

from __future__ import annotations

from svcdoctor.model.facts import EVERYTHING, Kind, MissingFact, Need, Scope
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.world import World


class View:
    """One question's reading of a Snapshot, with what it lacked.

    ``world`` is the Snapshot's, where several questions share one.
    """

    def __init__(self, snapshot: Snapshot, world: World | None = None) -> None:
        self.snapshot = snapshot
        self.world = world or World(snapshot)
        self._needs: dict[Need, None] = {}
        self._missing: dict[str, MissingFact] = {}

    def complete(self, kind: Kind, scope: Scope = EVERYTHING, *, required: bool = False) -> bool:
        """Whether every object of ``kind`` within ``scope`` is held.

        ``required`` marks a fact without which the verdict cannot be determined.
        """
        if self.snapshot.knows(kind, scope):
            return True
        unknown = self.snapshot.why_unknown(kind, scope)
        if unknown is None:
            self._needs[Need(kind, scope)] = None
        else:
            fact = f"{kind} ({scope})"
            if required or fact not in self._missing:
                self._missing[fact] = MissingFact(fact, unknown.reason, unknown.grant, required)
        return False

    def lacks(self, fact: str, reason: str, grant: str, *, required: bool = False) -> None:
        """Notes a fact that no kind of object holds, such as the nodes' rules."""
        self._missing.setdefault(fact, MissingFact(fact, reason, grant, required))

    @property
    def needs(self) -> tuple[Need, ...]:
        return tuple(self._needs)

    @property
    def missing(self) -> tuple[MissingFact, ...]:
        return tuple(self._missing.values())

    @property
    def lacks_required(self) -> bool:
        return any(m.required for m in self._missing.values())
