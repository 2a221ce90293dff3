"""The manual page svcdoctor(1), made of the commands. After a change of theirs it is written anew by

    python -m svcdoctor.cli.manpage > plugins/man/svcdoctor.1

Specification: groff_man(7)
"""

from __future__ import annotations

from collections.abc import Iterator

from svcdoctor.cli.commandtree import Argument, Command, Option, root
from svcdoctor.cli.main import NOTE_FOR_PLUGIN

_ENVIRONMENT = (
    ("KUBECONFIG", "The kubeconfig files, as for kubectl."),
    ("NO_COLOR", "If set, nothing is coloured."),
    ("COLUMNS", "The width of reports."),
    ("XDG_CACHE_HOME", "Where the single-file program unpacks itself; ~/.cache by default."),
)
_FILES = (
    ("~/.kube/config", "The kubeconfig where KUBECONFIG names none."),
    (
        "~/.config/svcdoctor/config.toml",
        "Your own defaults, under [defaults]: color, fail-on, node-facts, node-facts-image, node-facts-namespace, "
        "request-timeout. XDG_CONFIG_HOME may name another folder than ~/.config.",
    ),
    ("svcdoctor.toml", "Which findings check and lint report, in the folder or above it."),
)
_EXAMPLES = (
    ("Why does this Service not answer?", "svcdoctor trace svc/web -n shop"),
    ("The same, from kubectl:", "kubectl svcdoctor trace svc/web -n shop --context prod"),
    ("Which Service is behind this address?", "svcdoctor trace 192.168.0.6:31372"),
    ("Everything in the cluster, for a pipeline:", "svcdoctor check -A -o junit=report.xml"),
    ("A port-forward that stays:", "svcdoctor forward svc/web 8080:80"),
)


def page() -> str:
    """The page as roff."""
    tree = root()
    commands = dict(_flat("", tree))
    shared = list({o.name: o for c in commands.values() for o in c.options if o.connection}.values())
    lines = [
        '.\\" Made of the commands by: python -m svcdoctor.cli.manpage',
        ".TH SVCDOCTOR 1",
        ".nh",
        ".ad l",
        ".SH NAME",
        f"svcdoctor \\- {_text(_lowered(tree.help.rstrip('.')))}",
        ".SH SYNOPSIS",
        ".B svcdoctor",
        ".I COMMAND",
        "[\\fIOPTION\\fR\\&...]",
        ".br",
        ".B kubectl svcdoctor",
        ".I COMMAND",
        "[\\fIOPTION\\fR\\&...]",
        ".SH DESCRIPTION",
        *(line for paragraph in (*tree.text, NOTE_FOR_PLUGIN) for line in (".PP", _text(paragraph))),
        ".SH OPTIONS",
        *_options(tree.options),
        ".SH COMMANDS",
    ]
    for name, command in commands.items():
        lines += _command(name, command)
    lines += [
        ".SH KUBECTL'S OPTIONS",
        "Commands that ask a cluster take these, with kubectl's meaning.",
        *_options(shared),
    ]
    lines += [".SH ENVIRONMENT", *_pairs(_ENVIRONMENT), ".SH FILES", *_pairs(_FILES), ".SH EXAMPLES"]
    for why, line in _EXAMPLES:
        lines += [".PP", _text(why), ".PP", ".in +4n", ".nf", _text(line), ".fi", ".in"]
    lines += [".SH SEE ALSO", "\\fBkubectl\\fR(1), \\fBiptables\\fR(8), \\fBnft\\fR(8)"]
    return "\n".join(lines) + "\n"


def _flat(before: str, command: Command) -> Iterator[tuple[str, Command]]:
    """Every command and group of commands by its whole name."""
    for name, one in command.commands.items():
        yield f"{before}{name}", one
        yield from _flat(f"{before}{name} ", one)


def _command(name: str, command: Command) -> Iterator[str]:
    own = [option for option in command.options if not option.connection and option.name != "help"]
    yield f'.SS "svcdoctor {name}"'
    yield f".B svcdoctor {_text(name)}"
    if command.commands:
        yield "\\fICOMMAND\\fR"
    yield " ".join(["[\\fIOPTION\\fR\\&...]", *map(_argument, command.arguments)])
    for paragraph in command.text:
        yield ".PP"
        yield _text(paragraph)
    for argument in command.arguments:
        if argument.help:
            yield ".TP"
            yield f"\\fI{_text(argument.metavar)}\\fR"
            yield _text(argument.help)
    yield from _options(own)


def _argument(argument: Argument) -> str:
    shown = f"\\fI{_text(argument.metavar)}\\fR"
    if argument.many and not argument.metavar.endswith(("…", "]")):
        shown += "\\&..."
    return shown if argument.required or argument.metavar.startswith("[") else f"[{shown}]"


def _options(options: Iterator[Option] | tuple[Option, ...] | list[Option]) -> Iterator[str]:
    for option in options:
        words = ", ".join(f"\\fB{_text(word)}\\fR" for word in sorted(option.words, key=len))
        yield ".TP"
        yield f"{words} \\fI{_text(option.metavar)}\\fR" if option.metavar else words
        yield _text(option.help)


def _pairs(pairs: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for word, meaning in pairs:
        yield ".TP"
        yield f".B {_text(word)}"
        yield _text(meaning)


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


def _text(text: str) -> str:
    """Text for roff: backslashes and hyphens are escaped, and a line never begins with a request."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("~", "\\(ti").replace("^", "\\(ha")
    text = text.replace("…", "\\&...").replace("'", "\\(aq").replace("`", "\\(ga").replace('"', "\\(dq")
    return f"\\&{text}" if text.startswith((".", "\\(aq")) else text


if __name__ == "__main__":
    print(page(), end="")
