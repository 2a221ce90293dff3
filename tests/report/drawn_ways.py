"""Answers worth drawing: a healthy way, a broken one of each sort, a crowd, and one of hostile words."""

from __future__ import annotations

import tarfile
from functools import cache
from pathlib import Path

from checkups import HOSTILE
from msgspec.structs import replace
from report_cluster import HEADLESS, INGRESS, cluster

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.model.finding import Finding, Severity
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import Trace
from svcdoctor.path.target import parse_target
from svcdoctor.sources.archive import read_snapshot

FIXTURES = Path(__file__).parents[2] / "fixtures"


def answered(snapshot: Snapshot, target: str = "svc/web", namespace: str = "shop") -> Trace:
    """The trace with its findings."""
    return answer_once(snapshot, Request(parse_target(target, namespace)), namespace)


@cache
def node_port() -> Trace:
    """Healthy: a cluster IP and four nodes' nodePorts lead to three pods."""
    return answered(read_snapshot(FIXTURES / "nodeport"), "svc/bq-api-service-1", "default")


@cache
def typo() -> Trace:
    """OBJ002: a letter of the selector is missing."""
    return answered(
        read_snapshot(FIXTURES / "faults" / "OBJ002" / "broken.yaml"), "svc/bq-api-service-1", "sales"
    )


@cache
def lost_name() -> Trace:
    """DNS011: the name of a pod that a headless Service has no record for."""
    return answered(cluster(service=HEADLESS), "http://db-1.web.shop.svc.cluster.local:8080")


@cache
def local() -> Trace:
    """RUL009: externalTrafficPolicy Local, and a node without an endpoint."""
    return answered(cluster(policy="Local"))


@cache
def crowd(nodes: int = 100, pods: int = 200) -> Trace:
    """Many nodes, some of them not ready, and many endpoints, two of them doubtful."""
    return answered(
        cluster(nodes, pods, undeclared=(pods * 3 // 4, pods - 23), not_ready=(7, 77), more=INGRESS)
    )


def stale(folder: Path) -> Trace:
    """RUL004: in a real cluster node2 alone sends to a pod that is gone. ``folder`` is where its dumps may lie."""
    with tarfile.open(FIXTURES / "captures" / "iptables.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    for file in (folder / "iptables" / "nodes" / "node2").glob("iptables-save*.txt"):
        file.write_text(file.read_text().replace("10.244.1.6:", "10.244.1.99:"))
    return answered(read_snapshot(folder / "iptables"), "svc/np-cluster", "truth")


def hostile() -> Trace:
    """Everything that others may have written is one of the hostile texts."""
    base = local()
    texts = iter(HOSTILE * 1000)
    paths = tuple(
        replace(
            path,
            hops=tuple(replace(h, title=h.title + next(texts), detail=next(texts)) for h in path.hops),
            outcomes=tuple(
                replace(
                    o,
                    reason=next(texts),
                    backend=replace(o.backend, pod=f"shop/{next(texts)}") if o.backend else None,
                )
                for o in path.outcomes
            ),
        )
        for path in base.paths
    )
    findings = tuple(
        Finding("RUL009", Severity.ERROR, text, (f"Service/shop/{text}",), (text,), text, text, text)
        for text in HOSTILE
    )
    target = replace(base.target, name="".join(HOSTILE))
    return replace(base, paths=paths, findings=findings, notes=HOSTILE, target=target)
