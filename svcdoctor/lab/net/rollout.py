"""Rolling restarts: what ``kubectl rollout restart`` begins, done to the lab's pods one after the other.

Theory. A pod of a cluster ends in an order that lets nobody notice: it is marked as terminating, its endpoint with it;
its application goes on until no proxy sends it anything new; then it ends, and the pod is gone. The one that takes its
place is there before it is ready. The lab's pods keep their names and addresses, as those of a StatefulSet do.

Specification: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination-flow
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from svcdoctor.lab.net.controller import KINDS
from svcdoctor.lab.net.world import LabPod, Object, pod_object
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import Change, Event, ObjectStore

DRAIN_SECONDS = 0.8
"""From when a pod is terminating until its application ends."""

AWAY_SECONDS = 0.3
"""Until another one is made, until that one's application is started, and until the next one's turn."""

START_SECONDS = 20.0
"""How long an application may take to listen."""

DEPLOYMENTS, PODS = KINDS["Deployment"], KINDS["Pod"]


class Rollouts:
    """Follows the Deployments. ``running`` are the pods that have an application of their own, which ``start`` starts
    and ``stop`` ends."""

    def __init__(
        self,
        store: ObjectStore,
        running: Callable[[], Sequence[LabPod]],
        start: Callable[[LabPod], None],
        stop: Callable[[LabPod], None],
    ) -> None:
        self._store = store
        self._running, self._start, self._stop = running, start, stop

    def follow(self) -> None:
        """Restart pods whenever a template is another one, until the process ends."""
        version = self._store.version
        while True:
            try:
                events = self._store.events_since(version, 1.0)
            except ApiError:  # too many happened at once
                events = []
                version = self._store.version
            for event in events:
                version = event.version
                if event.resource is DEPLOYMENTS and event.change is Change.MODIFIED and _restarted(event):
                    self._roll(event.obj)

    def _roll(self, deployment: Object) -> None:
        selector: Mapping[str, str] = deployment["spec"]["selector"]["matchLabels"]
        namespace, name = deployment["metadata"]["namespace"], deployment["metadata"]["name"]
        pods = [
            p
            for p in self._running()
            if p.namespace == namespace and selector.items() <= dict(p.labels).items()
        ]
        for number, pod in enumerate(pods):
            self._count(namespace, name, number, len(pods) - 1)
            self._restart(pod)
        self._count(namespace, name, len(pods), len(pods))

    def _restart(self, pod: LabPod) -> None:
        held = self._store.get(PODS, pod.namespace, pod.name)
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self._put(held | {"metadata": held["metadata"] | {"deletionTimestamp": now}})
        time.sleep(DRAIN_SECONDS)
        self._stop(pod)
        self._store.delete(PODS, pod.namespace, pod.name)
        time.sleep(AWAY_SECONDS)
        made = pod_object(pod)
        status = made["status"]
        waiting = [c | {"status": "False", "reason": "ContainersNotReady"} for c in status["conditions"]]
        container = [c | {"ready": False} for c in status["containerStatuses"]]
        self._store.create(
            made | {"status": status | {"conditions": waiting, "containerStatuses": container}}
        )
        time.sleep(AWAY_SECONDS)
        self._start(pod)
        _wait(pod)
        self._put(self._store.get(PODS, pod.namespace, pod.name) | {"status": status})
        time.sleep(AWAY_SECONDS)  # until the proxies know it

    def _count(self, namespace: str, name: str, updated: int, ready: int) -> None:
        """The Deployment's status, which ``kubectl rollout status`` goes by."""
        held = self._store.get(DEPLOYMENTS, namespace, name)
        counts = {"updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": ready}
        self._put(held | {"status": held["status"] | counts})

    def _put(self, obj: Object) -> None:
        metadata = {k: v for k, v in obj["metadata"].items() if k != "resourceVersion"}
        self._store.update(obj | {"metadata": metadata})


def _restarted(event: Event) -> bool:
    before = event.previous or event.obj
    return bool(before["spec"]["template"] != event.obj["spec"]["template"])


def _wait(pod: LabPod) -> None:
    """Until the pod's application listens, as a readiness probe would find out."""
    ports = [number for _, number, protocol in pod.ports if protocol == "TCP"]
    until = time.monotonic() + START_SECONDS
    for port in ports:
        while time.monotonic() < until:
            try:
                socket.create_connection((pod.ip4, port), 1.0).close()
                break
            except OSError:
                time.sleep(0.05)
