"""EXAMPLE001: a house rule as a check of svcdoctor. Every Service says in a label who looks after it."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, subject
from svcdoctor.model.finding import Severity

LABEL = "example.com/owner"
EXEMPT = ("kube-system", "kube-public", "kube-node-lease")


@check(
    "EXAMPLE001",
    "The Service names no owner",
    Severity.WARNING,
    meaning=f"The label {LABEL} says whom to call when the Service is down; this Service has none.",
    look=f"kubectl get svc -A -L {LABEL}",
    mend=f"Give the Service the label {LABEL} with the name of its team, in its manifest.",
    links=("https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/",),
)
def no_owner(case: Case) -> Iterator[Raised]:
    for service in case.services:
        if service.namespace in EXEMPT or service.labels.get(LABEL, "").strip():
            continue
        said = f"label {LABEL} is empty" if LABEL in service.labels else f"there is no label {LABEL}"
        yield Raised(
            (subject(service),),
            (said,),
            "Nobody knows whom to call when it is down.",
            f"kubectl -n {service.namespace} label svc {service.name} {LABEL}=TEAM --overwrite",
            field=f"metadata.labels['{LABEL}']",
        )
