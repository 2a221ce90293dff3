"""`pods/ephemeralcontainers`: debug containers of a running pod, as `kubectl debug` adds them.

Specification: https://kubernetes.io/docs/concepts/workloads/pods/ephemeral-containers/
"""

from __future__ import annotations

import msgspec

from svcdoctor.lab.negotiation import JSON
from svcdoctor.lab.podruntime import now
from svcdoctor.lab.requests import Answer, Request, Response
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.rest import patched, request_object
from svcdoctor.lab.status import ApiError, details_of, method_not_allowed
from svcdoctor.lab.store import ObjectStore


class EphemeralContainers:
    """The handler. What is added runs at once, on whatever runs the pod."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def answer(self, request: Request) -> Answer:
        """Raises `ApiError`; entries that there are cannot be changed or taken away."""
        action = request.target.action
        pod = self._store.get(PODS, action.namespace, action.name)
        if action.verb == "get":
            return Response(200, msgspec.json.encode(pod), JSON)
        if action.verb == "patch":
            asked = patched(request, pod)
        elif action.verb == "update":
            asked = request_object(request)
        else:
            raise method_not_allowed()
        before = pod["spec"].get("ephemeralContainers") or []
        after = asked["spec"].get("ephemeralContainers") or []
        if after[: len(before)] != before:
            raise ApiError(
                422,
                "Invalid",
                f'Pod "{action.name}" is invalid: spec.ephemeralContainers: Forbidden: existing ephemeral containers '
                "may not be changed or removed",
                details=details_of(PODS, action.name),
            )
        return Response(200, msgspec.json.encode(self._store.update(_with(pod, after))), JSON)


def _with(pod: Object, containers: list[Object]) -> Object:
    states = [
        {
            "name": c["name"],
            "image": c.get("image", ""),
            "ready": False,
            "state": {"running": {"startedAt": now()}},
        }
        for c in containers
    ]
    return pod | {
        "spec": pod["spec"] | {"ephemeralContainers": containers},
        "status": pod.get("status", {}) | {"ephemeralContainerStatuses": states},
    }
