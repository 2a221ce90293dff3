"""The commands as plain values: every command with its arguments and options, read from Typer's own definitions.

The manual page is made of them, and ``commands.json``, out of which completion answers without importing Typer. A
test holds the file equal to the commands; after a change it is written anew by

    python -m svcdoctor.cli.commandtree > svcdoctor/cli/commands.json
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, get_args

from svcdoctor.cli import main
from svcdoctor.cli.connected import FLAGS

# What may stand for a value is told by the parameter's type or, where that is text, by these. A kind of target names
# the words for its types; "ports" says that a port may follow the name.
_BY_FLAG = {
    "--namespace": "namespace",
    "--node-facts-namespace": "namespace",
    "--probe-namespace": "namespace",
    "--capture-namespace": "namespace",
    "--context": "context",
    "--cluster": "cluster",
    "--user": "user",
    "--node": "node",
    "--select": "codes",
    "--ignore": "codes",
    "--family": "families",
    "--filename": "file",
    "--batch": "file",
    "--read": "file",
    "--write": "file",
}
_WORKLOADS = "deploy,sts,ds,rs"
_TARGETS = {
    ("trace", "target"): f"svc,ingress,httproute,grpcroute,pod,{_WORKLOADS}",
    ("bug-report", "target"): f"svc,ingress,httproute,grpcroute,pod,{_WORKLOADS}",
    ("forward", "words"): f"svc,pod,{_WORKLOADS},rc,job",
}
_SERVICES = frozenset({"target", "service", "services"})
_FILES = frozenset({"file", "files", "path", "paths"})


@dataclass(frozen=True, slots=True)
class Option:
    """An option: ``value`` says what its value may be, and is empty for a switch; ``metavar`` shows one in a manual.

    ``connection`` says that it is one of kubectl's, which most commands have.
    """

    name: str
    words: tuple[str, ...]
    help: str
    value: str | tuple[str, ...]
    metavar: str
    many: bool
    connection: bool


@dataclass(frozen=True, slots=True)
class Argument:
    name: str
    help: str
    value: str | tuple[str, ...]
    metavar: str
    many: bool
    required: bool


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of them (``commands``). ``text`` is its whole description in paragraphs."""

    help: str
    text: tuple[str, ...]
    options: tuple[Option, ...]
    arguments: tuple[Argument, ...] = ()
    commands: dict[str, Command] = field(default_factory=dict)


def root() -> Command:
    """The whole command line."""
    import typer

    group: Any = typer.main.get_command(main.app)
    commands = {name: _command((name,), group.get_command(None, name)) for name in group.list_commands(None)}
    options = tuple(_option(param, bool) for param in group.params)
    return Command(_first(group.help), _paragraphs(group.help), (*options, _HELP), (), commands)


_HELP = Option("help", ("--help", "-h"), "Show this message and exit.", "", "", False, False)


def _command(path: tuple[str, ...], command: Any) -> Command:
    from typer.utils import get_params_from_function

    types = {name: meta.annotation for name, meta in get_params_from_function(command.callback).items()}
    said = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    options = tuple(_option(p, types.get(p.name)) for p in said if p.name != "help")
    arguments = tuple(
        _argument(path, p, types[p.name]) for p in command.params if p.param_type_name == "argument"
    )
    within: dict[str, Any] = getattr(command, "commands", {})
    commands = {name: _command((*path, name), c) for name, c in within.items() if not c.hidden}
    return Command(_first(command.help), _paragraphs(command.help), (*options, _HELP), arguments, commands)


def _option(param: Any, annotation: Any) -> Option:
    words = tuple(sorted((*param.opts, *param.secondary_opts), key=len, reverse=True))
    text = _one_line(param.help)
    value = "" if param.is_flag else _option_value(annotation, words, text)
    kubectls = FLAGS.get(param.name)
    connection = kubectls is not None and (set(words), text) == (set(kubectls[1]), kubectls[2])
    return Option(param.name, words, text, value, _metavar(param, value), bool(param.multiple), connection)


def _option_value(annotation: Any, words: tuple[str, ...], text: str) -> str | tuple[str, ...]:
    typed = _typed(annotation)
    if typed:
        return typed
    for word in words:
        if word in _BY_FLAG:
            return _BY_FLAG[word]
    if "--output" in words:
        return _enumerated(text)
    if "--from" in words:
        kinds = [word for word in ("external", "node", "pod") if word in text]
        return f"client {' '.join(kinds)}"
    return "text"


def _argument(path: tuple[str, ...], param: Any, annotation: Any) -> Argument:
    text = _one_line(param.help)
    metavar = param.metavar or param.name.upper()
    typed = _typed(annotation)
    value: str | tuple[str, ...] = "text"
    name = param.name.rstrip("_")
    ports = " ports" if "[:PORT]" in f"{metavar} {text}" or "NAME:PORT" in text else ""
    if typed:
        value = typed
    elif (path[0], name) in _TARGETS:
        value = f"target {_TARGETS[path[0], name]}{ports}"
        if path[0] == "forward":
            value = value.replace("target", "forwarded", 1)
    elif name in ("codes", "features"):
        value = name
    elif path == ("lab", "break"):
        value = "faults"
    elif name in _FILES:
        value = "file"
    elif name in _SERVICES or "svc/NAME" in f"{metavar} {text}":
        value = f"target svc{ports}"
    return Argument(name, text, value, metavar, param.nargs != 1, bool(param.required))


def _enumerated(text: str) -> tuple[str, ...]:
    """The words of ``FORMAT or FORMAT=FILE: terminal (default), json or name; may be repeated.``"""
    listed = re.sub(r" \([^)]*\)", "", text.rpartition(": ")[2].partition(";")[0].rstrip("."))
    return tuple(re.split(r", (?:or )?| or ", listed))


def _typed(annotation: Any) -> str | tuple[str, ...]:
    """The value's kind where the parameter's type tells it; empty where it is text or a number."""
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return tuple(str(member.value) for member in annotation)
    if inspect.isclass(annotation) and issubclass(annotation, Path):
        return "file"
    for one in get_args(annotation):
        if found := _typed(one):
            return found
    return ""


def _metavar(param: Any, value: str | tuple[str, ...]) -> str:
    if not value:
        return ""
    if param.metavar:
        return str(param.metavar)
    if isinstance(value, tuple):
        return "|".join(value)
    return "FILE" if value == "file" else str(param.name).rstrip("_").upper().replace("_", "-")


def _paragraphs(text: str | None) -> tuple[str, ...]:
    return tuple(_one_line(p) for p in inspect.cleandoc(text or "").split("\n\n") if p.strip())


def _first(text: str | None) -> str:
    return next(iter(_paragraphs(text)), "")


def _one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def as_json() -> str:
    """What completion reads: an option or argument a line, kubectl's options once."""
    tree = root()
    shared = {o.name: _kept(o) for c in _each(tree) for o in c.options if o.connection}
    return _text(_node(tree) | {"connection": list(shared.values()), "lists": _lists()}) + "\n"


def _each(command: Command) -> Iterator[Command]:
    yield command
    for one in command.commands.values():
        yield from _each(one)


def _node(command: Command) -> dict[str, Any]:
    node: dict[str, Any] = {"help": command.help}
    if command.commands:
        node["commands"] = {name: _node(one) for name, one in command.commands.items()}
    elif command.arguments:
        node["arguments"] = [{"value": a.value, "many": a.many} for a in command.arguments]
    node["options"] = [_kept(o) for o in command.options if not o.connection]
    shared = [o.name for o in command.options if o.connection]
    return node | ({"connection": shared} if shared else {})


def _kept(option: Option) -> dict[str, Any]:
    kept = ("name", "words", "help", "value", "many")
    return {key: value for key, value in asdict(option).items() if key in kept}


def _text(value: Any, depth: int = 0) -> str:
    """JSON in which every option and argument has a line of its own, for people who read what changed."""
    inner, outer = " " * (depth + 1), " " * depth
    if isinstance(value, dict):
        items = [f"{json.dumps(k)}: {_text(v, depth + 1)}" for k, v in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        items = [json.dumps(one, ensure_ascii=False) for one in value]
    else:
        return json.dumps(value, ensure_ascii=False)
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(items) + f"\n{outer}{end}"


def _lists() -> dict[str, dict[str, str]]:
    """What can be said without asking anybody: codes and their families, the lab's faults, and features."""
    from svcdoctor.checks.catalogue import FAMILIES, of_families
    from svcdoctor.lab.net.faults import FAULTS, OUTAGES
    from svcdoctor.sources.features import COMMANDS

    faults = {fault.code: fault.title for fault in FAULTS.values()}
    return {
        "codes": {check.code: check.title for check in of_families(FAMILIES)},
        "families": dict(FAMILIES),
        "features": COMMANDS,
        "faults": faults | {word.lower(): outage.title for word, outage in OUTAGES.items()},
    }


if __name__ == "__main__":
    print(as_json(), end="")
