"""OBJ016: the question itself asks the wrong port."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, subject
from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.model.trace import Path, Status
from svcdoctor.path.backends import NO_PORTS


@check(
    "OBJ016",
    "The wrong port was asked",
    Severity.ERROR,
    meaning=(
        "The Service answers on its own ports only. A targetPort belongs to the pod, a nodePort to the "
        "node's addresses, a port to the cluster IP."
    ),
    look="kubectl get svc NAME (PORT(S) is port:nodePort)",
    mend=(
        "Ask the number that belongs to the address: port on the cluster IP, nodePort on a node, targetPort "
        "on a pod."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#field-spec-ports",
        "https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
    ),
)
def wrong_port_asked(case: Case) -> Iterator[Raised]:
    asked = [
        (p.entry.address, p.entry.port, p.entry.protocol)
        for p in case.trace.paths
        if any(o.code == "OBJ016" for o in p.outcomes)
    ]
    for service in case.services:
        for address, number, protocol in dict.fromkeys(asked):
            right = ", ".join(f"{p.port}/{p.protocol}" for p in service.ports) or "none"
            evidence = (f"asked: {address}:{number}/{protocol}", f"ports of the Service: {right}")
            explanation, better = _meant(service, number, protocol)
            fix = f"kubectl svcdoctor trace svc/{service.name}:{better} -n {service.namespace}"
            yield Raised((subject(service),), evidence, explanation, fix)
    if case.trace.target.kind in ("Pod", "Node"):
        yield from _elsewhere(case)


def _meant(service: Service, number: int | None, protocol: str) -> tuple[str, int | None]:
    """What the asked number is, and the port that was probably meant."""
    better = service.ports[0].port if service.ports else number
    explanation = f"Service {service.name} has no port {number}/{protocol}."
    for p in service.ports:
        if number in (p.target, p.node_port, p.port):
            better = p.port
        if number == p.target and number != p.port:
            explanation = f"{number} is the pods' targetPort; the cluster IP answers on {p.port}."
        elif number == p.node_port:
            explanation = (
                f"{number} is the nodePort, which nodes answer on; the cluster IP answers on {p.port}."
            )
        elif number == p.port and protocol != p.protocol:
            explanation = f"Port {number} is {p.protocol}, not {protocol}."
    return explanation, better


def _elsewhere(case: Case) -> Iterator[Raised]:
    """A pod or node that was asked at a number which is a Service's: its port, targetPort or nodePort."""
    target = case.trace.target
    for path in case.trace.paths:
        outcome = path.outcomes[0]
        undeclared = outcome.code == "OBJ013"
        if not (undeclared or outcome.reason == NO_PORTS or (target.kind == "Node" and outcome.code is None)):
            continue
        asked = f"asked: {path.entry.address}:{path.entry.port}/{path.entry.protocol}"
        severity = Severity.ERROR if outcome.status is Status.FAIL else Severity.WARNING
        for service in case.view.snapshot.services:
            meant = _role(path, target.kind, service) if _may_be_meant(case, service) else None
            if meant is not None:
                where = f"pod/{target.name}" if target.kind == "Pod" else path.entry.address
                fix = f"kubectl svcdoctor trace {where}:{meant[1]} -n {service.namespace}"
                subjects = (target.subject, subject(service))
                yield Raised(subjects, (asked, outcome.reason), meant[0], fix, severity)
                return
        if undeclared:
            explanation = "If nothing listens there, the pod refuses the connection."
            fix = f"kubectl -n {target.namespace} get pod {target.name} -o yaml"
            yield Raised((target.subject,), (asked, outcome.reason), explanation, fix, severity)
            return


def _role(path: Path, kind: str, service: Service) -> tuple[str, int | str] | None:
    """What the asked number is to a Service, and what to ask the pod or node instead."""
    number = path.entry.port
    for p in service.ports:
        if p.protocol != path.entry.protocol:
            continue
        name = f"Service {service.namespace}/{service.name}"
        if kind == "Pod" and number in (p.port, p.node_port) and number != p.target:
            role = "port" if number == p.port else "nodePort"
            return f"{number} is the {role} of {name}; pods answer on its targetPort {p.target}.", p.target
        if kind == "Node" and p.node_port and number in (p.port, p.target):
            role = "port" if number == p.port else "targetPort"
            return (
                f"{number} is the {role} of {name}; nodes answer on its nodePort {p.node_port}.",
                p.node_port,
            )
    return None


def _may_be_meant(case: Case, service: Service) -> bool:
    """Whether a Service may be meant: one that selects the asked pod, or any that has nodePorts."""
    target = case.trace.target
    if target.kind == "Node":
        return True
    pod = case.view.snapshot.pod(target.namespace, target.name)
    return (
        pod is not None
        and service.namespace == target.namespace
        and bool(service.spec.selector)
        and matches_labels(service.spec.selector or {}, pod.labels)
    )
