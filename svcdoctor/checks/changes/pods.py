"""What differs of the pods that a Service selects: gone, new, made anew, restarted, not Ready any more."""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.checks.changes.fields import Difference, differences
from svcdoctor.checks.readiness import trouble
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot

Pair = tuple[Pod | None, Pod | None]


def selected_pods(before: Snapshot, after: Snapshot, old: Service | None, new: Service | None) -> list[Pair]:
    """Every pod that the Service selects in either snapshot, as it is in both."""
    found: dict[tuple[str, str], None] = {}
    for snapshot, service in ((before, old), (after, new)):
        if service is not None and service.type != "ExternalName":
            pods = snapshot.select_pods(service.namespace, service.spec.selector or {})
            found |= dict.fromkeys((p.namespace, p.name) for p in pods)
    return [(before.pod(*name), after.pod(*name)) for name in found]


def pod_differences(before: Pod | None, after: Pod | None) -> Iterator[Difference]:
    """What differs of one pod."""
    if before is None or after is None:
        yield "", _words(before), _words(after)
        return
    # Most pods of two snapshots are the same byte for byte, and need not be decoded to see that.
    same = bytes(before.raw_status) == bytes(after.raw_status) and before.metadata == after.metadata
    if same and bytes(before.raw_spec) == bytes(after.raw_spec):
        return
    if before.metadata.uid != after.metadata.uid:
        yield (
            "",
            f"{_words(before)} (uid {before.metadata.uid})",
            f"{_words(after)} (uid {after.metadata.uid})",
        )
    yield from differences(_facts(before), _facts(after))


def _words(pod: Pod | None) -> str | None:
    """Whether it runs, and where; ``None`` for no pod."""
    if pod is None:
        return None
    return f"{_state(pod)}{f' on {pod.spec.node_name}' if pod.spec.node_name else ''}"


def _state(pod: Pod) -> str:
    if pod.terminating:
        return "terminating"
    return trouble(pod) or (f"{pod.status.phase or 'Running'}, {'Ready' if pod.ready else 'not Ready'}")


def _facts(pod: Pod) -> dict[str, str]:
    found = {"state": _state(pod), "addresses": ", ".join(pod.ips), "node": pod.spec.node_name}
    found |= {f"metadata.labels['{k}']": v for k, v in pod.labels.items()}
    ports = [
        f"{p.name + ' ' if p.name else ''}{p.container_port}/{p.protocol}"
        for c in pod.serving_containers
        for p in c.ports or ()
    ]
    found["containerPorts"] = ", ".join(ports)
    for status in (pod.status.init_container_statuses or ()) + (pod.status.container_statuses or ()):
        last = status.last_state.terminated
        why = f" (last ended with exit code {last.exit_code}, {last.reason})" if last is not None else ""
        found[f"restarts of container {status.name}"] = f"{status.restart_count}{why}"
    return {name: text for name, text in found.items() if text}
