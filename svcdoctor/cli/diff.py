"""``svcdoctor diff``: parse, compare, render."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import Color, ColorOption
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.cli.outputs import Output
    from svcdoctor.model.comparison import Comparison

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Form(StrEnum):
    TERMINAL = "terminal"
    TABLE = "table"
    MARKDOWN = "markdown"
    HTML = "html"
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
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FORMAT[=FILE]",
            help="terminal (default), table, markdown, html, json or yaml; may be repeated.",
            show_default=False,
        ),
    ] = None,
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
    from svcdoctor.cli.outputs import deliver, parse_outputs
    from svcdoctor.sources.archive import read_snapshot

    if all_namespaces and (namespace or services):
        raise SvcdoctorError("-A excludes -n and named Services")
    outputs = parse_outputs(output or [], Form)
    names = tuple(dict.fromkeys(map(_name, services or ())))
    old = read_snapshot(before)
    answer = compare(old, read_snapshot(after), None if all_namespaces else namespace or "default", names)
    deliver(outputs, lambda form: _rendered(answer, form, color, verbose))
    raise typer.Exit(exit_code(answer))


def _name(text: str) -> str:
    """The name in ``svc/NAME``, ``service/NAME`` or ``NAME``. Raises SvcdoctorError."""
    kind, slash, name = text.rpartition("/")
    if not name or (slash and kind.lower() not in ("svc", "service", "services")):
        raise SvcdoctorError(f"{text}: diff takes Services: svc/NAME")
    return name


def _rendered(answer: Comparison, output: Output, color: Color, verbose: bool) -> str:
    from svcdoctor.cli.outputs import console_for
    from svcdoctor.report import comparison, machine

    match output.format:
        case Form.TERMINAL:
            console = console_for(str(color), sys.stdout if output.file is None else None)
            with console.capture() as captured:
                comparison.render(answer, console, verbose=verbose)
            return captured.get()
        case Form.TABLE | Form.MARKDOWN:
            return comparison.table(answer, output.format is Form.MARKDOWN)
        case Form.HTML:
            from svcdoctor.report.html.comparing import comparison_page

            return comparison_page(answer)
        case Form.JSON:
            return machine.form_as_json(comparison.form(answer))
        case _:
            return machine.form_as_yaml(comparison.form(answer))
