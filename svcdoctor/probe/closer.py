"""Looking closer with single packets from here: which hop drops, refuses or cuts, and which backends flows take."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from msgspec.structs import replace as changed

from svcdoctor.model.evidence import Evidence
from svcdoctor.model.facts import MissingFact
from svcdoctor.model.observed import Aim, Met, PlaceKind, ProbeKind
from svcdoctor.model.packetpath import Said
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Status, Trace

LOST = frozenset({"OBS001", "NOD012", "EXT013", "EXT014"})
CUT = "NOD007"
FAILED = frozenset({Met.TIMEOUT, Met.UNREACHABLE, Met.REFUSED})

MOST = 8  # aims of each kind
SECONDS = 0.5  # for an answer to one packet


def closer(evidence: Evidence, answer: Trace) -> Evidence:
    """The evidence with the ways of SYNs to what is not reached, and the path MTU to what large requests do not reach;
    the same evidence where there is nothing to look at."""
    codes = {f.code for f in answer.findings}
    lost = _aims(evidence, answer, FAILED) if codes & LOST else []
    cut = _aims(evidence, answer, frozenset({Met.ANSWERED}), CUT) if CUT in codes else []
    if not lost and not cut:
        return evidence
    # What scapy brings is imported by those who need it.
    from svcdoctor.probe.packets.pathmtu import path_mtus
    from svcdoctor.probe.packets.syn import syn_ways

    ways = syn_ways(lost[:MOST], seconds=SECONDS) if lost else ()
    mtus = path_mtus(cut[:MOST], seconds=SECONDS) if cut else ()
    notes = [w.note for w in ways if not w.raw] + [m.note for m in mtus if not m.raw]
    missing = tuple(
        MissingFact("which hop it is that fails", note, "run svcdoctor as root")
        for note in dict.fromkeys(notes)
    )
    return replace(evidence, ways=ways, mtus=mtus, missing=(*evidence.missing, *missing))


def with_backends(evidence: Evidence, snapshot: Snapshot) -> Evidence:
    """The evidence with the pods that answer where answers name nobody, as those of a database.

    Told by SYNs from many ports, whose answers are heard before this node's own NAT puts the Service's address into
    them: it takes being the node that chooses.
    """
    nameless = [
        o
        for o in evidence.observations
        if o.place.kind is PlaceKind.HERE and o.aim.kind is ProbeKind.TCP and o.answered and not any(o.who)
    ]
    entries = [o for o in nameless if not o.aim.pod and not o.aim.payload_size][:MOST]
    if not entries:
        return evidence
    from svcdoctor.probe.packets.syn import syn_flows

    named: dict[Aim, dict[str, int]] = {}
    for observation in entries:
        counts: Counter[str] = Counter()
        for answers in syn_flows(observation.aim, repeat=1, seconds=SECONDS):
            counts.update(
                pods[0].name
                for a in answers
                if a.said is Said.SYN_ACK and len(pods := snapshot.pods_by_ip.get(a.by, ())) == 1
            )
        if counts:
            named[observation.aim] = dict(counts)
    found = tuple(
        changed(o, who=named[o.aim]) if o.aim in named and o.place.kind is PlaceKind.HERE else o
        for o in evidence.observations
    )
    return replace(evidence, observations=found)


def _aims(evidence: Evidence, answer: Trace, met: frozenset[Met], code: str = "") -> list[Aim]:
    """The TCP aims of ways that fail, entries first, at which requests mostly met one of these."""
    places: dict[tuple[str | None, int | None], None] = {}
    for path in answer.paths:
        failing = [o for o in path.outcomes if o.status is Status.FAIL and (not code or o.code == code)]
        if failing and not code:
            places[path.entry.address, path.entry.port] = None
        for outcome in failing:
            if outcome.backend is not None:
                places[outcome.backend.ip, outcome.backend.port] = None
    found = {
        (o.aim.ip, o.aim.port): o.aim
        for o in evidence.observations
        if o.place.kind is not PlaceKind.TUNNEL
        and o.aim.protocol == "TCP"
        and not o.aim.payload_size
        and o.mostly in met
    }
    return [found[at] for at in places if at in found]
