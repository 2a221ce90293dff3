"""Whether the controllers have carried out what a workload's manifest says, as ``kubectl rollout status`` tells it.

Until then a Service's endpoints may still be pods of the template before.

Specification: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#deployment-status
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.cluster.selectors import matches_labels
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.workload import Workload

ROLLED_OUT = (Kind.DEPLOYMENT, Kind.STATEFUL_SET, Kind.DAEMON_SET)
"""The workloads that replace their pods when their template changes."""


def unfinished(snapshot: Snapshot, service: Service) -> Iterator[str]:
    """What is not carried out yet of each workload that makes the Service's pods, in words."""
    selector = service.spec.selector
    for workload in snapshot.workloads(ROLLED_OUT) if selector else ():
        if workload.namespace == service.namespace and matches_labels(
            selector or {}, workload.template_labels
        ):
            words = _unfinished(workload)
            if words:
                yield f"{workload.kind.lower()}/{workload.name}: {words}"


def _unfinished(workload: Workload) -> str:
    """Empty where all is done, and where the object does not say."""
    generation, status = workload.metadata.generation, workload.status
    if generation is None or status.observed_generation is None:
        return ""
    if status.observed_generation < generation:
        return "its controller has not seen the newest change yet"
    strategy = workload.spec.update_strategy
    if strategy is not None and strategy.type == "OnDelete":
        return ""  # pods are replaced when somebody deletes them
    if workload.kind == "DaemonSet":
        wanted, updated = status.desired_number_scheduled or 0, status.updated_number_scheduled or 0
    else:
        rolling = strategy.rolling_update if strategy is not None else None
        kept = rolling.partition or 0 if rolling is not None else 0
        replicas = 1 if workload.spec.replicas is None else workload.spec.replicas
        wanted, updated = max(0, replicas - kept), status.updated_replicas or 0
    if updated < wanted:
        paused = "; it is paused" if workload.spec.paused else ""
        return f"{updated} of {wanted} pods are of its newest template{paused}"
    old = (status.replicas or 0) - updated if workload.kind == "Deployment" else 0
    return f"pods of an older template are still there ({old})" if old > 0 else ""
