"""``svcdoctor check``: parse, check everything in scope, render."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import (
    Color,
    ColorOption,
    FailOn,
    FailOnOption,
    OutputsOption,
    ShowSoundOption,
    SnapshotOption,
)
from svcdoctor.cli.choosing import ChoosingFlags, choosing
from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags, node_facts
from svcdoctor.cli.opening import open_source
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.checks.checkup import Labelled, Progress
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@choosing
@node_facts
@connected
def check(
    connection: Connection,
    node_facts: NodeFactsFlags,
    choosing: ChoosingFlags,
    services: Annotated[
        list[str] | None,
        typer.Argument(
            help="svc/NAME or NAME, of one namespace; all when none is named.", show_default=False
        ),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Check all namespaces.")
    ] = False,
    selector: Annotated[
        str | None,
        typer.Option(
            "-l", "--selector", help="Only Services with these labels: app=web,tier!=db.", show_default=False
        ),
    ] = None,
    snapshot: SnapshotOption = None,
    output: OutputsOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    color: ColorOption = Color.AUTO,
    verbose: ShowSoundOption = False,
) -> None:
    """Check all Services, Ingresses, routes and policies at once, and group what is wrong by its root cause.

    Without --snapshot the cluster of the current kubeconfig context is asked, read-only. For manifests see lint.

    svcdoctor.toml, or [tool.svcdoctor] of pyproject.toml, may set select, ignore and severity; an object's
    annotation svcdoctor.io/ignore: CODE,… leaves its findings out. What is left out is counted.

    Exit codes: 0 nothing wrong, or only warnings; 1 a finding of severity error, or no such Service; 2 bad usage or
    unreadable input; 3 could not be determined.
    """
    from msgspec.structs import replace

    from svcdoctor.checks.checkup import checkup, exit_code
    from svcdoctor.cli.outputs import parse_outputs, write

    outputs = parse_outputs(output or [])
    names = tuple(dict.fromkeys(map(_name, services or ())))
    if names and (all_namespaces or selector is not None):
        raise SvcdoctorError("name Services, or choose them with -A or -l, not both")
    if all_namespaces and connection.namespace:
        raise SvcdoctorError("-n and -A exclude each other")
    choice, problems, notes = choosing.choice(Path.cwd())
    labels = _labels(selector) if selector is not None else None
    source, own = open_source(connection, snapshot, None, node_facts, ())
    answer = checkup(
        source,
        None if all_namespaces else own,
        names=names,
        labels=labels,
        choice=choice,
        progress=_progress(),
    )
    answer = replace(answer, problems=(*problems, *answer.problems), notes=(*notes, *answer.notes))
    write(answer, outputs, fail_on=str(fail_on), color=str(color), verbose=verbose)
    raise typer.Exit(exit_code(answer, str(fail_on)))


def _name(text: str) -> str:
    """The name in ``svc/NAME``, ``service/NAME`` or ``NAME``. Raises SvcdoctorError."""
    kind, slash, name = text.rpartition("/")
    if not name or (slash and kind.lower() not in ("svc", "service", "services")):
        raise SvcdoctorError(f"{text}: check takes Services: svc/NAME")
    return name


def _labels(text: str) -> Labelled:
    from svcdoctor.cluster.labelselector import SelectorError, parse_labels

    try:
        terms = parse_labels(text)
    except SelectorError as e:
        raise SvcdoctorError(f"-l {text}: {e}") from None
    return lambda labels: all(term.matches(labels) for term in terms)


def _progress() -> Progress | None:
    """Tells a person, not a log, how far it has got."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, of: int) -> None:
        if done == of:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        elif done % 50 == 0:
            print(f"\r{done} of {of} checked", end="", file=sys.stderr, flush=True)

    return show
