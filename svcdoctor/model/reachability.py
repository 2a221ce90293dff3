"""Who is expected to reach what, and what came of that.

The field names are those of the JSON contract, as in ``model.trace``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from svcdoctor.model.checkup import Place
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.trace import Basis, Result, SourceSeen, Value


@dataclass(frozen=True, slots=True)
class Backends:
    """The pods and workloads that the requests are expected to end at.

    Every end must be one of these or a pod of one of these; with ``exactly`` each of these must be met, too.
    """

    ends: tuple[ObjectTarget, ...]
    exactly: bool


@dataclass(frozen=True, slots=True)
class Expectation:
    """One test of a file. ``client`` and ``target`` are ``from`` and ``to`` as they are written."""

    name: str
    place: Place
    namespace: str
    client: str
    target: str
    request: Request
    expect: Result
    backends: Backends | None = None
    source_seen: SourceSeen | None = None


class TestState(StrEnum):
    """``unknown``: it could not be determined."""

    __test__ = False  # for pytest

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class TestResult(Value, frozen=True):
    """What came of an expectation: ``got`` in words, and where that is not as expected why: the finding's ``code``
    where there is one, and a sentence. ``basis`` is ``None`` where there was no way to look at. Times are seconds."""

    __test__ = False

    name: str
    place: Place
    client: str
    target: str
    expected: str
    state: TestState
    got: str
    code: str = ""
    why: str = ""
    basis: Basis | None = None
    seconds: float = 0.0


class TestRun(Value, frozen=True):
    """All results, in the order of the files. ``source`` says what they were evaluated on."""

    __test__ = False

    source: str
    results: tuple[TestResult, ...]

    def count(self, state: TestState) -> int:
        return sum(r.state is state for r in self.results)

    @property
    def exit_code(self) -> int:
        """1 where a test failed, else 3 where one could not be determined, else 0."""
        if self.count(TestState.FAILED):
            return 1
        return 3 if self.count(TestState.UNKNOWN) else 0
