"""The answer of ``wait``: whether a Service became usable in time, and what it was waited for.

The field names are those of the JSON contract, as in ``model.trace``. Times are seconds.
"""

from __future__ import annotations

from enum import StrEnum

from svcdoctor.model.facts import MissingFact
from svcdoctor.model.finding import Finding
from svcdoctor.model.trace import Value


class WaitFor(StrEnum):
    """``ready``: endpoints, rollouts and findings as the API tells them. ``reachable``: a real connection.
    ``dns``: a real answer to the name."""

    READY = "ready"
    REACHABLE = "reachable"
    DNS = "dns"


class WaitEnd(StrEnum):
    """``unknown``: when the time was over it could not be told."""

    MET = "met"
    TIMED_OUT = "timedOut"
    UNKNOWN = "unknown"


class ProbeAction(StrEnum):
    """How the kubelet finds out whether a container is ready."""

    HTTP_GET = "httpGet"
    TCP_SOCKET = "tcpSocket"
    GRPC = "grpc"
    EXEC = "exec"


class AwaitedProbe(Value, frozen=True):
    """A readiness probe that has not passed. ``port`` is a number or a port's name; empty for exec."""

    container: str
    action: ProbeAction
    port: str = ""


class AwaitedPod(Value, frozen=True):
    """A pod that is not ready yet: ``namespace/name``, why, and the newest warning among its events.

    ``containers`` are those that are not ready, ``probes`` their readiness probes.
    """

    name: str
    node: str
    reason: str
    containers: tuple[str, ...] = ()
    probes: tuple[AwaitedProbe, ...] = ()
    message: str = ""


class WaitAnswer(Value, frozen=True):
    """How it ended after ``seconds``. ``lacking`` says in words what is missing, the decisive first; ``how`` says what
    was met, or how it was asked."""

    what: WaitFor
    namespace: str
    service: str
    port: str
    end: WaitEnd
    seconds: float
    how: str = ""
    lacking: tuple[str, ...] = ()
    pods: tuple[AwaitedPod, ...] = ()
    findings: tuple[Finding, ...] = ()
    unknowns: tuple[MissingFact, ...] = ()

    @property
    def exit_code(self) -> int:
        return {WaitEnd.MET: 0, WaitEnd.TIMED_OUT: 1, WaitEnd.UNKNOWN: 3}[self.end]
