"""The documents of a manifest file, each parsed by itself: a bad one hides no other.

YAML as kubectl takes it: documents begin at a line ``---``. JSON is YAML, and is read as such, because that keeps
the lines; what YAML does not take of JSON (an emoji as two ``\\u`` escapes) and large files are read as JSON, with
the file as their only place. What Helm renders names its template in a comment, which becomes the place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from svcdoctor.cluster.yamldoc import NotYaml, Plain, compose, may_share
from svcdoctor.sources.manifestlines import Written

_START = re.compile(r"^---(?=\s|$)", re.MULTILINE)
_SOURCE = re.compile(
    r"\A(?:---[^\n]*\n)?(?:#[^\n]*\n|\s*\n)*?# Source: ([^\n]+\.(?:ya?ml|tpl|json))[ \t]*\r?\n"
)
_NOTHING = re.compile(r"(?:\s*(?:---|\.\.\.)?\s*(?:[#%][^\n]*)?(?:\n|\Z))*")
_TEMPLATE = "{{"
MAX_JSON_LINES = 1 << 20  # characters of a JSON file up to which its lines are kept

UNRENDERED = (
    "Helm template text that is not rendered; render it first: helm template RELEASE CHART | "
    "svcdoctor lint -f -"
)


@dataclass(frozen=True, slots=True)
class Document:
    """One document: its value and where it is written, or why it could not be read (``problem``).

    ``repeated`` are keys that stand twice in one mapping.
    """

    written: Written
    value: Any = None
    problem: str = ""
    repeated: tuple[yaml.Node, ...] = ()


def documents(text: str, file: str, *, rendered: bool = False) -> Iterator[Document]:
    """Every document of a file. ``rendered`` says that comments may name the template it comes from (Helm)."""
    if text.lstrip()[:1] in ("{", "["):
        yield from _json_documents(text, file)
        return
    before = 0
    for part in _parts(text):
        yield from _part(part, file, before, rendered)
        before += part.count("\n")


def _parts(text: str) -> Iterator[str]:
    start = 0
    for found in _START.finditer(text):
        if found.start() > start:
            yield text[start : found.start()]
        start = found.start()
    yield text[start:]


def _part(text: str, file: str, before: int, rendered: bool) -> Iterator[Document]:
    place = Written(file, before)
    source = _SOURCE.match(text) if rendered else None
    if source is not None:
        place = Written(source[1], -text.count("\n", 0, source.end()))
    try:
        nodes = compose(text, file, place.before)
    except NotYaml as e:
        if not _NOTHING.fullmatch(text):
            yield _unread(e, text, place)
        return
    for node in nodes:
        written = Written(place.file, place.before, node)
        reader = Plain(file, place.before, shared=may_share(text))
        try:
            value = reader.document(node)
        except NotYaml as e:
            yield _unread(e, text, written)
            continue
        if value is None:
            continue
        name = value.get("metadata") if isinstance(value, dict) else None
        if isinstance(name, dict) and _TEMPLATE in str(name.get("name", "")):
            yield Document(Written(place.file, written.place("metadata.name").line - 1), problem=UNRENDERED)
            continue
        yield Document(written, value, repeated=tuple(reader.repeated))


def _unread(error: NotYaml, text: str, place: Written) -> Document:
    line = max(error.line, 1) if error.line else place.place().line
    problem = error.problem
    if _TEMPLATE in text:
        at = place.before + 1 + text.count("\n", 0, text.index(_TEMPLATE))
        line, problem = max(at, 1), UNRENDERED
    return Document(Written(place.file, line - 1), problem=problem)


def _json_documents(text: str, file: str) -> Iterator[Document]:
    """The objects of a JSON file: one, an array of them, or several, one after the other."""
    if len(text) <= MAX_JSON_LINES:
        try:
            (node,) = compose(text, file)
            reader = Plain(file, shared=False)
            value = reader.document(node)
        except (NotYaml, ValueError):
            pass
        else:
            written = Written(file, 0, node)
            if isinstance(value, list):
                value = {"kind": "List", "items": value}
                written = Written(
                    file, 0, yaml.MappingNode("", [(yaml.ScalarNode("", "items"), node)], node.start_mark)
                )
            yield Document(written, value, repeated=tuple(reader.repeated))
            return
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        start = position + len(text[position:]) - len(text[position:].lstrip())
        if start == len(text):
            return
        written = Written(file, text.count("\n", 0, start))
        try:
            value, position = decoder.raw_decode(text, start)
        except json.JSONDecodeError as e:
            problem = UNRENDERED if _TEMPLATE in text else f"neither JSON nor YAML: {e.msg}"
            yield Document(Written(file, e.lineno - 1), problem=problem)
            return
        except RecursionError:
            yield Document(written, problem="nested too deeply to be a Kubernetes object")
            return
        yield Document(written, {"kind": "List", "items": value} if isinstance(value, list) else value)
