"""A rule of nftables while it is translated: its statements run in order, and may test after they acted."""

from __future__ import annotations

from typing import Any

from svcdoctor.dataplane.language import Action, Op, Test


class Parts:
    """The tests and actions so far. A test that comes after an action ends the rule only from there on."""

    __slots__ = ("actions", "tests")

    def __init__(self) -> None:
        self.tests: list[Test] = []
        self.actions: list[Action] = []

    def need(self, test: Test) -> None:
        """Go on only if the test holds."""
        if self.actions and self.actions[-1][0] is Op.WHEN:
            # Together: one that does not hold decides, even where another cannot be told.
            self.actions[-1] = Op.WHEN, (*self.actions[-1][1], test)
        elif self.actions:
            self.actions.append((Op.WHEN, (test,)))
        else:
            self.tests.append(test)

    def do(self, op: Op, argument: Any = None) -> None:
        self.actions.append((op, argument))

    def unknown(self, why: str) -> None:
        """Nothing can be said of a packet that comes this far."""
        self.actions.append((Op.UNKNOWN, why))
