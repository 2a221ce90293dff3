"""What stands in the kubelets' place: who runs pods, executes commands in them, reaches
their ports and keeps their logs.

The API server itself only keeps objects. A lab that has something behind them hands the server a `PodRuntime`:

    class Namespaces(PodRuntime):
        def created(self, pod):
            return running(pod)

        def execute(self, call):
            return run_process(call, ["ip", "netns", "exec", self.of(call.pod), *call.arguments])

    with ApiServer(store, runtime=Namespaces()) as server: ...

Specification: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from svcdoctor.lab.podsandbox import Sandbox
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import Change, ObjectStore

CHUNK = 32 << 10
"""Bytes of one message of output, as the real servers send it."""

_QUEUED = 64  # chunks that wait for a client that reads slowly


class NotStarted(Exception):
    """A command could not be started; the text is what a container runtime says of it."""


@dataclass(frozen=True, slots=True)
class Written:
    """Some output of a command: channel 1 is stdout, 2 is stderr."""

    channel: int
    data: bytes


@dataclass(eq=False)
class Call:
    """One command that somebody wants executed, with its three streams.

    `gone` is set when the client went away: whoever executes ends the command then.
    """

    namespace: str
    pod: str
    container: str
    arguments: tuple[str, ...]
    gone: threading.Event = field(default_factory=threading.Event)
    output: queue.Queue[Written] = field(default_factory=lambda: queue.Queue(_QUEUED))
    input: queue.Queue[bytes] = field(default_factory=lambda: queue.Queue(_QUEUED))
    """What the client sends, piece by piece; an empty piece is its end."""

    def stdout(self, data: bytes) -> None:
        """Sends output; waits while the client is slow. Raises ConnectionAbortedError when it is gone."""
        self._write(1, data)

    def stderr(self, data: bytes) -> None:
        """Like `stdout`, for the other stream."""
        self._write(2, data)

    def _write(self, channel: int, data: bytes) -> None:
        for start in range(0, len(data), CHUNK):
            piece = Written(channel, data[start : start + CHUNK])
            while True:
                if self.gone.is_set():
                    raise ConnectionAbortedError
                with contextlib.suppress(queue.Full):
                    self.output.put(piece, timeout=0.1)
                    break


class PodRuntime:
    """Runs nothing and knows of no logs: a lab overrides what it can do. Called from several threads."""

    def created(self, pod: Object) -> Object | None:
        """Told of each pod that is created while the server runs; returns the pod's `status`, or None to leave
        it as it is. Later changes are made with `set_status`."""
        return None

    def deleted(self, pod: Object) -> None:
        """Told of each pod that is deleted while the server runs."""

    def execute(self, call: Call) -> int:
        """Executes a command and returns its exit code. Raises NotStarted, or ConnectionAbortedError to cut the
        client's connection without a word."""
        raise NotStarted("no runtime is behind this pod")

    def log(self, namespace: str, pod: str, container: str) -> bytes:
        """What the container wrote until now."""
        return b""

    def sandbox(self, namespace: str, pod: str) -> Sandbox | None:
        """The network of a running pod, for port-forward; None where there is none to be found."""
        return None


def running(pod: Object) -> Object:
    """The status of a pod whose containers all run."""
    return status_of(pod, {c["name"]: {"running": {"startedAt": now()}} for c in pod["spec"]["containers"]})


def status_of(pod: Object, states: Mapping[str, Object]) -> Object:
    """The status of a pod whose containers are in these states (`ContainerState` objects), by their names."""
    images = {c["name"]: c.get("image", "") for c in pod["spec"]["containers"]}
    up = [name for name, state in states.items() if "running" in state]
    waiting = [name for name, state in states.items() if "waiting" in state]
    phase = "Running" if up else "Pending" if waiting else "Failed"
    ready = "True" if len(up) == len(states) else "False"
    return {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": now()}],
        "startTime": now(),
        "containerStatuses": [
            {
                "name": name,
                "image": images.get(name, ""),
                "imageID": "",
                "ready": "running" in state,
                "restartCount": 0,
                "state": state,
            }
            for name, state in states.items()
        ],
    }


def set_status(store: ObjectStore, namespace: str, name: str, status: Object) -> None:
    """Writes the status of a pod, if the pod is still there."""
    with contextlib.suppress(ApiError):
        pod = store.get(PODS, namespace, name)
        unversioned = {k: v for k, v in pod["metadata"].items() if k != "resourceVersion"}
        store.update(pod | {"metadata": unversioned, "status": status})


def now() -> str:
    """The time as objects write it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class PodFollower:
    """Tells a runtime of the pods that come and go, on a thread of its own, from `start` to `stop`."""

    def __init__(self, store: ObjectStore, runtime: PodRuntime) -> None:
        self._store = store
        self._runtime = runtime
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="lab-pods", daemon=True)
        self._version = store.version

    def start(self) -> None:
        """Tell of everything that happens from now on."""
        self._version = self._store.version
        self._thread.start()

    def stop(self) -> None:
        """Wait until the runtime has returned from what it was told last."""
        self._stopping.set()
        self._store.wake()
        self._thread.join()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                events = self._store.events_since(self._version, 1.0)
            except ApiError:
                # The history was forgotten (or compacted by a test): go on with what happens from now on.
                self._version = self._store.version
                continue
            for event in events:
                self._version = event.version
                if event.resource != PODS:
                    continue
                if event.change is Change.ADDED:
                    status = self._runtime.created(event.obj)
                    if status is not None:
                        set_status(self._store, *event.key, status)
                elif event.change is Change.DELETED:
                    self._runtime.deleted(event.obj)
