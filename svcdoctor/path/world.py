"""What answers at an address: the frontends that kube-proxy would program, from the objects alone.

Theory. A *frontend* is one address, protocol and port of a Service: its cluster IPs, its load balancer's
addresses, its external IPs, and its nodePort on every node. Services that kube-proxy leaves alone
(ExternalName, headless) have none. Building the index is linear in the Services; everything
that depends on a node is computed when first asked and kept, so that thousands of questions to one Snapshot
cost microseconds each.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from ipaddress import ip_address

from svcdoctor.dataplane.hosts import Hosts
from svcdoctor.dataplane.policy import Direction, Party, chooses_namespaces, isolating
from svcdoctor.model.facts import Kind
from svcdoctor.model.ingress import Ingress
from svcdoctor.model.nodefacts import NodeFacts, ProxySettings
from svcdoctor.model.pod import ContainerPort, Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none, in_networks, network
from svcdoctor.model.trace import EntryKind, Value
from svcdoctor.path.controllers import controller_pods
from svcdoctor.path.endpoints import Choice, Endpoint, choose, endpoints_of
from svcdoctor.path.enforcement import Plugin, plugin_of
from svcdoctor.path.ingress import Route, routes
from svcdoctor.path.ranges import Overlap, overlaps


class Frontend(Value, frozen=True):
    """One way into a Service: ``kind`` says by which of its addresses."""

    kind: EntryKind
    service: Service
    port: ServicePort
    proxied: bool = True  # False: a load balancer's address with ipMode Proxy, which gets no rules


Key = tuple[str, str, int]  # address, protocol, port


class World:
    """A Snapshot seen as what answers where."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._endpoints: dict[tuple[str, str, str, int, str, int], tuple[Endpoint, ...]] = {}
        self._choices: dict[tuple[str, str, str, int, str, int, str | None], Choice] = {}

    @cached_property
    def _zones(self) -> dict[str, str]:
        return {n.metadata.name: n.zone for n in self.snapshot.nodes}

    @cached_property
    def hosts(self) -> Hosts:
        """The nodes with their own rules and routes, as far as they were collected."""
        return Hosts({name: self._with_addresses(facts) for name, facts in self.snapshot.node_facts.items()})

    def _with_addresses(self, facts: NodeFacts) -> NodeFacts:
        """The facts with the addresses that the API has of the node, where nobody asked the node itself."""
        if facts.addresses is not None or "ip-addr.json" in facts.missing:
            return facts
        node = self.snapshot.node(facts.name)
        told = node.addresses("InternalIP") if node is not None else ()
        return (
            replace(facts, addresses=tuple(a for t in told if (a := canonical_or_none(t)))) if told else facts
        )

    # --- NetworkPolicies

    @cached_property
    def policies(self) -> dict[str, tuple[NetworkPolicy, ...]]:
        """The NetworkPolicies of each namespace that has any."""
        index: dict[str, list[NetworkPolicy]] = {}
        held: tuple[NetworkPolicy, ...] = self.snapshot.of(Kind.NETWORK_POLICY)
        for policy in held:
            index.setdefault(policy.namespace, []).append(policy)
        return {namespace: tuple(policies) for namespace, policies in index.items()}

    @cached_property
    def policies_choose_namespaces(self) -> bool:
        """Whether any policy goes by labels of namespaces, which then need to be known."""
        return any(chooses_namespaces(p) for policies in self.policies.values() for p in policies)

    def isolating(self, direction: Direction, pod: Party) -> tuple[NetworkPolicy, ...]:
        """The policies that isolate a pod, found once for all pods with these labels."""
        key = (pod.namespace, direction, frozenset(pod.labels.items()))
        found = self._isolating.get(key)
        if found is None:
            held = self.policies.get(pod.namespace, ())
            found = self._isolating[key] = isolating(held, direction, pod)
        return found

    @cached_property
    def _isolating(
        self,
    ) -> dict[tuple[str, Direction, frozenset[tuple[str, str]]], tuple[NetworkPolicy, ...]]:
        return {}

    @cached_property
    def network_plugin(self) -> Plugin | None:
        """What enforces the policies, or is known not to, as far as it is seen."""
        return plugin_of(self.snapshot)

    @cached_property
    def controllers(self) -> tuple[Service, ...]:
        """The Services that say of themselves that they lead to a controller."""
        wanted = ("app.kubernetes.io/component", "controller")
        return tuple(s for s in self.snapshot.services if wanted in s.labels.items())

    # --- frontends

    @cached_property
    def frontends(self) -> dict[Key, Frontend]:
        """Service addresses, without nodePorts. The oldest Service wins where two claim an address."""
        index: dict[Key, Frontend] = {}
        for service in self.snapshot.services:
            if service.type == "ExternalName" or service.headless:
                continue
            for kind, address, proxied in service_addresses(service):
                for port in service.ports:
                    index.setdefault(
                        (address, port.protocol, port.port), Frontend(kind, service, port, proxied)
                    )
        return index

    @cached_property
    def claimed(self) -> dict[str, tuple[EntryKind, Service]]:
        """Every Service address, whatever port is asked and whether or not kube-proxy programs it."""
        index: dict[str, tuple[EntryKind, Service]] = {}
        for service in self.snapshot.services:
            for kind, address, _ in service_addresses(service):
                index.setdefault(address, (kind, service))
        return index

    @cached_property
    def node_ports(self) -> dict[tuple[str, int], Frontend]:
        index: dict[tuple[str, int], Frontend] = {}
        for service in self.snapshot.services:
            if service.type in ("NodePort", "LoadBalancer"):
                for port in service.ports:
                    if port.node_port:
                        index.setdefault(
                            (port.protocol, port.node_port), Frontend(EntryKind.NODE_PORT, service, port)
                        )
        return index

    @cached_property
    def health_check_ports(self) -> dict[int, Service]:
        return {
            s.spec.health_check_node_port: s
            for s in self.snapshot.services
            if s.type == "LoadBalancer" and s.external_local and s.spec.health_check_node_port
        }

    # --- Ingress

    @cached_property
    def ingress_claims(self) -> dict[tuple[str, str, str], list[tuple[Ingress, Route]]]:
        """The Ingresses' routes by host, path and pathType."""
        index: dict[tuple[str, str, str], list[tuple[Ingress, Route]]] = {}
        for ingress in self.snapshot.of(Kind.INGRESS):
            for route in routes(ingress):
                if route.path is not None:
                    key = (route.host, route.path.path, route.path.path_type)
                    index.setdefault(key, []).append((ingress, route))
        return index

    @cached_property
    def ingress_controllers(self) -> dict[str, tuple[Pod, ...]]:
        """The pods that look like each known Ingress controller, by the controller's name."""
        return controller_pods(self.snapshot.pods)

    # --- endpoints

    def endpoints(self, service: Service, port: ServicePort, family: int) -> tuple[Endpoint, ...]:
        key = (service.namespace, service.name, port.name, port.port, port.protocol, family)
        found = self._endpoints.get(key)
        if found is None:
            found = self._endpoints[key] = endpoints_of(self.snapshot, service, port, family)
        return found

    def choice(self, service: Service, port: ServicePort, family: int, node: str | None) -> Choice:
        """What kube-proxy on ``node`` would use for the port."""
        key = (service.namespace, service.name, port.name, port.port, port.protocol, family, node)
        found = self._choices.get(key)
        if found is None:
            endpoints = self.endpoints(service, port, family)
            found = self._choices[key] = choose(service, endpoints, node, self._zones.get(node or "", ""))
        return found

    # --- nodes

    @cached_property
    def overlaps(self) -> tuple[Overlap, ...]:
        """Where the Services' addresses are also something else's."""
        return overlaps(self.snapshot, self.hosts)

    @cached_property
    def primary_addresses(self) -> dict[str, frozenset[str]]:
        """Each node's primary addresses: the first InternalIP of each family (what ``primary`` means)."""
        index: dict[str, frozenset[str]] = {}
        for node in self.snapshot.nodes:
            first: dict[bool, str] = {}
            for text in node.addresses():
                ip = canonical_or_none(text)
                if ip is not None:
                    first.setdefault(":" in ip, ip)
            index[node.metadata.name] = frozenset(first.values())
        return index

    @cached_property
    def host_ports(self) -> dict[tuple[str, int], tuple[tuple[Pod, ContainerPort], ...]]:
        """Pods with a hostPort, by protocol and port, whatever their node."""
        index: dict[tuple[str, int], tuple[tuple[Pod, ContainerPort], ...]] = {}
        for pod in self.snapshot.pods:
            if b'"hostPort"' not in bytes(pod.raw_spec) or pod.finished:
                continue
            for container in pod.serving_containers:
                for port in container.ports or ():
                    if port.host_port:
                        key = (port.protocol, port.host_port)
                        index[key] = (*index.get(key, ()), (pod, port))
        return index

    @cached_property
    def _pods_by_node(self) -> dict[str, list[str]]:
        """The addresses of pods that have one of their own, by node."""
        index: dict[str, list[str]] = {}
        for ip, pods in self.snapshot.pods_by_ip.items():
            node = pods[0].spec.node_name
            if node and ip not in self.snapshot.nodes_by_ip:
                index.setdefault(node, []).append(ip)
        return index

    def asking_pod(self, node: str, family: int, frontend: Frontend | None) -> str | None:
        """The address of a pod on the node that only asks: no endpoint of the frontend's Service.

        Where no pod is left, an address of the node's pod range that no pod has.
        """
        endpoints: frozenset[str] = frozenset()
        if frontend is not None:
            found = self.endpoints(frontend.service, frontend.port, family)
            endpoints = frozenset(e.ip for e in found)
        for ip in self._pods_by_node.get(node, ()):
            if (":" in ip) == (family == 6) and ip not in endpoints:
                return ip
        for cidr in self.pod_cidrs.get(node, ()):
            pods = network(cidr)
            if pods is None or pods.version != family or pods.num_addresses < 8:
                continue
            for back in range(2, min(pods.num_addresses, 256)):
                candidate = str(pods[-back])
                if candidate not in self.snapshot.pods_by_ip:
                    return candidate
        return None

    def entry_interface(self, node: str, family: int) -> str | None:
        """The interface by which packets from outside come to a node: the one that has its address."""
        host = self.hosts.host(node)
        for ip in self.primary_addresses.get(node, ()):
            if host is not None and (":" in ip) == (family == 6):
                return host.router.interface_of(family, int(ip_address(ip)))
        return None

    def outside_address(self, frontend: Frontend, family: int) -> str:
        """A client outside: one that loadBalancerSourceRanges let in, else a stand-in (RFC 5737, RFC 3849)."""
        if frontend.kind is EntryKind.LOAD_BALANCER:
            for cidr in frontend.service.source_ranges(family):
                allowed = network(cidr)
                if allowed is not None:
                    return str(allowed[min(1, allowed.num_addresses - 1)])
        return "192.0.2.77" if family == 4 else "2001:db8::77"

    def proxy(self, node: str | None) -> ProxySettings | None:
        """kube-proxy's settings on the node; those that all nodes share when ``node`` is ``None``."""
        facts = self.snapshot.node_facts
        if node is not None:
            return facts[node].proxy if node in facts else None
        settings = {f.proxy for f in facts.values()}
        return settings.pop() if len(settings) == 1 else None

    def pod_traffic(self, source: str | None, source_node: str | None, node: str | None) -> bool | None:
        """Whether kube-proxy on ``node`` takes this pod's source address for a pod's.

        This is its detectLocalMode. ``None`` when its settings are not known and the answer hangs on them.
        """
        if source is None:
            return True  # any pod: its address is one of the pod network's
        settings = self.proxy(node)
        if settings is None or not settings.complete:
            return True if node is None or source_node == node else None
        if settings.detect_local == "ClusterCIDR":
            return in_networks(source, settings.cluster_cidrs)
        if settings.detect_local == "NodeCIDR":
            cidrs = self.pod_cidrs.get(node or "", ())
            return in_networks(source, cidrs)
        return source_node == node

    def detects_local(self, node: str | None) -> bool | None:
        """Whether kube-proxy can tell pod traffic at all, so that it masquerades the rest."""
        settings = self.proxy(node)
        if settings is None or not settings.complete:
            return None
        if settings.detect_local == "ClusterCIDR":
            return bool(settings.cluster_cidrs)
        if settings.detect_local == "NodeCIDR":
            return bool(self.pod_cidrs.get(node or ""))
        return True

    @cached_property
    def pod_cidrs(self) -> dict[str, tuple[str, ...]]:
        return {n.metadata.name: n.pod_cidrs for n in self.snapshot.nodes}


def service_addresses(service: Service) -> list[tuple[EntryKind, str, bool]]:
    """The Service's own addresses: entry kind, address, and whether kube-proxy serves it (ipMode)."""
    found = [(EntryKind.CLUSTER_IP, ip, True) for ip in service.cluster_ips]
    found += [(EntryKind.LOAD_BALANCER, i.ip, i.ip_mode != "Proxy") for i in service.ingress_points if i.ip]
    found += [(EntryKind.EXTERNAL_IP, ip, True) for ip in service.spec.external_ips or ()]
    return [(kind, c, proxied) for kind, ip, proxied in found if (c := canonical_or_none(ip)) is not None]
