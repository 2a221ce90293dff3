"""Tables: what `kubectl get` prints, computed by the server.

The columns of each resource live in the modules of their field; here is the frame around them. The server
always sends the wide columns too; their priority 1 tells kubectl to show them with `-o wide` only.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from svcdoctor.lab.resources import Object

NONE = "<none>"

Cells = Callable[[Object, datetime], list[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `wide` ones are for `-o wide`."""

    name: str
    kind: str = "string"
    wide: bool = False

    def definition(self) -> Object:
        """The `TableColumnDefinition`."""
        return {
            "name": self.name,
            "type": self.kind,
            "format": "name" if self.name == "Name" else "",
            "description": "",
            "priority": int(self.wide),
        }


@dataclass(frozen=True, slots=True)
class Printer:
    """How one resource is shown: its columns, an object's cells in their order, and its row conditions."""

    columns: tuple[Column, ...]
    cells: Cells
    conditions: Callable[[Object], list[Object]] | None = None


def columns(*names: str) -> tuple[Column, ...]:
    """Columns by name: a `*` behind the name marks the wide ones, a `#` the integers."""
    return tuple(Column(n.rstrip("*#"), "integer" if "#" in n else "string", "*" in n) for n in names)


def table(
    printer: Printer,
    objects: Iterable[Object],
    *,
    now: datetime,
    metadata: Mapping[str, Any],
    include: str = "Metadata",
    headers: bool = True,
) -> Object:
    """The objects as a `Table`; `metadata` is the list's.

    `include` is the request's `includeObject`: `None`, `Metadata` or `Object`. A watch sends the column
    definitions (`headers`) with its first event only.
    """
    rows = []
    for obj in objects:
        row: Object = {"cells": printer.cells(obj, now)}
        if printer.conditions and (conditions := printer.conditions(obj)):
            row["conditions"] = conditions
        row["object"] = _included(obj, include)
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": dict(metadata),
        "columnDefinitions": [column.definition() for column in printer.columns] if headers else None,
        "rows": rows,
    }


def _included(obj: Object, include: str) -> Object | None:
    if include == "None":
        return None
    if include == "Object":
        return obj
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def name_of(obj: Object) -> str:
    """The Name cell."""
    return str(obj["metadata"].get("name", ""))


def spec_of(obj: Object) -> Object:
    """The object's spec, empty where it has none."""
    return obj.get("spec") or {}


def status_of(obj: Object) -> Object:
    """The object's status, empty where it has none."""
    return obj.get("status") or {}


def age(obj: Object, now: datetime) -> str:
    """The Age cell: time since the object's creation."""
    return since(obj["metadata"].get("creationTimestamp"), now)


def since(timestamp: str | None, now: datetime) -> str:
    """Time since an RFC 3339 timestamp as kubectl words it, `<unknown>` without one."""
    if not timestamp:
        return "<unknown>"
    return human_duration(now - datetime.fromisoformat(timestamp))


def human_duration(elapsed: timedelta) -> str:
    """A duration in the two most telling units, as kubectl rounds it: `45s`, `5m30s`, `12m`, `3d4h`, `2y`."""
    seconds = int(elapsed.total_seconds())
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    if days < 2920:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def some(values: list[str], empty: str, shown: int = 3) -> str:
    """The first few values and how many more there are: `a,b,c + 2 more...`."""
    text = ",".join(values[:shown])
    if len(values) > shown:
        return f"{text} + {len(values) - shown} more..."
    return text or empty


def labels_text(labels: Mapping[str, str] | None) -> str:
    """A plain selector as text: `app=web,tier=front`."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: Object | None) -> str:
    """A `LabelSelector` as text; the empty one, which selects everything, is `<none>`."""
    selector = selector or {}
    terms = [(key, f"{key}={value}") for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        key, operator = expression["key"], expression["operator"]
        values = ",".join(sorted(expression.get("values") or []))
        forms = {"In": f"{key} in ({values})", "NotIn": f"{key} notin ({values})", "DoesNotExist": f"!{key}"}
        terms.append((key, forms.get(operator, key)))
    return ",".join(text for _, text in sorted(terms)) or NONE
