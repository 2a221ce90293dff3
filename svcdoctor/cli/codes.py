"""``svcdoctor codes``: the catalogue as a list."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(StrEnum):
    TERMINAL = "terminal"
    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


@app.command()
def codes(
    family: Annotated[
        list[str] | None,
        typer.Option("--family", help="Only this family, such as OBJ; may be repeated.", show_default=False),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="Format of the list.")] = Output.TERMINAL,
) -> None:
    """List every code that a finding can have.

    Installed packages may add codes of their own (docs/plugins.md); a package that cannot be used is named on
    standard error.

    Exit codes: 0 listed; 2 bad usage, or no such family.
    """
    from svcdoctor.checks.catalogue import of_families
    from svcdoctor.cli.explain import say_left_out
    from svcdoctor.report import codes as report

    found = of_families(family or ())
    say_left_out()
    if output is Output.TERMINAL:
        from rich.console import Console

        report.render_list(found, Console(highlight=False, soft_wrap=False))
    elif output in (Output.TABLE, Output.MARKDOWN):
        print(report.table(found, output is Output.MARKDOWN), end="")
    elif output is Output.NAME:
        print(report.names(found), end="")
    else:
        from svcdoctor.report.machine import form_as_json, form_as_yaml

        write = form_as_json if output is Output.JSON else form_as_yaml
        print(write(report.form(found)), end="")
