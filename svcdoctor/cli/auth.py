"""``svcdoctor auth``: ask what may be asked, and say what to grant."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.connected import connected

if TYPE_CHECKING:
    from svcdoctor.sources.connection import Connection

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@app.callback()
def auth() -> None:
    """Say which features you may use on a cluster, and what to grant for the others."""


@app.command("can-i")
@connected
def can_i(
    connection: Connection,
    features: Annotated[
        list[str] | None,
        typer.Argument(help="Features, such as trace or nodes-exec; all without one.", show_default=False),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Ask for all namespaces instead of one.")
    ] = False,
    output: Annotated[
        Output,
        typer.Option("-o", "--output", help="table, json, or yaml: the roles that grant what is missing."),
    ] = Output.TABLE,
) -> None:
    """Say for each feature whether you may use it (yes, partly, no), and which rules are missing.

    The API server itself is asked, by SelfSubjectAccessReviews, about the namespace of -n or the context; add --as to
    ask for somebody else. partly: it works, and says what it could not look at. Features such as nodes-exec or probe
    come on top of trace.

    Exit codes: 0 all of them are allowed; 1 something is missing; 2 bad usage, or no such feature; 3 not answered.
    """
    from svcdoctor.cli.main import program_name
    from svcdoctor.report import permissions as report
    from svcdoctor.report.machine import form_as_json
    from svcdoctor.sources.allowances import permissions
    from svcdoctor.sources.connection import open_connection
    from svcdoctor.sources.features import of_names

    chosen = of_names(tuple(features or ()))
    session = open_connection(connection)
    found = permissions(session, chosen, None if all_namespaces else session.namespace)
    if output is Output.TABLE:
        print(report.table(found, program_name(), _asker(connection)), end="")
    elif output is Output.JSON:
        print(form_as_json(report.permissions_form(found)), end="")
    else:
        print(report.roles(found), end="")
    raise typer.Exit(1 if any(a.missing for a in found.features) else 0)


def _asker(connection: Connection) -> str:
    """The flags that say who asks which cluster, each after a space, for a command that asks the same again."""
    from shlex import join

    words: list[str] = []
    for flag, value in (
        ("--kubeconfig", connection.kubeconfig),
        ("--context", connection.context),
        ("--as", connection.as_user),
        *(("--as-group", group) for group in connection.as_groups),
        ("--as-uid", connection.as_uid),
    ):
        words += [flag, str(value)] if value else []
    return f" {join(words)}" if words else ""
