"""Cluster DNS names and the Services that they mean (Kubernetes DNS specification 1.1.0)."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot, canonical_or_none

DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class ClusterName:
    """A name of the cluster's: ``[host.]service.namespace``, or a pod's address as a name."""

    service: str
    namespace: str
    host: str | None = None
    pod_ip: str | None = None

    @property
    def fqdn(self) -> str:
        if self.pod_ip is not None:
            return f"{self.host}.{self.namespace}.pod.{DOMAIN}"
        prefix = f"{self.host}." if self.host else ""
        return f"{prefix}{self.service}.{self.namespace}.svc.{DOMAIN}"


def full_name(service: Service) -> str:
    return f"{service.name}.{service.namespace}.svc.{DOMAIN}"


def candidates(name: str, namespace: str) -> tuple[ClusterName, ...]:
    """What a name may mean for a pod in ``namespace``, in the order of its search list.

    ``web``, ``web.shop``, ``web.shop.svc``, ``web.shop.svc.cluster.local``, with a pod's hostname in front
    for headless Services. Empty for a name that no search list leads into the cluster.
    """
    labels = name.rstrip(".").lower().split(".")
    domain = DOMAIN.split(".")
    full = labels[-len(domain) :] == domain
    if full:
        labels = labels[: -len(domain)]
    if labels and labels[-1] == "pod" and len(labels) == 3:
        ip = canonical_or_none(labels[0].replace("-", ".")) or canonical_or_none(labels[0].replace("-", ":"))
        return (ClusterName("", labels[1], labels[0], ip),) if ip else ()
    if labels and labels[-1] == "svc":
        return _service_name(labels[:-1])
    if full or not labels:
        return ()
    found: list[ClusterName] = []
    if len(labels) <= 2:
        found += _service_name([*labels, namespace])
    if len(labels) in (2, 3):
        found += _service_name(labels)
    return tuple(found)


def _service_name(labels: list[str]) -> tuple[ClusterName, ...]:
    if len(labels) == 2:
        return (ClusterName(labels[0], labels[1]),)
    if len(labels) == 3:
        return (ClusterName(labels[1], labels[2], labels[0]),)
    return ()


def resolve(snapshot: Snapshot, name: str, namespace: str) -> ClusterName | None:
    """The first candidate that exists; else the likeliest one, ``None`` for an outside name.

    Three labels (``www.example.org``) are an outside name unless they name an existing Service's pod.
    """
    found = candidates(name, namespace)
    for candidate in found:
        if candidate.pod_ip is not None or snapshot.service(candidate.namespace, candidate.service):
            return candidate
    named = next((c for c in found if c.host is None), None)
    inside = f"{name.rstrip('.')}.".endswith((".svc.", f".{DOMAIN}."))
    return named or (found[0] if found and inside else None)
