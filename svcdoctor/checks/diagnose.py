"""``diagnose``: the trace and its findings together, the one answer that commands render.

The source refills the Snapshot with what the trace or a check lacked, three times at most.
"""

from __future__ import annotations

from typing import Protocol

from msgspec.structs import replace

from svcdoctor.checks import families  # noqa: F401  (registers svcdoctor's own checks)
from svcdoctor.checks.plugins import loaded
from svcdoctor.checks.registry import Case, run
from svcdoctor.cluster.wouldbe import is_placeholder
from svcdoctor.model.facts import EVERYTHING, Kind, Need
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Outcome, Path, Result, Trace, Verdict
from svcdoctor.path.observing import with_observations
from svcdoctor.path.trace import trace
from svcdoctor.path.view import View
from svcdoctor.path.world import World

ELSEWHERE = "OBJ033"  # what manifests lack may be in others
REJECTED = frozenset({"OBJ014", "OBJ032"})  # the API server would not take the manifest
ROUNDS = 4  # the first answer and three refills


class Source(Protocol):
    """Where facts come from: an empty or full Snapshot, and more on request."""

    def snapshot(self) -> Snapshot: ...

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot: ...


def diagnose(source: Source, request: Request, namespace: str) -> Trace:
    """The trace of ``request`` with its findings, root cause first. Raises SvcdoctorError."""
    return diagnosed(source, source.snapshot(), request, namespace)[0]


def diagnosed(source: Source, snapshot: Snapshot, request: Request, namespace: str) -> tuple[Trace, Snapshot]:
    """The same, beginning with what a Snapshot holds already; and the Snapshot that the answer rests on."""
    for _ in range(ROUNDS):
        answer = answer_once(snapshot, request, namespace)
        if not answer.needs:
            break
        refilled = source.refill(snapshot, answer.needs)
        if refilled is snapshot:
            break
        snapshot = refilled
    return answer, snapshot


def whole(source: Source) -> Snapshot:
    """Everything that batch questions may ask about, in one Snapshot."""
    snapshot = source.snapshot()
    kinds = (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.POD, Kind.NODE, Kind.SERVICE_CIDR)
    needs = tuple(
        Need(k, EVERYTHING) for k in kinds if not snapshot.knows(k) and snapshot.why_unknown(k) is None
    )
    return source.refill(snapshot, needs) if needs else snapshot


def exit_code(answer: Trace, fail_on: str) -> int:
    """The process's exit code: 1 from severity ``fail_on`` on (it wins over 3), 3 when undetermined, else 0."""
    if fail_on != "never":
        worst = {Severity.ERROR} if fail_on == "error" else {Severity.ERROR, Severity.WARNING}
        if answer.verdict is Verdict.BROKEN or any(f.severity in worst for f in answer.findings):
            return 1
    return 3 if answer.verdict is Verdict.UNKNOWN else 0


def answer_once(snapshot: Snapshot, request: Request, namespace: str, world: World | None = None) -> Trace:
    """The answer from what this Snapshot holds; what it lacked is in the Trace's ``needs``.

    ``world`` is the Snapshot's, where many questions share one.
    """
    left_out = loaded()
    view = View(snapshot, world)
    traced = with_observations(view, trace(view, request, namespace))
    findings = run(Case(view, traced))
    paths = tuple(_with_cause(p, findings) for p in traced.paths)
    if snapshot.would_be:
        paths = tuple(map(_without_placeholders, paths))
    return replace(
        traced,
        paths=paths,
        findings=findings,
        verdict=_verdict(traced, findings, view),
        unknowns=view.missing,
        needs=view.needs,
        notes=(*traced.notes, *left_out),
    )


def _with_cause(path: Path, findings: tuple[Finding, ...]) -> Path:
    """The path with the root cause's code on the outcomes that have no code of their own."""
    cause = next((f.code for f in findings if f.severity is Severity.ERROR), None)
    if cause is None or not any(_unexplained(o) for o in path.outcomes):
        return path
    return replace(
        path, outcomes=tuple(replace(o, code=cause) if _unexplained(o) else o for o in path.outcomes)
    )


def _without_placeholders(path: Path) -> Path:
    """The path without the addresses that would-be objects do not have yet."""

    def real(address: str | None) -> str | None:
        return None if is_placeholder(address) else address

    return replace(
        path,
        entry=replace(path.entry, address=real(path.entry.address)),
        hops=tuple(replace(h, address=real(h.address)) for h in path.hops),
        outcomes=tuple(
            replace(o, backend=replace(o.backend, ip=real(o.backend.ip))) if o.backend else o
            for o in path.outcomes
        ),
    )


def _unexplained(outcome: Outcome) -> bool:
    return outcome.code is None and outcome.result in (Result.REFUSED, Result.DROPPED)


def _verdict(traced: Trace, findings: tuple[Finding, ...], view: View) -> Verdict:
    """The paths' verdict, and what findings make of it: an error is never healthy."""
    severities = {f.severity for f in findings}
    if any(f.code in REJECTED and f.severity is Severity.ERROR for f in findings):
        return Verdict.BROKEN
    if not traced.paths:
        if Severity.ERROR in severities:
            return Verdict.BROKEN
        return Verdict.UNKNOWN
    if view.lacks_required and traced.verdict is not Verdict.BROKEN:
        return Verdict.UNKNOWN
    elsewhere = any(f.code == ELSEWHERE and f.severity is Severity.WARNING for f in findings)
    if elsewhere and Severity.ERROR not in severities:
        return Verdict.DEGRADED
    if traced.verdict is Verdict.HEALTHY and severities & {Severity.ERROR, Severity.WARNING}:
        return Verdict.DEGRADED
    return traced.verdict
