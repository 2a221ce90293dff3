"""An ephemeral container in a pod whose own image has no programs, to run commands on the pod's network.

The API has no way to take one out again: it ends by itself, and its entry stays until the pod is deleted. kubelet
gives it the pod's resolv.conf; its C library is its image's.

Specification: https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
"""

from __future__ import annotations

import secrets
import time
from typing import Any
from urllib.parse import quote

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.grants import subject_of
from svcdoctor.sources.session import ApiSession, Response, message_of

SECONDS = 180
"""After this time the container ends."""

START_SECONDS = 60.0
_POLL = 0.25
_HOPELESS = (
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerError",
    "RunContainerError",
)


def debug_container(session: ApiSession, namespace: str, pod: str, image: str) -> str:
    """Adds the container and waits until it runs; its name. Raises SvcdoctorError."""
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
    answer = session.get(path)
    if answer.status != 200:
        raise SvcdoctorError(f"pod {namespace}/{pod}: {message_of(answer)}", 3)
    whole: dict[str, Any] = msgspec.json.decode(answer.data)
    name = f"svcdoctor-{secrets.token_hex(3)}"
    container = {
        "name": name,
        "image": image,
        "command": ["sleep", str(SECONDS)],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    whole["spec"].setdefault("ephemeralContainers", []).append(container)
    answer = session.replace(f"{path}/ephemeralcontainers", msgspec.json.encode(whole))
    if answer.status not in (200, 201):
        raise _refused(answer, namespace, pod)
    _wait(session, path, name, f"{namespace}/{pod}")
    return name


def _wait(session: ApiSession, path: str, name: str, pod: str) -> None:
    end = time.monotonic() + START_SECONDS
    state: dict[str, Any] = {}
    while time.monotonic() < end:
        answer = session.get(path)
        if answer.status != 200:
            raise SvcdoctorError(f"pod {pod}: {message_of(answer)}", 3)
        status = msgspec.json.decode(answer.data).get("status") or {}
        for container in status.get("ephemeralContainerStatuses") or ():
            if container.get("name") == name:
                state = container.get("state") or {}
        if "running" in state:
            return
        if "terminated" in state or (state.get("waiting") or {}).get("reason") in _HOPELESS:
            break
        time.sleep(_POLL)
    why = next(
        (f"{s.get('reason', '')} {s.get('message', '')}".strip() for s in state.values()), "nothing is known"
    )
    raise SvcdoctorError(
        f"the debug container {name} of pod {pod} does not run: {why[:200]}; name another image with --debug-image",
        3,
    )


def _refused(answer: Response, namespace: str, pod: str) -> SvcdoctorError:
    message = message_of(answer)
    if answer.status == 403:
        return SvcdoctorError(
            f"{message}; a debug container takes verb update on pods/ephemeralcontainers, and get and create on "
            f"pods/exec, in namespace {namespace}: kubectl create role svcdoctor-debug "
            f"--verb=get,create,update --resource=pods,pods/ephemeralcontainers,pods/exec -n {namespace} && kubectl "
            f"create rolebinding svcdoctor-debug --role=svcdoctor-debug {subject_of(message)} -n {namespace}",
            3,
        )
    return SvcdoctorError(f"no debug container can be added to pod {namespace}/{pod}: {message}", 3)
