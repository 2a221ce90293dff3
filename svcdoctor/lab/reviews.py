"""What a user asks about itself and its own permissions: `kubectl auth whoami`, `kubectl auth can-i`, with and
without `--list`.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from svcdoctor.lab.rbac import Action, Authorizer, User
from svcdoctor.lab.resources import Object
from svcdoctor.lab.status import invalid


def access_review(authorizer: Authorizer, user: User, review: Object) -> Object:
    """The SelfSubjectAccessReview with its answer. Raises `ApiError` 422 where it asks for nothing."""
    spec = review.get("spec") or {}
    resource, path = spec.get("resourceAttributes") or {}, spec.get("nonResourceAttributes") or {}
    if bool(resource) == bool(path):
        problem = "Invalid value: exactly one of resourceAttributes or nonResourceAttributes must be set"
        raise invalid("SelfSubjectAccessReview", "", "spec.resourceAttributes", problem)
    if resource:
        keys = ("verb", "group", "resource", "subresource", "namespace", "name")
        action = Action(**{key: str(resource.get(key, "")) for key in keys})
    else:
        action = Action(verb=str(path.get("verb", "")), path=str(path.get("path", "")))
    decision = authorizer.decide(user, action)
    status: Object = {"allowed": decision.allowed}
    if decision.reason:
        status["reason"] = decision.reason
    return _answered(review, status)


def rules_review(authorizer: Authorizer, user: User, review: Object) -> Object:
    """The SelfSubjectRulesReview with the rules for its namespace. Raises `ApiError` 422 without one."""
    namespace = (review.get("spec") or {}).get("namespace", "")
    if not namespace:
        raise invalid(
            "SelfSubjectRulesReview", "", "spec.namespace", "Required value: no namespace on request"
        )
    resource_rules: list[Object] = []
    path_rules: list[Object] = []
    for rule in authorizer.rules(user, namespace):
        if rule.get("nonResourceURLs"):
            path_rules.append({"verbs": rule["verbs"], "nonResourceURLs": rule["nonResourceURLs"]})
        else:
            keys = ("verbs", "apiGroups", "resources", "resourceNames")
            resource_rules.append({key: rule[key] for key in keys if rule.get(key)})
    return _answered(
        review, {"resourceRules": resource_rules, "nonResourceRules": path_rules, "incomplete": False}
    )


def self_review(authorizer: Authorizer, user: User, review: Object) -> Object:
    """The SelfSubjectReview with who asks."""
    return _answered(review, {"userInfo": {"username": user.name, "groups": list(user.all_groups)}})


def _answered(review: Object, status: Object) -> Object:
    return {
        "kind": review.get("kind", ""),
        "apiVersion": review.get("apiVersion", ""),
        "metadata": {},
        "spec": review.get("spec", {}),
        "status": status,
    }
