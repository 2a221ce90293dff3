"""What the user of a session may: the API server's own authorizer is asked for each verb, whatever it goes by.

A SelfSubjectRulesReview would be one request, but it tells only what RBAC and a few others can enumerate, and not
whether a rule holds in all namespaces. Every authenticated user may ask these questions.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.permission import CLUSTER, NAMESPACE, Allowance, Feature, Permissions, Rule
from svcdoctor.sources.session import ApiSession, message_of

AT_ONCE = 6
"""Questions that are asked at the same time."""

_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


class _Status(msgspec.Struct):
    allowed: bool


class _Review(msgspec.Struct):
    status: _Status


class _UserInfo(msgspec.Struct, frozen=True):
    username: str = ""


class _WhoStatus(msgspec.Struct, rename="camel", frozen=True):
    user_info: _UserInfo = _UserInfo()


class _Who(msgspec.Struct):
    status: _WhoStatus = _WhoStatus()


class _Group(msgspec.Struct):
    name: str


class _Groups(msgspec.Struct):
    groups: list[_Group] = []


_REVIEW = msgspec.json.Decoder(_Review)  # made once: two threads that make the first of one struct crash


@dataclass(frozen=True, slots=True)
class _Question:
    verb: str
    group: str
    resource: str
    namespace: str
    name: str


def permissions(session: ApiSession, features: Iterable[Feature], namespace: str | None) -> Permissions:
    """What the session's user lacks for each feature, in a namespace or (``None``) in all.

    Rules for API groups that the cluster does not serve are passed over. Raises SvcdoctorError, exit code 3, where the
    server cannot be asked.
    """
    served = _served(session)
    wanted = {
        feature: tuple(r for r in feature.rules if not r.group or served is None or r.group in served)
        for feature in features
    }
    questions = dict.fromkeys(
        question for rules in wanted.values() for r in rules for question in _questions(r, namespace)
    )
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="svcdoctor-may") as pool:
        allowed = dict(zip(questions, pool.map(lambda q: _may(session, q), questions), strict=True))
    found = []
    for feature, rules in wanted.items():
        lacking = ((r, tuple(q.verb for q in _questions(r, namespace) if not allowed[q])) for r in rules)
        found.append(Allowance(feature, tuple(replace(r, verbs=verbs) for r, verbs in lacking if verbs)))
    return Permissions(_user(session), namespace, tuple(found))


def _questions(rule: Rule, namespace: str | None) -> tuple[_Question, ...]:
    where = {NAMESPACE: namespace or "", CLUSTER: ""}.get(rule.where, rule.where)
    return tuple(_Question(verb, rule.group, rule.resource, where, rule.name) for verb in rule.verbs)


def _may(session: ApiSession, question: _Question) -> bool:
    resource, _, subresource = question.resource.partition("/")
    attributes = {
        "verb": question.verb,
        "group": question.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": question.namespace,
        "name": question.name,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {key: value for key, value in attributes.items() if value}},
    }
    answer = session.create(_REVIEWS, msgspec.json.encode(body))
    if answer.status != 201:
        raise SvcdoctorError(
            f"{session.place}: what the user may cannot be asked: {message_of(answer)}; authenticated users are "
            "allowed to by the ClusterRole system:basic-user",
            3,
        )
    try:
        return _REVIEW.decode(answer.data).status.allowed
    except msgspec.DecodeError as e:
        raise SvcdoctorError(f"{session.place}: the answer to a SelfSubjectAccessReview: {e}", 3) from None


def _served(session: ApiSession) -> frozenset[str] | None:
    """The API groups that the cluster serves; ``None`` where it does not tell."""
    answer = session.get("/apis")
    try:
        groups = msgspec.json.decode(answer.data, type=_Groups).groups if answer.status == 200 else []
    except msgspec.DecodeError:
        return None
    return frozenset(group.name for group in groups) or None


def _user(session: ApiSession) -> str:
    """The user's name as the server knows it; empty before Kubernetes 1.28, which does not tell it."""
    body: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = session.create(_WHO, msgspec.json.encode(body))
    try:
        return (
            msgspec.json.decode(answer.data, type=_Who).status.user_info.username
            if answer.status == 201
            else ""
        )
    except msgspec.DecodeError:
        return ""
