"""Who may do what: users, and the roles that objects in the store give them.

The rules are read from the store's Role, ClusterRole and binding objects at each question, so a test changes
permissions by changing objects. As on a real cluster, the group `system:masters` may do everything, and
every authenticated user may use discovery and ask about its own permissions.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from svcdoctor.lab.resources import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, Object
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import ObjectStore

MASTERS = "system:masters"
AUTHENTICATED = "system:authenticated"
_SERVICE_ACCOUNT = "system:serviceaccount:"


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who talks to the server. Service accounts are named `system:serviceaccount:NAMESPACE:NAME`."""

    name: str
    groups: tuple[str, ...] = ()

    @property
    def all_groups(self) -> tuple[str, ...]:
        """The groups with those that every such user is in."""
        implied = [AUTHENTICATED]
        if self.name.startswith(_SERVICE_ACCOUNT):
            namespace = self.name.removeprefix(_SERVICE_ACCOUNT).partition(":")[0]
            implied = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED]
        return self.groups + tuple(group for group in implied if group not in self.groups)


ADMIN = User("admin", (MASTERS,))
"""The user that may do everything."""


@dataclass(frozen=True, slots=True)
class Action:
    """What somebody wants to do: a verb on a resource, or on a plain `path` of the server.

    The namespace is empty for all namespaces and for cluster-scoped resources, the name for lists.
    """

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """The resource as rules name it: `pods`, `pods/portforward`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and its reason: the binding that allows, or what was wrong with the bindings."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Grant:
    """Rules of one role, and the binding that gives them, as the API server words it."""

    rules: Sequence[Object]
    reason: str


_EVERYTHING = _Grant(
    [
        {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
        {"verbs": ["*"], "nonResourceURLs": ["*"]},
    ],
    "",
)
_PUBLIC_PATHS = [
    *("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"),
    *("/healthz", "/livez", "/readyz", "/version", "/version/"),
]
_BASICS = _Grant(
    [
        {
            "verbs": ["create"],
            "apiGroups": ["authorization.k8s.io"],
            "resources": ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
        },
        {
            "verbs": ["create"],
            "apiGroups": ["authentication.k8s.io"],
            "resources": ["selfsubjectreviews"],
        },
        {"verbs": ["get"], "nonResourceURLs": _PUBLIC_PATHS},
    ],
    "",
)


class Authorizer:
    """RBAC over the roles and bindings of a store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def decide(self, user: User, action: Action) -> Decision:
        """Whether the user may do it. Takes time linear in the bindings."""
        problems: list[str] = []
        for grant in self._grants(user, action.namespace, problems):
            if any(_allows(rule, action) for rule in grant.rules):
                return Decision(True, grant.reason)
        return Decision(False, "RBAC: " + "; ".join(problems) if problems else "")

    def check(self, user: User, action: Action) -> None:
        """Raises `ApiError` 403 where the user may not do it."""
        decision = self.decide(user, action)
        if not decision.allowed:
            raise forbidden(user, action, decision.reason)

    def rules(self, user: User, namespace: str) -> Iterator[Object]:
        """All rules that hold for the user in a namespace, for `kubectl auth can-i --list`."""
        for grant in self._grants(user, namespace, []):
            yield from grant.rules

    def _grants(self, user: User, namespace: str, problems: list[str]) -> Iterator[_Grant]:
        if MASTERS in user.groups:
            yield _EVERYTHING
        if AUTHENTICATED in user.all_groups:
            yield _BASICS
        for binding in self._store.list_page(CLUSTER_ROLE_BINDINGS).items:
            yield from self._granted(user, binding, "", problems)
        if namespace:
            for binding in self._store.list_page(ROLE_BINDINGS, namespace).items:
                yield from self._granted(user, binding, namespace, problems)

    def _granted(self, user: User, binding: Object, namespace: str, problems: list[str]) -> Iterator[_Grant]:
        subject = next((s for s in binding.get("subjects") or [] if _is_subject(s, user, namespace)), None)
        if subject is None:
            return
        kind, role = binding["roleRef"]["kind"], binding["roleRef"]["name"]
        resource, space = (ROLES, namespace) if kind == "Role" else (CLUSTER_ROLES, "")
        try:
            found = self._store.get(resource, space, role)
        except ApiError:
            problems.append(f'{resource.singular}.{resource.group} "{role}" not found')
            return
        name = binding["metadata"]["name"] + (f"/{namespace}" if namespace else "")
        whom = f'{subject["kind"]} "{subject["name"]}'
        whom += f'/{subject.get("namespace", "")}"' if subject["kind"] == "ServiceAccount" else '"'
        reason = f'RBAC: allowed by {binding["kind"]} "{name}" of {kind} "{role}" to {whom}'
        yield _Grant(found.get("rules") or [], reason)


def _is_subject(subject: Object, user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return bool(subject["name"] == user.name)
        case "Group":
            return subject["name"] in user.all_groups
        case "ServiceAccount":
            account = f"{subject.get('namespace') or namespace}:{subject['name']}"
            return user.name == _SERVICE_ACCOUNT + account
    return False


def _allows(rule: Object, action: Action) -> bool:
    if not _one_of(rule.get("verbs"), action.verb):
        return False
    if action.path:
        urls = rule.get("nonResourceURLs") or []
        return any(fnmatchcase(action.path, url) if url.endswith("*") else action.path == url for url in urls)
    names = rule.get("resourceNames") or []
    return (
        _one_of(rule.get("apiGroups"), action.group)
        and (
            _one_of(rule.get("resources"), action.full_resource)
            or bool(action.subresource and f"*/{action.subresource}" in (rule.get("resources") or []))
        )
        and (not names or action.name in names)
    )


def _one_of(allowed: Sequence[str] | None, wanted: str) -> bool:
    return bool(allowed) and ("*" in (allowed or ()) or wanted in (allowed or ()))


def forbidden(user: User, action: Action, reason: str = "") -> ApiError:
    """403, worded as the real API server does it."""
    suffix = f": {reason}" if reason else ""
    if action.path:
        message = f'forbidden: User "{user.name}" cannot {action.verb} path "{action.path}"{suffix}'
        return ApiError(403, "Forbidden", message, details={})
    where = f'in the namespace "{action.namespace}"' if action.namespace else "at the cluster scope"
    subject = f"{action.resource}.{action.group}" if action.group else action.resource
    if action.name:
        subject += f' "{action.name}"'
    message = (
        f'{subject} is forbidden: User "{user.name}" cannot {action.verb} resource "{action.full_resource}" '
        f'in API group "{action.group}" {where}{suffix}'
    )
    details = {"name": action.name, "group": action.group, "kind": action.resource}
    details = {key: value for key, value in details.items() if value}
    return ApiError(403, "Forbidden", message, details=details)
