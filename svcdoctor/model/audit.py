"""The answer to "do the nodes' rules do what the API demands": an Audit."""

from __future__ import annotations

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding
from svcdoctor.model.trace import Value, Verdict


class AuditedNode(Value, frozen=True):
    """One node's part. ``mode`` is kube-proxy's, empty where not known.

    ``frontends`` were compared, ``differing`` of them differ, of ``unanswered`` the rules could not be told.
    ``unknown`` says why the node could not be audited at all.
    """

    name: str
    mode: str
    frontends: int = 0
    differing: int = 0
    unanswered: int = 0
    unknown: str = ""


class Audit(Value, frozen=True):
    """Every Service that was asked for, on every node that was asked for."""

    verdict: Verdict
    services: int
    nodes: tuple[AuditedNode, ...]
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()
