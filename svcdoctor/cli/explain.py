"""``svcdoctor explain``: what a code means."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"
    YAML = "yaml"


@app.command()
def explain(
    codes: Annotated[list[str], typer.Argument(metavar="CODE…", help="OBJ002 or obj002; several at once.")],
    output: Annotated[
        Output, typer.Option("-o", "--output", help="Format of the explanation.")
    ] = Output.TERMINAL,
) -> None:
    """Explain a finding's code: what it means, how to see it by hand, how to fix it.

    Exit codes: 0 explained; 2 bad usage, or no such code.
    """
    from svcdoctor.checks.catalogue import of_codes
    from svcdoctor.report import codes as report

    try:
        found = of_codes(codes)
    finally:
        say_left_out()
    if output is Output.TERMINAL:
        from rich.console import Console

        report.render_whole(found, Console(highlight=False, soft_wrap=False))
    else:
        from svcdoctor.report.machine import form_as_json, form_as_yaml

        write = form_as_json if output is Output.JSON else form_as_yaml
        print(write(report.form(found)), end="")


def say_left_out() -> None:
    """Says on standard error which packages' checks are left out, and why."""
    from svcdoctor.checks.plugins import loaded

    for problem in loaded():
        print(f"warning: {problem}", file=sys.stderr)
