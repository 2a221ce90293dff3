"""OBJ032: manifests that the API server rejects. The rules themselves are in cluster/validation."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.registry import Case, Raised, check, subject
from svcdoctor.model.finding import Severity
from svcdoctor.model.rejection import Rejection


@check(
    "OBJ032",
    "The API server rejects the manifest",
    Severity.ERROR,
    meaning=(
        "A field of the manifest is missing, unknown, malformed or contradicts another one: kubectl apply fails, and "
        "the object is not created, or stays as it was."
    ),
    look="kubectl apply --dry-run=server -f manifest.yaml",
    mend=(
        "Mend the field that the message names; kubectl apply --dry-run=server tries it without changing "
        "anything."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/",
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/names/",
    ),
)
def rejected(case: Case) -> Iterator[Raised]:
    snapshot = case.view.snapshot
    if not snapshot.rejections:
        return
    for name in _on_the_way(case):
        for rejection in snapshot.rejections.get(name, ()):
            yield raised(name, rejection)


def _on_the_way(case: Case) -> dict[str, None]:
    """The asked object, the Services that it leads to, and what makes their pods."""
    target = case.trace.target
    names = {"/".join(filter(None, (target.kind, target.namespace, target.name))): None}
    for service in case.services:
        names[subject(service)] = None
        for pod in case.selected(service):
            owner = pod.metadata.owner
            kind, name = ("Pod", pod.name) if owner is None else (owner.kind, owner.name)
            names[f"{kind}/{pod.namespace}/{name}"] = None
    return names


def raised(name: str, rejection: Rejection) -> Raised:
    """What OBJ032 raises for one refusal of the object ``name`` (``Kind/namespace/name``)."""
    kind = name.partition("/")[0]
    if rejection.words.startswith("json:"):
        answer = f"The API server cannot read the manifest as a {kind}."
    elif rejection.words.startswith("strict decoding error"):
        answer = "kubectl refuses it (--validate=strict, its default); other clients lose the field without a word."
    elif rejection.severity is Severity.WARNING:
        answer = "Some API servers or clients refuse it."
    else:
        answer = f'The API server answers: The {kind} "{name.rpartition("/")[2]}" is invalid.'
    said = f"{rejection.field}: {rejection.words}" if rejection.field else rejection.words
    evidence = (rejection.seen, said) if rejection.seen else (said,)
    return Raised((name,), evidence, answer, rejection.fix, rejection.severity, rejection.field)
