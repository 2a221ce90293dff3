"""Asking the API server about a target, and whether it can be asked at all."""

from __future__ import annotations

import contextlib
from urllib.parse import quote

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Scope
from svcdoctor.proxy.forwarder import Plan
from svcdoctor.sources.grants import forbidden
from svcdoctor.sources.pages import Refusal, read_object
from svcdoctor.sources.session import ApiSession

PATIENCE = 3.0
"""Seconds for a connection, and again for an answer, where it can be done without one."""


def why_away(session: ApiSession) -> SvcdoctorError | None:
    """Why the API server cannot be asked, in a few seconds; None where it answers, if only with a refusal."""
    try:
        with contextlib.closing(session.stream("/version", {}, PATIENCE)) as answer:
            status = answer.status
    except SvcdoctorError as e:
        return e
    return SvcdoctorError(f"{session.place} answers with HTTP status {status}", 3) if status >= 500 else None


def read_target(session: ApiSession, plan: Plan) -> KubeObject:
    """The target's object. Raises SvcdoctorError: exit code 1 where there is none, 3 where it cannot be read."""
    info = KINDS[plan.target.kind]
    path = f"{info.path(quote(plan.namespace, safe=''))}/{quote(plan.target.name, safe='')}"
    answer = read_object(session, info, path)
    if not isinstance(answer, Refusal):
        return answer[0]
    what = f"{plan.target} in namespace {plan.namespace}"
    if answer.status == 404:
        raise SvcdoctorError(f"no {what}", 1)
    scope = Scope(plan.namespace, name=plan.target.name)
    unknown = forbidden(info, scope, answer.message, by_name=True)
    raise SvcdoctorError(f"{what} cannot be read: {unknown.reason}; {unknown.grant}", 3)
