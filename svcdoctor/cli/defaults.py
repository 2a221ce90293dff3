"""The user's own defaults: ``$XDG_CONFIG_HOME/svcdoctor/config.toml``, ``~/.config`` where that is not set.

    [defaults]
    color = "never"
    node-facts = "exec"

What the command line says replaces them. A default holds for each command that has the option, those of nodes' facts
for a live cluster alone. Which cluster and namespace is asked is kubeconfig's to say, what findings count the
repository's (``svcdoctor.toml``), and what answers a question before something is changed is said each time.

Specification: XDG Base Directory Specification 0.8.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from svcdoctor.model.errors import SvcdoctorError

TABLE = "defaults"
KEYS: dict[str, tuple[str, ...]] = {
    "color": ("auto", "always", "never"),
    "fail-on": ("error", "warning", "never"),
    "node-facts": ("none", "local", "exec", "pods", "daemonset"),
    "node-facts-image": (),
    "node-facts-namespace": (),
    "request-timeout": (),
}
"""The keys, and the words that each may have, where those are few."""

_SAVED = ("--snapshot", "--filename", "-f")

_NOT_HERE = {
    **dict.fromkeys(
        ("namespace", "context", "cluster", "user", "server"),
        "your kubeconfig's to say (kubectl config use-context NAME, set-context --current --namespace=NAME)",
    ),
    **dict.fromkeys(
        ("select", "ignore", "severity"), "svcdoctor.toml's to say, which lies beside the manifests"
    ),
    "output": "asked for each time: what reads an answer relies on its form",
    "yes": "asked for each time: it is the answer to a question",
}


def config_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Where the file is looked for; ``None`` where there is no home."""
    named, home = Path(environ.get("XDG_CONFIG_HOME", "")), Path(environ.get("HOME", ""))
    if named.is_absolute():  # the specification: a relative one is ignored
        return named / "svcdoctor" / "config.toml"
    return home / ".config" / "svcdoctor" / "config.toml" if home.is_absolute() else None


def user_defaults(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What the file says, by key; nothing where there is no file. Raises SvcdoctorError, with file and line."""
    path = config_file(environ)
    try:
        if path is None or not path.is_file():
            return {}
    except OSError:  # a home that is not ours to look into
        return {}
    from svcdoctor.cli.tomltext import line_of, parsed, text_of

    text = text_of(path)
    found: dict[str, str] = {}
    for name, table in parsed(text, path).items():
        if name != TABLE or not isinstance(table, dict):
            why = f"[{TABLE}] is the only table" if name != TABLE else f"{TABLE} is a table: [{TABLE}]"
            raise SvcdoctorError(f"{path}:{line_of(text, '', name)}: {name!r} means nothing here: {why}")
        for key, value in table.items():
            why = _why_not(key, value)
            if why:
                raise SvcdoctorError(f"{path}:{line_of(text, TABLE, key)}: {why}")
            found[key] = str(value)
    return found


def _why_not(key: str, value: Any) -> str:
    """Why the key or its value cannot be a default; empty where it can."""
    if key in _NOT_HERE:
        return f"{key} is {_NOT_HERE[key]}"
    if key not in KEYS:
        from svcdoctor.cluster.nearmiss import near_names

        near = near_names(key, KEYS) if key != "nodes-from" else ["node-facts"]
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"unknown key {key!r}{meant} (there are {', '.join(KEYS)})"
    if not isinstance(value, str) and not (key == "request-timeout" and type(value) is int):
        return f"{key} is a text in quotes"
    if KEYS[key] and value not in KEYS[key]:
        return f"{key}: {value!r} is none of {', '.join(KEYS[key])}"
    if key == "request-timeout":
        from svcdoctor.sources.connection import parse_timeout

        try:
            parse_timeout(str(value))
        except SvcdoctorError as e:
            return e.message
    return ""


def takes_defaults(command: Any) -> bool:
    """Whether a command, or one of its subcommands, has an option that can have a default."""
    if subcommands := getattr(command, "commands", None):
        return any(map(takes_defaults, subcommands.values()))
    return any(option.removeprefix("--") in KEYS for p in command.params for option in p.opts)


def default_map(command: Any, words: Sequence[str], defaults: Mapping[str, str]) -> dict[str, Any]:
    """The defaults of a command's options, or of its subcommands', in the form that Click takes.

    ``words`` are what follows the command: whether they name a saved cluster, whose nodes cannot be asked.
    """
    if any(word.startswith(_SAVED) for word in words):
        defaults = {key: value for key, value in defaults.items() if not key.startswith("node-facts")}
    if subcommands := getattr(command, "commands", None):
        return {name: default_map(sub, words, defaults) for name, sub in subcommands.items()}
    named = {
        option.removeprefix("--"): parameter.name for parameter in command.params for option in parameter.opts
    }
    return {named[key]: value for key, value in defaults.items() if key in named}
