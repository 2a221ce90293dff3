"""Service (core/v1)."""

from __future__ import annotations

import msgspec

from svcdoctor.model.base import AnnotatedMeta, Base, IntOrString, KubeObject, Labels


class ServicePort(Base, frozen=True):
    port: int = 0
    name: str = ""
    target_port: IntOrString | None = None
    node_port: int = 0
    protocol: str = "TCP"
    app_protocol: str | None = None

    @property
    def target(self) -> IntOrString:
        """The targetPort, which defaults to the port (API reference: ServicePort.targetPort)."""
        return self.port if self.target_port in (None, 0, "") else self.target_port


class ClientIPConfig(Base, frozen=True):
    timeout_seconds: int | None = None


class SessionAffinityConfig(Base, frozen=True):
    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Base, frozen=True):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: tuple[str, ...] | None = None
    ip_family_policy: str | None = None
    ports: tuple[ServicePort, ...] | None = None
    selector: Labels | None = None
    external_name: str = ""
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    load_balancer_ip: str = msgspec.field(default="", name="loadBalancerIP")
    load_balancer_class: str | None = None
    load_balancer_source_ranges: tuple[str, ...] | None = None
    allocate_load_balancer_node_ports: bool | None = None
    external_traffic_policy: str = ""
    internal_traffic_policy: str = ""
    health_check_node_port: int = 0
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    traffic_distribution: str | None = None


class LoadBalancerIngress(Base, frozen=True):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None


class LoadBalancerStatus(Base, frozen=True):
    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Base, frozen=True):
    load_balancer: LoadBalancerStatus = LoadBalancerStatus()


class Service(KubeObject, frozen=True):
    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()

    @property
    def type(self) -> str:
        return self.spec.type or "ClusterIP"

    @property
    def headless(self) -> bool:
        return self.spec.cluster_ip == "None" and self.type != "ExternalName"

    @property
    def cluster_ips(self) -> tuple[str, ...]:
        """The allocated cluster IPs: none for a headless Service or an ExternalName."""
        ips = self.spec.cluster_ips or ((self.spec.cluster_ip,) if self.spec.cluster_ip else ())
        return tuple(ip for ip in ips if ip and ip != "None")

    @property
    def ports(self) -> tuple[ServicePort, ...]:
        return self.spec.ports or ()

    @property
    def ingress_points(self) -> tuple[LoadBalancerIngress, ...]:
        """The load balancer's addresses, for type LoadBalancer only (others' status is stale)."""
        return (self.status.load_balancer.ingress or ()) if self.type == "LoadBalancer" else ()

    @property
    def affinity_seconds(self) -> int:
        """Session affinity's timeout in seconds, 0 without affinity (default 10800, API reference)."""
        if self.spec.session_affinity != "ClientIP":
            return 0
        config = self.spec.session_affinity_config
        timeout = config.client_ip.timeout_seconds if config and config.client_ip else None
        return timeout or 10800

    @property
    def internal_local(self) -> bool:
        return self.spec.internal_traffic_policy == "Local"

    @property
    def external_local(self) -> bool:
        return self.spec.external_traffic_policy == "Local"

    def source_ranges(self, family: int) -> tuple[str, ...]:
        """The Service's loadBalancerSourceRanges of one IP family."""
        found = (r.strip() for r in self.spec.load_balancer_source_ranges or ())
        return tuple(r for r in found if r and (":" in r) == (family == 6))

    @property
    def externally_accessible(self) -> bool:
        """Whether the Service has a nodePort, load-balancer or external address."""
        return self.type in ("NodePort", "LoadBalancer") or bool(self.spec.external_ips)

    @property
    def foreign_proxy(self) -> str | None:
        """The label that keeps kube-proxy away from this Service, or ``None``.

        ``service.kubernetes.io/service-proxy-name`` and ``service.kubernetes.io/headless``.
        """
        labels = self.labels
        for key in ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless"):
            if key in labels:
                return key
        return None
