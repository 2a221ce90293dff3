"""Files of reachability tests: YAML in, expectations or problems with their lines out.

A document is ``apiVersion: svcdoctor/v1``, ``kind: ReachabilityTest``, optionally ``namespace`` (what completes short
names), and ``tests``, a list of:

- ``name``: unique in all files of a run;
- ``from``: ``external[/IP]``, ``node/NAME`` or ``pod/[NAMESPACE/]NAME``; ``to``: a target as ``trace`` takes it;
- ``via``, ``node``, ``protocol``, ``family``: narrow the ways, as the options of ``trace`` do;
- ``expect``: ``delivered``, ``refused`` or ``dropped``, of every way that is left, whatever chance decides;
- ``backends``: a list of ``pod/[NAMESPACE/]NAME``, ``deploy/[NAMESPACE/]NAME`` and other workloads: all requests end
  there, and at each of them some; under ``within`` the same list only says where they may end;
- ``sourceSeen``: ``client`` or ``node``, whose address the application sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from svcdoctor.cluster.nearmiss import near_names
from svcdoctor.cluster.yamldoc import NotYaml, Plain, compose
from svcdoctor.model.checkup import Place, Problem
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.reachability import Backends, Expectation
from svcdoctor.model.request import ObjectTarget, Request
from svcdoctor.model.trace import EntryKind, Result, SourceSeen
from svcdoctor.path.clients import parse_client
from svcdoctor.path.jsonform import API_VERSION
from svcdoctor.path.target import ALIASES, parse_target

KIND = "ReachabilityTest"
_TOP = ("apiVersion", "kind", "namespace", "tests")
_TEST = (
    "name", "from", "to", "via", "node", "protocol", "family", "expect", "backends", "sourceSeen",
)  # fmt: skip
_NEEDED = ("name", "from", "to", "expect")
_EXPECTED = (Result.DELIVERED, Result.REFUSED, Result.DROPPED)
_PROTOCOLS = ("TCP", "UDP", "SCTP")
_VIA = tuple(str(kind) for kind in EntryKind)


class _Wrong(Exception):
    """What is wrong with a test, and under which key."""

    def __init__(self, key: str, message: str) -> None:
        self.key = key
        self.message = message


class Expectations:
    """Reads files one after the other. ``namespace`` is that of documents without one."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.found: list[Expectation] = []
        self.problems: list[Problem] = []
        self._names: dict[str, Place] = {}

    def read(self, text: str, file: str) -> None:
        """Takes the tests of a file into ``found``, and what is wrong with it into ``problems``."""
        before = len(self.found) + len(self.problems)
        plain = Plain(file)
        try:
            for node in compose(text, file):
                value = plain.document(node)
                if value is not None:
                    self._document(file, node, value)
        except NotYaml as e:
            self._wrong(file, e.line, e.problem)
        for key in plain.repeated:
            self._wrong(file, plain.line(key), f"{key.value}: this key stands here twice")
        if len(self.found) + len(self.problems) == before:
            self._wrong(file, 1, f"no tests: say kind: {KIND} and a list of tests")

    def _wrong(self, file: str, line: int, message: str) -> None:
        self.problems.append(Problem(message, Place(file, line)))

    def _document(self, file: str, node: yaml.Node, value: Any) -> None:
        if not isinstance(value, dict):
            self._wrong(file, _line(node), f"{_kind_of(value)} where a {KIND} should be")
            return
        version, kind = value.get("apiVersion"), value.get("kind")
        if (version, kind) != (API_VERSION, KIND):
            has = f"this is {version or 'no apiVersion'}, {kind or 'no kind'}"
            self._wrong(file, _line(node), f"say apiVersion: {API_VERSION} and kind: {KIND}; {has}")
            return
        unknown = [*_unknown_keys(node, value, _TOP)]
        for message, line in unknown:
            self._wrong(file, line, message)
        if unknown and "tests" not in value:
            return  # which may be the key that was meant
        namespace = value.get("namespace", self.namespace)
        tests = value.get("tests")
        if not isinstance(namespace, str) or not namespace:
            self._wrong(file, _line(node, "namespace"), "namespace is not a name")
            return
        if not isinstance(tests, list) or not tests:
            self._wrong(file, _line(node, "tests"), f"tests is {_kind_of(tests)}, not a list of tests")
            return
        for number, test in enumerate(tests):
            place = Place(file, _line(node, "tests", number))
            if isinstance(test, dict):
                self._test(_at(node, "tests", number), test, place, namespace)
            else:
                self._wrong(file, place.line, f"test {number + 1} is {_kind_of(test)}, not keys and values")

    def _test(self, node: yaml.Node, test: dict[str, Any], place: Place, namespace: str) -> None:
        problems = [*_unknown_keys(node, test, _TEST)]
        problems += [(f"{key} is missing", place.line) for key in _NEEDED if key not in test]
        try:
            made = None if problems else _made(test, place, namespace)
        except _Wrong as e:
            problems.append((e.message, _line(node, e.key)))
        else:
            if made is not None and (other := self._names.setdefault(made.name, place)) != place:
                problems.append(
                    (f"{made.name!r} is a test of {other.file} line {other.line}, too", _line(node, "name"))
                )
            elif made is not None:
                self.found.append(made)
        for message, line in problems:
            self._wrong(place.file, line, message)


def _made(test: Mapping[str, Any], place: Place, namespace: str) -> Expectation:
    """Raises _Wrong."""
    name, who, what = (_text(test, key) for key in ("name", "from", "to"))
    try:
        client = parse_client(who)
    except SvcdoctorError as e:
        raise _Wrong("from", e.message.replace("--from", "from", 1)) from None
    try:
        target = parse_target(what, namespace, client)
    except SvcdoctorError as e:
        raise _Wrong("to", f"to: {e.message}") from None
    family = test.get("family")
    if family not in (None, 4, 6) or isinstance(family, bool):
        raise _Wrong("family", f"family is {family!r}; say 4 or 6")
    expect = Result(_one_of(test, "expect", _EXPECTED) or "")
    for key in ("backends", "sourceSeen") if expect is not Result.DELIVERED else ():
        if key in test:
            raise _Wrong(key, f"{key} is of requests that arrive; nothing does with expect: {expect}")
    seen = _one_of(test, "sourceSeen", (SourceSeen.CLIENT, SourceSeen.NODE))
    return Expectation(
        name,
        place,
        namespace,
        who,
        what,
        Request(
            target,
            client,
            _via(test),
            _text(test, "node") if "node" in test else None,
            _one_of(test, "protocol", _PROTOCOLS),
            family,
        ),
        expect,
        _backends(test, namespace),
        SourceSeen(seen) if seen is not None else None,
    )


def _text(test: Mapping[str, Any], key: str) -> str:
    value = test[key]
    if not isinstance(value, str) or not value.strip():
        raise _Wrong(key, f"{key} is {_kind_of(value)}, not text")
    return value.strip()


def _one_of(test: Mapping[str, Any], key: str, words: tuple[str, ...]) -> str | None:
    if key not in test:
        return None
    value = test[key]
    if value not in words:
        shown = repr(value) if isinstance(value, str) else _kind_of(value)
        raise _Wrong(key, f"{key} is {shown}; say {_or(words)}")
    return str(value)


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _via(test: Mapping[str, Any]) -> frozenset[EntryKind]:
    value = test.get("via", [])
    words = value if isinstance(value, list) else [value]
    for word in words:
        if word not in _VIA:
            shown = repr(word) if isinstance(word, str) else _kind_of(word)
            raise _Wrong("via", f"via is {shown}; say {_or(_VIA)}")
    return frozenset(EntryKind(word) for word in words)


def _backends(test: Mapping[str, Any], namespace: str) -> Backends | None:
    if "backends" not in test:
        return None
    value = test["backends"]
    exactly = not isinstance(value, dict)
    if isinstance(value, dict):
        if list(value) != ["within"]:
            raise _Wrong("backends", "backends is a list, or a list under the one key within")
        value = value["within"]
    if not isinstance(value, list) or not value:
        raise _Wrong("backends", f"backends is {_kind_of(value)}, not a list of pods and workloads")
    return Backends(tuple(_end(item, namespace) for item in value), exactly)


def _end(item: Any, namespace: str) -> ObjectTarget:
    """``pod/NAME``, ``deploy/NAMESPACE/NAME`` …"""
    kind, _, rest = item.partition("/") if isinstance(item, str) else ("", "", "")
    known = ALIASES.get(kind)
    own, slash, name = rest.rpartition("/")
    if known in (None, "Service", "Ingress") or not name or (slash and not own) or "/" in own:
        shown = repr(item) if isinstance(item, str) else _kind_of(item)
        raise _Wrong("backends", f"backends: {shown} is no pod or workload; say pod/NAME or deploy/NAME")
    try:
        end = parse_target(f"{kind}/{name}", own or namespace)
    except SvcdoctorError as e:
        raise _Wrong("backends", f"backends: {e.message}") from None
    if not isinstance(end, ObjectTarget) or end.port is not None:
        raise _Wrong("backends", f"backends: {item!r} names a port; name the pod or workload alone")
    return end


def _unknown_keys(
    node: yaml.Node, value: dict[str, Any], known: tuple[str, ...]
) -> Iterator[tuple[str, int]]:
    for key in value:
        if key not in known:
            near = near_names(key, known)
            hint = f"; is it {near[0]}?" if near else f"; there are {', '.join(known)}"
            yield f"{key} is no key here{hint}", _line(node, key)


def _at(node: yaml.Node, *path: str | int) -> yaml.Node:
    """The node under keys and positions, as far as there is one."""
    for step in path:
        held: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            held = next((v for k, v in node.value if k.value == step), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            held = node.value[step]
        if held is None:
            return node
        node = held
    return node


def _line(node: yaml.Node, *path: str | int) -> int:
    """The line, from 1, of the key that leads to a value, or of the value where no key does."""
    above = _at(node, *path[:-1])
    if path and isinstance(above, yaml.MappingNode):
        keys = [k for k, _ in above.value if k.value == path[-1]]
        return int((keys[0] if keys else above).start_mark.line) + 1
    return int(_at(node, *path).start_mark.line) + 1


def _kind_of(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, dict):
        return "keys and values"
    return "a list" if isinstance(value, list) else "text"
