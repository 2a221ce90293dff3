"""What requests met, in the words that checks of observed traffic share. No check."""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.checks.registry import Case, subject
from svcdoctor.model.packetpath import Said, SynWay
from svcdoctor.model.seen import PathSeen
from svcdoctor.model.trace import Backend, Outcome, Path

SHOWN = 8  # ways in the evidence
PACKETS = 3  # lines about single packets


def ways_with(case: Case, code: str) -> list[tuple[Path, PathSeen]]:
    """The paths that were tried and have an outcome with this code."""
    return [
        (p, p.observed)
        for p in case.trace.paths
        if p.observed is not None and any(o.code == code for o in p.outcomes)
    ]


def entry_words(path: Path) -> str:
    """``nodePort k8s-node1 192.168.0.44:31372``"""
    entry = path.entry
    return " ".join(filter(None, (str(entry.kind), entry.node, place_words(entry.address, entry.port))))


def place_words(ip: str | None, port: int | None) -> str:
    """``10.0.0.1:80``, ``[fd00::1]:80``"""
    return f"[{ip}]:{port}" if ":" in (ip or "") else f"{ip}:{port}"


def pod_names(ends: Iterable[Backend]) -> tuple[str, ...]:
    """The pods' names, each once."""
    return tuple(dict.fromkeys((b.pod or "").rpartition("/")[2] for b in ends))


def met_words(seen: PathSeen) -> str:
    """``12 answered, 8 timeout``"""
    return ", ".join(f"{count} {met}" for met, count in seen.met)


def subjects(case: Case, nodes: Iterable[str | None] = ()) -> tuple[str, ...]:
    """The Service, or what was traced instead, and these nodes."""
    services = tuple(subject(s) for s in case.services[:1]) or (case.trace.target.subject,)
    return (*services, *(f"Node/{n}" for n in dict.fromkeys(nodes) if n))


def trace_command(case: Case) -> str:
    """The command that traces the Service, or the address, which was asked for."""
    for service in case.services:
        return f"svcdoctor trace svc/{service.name} -n {service.namespace}"
    entry = case.trace.paths[0].entry
    return f"svcdoctor trace {place_words(entry.address, entry.port)}"


def backends(outcomes: Iterable[Outcome]) -> list[Backend]:
    """The pods at which the outcomes end, each once."""
    return list(dict.fromkeys(o.backend for o in outcomes if o.backend is not None and o.backend.pod))


def with_packets(case: Case, lines: list[str]) -> tuple[str, ...]:
    """The lines, behind the first of them what single packets met."""
    return several([*lines[:1], *_packet_lines(case), *lines[1:]])


def _packet_lines(case: Case) -> list[str]:
    """What single packets tell beyond the requests: who refused, behind which hop silence begins, which size passes."""
    evidence = case.view.snapshot.evidence
    if evidence is None:
        return []
    told = [way.told for way in evidence.ways if way.raw and (way.routers or not _plain(way))]
    told += [mtu.told for mtu in evidence.mtus if mtu.size is not None]
    return told[:PACKETS]


def _plain(way: SynWay) -> bool:
    """Whether a SYN met what the requests met, and no more is known."""
    return way.end.said in (Said.SILENCE, Said.SYN_ACK)


def several(lines: list[str]) -> tuple[str, ...]:
    """The first lines, and how many more."""
    more = [f"and {len(lines) - SHOWN} more ways"] if len(lines) > SHOWN else []
    return (*lines[:SHOWN], *more)
