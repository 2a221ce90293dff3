"""Pod Security admission, as far as pods on the node's network meet it: levels baseline and restricted.

Only what such pods ask for is looked at: the node's network, privileged containers and added capabilities. The
wording is the real server's.

Specification: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.lab.requests import Answer, Request
from svcdoctor.lab.resources import NAMESPACES, PODS, Object
from svcdoctor.lab.rest import RestVerbs, request_object
from svcdoctor.lab.status import ApiError, details_of
from svcdoctor.lab.store import ObjectStore

LABEL = "pod-security.kubernetes.io/enforce"

# Capabilities that the baseline level lets a container add.
_BASELINE = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)


class PodSecurity:
    """Stands before the creation of pods and refuses those that their namespace does not allow."""

    def __init__(self, store: ObjectStore, rest: RestVerbs) -> None:
        self._store = store
        self._rest = rest

    def answer(self, request: Request) -> Answer:
        """The answer of the API, which for a POST comes after the admission. Raises `ApiError` 403."""
        if request.method == "POST":
            self._admit(request_object(request), request.target.action.namespace)
        return self._rest.answer(request, PODS)

    def _admit(self, pod: Object, namespace: str) -> None:
        try:
            labels = self._store.get(NAMESPACES, "", namespace)["metadata"].get("labels") or {}
        except ApiError:
            return
        level = labels.get(LABEL)
        if level not in ("baseline", "restricted"):
            return
        problems = list(_problems(pod.get("spec") or {}))
        if problems:
            name = (pod.get("metadata") or {}).get("name", "")
            version = labels.get(f"{LABEL}-version", "latest")
            raise ApiError(
                403,
                "Forbidden",
                f'pods "{name}" is forbidden: violates PodSecurity "{level}:{version}": {", ".join(problems)}',
                details=details_of(PODS, name),
            )


def _problems(spec: Object) -> Iterator[str]:
    if spec.get("hostNetwork"):
        yield "host namespaces (hostNetwork=true)"
    contexts = {c.get("name", ""): c.get("securityContext") or {} for c in spec.get("containers") or ()}
    privileged = [name for name, context in contexts.items() if context.get("privileged")]
    if privileged:
        yield f"privileged ({_named(privileged)} must not set securityContext.privileged=true)"
    adding = {
        name: [c for c in (context.get("capabilities") or {}).get("add") or () if c not in _BASELINE]
        for name, context in contexts.items()
    }
    bad = [name for name, added in adding.items() if added]
    if bad:
        added = ", ".join(f'"{c}"' for c in sorted({c for name in bad for c in adding[name]}))
        field = "securityContext.capabilities.add"
        yield f"non-default capabilities ({_named(bad)} must not include {added} in {field})"


def _named(containers: list[str]) -> str:
    names = ", ".join(f'"{name}"' for name in containers)
    return f"container {names}" if len(containers) == 1 else f"containers {names}"
