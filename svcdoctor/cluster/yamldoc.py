"""YAML documents, bounded: aliases may share, but not blow up or go round in circles.

Theory. The text is parsed once, into libyaml's nodes, which know their lines; ``plain`` makes values of them
with kubectl's reading of scalars. A document of a few bytes can stand for billions of values through aliases
("billion laughs"), or contain itself; both are refused here before anything walks the result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from svcdoctor.cluster.yamlscalars import plain_scalar, tagged_scalar
from svcdoctor.model.errors import SvcdoctorError

MAX_DEPTH = 100
MAX_VALUES = 5_000_000  # after aliases are followed

_MERGE = "<<"
_COLLECTIONS = frozenset({"", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"})
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class NotYaml(SvcdoctorError):
    """Text that is not YAML, or that must not be read; ``line`` is from 1, 0 where it is not known."""

    def __init__(self, where: str, line: int, problem: str) -> None:
        super().__init__(f"{where}{f' line {line}' if line else ''}: {problem}")
        self.line = line
        self.problem = problem


class _Loader(_Base):  # type: ignore[misc]
    """Composes nodes without resolving tags: an empty tag is one that the text does not say.

    The depth is counted while composing, which recurses in C.
    """

    depth = 0

    def resolve(self, kind: type[yaml.Node], value: str, implicit: Any) -> str:
        return ""

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH + 1:
            mark = current_node.start_mark if current_node is not None else None
            raise yaml.MarkedYAMLError(problem=f"nested more than {MAX_DEPTH} levels deep", problem_mark=mark)

    def ascend_resolver(self) -> None:
        self.depth -= 1


def compose(text: str, where: str, before: int = 0) -> list[yaml.Node]:
    """The nodes of every document in ``text``, which begins after ``before`` lines of its file.

    Raises NotYaml. The nodes' own lines count from 0 in ``text``.
    """
    nodes: list[yaml.Node] = []
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                nodes.append(loader.get_node())
        finally:
            loader.dispose()
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        problem = getattr(e, "problem", None) or str(e).splitlines()[0]
        raise NotYaml(where, before + mark.line + 1 if mark else 0, f"not YAML: {problem}") from None
    except (ValueError, RecursionError) as e:
        raise NotYaml(where, 0, f"not YAML: {e}") from None
    return nodes


def may_share(text: str) -> bool:
    """Whether the text may hold an anchor and an alias to it."""
    return "&" in text and "*" in text


def load_documents(text: str, where: str) -> list[Any]:
    """Every YAML document of ``text`` as plain values. Raises NotYaml with file and line for what is not YAML."""
    reader = Plain(where, shared=may_share(text))
    return [reader.document(node) for node in compose(text, where)]


class Plain:
    """Makes plain values of nodes. ``shared`` says that the text may hold anchors, ``before`` as in ``compose``.

    ``repeated`` are the keys that stand in their mapping a second time; the last one's value counts.
    """

    def __init__(self, where: str, before: int = 0, *, shared: bool = True) -> None:
        self.where = where
        self.before = before
        self.shared = shared
        self.repeated: list[yaml.Node] = []
        self._made: dict[int, Any] = {}

    def document(self, node: yaml.Node) -> Any:
        """The value of one document. Raises NotYaml where it nests or grows beyond bounds."""
        try:
            value = self._value(node, 0)
        except ValueError as e:
            raise NotYaml(self.where, 0, f"not YAML: {e}") from None
        if self.shared:
            _check_size(value, self.where)
        return value

    def _value(self, node: yaml.Node, depth: int) -> Any:
        if type(node) is yaml.ScalarNode:
            return self._scalar(node)
        if depth > MAX_DEPTH:
            raise NotYaml(self.where, self.line(node), "an alias contains itself")
        if node.tag not in _COLLECTIONS:
            raise NotYaml(self.where, self.line(node), f"not YAML that Kubernetes takes: the tag {node.tag}")
        if self.shared and id(node) in self._made:
            return self._made[id(node)]
        if type(node) is yaml.MappingNode:
            return self._mapping(node, depth)
        items: list[Any] = []
        if self.shared:
            self._made[id(node)] = items
        for item in node.value:
            items.append(self._value(item, depth + 1))
        return items

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.shared:
            self._made[id(node)] = found
        merged: list[Any] = []
        scalar, value_of, deeper = yaml.ScalarNode, self._value, depth + 1
        for key_node, value_node in node.value:
            # The two most frequent cases are told apart here: a call for each scalar costs as much as its parsing.
            if type(key_node) is scalar and not key_node.tag and not key_node.style:
                key = plain_scalar(key_node.value)
                if key == _MERGE:
                    merged.append(value_of(value_node, deeper))
                    continue
            else:
                key = value_of(key_node, deeper)
            if type(key) is not str:
                key = self._key(key, key_node)
            if key in found:
                self.repeated.append(key_node)
            if type(value_node) is scalar and not value_node.tag:
                found[key] = value_node.value if value_node.style else plain_scalar(value_node.value)
            else:
                found[key] = value_of(value_node, deeper)
        for other in merged:
            for mapping in other if isinstance(other, list) else (other,):
                if not isinstance(mapping, dict):
                    raise NotYaml(
                        self.where, self.line(node), "not YAML: map merge requires a map or maps as the value"
                    )
                for key, value in mapping.items():
                    found.setdefault(key, value)
        return found

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        if node.tag:
            return tagged_scalar(node.tag, node.value)
        return node.value if node.style else plain_scalar(node.value)

    def _key(self, key: Any, node: yaml.Node) -> str:
        """A key as the JSON that kubectl makes of it has it."""
        if isinstance(key, bool):
            return "true" if key else "false"
        if isinstance(key, int | float):
            return str(key)
        kind = "null" if key is None else "a list" if isinstance(key, list) else "a map"
        raise NotYaml(self.where, self.line(node), f"not YAML that Kubernetes takes: {kind} as a key")

    def line(self, node: yaml.Node) -> int:
        """The line of the file on which the node begins, from 1."""
        return self.before + int(node.start_mark.line) + 1


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
            raise NotYaml(where, 0, f"an alias contains itself, or nests more than {MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise NotYaml(where, 0, f"aliases expand to more than {MAX_VALUES:,} values")
        if isinstance(value, dict):
            stack.append((iter(value.values()), depth + 1))
        elif isinstance(value, list):
            stack.append((iter(value), depth + 1))
