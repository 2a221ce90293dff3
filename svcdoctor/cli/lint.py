"""``svcdoctor lint``: parse, check manifests, render."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import Color, ColorOption, FailOn, FailOnOption, OutputsOption, ShowSoundOption
from svcdoctor.cli.choosing import ChoosingFlags, choosing
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.sources.linted import Linted

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@choosing
def lint(
    choosing: ChoosingFlags,
    filenames: Annotated[
        list[str] | None,
        typer.Option(
            "-f",
            "--filename",
            help="Manifests: a file, a folder with all below it, or - for standard input; may be repeated.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str, typer.Option("-n", "--namespace", help="Where objects go that name no namespace.")
    ] = "default",
    output: OutputsOption = None,
    fail_on: FailOnOption = FailOn.ERROR,
    color: ColorOption = Color.AUTO,
    verbose: ShowSoundOption = False,
) -> None:
    """Check manifests alone: what the API server would reject, and what would not work if it took them.

    YAML of any number of documents, JSON, Lists; what kubectl kustomize or helm template print, on standard input.
    Each finding names file and line; for what Helm rendered, the template and the line of what it rendered to. The
    rules are those of Kubernetes 1.36. No cluster is asked: what manifests refer to must be among them.

    What cannot be read (a syntax error, template text that is not rendered) is told, and the rest is checked.

    Exit codes: 0 nothing wrong, or only warnings; 1 a finding of severity error, or an input that could not be read
    (whatever --fail-on says); 2 bad usage, or nothing could be read at all.
    """
    gc.disable()  # parsing makes millions of objects and no cycles
    from msgspec.structs import replace

    from svcdoctor.checks.checkup import exit_code
    from svcdoctor.cli.outputs import parse_outputs, write
    from svcdoctor.sources.linted import linted
    from svcdoctor.sources.manifests import ManifestSource

    if not filenames:
        raise SvcdoctorError("name the manifests: svcdoctor lint -f FILE, a folder, or - for standard input")
    outputs = parse_outputs(output or [])
    choice, problems, notes = choosing.choice(Path.cwd())
    found = linted(ManifestSource(filenames, namespace, tolerant=True), choice)
    answer = replace(
        found.answer,
        problems=(*problems, *found.answer.problems),
        notes=(*notes, *found.answer.notes),
    )
    if found.nothing and not answer.problems:
        raise SvcdoctorError(f"{answer.scope}: no Kubernetes objects")
    write(answer, outputs, fail_on=str(fail_on), color=str(color), verbose=verbose)
    raise typer.Exit(_exit_code(found, exit_code(answer, str(fail_on))))


def _exit_code(found: Linted, by_findings: int) -> int:
    if found.nothing:
        return 2
    return 1 if found.unread else by_findings
