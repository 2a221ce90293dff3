"""Observed traffic laid over a trace: what requests met decides where it was tried, and the prediction stays beside it.

Theory. The trace says what becomes of each packet; ``--probe`` sent some. What is known of an endpoint's application
(``observedends``) holds on every path. A path whose entry was tried rests on what was observed: an outcome that was
seen to answer is delivered, one that fails has the code of what the differences between places prove, and without
such a proof none, so that the contradiction itself is the finding.

What may live here: deciding outcomes. Comparing counts is in ``agreement``, the hops are in ``observedhops``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from svcdoctor.model.evidence import Evidence, arrived
from svcdoctor.model.observed import Met, Observation, Speaks
from svcdoctor.model.seen import PathSeen
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import (
    ROUTED,
    Basis,
    ClientKind,
    EntryKind,
    Outcome,
    Path,
    Result,
    Status,
    Trace,
    Verdict,
    combined,
    verdict_of,
)
from svcdoctor.path.agreement import compared, conclusive, failure_words, names_of, seen_of
from svcdoctor.path.aims import fits, speech_of
from svcdoctor.path.observedends import End, observed_end
from svcdoctor.path.observedhops import with_seen
from svcdoctor.path.policed import BY_POLICY
from svcdoctor.path.policies import keeping, policy_subject
from svcdoctor.path.view import View

LARGE_LOST = "NOD007"
ISOLATED = "NOD012"
OTHER_PROTOCOL = "EXT010"
NOT_FROM_HERE = "EXT013"
PROVED_BY_SOCKETS = frozenset({"NOD010", "NOD011", "NOD015", "OBJ013"})

_CLOUDS = ("aws://", "gce://", "azure://", "digitalocean://", "hcloud://", "ibm://", "oci://", "openstack://")


def with_observations(view: View, traced: Trace) -> Trace:
    """The trace with what was observed; unchanged where nothing was tried."""
    evidence = view.snapshot.evidence
    if evidence is None:
        return traced
    for fact in evidence.missing:
        view.lacks(fact.fact, fact.reason, fact.grant, required=fact.required)
    judge = _Judge(view, traced, evidence)
    paths = tuple(judge.path(path) for path in traced.paths)
    paths = _from_outside(view, judge, paths)
    paths = tuple(with_seen(path, judge.ends(path), evidence) for path in paths)
    verdict = combined(p.verdict for p in paths)
    if view.lacks_required and verdict is not Verdict.BROKEN:
        verdict = Verdict.UNKNOWN
    return replace(traced, paths=paths, verdict=verdict)


class _Judge:
    """The evidence of one question."""

    def __init__(self, view: View, traced: Trace, evidence: Evidence) -> None:
        self.view = view
        self.snapshot = view.snapshot
        self.traced = traced
        self.evidence = evidence
        services = (self.snapshot.service(*name) for name in traced.services)
        self.sticky = any(s.affinity_seconds for s in services if s is not None)
        self._entries = Counter(_entry_of(p) for p in traced.paths if fits(p, evidence.client))

    def ends(self, path: Path) -> tuple[End, ...]:
        """What was observed of the endpoint of each outcome."""
        protocol = path.entry.protocol
        return tuple(observed_end(self.snapshot, self.evidence, o, protocol) for o in path.outcomes)

    def observation(self, path: Path, *, large: bool = False) -> Observation | None:
        """What requests by the path met, where any could be made."""
        address = canonical_or_none(path.entry.address or "")
        if address is None or not path.entry.port or not fits(path, self.evidence.client):
            return None
        if path.entry.kind in ROUTED or self._entries[_entry_of(path)] > 1:
            return None  # or nobody can tell by which of the ways that share the address it went
        found = self.evidence.at(address, path.entry.port, path.entry.protocol, large=large)
        return found if found is not None and found.sent > found.met.get(Met.ERROR, 0) else None

    def path(self, path: Path) -> Path:
        ends = self.ends(path)
        observation = self.observation(path)
        if observation is None:
            outcomes = tuple(_known(o, e) for o, e in zip(path.outcomes, ends, strict=True))
            return _of(path, outcomes, path.basis)
        large = self.observation(path, large=True)
        seen = compared(self.snapshot, path, observation, seen_of(observation, large), self.sticky)
        if not conclusive(observation):
            outcomes = tuple(_known(o, e) for o, e in zip(path.outcomes, ends, strict=True))
            return replace(_of(path, outcomes, path.basis), observed=seen)
        outcomes = self._outcomes(path, ends, observation, seen)
        if large is not None and seen.answered == seen.sent:
            outcomes = tuple(self._large(o, large) for o in outcomes)
        elif observation.met.get(Met.STALLED, 0):
            outcomes = tuple(_stalled(o, observation) for o in outcomes)
        wrong = self._other_protocol(path, observation)
        if wrong:
            outcomes = tuple(_doubted(o, wrong) for o in outcomes)
        return replace(_of(path, outcomes, Basis.OBSERVED), observed=seen)

    def _outcomes(
        self, path: Path, ends: Sequence[End], observation: Observation, seen: PathSeen
    ) -> tuple[Outcome, ...]:
        if seen.agrees and seen.arrived < seen.sent:
            return tuple(_known(o, e) for o, e in zip(path.outcomes, ends, strict=True))
        counts = dict(seen.who)
        named = sum(counts.values())
        failed = seen.sent - seen.arrived
        found = []
        for outcome, end in zip(path.outcomes, ends, strict=True):
            pod = outcome.backend.pod if outcome.backend is not None else None
            heard = sum(counts.get(n, 0) for n in names_of(self.snapshot, pod)) if pod else 0
            if heard or not failed:
                found.append(_arrives(outcome, observation))
            elif seen.arrived and not (named and pod) and not _refuses(end):
                found.append(outcome if _fails(outcome) else _arrives(outcome, observation))
            else:
                found.append(self._fails(path, outcome, end, observation))
        if failed and all(o.status is Status.OK for o in found):
            words = f"{failed} of {seen.sent} requests fail ({failure_words(observation)})"
            found = [replace(o, status=Status.WARN, reason=f"{o.reason}; {words}") for o in found]
        return tuple(found)

    def _fails(self, path: Path, outcome: Outcome, end: End, observation: Observation) -> Outcome:
        """An outcome that no request reached: why, as far as it is proven."""
        result = Result.REFUSED if observation.mostly is Met.REFUSED else Result.DROPPED
        if _refuses(end):
            return replace(
                outcome, result=Result.REFUSED, status=Status.FAIL, code=end.code, reason=end.reason
            )
        what = f"observed: {failure_words(observation)}"
        pod = outcome.backend.pod if outcome.backend is not None else None
        if pod and result is Result.DROPPED and end.silent:
            port = outcome.backend.port if outcome.backend is not None else None
            policies = keeping(self.view, pod, port or 0, path.entry.protocol, self.evidence.client)
            if policies and outcome.code not in BY_POLICY:
                names = ", ".join(map(policy_subject, policies))
                reason = f"{what}; the application answers inside pod {pod.rpartition('/')[2]}, isolated by {names}"
                return replace(outcome, result=result, status=Status.FAIL, code=ISOLATED, reason=reason)
        if not self._routed(path, observation):
            reason = f"{what}: cluster IPs are not routed to from here, which is usual outside the cluster"
            return replace(outcome, result=result, status=Status.WARN, code=None, reason=reason)
        if end.reached:
            reason = f"{what}, while the pod's own address answers from the same place"
        else:
            reason = f"{what}, against what the {path.basis} say"
        foreseen = outcome.code in BY_POLICY and result is Result.DROPPED
        if foreseen:
            reason = f"{reason}; {outcome.reason}"
        code = outcome.code if foreseen or outcome.status is Status.FAIL else None
        return replace(outcome, result=result, status=Status.FAIL, code=code, reason=reason)

    def _routed(self, path: Path, observation: Observation) -> bool:
        """Whether a failure of the path can mean anything: outside the cluster its addresses need not lead here."""
        inside = path.entry.kind in (EntryKind.CLUSTER_IP, EntryKind.DNS)
        if not inside or path.client.kind is not ClientKind.EXTERNAL or arrived(observation):
            return True
        return any(end.reached for end in self.ends(path))

    def _large(self, outcome: Outcome, large: Observation) -> Outcome:
        """The outcome where small requests are answered: whether large ones are too, by what the endpoint's own address
        met where it answers, else by what requests by the path met."""
        end, protocol = outcome.backend, large.aim.protocol
        met = large
        if end is not None and end.ip is not None and end.port is not None:
            small = self.evidence.at(end.ip, end.port, protocol)
            own = self.evidence.at(end.ip, end.port, protocol, large=True)
            if small is not None and own is not None and small.answered == small.sent:
                met = own
        if not _lost(met):
            return outcome
        size = f"{large.aim.payload_size:,}"
        reason = f"small requests are answered, those of {size} bytes are not ({failure_words(met)})"
        return replace(outcome, result=Result.DROPPED, status=Status.FAIL, code=LARGE_LOST, reason=reason)

    def _other_protocol(self, path: Path, observation: Observation) -> str:
        """How the application speaks another protocol than its Service says; empty where it does not."""
        if observation.speaks is None or not speech_of(path, self.traced, self.snapshot).declared:
            return ""
        words = {
            Speaks.TLS: "TLS",
            Speaks.HTTP: "HTTP/1.1",
            Speaks.HTTP2: "HTTP/2",
            Speaks.OTHER: "another protocol",
        }
        asked = str(observation.aim).partition(":")[0]
        return f"asked in {asked}, the application answers in {words[observation.speaks]}"


def _entry_of(path: Path) -> tuple[object, ...]:
    return path.entry.address, path.entry.port, path.entry.protocol


def _of(path: Path, outcomes: tuple[Outcome, ...], basis: Basis) -> Path:
    return replace(path, outcomes=outcomes, basis=basis, verdict=verdict_of(o.status for o in outcomes))


def _lost(observation: Observation) -> bool:
    return observation.answered + observation.met.get(Met.ERROR, 0) < observation.sent


def _refuses(end: End) -> bool:
    return end.result is Result.REFUSED


def _fails(outcome: Outcome) -> bool:
    return outcome.status is Status.FAIL


def _known(outcome: Outcome, end: End) -> Outcome:
    """The outcome where only the endpoint itself was looked at: its application listens, or it does not."""
    if _refuses(end) and (outcome.result is not Result.DROPPED or outcome.code in PROVED_BY_SOCKETS):
        return replace(outcome, result=Result.REFUSED, status=Status.FAIL, code=end.code, reason=end.reason)
    listens = end.result is Result.DELIVERED
    if listens and outcome.backend is not None and outcome.code in PROVED_BY_SOCKETS:
        return replace(outcome, result=Result.DELIVERED, status=Status.OK, code=None, reason=end.reason)
    return outcome


def _arrives(outcome: Outcome, observation: Observation) -> Outcome:
    """The outcome where requests were seen to reach an application."""
    met = {m for m, c in observation.met.items() if c and m not in (Met.ERROR, Met.ANSWERED)}
    reason = outcome.reason
    if outcome.result is not Result.DELIVERED or outcome.status is not Status.OK:
        reason = f"observed: {observation.answered} of {observation.sent} requests answered"
    if outcome.result is Result.DELIVERED and outcome.status is Status.WARN and outcome.code not in BY_POLICY:
        return outcome  # a doubt that one answer does not remove
    arrives = replace(outcome, result=Result.DELIVERED, status=Status.OK, code=None, reason=reason)
    if observation.answered or observation.speaks is not None:
        return arrives
    words = ", ".join(sorted(met))
    return replace(
        arrives, status=Status.WARN, reason=f"connected, but not answered: {words} ({observation.detail})"
    )


def _stalled(outcome: Outcome, observation: Observation) -> Outcome:
    if outcome.status is not Status.OK:
        return outcome
    reason = f"answers begin and do not end: {observation.detail}"
    return replace(outcome, status=Status.FAIL, code=LARGE_LOST, reason=reason)


def _doubted(outcome: Outcome, reason: str) -> Outcome:
    if outcome.status is not Status.OK:
        return outcome
    return replace(outcome, status=Status.WARN, code=OTHER_PROTOCOL, reason=reason)


def _from_outside(view: View, judge: _Judge, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    """The paths with what it means that no node answers a client outside, family by family, though pods do.

    Where the other family works it is no more than a doubt: many machines have one family only.
    """
    found = list(paths)
    for family in (4, 6):
        mine = [i for i, path in enumerate(paths) if _enters_by_node(path, family)]
        silent = [i for i in mine if _all_silent(paths[i])]
        alive = any(e.seen.tunnel is Met.ANSWERED for i in mine for e in judge.ends(paths[i]))
        unexplained = all(o.code is None for i in silent for o in paths[i].outcomes)
        if not mine or silent != mine or not alive or not unexplained:
            continue
        other = any(_enters_by_node(p, 10 - family) and p.observed and p.observed.arrived for p in paths)
        status = Status.WARN if other else Status.FAIL
        for i in mine:
            code = _not_reached(view, paths[i])
            outcomes = tuple(replace(o, code=code, status=status) for o in paths[i].outcomes)
            found[i] = _of(paths[i], outcomes, paths[i].basis)
    return tuple(found)


def _enters_by_node(path: Path, family: int) -> bool:
    kinds = (EntryKind.NODE_PORT, EntryKind.HOST_PORT)
    version = 6 if ":" in (path.entry.address or "") else 4
    outside = path.client.kind is ClientKind.EXTERNAL
    return outside and path.entry.kind in kinds and path.observed is not None and version == family


def _all_silent(path: Path) -> bool:
    seen = path.observed
    return (
        seen is not None
        and not seen.arrived
        and all(m in (Met.TIMEOUT, Met.UNREACHABLE) for m, _ in seen.met)
    )


def _not_reached(view: View, path: Path) -> str:
    """EXT014 where a cloud's firewall is likely: the node is a cloud's, and nothing says that there is no route."""
    node = view.snapshot.node(path.entry.node or "")
    cloud = node is not None and node.spec.provider_id.startswith(_CLOUDS)
    seen = path.observed
    timeouts = seen is not None and all(m is Met.TIMEOUT for m, _ in seen.met)
    return "EXT014" if cloud and timeouts else NOT_FROM_HERE
