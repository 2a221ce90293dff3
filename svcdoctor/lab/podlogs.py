"""`pods/log`: what a container wrote, in full or its end.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#get-read-log-of-the-specified-pod
"""

from __future__ import annotations

from svcdoctor.lab.podexec import container_of
from svcdoctor.lab.podruntime import PodRuntime
from svcdoctor.lab.requests import Answer, Request, Response
from svcdoctor.lab.resources import PODS
from svcdoctor.lab.store import ObjectStore


class PodLogs:
    """The handler of `pods/log`. It answers with what there is now, also where the client wants to follow."""

    def __init__(self, store: ObjectStore, runtime: PodRuntime) -> None:
        self._store = store
        self._runtime = runtime

    def answer(self, request: Request) -> Answer:
        """The log as plain text. Raises `ApiError`."""
        action = request.target.action
        pod = self._store.get(PODS, action.namespace, action.name)
        container = container_of(pod, request.text("container"))
        data = self._runtime.log(action.namespace, action.name, container)
        lines = request.number("tailLines")
        if lines is not None:
            data = b"".join(data.splitlines(keepends=True)[-lines:] if lines else ())
        size = request.number("limitBytes")
        return Response(200, data if size is None else data[:size], "text/plain")
