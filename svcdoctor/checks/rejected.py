"""OBJ032: manifests that the API server rejects."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service


@check(
    "OBJ032",
    "The API server rejects the manifest",
    Severity.ERROR,
    meaning="The Service's fields contradict each other: kubectl apply fails, and nothing is created.",
    look="kubectl apply --dry-run=server -f manifest.yaml",
)
def rejected(case: Case) -> Iterator[Raised]:
    if not case.view.snapshot.would_be:
        return
    for service in case.services:
        for evidence, fix in _contradictions(service):
            yield Raised(
                (subject(service),), (evidence,), "The API server answers: The Service is invalid.", fix
            )


def _contradictions(service: Service) -> Iterator[tuple[str, str]]:
    """What validation refuses (API reference: ServicePort), with the change that mends it."""
    with_node_port = [p for p in service.ports if p.node_port]
    if with_node_port and service.type in ("ClusterIP", "ExternalName"):
        yield (
            f"type {service.type} with nodePort {listed(str(p.node_port) for p in with_node_port)}: "
            "may not be used when type is ClusterIP",
            "type: NodePort",
        )
    names = [p.name for p in service.ports]
    if len(names) > 1 and not all(names):
        yield "several ports, and not all have a name", "give every port a name"
    twice = sorted({n for n in names if n and names.count(n) > 1})
    if twice:
        yield f"port name {listed(twice)} is used twice", "give every port a name of its own"
    for p in service.ports:
        if not 0 < p.port < 65536:
            yield f"port {p.port} is not between 1 and 65535", "port: a number from 1 to 65535"
    if not service.ports and service.type != "ExternalName" and not service.headless:
        yield "spec.ports is empty", "ports: at least one"
