"""Which kinds the API server serves in which version (Kubernetes v1.36), for what manifests say of themselves."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.cluster.nearmiss import near_names

# The groups that manifests of Services rest on, whole; of others only custom resources' absence could be told.
_SERVED: dict[str, str] = {
    "v1": "Binding ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod "
    "PodTemplate ReplicationController ResourceQuota Secret Service ServiceAccount",
    "apps/v1": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "autoscaling/v1": "HorizontalPodAutoscaler",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "discovery.k8s.io/v1": "EndpointSlice",
    "networking.k8s.io/v1": "IPAddress Ingress IngressClass NetworkPolicy ServiceCIDR",
    "networking.k8s.io/v1beta1": "IPAddress ServiceCIDR",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
}
SERVED: dict[str, frozenset[str]] = {version: frozenset(kinds.split()) for version, kinds in _SERVED.items()}
_GROUPS = frozenset(v.rpartition("/")[0] for v in SERVED) | {"extensions"}


@dataclass(frozen=True, slots=True)
class Unserved:
    """What the API server answers to an object of a kind that it does not know, and what was probably meant."""

    words: str
    fix: str


def unserved(api_version: str, kind: str) -> Unserved | None:
    """Why no API server of this version takes the object; None where it does, or where a CRD may define it."""
    group = api_version.rpartition("/")[0]
    if (
        group not in _GROUPS
        or kind in SERVED.get(api_version, ())
        or kind.removesuffix("List") in _listed(api_version)
    ):
        return None
    words = f'no matches for kind "{kind}" in version "{api_version}"'
    right = [version for version, kinds in SERVED.items() if kind in kinds]
    if right:
        return Unserved(words, f"apiVersion: {right[-1]}")
    near = near_names(kind, sorted(set().union(*SERVED.values())), 1)
    return Unserved(words, f"kind: {near[0]}" if near else "correct kind and apiVersion")


def _listed(api_version: str) -> frozenset[str]:
    return SERVED.get(api_version, frozenset()) | {""}
