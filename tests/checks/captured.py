"""A real cluster's objects and dumps as plain values, which changes can be applied to; and questions to it.

A capture of fixtures/captures is read once; ``made`` makes a cluster of objects alone. What a change touches is decoded
anew, everything else is shared. The changes themselves are in ``mutations``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

from svcdoctor.checks.diagnose import answer_once
from svcdoctor.checks.lookups import lookup
from svcdoctor.cluster.decode import decode_json
from svcdoctor.model.base import KubeObject
from svcdoctor.model.evidence import Evidence
from svcdoctor.model.facts import Kind, Known, Need, Unknown
from svcdoctor.model.lookup import Lookup
from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.model.request import Request
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.model.trace import EntryKind, Trace
from svcdoctor.path.clients import parse_client
from svcdoctor.path.dnssetting import NameQuestion
from svcdoctor.path.lookup import Observed
from svcdoctor.path.target import parse_target
from svcdoctor.sources.archive import read_snapshot
from svcdoctor.sources.files import raw_objects
from svcdoctor.sources.nodedumps import node_facts

CAPTURES = Path(__file__).parents[2] / "fixtures" / "captures"

Key = tuple[str, str, str]  # kind, namespace, name
Json = dict[str, Any]


class NothingToChange(Exception):
    """A change that finds nothing of what it should change."""


class Change(Protocol):
    """One change. ``touches`` names what it is done to as findings do: ``Service/NAMESPACE/NAME``, ``Node/NAME``."""

    @property
    def touches(self) -> str: ...

    def apply(self, to: Draft) -> None: ...


class Draft:
    """A capture's contents while it is being changed; what was not touched is shared with the old one."""

    def __init__(self, base: Capture) -> None:
        self.objects = dict(base.objects)
        self.dumps = dict(base.dumps)
        self.unknown = base.unknown
        self.objects_touched: set[Key] = set()
        self.nodes_touched: set[str] = set()

    def object(self, key: Key) -> Json:
        """The object, as a copy that may be written to."""
        if key not in self.objects:
            raise NothingToChange(f"the capture has no {'/'.join(filter(None, key))}")
        if key not in self.objects_touched:
            self.objects[key] = copy.deepcopy(self.objects[key])
            self.objects_touched.add(key)
        return self.objects[key]

    def put(self, obj: Json) -> None:
        self.objects[key_of(obj)] = obj
        self.objects_touched.add(key_of(obj))

    def drop(self, key: Key) -> None:
        self.object(key)
        del self.objects[key]

    def nodes(self, pattern: str) -> list[str]:
        found = [n for n in self.dumps if fnmatchcase(n, pattern)]
        if not found:
            raise NothingToChange(f"no node {pattern} has dumps")
        return found

    def edit(self, node: str, dump: str, by: Callable[[bytes], bytes | None]) -> None:
        """Rewrites every dump that the patterns name; ``None`` says that one has nothing to change.

        Raises NothingToChange where none of a node's has.
        """
        for name in self.nodes(node):
            dumps = dict(self.dumps[name])
            new = {d: by(data) for d, data in dumps.items() if fnmatchcase(d, dump)}
            done = {d: data for d, data in new.items() if data is not None and data != dumps[d]}
            if not done:
                raise NothingToChange(f"node {name}: nothing to change in {dump}")
            self.dumps[name] = dumps | done
            self.nodes_touched.add(name)


class Capture:
    """A real cluster's objects as JSON and its nodes' dumps as bytes; immutable."""

    def __init__(
        self,
        objects: Mapping[Key, Json],
        dumps: Mapping[str, Mapping[str, bytes]],
        unknown: frozenset[Kind],
        decoded: Mapping[Key, KubeObject],
        facts: Mapping[str, NodeFacts],
        evidence: Evidence | None = None,
    ) -> None:
        self.objects = objects
        self.dumps = dumps
        self.unknown = unknown
        self._decoded = decoded
        self._facts = facts
        self._evidence = evidence

    def changed(self, *changes: Change) -> Capture:
        """The capture with these changes, one after the other. Raises NothingToChange."""
        draft = Draft(self)
        for change in changes:
            change.apply(draft)
        decoded = {
            k: o for k, o in self._decoded.items() if k in draft.objects and k not in draft.objects_touched
        }
        for key in draft.objects_touched & draft.objects.keys():
            data = json.dumps(draft.objects[key]).encode()
            for obj in decode_json(data, "/".join(filter(None, key))) or ():
                decoded[key] = obj
        facts = {n: f for n, f in self._facts.items() if n in draft.dumps}
        for node in draft.nodes_touched & draft.dumps.keys():
            held = {d: Dump(f"{node}/{d}", data) for d, data in draft.dumps[node].items()}
            facts[node] = node_facts(node, held)
        return Capture(draft.objects, draft.dumps, draft.unknown, decoded, facts, self._evidence)

    def with_evidence(self, evidence: Evidence) -> Capture:
        """The capture with what probes met (observed_world makes such)."""
        return Capture(self.objects, self.dumps, self.unknown, self._decoded, self._facts, evidence)

    def object(self, kind: str, namespace: str, name: str) -> Json:
        """A copy of an object's JSON, to make another one of."""
        return copy.deepcopy(self.objects[kind, namespace, name])

    @cached_property
    def snapshot(self) -> Snapshot:
        found: dict[Kind, list[KubeObject]] = {}
        for key in self.objects:
            if key in self._decoded and Kind(key[0]) not in self.unknown:
                found.setdefault(Kind(key[0]), []).append(self._decoded[key])
        facts: dict[Kind, tuple[Known | Unknown, ...]] = {
            k: (Unknown("the snapshot does not hold them"),) if k in self.unknown else (Known(),)
            for k in Kind
        }
        objects = {k: tuple(v) for k, v in found.items()}
        return Snapshot(objects, facts, self._facts, "capture", evidence=self._evidence)

    def ask(self, target: str, namespace: str, from_: str = "", via: str = "", node: str = "") -> Trace:
        """The answer to ``trace TARGET -n NAMESPACE --from … --via … --node …``."""
        client = parse_client(from_) if from_ else None
        request = Request(
            parse_target(target, namespace, client),
            client,
            frozenset({EntryKind(via)}) if via else frozenset(),
            node or None,
        )
        return answer_once(self.snapshot, request, namespace)

    def ask_name(
        self, name: str, namespace: str, pod: str = "", service: str = "", observed: Observed | None = None
    ) -> Lookup:
        """The answer to ``dns NAME --from pod/…``, or to ``dns svc/…`` with ``service``, as by ``observed``."""
        question = NameQuestion(
            name, namespace, (namespace, service) if service else None, (namespace, pod) if pod else None
        )
        return lookup(_Held(self.snapshot), question, observed).lookup


class _Held:
    """A Snapshot as a source that has nothing more."""

    def __init__(self, held: Snapshot) -> None:
        self.held = held

    def snapshot(self) -> Snapshot:
        return self.held

    def refill(self, snapshot: Snapshot, needs: tuple[Need, ...]) -> Snapshot:
        return snapshot


@cache
def capture(name: str) -> Capture:
    """The capture ``iptables`` or ``nftables`` as it is."""
    path = CAPTURES / f"{name}.tar.gz"
    held = read_snapshot(path)
    decoded = {(str(kind), o.metadata.namespace, o.metadata.name): o for kind in Kind for o in held.of(kind)}
    listed = [item for one in raw_objects(path) for item in one.get("items") or (one,)]
    objects = {key_of(o): o for o in listed if key_of(o) in decoded}
    dumps = {n: {d: held_dump.data for d, held_dump in f.raw.items()} for n, f in held.node_facts.items()}
    unknown = frozenset(k for k in Kind if not held.knows(k))
    return Capture(objects, dumps, unknown, decoded, held.node_facts)


def key_of(obj: Json) -> Key:
    return obj["kind"], obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


def made(*objects: Json) -> Capture:
    """A cluster of these objects alone, every kind known, no node's dumps held."""
    held: dict[Key, KubeObject] = {}
    for obj in objects:
        for one in decode_json(json.dumps(obj).encode(), "/".join(filter(None, key_of(obj)))) or ():
            held[key_of(obj)] = one
    return Capture({key_of(o): o for o in objects}, {}, frozenset(), held, {})
