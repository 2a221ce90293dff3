"""The verbs on resources: get, list, watch, create, update, patch, delete.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime

import msgspec

from svcdoctor.lab.cluster_tables import printer_of
from svcdoctor.lab.jsonpatch import json_patch
from svcdoctor.lab.negotiation import JSON, JSON_PATCH, PATCHES, Form, decode, encode, negotiate
from svcdoctor.lab.paging import Page
from svcdoctor.lab.requests import Answer, Request, Response, Stream
from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.selectors import Selection, selection
from svcdoctor.lab.status import (
    ApiError,
    bad_request,
    details_of,
    invalid,
    method_not_allowed,
    unsupported_media_type,
)
from svcdoctor.lab.store import ObjectStore
from svcdoctor.lab.tables import table
from svcdoctor.lab.watches import Watch

# Real API servers pick a time between half an hour and an hour for watches that do not name one.
_WATCH_SECONDS = 1800
# Deleting one of these answers with the object, of the others with a Status; clients expect either.
_SHOWN_WHEN_DELETED = ("pods", "resourcequotas", "serviceaccounts", "services")
_NAMED = ("get", "update", "patch", "delete")


class RestVerbs:
    """Answers requests for stored resources. `now` is the clock of the Age column; `bookmark_interval` is
    in seconds."""

    def __init__(self, store: ObjectStore, now: Callable[[], datetime], bookmark_interval: float) -> None:
        self._store = store
        self._now = now
        self._bookmark_interval = bookmark_interval

    def answer(self, request: Request, resource: Resource) -> Answer:
        """The answer to an authorized request. Raises `ApiError`."""
        action = request.target.action
        # Lists and collections have a name where a field selector gives one: the path alone decides here.
        addressed = request.path.rstrip("/").rpartition("/")[2] != resource.plural
        if action.verb not in resource.verbs or addressed != (action.verb in _NAMED):
            raise method_not_allowed()
        if request.query.get("dryRun"):
            raise bad_request("dryRun is not supported by this server: nothing was changed")
        match action.verb:
            case "get":
                obj = self._store.get(resource, action.namespace if resource.namespaced else "", action.name)
                return self._show(request, resource, obj)
            case "list":
                return self._list(request, resource)
            case "watch":
                return self._watch(request, resource)
            case "create":
                return self._create(request, resource)
            case "update" | "patch":
                return self._write(request, resource)
            case _:
                return self._delete(request, resource)

    def _show(self, request: Request, resource: Resource, obj: Object, status: int = 200) -> Response:
        form = negotiate(request.headers.get("Accept", ""), (Form.JSON, Form.YAML, Form.TABLE))
        if form is Form.TABLE:
            metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
            obj = self._table(request, resource, [obj], metadata)
        return Response(status, *encode(obj, form))

    def _table(
        self,
        request: Request,
        resource: Resource,
        items: list[Object],
        metadata: Object,
        headers: bool = True,
    ) -> Object:
        include = request.text("includeObject") or "Metadata"
        if include not in ("None", "Metadata", "Object"):
            raise bad_request(f'unrecognized includeObject value: "{include}"')
        printer = printer_of(resource)
        return table(printer, items, now=self._now(), metadata=metadata, include=include, headers=headers)

    def _scope(self, request: Request, resource: Resource) -> str | None:
        namespace = request.target.action.namespace
        return namespace if resource.namespaced and namespace else None

    def _selection(self, request: Request, resource: Resource) -> Selection:
        return selection(resource, request.text("labelSelector"), request.text("fieldSelector"))

    def _page(self, request: Request, resource: Resource) -> Page:
        token, version = request.text("continue"), request.number("resourceVersion")
        if token and version:
            raise bad_request("specifying resource version is not allowed when using continue")
        exact = version if request.text("resourceVersionMatch") == "Exact" else None
        page = self._store.list_page(
            resource,
            self._scope(request, resource),
            self._selection(request, resource),
            limit=request.number("limit") or 0,
            token=token,
            version=exact,
        )
        if exact is None and version is not None:
            self._store.check_reached(version)
        return page

    def _list(self, request: Request, resource: Resource) -> Response:
        form = negotiate(request.headers.get("Accept", ""), (Form.JSON, Form.YAML, Form.TABLE))
        if "sendInitialEvents" in request.query:
            problem = "Forbidden: sendInitialEvents is forbidden for list"
            raise invalid("ListOptions.meta.k8s.io", "", "sendInitialEvents", problem)
        page = self._page(request, resource)
        metadata: Object = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        if form is Form.TABLE:
            return Response(200, *encode(self._table(request, resource, page.items, metadata), form))
        listed: Object = {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": page.items if resource.optional else [_as_item(obj) for obj in page.items],
        }
        return Response(200, *encode(listed, form))

    def _watch(self, request: Request, resource: Resource) -> Stream:
        form = negotiate(request.headers.get("Accept", ""), (Form.JSON, Form.TABLE))
        initial_events = request.flag("sendInitialEvents")
        if initial_events and request.text("resourceVersionMatch") != "NotOlderThan":
            problem = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise invalid("ListOptions.meta.k8s.io", "", "resourceVersionMatch", problem)
        since = request.number("resourceVersion") or None
        timeout = request.number("timeoutSeconds")
        watch = Watch(
            resource,
            self._scope(request, resource),
            self._selection(request, resource),
            None if initial_events else since,
            timeout or _WATCH_SECONDS,
            self._bookmark_interval if request.flag("allowWatchBookmarks") else None,
            initial_events,
        )
        if since is not None:
            self._store.check_reached(since)
        return Stream(JSON, self._watch_lines(request, watch, form))

    def _watch_lines(self, request: Request, watch: Watch, form: Form) -> Iterator[bytes | None]:
        headers = True
        for event in watch.events(self._store):
            if event is None:
                yield None
                continue
            if form is Form.TABLE and event["type"] != "ERROR":
                obj = event["object"]
                metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
                shown = self._table(request, watch.resource, [obj], metadata, headers)
                event, headers = {"type": event["type"], "object": shown}, False
            yield msgspec.json.encode(event) + b"\n"

    def _create(self, request: Request, resource: Resource) -> Response:
        obj = self._addressed(request, resource, request_object(request))
        if resource.namespaced and not request.target.action.namespace:
            raise bad_request("an empty namespace may not be set during creation")
        return self._show(request, resource, self._store.create(obj), 201)

    def _write(self, request: Request, resource: Resource) -> Response:
        action = request.target.action
        namespace = action.namespace if resource.namespaced else ""
        if action.verb == "patch":
            current = self._store.get(resource, namespace, action.name)
            obj = patched(request, current)
        else:
            obj = request_object(request)
        obj = self._addressed(request, resource, obj)
        if obj["metadata"].setdefault("name", action.name) != action.name:
            raise bad_request(
                f"the name of the object ({obj['metadata']['name']}) does not match the name on the URL "
                f"({action.name})"
            )
        return self._show(request, resource, self._store.update(obj))

    def _addressed(self, request: Request, resource: Resource, obj: Object) -> Object:
        """The object with kind and namespace of the URL where it does not name them itself."""
        kind, version = obj.get("kind") or resource.kind, obj.get("apiVersion") or resource.api_version
        if (kind, version) != (resource.kind, resource.api_version):
            raise bad_request(
                f"{kind} in version {version!r} cannot be handled as a {resource.kind}: "
                "the kind or version of the object does not match the URL"
            )
        metadata = dict(obj.get("metadata") or {})
        if resource.namespaced:
            namespace = request.target.action.namespace
            if metadata.setdefault("namespace", namespace) != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
        return obj | {"kind": kind, "apiVersion": version, "metadata": metadata}

    def _delete(self, request: Request, resource: Resource) -> Response:
        action = request.target.action
        if action.verb == "deletecollection":
            page = self._page(request, resource)
            for obj in page.items:
                metadata = obj["metadata"]
                self._store.delete(resource, metadata.get("namespace", ""), metadata["name"])
            listed = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "items": page.items}
            return Response(200, *encode(listed | {"metadata": {}}, Form.JSON))
        gone = self._store.delete(resource, action.namespace if resource.namespaced else "", action.name)
        if resource.qualified in _SHOWN_WHEN_DELETED:
            return Response(200, *encode(gone, Form.JSON))
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details_of(resource, action.name) | {"uid": gone["metadata"]["uid"]},
        }
        return Response(200, *encode(status, Form.JSON))


def patched(request: Request, current: Object) -> Object:
    """The object with the patch in a request's body. Raises `ApiError` 400, 415 and 422."""
    if request.media_type == JSON_PATCH:
        operations = _value(request)
        if not isinstance(operations, list):
            raise bad_request("a JSON patch is a list of operations")
        try:
            return json_patch(current, operations)
        except ValueError as error:
            raise ApiError(422, "Invalid", f"the server rejected our request: {error}") from error
    if request.media_type not in PATCHES:
        raise unsupported_media_type((JSON_PATCH, *PATCHES))
    return PATCHES[request.media_type](current, request_object(request))


def _value(request: Request) -> object:
    try:
        return decode(request.body, request.media_type)
    except ValueError as error:
        raise bad_request(f"the object provided is unrecognized: {error}") from error


def request_object(request: Request) -> Object:
    """The object in a request's body. Raises `ApiError` 400 and 415."""
    obj = _value(request)
    if not isinstance(obj, dict) or not isinstance(obj.get("metadata") or {}, dict):
        raise bad_request("the object provided is unrecognized: it must be a JSON object with metadata")
    return obj


def _as_item(obj: Object) -> Object:
    # Lists of built-in kinds leave kind and apiVersion out of their items; custom resources keep them.
    return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
