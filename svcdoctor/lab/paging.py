"""Continue tokens: where the next page of a list begins, and as of which version.

A token is base64url of a small JSON document, as the real API server makes it; clients must treat it as
opaque. Version `-1` marks the token that a 410 offers: go on from that name in the current state.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass

from svcdoctor.lab.metadata import Key
from svcdoctor.lab.resources import Object
from svcdoctor.lab.status import ApiError, bad_request

CURRENT = -1
"""The version of a token that asks for the current state instead of that of the first page."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: the objects, the version they are a view of, and how to go on.

    `token` is empty on the last page; `remaining` counts the objects behind this page and is None where a
    selector makes that unknown.
    """

    items: list[Object]
    version: int
    token: str = ""
    remaining: int | None = None


def encode_token(version: int, after: Key, namespace: str | None) -> str:
    """The token of the page that begins behind `after`.

    Lists of one namespace leave the namespace out of the token, as the real ones do.
    """
    space, name = after
    start = f"/{name}" if namespace is not None or not space else f"/{space}/{name}"
    text = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": f"{start}\0"}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_token(token: str, namespace: str | None) -> tuple[int, Key]:
    """The version and the key behind which the page begins. Raises `ApiError` 400 for anything else."""
    problem = re.search(r"[^A-Za-z0-9_-]", token)
    if problem or len(token) % 4 == 1:
        position = problem.start() if problem else len(token) - 1
        raise _invalid(f"illegal base64 data at input byte {position}")
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        version, start, layout = int(content["rv"]), str(content["start"]), content["v"]
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise _invalid("it is not one of this server's tokens") from error
    if layout != "meta.k8s.io/v1":
        raise _invalid(f'server does not recognize this encoded version "{layout}"')
    if not start.startswith("/") or not start.endswith("\0"):
        raise _invalid(f'no start key in "{start}"')
    space, _, name = start[1:-1].rpartition("/")
    return version, (namespace or space, name)


def expired_token(after: Key, namespace: str | None) -> ApiError:
    """410 for a list whose first page is older than the history, with a token to go on all the same."""
    message = (
        "The provided continue parameter is too old to display a consistent list result. You can start a new "
        "list without the continue parameter, or use the continue token in this response to retrieve the "
        "remainder of the results. Continuing with the provided token results in an inconsistent list - "
        "objects that were created, modified, or deleted between the time the first chunk was returned and "
        "now may show up in the list."
    )
    return ApiError(410, "Expired", message, next_page=encode_token(CURRENT, after, namespace))


def _invalid(problem: str) -> ApiError:
    return bad_request(f"invalid continue token: continue key is not valid: {problem}")
