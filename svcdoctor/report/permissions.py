"""``auth can-i``'s answer: which features somebody may use, what is missing, and what to grant."""

from __future__ import annotations

from collections.abc import Iterator
from shlex import quote
from typing import Any

from svcdoctor.model.permission import CLUSTER, NAMESPACE, Allowance, Permissions, Rule, State
from svcdoctor.report.printable import printable
from svcdoctor.report.roles import binding_manifest, role_manifest, roles_of
from svcdoctor.report.tables import plain

_FEATURE = ("FEATURE", "ALLOWED", "MISSING", "COMMAND")
_RULE = ("TO GRANT", "VERBS", "RESOURCE", "WHERE", "WITHOUT IT")
_STATE = {State.ALLOWED: "yes", State.PARTLY: "partly", State.NOT: "no"}


def table(found: Permissions, program: str, more: str = "") -> str:
    """The features as a table, and beneath it each rule to grant; ``program`` is how svcdoctor was called."""
    rows = [
        [
            a.feature.name,
            _STATE[a.state],
            str(sum(len(r.verbs) for r in a.missing) or ""),
            f"{program} {a.feature.command}",
        ]
        for a in found.features
    ]
    parts = [plain(_FEATURE, rows)]
    grants = [row for a in found.features for row in _rule_rows(a, found.namespace)]
    if grants:
        parts.append(plain(_RULE, grants))
        names = " ".join(a.feature.name for a in found.features if a.missing)
        scope = "-A" if found.namespace is None else f"-n {quote(printable(found.namespace))}"
        who = f"{printable(found.user)} lacks" if found.user else "is missing"
        parts.append(f"The roles that grant what {who}: {program} auth can-i {names} {scope}{more} -o yaml\n")
    return "\n".join(parts)


def _rule_rows(a: Allowance, namespace: str | None) -> Iterator[list[str]]:
    for rule in a.missing:
        what = f"{rule.qualified}/{rule.name}" if rule.name else rule.qualified
        effect = "it fails" if rule.required else "it says less"
        yield [a.feature.name, ",".join(rule.verbs), what, _where(rule, namespace), effect]


def _where(rule: Rule, namespace: str | None) -> str:
    if rule.where == CLUSTER or (rule.where == NAMESPACE and namespace is None):
        return "the cluster"
    return f"namespace {namespace if rule.where == NAMESPACE else rule.where}"


def permissions_form(found: Permissions) -> dict[str, Any]:
    """The answer after the contract (schema.json, ``permissions``)."""
    return {
        "apiVersion": "svcdoctor/v1",
        "kind": "Permissions",
        "user": found.user or None,
        "namespace": found.namespace,
        "features": [
            {
                "name": a.feature.name,
                "command": a.feature.command,
                "state": str(a.state),
                "missing": [_rule_form(rule, found.namespace) for rule in a.missing],
            }
            for a in found.features
        ],
    }


def _rule_form(rule: Rule, namespace: str | None) -> dict[str, Any]:
    where = {NAMESPACE: namespace, CLUSTER: None}.get(rule.where, rule.where)
    return {
        "namespace": where,
        "apiGroup": rule.group,
        "resource": rule.resource,
        "name": rule.name or None,
        "verbs": list(rule.verbs),
        "required": rule.required,
    }


def roles(found: Permissions) -> str:
    """The roles of every feature of which something is missing, and their bindings to the user, as YAML.

    They are whole, not only what is missing: applied another day they take nothing away. Empty where nothing is
    missing.
    """
    documents = []
    for a in found.features:
        lacking = {rule.where for rule in a.missing}
        for role in roles_of(a.feature):
            if role.where not in lacking:
                continue
            documents.append(role_manifest(role))
            if found.user:
                documents.append(binding_manifest(role, found.user, found.namespace))
    head = (
        ""
        if found.user or not documents
        else "# The server does not tell who asks: bind these roles to the user.\n"
    )
    return head + "---\n".join(documents)
