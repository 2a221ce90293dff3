"""The one thing kubectl sends as protobuf whatever it is offered: questions about its own permissions.

A body is the four bytes `k8s\\0` and an envelope (`runtime.Unknown`) with the object's type and the object
itself. The field numbers are those of the API's published `.proto` files; a schema maps a number to the JSON
name and, for messages, to the schema of what is inside.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding-idl
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from svcdoctor.lab.resources import Object

_MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    inside: Mapping[int, _Field] | None = None


def _strings(*names: str) -> dict[int, _Field]:
    return {number: _Field(name) for number, name in enumerate(names, 1)}


_ENVELOPE_TYPE, _ENVELOPE_OBJECT = 1, 2
_TYPE = _strings("apiVersion", "kind")
_RESOURCE = _strings("namespace", "verb", "group", "version", "resource", "subresource", "name")
_ACCESS = {
    1: _Field("resourceAttributes", _RESOURCE),
    2: _Field("nonResourceAttributes", _strings("path", "verb")),
}
_SCHEMAS: Mapping[str, Mapping[int, _Field]] = {
    "SelfSubjectAccessReview": {2: _Field("spec", _ACCESS)},
    "SelfSubjectReview": {},
    "SelfSubjectRulesReview": {2: _Field("spec", _strings("namespace"))},
}


def decode_review(body: bytes) -> Object:
    """The review in a protobuf body. Raises ValueError for other kinds and for malformed bytes."""
    if not body.startswith(_MAGIC):
        raise ValueError("a protobuf body must begin with k8s\\0")
    parts = dict(_fields(body[len(_MAGIC) :]))
    head = _message(parts.get(_ENVELOPE_TYPE, b""), _TYPE)
    if head.get("kind") not in _SCHEMAS:
        raise ValueError(f"{head.get('kind') or 'this kind'} is not understood as protobuf: send JSON")
    return head | _message(parts.get(_ENVELOPE_OBJECT, b""), _SCHEMAS[head["kind"]])


def _message(data: bytes, schema: Mapping[int, _Field]) -> Object:
    message: Object = {}
    for number, value in _fields(data):
        if field := schema.get(number):
            message[field.name] = value.decode() if field.inside is None else _message(value, field.inside)
    return message


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message; the others are stepped over."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            _, position = _varint(data, position)
            continue
        if wire == _BYTES:
            length, position = _varint(data, position)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"protobuf wire type {wire} is not known")
        if position + length > len(data):
            raise ValueError("the protobuf message is cut off")
        if wire == _BYTES:
            yield number, data[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("the protobuf message is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a protobuf number is longer than ten bytes")
