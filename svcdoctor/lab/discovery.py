"""Discovery: what the server serves, in the plain and the aggregated form, and its version.

Specification: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from collections.abc import Iterable

from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.status import ApiError

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""The media type of aggregated discovery."""

# The version whose behaviour is imitated. svcdoctor and kubectl both decide by it what to ask for.
_MAJOR, _MINOR = "1", "36"


def version() -> Object:
    """The answer of `/version`; the build says that this is no real API server."""
    return {
        "major": _MAJOR,
        "minor": _MINOR,
        "gitVersion": f"v{_MAJOR}.{_MINOR}.0+svcdoctor-lab",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def api_versions(address: str) -> Object:
    """The plain answer of `/api`; `address` is the server's host and port."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def group_list(served: Iterable[Resource]) -> Object:
    """The plain answer of `/apis`."""
    groups = [_group(name, versions) for name, versions in _groups(served).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(served: Iterable[Resource], name: str) -> Object:
    """The answer of `/apis/GROUP`. Raises `ApiError` 404."""
    groups = _groups(served)
    if name not in groups or not name:
        raise page_not_found()
    return {"kind": "APIGroup", "apiVersion": "v1"} | _group(name, groups[name])


def _groups(served: Iterable[Resource]) -> dict[str, dict[str, list[Resource]]]:
    groups: dict[str, dict[str, list[Resource]]] = {}
    for resource in served:
        groups.setdefault(resource.group, {}).setdefault(resource.version, []).append(resource)
    return groups


def _group(name: str, versions: Iterable[str]) -> Object:
    entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def resource_list(served: Iterable[Resource], group: str, version: str) -> Object:
    """The plain answer of `/api/v1` and `/apis/GROUP/VERSION`. Raises `ApiError` 404."""
    resources = _groups(served).get(group, {}).get(version)
    if not resources:
        raise page_not_found()
    answer: Object = {"kind": "APIResourceList"}
    # The core group's list has no apiVersion of its own; clients have come to live with it.
    answer |= {"apiVersion": "v1"} if group else {}
    return answer | {"groupVersion": resources[0].api_version, "resources": [_plain(r) for r in resources]}


def _plain(resource: Resource) -> Object:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    return entry | _names(resource)


def _names(resource: Resource) -> Object:
    names: Object = {}
    if resource.short_names:
        names["shortNames"] = list(resource.short_names)
    if resource.categories:
        names["categories"] = list(resource.categories)
    return names


def aggregated(served: Iterable[Resource], *, core: bool) -> Object:
    """The aggregated answer of `/api` (`core`) or `/apis`."""
    items = []
    for name, versions in _groups(served).items():
        if core != (not name):
            continue
        entries = [
            {"version": version, "resources": [_discovered(r) for r in resources], "freshness": "Current"}
            for version, resources in versions.items()
        ]
        items.append({"metadata": {"name": name} if name else {}, "versions": entries})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": items,
    }


def _discovered(resource: Resource) -> Object:
    entry: Object = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    return entry | _names(resource)


def page_not_found() -> ApiError:
    """404 for a path that nothing is served under: plain text, as there is no API there to speak for it."""
    return ApiError(404, "", "404 page not found")
