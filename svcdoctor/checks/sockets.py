"""NOD010, NOD011, NOD015: what listens inside the pods, by their settings, by probes, by their socket tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, patch_port
from svcdoctor.cluster.bindhints import loopback_hint
from svcdoctor.model.finding import Severity
from svcdoctor.model.observed import Met
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.model.trace import Outcome
from svcdoctor.path.backends import declaring
from svcdoctor.path.sockets import sockets_text

SHOWN = 5  # pods of which each has a line


def _by_pod(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.backend is not None and outcome.backend.pod:
            found.setdefault(outcome.backend.pod, []).append(outcome)
    return found


def _proof(case: Case, pod: str, outcomes: list[Outcome]) -> str:
    """What was seen of the pod: its sockets, a tunnel into it, its own addresses; empty where nothing was."""
    evidence = case.view.snapshot.evidence
    if evidence is None:
        return ""
    seen = [o.observed for o in outcomes if o.observed is not None]
    parts = []
    if pod in evidence.sockets:
        parts.append(f"the sockets are {sockets_text(evidence.sockets[pod], 'TCP')}")
    tunnels = dict.fromkeys(_words(s.tunnel) for s in seen if s.tunnel is not None)
    direct = dict.fromkeys(_words(s.direct) for s in seen if s.direct is not None)
    parts += [f"a tunnel to localhost is {word}" for word in tunnels]
    parts += [f"the pod's own address is {' or '.join(direct)}"] if direct else []
    return "; ".join(parts)


def _words(met: Met) -> str:
    return {Met.TIMEOUT: "silent", Met.UNREACHABLE: "not reached"}.get(met, str(met))


def _hint(case: Case, pod: str, outcomes: list[Outcome]) -> str:
    """The pod's own setting that binds the port to loopback, as evidence."""
    held = case.view.snapshot.pod(*pod.split("/"))
    port = outcomes[0].backend.port if outcomes[0].backend is not None else None
    if held is None or port is None:
        return ""
    container, _ = declaring(held, port, "TCP")
    found = loopback_hint(held, container, port)
    return f"its own settings bind it to loopback: {found}" if found else ""


def _evidence(case: Case, pods: dict[str, list[Outcome]]) -> list[str]:
    """What proves it, a line for the pods of which the same was seen."""
    alike: dict[str, list[str]] = {}
    for pod, outcomes in pods.items():
        alike.setdefault(_proof(case, pod, outcomes), []).append(pod.rpartition("/")[2])
    if len(alike) == 1:
        return [f"proof: {proof}" for proof in alike if proof]
    return [f"{listed(names)}: {proof}" for proof, names in alike.items() if proof]


def _subjects(pods: Iterable[str]) -> tuple[str, ...]:
    return tuple(f"Pod/{pod}" for pod in list(pods)[:SHOWN])


@check(
    "NOD010",
    "The application listens on 127.0.0.1 only",
    Severity.ERROR,
    meaning=(
        "An application that listens on loopback answers kubectl port-forward, which dials localhost inside "
        "the pod, and refuses every connection to the pod's address."
    ),
    look="kubectl exec POD -- cat /proc/net/tcp (0100007F is 127.0.0.1)",
    mend=(
        "Bind the application to all addresses (0.0.0.0, or :: for both families) instead of 127.0.0.1: "
        "usually one setting or environment variable."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        "https://kubernetes.io/docs/tasks/access-application-cluster/port-forward-access-application-cluster/",
    ),
)
def bound_to_loopback(case: Case) -> Iterator[Raised]:
    pods = _by_pod(case.outcomes("NOD010"))
    if not pods:
        return
    proofs = _evidence(case, pods)
    reasons = dict.fromkeys(o.reason for outcomes in pods.values() for o in outcomes)
    hints = dict.fromkeys(filter(None, (_hint(case, pod, outcomes) for pod, outcomes in pods.items())))
    evidence: tuple[str, ...] = tuple(reasons)
    explanation = "Its own settings bind it to loopback, and no readiness probe proves otherwise."
    if proofs:
        names = listed(pod.rpartition("/")[2] for pod in pods)
        what = "pod" if len(pods) == 1 else "pods"
        evidence = (f"the application listens on 127.0.0.1 inside {what} {names}", *proofs, *hints)
        explanation = (
            "A tunnel arrives at the pod's localhost, a Service's packets at its address: only the first is "
            "answered."
        )
    yield Raised(
        _subjects(pods),
        evidence,
        explanation,
        "bind the application to 0.0.0.0 (or ::) instead of 127.0.0.1",
    )


@check(
    "NOD011",
    "Nothing listens on the targetPort",
    Severity.ERROR,
    meaning=(
        "The pods run, and no process in them listens on the port that the Service sends to: the kernel refuses "
        "each connection. The application uses another port, has not opened it yet, or has ended."
    ),
    look="kubectl exec POD -- cat /proc/net/tcp /proc/net/tcp6 (state 0A is LISTEN; ports are hexadecimal)",
    mend=(
        "Set spec.ports[].targetPort to the number that the application listens on, or let it listen on that"
        " number; its log says whether it started."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
    ),
)
def nothing_listens(case: Case) -> Iterator[Raised]:
    outcomes = case.outcomes("NOD011")
    for number in dict.fromkeys(o.backend.port for o in outcomes if o.backend is not None):
        pods = _by_pod(o for o in outcomes if o.backend is not None and o.backend.port == number)
        if not pods:
            continue
        evidence = _evidence(case, pods)
        yield Raised(
            _subjects(pods),
            (f"nothing listens on {number} in {len(pods)} of the pods", *evidence),
            "The targetPort must be the number that the application listens on.",
            _other_port(case, pods, number) or _log(next(iter(pods))),
        )


def _other_port(case: Case, pods: dict[str, list[Outcome]], number: int | None) -> str:
    """The command that sends to the one port that every one of these pods does listen on."""
    evidence = case.view.snapshot.evidence
    tables = [evidence.sockets.get(pod) for pod in pods] if evidence is not None else []
    common: set[int] = set()
    for i, table in enumerate(tables):
        open_ports = {
            s.port
            for s in table or ()
            if s.protocol == "TCP" and canonical_or_none(s.address) not in (None, "127.0.0.1", "::1")
        }
        common = open_ports if not i else common & open_ports
    if len(common) != 1:
        return ""
    for service, port in _ports(case):
        if port.target == number:
            return patch_port(service, port, "targetPort", common.pop())
    return ""


def _ports(case: Case) -> Iterator[tuple[Service, ServicePort]]:
    for service in case.services:
        for port in service.ports:
            yield service, port


def _log(pod: str) -> str:
    namespace, _, name = pod.partition("/")
    return f"kubectl -n {namespace} logs {name} --all-containers --tail=50"


@check(
    "NOD015",
    "The application listens on one IP family only",
    Severity.ERROR,
    meaning=(
        "The Service and the pods have both families, and the application's socket is for one of them: clients of "
        "the other family are refused. 0.0.0.0 is IPv4 alone; :: takes both, unless the program asks otherwise."
    ),
    look="kubectl exec POD -- cat /proc/net/tcp /proc/net/tcp6 (which of the two has the port)",
    mend=(
        "Bind the application to :: without asking for IPv6 alone, or give the Service the one family that "
        "it speaks (spec.ipFamilies)."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/dual-stack/",
        "https://www.rfc-editor.org/rfc/rfc3493",
    ),
)
def one_family(case: Case) -> Iterator[Raised]:
    pods = _by_pod(case.outcomes("NOD015"))
    if not pods:
        return
    lacking = {
        "IPv6" if ":" in (o.backend.ip or "") else "IPv4" for os in pods.values() for o in os if o.backend
    }
    family = lacking.pop()
    reasons = dict.fromkeys(o.reason for outcomes in pods.values() for o in outcomes)
    both = [s for s in case.services if len(s.spec.ip_families or ()) > 1]
    other = "IPv4" if family == "IPv6" else "IPv6"
    patch = f'{{"spec":{{"ipFamilyPolicy":"SingleStack","ipFamilies":["{other}"]}}}}'
    fix = f"bind the application to :: instead of {'0.0.0.0' if family == 'IPv6' else 'IPv6 alone'}"
    if both and (both[0].spec.ip_families or ("",))[0] == other:
        fix += f", or: kubectl -n {both[0].namespace} patch svc {both[0].name} -p '{patch}'"
    yield Raised(
        _subjects(pods),
        (*list(reasons)[:SHOWN], *_evidence(case, pods)),
        f"Whoever comes by {family} is refused, and some clients try that family first.",
        fix,
    )
