"""The API's error answers: `Status` objects, one constructor per reason.

The wording follows the real API server because kubectl and the client libraries show it to people, and
because svcdoctor's own messages are tested against it.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/
"""

from __future__ import annotations

from typing import Any

from svcdoctor.lab.resources import Object, Resource


class ApiError(Exception):
    """A request that is answered with a `Status` of failure, or with plain text where it has no reason.

    `code` is the HTTP status, `headers` go into the HTTP answer (`Retry-After`), `next_page` is the
    continue token that a 410 of a list offers.
    """

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        next_page: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.headers = headers or {}
        self.next_page = next_page

    def status(self) -> Object:
        """The `Status` object, with its keys in the order of the real API server."""
        body: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.next_page} if self.next_page else {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            body["details"] = self.details
        body["code"] = self.code
        return body


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    """401: no credentials, or credentials that nobody has."""
    return ApiError(401, "Unauthorized", "Unauthorized")


def not_found(resource: Resource, name: str) -> ApiError:
    """404: no object of that name."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, details=details_of(resource, name))


def already_exists(resource: Resource, name: str) -> ApiError:
    """409: create of a name that is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, details=details_of(resource, name))


def conflict(resource: Resource, name: str) -> ApiError:
    """409: update of an object that somebody else changed since it was read."""
    message = (
        f'Operation cannot be fulfilled on {resource.qualified} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return ApiError(409, "Conflict", message, details=details_of(resource, name))


def method_not_allowed() -> ApiError:
    """405: the resource exists but has no such verb."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, details={})


def not_acceptable(available: tuple[str, ...]) -> ApiError:
    """406: none of the media types in `Accept` can be produced."""
    message = "406: Not Acceptable\n\nAvailable representations: " + ", ".join(available)
    return ApiError(406, "NotAcceptable", message, details={})


def unsupported_media_type(accepted: tuple[str, ...]) -> ApiError:
    """415: a body in a format that the operation does not take."""
    message = "the body of the request was in an unknown format - accepted media types include: "
    return ApiError(415, "UnsupportedMediaType", message + ", ".join(accepted), details={})


def invalid(kind: str, name: str, field: str, problem: str) -> ApiError:
    """422: a field's value is not allowed."""
    details = {"name": name, "kind": kind, "causes": [{"message": problem, "field": field}]}
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {field}: {problem}', details=details)


def too_old_version(asked: int, oldest: int) -> ApiError:
    """410: a watch from before the history that is kept."""
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def too_large_version(asked: int, current: int) -> ApiError:
    """504: a read at a version that does not exist yet."""
    causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiError(504, "Timeout", message, details={"causes": causes, "retryAfterSeconds": 1})


def details_of(resource: Resource, name: str = "") -> dict[str, Any]:
    """The `details` that say which object an answer is about."""
    details: dict[str, Any] = {}
    if name:
        details["name"] = name
    if resource.group:
        details["group"] = resource.group
    details["kind"] = resource.plural
    return details
