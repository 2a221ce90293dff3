"""The least OpenAPI that kubectl wants before it writes: which operations take `fieldValidation`.

Without it `kubectl create` and `apply` refuse to send anything unless told `--validate=false`.

Specification: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-v3
"""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.lab.discovery import page_not_found
from svcdoctor.lab.resources import Object, Resource

_PARAMETERS = [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}]


def index(served: Iterable[Resource]) -> Object:
    """The answer of `/openapi/v3`: one document per group and version."""
    paths = {_prefix(r): {"serverRelativeURL": f"/openapi/v3/{_prefix(r)}"} for r in served}
    return {"paths": paths}


def document(served: Iterable[Resource], prefix: str) -> Object:
    """The answer of `/openapi/v3/PREFIX`, `api/v1` or `apis/GROUP/VERSION`. Raises `ApiError` 404."""
    resources = [r for r in served if _prefix(r) == prefix]
    if not resources:
        raise page_not_found()
    paths = {}
    for resource in resources:
        kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        operation = {"parameters": _PARAMETERS, "x-kubernetes-group-version-kind": kind, "responses": {}}
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        path = f"/{prefix}{scope}/{resource.plural}/{{name}}"
        paths[path] = {"patch": operation | {"x-kubernetes-action": "patch"}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "lab"},
        "paths": paths,
        "components": {"schemas": {}},
    }


def _prefix(resource: Resource) -> str:
    return f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
