"""What to grant so that a forbidden question is answered: the verb, and the commands for an administrator.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

import re
import shlex

from svcdoctor.cluster.kinds import KindInfo
from svcdoctor.model.facts import Kind, Scope, Unknown

_USER = re.compile(r'User "([^"]+)" cannot')
_ACCOUNT = "system:serviceaccount:"
_LONGEST = 240  # characters of the server's message


def forbidden(info: KindInfo, scope: Scope, message: str, *, by_name: bool = False) -> Unknown:
    """Why ``scope`` is not known: the server's words, shortened, and the grant that is missing.

    ``by_name`` is for an object that was asked for by its name, which takes the verb get.
    """
    everywhere = info.namespaced and scope.namespace is None
    needed = grant(info, scope, refused_user(message), by_name=by_name)
    return Unknown(shortened(message), needed, scope, narrower=everywhere)


def refused_user(message: str) -> str:
    """The user that the server's message names, empty where it names none."""
    match = _USER.search(message)
    return match[1] if match else ""


def subject_of(message: str) -> str:
    """The option of kubectl create rolebinding that names the user whom the server's message refuses."""
    return _subject(refused_user(message))


def shortened(message: str) -> str:
    """The message in one line, without the reasons of single role bindings, and not too long."""
    text = " ".join(message.split()).partition(": RBAC: ")[0]
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def grant(info: KindInfo, scope: Scope, user: str, *, by_name: bool = False, watch: bool = False) -> str:
    """The verb, resource and namespace to grant, and the kubectl commands that grant it; to ``watch`` takes a
    verb more."""
    verb = "verbs list and watch" if watch else "verb get" if by_name else "verb list"
    where, in_namespace = "", ""
    if info.namespaced:
        where = " in all namespaces" if scope.namespace is None else f" in namespace {scope.namespace}"
    role, binding = "clusterrole", "clusterrolebinding"
    if info.namespaced and scope.namespace is not None:
        role, binding, in_namespace = "role", "rolebinding", f" -n {shlex.quote(scope.namespace)}"
    # Only two ConfigMaps are ever read, and others may hold what is nobody's business.
    only = by_name and info.kind is Kind.CONFIG_MAP and scope.name
    named = f" --resource-name={shlex.quote(scope.name)}" if only and scope.name else ""
    verbs = "get" if only else "get,list,watch" if watch else "get,list"
    name = f"svcdoctor-{info.plural}"
    return (
        f"{verb} on {info.resource}{where}: "
        f"kubectl create {role} {name} --verb={verbs} --resource={info.resource}{named}{in_namespace} && "
        f"kubectl create {binding} {name} --{role}={name} {_subject(user)}{in_namespace}"
    )


def _subject(user: str) -> str:
    if user.startswith(_ACCOUNT):
        return f"--serviceaccount={shlex.quote(user.removeprefix(_ACCOUNT))}"
    return f"--user={shlex.quote(user or 'USER')}"
