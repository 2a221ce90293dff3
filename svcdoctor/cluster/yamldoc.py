"""YAML documents, bounded: aliases may share, but not blow up or go round in circles.

YAML 1.1 as kubectl reads it. A document of a few bytes can stand for billions of values through aliases
("billion laughs"), or contain itself; both are refused here before anything walks the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from svcdoctor.model.errors import SvcdoctorError

MAX_DEPTH = 100
MAX_VALUES = 5_000_000  # after aliases are followed

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """Timestamps stay strings, as they are in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Base.yaml_implicit_resolvers.items()
}


def load_documents(text: str, where: str) -> list[Any]:
    """Every YAML document of ``text``. Raises SvcdoctorError with file and line for what is not YAML."""
    try:
        _check_depth(text, where)
        documents = list(yaml.load_all(text, Loader=_Loader))
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        problem = getattr(e, "problem", None) or str(e).splitlines()[0]
        raise SvcdoctorError(f"{where}{line}: not YAML: {problem}") from None
    except (ValueError, RecursionError) as e:
        raise SvcdoctorError(f"{where}: not YAML: {e}") from None
    for document in documents:
        _check_size(document, where)
    return documents


def _check_depth(text: str, where: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                line = f" line {event.start_mark.line + 1}" if event.start_mark else ""
                raise SvcdoctorError(f"{where}{line}: nested more than {MAX_DEPTH} levels deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_size(document: Any, where: str) -> None:
    stack: list[tuple[Iterator[Any], int]] = [(iter((document,)), 0)]
    values = 0
    while stack:
        iterator, depth = stack[-1]
        value = next(iterator, stack)
        if value is stack:
            stack.pop()
            continue
        values += 1
        if depth > MAX_DEPTH:
            raise SvcdoctorError(f"{where}: an alias contains itself, or nests more than {MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise SvcdoctorError(f"{where}: aliases expand to more than {MAX_VALUES:,} values")
        if isinstance(value, dict):
            stack.append((iter(value.values()), depth + 1))
        elif isinstance(value, list):
            stack.append((iter(value), depth + 1))
