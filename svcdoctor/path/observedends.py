"""What probes and sockets say of one endpoint: whether its application takes connections at the pod's address.

Theory. A tunnel arrives at the pod's localhost, a direct connection at its address: where only the tunnel gets
through, either nothing listens on the address (it is refused), or something on the way does not let it pass (it is
silent). The pod's socket table settles the first. Silence at the pod's address alone proves nothing from outside the
cluster, where pods need not be routed to.
"""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.evidence import Evidence, arrived
from svcdoctor.model.observed import Met, Observation
from svcdoctor.model.seen import EndSeen
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import Backend, Outcome, Result
from svcdoctor.path.sockets import Ear, ear, sockets_text

UNDECLARED = (
    "OBJ013"  # the catalogue's word for a port that no container declares: the cause of nothing listening
)


@dataclass(frozen=True, slots=True)
class End:
    """``result`` is what the application's side makes of a connection, ``None`` where that is not known; ``code``
    and ``reason`` tell why it refuses. ``reached`` is whether the pod's own address answers from the place."""

    seen: EndSeen
    result: Result | None = None
    code: str | None = None
    reason: str = ""
    reached: bool = False

    @property
    def silent(self) -> bool:
        """Whether the application answers in its pod and its address does not."""
        quiet = self.seen.direct in (Met.TIMEOUT, Met.UNREACHABLE, Met.STALLED)
        return quiet and self.seen.tunnel is Met.ANSWERED


NOTHING_SEEN = End(EndSeen())


def observed_end(snapshot: Snapshot, evidence: Evidence, outcome: Outcome, protocol: str) -> End:
    """What was observed of the outcome's endpoint."""
    end = outcome.backend
    ip = canonical_or_none(end.ip or "") if end is not None else None
    if end is None or ip is None or end.port is None:
        return NOTHING_SEEN
    direct = evidence.at(ip, end.port, protocol)
    tunnel = evidence.tunnelled(ip, end.port) if protocol == "TCP" else None
    seen = EndSeen(None, 0, _met(direct), _met(tunnel))
    if direct is not None and arrived(direct):
        return End(seen, Result.DELIVERED, None, f"{ip} answers", True)
    listeners = evidence.sockets.get(end.pod or "")
    if listeners is not None:
        heard = ear(listeners, ip, end.port, protocol)
        if heard is Ear.LISTENS or (heard is Ear.PERHAPS and seen.direct is not Met.REFUSED):
            held = sockets_text([s for s in listeners if s.port == end.port], protocol)
            return End(seen, Result.DELIVERED, None, f"the pod's sockets: {held}")
        return _refusing(seen, heard, end, sockets_text(listeners, protocol), outcome, protocol)
    if seen.direct is Met.REFUSED:
        if _other_family_answers(snapshot, evidence, end, protocol):
            return _refusing(seen, Ear.OTHER_FAMILY, end, "", outcome, protocol)
        if tunnel is not None and arrived(tunnel):
            return _refusing(seen, Ear.LOOPBACK, end, "", outcome, protocol)
        if seen.tunnel is Met.REFUSED:
            return _refusing(seen, Ear.NOTHING, end, "", outcome, protocol)
    return End(seen)


def _refusing(seen: EndSeen, heard: Ear, end: Backend, sockets: str, outcome: Outcome, protocol: str) -> End:
    """Why nothing takes the connection. ``sockets`` is empty where only probes tell."""
    family = "IPv6" if ":" in (end.ip or "") else "IPv4"
    told = f" (its sockets: {sockets})" if sockets else ""
    if heard is Ear.LOOPBACK:
        where = "127.0.0.1" if family == "IPv4" else "loopback"
        code, reason = "NOD010", f"the application listens on {where} inside the pod{told}"
    elif heard in (Ear.OTHER_FAMILY, Ear.PERHAPS):
        other = "IPv4" if family == "IPv6" else "IPv6"
        code, reason = "NOD015", f"the application listens for {other} only, not for {family}{told}"
    else:
        code = UNDECLARED if outcome.code == UNDECLARED else "NOD011"
        where = " at the pod's address" if heard is Ear.OTHER_ADDRESS else " in the pod"
        reason = f"nothing listens on {end.port}/{protocol}{where}{told}"
    return End(seen, Result.REFUSED, code, reason)


def _other_family_answers(snapshot: Snapshot, evidence: Evidence, end: Backend, protocol: str) -> bool:
    pod = snapshot.pod(*end.pod.split("/")) if end.pod else None
    for text in pod.ips if pod is not None else ():
        ip = canonical_or_none(text)
        if ip is not None and (":" in ip) != (":" in (end.ip or "")):
            other = evidence.at(ip, end.port or 0, protocol)
            if other is not None and arrived(other):
                return True
    return False


def _met(observation: Observation | None) -> Met | None:
    """What its tries met, an answer where any was one; ``None`` where none could be made."""
    if observation is None or observation.mostly is Met.ERROR:
        return None
    return Met.ANSWERED if observation.answered else observation.mostly
