"""Holding expectations of who reaches what against traces: predicted ones, or what real traffic met.

Theory. Every way that is left of the question must end as expected, whatever chance decides: a way that delivers two
requests out of three does not deliver. A way that certainly ends otherwise fails the test, even where another one is
not known; where nothing fails, what is not known leaves the test unknown. Where traffic was sent it decides, and a way
that was not tried is not known.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from svcdoctor.checks.diagnose import REJECTED, Source, diagnosed
from svcdoctor.checks.expectedends import wrong_ends, wrong_sources
from svcdoctor.model.errors import NoWay, SvcdoctorError
from svcdoctor.model.facts import Kind, Need, Scope
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.observed import Met
from svcdoctor.model.reachability import Backends, Expectation, TestResult, TestState
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Basis, Outcome, Path, Result, Status, Trace, Verdict
from svcdoctor.path.hops import percent

FAILS = "fails"
"""An outcome that is no delivery, though the objects cannot tell whether a refusal or a timeout."""

_NOTHING = 1e-9
_CONTRADICTING = {
    Result.DELIVERED: (Result.REFUSED, Result.DROPPED, FAILS),
    Result.REFUSED: (Result.DELIVERED, Result.DROPPED),
    Result.DROPPED: (Result.DELIVERED, Result.REFUSED),
}

Ask = Callable[[Expectation], Trace]
"""Answers the question of an expectation. Raises SvcdoctorError."""


@dataclass(frozen=True, slots=True)
class _Way:
    """One way, and which part of its requests ends how."""

    path: Path
    shares: dict[str, float]
    tried: bool = True

    @property
    def words(self) -> str:
        """``delivered 2 of 3 (66.7 %), dropped 33.3 %``, with the entry."""
        parts = [
            f"{what} {percent(share)}" if share < 1 - _NOTHING else what
            for what, share in sorted(self.shares.items(), key=lambda item: -item[1])
            if share > _NOTHING
        ]
        return f"{', '.join(parts) or 'not tried'} by {entry_words(self.path)}"

    def contradicts(self, expected: Result) -> bool:
        return sum(self.shares.get(what, 0.0) for what in _CONTRADICTING[expected]) > _NOTHING

    def certain(self, expected: Result) -> bool:
        return self.shares.get(expected, 0.0) > 1 - _NOTHING


class Predicted:
    """Answers questions from one source; what an answer needed is there for the next one."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.snapshot = source.snapshot()

    def trace(self, expectation: Expectation) -> Trace:
        """Raises SvcdoctorError."""
        answer, self.snapshot = diagnosed(
            self.source, self.snapshot, expectation.request, expectation.namespace
        )
        return answer

    def pods(self, namespaces: Iterable[str]) -> Snapshot:
        """The Snapshot with the pods of these namespaces, as far as they may be read."""
        needs = tuple(
            Need(Kind.POD, Scope(n)) for n in namespaces if not self.snapshot.knows(Kind.POD, Scope(n))
        )
        if needs:
            self.snapshot = self.source.refill(self.snapshot, needs)
        return self.snapshot


def judge(expectation: Expectation, ask: Ask, held: Predicted, *, probed: bool) -> TestResult:
    """What comes of one expectation; ``probed`` where its question is answered with real traffic."""
    began = time.monotonic()
    try:
        answer = ask(expectation)
    except NoWay as e:
        return _result(expectation, TestState.FAILED, "no way", began, why=e.message)
    except SvcdoctorError as e:
        if e.exit_code == 3 and not probed:
            raise  # nothing can be determined at all
        return _result(expectation, TestState.UNKNOWN, "not known", began, why=e.message)
    return _judged(expectation, answer, held, began, probed)


def _judged(
    expectation: Expectation, answer: Trace, held: Predicted, began: float, probed: bool
) -> TestResult:
    expected = expectation.expect
    ways = [_seen(p) if probed else _foreseen(p) for p in answer.paths]
    rejected = next((f for f in answer.findings if f.code in REJECTED), None)
    if rejected is not None:
        return _result(expectation, TestState.FAILED, "rejected", began, answer, finding=rejected)
    if not ways:
        finding = next(iter(answer.findings), None)
        known = answer.verdict is Verdict.BROKEN
        got = "no way" if known else "not known"
        state = TestState.FAILED if known else TestState.UNKNOWN
        return _result(expectation, state, got, began, answer, finding=finding, why=_missing(answer))
    wrong = [w for w in ways if w.contradicts(expected)]
    if wrong:
        first = max(wrong, key=lambda w: 1 - w.shares.get(expected, 0.0))
        finding, reason = _cause(answer, first, expected)
        got = _counted(first, wrong, ways)
        return _result(expectation, TestState.FAILED, got, began, answer, finding=finding, why=reason)
    paths = [w.path for w in ways]
    found = [*wrong_ends(expectation, paths, held.pods), *wrong_sources(expectation, paths)]
    if failed := next((words for words, state in found if state is TestState.FAILED), None):
        return _result(expectation, TestState.FAILED, f"{_words(ways, expected)}; {failed}", began, answer)
    unsure = [w for w in ways if not w.certain(expected)]
    if unsure or any(u.required for u in answer.unknowns):
        first = (unsure or ways)[0]
        finding = next((f for f in answer.findings if f.severity is not Severity.INFO), None)
        why = _missing(answer) or _doubt(first, probed)
        return _result(expectation, TestState.UNKNOWN, first.words, began, answer, finding=finding, why=why)
    state = TestState.UNKNOWN if found else TestState.PASSED
    return _result(
        expectation, state, "; ".join([_words(ways, expected), *(words for words, _ in found)]), began, answer
    )


def _words(ways: list[_Way], expected: Result) -> str:
    """What ways come to that do not contradict what is expected."""
    return ways[0].words if len(ways) == 1 else f"{expected} by all {len(ways)} ways"


# --- how ways end


def _foreseen(path: Path) -> _Way:
    shares: dict[str, float] = {}
    for outcome in path.outcomes:
        what = _kind(outcome)
        shares[what] = shares.get(what, 0.0) + outcome.probability
    return _Way(path, shares)


def _kind(outcome: Outcome) -> str:
    if outcome.status is Status.UNKNOWN:
        return Result.UNKNOWN
    if outcome.status is Status.FAIL and outcome.result in (Result.UNKNOWN, Result.DELIVERED):
        return FAILS
    return outcome.result


def _seen(path: Path) -> _Way:
    """What requests by the path met; nothing where none decided."""
    seen = path.observed
    if seen is None or path.basis is not Basis.OBSERVED or not seen.sent:
        return _Way(path, {Result.UNKNOWN: 1.0}, tried=False)
    met = dict(seen.met)
    refused = min(met.get(Met.REFUSED, 0), seen.sent - seen.arrived)
    counts = {
        Result.DELIVERED: seen.arrived,
        Result.REFUSED: refused,
        Result.DROPPED: seen.sent - seen.arrived - refused,
    }
    return _Way(path, {what: count / seen.sent for what, count in counts.items() if count})


def entry_words(path: Path) -> str:
    """``nodePort 192.0.2.1:30080``, the node where there is no address."""
    entry = path.entry
    address = entry.address or entry.node or ""
    shown = f"[{address}]" if ":" in address else address
    return f"{entry.kind} {shown}{f':{entry.port}' if entry.port else ''}".replace(" :", " port ")


def _counted(first: _Way, wrong: list[_Way], ways: list[_Way]) -> str:
    return first.words if len(ways) == 1 else f"{first.words}; {len(wrong)} of {len(ways)} ways end otherwise"


# --- why


def _cause(answer: Trace, way: _Way, expected: Result) -> tuple[Finding | None, str]:
    """The finding that names the cause of an end that was not expected, or the outcome's own reason."""
    wrong = [o for o in way.path.outcomes if _kind(o) != expected] or list(way.path.outcomes)
    codes = [o.code for o in wrong if o.code]
    finding = next((f for f in answer.findings if f.code in codes), None)
    if finding is None and expected is Result.DELIVERED:
        finding = next((f for f in answer.findings if f.severity is Severity.ERROR), None)
    return finding, wrong[0].reason if wrong else ""


def _doubt(way: _Way, probed: bool) -> str:
    if probed and not way.tried:
        seen = way.path.observed
        return f"no request by this way met anything that decides{f' ({seen.detail})' if seen else ''}"
    return next(
        (o.reason for o in way.path.outcomes if o.status is not Status.OK or _kind(o) == "unknown"), ""
    )


def _missing(answer: Trace) -> str:
    lacking = next((u for u in answer.unknowns if u.required), None)
    if lacking is None:
        return ""
    return f"{lacking.fact} is not known: {lacking.reason}{f'; {lacking.grant}' if lacking.grant else ''}"


def _result(
    expectation: Expectation,
    state: TestState,
    got: str,
    began: float,
    answer: Trace | None = None,
    *,
    finding: Finding | None = None,
    why: str = "",
) -> TestResult:
    bases = {p.basis for p in answer.paths} if answer is not None else set()
    basis = next((b for b in (Basis.OBJECTS, Basis.RULES, Basis.OBSERVED) if b in bases), None)
    if finding is not None:
        why = f"{finding.title}. {finding.explanation}"
    return TestResult(
        expectation.name,
        expectation.place,
        expectation.client,
        expectation.target,
        _expected_words(expectation),
        state,
        got,
        finding.code if finding is not None else "",
        why,
        basis,
        time.monotonic() - began,
    )


def _expected_words(expectation: Expectation) -> str:
    words = str(expectation.expect)
    if expectation.backends is not None:
        words += f" {_backend_words(expectation.backends)}"
    if expectation.source_seen is not None:
        words += f", seen as the {expectation.source_seen}"
    return words


def _backend_words(backends: Backends) -> str:
    names = ", ".join(f"{e.kind.lower()}/{e.name}" for e in backends.ends)
    return f"to {names}" if backends.exactly else f"within {names}"
