"""A request and what it is about, and the three ways to answer it.

The API's paths say everything: `/api/v1/namespaces/truth/pods/web/portforward` is a subresource of a pod.
With the method they become a verb, which is what permissions are about.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#request-attributes-used-in-authorization
"""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message

from svcdoctor.lab.rbac import Action, User
from svcdoctor.lab.status import bad_request

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about: the action that needs permission, and the API version it speaks.

    For paths outside the API's resources `action.path` is set and `version` is empty.
    """

    action: Action
    version: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One request whose head has been read and whose sender is known.

    `connection` and `reader` are the connection itself, for handlers that switch to another protocol: what
    the client has sent ahead is in the reader, not on the socket.
    """

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Message
    body: bytes
    user: User
    target: Target
    connection: socket.socket
    reader: io.BufferedIOBase

    @property
    def media_type(self) -> str:
        """The media type of the body, without parameters; empty where the client does not say."""
        return str(self.headers.get("Content-Type", "")).partition(";")[0].strip()

    def text(self, name: str) -> str:
        """A query parameter, empty where it is missing."""
        return self.query.get(name, [""])[-1]

    def flag(self, name: str) -> bool:
        """Whether a query parameter is set; `?watch` alone counts."""
        return name in self.query and self.text(name) not in ("0", "false", "False")

    def number(self, name: str) -> int | None:
        """A query parameter as a number, None where it is missing. Raises `ApiError` 400."""
        value = self.text(name)
        if not value:
            return None
        if not value.isdecimal() or len(value) > 19:
            raise bad_request(f'invalid {name} "{value}": not a whole number')
        return int(value)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer of known length."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer without end, sent in chunks. None among them is a sign of life without bytes."""

    content_type: str
    chunks: Iterator[bytes | None]


Answer = Response | Stream | None
"""None: the handler has answered on `request.connection` by itself, and the connection is done."""

Handler = Callable[[Request], Answer]


def target_of(method: str, path: str, query: Mapping[str, list[str]]) -> Target:
    """What a request is about."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return Target(Action("get" if method in ("GET", "HEAD") else method.lower(), path=path))
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        # A namespace's own subresources stay with the namespace.
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    resource, name, subresource = (*rest, "", "")[0], (*rest, "", "")[1], "/".join(rest[2:])
    verb = _VERBS.get(method, "delete" if name else "deletecollection")
    if verb == "get" and not name:
        watching = query.get("watch", ["false"])[-1] not in ("0", "false", "False")
        verb = "watch" if watching else "list"
    if not name:
        name = _single_name(query.get("fieldSelector", [""])[-1])
    return Target(Action(verb, group, resource, subresource, namespace, name), version)


def _single_name(field_selector: str) -> str:
    """The one object that a list is narrowed to; a role for just that name allows such a list."""
    for term in field_selector.split(","):
        key, operator, value = term.partition("=")
        if key == "metadata.name" and operator:
            return value.removeprefix("=")
    return ""
