"""Which Services are ordinary in every respect, so that tracing them could find nothing.

Theory. Of a cluster's thousands of Services nearly all are sound and alike: a cluster IP, a selector, pods of one
workload that are all Ready and declare the targetPort, and EndpointSlices that list exactly these. What makes a
Service more than that (another type, a policy, an Ingress, a hint, a pod that is not Ready) sends it to the full
trace with all checks. The rule is one-sided: to call an ordinary Service unusual costs time, to call an unusual
one ordinary would hide its fault; a test holds every cluster of the fixtures, and clusters made by chance, against
the full answer. Nothing is decided where nodes' rules or observations are held: there only the trace knows.

What may live here: leaving out work. No finding is made here.
"""

from __future__ import annotations

import re
from functools import cached_property

import msgspec

from svcdoctor.checks.plugins import PACKAGES
from svcdoctor.model.base import Base
from svcdoctor.model.endpoints import Endpoints, EndpointSlice
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.ingress import Ingress
from svcdoctor.model.pod import IP, Condition, ContainerPort, Pod
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import canonical_or_none
from svcdoctor.path.ingress import routes
from svcdoctor.path.world import World

_HTTP2 = ("grpc", "h2c", "http2", "https2", "h2")
_ANNOTATIONS = ("service.kubernetes.io/topology-mode", "service.kubernetes.io/topology-aware-hints")
_HINTS = (b"127.", b"localhost", b"::1")  # an application may be bound to its own host (cluster/bindhints)
_ADDRESS = re.compile(rb'"(?:podIP|ip)"\s*:\s*"([^"]+)"')
_CONTROLLER = "endpointslice-controller.k8s.io"


class _Container(Base, frozen=True):
    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str | None = None


class _Spec(Base, frozen=True):
    """As much of a pod's spec as is looked at: decoding it all, 50,000 times, costs most of the answer."""

    node_name: str = ""
    host_network: bool = False
    containers: tuple[_Container, ...] | None = None
    init_containers: tuple[_Container, ...] | None = None
    readiness_gates: msgspec.Raw = msgspec.Raw()


class _Status(Base, frozen=True):
    phase: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[IP, ...] | None = msgspec.field(default=None, name="podIPs")
    conditions: tuple[Condition, ...] | None = None


_spec = msgspec.json.Decoder(_Spec)
_status = msgspec.json.Decoder(_Status)


class Ordinary:
    """Tells ordinary Services of one Snapshot; every look-up is in an index that is built once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.snapshot = world.snapshot

    def __call__(self, service: Service) -> bool:
        """Whether nothing of the Service is worth a trace."""
        return (
            self._possible
            and self._known(service.namespace)
            and (service.namespace, service.name) not in self._led_to
            and self._plain(service)
            and self._alone(service)
            and self._served(service)
        )

    @cached_property
    def _possible(self) -> bool:
        s = self.snapshot
        # What other packages' checks look at is theirs to say.
        return not (PACKAGES or s.node_facts or s.evidence or s.would_be or self.world.overlaps) and s.knows(
            Kind.NODE
        )

    def _known(self, namespace: str) -> bool:
        """Whether the trace would have all that it asks for, and no policy is in its way."""
        found = self._namespaces.get(namespace)
        if found is None:
            scope = Scope(namespace)
            s = self.snapshot
            found = self._namespaces[namespace] = (
                namespace not in self._with_policies
                and all(s.knows(k, scope) for k in (Kind.SERVICE, Kind.ENDPOINT_SLICE, Kind.POD))
                and all(
                    s.knows(k, scope) or s.why_unknown(k, scope) is not None
                    for k in (Kind.INGRESS, Kind.NETWORK_POLICY)
                )
            )
        return found

    @cached_property
    def _namespaces(self) -> dict[str, bool]:
        return {}

    @cached_property
    def _with_policies(self) -> frozenset[str]:
        return frozenset(p.namespace for p in self.snapshot.of(Kind.NETWORK_POLICY))

    @cached_property
    def _led_to(self) -> frozenset[tuple[str, str]]:
        """Services that an Ingress or a route names."""
        found: set[tuple[str, str]] = set()
        ingresses: tuple[Ingress, ...] = self.snapshot.of(Kind.INGRESS)
        for ingress in ingresses:
            for route in routes(ingress):
                if route.backend.target is not None:
                    found.add((ingress.namespace, route.backend.target.name))
        for http_route in self.snapshot.of(Kind.HTTP_ROUTE):
            for rule in http_route.spec.rules or ():
                for ref in rule.backend_refs or ():
                    found.add((ref.namespace or http_route.namespace, ref.name))
        return frozenset(found)

    @cached_property
    def _nodes_ready(self) -> frozenset[str]:
        return frozenset(n.name for n in self.snapshot.nodes if n.ready)

    @cached_property
    def _shared(self) -> frozenset[bytes]:
        """Addresses that occur in the status of more than one pod (and of pods on their node's network)."""
        once: set[bytes] = set()
        twice: set[bytes] = set()
        for pod in self.snapshot.pods:
            found = set(_ADDRESS.findall(pod.raw_status))
            twice |= found & once
            once |= found
        return frozenset(twice)

    def _plain(self, service: Service) -> bool:
        """Whether no field of the Service says more than which ports of which pods."""
        spec = service.spec
        annotations = service.metadata.annotations or {}
        return (
            spec.type in ("ClusterIP", "NodePort")
            and bool(spec.selector)
            and bool(spec.ports)
            and bool(service.cluster_ips)
            and not spec.external_ips
            and not spec.load_balancer_source_ranges
            and spec.load_balancer_class is None
            and spec.allocate_load_balancer_node_ports is None
            and not spec.external_name
            and not spec.health_check_node_port
            and spec.session_affinity in ("", "None")
            and spec.internal_traffic_policy in ("", "Cluster")
            and spec.external_traffic_policy in ("", "Cluster")
            and spec.traffic_distribution is None
            and not spec.publish_not_ready_addresses
            and service.foreign_proxy is None
            and service.metadata.deletion_timestamp is None
            and not any(a in annotations for a in _ANNOTATIONS)
            and not any(p.app_protocol or p.name.lower().startswith(_HTTP2) for p in service.ports)
            and not any(isinstance(p.target, str) and p.target.isdecimal() for p in service.ports)
            and len({p.name for p in service.ports}) == len(service.ports)
        )

    def _alone(self, service: Service) -> bool:
        """Whether its addresses and nodePorts are its own, and every node that has them is Ready."""
        families = {"IPv6" if ":" in ip else "IPv4" for ip in service.cluster_ips}
        if service.spec.ip_families and families != set(service.spec.ip_families):
            return False
        for text in service.cluster_ips:
            ip = canonical_or_none(text)
            for p in service.ports:
                frontend = self.world.frontends.get((ip or "", p.protocol, p.port))
                if frontend is None or frontend.service is not service:
                    return False
        node_ports = [p for p in service.ports if p.node_port]
        if service.type == "ClusterIP":
            return not node_ports
        if len(node_ports) < len(service.ports) or len(self._nodes_ready) < len(self.snapshot.nodes):
            return False
        for p in node_ports:
            frontend = self.world.node_ports.get((p.protocol, p.node_port))
            if frontend is None or frontend.service is not service:
                return False
            if (p.protocol, p.node_port) in self.world.host_ports:
                return False
        return True

    def _served(self, service: Service) -> bool:
        """Whether the slices list exactly the selected pods, which are all Ready and declare the targetPorts."""
        namespace = service.namespace
        pods = self.snapshot.select_pods(namespace, service.spec.selector or {})
        if not pods:
            return False
        owner = pods[0].metadata.owner
        if owner is None:
            if len(pods) > 1:
                return False
        elif any(
            (o := p.metadata.owner) is None or (o.kind, o.name) != (owner.kind, owner.name) for p in pods
        ):
            return False
        seen: dict[str, tuple[str, frozenset[str]]] = {}
        numbers: set[tuple[tuple[str, int, str], ...]] = set()
        for pod in pods:
            told = self._told(pod, service)
            if told is None:
                return False
            node, addresses, ports = told
            seen[pod.name] = node, addresses
            numbers.add(ports)
        if len(numbers) != 1:
            return False
        ports = next(iter(numbers))
        old = self.snapshot.endpoints(namespace, service.name)
        if old is not None and not _same_endpoints(old, service, seen, ports):
            return False
        return self._listed(service, seen, ports)

    def _told(
        self, pod: Pod, service: Service
    ) -> tuple[str, frozenset[str], tuple[tuple[str, int, str], ...]] | None:
        """The node, addresses and target ports of a pod that serves as it should; ``None`` for any other."""
        raw = bytes(pod.raw_spec)
        if pod.metadata.deletion_timestamp is not None or b"PORTS" in raw:
            return None
        folded = raw.lower()
        if any(word in folded for word in _HINTS):
            return None
        try:
            spec, status = _spec.decode(raw), _status.decode(pod.raw_status)
        except (msgspec.DecodeError, RecursionError):
            return None
        ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or ())
        if not ready or status.phase != "Running" or spec.host_network or bytes(spec.readiness_gates):
            return None
        if spec.node_name not in self._nodes_ready:
            return None
        containers = spec.containers or ()
        if spec.init_containers:
            containers += tuple(c for c in spec.init_containers if c.restart_policy == "Always")
        declared = [p for c in containers for p in c.ports or ()]
        found = []
        for port in service.ports:
            target = port.target
            fitting = [d for d in declared if target in (d.container_port, d.name)]
            if len(fitting) != 1 or fitting[0].protocol != port.protocol:
                return None
            found.append((port.name, fitting[0].container_port, port.protocol))
        addresses = frozenset(i.ip for i in status.pod_ips or ()) or frozenset({status.pod_ip})
        return spec.node_name, addresses, tuple(found)

    def _listed(
        self,
        service: Service,
        pods: dict[str, tuple[str, frozenset[str]]],
        ports: tuple[tuple[str, int, str], ...],
    ) -> bool:
        """Whether for each family the slices list each pod once, ready, with its ports, and nothing else."""
        left = {
            (name, "IPv6" if ":" in ip else "IPv4")
            for name in pods
            for ip in service.cluster_ips
        }  # fmt: skip
        wanted = frozenset(ports)
        for s in self.snapshot.slices(service.namespace, service.name):
            if not _ordinary_slice(s, wanted):
                return False
            for e in s.endpoints or ():
                conditions, ref, own = e.conditions, e.target_ref, e.addresses or ()
                if (
                    ref is None
                    or ref.kind != "Pod"
                    or ref.namespace != service.namespace
                    or ref.name not in pods
                    or len(own) != 1
                    or e.hints is not None
                    or conditions.ready is False
                    or conditions.serving is False
                    or conditions.terminating
                ):
                    return False
                node, addresses = pods[ref.name]
                if e.node_name != node or own[0] not in addresses:
                    return False
                if own[0].encode() in self._shared:
                    return False
                key = (ref.name, s.address_type)
                if key not in left:
                    return False
                left.remove(key)
        return not left


def _same_endpoints(
    old: Endpoints,
    service: Service,
    pods: dict[str, tuple[str, frozenset[str]]],
    ports: tuple[tuple[str, int, str], ...],
) -> bool:
    """Whether the v1 Endpoints say of the Service's first family what its slices must say."""
    if old.metadata.annotations or not old.subsets or len(old.subsets) != 1:
        return False
    [subset] = old.subsets
    v6 = ":" in service.cluster_ips[0]
    wanted = {ip for _, addresses in pods.values() for ip in addresses if (":" in ip) == v6}
    listed = [a.ip for a in subset.addresses or ()]
    own = {(p.name or "", p.port, p.protocol or "TCP") for p in subset.ports or ()}
    return (
        not subset.not_ready_addresses
        and len(listed) == len(pods)
        and set(listed) == wanted
        and own == set(ports)
    )


def _ordinary_slice(s: EndpointSlice, ports: frozenset[tuple[str, int, str]]) -> bool:
    labels = s.labels
    if labels.get("endpointslice.kubernetes.io/managed-by", _CONTROLLER) != _CONTROLLER:
        return False
    if not s.endpoints:
        return True
    own = s.ports or ()
    return len(own) == len(ports) and all((p.name or "", p.port, p.protocol or "TCP") in ports for p in own)
