"""What the API server itself writes into an object's metadata: name, namespace, uid, version, creation time.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.status import invalid
from svcdoctor.model.errors import SvcdoctorError

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""

# The alphabet of the names that the real API server generates: no vowels, nothing to misread.
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def flatten(objects: Iterable[Object]) -> Iterator[Object]:
    """The objects with lists opened; items of a typed list (`PodList`) get the list's kind and version.

    Raises `SvcdoctorError` for what is no object at all.
    """
    for obj in objects:
        if not isinstance(obj, dict):
            raise SvcdoctorError(f"an object cannot be loaded: {str(obj)[:40]!r} is not a Kubernetes object")
        kind = str(obj.get("kind", ""))
        if not (kind.endswith("List") and isinstance(obj.get("items"), list)):
            yield obj
            continue
        inherited = {"kind": kind.removesuffix("List"), "apiVersion": obj.get("apiVersion", "")}
        yield from flatten(item if kind == "List" else inherited | item for item in obj["items"])


def complete(resource: Resource, obj: Object, version: int, now: datetime) -> Object:
    """The object as stored: at that version, with whatever it lacked filled in, kind and apiVersion in front.

    Generated names and uids are derived from the version, so that a run can be repeated. Raises `ApiError`
    422 for an object that has neither name nor generateName, or whose parts are not of the right sort.
    """
    check_shape(resource, obj)
    metadata = {**(obj.get("metadata") or {}), "resourceVersion": str(version)}
    if not metadata.get("name"):
        if not metadata.get("generateName"):
            raise invalid(
                resource.kind, "", "metadata.name", "Required value: name or generateName is required"
            )
        metadata["name"] = metadata["generateName"] + _suffix(version)
    if resource.namespaced:
        metadata.setdefault("namespace", "default")
    else:
        metadata.pop("namespace", None)
    if not metadata.get("uid"):
        identity = f"{resource.qualified}/{metadata.get('namespace', '')}/{metadata['name']}/{version}"
        metadata["uid"] = str(uuid.uuid5(uuid.NAMESPACE_URL, identity))
    if not metadata.get("creationTimestamp"):
        metadata["creationTimestamp"] = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    head = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
    return head | {name: value for name, value in obj.items() if name not in head}


def check_shape(resource: Resource, obj: Object) -> None:
    """Raises `ApiError` 422 where a part that every object has is not of its sort."""
    metadata = obj.get("metadata") or {}
    for part, value in (("metadata", metadata), ("spec", obj.get("spec")), ("status", obj.get("status"))):
        if not isinstance(value, dict | None):
            raise invalid(resource.kind, "", part, "Invalid value: it must be an object")
    for part in ("labels", "annotations"):
        values = metadata.get(part) or {}
        if not (isinstance(values, dict) and all(isinstance(value, str) for value in values.values())):
            raise invalid(resource.kind, "", f"metadata.{part}", "Invalid value: it must map names to text")
    for part in ("name", "generateName", "namespace"):
        if not isinstance(metadata.get(part, ""), str):
            raise invalid(resource.kind, "", f"metadata.{part}", "Invalid value: it must be text")


def key_of(resource: Resource, obj: Object) -> Key:
    """Where the object is kept; a namespaced object without namespace belongs to `default`."""
    metadata = obj.get("metadata") or {}
    return (metadata.get("namespace", "default") if resource.namespaced else "", metadata.get("name", ""))


def version_of(obj: Object) -> str:
    """The object's resourceVersion, empty where it has none."""
    return str((obj.get("metadata") or {}).get("resourceVersion") or "")


def with_version(obj: Object, version: int) -> Object:
    """A copy of the object at another resourceVersion."""
    return obj | {"metadata": obj["metadata"] | {"resourceVersion": str(version)}}


def _suffix(number: int) -> str:
    mixed = number * 2654435761 % len(_SUFFIX_LETTERS) ** 5  # neighbours get unlike suffixes
    letters = []
    for _ in range(5):
        mixed, letter = divmod(mixed, len(_SUFFIX_LETTERS))
        letters.append(_SUFFIX_LETTERS[letter])
    return "".join(letters)
