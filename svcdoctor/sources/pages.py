"""Objects of one kind from the API: a list page by page, or one object by its name.

Theory. A page is decoded in one pass straight into the kind's struct; items of a typed list carry no kind,
so they get it here. When a continue token expires between two pages (410) the list starts anew, and the
third time it is asked in one piece, as client-go's pager does, because that cannot expire.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/ ("Retrieving large results sets
in chunks")
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

import msgspec

from svcdoctor.cluster.kinds import KindInfo
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.session import ApiSession, Response, Truncated

PAGE = 500
"""Objects of one page, which is kubectl's --chunk-size."""

# The API server's words for an API group that it does not serve, and for a resource of one that it does.
_NO_GROUP = "404 page not found"
_NO_RESOURCE = "the server could not find the requested resource"

T = TypeVar("T")


class ListMeta(msgspec.Struct):
    continue_: str = msgspec.field(default="", name="continue")
    resource_version: str = msgspec.field(default="", name="resourceVersion")


class Page(msgspec.Struct, Generic[T]):
    """One answer to a list: its items, where the next ones are, and which state of the cluster they are of."""

    kind: str = ""
    metadata: ListMeta = msgspec.field(default_factory=ListMeta)
    items: list[T] | None = None


class _Status(msgspec.Struct):
    kind: str = ""
    message: str = ""


class _Identity(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _Item(msgspec.Struct):
    metadata: _Identity = msgspec.field(default_factory=_Identity)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server does not hand out what was asked: the HTTP status, and its own words."""

    status: int
    message: str

    @property
    def not_served(self) -> bool:
        """Whether the API server does not serve the kind at all."""
        return self.status == 404 and self.message in (_NO_GROUP, _NO_RESOURCE)


def read_list(
    session: ApiSession, info: KindInfo, path: str, params: Mapping[str, str]
) -> tuple[KubeObject, ...] | Refusal:
    """All objects that a list holds, in the API's order, or why there are none.

    Raises SvcdoctorError where the server cannot be asked, or an object is not of its kind's shape.
    """
    answer = _pages(session, info, path, params, PAGE)
    if isinstance(answer, Refusal) and answer.status == 410:
        answer = _pages(session, info, path, params, PAGE)
    if isinstance(answer, Refusal) and answer.status in (400, 410):
        answer = _pages(session, info, path, params, None)
    return answer


def _pages(
    session: ApiSession, info: KindInfo, path: str, params: Mapping[str, str], limit: int | None
) -> tuple[KubeObject, ...] | Refusal:
    objects: list[KubeObject] = []
    query = dict(params) | ({} if limit is None else {"limit": str(limit)})

    while True:
        page = session.fetch(path, query, lambda response: page_of(session, info, path, response))
        if isinstance(page, Refusal):
            return page
        objects.extend(page.items or ())
        if not page.metadata.continue_:
            return tuple(objects)
        query["continue"] = page.metadata.continue_


def page_of(session: ApiSession, info: KindInfo, path: str, response: Response) -> Page[KubeObject] | Refusal:
    """The page that an answer to a list holds, or why it holds none.

    Raises SvcdoctorError for what is not the API's answer, ``Truncated`` for half of one.
    """
    if response.status != 200:
        return _refusal(session, path, response)
    page: Page[KubeObject] = _decoded(session, info, path, response.data, _page_decoder(info))
    if not page.kind.endswith("List"):
        raise _not_kubernetes(session, path, response)
    page.items = [_with_kind(obj, info) for obj in page.items or ()]
    return page


def read_object(session: ApiSession, info: KindInfo, path: str) -> tuple[KubeObject, ...] | Refusal:
    """The one object at ``path``, or why it cannot be had: 404 where there is none of that name.

    Raises SvcdoctorError as ``read_list`` does.
    """
    return session.fetch(path, {}, lambda response: object_of(session, info, path, response))


def object_of(
    session: ApiSession, info: KindInfo, path: str, response: Response
) -> tuple[KubeObject, ...] | Refusal:
    """The one object that an answer holds, or why it holds none. Raises as ``page_of`` does."""
    if response.status != 200:
        return _refusal(session, path, response)
    obj = decode_object(session, info, path, response.data)
    if obj.kind != info.kind:
        raise _not_kubernetes(session, path, response)
    return (obj,)


def decode_object(session: ApiSession, info: KindInfo, path: str, data: bytes) -> KubeObject:
    """The object in an answer. Raises SvcdoctorError where it is not of its kind's shape, ``Truncated`` for half
    of one."""
    obj: KubeObject = _decoded(session, info, path, data, _object_decoder(info))
    return obj


# Two threads that make decoders of the same struct for the first time crash in msgspec.
_status = msgspec.json.Decoder(_Status)
_making = threading.Lock()


@cache
def _page_decoder(info: KindInfo) -> msgspec.json.Decoder[Any]:
    with _making:
        return msgspec.json.Decoder(Page[info.type])  # type: ignore[name-defined]


@cache
def _object_decoder(info: KindInfo) -> msgspec.json.Decoder[Any]:
    with _making:
        return msgspec.json.Decoder(info.type)


def _with_kind(obj: KubeObject, info: KindInfo) -> KubeObject:
    return obj if obj.kind else msgspec.structs.replace(obj, kind=str(info.kind))


def _decoded(
    session: ApiSession, info: KindInfo, path: str, data: bytes, decoder: msgspec.json.Decoder[Any]
) -> Any:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as e:
        raise _misshapen(session, info, path, data, e) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Truncated from None


def _misshapen(
    session: ApiSession, info: KindInfo, path: str, data: bytes, error: msgspec.ValidationError
) -> SvcdoctorError:
    """The error that names the object which is not of its kind's shape."""
    named, problem = path, str(error)
    try:
        items = msgspec.json.decode(data, type=Page[msgspec.Raw]).items or [msgspec.Raw(data)]
        for item in items:
            try:
                _object_decoder(info).decode(item)
            except msgspec.ValidationError as e:
                found = msgspec.json.decode(item, type=_Item).metadata
                named = f"{info.kind} {'/'.join(filter(None, (found.namespace, found.name)))}"
                problem = str(e)
                break
    except msgspec.ValidationError:
        pass  # neither a list nor an object: the path has to do as a name
    return SvcdoctorError(f"{session.place}: {named} is not a valid {info.kind}: {problem}", 3)


def _refusal(session: ApiSession, path: str, response: Response) -> Refusal:
    """What a status other than 200 says. Raises SvcdoctorError where the answer is not the API's."""
    try:
        status = _status.decode(response.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = _Status()
    if status.kind == "Status":
        return Refusal(response.status, status.message)
    # The API server itself answers these two in plain text when it is overloaded or starting.
    if response.status == 429 or response.status >= 500:
        return Refusal(response.status, _shown(response.data))
    if response.status == 404 and response.data.strip() == _NO_GROUP.encode():
        return Refusal(404, _NO_GROUP)
    raise _not_kubernetes(session, path, response)


def _not_kubernetes(session: ApiSession, path: str, response: Response) -> SvcdoctorError:
    return SvcdoctorError(
        f"{session.place}: the answer to {path} is not the Kubernetes API's (status {response.status}: "
        f"{_shown(response.data)}); check the server's address, and what stands between",
        3,
    )


def _shown(data: bytes) -> str:
    text = " ".join(data[:2000].decode("utf-8", "replace").split())
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 120 else f"{text[:120]}…"
