"""What a YAML scalar stands for, as kubectl reads it: YAML 1.1 as go-yaml version 2 understands it.

That is not quite YAML 1.1: ``y`` and ``n`` are booleans too, ``0o17`` is a number, ``08`` is a float, and
``12:30`` is text (no base 60). Dates stay text, as they become JSON's strings. kubectl reads through
sigs.k8s.io/yaml, which keeps a copy of that library.
"""

from __future__ import annotations

import re
from functools import lru_cache

Scalar = str | int | float | bool | None

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
}
_NUMERIC = frozenset("+-.0123456789")
_INTEGER = re.compile(
    r"([-+]?)(?:(0|[1-9][0-9]*)|0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]([0-7]+)|0([0-7]+))", re.ASCII
)
_BASES = (10, 16, 2, 8, 8)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)


@lru_cache(maxsize=65536)
def plain_scalar(text: str) -> Scalar:
    """The value of a scalar written without quotes."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC:
        return text
    return _number(text if text[0] == "." else text.replace("_", ""), text)


def _number(digits: str, text: str) -> Scalar:
    found = _INTEGER.fullmatch(digits)
    if found is not None and len(digits) <= 80:
        number = next(
            int(d, base) for d, base in zip(found.groups()[1:], _BASES, strict=True) if d is not None
        )
        return -number if found[1] == "-" else number
    if _FLOAT.fullmatch(digits):
        return float(digits)
    return text


def tagged_scalar(tag: str, text: str) -> Scalar:
    """The value of a scalar with an explicit tag such as ``!!str``. Raises ValueError where the two do not fit."""
    kind = tag.removeprefix("tag:yaml.org,2002:")
    if kind not in ("bool", "int", "float", "null"):
        return text
    value = plain_scalar(text)
    if kind == "float" and type(value) is int:
        return float(value)
    if type(value).__name__ != {"null": "NoneType"}.get(kind, kind):
        raise ValueError(f"{text!r} is no !!{kind}")
    return value
