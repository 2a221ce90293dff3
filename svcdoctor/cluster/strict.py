"""Strict decoding of a manifest: fields that do not exist, and values of another type than the field's.

Theory. The API server decodes JSON into Go's types. A value of the wrong type is refused always; a field that it
does not know is refused where the client asks for it, as kubectl does (``--validate=strict``), and otherwise
dropped. Both are found by walking the plain values along ``fieldtables``. What is wrong is mended or left out in
place, so that the rest of the object can be looked at.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from svcdoctor.cluster.fieldtables import TABLES
from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.model.finding import Severity
from svcdoctor.model.rejection import Rejection

_GO = {
    "string": "string",
    "int": "int32",
    "bool": "bool",
    "map": "map[string]string",
    "port": "intstr.IntOrString",
}
_JSON = (
    (bool, "bool"),
    (int, "number"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)

# What fields of Ingress were called before networking.k8s.io/v1.
_FORMER = {
    ("IngressBackend", "serviceName"): "service.name, for serviceName",
    ("IngressBackend", "servicePort"): "service.port.number (or .name), for servicePort",
    ("IngressSpec", "backend"): "defaultBackend, for backend",
}

# A place in the object: the place above it, and the key or index below that; None is the object itself.
_Place = tuple[Any, str | int] | None


@cache
def _fields(table: str) -> dict[str, str]:
    return {name: kind for kind, names in TABLES[table].items() for name in names.split()}


def known(kind: str) -> bool:
    """Whether the kind's fields are listed."""
    return kind in TABLES


def decode_strictly(value: dict[str, Any], kind: str) -> list[Rejection]:
    """What strict decoding refuses in an object of ``kind``; afterwards all known fields have their types."""
    found: list[Rejection] = []
    _object(value, kind, None, found)
    return found


def _object(value: dict[str, Any], table: str, place: _Place, found: list[Rejection]) -> None:
    fields = _fields(table)
    drop: list[str] = []
    for key, part in value.items():
        kind = fields.get(key)
        if kind is None:
            found.append(_unknown(key, fields, table, place))
        elif part is None:
            drop.append(key)
        elif kind == "string":
            if type(part) is not str and _set(
                value, key, _mended(part, "string", table, (place, key), found)
            ):
                drop.append(key)
        elif kind == "int":
            if type(part) is not int and _set(value, key, _mended(part, "int", table, (place, key), found)):
                drop.append(key)
        elif kind in TABLES:
            if type(part) is dict:
                _object(part, kind, (place, key), found)
            else:
                found.append(_wrong(part, f"v1.{kind}", table, (place, key)))
                drop.append(key)
        elif kind != "any" and not _rest(value, key, part, kind, table, (place, key), found):
            drop.append(key)
    for key in drop:
        del value[key]


def _rest(
    value: dict[str, Any], key: str, part: Any, kind: str, table: str, place: _Place, found: list[Rejection]
) -> bool:
    """The less frequent types; false where the field must be left out."""
    if kind == "map":
        if type(part) is dict:
            _strings(part, table, place, found)
            return True
    elif kind == "bool":
        if type(part) is bool:
            return True
    elif kind == "port":
        if type(part) is str or type(part) is int:
            return True
    elif type(part) is list:
        _list(part, kind.removeprefix("[]"), table, place, found)
        return True
    if kind in ("bool", "port"):
        return not _set(value, key, _mended(part, kind, table, place, found))
    found.append(_wrong(part, _GO.get(kind) or f"[]{kind.removeprefix('[]')}", table, place))
    return False


def _set(value: dict[str, Any], key: str, part: Any) -> bool:
    """Puts a mended value in its place; true where there is none."""
    value[key] = part
    return part is None


def _strings(value: dict[str, Any], table: str, place: _Place, found: list[Rejection]) -> None:
    for key, part in value.items():
        if type(part) is str:
            continue
        if part is None:
            value[key] = ""
        else:
            mended = _mended(part, "string", table, (place, key), found, place)
            value[key] = "" if mended is None else mended


def _list(value: list[Any], kind: str, table: str, place: _Place, found: list[Rejection]) -> None:
    if kind == "list":
        return
    for index, part in enumerate(value):
        if kind in TABLES:
            if type(part) is dict:
                _object(part, kind, (place, index), found)
                continue
            if part is not None:
                found.append(_wrong(part, f"v1.{kind}", table, (place, index)))
            value[index] = {}
        elif type(part) is not str:
            mended = None if part is None else _mended(part, "string", table, (place, index), found)
            value[index] = "" if mended is None else mended


def _mended(
    part: Any, kind: str, table: str, place: _Place, found: list[Rejection], field: _Place = None
) -> Any:
    """The value that was probably meant, None where nobody can tell; what is refused is noted.

    ``field`` is the Go field that holds it, where that is not the place itself.
    """
    if kind in ("int", "port") and type(part) is float and part.is_integer():
        return int(part)  # JSON has one type of number
    found.append(_wrong(part, _GO[kind], table, place, field))
    if kind == "string" and type(part) in (bool, int, float):
        return str(part).lower() if type(part) is bool else str(part)
    if kind == "int" and type(part) is str and part.isdecimal() and len(part) < 10:
        return int(part)
    if kind == "bool" and type(part) is str and part.lower() in ("true", "false"):
        return part.lower() == "true"
    return None


def _wrong(part: Any, go: str, table: str, place: _Place, field: _Place = None) -> Rejection:
    said = next((word for kind, word in _JSON if isinstance(part, kind)), "null")
    path, last = path_of(place), place[1] if place else ""
    words = (
        f"json: cannot unmarshal {said} into Go struct field "
        f"{table}.{'.'.join(str(s) for s in _steps(field or place) if isinstance(s, str))} of type {go}"
    )
    fix = f"{last}: {_example(part, go)}"
    return Rejection(path, words, fix, f"{last} is {_described(part)}")


def _example(part: Any, go: str) -> str:
    if go == "string" and isinstance(part, bool | int | float):
        return f'"{part}"  (in quotes)' if type(part) is int else '"…"  (in quotes)'
    if isinstance(part, str) and (part.isdecimal() or part.lower() in ("true", "false")):
        return f"{part.lower()}  (without quotes)"
    return {"int32": "a number", "bool": "true or false", "string": "text"}.get(
        go,
        "a list"
        if go.startswith("[]")
        else "a map"
        if go.startswith("map")
        else "a number or a name"
        if go.startswith("intstr")
        else "fields of its own, indented below it",
    )


def _described(part: Any) -> str:
    if isinstance(part, list):
        return "a list"
    if isinstance(part, dict):
        return "a map"
    if isinstance(part, bool):
        return f"the boolean {str(part).lower()} (YAML reads yes, no, on, off, y and n as booleans, too)"
    return f'the text "{part}"' if isinstance(part, str) else f"the number {part}"


def _unknown(key: str, fields: dict[str, str], table: str, place: _Place) -> Rejection:
    """An unknown field, with the name that was probably meant, or the object of which it is a field."""
    path = path_of((place, key))
    return Rejection(
        path,
        f'strict decoding error: unknown field "{path}"',
        _meant(key, fields, table),
        severity=Severity.WARNING,
    )


def _meant(key: str, fields: dict[str, str], table: str) -> str:
    if (table, key) in _FORMER:
        return _FORMER[table, key]
    if table == "LabelSelector":
        return f"matchLabels: {{{key}: …}}"
    folded = [name for name in fields if name.lower() == key.lower()]
    near = folded or near_names(key, fields, 1)
    if near:
        return f"{near[0]}, for {key}"
    below = [name for name, kind in fields.items() if key in _below(kind)]
    return f"{key} belongs below {below[0]}: indent it" if below else f"remove {key}"


def _below(kind: str) -> dict[str, str]:
    table = kind.removeprefix("[]")
    return _fields(table) if table in TABLES and table != "ObjectMeta" else {}


def _steps(place: _Place) -> list[str | int]:
    steps: list[str | int] = []
    while place is not None:
        place, step = place
        steps.append(step)
    return steps[::-1]


def path_of(place: _Place) -> str:
    """Kubernetes' notation of a place: ``spec.ports[0].name``, ``metadata.labels['a.b/c']``."""
    text = ""
    for step in _steps(place):
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "").replace("-", "").isalnum():
            text += f".{step}" if text else step
        else:
            text += f"['{step}']"
    return text
