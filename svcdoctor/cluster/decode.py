"""Objects out of the API's JSON and YAML.

Theory. A dump is an object, a ``List`` of any kinds or a typed list (``PodList``). Nearly every big file
holds one kind, and decoding it as ``list[Pod]`` in one pass, skipping all unused fields, costs a tenth of a
plain JSON load. So the kind is guessed from the file's first bytes, the guess is decoded, and every item's
own kind is checked; where the guess was wrong the items are taken apart one by one.

What may live here: bytes in, objects out; a ``SvcdoctorError`` that names the place for what is not one.
No files: ``where`` is only a name for messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

import msgspec

from svcdoctor.cluster.kinds import BY_NAME, CONFIG_MAPS, KindInfo
from svcdoctor.model.base import KubeObject
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.errors import SvcdoctorError

# What a file's bytes come as: read, or a view of a mapped file.
Buffer = bytes | memoryview

_KIND = re.compile(rb'"kind"\s*:\s*"([A-Za-z]+)"')
_HEAD = 65536
_TABLE = re.compile(rb"^(NAMESPACE\s+)?NAME\s+[A-Z]{2,}[A-Z() \t-]*\r?\n")


class _TypeMeta(msgspec.Struct, rename="camel"):
    kind: str = ""
    api_version: str = ""
    items: msgspec.Raw = msgspec.Raw()


@cache
def _list_decoder(info: KindInfo) -> msgspec.json.Decoder[Any]:
    fields: list[Any] = [
        ("kind", str, ""),
        ("api_version", str, ""),
        ("items", list[info.type] | None, None),  # type: ignore[name-defined]
    ]
    return msgspec.json.Decoder(msgspec.defstruct(f"{info.kind}Items", fields, rename="camel"))


@cache
def _object_decoder(info: KindInfo) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(info.type)


_type_meta = msgspec.json.Decoder(_TypeMeta)
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_raw_items = msgspec.json.Decoder(list[msgspec.Raw] | None)


def _wanted(obj: KubeObject) -> bool:
    return not isinstance(obj, ConfigMap) or (obj.namespace, obj.name) in CONFIG_MAPS


def decode_json(data: Buffer, where: str) -> list[KubeObject] | None:
    """The known objects in one JSON document, in order; other kinds are skipped.

    ``None`` when the document is JSON but no Kubernetes object at all. Raises SvcdoctorError, naming
    ``where``, for what is not JSON or does not have a kind's shape.
    """
    head = bytes(memoryview(data)[:_HEAD])
    try:
        guess = _guess(head)
        if guess is not None:
            objects = _decode_one_kind(data, guess)
            if objects is not None:
                return objects
        return _decode_any(data)
    except msgspec.ValidationError as e:
        raise SvcdoctorError(f"{where}: not a valid object: {e}") from None
    except msgspec.DecodeError as e:
        raise SvcdoctorError(f"{where}: {_why_not_json(head, str(e))}") from None
    except RecursionError:
        raise SvcdoctorError(f"{where}: nested too deeply to be a Kubernetes object") from None


def _guess(head: bytes) -> KindInfo | None:
    for match in _KIND.finditer(head):
        name = match[1].decode()
        if name == "List":
            continue
        return BY_NAME.get(name.removesuffix("List"))
    return None


def _decode_one_kind(data: Buffer, info: KindInfo) -> list[KubeObject] | None:
    try:
        whole = _list_decoder(info).decode(data)
    except msgspec.ValidationError:
        return None
    if whole.items is None:
        return None
    kind = str(info.kind)
    plain_list = whole.kind == f"{kind}List"
    for item in whole.items:
        if item.kind != kind and not (plain_list and not item.kind):
            return None
        if not info.accepts(item.api_version or (whole.api_version if plain_list else "")):
            return None
    return [_with_kind(o, kind) for o in whole.items if _wanted(o)]


def _with_kind(obj: KubeObject, kind: str) -> KubeObject:
    return obj if obj.kind else msgspec.structs.replace(obj, kind=kind)


def _decode_any(data: Buffer) -> list[KubeObject] | None:
    if bytes(memoryview(data)[:_HEAD]).lstrip()[:1] != b"{":
        return _decode_array(data)
    meta = _type_meta.decode(data)
    if not meta.kind:
        return None
    if not meta.kind.endswith("List"):
        return list(_decode_object(data, meta))
    item_kind = meta.kind.removesuffix("List")
    objects: list[KubeObject] = []
    for raw in (_raw_items.decode(meta.items) if bytes(meta.items) else None) or ():
        item = _type_meta.decode(raw)
        if not item.kind and item_kind:
            item = _TypeMeta(item_kind, meta.api_version)
        objects.extend(_decode_object(raw, item))
    return objects


def _decode_array(data: Buffer) -> list[KubeObject] | None:
    """The objects of a bare array (``jq .items``); ``None`` for JSON that holds none."""
    objects: list[KubeObject] = []
    for raw in _raws.decode(data):
        if bytes(raw)[:1] == b"{":
            objects.extend(_decode_object(raw, _type_meta.decode(raw)))
    return objects or None


def _decode_object(data: Buffer, meta: _TypeMeta) -> Iterator[KubeObject]:
    info = BY_NAME.get(meta.kind)
    if info is None or not info.accepts(meta.api_version):
        return
    obj = _with_kind(_object_decoder(info).decode(data), meta.kind)
    if _wanted(obj):
        yield obj


def decode_manifest(value: dict[str, Any]) -> KubeObject | None:
    """The object of one manifest as plain values; ``None`` for what nothing here rests on.

    Raises SvcdoctorError for what does not have its kind's shape.
    """
    info = BY_NAME[value["kind"]]
    try:
        obj: KubeObject = _object_decoder(info).decode(msgspec.json.encode(value))
    except (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError) as e:
        raise SvcdoctorError(f"not a valid object: {e}") from None
    return obj if _wanted(obj) else None


def _why_not_json(head: bytes, error: str) -> str:
    if _TABLE.match(head.lstrip()):
        return "this is kubectl's table for people; dump it with -o json (kubectl get … -o json)"
    if not head.strip():
        return "the file is empty"
    if "truncated" in error or "end of" in error:
        return "the JSON is cut off; dump it again"
    return f"not JSON: {error}"


def looks_like_table(head: bytes) -> bool:
    """Whether the text is the table that ``kubectl get`` prints for people."""
    return _TABLE.match(head.lstrip()) is not None


def decode_documents(documents: Iterable[Any], where: str) -> list[KubeObject]:
    """The known objects among already parsed YAML documents; ``None`` documents are skipped.

    Raises SvcdoctorError for a document that is no Kubernetes object, naming its number from 1.
    """
    objects: list[KubeObject] = []
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        place = f"{where}, document {number}"
        if not isinstance(document, dict) or not isinstance(document.get("kind"), str):
            raise SvcdoctorError(f"{place}: not a Kubernetes object (no kind)")
        try:
            data = msgspec.json.encode(document)
        except (TypeError, ValueError, OverflowError, RecursionError) as e:
            raise SvcdoctorError(f"{place}: not a Kubernetes object: {e}") from None
        objects.extend(decode_json(data, place) or ())
    return objects
