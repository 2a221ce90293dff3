"""Short-lived pods of our own: made, waited for, and deleted whatever happens.

Theory. The name of a pod is chosen before it is asked for, and noted; who made a pod deletes it as soon as it is of
no more use. Whoever uses ``OwnPods`` as a context gets every noted pod deleted at its end, on an error or an
interruption too. What even that leaves behind ends by itself after two minutes, and ``svcdoctor cleanup`` finds it
by its labels.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.pod import PodStatus
from svcdoctor.sources.grants import subject_of
from svcdoctor.sources.podexec import Container, Streams
from svcdoctor.sources.podmanifest import KEEPERS, Purpose
from svcdoctor.sources.session import ApiSession, Response, message_of

START_SECONDS = 40.0
"""How long a pod may take to start: time to pull an image, with enough left of its two minutes."""

Manifest = Callable[[str], dict[str, Any]]
"""The pod of a name, as it is sent to the API server."""

_POLL = 0.25  # seconds
_HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_FAILED = _HOPELESS | {"CreateContainerError", "RunContainerError", "CreateContainerConfigError"}


class NotStarted(Exception):
    """A pod that nothing can be run in, and why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Pod(msgspec.Struct):
    status: PodStatus = PodStatus()


_POD = msgspec.json.Decoder(_Pod)  # made once: two threads that make the first of one struct crash


class OwnPods:
    """Makes the pods of one run, and deletes them. Safe to use from many threads."""

    def __init__(self, session: ApiSession, namespace: str, purpose: Purpose, streams: Streams) -> None:
        self.namespace = namespace
        self._session = session
        self._purpose = purpose
        self._streams = streams
        self._run = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._noted: set[str] = set()
        self._count = 0
        self._refusal = ""

    def __enter__(self) -> Self:
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

    @contextlib.contextmanager
    def started(self, made: Manifest) -> Iterator[Container]:
        """A pod that runs, and the container in it, until the end of the block. Raises NotStarted, and
        SvcdoctorError where the API server cannot be reached."""
        if self._refusal:
            raise NotStarted(self._refusal)
        name = self._note()
        try:
            yield Container(self.namespace, name, self._started(name, made))
        finally:
            self._delete(name)

    def _note(self) -> str:
        with self._lock:
            if self._streams.ended.is_set():
                raise SvcdoctorError("interrupted", 3)
            self._count += 1
            name = f"svcdoctor-{self._purpose.value}-{self._run}-{self._count}"
            self._noted.add(name)
            return name

    def _started(self, name: str, made: Manifest) -> str:
        """Creates the pod and waits for it; returns the container that runs."""
        answer = self._session.create(self._path(), msgspec.json.encode(made(name)))
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
                raise NotStarted(f"the pod on this node does not run: {_why(status)}")
            if self._streams.ended.wait(_POLL):
                raise NotStarted("interrupted")
        raise NotStarted(
            f"the pod on this node did not start within {START_SECONDS:.0f} s: {_why(status)}; see whether its "
            "kubelet and container runtime work"
        )

    def _status(self, name: str) -> PodStatus:
        answer = self._session.get(self._path(name))
        if answer.status != 200:
            raise NotStarted(f"the pod on this node cannot be watched: {message_of(answer)}")
        try:
            return _POD.decode(answer.data).status
        except msgspec.DecodeError as e:
            raise NotStarted(f"the pod on this node cannot be watched: {e}") from None

    def _refused(self, answer: Response) -> NotStarted:
        """Why no pod may be made. What holds for all nodes is remembered, so that the others are not tried."""
        message = message_of(answer)
        namespace, option = self.namespace, self._purpose.option
        if answer.status == 403 and "violates PodSecurity" in message:
            reason = (
                f"{message}; use a namespace that allows such pods: kubectl create namespace svcdoctor && kubectl "
                "label namespace svcdoctor pod-security.kubernetes.io/enforce=privileged, then add "
                f"{option} svcdoctor"
            )
        elif answer.status == 403:
            role = f"svcdoctor-{self._purpose.value}"
            reason = (
                f"{message}; grant verbs create, get and delete on pods, and get and create on pods/exec, in "
                f"namespace {namespace}: kubectl create role {role} "
                f"--verb=create,get,delete --resource=pods,pods/exec -n {namespace} && kubectl create rolebinding "
                f"{role} --role={role} {subject_of(message)} -n {namespace}"
            )
        elif answer.status == 404:
            reason = f"{message}; make the namespace, or name another one with {option}"
        else:
            return NotStarted(f"the pod cannot be created: {message}")
        self._refusal = reason
        return NotStarted(reason)

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
