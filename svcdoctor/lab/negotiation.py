"""Which of the forms a client accepts its answer is given in.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

import msgspec
import yaml

from svcdoctor.lab.discovery import AGGREGATED
from svcdoctor.lab.patches import merge_patch, strategic_patch
from svcdoctor.lab.protobuf import decode_review
from svcdoctor.lab.resources import Object
from svcdoctor.lab.status import not_acceptable, unsupported_media_type

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
PATCHES: Mapping[str, Callable[[Object, Object], Object]] = {
    "application/merge-patch+json": merge_patch,
    "application/strategic-merge-patch+json": strategic_patch,
}
"""The patches that are objects, and how they are applied."""
JSON_PATCH = "application/json-patch+json"

# The emitter in C is ten times as fast as the one in Python.
_Emitter: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Dumper(_Emitter):  # type: ignore[misc]
    """Writes every value in full, as Kubernetes does: no anchors where two places share one value."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class Form(Enum):
    """What an answer can be."""

    JSON = JSON
    YAML = YAML
    TABLE = "table"
    DISCOVERY = AGGREGATED


def negotiate(accept: str, offered: tuple[Form, ...]) -> Form:
    """The first form in `Accept` that is among the offered ones; JSON where the client does not say.

    Raises `ApiError` 406 where there is none. Weights are not looked at: no Kubernetes client sends any.
    """
    clauses = [clause.strip() for clause in accept.split(",") if clause.strip()] or [JSON]
    for clause in clauses:
        media, *parameters = (part.strip() for part in clause.split(";"))
        if (form := _form(media.lower(), dict(p.partition("=")[::2] for p in parameters))) in offered:
            return form
    available = [form.value for form in (Form.JSON, Form.YAML) if form in offered]
    raise not_acceptable((*available, "application/json;stream=watch"))


def _form(media: str, parameters: dict[str, str]) -> Form | None:
    if media in (JSON, "application/*", "*/*"):
        match parameters.get("as"), parameters.get("v"):
            case None, _:
                return Form.JSON
            case "Table", "v1":
                return Form.TABLE
            case "APIGroupDiscoveryList", "v2":
                return Form.DISCOVERY
        return None
    return Form.YAML if media == YAML and "as" not in parameters else None


def encode(obj: Object, form: Form) -> tuple[bytes, str]:
    """The body and its content type; a table is JSON like any other object."""
    if form is Form.YAML:
        return yaml.dump(obj, Dumper=_Dumper, allow_unicode=True).encode(), YAML
    return msgspec.json.encode(obj) + b"\n", AGGREGATED if form is Form.DISCOVERY else JSON


def decode(body: bytes, media: str) -> object:
    """The value of a request's body, which is JSON, YAML or a review as protobuf. Raises ValueError for a
    malformed body, `ApiError` 415 for other media."""
    if media == YAML:
        try:
            return yaml.safe_load(body)
        except yaml.YAMLError as error:
            raise ValueError(str(error)) from error
    if media == PROTOBUF:
        return decode_review(body)
    if media not in ("", JSON, JSON_PATCH, *PATCHES):
        raise unsupported_media_type((JSON, YAML))
    return msgspec.json.decode(body)
