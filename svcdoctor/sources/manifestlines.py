"""Where an object, and each of its fields, is written: file and line."""

from __future__ import annotations

import re
from dataclasses import dataclass

import yaml

from svcdoctor.model.checkup import Place

_STEP = re.compile(r"\.?([^.\[\]']+)|\[(\d+)\]|\['([^']*)'\]")


@dataclass(frozen=True, slots=True)
class Written:
    """One object in a file. ``node`` is it, in a text that begins after ``before`` lines of the file.

    Without a node only the file is known. What Helm rendered counts as written in its template, by the lines of the
    text that the template rendered to.
    """

    file: str
    before: int = 0
    node: yaml.Node | None = None

    def place(self, field: str = "") -> Place:
        """The field's line; else that of the nearest part around it that is written, at least the object's."""
        if self.node is None:
            return Place(self.file, max(self.before + 1, 1))
        return Place(self.file, max(self.before + 1 + _line(self.node, field), 1))

    def place_of(self, part: yaml.Node) -> Place:
        return Place(self.file, max(self.before + 1 + int(part.start_mark.line), 1))

    def item(self, key: str, index: int) -> Written:
        """An item of a list that the object holds, such as those of a List."""
        items = _value(self.node, key)
        if isinstance(items, yaml.SequenceNode) and index < len(items.value):
            return Written(self.file, self.before, items.value[index])
        return self

    def field_of(self, key: yaml.Node) -> str:
        """The path of a key of the object, in Kubernetes' notation; empty where the object does not hold it."""
        return _find(self.node, key, "") if self.node is not None else ""


def _line(node: yaml.Node, field: str) -> int:
    line: int = node.start_mark.line
    for name, index, quoted in _STEP.findall(field):
        step: yaml.Node | None = None
        if index:
            items = node.value if isinstance(node, yaml.SequenceNode) else ()
            if int(index) < len(items):
                step = node = items[int(index)]
        elif isinstance(node, yaml.MappingNode):
            wanted = name or quoted
            pair = next((p for p in reversed(node.value) if p[0].value == wanted), None)
            if pair is not None:
                step, node = pair
        if step is None:
            break
        line = step.start_mark.line
    return line


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return next((value for k, value in reversed(pairs) if k.value == key), None)


def _find(node: yaml.Node, key: yaml.Node, path: str) -> str:
    if isinstance(node, yaml.SequenceNode):
        found = (_find(item, key, f"{path}[{i}]") for i, item in enumerate(node.value))
        return next((f for f in found if f), "")
    if not isinstance(node, yaml.MappingNode):
        return ""
    for k, value in node.value:
        name = str(k.value)
        plain = name.replace("_", "").replace("-", "").isalnum()
        here = f"{path}['{name}']" if not plain else f"{path}.{name}" if path else name
        if k is key:
            return here
        below = _find(value, key, here)
        if below:
            return below
    return ""
