"""Objects' fields as one flat map of names and texts, and how two such maps differ."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from svcdoctor.model.base import Base

WHOLE = frozenset({"selector", "matchLabels", "podSelector", "namespaceSelector"})  # read best as one
Difference = tuple[str, str | None, str | None]
"""A name and its texts before and after, ``None`` where it is not there."""


def flat(value: Base, name: str) -> dict[str, str]:
    """Every field of an object's part that is not its default, by its name in Kubernetes' notation.

    Elements of lists are named by their own name where all have one: ``spec.ports[http].targetPort``.
    """
    return dict(_flat(msgspec.to_builtins(value), name))


def _flat(value: Any, name: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and name.rpartition(".")[2] not in WHOLE:
        for key, part in value.items():
            yield from _flat(part, f"{name}.{key}" if key.isalnum() else f"{name}['{key}']")
    elif isinstance(value, list | tuple) and any(isinstance(part, dict) for part in value):
        for key, part in zip(_keys(value), value, strict=True):
            yield from _flat(part, f"{name}[{key}]")
    elif value is not None:
        yield name, _text(value)


def _keys(parts: Sequence[Any]) -> list[str]:
    """What tells a list's elements apart: their names, the numbers of ports, else their places."""
    for key in ("name", "host", "port"):
        found = [str(p.get(key) or "") if isinstance(p, dict) else "" for p in parts]
        if all(found) and len(set(found)) == len(found):
            return found
    return [str(i) for i in range(len(parts))]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    if isinstance(value, dict) and all(isinstance(v, str) for v in value.values()):
        return ",".join(f"{k}={v}" for k, v in sorted(value.items())) or "(empty)"
    return json.dumps(value)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    """What two maps differ in, in the order of the first, then what is new."""
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old != new:
            yield name, old, new
