"""The columns of pods and of what makes them: deployments, sets, jobs.

Specification: the output of `kubectl get -o wide`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from svcdoctor.lab.resources import Object
from svcdoctor.lab.tables import (
    NONE,
    Column,
    Printer,
    age,
    columns,
    human_duration,
    labels_text,
    name_of,
    selector_text,
    since,
    spec_of,
    status_of,
)

_TEMPLATE = ("Containers*", "Images*", "Selector*")


def _true_conditions(obj: Object) -> set[str]:
    return {c.get("type", "") for c in status_of(obj).get("conditions") or [] if c.get("status") == "True"}


def _pod_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    inits = {c.get("name"): c.get("restartPolicy") == "Always" for c in spec.get("initContainers") or []}
    reason, initializing, sidecars = _init_progress(status.get("initContainerStatuses") or [], inits)
    counted = status.get("initContainerStatuses") or []
    reason = reason or _phase(obj)
    ready = sidecars
    if not initializing or "Initialized" in _true_conditions(obj):
        containers = status.get("containerStatuses") or []
        reason, running = _container_progress(containers, reason, obj)
        ready += running
        counted = [c for c in counted if inits.get(c.get("name"))] + containers
    if obj["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    total = len(spec.get("containers") or []) + sum(inits.values())
    addresses = status.get("podIPs") or [{"ip": status.get("podIP", "")}]
    return [
        name_of(obj),
        f"{ready}/{total}",
        reason,
        _restarts(counted, now),
        age(obj, now),
        addresses[0].get("ip") or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _readiness_gates(obj),
    ]


def _phase(obj: Object) -> str:
    for condition in status_of(obj).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(status_of(obj).get("reason") or status_of(obj).get("phase", ""))


def _init_progress(statuses: list[Object], inits: Mapping[Any, bool]) -> tuple[str, bool, int]:
    """The first init container that is not done: what it waits for, and how many sidecars are ready."""
    sidecars = 0
    for position, container in enumerate(statuses):
        state = container.get("state") or {}
        ended, waiting = state.get("terminated"), state.get("waiting") or {}
        if ended is not None and ended.get("exitCode", 0) == 0:
            continue
        if inits.get(container.get("name")) and container.get("started"):
            sidecars += bool(container.get("ready"))
            continue
        if ended is not None:
            return f"Init:{_end_reason(ended)}", True, sidecars
        if waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}", True, sidecars
        return f"Init:{position}/{len(inits)}", True, sidecars
    return "", False, sidecars


def _container_progress(containers: list[Object], reason: str, obj: Object) -> tuple[str, int]:
    """What the containers say about the pod (the first one has the last word), and how many are ready."""
    ready = 0
    for container in reversed(containers):
        state = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            reason = waiting
        elif state.get("terminated") is not None:
            reason = _end_reason(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            ready += 1
    if reason == "Completed" and ready:
        reason = "Running" if "Ready" in _true_conditions(obj) else "NotReady"
    return reason, ready


def _end_reason(ended: Object) -> str:
    if ended.get("reason"):
        return str(ended["reason"])
    return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"


def _restarts(containers: list[Object], now: datetime) -> str:
    count = sum(container.get("restartCount", 0) for container in containers)
    ends = [((c.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for c in containers]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({since(last, now)} ago)" if count and last else str(count)


def _readiness_gates(obj: Object) -> str:
    gates = spec_of(obj).get("readinessGates") or []
    if not gates:
        return NONE
    met = _true_conditions(obj)
    return f"{sum(gate.get('conditionType') in met for gate in gates)}/{len(gates)}"


def _pod_conditions(obj: Object) -> list[Object]:
    messages = {"Succeeded": "The pod has completed successfully.", "Failed": "The pod failed."}
    phase = status_of(obj).get("phase", "")
    if phase not in messages:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": messages[phase]}]


def _template_cells(obj: Object) -> list[str]:
    """Names and images of the pod template's containers."""
    containers = spec_of(spec_of(obj).get("template") or {}).get("containers") or []
    return [",".join(c.get(part, "") for c in containers) for part in ("name", "image")]


def _deployment_cells(obj: Object, now: datetime) -> list[Any]:
    status = status_of(obj)
    return [
        name_of(obj),
        f"{status.get('readyReplicas', 0)}/{spec_of(obj).get('replicas', 1)}",
        str(status.get("updatedReplicas", 0)),
        str(status.get("availableReplicas", 0)),
        age(obj, now),
        *_template_cells(obj),
        selector_text(spec_of(obj).get("selector")),
    ]


def _stateful_set_cells(obj: Object, now: datetime) -> list[Any]:
    ready = f"{status_of(obj).get('readyReplicas', 0)}/{spec_of(obj).get('replicas', 1)}"
    return [name_of(obj), ready, age(obj, now), *_template_cells(obj)]


def _replica_cells(selector: Callable[[Any], str]) -> Callable[[Object, datetime], list[Any]]:
    def cells(obj: Object, now: datetime) -> list[Any]:
        status, spec = status_of(obj), spec_of(obj)
        counts = [spec.get("replicas", 1), status.get("replicas", 0), status.get("readyReplicas", 0)]
        return [name_of(obj), *counts, age(obj, now), *_template_cells(obj), selector(spec.get("selector"))]

    return cells


def _daemon_set_cells(obj: Object, now: datetime) -> list[Any]:
    status, spec = status_of(obj), spec_of(obj)
    counts = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    node_selector = spec_of(spec.get("template") or {}).get("nodeSelector")
    return [
        name_of(obj),
        *(status.get(count, 0) for count in counts),
        labels_text(node_selector),
        age(obj, now),
        *_template_cells(obj),
        selector_text(spec.get("selector")),
    ]


def _job_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    wanted: Any = spec.get("completions")
    if wanted is None:
        wanted = f"1 of {spec['parallelism']}" if spec.get("parallelism", 0) > 1 else "1"
    duration = ""
    if status.get("startTime"):
        end = status.get("completionTime")
        finished = datetime.fromisoformat(end) if end else now
        duration = human_duration(finished - datetime.fromisoformat(status["startTime"]))
    return [
        name_of(obj),
        _job_state(obj),
        f"{status.get('succeeded', 0)}/{wanted}",
        duration,
        age(obj, now),
        *_template_cells(obj),
        selector_text(spec.get("selector")),
    ]


def _job_state(obj: Object) -> str:
    met = _true_conditions(obj)
    for state in ("Complete", "Failed"):
        if state in met:
            return state
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return next((state for state in ("Suspended", "FailureTarget") if state in met), "Running")


def _cron_job_cells(obj: Object, now: datetime) -> list[Any]:
    spec, status = spec_of(obj), status_of(obj)
    last = status.get("lastScheduleTime")
    job = spec.get("jobTemplate") or {}
    return [
        name_of(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or NONE,
        str(spec.get("suspend", False)),
        len(status.get("active") or []),
        since(last, now) if last else NONE,
        age(obj, now),
        *_template_cells(job),
        selector_text(spec_of(job).get("selector")),
    ]


_REPLICA_COLUMNS = columns("Name", "Desired#", "Current#", "Ready#", "Age", *_TEMPLATE)

PRINTERS: Mapping[str, Printer] = {
    "pods": Printer(
        columns(
            "Name",
            "Ready",
            "Status",
            "Restarts",
            "Age",
            "IP*",
            "Node*",
            "Nominated Node*",
            "Readiness Gates*",
        ),
        _pod_cells,
        _pod_conditions,
    ),
    "replicationcontrollers": Printer(_REPLICA_COLUMNS, _replica_cells(labels_text)),
    "replicasets.apps": Printer(_REPLICA_COLUMNS, _replica_cells(selector_text)),
    "deployments.apps": Printer(
        columns("Name", "Ready", "Up-to-date", "Available", "Age", *_TEMPLATE), _deployment_cells
    ),
    "statefulsets.apps": Printer(
        columns("Name", "Ready", "Age", "Containers*", "Images*"), _stateful_set_cells
    ),
    "daemonsets.apps": Printer(
        columns(
            "Name",
            "Desired#",
            "Current#",
            "Ready#",
            "Up-to-date#",
            "Available#",
            "Node Selector",
            "Age",
            *_TEMPLATE,
        ),
        _daemon_set_cells,
    ),
    "jobs.batch": Printer(
        columns("Name", "Status", "Completions", "Duration", "Age", *_TEMPLATE), _job_cells
    ),
    "cronjobs.batch": Printer(
        (
            *columns("Name", "Schedule", "Timezone"),
            Column("Suspend", "boolean"),
            *columns("Active#", "Last Schedule", "Age", *_TEMPLATE),
        ),
        _cron_job_cells,
    ),
}
