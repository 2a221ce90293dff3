"""Which Services of manifests are ordinary in every respect, so that tracing them could find nothing.

The same one-sided rule as in ``ordinary``, for the would-be cluster: pods are Ready there and slices are right by
construction, so what is left is whether one workload's template fits the Service exactly, and whether anything else
in the manifests is about the Service or its pods. Whatever is not listed here sends it to the full trace.
"""

from __future__ import annotations

from functools import cached_property

from svcdoctor.checks.ordinary import Ordinary
from svcdoctor.checks.plugins import PACKAGES
from svcdoctor.cluster.wouldbe import is_placeholder
from svcdoctor.dataplane.policy import selects
from svcdoctor.model.facts import WORKLOADS, Kind
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.service import Service

# What may stand beside a Service without being about it; an object of another kind sends every Service to the trace.
_BESIDE = frozenset(
    {
        *WORKLOADS,
        Kind.SERVICE,
        Kind.ENDPOINT_SLICE,
        Kind.POD,
        Kind.NAMESPACE,
        Kind.INGRESS,
        Kind.INGRESS_CLASS,
        Kind.NETWORK_POLICY,
        Kind.HTTP_ROUTE,
    }
)
# Settings of a pod that some check looks at (as JSON's keys), and hints that it is bound to its own host.
_SETTINGS = (
    b'"hostport"',
    b'"hostnetwork"',
    b'"hostname"',
    b'"subdomain"',
    b'"readinessgates"',
    b'"dnspolicy"',
    b'"dnsconfig"',
    b'"initcontainers"',
    b'"nodename"',
    b"ports=",
    b"127.",
    b"localhost",
    b"::1",
)


class OrdinaryManifests(Ordinary):
    """Tells ordinary Services of a would-be cluster."""

    def __call__(self, service: Service) -> bool:
        """Whether nothing of the Service is worth a trace."""
        return (
            self._possible
            and bool(service.name)
            and service.type == "ClusterIP"
            and (service.namespace, service.name) not in self._led_to
            and f"Service/{service.namespace}/{service.name}" not in self.snapshot.rejections
            and self._plain(service)
            and len(service.cluster_ips) == 1
            and is_placeholder(service.cluster_ips[0])
            and self._served(service)
        )

    @cached_property
    def _possible(self) -> bool:
        s = self.snapshot
        return (
            s.would_be
            and not (PACKAGES or s.node_facts or s.evidence or self.world.overlaps or self.world.controllers)
            and not any(s.of(kind) for kind in Kind if kind not in _BESIDE)
        )

    @cached_property
    def _shared_pods(self) -> frozenset[tuple[str, str]]:
        """The names of pods that more than one Service selects, or that more than one workload makes."""
        once: set[tuple[str, str]] = set()
        twice: set[tuple[str, str]] = set()
        for pod in self.snapshot.pods:
            key = pod.namespace, pod.name
            (twice if key in once else once).add(key)
        once.clear()
        for service in self.snapshot.services:
            for pod in self.snapshot.select_pods(service.namespace, service.spec.selector or {}):
                key = pod.namespace, pod.name
                (twice if key in once else once).add(key)
        return frozenset(twice)

    def _served(self, service: Service) -> bool:
        """Whether one workload makes all pods, and its template and the slice fit the Service exactly."""
        pods = self.snapshot.select_pods(service.namespace, service.spec.selector or {})
        if not pods or any((p.namespace, p.name) in self._shared_pods for p in pods):
            return False
        owners = {(o.kind, o.name) if (o := p.metadata.owner) else None for p in pods}
        owner = next(iter(owners))
        if len(owners) > 1 or owner is None or not owner[1]:
            return False
        if "/".join((owner[0], service.namespace, owner[1])) in self.snapshot.rejections:
            return False
        slices = self.snapshot.slices(service.namespace, service.name)
        if len(slices) != 1 or slices[0].name != f"{service.name}-ipv4-0":
            return False
        if any(
            selects(p.spec.pod_selector, pods[0].labels) or _also_egress(p) for p in self._policies(service)
        ):
            return False
        return self._fits(service, pods[0])

    def _policies(self, service: Service) -> tuple[NetworkPolicy, ...]:
        return self.world.policies.get(service.namespace, ())

    def _fits(self, service: Service, pod: Pod) -> bool:
        """Whether the Service leads to every port that the pod declares, and to nothing else."""
        folded = bytes(pod.raw_spec).lower()
        if any(word in folded for word in _SETTINGS):
            return False
        declared = [p for c in pod.serving_containers for p in c.ports or ()]
        left = set(range(len(declared)))
        for port in service.ports:
            fitting = [i for i, d in enumerate(declared) if port.target in (d.container_port, d.name)]
            if len(fitting) != 1 or declared[fitting[0]].protocol != port.protocol or fitting[0] not in left:
                return False
            left.remove(fitting[0])
        known = {p.container_port for p in declared} | {p.name for p in declared}
        probes = (c.readiness_probe for c in pod.serving_containers)
        return not left and all(p is None or p.port is None or p.port in known for p in probes)


def _also_egress(policy: NetworkPolicy) -> bool:
    return bool(policy.spec.egress) or "Egress" in (policy.spec.policy_types or ())
