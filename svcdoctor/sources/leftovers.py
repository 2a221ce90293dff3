"""Pods that svcdoctor made and did not delete: finding them by their labels, deleting them."""

from __future__ import annotations

from urllib.parse import quote

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Need, Scope
from svcdoctor.model.pod import Pod
from svcdoctor.sources.live import LiveSource
from svcdoctor.sources.podmanifest import LABELS
from svcdoctor.sources.session import message_of


def left_pods(source: LiveSource, namespace: str | None) -> tuple[Pod, ...]:
    """The pods of a namespace, or of all, that a run of svcdoctor left behind, or that one is using now.

    Raises SvcdoctorError, exit code 3, where they may not be listed.
    """
    scope = Scope(namespace, tuple(LABELS.items()))
    snapshot = source.refill(source.snapshot(), (Need(Kind.POD, scope),))
    unknown = snapshot.why_unknown(Kind.POD, scope)
    if unknown is not None:
        hint = "" if namespace else "; or name one namespace with -n"
        raise SvcdoctorError(f"{unknown.reason}; grant {unknown.grant}{hint}", 3)
    return snapshot.of(Kind.POD)


def delete_pod(source: LiveSource, pod: Pod) -> str:
    """Deletes a pod; returns why it could not be, empty where it is gone."""
    path = f"{KINDS[Kind.POD].path(quote(pod.namespace, safe=''))}/{quote(pod.name, safe='')}"
    answer = source.session.delete(path)
    return "" if answer.status in (200, 202, 404) else message_of(answer)
