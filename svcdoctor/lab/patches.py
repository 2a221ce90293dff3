"""The two patches that kubectl sends.

A merge patch replaces lists as a whole. A strategic one merges those lists of objects whose elements have a
key, and carries directives under names that begin with `$`. Which list has which key is part of the API's
types; here are those of the kinds that this server is used with, every other list is replaced.

Specification: RFC 7396 and
https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeGuard

from svcdoctor.lab.resources import Object

_MERGE_KEYS: Mapping[str, str] = {
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
# The same word means different lists: a Service's ports, a container's, and those without a key at all.
_PORTS_KEYS: Mapping[str, str] = {"Service": "port", "Pod": "containerPort"}
_TEMPLATED = ("DaemonSet", "Deployment", "Job", "ReplicaSet", "ReplicationController", "StatefulSet")


def merge_patch(current: Object, patch: Object) -> Object:
    """A JSON merge patch applied: null removes, objects merge, everything else replaces."""
    result = dict(current)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = merge_patch(_object(result.get(name)), value)
        else:
            result[name] = value
    return result


def strategic_patch(current: Object, patch: Object) -> Object:
    """A strategic merge patch applied to an object of the kind that it says it is."""
    kind = str(current.get("kind", ""))
    ports = _PORTS_KEYS.get("Pod" if kind in _TEMPLATED else kind)
    return _merge(current, patch, {**_MERGE_KEYS, "ports": ports} if ports else _MERGE_KEYS)


def _merge(current: Object, patch: Object, keys: Mapping[str, str]) -> Object:
    directive = patch.get("$patch")
    if directive == "delete":
        return {}
    result = {} if directive == "replace" else dict(current)
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            result[field] = [item for item in result.get(field) or [] if item not in value]
        elif name.startswith("$"):
            continue  # the order of elements is kept as it is
        elif value is None:
            result.pop(name, None)
        elif isinstance(value, dict):
            result[name] = _merge(_object(result.get(name)), value, keys)
        elif (key := keys.get(name)) and _is_objects(value) and _is_objects(known := result.get(name) or []):
            result[name] = _merge_list(known, value, key, keys)
        else:
            result[name] = value
    return result


def _merge_list(
    current: list[Object], patch: list[Object], key: str, keys: Mapping[str, str]
) -> list[Object]:
    if any(element.get("$patch") == "replace" for element in patch):
        return [element for element in patch if "$patch" not in element]
    result = list(current)
    for element in patch:
        place = next((i for i, known in enumerate(result) if known.get(key) == element.get(key)), None)
        if element.get("$patch") == "delete":
            if place is not None:
                del result[place]
        elif place is None:
            result.append(_merge({}, element, keys))
        else:
            result[place] = _merge(result[place], element, keys)
    return result


def _is_objects(value: Any) -> TypeGuard[list[Object]]:
    return isinstance(value, list) and all(isinstance(element, dict) for element in value)


def _object(value: Any) -> Object:
    return value if isinstance(value, dict) else {}
