"""The workloads that make pods: Deployment and its kin."""

from __future__ import annotations

from typing import Any

from svcdoctor.model.base import Base, KubeObject, Labels, Meta
from svcdoctor.model.pod import PodSpec


class PodTemplate(Base, frozen=True):
    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()


class WorkloadSpec(Base, frozen=True):
    replicas: int | None = None
    selector: dict[str, Any] | None = None
    template: PodTemplate | None = None


class WorkloadStatus(Base, frozen=True):
    replicas: int | None = None
    ready_replicas: int | None = None


class Workload(KubeObject, frozen=True):
    """Deployment, ReplicaSet, StatefulSet, DaemonSet, Job or ReplicationController."""

    spec: WorkloadSpec = WorkloadSpec()
    status: WorkloadStatus = WorkloadStatus()

    @property
    def match_labels(self) -> Labels:
        """The selector's equality part; a ReplicationController's selector is a plain map."""
        selector = self.spec.selector or {}
        if self.kind != "ReplicationController":
            selector = selector.get("matchLabels") or {}
        return {str(k): str(v) for k, v in selector.items()}

    @property
    def template_labels(self) -> Labels:
        return (self.spec.template.metadata.labels or {}) if self.spec.template else {}

    @property
    def scaled_to_zero(self) -> bool:
        return self.spec.replicas == 0 and self.kind not in ("DaemonSet", "Job")
