"""Completion: from the words of a command line to what may come next, in kubectl's protocol for plugins.

Theory. Each line is a value, a tab and what it means; the last one is a colon and a number whose bits tell the shell
what to do with them. kubectl asks so (``kubectl_complete-svcdoctor WORDS…``), and so do svcdoctor's own scripts for
shells (``svcdoctor __complete WORDS…``). The last word is the one under the cursor, empty where a new one begins.
After ``--flag=`` only the flag's value is answered.

Commands and flags come out of ``commands.json``, which is made of the Typer commands themselves (``commandtree``): a
shell waits for every answer, and Typer takes longer to import than kubectl to answer. Nobody reads a message here, so
whatever goes wrong is no answer.

Specification: https://github.com/spf13/cobra, ShellCompDirective; kubectl's "Using a plugin", shell completion
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from svcdoctor.cli.saidwords import Said

PATIENCE = 5.0
"""Seconds after which there is no answer, whatever was waited for: a name server, an exec plugin, a large file."""

# ShellCompDirective.
DEFAULT = 0
NO_SPACE = 2
NO_FILES = 4

COMMANDS = Path(__file__).with_name("commands.json")

Node = dict[str, Any]
"""A command, a group of them, or one of their options or arguments, as ``commandtree`` writes them."""

NOTHING: Node = {"commands": {}, "options": []}
"""What a command that does not exist has."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may stand at the cursor: values with what they mean (or nothing), and the bits for the shell."""

    values: tuple[tuple[str, str], ...] = ()
    directive: int = NO_FILES


def main(words: Sequence[str]) -> None:
    """Prints what may come next, and ends the process."""
    watch = threading.Timer(PATIENCE, _give_up)
    watch.daemon = True
    watch.start()
    try:
        answer = complete(words)
    except BaseException:  # no message has a reader here, and a traceback would end up in the command line
        answer = Candidates()
    # A line break in a name would begin another value, and a shell obeys what a terminal does.
    shown = [pair for pair in answer.values if all(map(str.isprintable, pair))]
    lines = [f"{value}\t{meaning}" if meaning else value for value, meaning in shown]
    _end("\n".join([*lines, f":{answer.directive}\n"]))


def _give_up() -> None:
    _end(f":{NO_FILES}\n")


def _end(text: str) -> None:
    """Writes the answer and ends at once, without waiting for threads or for what modules do at the end."""
    with suppress(OSError):  # the shell has gone
        os.write(1, text.encode("utf-8", "replace"))
    os._exit(0)


def complete(words: Sequence[str]) -> Candidates:
    """What may stand in place of the last word. Raises whatever goes wrong on the way."""
    tree: Node = json.loads(COMMANDS.read_bytes())
    *before, current = words or [""]
    if current == '""':  # PowerShell before 7.3 drops an empty word, so its script says it in this way
        current = ""
    node, said, pending, only_arguments = _read(tree, before)
    if pending is not None:
        return _values(tree, pending["value"], said, current)
    if not only_arguments and current.startswith("-"):
        flag, equals, part = current.partition("=")
        option = _option(_options(tree, node), flag)
        if equals:
            return _values(tree, option["value"], said, part) if option and option["value"] else Candidates()
        return _offered(_flags(_options(tree, node), said), current)
    if "commands" in node:
        return _offered([(name, one["help"]) for name, one in node["commands"].items()], current)
    if only_arguments:
        return Candidates(directive=DEFAULT)  # another program's words
    argument = _argument(node, len(said.arguments))
    return _values(tree, argument["value"], said, current) if argument is not None else Candidates()


def _read(tree: Node, words: Sequence[str]) -> tuple[Node, Said, Node | None, bool]:
    """The command that the words name, what they say, the option that still lacks its value, and whether ``--`` has
    ended the options.

    kubectl's flags may stand before the command here, though the program then says that they come after it.
    """
    node, said = tree, Said()
    pending: Node | None = None
    only_arguments = False
    for word in words:
        if pending is not None:
            said.options.setdefault(pending["name"], []).append(word)
            pending = None
        elif only_arguments:
            said.arguments.append(word)
        elif word == "--":
            only_arguments = True
        elif word.startswith("-") and len(word) > 1:
            options = tree["connection"] if "commands" in node else _options(tree, node)
            pending = _flag(options, word, said)
        elif "commands" in node:
            node = node["commands"].get(word, NOTHING)
        else:
            said.arguments.append(word)
    return node, said, pending, only_arguments


def _flag(options: Sequence[Node], word: str, said: Said) -> Node | None:
    """Takes in ``--flag``, ``--flag=value``, ``-f``, ``-fvalue`` or ``-abc``; the option that the next word is for."""
    if word.startswith("--"):
        flag, equals, value = word.partition("=")
        option = _option(options, flag)
        if option is None:
            return None
        if option["value"] and not equals:
            return option
        said.options.setdefault(option["name"], []).append(value)
        return None
    for at in range(1, len(word)):
        option = _option(options, f"-{word[at]}")
        if option is None:
            return None
        rest = word[at + 1 :]
        if option["value"] and not rest:
            return option
        said.options.setdefault(option["name"], []).append(rest.removeprefix("="))
        if option["value"]:
            return None
    return None


def _options(tree: Node, node: Node) -> list[Node]:
    """A command's own options, and those of kubectl's that it has."""
    shared = node.get("connection", ())
    return [*node["options"], *(option for option in tree["connection"] if option["name"] in shared)]


def _option(options: Sequence[Node], flag: str) -> Node | None:
    return next((option for option in options if flag in option["words"]), None)


def _flags(options: Sequence[Node], said: Said) -> list[tuple[str, str]]:
    """The flags that may come: not those that were said and count once."""
    return [
        (word, option["help"])
        for option in options
        if option["many"] or option["name"] not in said.options
        for word in option["words"]
    ]


def _argument(node: Node, number: int) -> Node | None:
    arguments: list[Node] = node.get("arguments", [])
    if number < len(arguments):
        return arguments[number]
    return arguments[-1] if arguments and arguments[-1]["many"] else None


def _values(tree: Node, kind: str | list[str], said: Said, current: str) -> Candidates:
    """The values that an option or argument of a kind may have."""
    if isinstance(kind, list):
        if current.partition("=")[0] in kind and "=" in current:  # -o FORMAT=FILE
            return Candidates(directive=DEFAULT)
        return _offered([(word, "") for word in kind], current)
    if kind == "file":
        return Candidates(directive=DEFAULT)
    if kind == "features":  # several words, where codes and families are one
        return _offered([*tree["lists"][kind].items()], current)
    if kind in tree["lists"]:
        return _listed(tree["lists"][kind], current)
    if kind == "text":
        return Candidates()
    from svcdoctor.cli.candidates import candidates

    values, joined = candidates(kind, said, current)
    return _offered(values, current, NO_SPACE if joined else 0)


def _listed(known: dict[str, str], current: str) -> Candidates:
    """Of several values with commas between them, the last."""
    done, comma, part = current.upper().rpartition(",")
    values = [(f"{done}{comma}{word}", meaning) for word, meaning in known.items() if word.startswith(part)]
    return Candidates(tuple(values))


def _offered(values: Sequence[tuple[str, str]], current: str, more: int = 0) -> Candidates:
    return Candidates(tuple(v for v in values if v[0].startswith(current)), NO_FILES | more)
