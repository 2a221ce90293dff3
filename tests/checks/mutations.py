"""A real cluster with single changes: what a fault would make of a capture, without a cluster.

    capture("iptables").changed(SetField("Service", "truth", "web", "spec.ports[0].targetPort", 8081))
    capture("nftables").changed(DeleteElements("node1", "ip", "service-ips", "10.96.1.10"))
    capture("iptables").changed(DeleteLines("node2", "iptables-save*.txt", "-A KUBE-SERVICES .*truth/web"))

A capture is read once. ``changed`` gives a new Capture that shares everything with the old one but what the changes
touch; its ``snapshot`` decodes only that, and ``ask`` and ``ask_name`` put a user's question to it. A change that finds
nothing to change is an error: a mutation that changes nothing proves nothing.

Objects are changed as plain JSON, before anything decodes them. A path is written as findings write it
(``spec.ports[0].nodePort``, ``metadata.labels['app.kubernetes.io/name']``), or with dots for indexes too
(``spec.ports.0.nodePort``). Nodes and dumps may be patterns (``*``, ``iptables-save*.txt``); lines are found by a
regular expression that may match anywhere in them.
"""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any

from captured import Capture, Change, Draft, Json, Key, NothingToChange, capture, key_of, made  # noqa: F401
from dumpchanges import (  # noqa: F401
    AddElement,
    DeleteElements,
    DeleteLines,
    DeleteRules,
    DropDump,
    DropNode,
    EditJson,
    InsertLine,
    InsertRule,
    NoNodes,
    ReplaceInTables,
    ReplaceLines,
    SetDump,
    SetSysctl,
)

from svcdoctor.model.facts import Kind


@dataclass(frozen=True)
class _OfObject:
    kind: str
    namespace: str
    name: str

    @property
    def touches(self) -> str:
        return "/".join(filter(None, self.key))

    @property
    def key(self) -> Key:
        return self.kind, self.namespace, self.name


@dataclass(frozen=True)
class SetField(_OfObject):
    """Sets the value at a path; maps on the way are made where they are missing."""

    path: str
    value: Any

    def apply(self, to: Draft) -> None:
        parent, last = _parent(to.object(self.key), self.path, make=True)
        if isinstance(parent, list) and int(last) >= len(parent):
            raise NothingToChange(f"{self.touches} has no {self.path}")
        step = int(last) if isinstance(parent, list) else last
        if (parent[step] if isinstance(parent, list) else parent.get(step, self)) == self.value:
            raise NothingToChange(f"{self.touches}: {self.path} is {self.value!r} already")
        parent[step] = self.value


@dataclass(frozen=True)
class DeleteField(_OfObject):
    """Removes a field, or an element of a list, at a path."""

    path: str

    def apply(self, to: Draft) -> None:
        parent, last = _parent(to.object(self.key), self.path)
        try:
            del parent[int(last) if isinstance(parent, list) else last]
        except (KeyError, IndexError):
            raise NothingToChange(f"{self.touches} has no {self.path}") from None


@dataclass(frozen=True)
class AppendTo(_OfObject):
    """Adds an element to the list at a path, which is made where it is missing."""

    path: str
    value: Any

    def apply(self, to: Draft) -> None:
        parent, last = _parent(to.object(self.key), self.path, make=True)
        if isinstance(parent, list):
            parent[int(last)].append(self.value)
        else:
            parent[last] = [*(parent.get(last) or ()), self.value]


@dataclass(frozen=True)
class AddObject:
    """Adds an object, or puts it in another one's place."""

    manifest: Json

    @property
    def touches(self) -> str:
        return "/".join(filter(None, key_of(self.manifest)))

    def apply(self, to: Draft) -> None:
        to.put(copy.deepcopy(self.manifest))
        to.unknown -= {Kind(self.manifest["kind"])}


@dataclass(frozen=True)
class DeleteObject(_OfObject):
    def apply(self, to: Draft) -> None:
        to.drop(self.key)


@dataclass(frozen=True)
class Copied(_OfObject):
    """Adds a copy of an object under another name."""

    new_name: str

    def apply(self, to: Draft) -> None:
        copied = copy.deepcopy(to.object(self.key))
        copied["metadata"]["name"] = self.new_name
        to.put(copied)


@dataclass(frozen=True)
class NotDumped:
    """Nobody dumped objects of this kind."""

    kind: str

    @property
    def touches(self) -> str:
        return self.kind

    def apply(self, to: Draft) -> None:
        to.unknown |= {Kind(self.kind)}


_STEP = re.compile(r"\[(\d+)\]|\['([^']+)'\]|\.?([^.\[\]]+)")


def _parent(obj: Json, path: str, make: bool = False) -> tuple[Any, str]:
    """What holds the path's last step, and that step."""
    *steps, last = ("".join(m.groups(default="")) for m in _STEP.finditer(path))
    at: Any = obj
    for step in steps:
        try:
            if make and isinstance(at, dict) and at.get(step) is None:
                at[step] = {}
            at = at[int(step) if isinstance(at, list) else step]
        except (KeyError, IndexError):
            raise NothingToChange(f"{'/'.join(filter(None, key_of(obj)))} has no {path}") from None
    return at, last
