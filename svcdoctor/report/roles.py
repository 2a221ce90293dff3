"""The least roles for a feature as manifests: what lies in plugins/rbac, and what ``auth can-i -o yaml`` prints.

A feature's rules for a namespace are a ClusterRole, which a RoleBinding gives for one namespace and a
ClusterRoleBinding for all. What is asked of the whole cluster is a ClusterRole of its own, so that whoever gives the
first gives none of it; what is asked of one certain namespace is a Role there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from svcdoctor.model.permission import CLUSTER, NAMESPACE, Feature, Rule

_GROUP = "rbac.authorization.k8s.io"
_ACCOUNT = "system:serviceaccount:"
_PLAIN = re.compile(r"[a-z][a-z0-9./-]*")


@dataclass(frozen=True, slots=True)
class Role:
    """A ClusterRole, or with a namespace a Role. ``where`` is what its rules' is."""

    name: str
    namespace: str
    where: str
    rules: tuple[Rule, ...]

    @property
    def kind(self) -> str:
        return "Role" if self.namespace else "ClusterRole"


def roles_of(feature: Feature) -> tuple[Role, ...]:
    """The roles that together allow a feature, that for a namespace first."""
    name = f"svcdoctor-{feature.name}"
    names = {NAMESPACE: (name, ""), CLUSTER: (f"{name}-cluster", "")}
    found: dict[str, list[Rule]] = {NAMESPACE: [], CLUSTER: []}
    for rule in feature.rules:
        found.setdefault(rule.where, []).append(rule)
    return tuple(
        Role(*names.get(where, (f"{name}-{where}", where)), where, tuple(rules))
        for where, rules in found.items()
        if rules
    )


def role_manifest(role: Role) -> str:
    """A role as YAML, with a newline at the end."""
    lines = [f"apiVersion: {_GROUP}/v1", f"kind: {role.kind}", "metadata:", f"  name: {role.name}"]
    if role.namespace:
        lines.append(f"  namespace: {role.namespace}")
    lines.append("rules:")
    for required in (True, False):
        rules = [r for r in role.rules if r.required is required]
        if rules and not required:
            lines.append("  # Without these it goes on, and says what it could not look at.")
        lines += _rule_lines(rules)
    return "".join(f"{line}\n" for line in lines)


def _rule_lines(rules: Sequence[Rule]) -> Iterator[str]:
    """Rules that differ in their resource alone are one."""
    alike: dict[tuple[str, tuple[str, ...], str], list[str]] = {}
    for rule in rules:
        alike.setdefault((rule.group, rule.verbs, rule.name), []).append(rule.resource)
    named: dict[tuple[str, tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for (group, verbs, name), resources in alike.items():
        named.setdefault((group, verbs, tuple(sorted(resources))), []).append(name)
    for (group, verbs, of), names in sorted(named.items()):
        yield f"  - apiGroups: {_list((group,))}"
        yield f"    resources: {_list(of)}"
        if all(names):
            yield f"    resourceNames: {_list(sorted(names))}"
        yield f"    verbs: {_list(verbs)}"


def _list(words: Sequence[str]) -> str:
    """A list in YAML's flow style; what is no plain word is quoted."""
    return f"[{', '.join(w if _PLAIN.fullmatch(w) else json.dumps(w) for w in words)}]"


def binding_manifest(role: Role, user: str, namespace: str | None) -> str:
    """What gives a role to a user, in a namespace or (``None``) in all, as YAML with a newline at the end."""
    where = role.namespace or (namespace if role.where == NAMESPACE else None)
    lines = [
        f"apiVersion: {_GROUP}/v1",
        f"kind: {'RoleBinding' if where else 'ClusterRoleBinding'}",
        "metadata:",
        f"  name: {role.name}-{_as_name(user)}",
        *([f"  namespace: {where if _PLAIN.fullmatch(where) else json.dumps(where)}"] if where else []),
        "roleRef:",
        f"  apiGroup: {_GROUP}",
        f"  kind: {role.kind}",
        f"  name: {role.name}",
        "subjects:",
        *_subject(user),
    ]
    return "".join(f"{line}\n" for line in lines)


def _subject(user: str) -> list[str]:
    space, _, name = user.removeprefix(_ACCOUNT).partition(":")
    if user.startswith(_ACCOUNT) and name:
        return ["  - kind: ServiceAccount", f"    name: {name}", f"    namespace: {space}"]
    return ["  - kind: User", f"    apiGroup: {_GROUP}", f"    name: {json.dumps(user)}"]


def _as_name(user: str) -> str:
    """The user as a part of an object's name."""
    return (
        re.sub(r"[^a-z0-9]+", "-", user.removeprefix(_ACCOUNT).lower()).strip("-")[:100].strip("-") or "user"
    )
