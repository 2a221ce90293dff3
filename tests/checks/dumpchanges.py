"""Changes to what a node's dumps say: lines of text, sysctls, whole dumps, and elements and rules in nft.json.

``mutations`` says how they are used; nodes and dumps may be patterns.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from captured import Draft, Json, NothingToChange


@dataclass(frozen=True)
class _OfNode:
    node: str

    @property
    def touches(self) -> str:
        return f"Node/{self.node}"


@dataclass(frozen=True)
class _OfDump(_OfNode):
    dump: str


@dataclass(frozen=True)
class DeleteLines(_OfDump):
    """Deletes every line that the pattern matches; ``table`` leaves iptables' other tables as they are."""

    pattern: str
    table: str = ""

    def apply(self, to: Draft) -> None:
        to.edit(self.node, self.dump, lambda data: _changed(data, self.pattern, self.table, lambda line: ()))


@dataclass(frozen=True)
class ReplaceLines(_OfDump):
    """Replaces what the pattern matches, on every line where it does, as ``re.sub`` does."""

    pattern: str
    by: str
    table: str = ""

    def apply(self, to: Draft) -> None:
        def replaced(line: str) -> tuple[str]:
            return (re.sub(self.pattern, self.by, line),)

        to.edit(self.node, self.dump, lambda data: _changed(data, self.pattern, self.table, replaced))


@dataclass(frozen=True)
class InsertLine(_OfDump):
    """Inserts a line before the first one that ``before`` matches, after the first for ``after``, else at the end."""

    line: str
    before: str = ""
    after: str = ""
    table: str = ""

    def apply(self, to: Draft) -> None:
        def inserted(line: str) -> tuple[str, str]:
            return (line, self.line) if self.after else (self.line, line)

        def edit(data: bytes) -> bytes | None:
            if not self.before and not self.after:
                return data.rstrip(b"\n") + f"\n{self.line}\n".encode()
            return _changed(data, self.before or self.after, self.table, inserted, first=True)

        to.edit(self.node, self.dump, edit)


def _changed(
    data: bytes, pattern: str, table: str, by: Callable[[str], tuple[str, ...]], first: bool = False
) -> bytes | None:
    """The dump with what ``by`` makes of each line that matches, or of the first; ``None`` where none does."""
    wanted, lines, now, found = re.compile(pattern), [], "", False
    for line in data.decode().splitlines():
        now = line[1:] if line.startswith("*") else now
        if wanted.search(line) and (not table or now == table) and not (first and found):
            found = True
            lines += by(line)
        else:
            lines.append(line)
    return ("\n".join(lines) + "\n").encode() if found else None


@dataclass(frozen=True)
class SetSysctl(_OfNode):
    """Sets a sysctl of the node's dump, which may be missing in it so far."""

    key: str
    value: object

    def apply(self, to: Draft) -> None:
        def edit(data: bytes) -> bytes:
            key, line = re.escape(self.key), f"{self.key} = {self.value}"
            changed = _changed(data, rf"^{key} = ", "", lambda old: (line,))
            return data + f"{line}\n".encode() if changed is None else changed

        to.edit(self.node, "sysctl.txt", edit)


@dataclass(frozen=True)
class SetDump(_OfDump):
    """Gives a node a dump, in the place of the one that it has."""

    text: str

    def apply(self, to: Draft) -> None:
        for name in to.nodes(self.node):
            to.dumps[name] = {**to.dumps[name], self.dump: self.text.encode()}
            to.nodes_touched.add(name)


@dataclass(frozen=True)
class DropDump(_OfDump):
    """Takes dumps away: nobody collected them."""

    def apply(self, to: Draft) -> None:
        for name in to.nodes(self.node):
            left = {d: data for d, data in to.dumps[name].items() if not fnmatchcase(d, self.dump)}
            if left == to.dumps[name]:
                raise NothingToChange(f"node {name} has no {self.dump}")
            to.dumps[name] = left
            to.nodes_touched.add(name)


@dataclass(frozen=True)
class DropNode(_OfNode):
    """Takes a node's dumps away, all of them; its Node object stays."""

    def apply(self, to: Draft) -> None:
        for name in to.nodes(self.node):
            del to.dumps[name]


@dataclass(frozen=True)
class EditJson(_OfDump):
    """Edits a dump that is JSON; ``by`` changes the value in place."""

    by: Callable[[Any], None]

    def apply(self, to: Draft) -> None:
        def edit(data: bytes) -> bytes | None:
            value = json.loads(data)
            before = json.dumps(value)
            self.by(value)
            after = json.dumps(value)
            return after.encode() if after != before else None

        to.edit(self.node, self.dump, edit)


@dataclass(frozen=True)
class NoNodes:
    """Takes all nodes' dumps away: the objects alone are held."""

    touches: str = ""

    def apply(self, to: Draft) -> None:
        to.dumps = {}


# --- nft.json


@dataclass(frozen=True)
class _OfTable(_OfNode):
    """``family`` is ``ip`` or ``ip6``; ``name`` a chain, set or map of the table kube-proxy, or TABLE:NAME; a pattern.

    ``holding`` is a text that the element or rule holds as compact JSON, ``""`` for all of them.
    """

    family: str
    name: str
    holding: str

    def _is(self, thing: Json, key: str) -> bool:
        table, _, name = self.name.rpartition(":")
        mine = (thing["family"], thing["table"]) == (self.family, table or "kube-proxy")
        return mine and fnmatchcase(thing[key], name)

    def _holds(self, thing: Any) -> bool:
        return self.holding in json.dumps(thing, separators=(",", ":"))


@dataclass(frozen=True)
class DeleteElements(_OfTable):
    """Deletes elements of a set or map."""

    def apply(self, to: Draft) -> None:
        def edit(value: Json) -> None:
            for entry in value["nftables"]:
                for key in ("set", "map"):
                    if key in entry and self._is(entry[key], "name"):
                        entry[key]["elem"] = [e for e in entry[key].get("elem", ()) if not self._holds(e)]

        EditJson(self.node, "nft.json", edit).apply(to)


@dataclass(frozen=True)
class AddElement(_OfTable):
    """Adds an element to a set or map, as nft writes it in JSON; ``holding`` is not looked at."""

    element: Any

    def apply(self, to: Draft) -> None:
        def edit(value: Json) -> None:
            for entry in value["nftables"]:
                for key in ("set", "map"):
                    if key in entry and self._is(entry[key], "name"):
                        entry[key]["elem"] = [*entry[key].get("elem", ()), self.element]

        EditJson(self.node, "nft.json", edit).apply(to)


@dataclass(frozen=True)
class DeleteRules(_OfTable):
    """Deletes rules of a chain."""

    def apply(self, to: Draft) -> None:
        def edit(value: Json) -> None:
            value["nftables"] = [
                entry
                for entry in value["nftables"]
                if not ("rule" in entry and self._is(entry["rule"], "chain") and self._holds(entry["rule"]))
            ]

        EditJson(self.node, "nft.json", edit).apply(to)


@dataclass(frozen=True)
class InsertRule(_OfTable):
    """Inserts a rule, its ``expr`` as nft writes it in JSON, before those that hold the text; at the end for none."""

    expr: tuple[Json, ...]

    def apply(self, to: Draft) -> None:
        def edit(value: Json) -> None:
            table, _, chain = self.name.rpartition(":")
            rule = {"family": self.family, "table": table or "kube-proxy", "chain": chain}
            listed = value["nftables"]
            at = [
                i
                for i, entry in enumerate(listed)
                if "rule" in entry
                and self._is(entry["rule"], "chain")
                and self.holding
                and self._holds(entry["rule"])
            ]
            listed.insert(
                at[0] if at else len(listed), {"rule": {**rule, "handle": 0, "expr": list(self.expr)}}
            )

        EditJson(self.node, "nft.json", edit).apply(to)


@dataclass(frozen=True)
class ReplaceInTables(_OfTable):
    """Replaces a text in an element or rule by another one."""

    by: str

    def apply(self, to: Draft) -> None:
        def edit(value: Json) -> None:
            for entry in value["nftables"]:
                for key, named in (("set", "name"), ("map", "name"), ("rule", "chain")):
                    if key in entry and self._is(entry[key], named):
                        text = json.dumps(entry[key], separators=(",", ":"))
                        entry[key] = json.loads(text.replace(self.holding, self.by))

        EditJson(self.node, "nft.json", edit).apply(to)
