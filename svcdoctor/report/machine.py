"""The answer for programs: JSON and YAML after the contract (schema.json), and names for a shell's loop."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files
from typing import Any, cast

import msgspec

from svcdoctor.cluster.kinds import BY_NAME
from svcdoctor.model.trace import Trace
from svcdoctor.path.jsonform import trace_json
from svcdoctor.report.printable import printable

# What YAML 1.2 readers take for a number and PyYAML, which follows 1.1, writes without quotes.
_NUMBER_OF_1_2 = re.compile(r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?|0o[0-7]+")


def as_json(trace: Trace) -> str:
    """The contract's JSON: keys in the contract's order, ASCII only, a newline at the end."""
    return form_as_json(trace_json(trace))


def form_as_json(form: dict[str, Any] | list[dict[str, Any]]) -> str:
    """Any answer's JSON, as it is printed."""
    return msgspec.json.format(_compact(form), indent=2) + "\n"


def _compact(form: dict[str, Any] | list[dict[str, Any]]) -> str:
    """The document on one line: with ``indent`` json is ten times slower.

    A lone surrogate, such as a file's name that is no UTF-8 leaves in a message, is no JSON: it becomes ``?``.
    """
    text = json.dumps(form)
    if "\\ud" in text:
        whole = json.dumps(form, ensure_ascii=False).encode("utf-8", "replace")
        text = json.dumps(json.loads(whole))
    return text


def as_yaml(trace: Trace) -> str:
    """The same document as YAML."""
    return form_as_yaml(trace_json(trace))


def form_as_yaml(form: dict[str, Any]) -> str:
    """Any answer as YAML, ASCII only; strings that look like something else are quoted."""
    import yaml  # only who asks for YAML waits for it

    base: type[yaml.SafeDumper] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # in C where it is

    class Dumper(base):  # type: ignore[valid-type, misc]
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if _NUMBER_OF_1_2.fullmatch(text) else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, string)
    plain = json.loads(_compact(form))
    return yaml.dump(plain, Dumper=Dumper, sort_keys=False, width=100)


def as_name(trace: Trace) -> str:
    """``service/web``, ``pod/web-1``: the target, then every pod or node at which a way ends, each once.

    As ``kubectl get -o name`` writes them: the resource with its group, without the namespace.
    """
    found = dict.fromkeys(filter(None, [_name(trace.target.kind, trace.target.name)]))
    for path in trace.paths:
        for outcome in path.outcomes:
            backend = outcome.backend
            if backend is None:
                continue
            if backend.pod is not None:
                found[_name("Pod", backend.pod.rpartition("/")[2])] = None
            elif backend.host is not None and backend.host == backend.node:
                found[_name("Node", backend.host)] = None
    return "".join(f"{name}\n" for name in found)


def _name(kind: str, name: str) -> str:
    """The name of an object; empty for what is no object of the API."""
    info = BY_NAME.get(kind)
    if info is None:
        return ""
    resource = f"{kind.lower()}.{info.group}" if info.group else kind.lower()
    return printable(f"{resource}/{name}")


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of the answers, as it lies in the package."""
    text = (files(__package__) / "schema.json").read_text(encoding="utf-8")
    return cast(dict[str, Any], json.loads(text))
