"""The table of resources that the lab's API server serves.

One row per resource, with the names that `kubectl api-resources` shows. Secrets are left out on purpose:
a snapshot of somebody's cluster must never be able to hand out credentials.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
"""A complete Kubernetes object as decoded from JSON."""

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One served resource.

    `optional` resources (custom resources such as the Gateway API's) are served only where the store holds
    such objects or where the server was asked for their group.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    optional: bool = False

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The singular name: `service`."""
        return self.kind.lower()

    @property
    def stored(self) -> bool:
        """Whether there are objects to keep; reviews are answered, not kept."""
        return "list" in self.verbs

    @property
    def qualified(self) -> str:
        """The name used in messages: `services`, `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


def _core(plural: str, kind: str, *short: str, namespaced: bool = True, category: str = "") -> Resource:
    categories = (category,) if category else ()
    return Resource("", "v1", plural, kind, namespaced, short, categories)


def _apps(plural: str, kind: str, short: str) -> Resource:
    return Resource("apps", "v1", plural, kind, True, (short,), ("all",))


def _batch(plural: str, kind: str, *short: str) -> Resource:
    return Resource("batch", "v1", plural, kind, True, short, ("all",))


def _networking(plural: str, kind: str, *short: str, namespaced: bool = True) -> Resource:
    return Resource("networking.k8s.io", "v1", plural, kind, namespaced, short)


def _gateway(plural: str, kind: str, short: str, *, version: str = "v1", namespaced: bool = True) -> Resource:
    return Resource(
        "gateway.networking.k8s.io",
        version,
        plural,
        kind,
        namespaced,
        (short,),
        ("gateway-api",),
        optional=True,
    )


def _istio(version: str) -> Resource:
    kind, plural = "PeerAuthentication", "peerauthentications"
    categories = ("istio-io", "security-istio-io")
    return Resource("security.istio.io", version, plural, kind, True, ("pa",), categories, optional=True)


def _rbac(plural: str, kind: str, *, namespaced: bool) -> Resource:
    return Resource("rbac.authorization.k8s.io", "v1", plural, kind, namespaced)


def _review(plural: str, kind: str, group: str = "authorization.k8s.io") -> Resource:
    return Resource(group, "v1", plural, kind, namespaced=False, verbs=("create",))


SERVICES = _core("services", "Service", "svc", category="all")
PODS = _core("pods", "Pod", "po", category="all")
NAMESPACES = _core("namespaces", "Namespace", "ns", namespaced=False)
ROLES = _rbac("roles", "Role", namespaced=True)
ROLE_BINDINGS = _rbac("rolebindings", "RoleBinding", namespaced=True)
CLUSTER_ROLES = _rbac("clusterroles", "ClusterRole", namespaced=False)
CLUSTER_ROLE_BINDINGS = _rbac("clusterrolebindings", "ClusterRoleBinding", namespaced=False)
ACCESS_REVIEWS = _review("selfsubjectaccessreviews", "SelfSubjectAccessReview")
RULES_REVIEWS = _review("selfsubjectrulesreviews", "SelfSubjectRulesReview")
SELF_REVIEWS = _review("selfsubjectreviews", "SelfSubjectReview", "authentication.k8s.io")

RESOURCES: tuple[Resource, ...] = (
    _core("configmaps", "ConfigMap", "cm"),
    _core("endpoints", "Endpoints", "ep"),
    _core("events", "Event", "ev"),
    _core("limitranges", "LimitRange", "limits"),
    NAMESPACES,
    _core("nodes", "Node", "no", namespaced=False),
    PODS,
    _core("replicationcontrollers", "ReplicationController", "rc", category="all"),
    _core("resourcequotas", "ResourceQuota", "quota"),
    _core("serviceaccounts", "ServiceAccount", "sa"),
    SERVICES,
    _apps("daemonsets", "DaemonSet", "ds"),
    _apps("deployments", "Deployment", "deploy"),
    _apps("replicasets", "ReplicaSet", "rs"),
    _apps("statefulsets", "StatefulSet", "sts"),
    SELF_REVIEWS,
    ACCESS_REVIEWS,
    RULES_REVIEWS,
    _batch("cronjobs", "CronJob", "cj"),
    _batch("jobs", "Job"),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    _gateway("gatewayclasses", "GatewayClass", "gc", namespaced=False),
    _gateway("gateways", "Gateway", "gtw"),
    _gateway("grpcroutes", "GRPCRoute", "grpcr"),
    _gateway("httproutes", "HTTPRoute", "hr"),
    _gateway("referencegrants", "ReferenceGrant", "refgrant", version="v1beta1"),
    _networking("ingressclasses", "IngressClass", namespaced=False),
    _networking("ingresses", "Ingress", "ing"),
    _networking("ipaddresses", "IPAddress", "ip", namespaced=False),
    _networking("networkpolicies", "NetworkPolicy", "netpol"),
    _networking("servicecidrs", "ServiceCIDR", namespaced=False),
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    ROLE_BINDINGS,
    ROLES,
    _istio("v1"),
    _istio("v1beta1"),
)

_BY_NAME = {(r.group, r.version, r.plural): r for r in RESOURCES}
_BY_KIND = {(r.api_version, r.kind): r for r in RESOURCES}


def find_resource(group: str, version: str, plural: str) -> Resource | None:
    """The resource of a request path, or None where this server has no such resource."""
    return _BY_NAME.get((group, version, plural))


def resource_of(obj: Object) -> Resource | None:
    """The resource that an object's `apiVersion` and `kind` belong to, or None for kinds not served."""
    return _BY_KIND.get((obj.get("apiVersion", ""), obj.get("kind", "")))
