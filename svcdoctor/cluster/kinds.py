"""The registry of kinds: which struct decodes it, and where the API serves it."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.base import KubeObject
from svcdoctor.model.cluster import ConfigMap, Event, Namespace, Node, ServiceCIDR
from svcdoctor.model.endpoints import Endpoints, EndpointSlice
from svcdoctor.model.facts import Kind
from svcdoctor.model.gateway import GATEWAY_GROUP, Gateway, GatewayClass, ReferenceGrant
from svcdoctor.model.gatewayroutes import GRPCRoute, HTTPRoute
from svcdoctor.model.ingress import Ingress, IngressClass
from svcdoctor.model.mesh import PeerAuthentication
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.service import Service
from svcdoctor.model.workload import Workload


@dataclass(frozen=True, slots=True)
class KindInfo:
    """One kind. ``versions`` are the served group/versions, preferred first; ``""`` group is core."""

    kind: Kind
    type: type[KubeObject]
    plural: str
    versions: tuple[str, ...]
    namespaced: bool = True

    @property
    def group(self) -> str:
        version = self.versions[0]
        return version.partition("/")[0] if "/" in version else ""

    @property
    def resource(self) -> str:
        """The resource as RBAC and kubectl name it: ``endpointslices.discovery.k8s.io``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None) -> str:
        """The API's path of the list, in one namespace or in all."""
        version = self.versions[0]
        base = f"/apis/{version}" if "/" in version else f"/api/{version}"
        middle = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{base}{middle}/{self.plural}"

    def accepts(self, api_version: str) -> bool:
        """Whether an object of this apiVersion is the kind meant, not a namesake of another group.

        An item of a typed list carries no apiVersion and is taken as meant.
        """
        if not api_version:
            return True
        group = api_version.partition("/")[0] if "/" in api_version else ""
        return group in self.groups

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(v.partition("/")[0] if "/" in v else "" for v in self.versions)


_ISTIO_SECURITY = ("security.istio.io/v1", "security.istio.io/v1beta1")  # v1 from Istio 1.22 on

KINDS: dict[Kind, KindInfo] = {
    info.kind: info
    for info in (
        KindInfo(Kind.SERVICE, Service, "services", ("v1",)),
        KindInfo(Kind.ENDPOINT_SLICE, EndpointSlice, "endpointslices", ("discovery.k8s.io/v1",)),
        KindInfo(Kind.ENDPOINTS, Endpoints, "endpoints", ("v1",)),
        KindInfo(Kind.POD, Pod, "pods", ("v1",)),
        KindInfo(Kind.NODE, Node, "nodes", ("v1",), namespaced=False),
        KindInfo(Kind.NAMESPACE, Namespace, "namespaces", ("v1",), namespaced=False),
        KindInfo(Kind.DEPLOYMENT, Workload, "deployments", ("apps/v1", "extensions/v1beta1")),
        KindInfo(Kind.REPLICA_SET, Workload, "replicasets", ("apps/v1", "extensions/v1beta1")),
        KindInfo(Kind.STATEFUL_SET, Workload, "statefulsets", ("apps/v1",)),
        KindInfo(Kind.DAEMON_SET, Workload, "daemonsets", ("apps/v1", "extensions/v1beta1")),
        KindInfo(Kind.JOB, Workload, "jobs", ("batch/v1",)),
        KindInfo(Kind.REPLICATION_CONTROLLER, Workload, "replicationcontrollers", ("v1",)),
        KindInfo(Kind.INGRESS, Ingress, "ingresses", ("networking.k8s.io/v1", "extensions/v1beta1")),
        KindInfo(
            Kind.INGRESS_CLASS, IngressClass, "ingressclasses", ("networking.k8s.io/v1",), namespaced=False
        ),
        KindInfo(Kind.NETWORK_POLICY, NetworkPolicy, "networkpolicies", ("networking.k8s.io/v1",)),
        KindInfo(Kind.EVENT, Event, "events", ("v1",)),
        KindInfo(Kind.CONFIG_MAP, ConfigMap, "configmaps", ("v1",)),
        KindInfo(Kind.SERVICE_CIDR, ServiceCIDR, "servicecidrs", ("networking.k8s.io/v1",), namespaced=False),
        KindInfo(
            Kind.GATEWAY_CLASS, GatewayClass, "gatewayclasses", (f"{GATEWAY_GROUP}/v1",), namespaced=False
        ),
        KindInfo(Kind.GATEWAY, Gateway, "gateways", (f"{GATEWAY_GROUP}/v1",)),
        KindInfo(Kind.HTTP_ROUTE, HTTPRoute, "httproutes", (f"{GATEWAY_GROUP}/v1",)),
        KindInfo(Kind.GRPC_ROUTE, GRPCRoute, "grpcroutes", (f"{GATEWAY_GROUP}/v1",)),
        KindInfo(Kind.REFERENCE_GRANT, ReferenceGrant, "referencegrants", (f"{GATEWAY_GROUP}/v1beta1",)),
        KindInfo(Kind.PEER_AUTHENTICATION, PeerAuthentication, "peerauthentications", _ISTIO_SECURITY),
    )
}

BY_NAME: dict[str, KindInfo] = {str(kind): info for kind, info in KINDS.items()}

# The only ConfigMaps that are read: cluster DNS's and kube-proxy's.
CONFIG_MAPS = frozenset({("kube-system", "coredns"), ("kube-system", "kube-proxy")})
