"""JSON Patch, as ``kubectl patch --type=json`` sends it and the fixes of findings are written.

Specification: RFC 6902, RFC 6901
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from svcdoctor.lab.resources import Object

MOST = 10_000
"""Operations of one patch, as Kubernetes has it."""


def json_patch(current: Object, operations: Sequence[Any]) -> Object:
    """The object with all operations done. Raises ValueError, in one line, where one of them cannot be."""
    if len(operations) > MOST:
        raise ValueError(f"{len(operations):,} operations are more than {MOST:,}")
    whole: Any = {"": copy.deepcopy(current)}  # so that the root has a place, too
    for operation in operations:
        if not isinstance(operation, dict):
            raise ValueError("each operation must be an object")
        _apply(whole, operation)
    result = whole.get("")
    if not isinstance(result, dict):
        raise ValueError("the result is no object")
    return result


def _apply(whole: Any, operation: Object) -> None:
    op, path = operation.get("op"), _place(operation, "path")
    match op:
        case "add":
            _add(whole, path, _value(operation))
        case "remove":
            _remove(whole, path)
        case "replace":
            _remove(whole, path)
            _add(whole, path, _value(operation))
        case "move":
            source = _place(operation, "from")
            if path[: len(source)] == source and path != source:
                raise ValueError(f"{_text(source)} cannot be moved into itself")
            _add(whole, path, _remove(whole, source))
        case "copy":
            _add(whole, path, copy.deepcopy(_get(whole, _place(operation, "from"))))
        case "test":
            if _get(whole, path) != _value(operation):
                raise ValueError(f"testing value {_text(path)} failed")
        case _:
            raise ValueError(f"unexpected operation {op!r}")


def _place(operation: Object, name: str) -> list[str]:
    """The keys of a JSON pointer, below the place of the root."""
    pointer = operation.get(name)
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise ValueError(f"{name} {pointer!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")]


def _value(operation: Object) -> Any:
    if "value" not in operation:
        raise ValueError(f"{operation.get('op')} without a value")
    return copy.deepcopy(operation["value"])


def _text(path: Sequence[str]) -> str:
    return "/".join(path) or "the whole object"


def _get(at: Any, path: Sequence[str]) -> Any:
    for number, key in enumerate(path):
        if isinstance(at, dict) and key in at:
            at = at[key]
        elif isinstance(at, list):
            at = at[_index(at, key, path, len(at) - 1)]
        else:
            raise ValueError(f"{_text(path[: number + 1])} does not exist")
    return at


def _add(whole: Any, path: Sequence[str], value: Any) -> None:
    parent, key = _get(whole, path[:-1]), path[-1]
    if isinstance(parent, list):
        parent.insert(len(parent) if key == "-" else _index(parent, key, path, len(parent)), value)
    elif isinstance(parent, dict):
        parent[key] = value
    else:
        raise ValueError(f"{_text(path[:-1])} is no object and no list")


def _remove(whole: Any, path: Sequence[str]) -> Any:
    value = _get(whole, path)
    parent, key = _get(whole, path[:-1]), path[-1]
    del parent[int(key) if isinstance(parent, list) else key]
    return value


def _index(held: list[Any], key: str, path: Sequence[str], most: int) -> int:
    """The index that a key is. Raises ValueError for one that is none, or beyond ``most``."""
    plain = key.isascii() and key.isdigit() and (key == "0" or not key.startswith("0")) and len(key) < 10
    if not plain or int(key) > most:
        raise ValueError(f"{_text(path)}: {key!r} is no index of a list of {len(held)}")
    return int(key)
