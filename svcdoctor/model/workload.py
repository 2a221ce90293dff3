"""The workloads that make pods: Deployment and its kin."""

from __future__ import annotations

from typing import Any

from svcdoctor.model.base import AnnotatedMeta, Base, KubeObject, Labels, Meta
from svcdoctor.model.pod import PodSpec


class PodTemplate(Base, frozen=True):
    metadata: Meta = Meta()
    spec: PodSpec = PodSpec()


class RollingUpdate(Base, frozen=True):
    partition: int | None = None  # a StatefulSet's: the pods below this ordinal stay as they are


class UpdateStrategy(Base, frozen=True):
    type: str = ""
    rolling_update: RollingUpdate | None = None


class WorkloadMeta(AnnotatedMeta, frozen=True):
    generation: int | None = None


class WorkloadSpec(Base, frozen=True):
    replicas: int | None = None
    selector: dict[str, Any] | None = None
    template: PodTemplate | None = None
    paused: bool = False
    update_strategy: UpdateStrategy | None = None


class WorkloadStatus(Base, frozen=True):
    """``updated_replicas`` are those of the newest template; a DaemonSet counts under names of its own."""

    replicas: int | None = None
    ready_replicas: int | None = None
    observed_generation: int | None = None
    updated_replicas: int | None = None
    desired_number_scheduled: int | None = None
    updated_number_scheduled: int | None = None


class Workload(KubeObject, frozen=True):
    """Deployment, ReplicaSet, StatefulSet, DaemonSet, Job or ReplicationController."""

    metadata: WorkloadMeta = WorkloadMeta()
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
