"""``svcdoctor diff``: parse, compare, render."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from svcdoctor.cli.answering import Color, ColorOption
from svcdoctor.model.errors import SvcdoctorError

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(StrEnum):
    TERMINAL = "terminal"
    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"
    YAML = "yaml"


@app.command()
def diff(
    before: Annotated[
        Path, typer.Argument(metavar="A", help="The snapshot before: a folder or archive.", readable=False)
    ],
    after: Annotated[Path, typer.Argument(metavar="B", help="The snapshot after.", readable=False)],
    services: Annotated[
        list[str] | None,
        typer.Argument(metavar="[svc/NAME…]", help="Only these Services.", show_default=False),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="The namespace to compare (default).", show_default=False),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Compare all namespaces.")
    ] = False,
    output: Annotated[Output, typer.Option("-o", "--output", help="Format of the answer.")] = Output.TERMINAL,
    color: ColorOption = Color.AUTO,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show every change.")] = False,
) -> None:
    """Compare two snapshots: what changed on a Service's way, and which findings came or went.

    Times, counters and the order of lists are not compared. Nodes' rules are compared where both snapshots hold
    them: by whether they do what the API demands.

    Exit codes: 0 no finding of severity error is new; 1 one appeared, or a finding became an error; 2 bad usage or
    unreadable input.
    """
    from svcdoctor.checks.comparison import compare, exit_code
    from svcdoctor.sources.archive import read_snapshot

    if all_namespaces and (namespace or services):
        raise SvcdoctorError("-A excludes -n and named Services")
    names = tuple(dict.fromkeys(map(_name, services or ())))
    old = read_snapshot(before)
    answer = compare(old, read_snapshot(after), None if all_namespaces else namespace or "default", names)
    if output is Output.TERMINAL:
        from rich.console import Console

        from svcdoctor.report.comparison import render

        console = Console(
            force_terminal=True if color is Color.ALWAYS else None,
            no_color=True if color is Color.NEVER else None,
            highlight=False,
            soft_wrap=False,
        )
        render(answer, console, verbose=verbose)
    elif output in (Output.TABLE, Output.MARKDOWN):
        from svcdoctor.report.comparison import table

        print(table(answer, output is Output.MARKDOWN), end="")
    else:
        from svcdoctor.report.comparison import form
        from svcdoctor.report.machine import form_as_json, form_as_yaml

        write = form_as_json if output is Output.JSON else form_as_yaml
        print(write(form(answer)), end="")
    raise typer.Exit(exit_code(answer))


def _name(text: str) -> str:
    """The name in ``svc/NAME``, ``service/NAME`` or ``NAME``. Raises SvcdoctorError."""
    kind, slash, name = text.rpartition("/")
    if not name or (slash and kind.lower() not in ("svc", "service", "services")):
        raise SvcdoctorError(f"{text}: diff takes Services: svc/NAME")
    return name
