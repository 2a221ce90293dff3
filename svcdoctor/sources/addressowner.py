"""Whose address it is: the Service that has a cluster IP, or the pod that has an IP, asked of the API.

Theory. The API server selects Services by their first cluster IP and pods by their first IP (field selectors), so
each question is one small list; second addresses of dual-stack objects cannot be asked for in this way. Who may not
list in all namespaces is answered for one. Pods of their node's network, and those that are over, do not count:
their addresses are not their own.

Specification: https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

from __future__ import annotations

from urllib.parse import quote

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import Forbidden, SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.pod import Pod
from svcdoctor.sources.grants import forbidden
from svcdoctor.sources.pages import Refusal, read_list
from svcdoctor.sources.session import ApiSession

_FIELDS = {Kind.SERVICE: "spec.clusterIP", Kind.POD: "status.podIP"}


def owner_of(session: ApiSession, ip: str, namespace: str) -> KubeObject | None:
    """The Service or pod that has the address. ``namespace`` is the one to be content with.

    Raises SvcdoctorError where the server cannot be asked, ``Forbidden`` where it does not tell.
    """
    refused: Forbidden | None = None
    for kind in _FIELDS:
        try:
            found = _having(session, kind, ip, namespace)
        except Forbidden as e:
            refused = refused or e
            continue
        if found:
            return found[0]
    if refused is not None:
        raise refused
    return None


def _having(session: ApiSession, kind: Kind, ip: str, namespace: str) -> list[KubeObject]:
    info = KINDS[kind]
    message = ""
    for place in (None, quote(namespace, safe="")):
        answer = read_list(session, info, info.path(place), {"fieldSelector": f"{_FIELDS[kind]}={ip}"})
        if not isinstance(answer, Refusal):
            return [o for o in answer if not isinstance(o, Pod) or not (o.finished or o.spec.host_network)]
        if answer.status != 403:
            raise SvcdoctorError(f"{session.place}: {info.plural} by {_FIELDS[kind]}: {answer.message}", 3)
        message = message or answer.message
    unknown = forbidden(info, Scope(None), message)
    raise Forbidden(f"{session.place}: {unknown.reason}; grant {unknown.grant}", 3)
