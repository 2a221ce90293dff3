"""The words in which every renderer speaks of addresses, clients, results and shares."""

from __future__ import annotations

from collections.abc import Collection

from svcdoctor.model.trace import (
    Basis,
    Client,
    Entry,
    EntryKind,
    Outcome,
    Path,
    Result,
    Status,
    Verdict,
)
from svcdoctor.path.hops import percent

ENTRY_WORDS = {
    EntryKind.CLUSTER_IP: "cluster IP",
    EntryKind.NODE_PORT: "nodePort",
    EntryKind.LOAD_BALANCER: "load balancer",
    EntryKind.EXTERNAL_IP: "external IP",
    EntryKind.HOST_PORT: "hostPort",
    EntryKind.DNS: "name",
    EntryKind.INGRESS: "Ingress",
    EntryKind.GATEWAY: "Gateway",
}

_UNSURE = {Status.FAIL: "fails", Status.WARN: "doubtful", Status.UNKNOWN: "not known", Status.OK: ""}


def address(host: str | None, port: int | None) -> str:
    """``10.0.0.1:80``, ``[fd00::1]:80``, ``host:80``; without a port or a host what there is of them."""
    if host is None:
        return f":{port}" if port is not None else ""
    if port is None:
        return host
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def client_flag(client: Client) -> str:
    """The client in the words of ``--from``: ``external/203.0.113.7``, ``node/n1``, ``pod/ns/name``."""
    name = client.name or (client.ip if client.kind == "external" else None)
    return f"{client.kind}/{name}" if name else str(client.kind)


def entry_words(entry: Entry) -> str:
    """How the request comes in: ``nodePort``, ``cluster IP``; a pod's own address is no name."""
    if entry.kind is EntryKind.DNS and entry.address is not None and _is_ip(entry.address):
        return "pod address"
    return ENTRY_WORDS[entry.kind]


def _is_ip(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdecimal()


def family_of(host: str | None) -> int | None:
    """4 or 6 for an IP address, ``None`` for a name or nothing."""
    if host is None or not _is_ip(host):
        return None
    return 6 if ":" in host else 4


def result_words(outcome: Outcome) -> str:
    """What a client would see; empty where nothing is wrong."""
    if outcome.result is Result.UNKNOWN:
        return _UNSURE[outcome.status]
    if outcome.result is Result.DROPPED:
        return "dropped (timeout)"
    return "" if outcome.result is Result.DELIVERED else str(outcome.result)


def share(probability: float) -> str:
    """``33.3 %``; what is too small for that still has a digit: ``0.04 %``."""
    if 0 < probability < 0.001:
        return f"{probability * 100:.2g} %"
    return percent(probability)


def counted(number: int, noun: str) -> str:
    """``1 node``, ``3 nodes``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def balance(paths: Collection[Path]) -> str:
    """How many of the ways go wrong; empty where a single way or nothing certain is to be counted."""
    total = len(paths)
    if total < 2:
        return ""
    by_verdict = {v: sum(p.verdict is v for p in paths) for v in Verdict}
    if by_verdict[Verdict.HEALTHY] == total:
        arrive = all(o.result is Result.DELIVERED for p in paths for o in p.outcomes)
        return f"{_of(total, total)} arrive" if arrive else ""
    broken, degraded = by_verdict[Verdict.BROKEN], by_verdict[Verdict.DEGRADED]
    parts = []
    if broken:
        parts.append(f"{_of(broken, total)} {'fails' if broken == 1 else 'fail'}")
    if degraded:
        parts.append(f"{_of(degraded, total)} degraded")
    if by_verdict[Verdict.UNKNOWN]:
        parts.append(f"{_of(by_verdict[Verdict.UNKNOWN], total)} not known")
    return ", ".join(parts)


def _of(number: int, total: int) -> str:
    if number < total:
        return f"{number} of {total} ways"
    return "both ways" if total == 2 else f"all {total} ways"


def basis_words(paths: Collection[Path]) -> str:
    """What the verdict rests on, and what it does not."""
    seen = {p.basis for p in paths}
    parts = []
    if Basis.OBSERVED in seen:
        parts.append("observed traffic")
    if Basis.RULES in seen:
        parts.append("the nodes' own rules")
    if Basis.OBJECTS in seen or not seen:
        parts.append("the API's objects")
    text = ", ".join(parts)
    return text if Basis.RULES in seen else f"{text}; node rules not evaluated"
