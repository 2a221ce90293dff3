"""All facts at one moment, immutable, with their indexes.

Theory. A Snapshot holds tuples of objects by kind, what is known of each kind (``facts``), and each node's
facts. Indexes (by name, by address, by label) are built on first use and kept with the Snapshot; building
one is linear in its kind's objects, a look-up is constant. ``get`` answers "give me these objects" with the
objects, or with why they are not here.

What may live here: holding and finding. No judging, no I/O.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from typing import Any, TypeVar, cast

from svcdoctor.model.base import KubeObject
from svcdoctor.model.cluster import Namespace, Node, ServiceCIDR
from svcdoctor.model.endpoints import Endpoints, EndpointSlice
from svcdoctor.model.evidence import Evidence
from svcdoctor.model.facts import EVERYTHING, Kind, Known, Scope, Unknown
from svcdoctor.model.ingress import Ingress
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.model.pod import Pod
from svcdoctor.model.rejection import Rejection
from svcdoctor.model.service import Service
from svcdoctor.model.workload import Workload

T = TypeVar("T", bound=KubeObject)

CONTROL_PLANE = "node-role.kubernetes.io/control-plane"

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)


@lru_cache(maxsize=65536)
def canonical(ip: str) -> str:
    """The one spelling of an IP address. Raises ValueError for what is none."""
    return ip if _IPV4.fullmatch(ip) else str(ipaddress.ip_address(ip))


def canonical_or_none(ip: str) -> str | None:
    """``canonical``, or ``None`` for what is no IP address."""
    try:
        return canonical(ip)
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """The network that ``cidr`` names, host bits ignored; ``None`` when it is not one."""
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None


def in_networks(ip: str, cidrs: Iterable[str]) -> bool:
    """Whether the address lies in one of the networks; families do not mix."""
    address = ipaddress.ip_address(ip)
    return any((n := network(c)) is not None and n.version == address.version and address in n for c in cidrs)


def _answers(fact: Unknown, scope: Scope) -> bool:
    """Whether what is unknown is, or is part of, what was asked for."""
    if scope.covers(fact.scope):
        return True
    return fact.scope.covers(scope) and not (fact.narrower and scope.namespace != fact.scope.namespace)


class Snapshot:
    """Immutable facts at one moment. ``source`` says in words where they come from."""

    def __init__(
        self,
        objects: Mapping[Kind, tuple[KubeObject, ...]],
        facts: Mapping[Kind, tuple[Known | Unknown, ...]],
        nodes: Mapping[str, NodeFacts] | None = None,
        source: str = "",
        would_be: bool = False,
        warnings: tuple[str, ...] = (),
        evidence: Evidence | None = None,
        rejections: Mapping[str, tuple[Rejection, ...]] | None = None,
    ) -> None:
        self._objects = dict(objects)
        self.facts = dict(facts)
        self.node_facts = dict(nodes or {})
        self.source = source
        self.would_be = would_be  # built from manifests: addresses and pods are what would be
        self.warnings = warnings
        self.evidence = evidence  # what real traffic met, where it was asked for
        self.rejections = dict(rejections or {})  # by subject, what the API server refuses of manifests

    def of(self, kind: Kind) -> tuple[Any, ...]:
        """Every held object of ``kind``, complete or not."""
        return self._objects.get(kind, ())

    def knows(self, kind: Kind, scope: Scope = EVERYTHING) -> bool:
        """Whether all objects of ``kind`` within ``scope`` are held."""
        return any(isinstance(f, Known) and f.scope.covers(scope) for f in self.facts.get(kind, ()))

    def why_unknown(self, kind: Kind, scope: Scope = EVERYTHING) -> Unknown | None:
        """Why ``scope`` could not be read, or ``None`` when it is known or was never asked."""
        if self.knows(kind, scope):
            return None
        for fact in self.facts.get(kind, ()):
            if isinstance(fact, Unknown) and _answers(fact, scope):
                return fact
        return None

    # --- by name

    def _by_name(self, kind: Kind) -> dict[tuple[str, str], KubeObject]:
        index = self._name_indexes.get(kind)
        if index is None:
            index = {(o.metadata.namespace, o.metadata.name): o for o in self.of(kind)}
            self._name_indexes[kind] = index
        return index

    @cached_property
    def _name_indexes(self) -> dict[Kind, dict[tuple[str, str], KubeObject]]:
        return {}

    def find(self, kind: Kind, namespace: str, name: str, type_: type[T]) -> T | None:
        """The object of that name, or ``None`` (absent, or not held: see ``knows``)."""
        return cast("T | None", self._by_name(kind).get((namespace, name)))

    def service(self, namespace: str, name: str) -> Service | None:
        return self.find(Kind.SERVICE, namespace, name, Service)

    def pod(self, namespace: str, name: str) -> Pod | None:
        return self.find(Kind.POD, namespace, name, Pod)

    def node(self, name: str) -> Node | None:
        return self.find(Kind.NODE, "", name, Node)

    def ingress(self, namespace: str, name: str) -> Ingress | None:
        return self.find(Kind.INGRESS, namespace, name, Ingress)

    def endpoints(self, namespace: str, name: str) -> Endpoints | None:
        return self.find(Kind.ENDPOINTS, namespace, name, Endpoints)

    def namespace(self, name: str) -> Namespace | None:
        return self.find(Kind.NAMESPACE, "", name, Namespace)

    @property
    def services(self) -> tuple[Service, ...]:
        return self.of(Kind.SERVICE)

    @property
    def pods(self) -> tuple[Pod, ...]:
        return self.of(Kind.POD)

    @property
    def nodes(self) -> tuple[Node, ...]:
        return self.of(Kind.NODE)

    @cached_property
    def _services_by_namespace(self) -> dict[str, list[Service]]:
        index: dict[str, list[Service]] = {}
        for service in self.services:
            index.setdefault(service.namespace, []).append(service)
        return index

    def services_in(self, namespace: str) -> tuple[Service, ...]:
        return tuple(self._services_by_namespace.get(namespace, ()))

    # --- by owner, label, address

    @cached_property
    def _slices(self) -> dict[tuple[str, str], list[EndpointSlice]]:
        index: dict[tuple[str, str], list[EndpointSlice]] = {}
        for s in self.of(Kind.ENDPOINT_SLICE):
            index.setdefault((s.metadata.namespace, s.service_name), []).append(s)
        return index

    def slices(self, namespace: str, service: str) -> tuple[EndpointSlice, ...]:
        """The EndpointSlices labelled with the Service's name, which is what kube-proxy goes by."""
        return tuple(self._slices.get((namespace, service), ()))

    @cached_property
    def _pods_by_label(self) -> dict[tuple[str, str, str], list[Pod]]:
        index: dict[tuple[str, str, str], list[Pod]] = {}
        for pod in self.pods:
            ns = pod.metadata.namespace
            for item in (pod.metadata.labels or {}).items():
                index.setdefault((ns, *item), []).append(pod)
        return index

    @cached_property
    def _pods_by_namespace(self) -> dict[str, list[Pod]]:
        index: dict[str, list[Pod]] = {}
        for pod in self.pods:
            index.setdefault(pod.metadata.namespace, []).append(pod)
        return index

    def pods_in(self, namespace: str) -> tuple[Pod, ...]:
        return tuple(self._pods_by_namespace.get(namespace, ()))

    def select_pods(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods of ``namespace`` that carry every label of ``selector``; none for an empty one."""
        if not selector:
            return ()
        if "_pods_by_label" not in self.__dict__:
            # One question does not pay for an index over every label of every pod.
            self._selections += 1
            if self._selections <= 4:
                pods = self._pods_by_namespace.get(namespace, ())
                return tuple(p for p in pods if selector.items() <= (p.metadata.labels or {}).items())
        lists = [self._pods_by_label.get((namespace, k, v), []) for k, v in selector.items()]
        shortest = min(lists, key=len)
        return tuple(p for p in shortest if selector.items() <= (p.metadata.labels or {}).items())

    _selections = 0

    def select_everywhere(self, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """The pods of all namespaces that carry every label of ``selector``; none for an empty one."""
        if not selector:
            return ()
        shortest = min((self._pods_by_label_alone.get(label, []) for label in selector.items()), key=len)
        return tuple(p for p in shortest if selector.items() <= p.labels.items())

    @cached_property
    def _pods_by_label_alone(self) -> dict[tuple[str, str], list[Pod]]:
        index: dict[tuple[str, str], list[Pod]] = {}
        for pod in self.pods:
            for label in pod.labels.items():
                index.setdefault(label, []).append(pod)
        return index

    @cached_property
    def pods_by_ip(self) -> dict[str, tuple[Pod, ...]]:
        """Pods by each of their addresses, finished ones left out; host-network pods share theirs."""
        index: dict[str, tuple[Pod, ...]] = {}
        for pod in self.pods:
            if pod.finished:
                continue
            for ip in pod.ips:
                key = canonical_or_none(ip)
                if key is not None:
                    index[key] = (*index.get(key, ()), pod)
        return index

    @cached_property
    def nodes_by_ip(self) -> dict[str, str]:
        """Node names by address, from the Node objects and from what was seen on the nodes."""
        index: dict[str, str] = {}
        seen_on: dict[str, set[str]] = {}
        for name, facts in self.node_facts.items():
            for ip in facts.addresses or ():
                seen_on.setdefault(ip, set()).add(name)
        for ip, names in seen_on.items():
            address = ipaddress.ip_address(ip)
            if len(names) == 1 and not address.is_loopback and not address.is_link_local:
                index[ip] = next(iter(names))
        for node in self.nodes:
            for address_text in node.addresses():
                key = canonical_or_none(address_text)
                if key is not None:
                    index[key] = node.metadata.name
        return index

    @cached_property
    def node_names(self) -> tuple[str, ...]:
        """Every node known by its object or by its facts, sorted."""
        return tuple(sorted({n.metadata.name for n in self.nodes} | set(self.node_facts)))

    @cached_property
    def nodes_by_zone(self) -> dict[str, tuple[Node, ...]]:
        """Ready nodes by their zone, ``""`` for those without one; control-plane nodes, which run few pods, are not."""
        index: dict[str, list[Node]] = {}
        for node in self.nodes:
            if node.ready and CONTROL_PLANE not in node.labels:
                index.setdefault(node.zone, []).append(node)
        return {zone: tuple(nodes) for zone, nodes in index.items()}

    @cached_property
    def service_cidrs(self) -> tuple[str, ...]:
        """The Service ranges, from ServiceCIDR objects (Kubernetes 1.33 and later)."""
        found: list[ServiceCIDR] = list(self.of(Kind.SERVICE_CIDR))
        return tuple(c for s in found for c in s.spec.cidrs or ())

    @cached_property
    def _services_by_label(self) -> dict[tuple[str, str, str], list[Service]]:
        """Services under one pair of their selector, which every pod that they select carries."""
        index: dict[tuple[str, str, str], list[Service]] = {}
        for service in self.services:
            if service.spec.selector:
                first = next(iter(service.spec.selector.items()))
                index.setdefault((service.namespace, *first), []).append(service)
        return index

    def services_of(self, pod: Pod) -> tuple[Service, ...]:
        """The Services whose selector matches the pod."""
        labels = pod.labels
        return tuple(
            service
            for pair in labels.items()
            for service in self._services_by_label.get((pod.namespace, *pair), ())
            if (service.spec.selector or {}).items() <= labels.items()
        )

    def workloads(self, kinds: Iterable[Kind]) -> tuple[Workload, ...]:
        return tuple(w for k in kinds for w in self.of(k))

    def merged(
        self,
        objects: Mapping[Kind, Iterable[KubeObject]],
        facts: Mapping[Kind, Iterable[Known | Unknown]],
    ) -> Snapshot:
        """A new Snapshot that also holds ``objects`` (newer ones replace older) and knows ``facts``."""
        all_objects = dict(self._objects)
        for kind, new in objects.items():
            by_name = {(o.metadata.namespace, o.metadata.name): o for o in all_objects.get(kind, ())}
            by_name.update({(o.metadata.namespace, o.metadata.name): o for o in new})
            all_objects[kind] = tuple(by_name.values())
        all_facts = dict(self.facts)
        for kind, more in facts.items():
            all_facts[kind] = (*all_facts.get(kind, ()), *more)
        return self._with(all_objects, all_facts, self.node_facts, self.warnings, self.evidence)

    def with_nodes(self, nodes: Mapping[str, NodeFacts], warnings: tuple[str, ...] = ()) -> Snapshot:
        """A new Snapshot that also holds facts of these nodes, newer ones in the place of older."""
        facts = self.node_facts | dict(nodes)
        said = (*self.warnings, *warnings)
        return self._with(self._objects, self.facts, facts, said, self.evidence)

    def with_evidence(self, evidence: Evidence) -> Snapshot:
        """A new Snapshot that also holds what real traffic met."""
        return self._with(self._objects, self.facts, self.node_facts, self.warnings, evidence)

    def _with(
        self,
        objects: Mapping[Kind, tuple[KubeObject, ...]],
        facts: Mapping[Kind, tuple[Known | Unknown, ...]],
        nodes: Mapping[str, NodeFacts],
        warnings: tuple[str, ...],
        evidence: Evidence | None,
    ) -> Snapshot:
        return Snapshot(
            objects, facts, nodes, self.source, self.would_be, warnings, evidence, self.rejections
        )
