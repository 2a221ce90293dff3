"""Facts of nodes out of short-lived pods, which are deleted whatever happens.

Theory. The name of a pod is chosen before it is asked for, and noted; the thread that made a pod deletes it as
soon as it has what it wants. Whoever uses ``NodePods`` as a context gets every noted pod deleted at its end, on
an error or an interruption too. What even that leaves behind ends by itself after two minutes, and
``svcdoctor cleanup`` finds it by its labels.
"""

from __future__ import annotations

import secrets
import threading
import time
from types import TracebackType
from urllib.parse import quote

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import NodeFacts
from svcdoctor.model.pod import PodStatus
from svcdoctor.sources.collecting import Limits, collect, nothing_known
from svcdoctor.sources.execnode import runner
from svcdoctor.sources.grants import subject_of
from svcdoctor.sources.podexec import Container, Streams
from svcdoctor.sources.podmanifest import KEEPERS, manifest
from svcdoctor.sources.session import ApiSession, Response, message_of

START_SECONDS = 40.0
"""How long a pod may take to start: time to pull an image, with enough left of its two minutes."""

_POLL = 0.25  # seconds
_HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})


class _NotStarted(Exception):
    """A pod that nothing can be run in, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Pod(msgspec.Struct):
    status: PodStatus = PodStatus()


class NodePods:
    """Makes the pods of one run, one a node, and deletes them."""

    def __init__(self, session: ApiSession, namespace: str, limits: Limits, streams: Streams) -> None:
        self.namespace = namespace
        self._session = session
        self._limits = limits
        self._streams = streams
        self._run = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._noted: set[str] = set()
        self._count = 0
        self._refusal = ""

    def __enter__(self) -> NodePods:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name in self.left:
            self._delete(name)

    @property
    def left(self) -> tuple[str, ...]:
        """Names of the pods that are not deleted, or not yet."""
        with self._lock:
            return tuple(self._noted)

    def facts(self, node: str, image: str) -> NodeFacts:
        """The facts of a node, out of a pod that is made for them and deleted after it."""
        if self._refusal:
            return nothing_known(node, self._refusal)
        name = self._note()
        try:
            container = Container(self.namespace, name, self._started(name, node, image))
            return collect(node, runner(self._session, container, self._streams), self._limits)
        except _NotStarted as e:
            return nothing_known(node, e.reason)
        finally:
            self._delete(name)

    def _note(self) -> str:
        with self._lock:
            if self._streams.ended.is_set():
                raise SvcdoctorError("interrupted", 3)
            self._count += 1
            name = f"svcdoctor-node-facts-{self._run}-{self._count}"
            self._noted.add(name)
            return name

    def _started(self, name: str, node: str, image: str) -> str:
        """Creates the pod and waits for it; returns the container that runs."""
        body = msgspec.json.encode(manifest(name, self.namespace, node, image))
        answer = self._session.create(self._path(), body)
        if answer.status not in (200, 201, 202):
            raise self._refused(answer)
        end = time.monotonic() + START_SECONDS
        status = PodStatus()
        while time.monotonic() < end:
            status = self._status(name)
            running = {c.name for c in status.container_statuses or () if c.state.running}
            found = next((keeper for keeper in KEEPERS if keeper in running), None)
            if found is not None:
                return found
            if _is_over(status):
                raise _NotStarted(f"the pod on this node does not run: {_why(status)}")
            if self._streams.ended.wait(_POLL):
                raise _NotStarted("interrupted")
        raise _NotStarted(
            f"the pod on this node did not start within {START_SECONDS:.0f} s: {_why(status)}; see whether its "
            "kubelet and container runtime work"
        )

    def _status(self, name: str) -> PodStatus:
        answer = self._session.get(self._path(name))
        if answer.status != 200:
            raise _NotStarted(f"the pod on this node cannot be watched: {message_of(answer)}")
        try:
            return msgspec.json.decode(answer.data, type=_Pod).status
        except msgspec.DecodeError as e:
            raise _NotStarted(f"the pod on this node cannot be watched: {e}") from None

    def _refused(self, answer: Response) -> _NotStarted:
        """Why no pod may be made. What holds for all nodes is remembered, so that the others are not tried."""
        message = message_of(answer)
        namespace = self.namespace
        if answer.status == 403 and "violates PodSecurity" in message:
            reason = (
                f"{message}; use a namespace that allows such pods: kubectl create namespace svcdoctor && kubectl "
                "label namespace svcdoctor pod-security.kubernetes.io/enforce=privileged, then add "
                "--node-facts-namespace svcdoctor"
            )
        elif answer.status == 403:
            reason = (
                f"{message}; grant verbs create, get and delete on pods, and get and create on pods/exec, in "
                f"namespace {namespace}: kubectl create role svcdoctor-node-facts "
                f"--verb=create,get,delete --resource=pods,pods/exec -n {namespace} && kubectl create rolebinding "
                f"svcdoctor-node-facts --role=svcdoctor-node-facts {subject_of(message)} -n {namespace}"
            )
        elif answer.status == 404:
            reason = f"{message}; make the namespace, or name another one with --node-facts-namespace"
        else:
            return _NotStarted(f"the pod cannot be created: {message}")
        self._refusal = reason
        return _NotStarted(reason)

    def _delete(self, name: str) -> None:
        """Deletes a pod and forgets it; what could not be deleted stays noted."""
        try:
            answer = self._session.delete(self._path(name))
        except SvcdoctorError:
            return
        if answer.status in (200, 202, 404):
            with self._lock:
                self._noted.discard(name)

    def _path(self, name: str = "") -> str:
        path = f"/api/v1/namespaces/{quote(self.namespace, safe='')}/pods"
        return f"{path}/{name}" if name else path


def _is_over(status: PodStatus) -> bool:
    """Whether no container will run any more."""
    states = [c.state for c in status.container_statuses or ()]
    stuck = bool(states) and all(s.terminated or (s.waiting and s.waiting.reason in _FAILED) for s in states)
    hopeless = any(s.waiting and s.waiting.reason in _HOPELESS for s in states)
    return stuck or hopeless or status.phase in ("Failed", "Succeeded")


_FAILED = _HOPELESS | {"CreateContainerError", "RunContainerError", "CreateContainerConfigError"}


def _why(status: PodStatus) -> str:
    """What the pod's status says, in one line."""
    said = [status.phase, status.reason, status.message]
    for container in status.container_statuses or ():
        if container.state.waiting:
            said += [container.state.waiting.reason, container.state.waiting.message]
        elif container.state.terminated:
            ended = container.state.terminated
            said.append(f"container {container.name}: {ended.reason} (exit code {ended.exit_code})")
    words = " ".join(" ".join(dict.fromkeys(s for s in said if s)).split())
    return (words if len(words) <= 300 else f"{words[:300]}…") or "nothing is known of it"
