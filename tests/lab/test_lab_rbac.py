"""Roles, bindings, and what they allow."""

from __future__ import annotations

import pytest

from svcdoctor.lab.rbac import ADMIN, Action, Authorizer, User, forbidden
from svcdoctor.lab.resources import Object
from svcdoctor.lab.reviews import access_review, rules_review
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import ObjectStore

API = "rbac.authorization.k8s.io/v1"


def role(kind: str, name: str, *rules: Object, namespace: str = "") -> Object:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "rules": list(rules)}


def binding(
    kind: str, name: str, role_kind: str, role: str, *subjects: Object, namespace: str = ""
) -> Object:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    reference = {"kind": role_kind, "name": role}
    return {
        "apiVersion": API,
        "kind": kind,
        "metadata": metadata,
        "roleRef": reference,
        "subjects": list(subjects),
    }


READ_PODS = {"apiGroups": [""], "resources": ["pods", "*/status"], "verbs": ["get", "list"]}
ONE_SERVICE = {"apiGroups": [""], "resources": ["services"], "verbs": ["*"], "resourceNames": ["web"]}
FORWARD = {"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["create"]}
DEPLOYMENTS = {"apiGroups": ["apps"], "resources": ["*"], "verbs": ["get"]}
METRICS = {"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]}


@pytest.fixture
def authorizer() -> Authorizer:
    return Authorizer(
        ObjectStore(
            [
                role("ClusterRole", "reader", READ_PODS, DEPLOYMENTS, METRICS),
                role("Role", "one", ONE_SERVICE, FORWARD, namespace="a"),
                binding(
                    "ClusterRoleBinding", "dev", "ClusterRole", "reader", {"kind": "Group", "name": "dev"}
                ),
                binding("RoleBinding", "bob", "Role", "one", {"kind": "User", "name": "bob"}, namespace="a"),
                binding(
                    "RoleBinding",
                    "robot",
                    "ClusterRole",
                    "reader",
                    {"kind": "ServiceAccount", "name": "robot", "namespace": "b"},
                    namespace="a",
                ),
                binding(
                    "RoleBinding", "gone", "Role", "gone", {"kind": "User", "name": "eve"}, namespace="a"
                ),
            ]
        )
    )


BOB, DEV = User("bob"), User("ann", ("dev",))
ROBOT, EVE = User("system:serviceaccount:b:robot"), User("eve")


@pytest.mark.parametrize(
    ("user", "action", "allowed"),
    [
        (ADMIN, Action("delete", resource="pods", namespace="a", name="x"), True),
        (ADMIN, Action("get", path="/anything"), True),
        (DEV, Action("list", resource="pods"), True),
        (DEV, Action("list", resource="pods", namespace="a"), True),
        (DEV, Action("watch", resource="pods"), False),
        (DEV, Action("get", resource="pods", subresource="status", namespace="a", name="x"), True),
        (DEV, Action("get", resource="pods", subresource="log", namespace="a", name="x"), False),
        (DEV, Action("get", group="apps", resource="deployments", namespace="a", name="x"), True),
        (DEV, Action("get", resource="deployments", namespace="a", name="x"), False),
        (DEV, Action("get", path="/metrics"), True),
        (DEV, Action("get", path="/metrics/cadvisor"), False),
        (DEV, Action("get", path="/debug/pprof"), True),
        (BOB, Action("get", resource="services", namespace="a", name="web"), True),
        (BOB, Action("get", resource="services", namespace="a", name="other"), False),
        (BOB, Action("list", resource="services", namespace="a"), False),
        (BOB, Action("get", resource="services", namespace="b", name="web"), False),
        (BOB, Action("create", resource="pods", subresource="portforward", namespace="a", name="x"), True),
        (BOB, Action("create", resource="pods", namespace="a"), False),
        (BOB, Action("get", path="/version"), True),
        (BOB, Action("get", path="/apis/apps/v1"), True),
        (BOB, Action("get", path="/metrics"), False),
        (ROBOT, Action("list", resource="pods", namespace="a"), True),
        (ROBOT, Action("list", resource="pods", namespace="b"), False),
        (User("robot"), Action("list", resource="pods", namespace="a"), False),
    ],
)
def test_decisions(authorizer: Authorizer, user: User, action: Action, allowed: bool) -> None:
    assert authorizer.decide(user, action).allowed is allowed


def test_the_reason_names_the_binding(authorizer: Authorizer) -> None:
    reason = authorizer.decide(DEV, Action("list", resource="pods")).reason
    assert reason == 'RBAC: allowed by ClusterRoleBinding "dev" of ClusterRole "reader" to Group "dev"'
    reason = authorizer.decide(ROBOT, Action("list", resource="pods", namespace="a")).reason
    assert reason.endswith('RoleBinding "robot/a" of ClusterRole "reader" to ServiceAccount "robot/b"')


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (
            Action("list", resource="pods", namespace="a"),
            'pods is forbidden: User "bob" cannot list resource "pods" in API group "" in the namespace "a"',
        ),
        (
            Action("list", group="apps", resource="deployments"),
            'deployments.apps is forbidden: User "bob" cannot list resource "deployments" '
            'in API group "apps" at the cluster scope',
        ),
        (
            Action("create", resource="pods", subresource="portforward", namespace="a", name="x"),
            'pods "x" is forbidden: User "bob" cannot create resource "pods/portforward" '
            'in API group "" in the namespace "a"',
        ),
        (Action("get", path="/metrics"), 'forbidden: User "bob" cannot get path "/metrics"'),
    ],
)
def test_forbidden_is_worded_as_by_the_real_server(action: Action, message: str) -> None:
    assert forbidden(BOB, action).message == message


def test_a_binding_to_a_missing_role_is_named(authorizer: Authorizer) -> None:
    with pytest.raises(ApiError, match=r'RBAC: role.rbac.authorization.k8s.io "gone" not found$'):
        authorizer.check(EVE, Action("list", resource="pods", namespace="a"))


def test_access_review(authorizer: Authorizer) -> None:
    attributes = {"verb": "list", "resource": "pods", "namespace": "a"}
    review = {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
    assert access_review(authorizer, DEV, review)["status"]["allowed"] is True
    assert access_review(authorizer, BOB, review)["status"] == {"allowed": False}
    path = {"spec": {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}}
    assert access_review(authorizer, DEV, path)["status"]["allowed"] is True
    with pytest.raises(ApiError, match="exactly one of"):
        access_review(authorizer, BOB, {"spec": {}})


def test_rules_review(authorizer: Authorizer) -> None:
    status = rules_review(authorizer, BOB, {"spec": {"namespace": "a"}})["status"]
    assert ONE_SERVICE in status["resourceRules"]
    assert READ_PODS not in status["resourceRules"]
    assert {"verbs", "nonResourceURLs"} == set(status["nonResourceRules"][0])
    with pytest.raises(ApiError, match="no namespace on request"):
        rules_review(authorizer, BOB, {"spec": {}})
