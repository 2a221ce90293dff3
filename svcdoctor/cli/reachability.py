"""``svcdoctor test``: read the files, ask each question, render the results."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import ManifestsOption, SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags, node_facts, progress
from svcdoctor.cli.opening import open_source
from svcdoctor.cli.probing import ProbeFlags, probing
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.cli.outputs import Output
    from svcdoctor.model.reachability import Expectation, TestRun
    from svcdoctor.model.trace import Trace
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
@probing
@node_facts
@connected
def test(
    connection: Connection,
    node_facts: NodeFactsFlags,
    probing: ProbeFlags,
    files: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="Files of tests, or - for standard input.")
    ],
    snapshot: SnapshotOption = None,
    manifests: ManifestsOption = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FORMAT[=FILE]",
            help="terminal, table, json, yaml or junit; may be repeated.",
            show_default="terminal",
        ),
    ] = None,
) -> None:
    """Test who reaches what, as expectations in a file: on manifests, a snapshot, or live.

    A file is YAML: apiVersion svcdoctor/v1, kind ReachabilityTest, and a list of tests with name, from, to and expect
    (delivered, refused or dropped); via, node, protocol, family, backends and sourceSeen say more. Without --snapshot
    or -f the cluster of the current kubeconfig context is asked, read-only. With --probe real requests are sent, and
    what they meet decides.

    Exit codes: 0 all passed; 1 one failed; 2 a file that is no test, and nothing is run; 3 one could not be determined.
    """
    from svcdoctor.checks.reachability import Predicted, judge
    from svcdoctor.cli.outputs import deliver
    from svcdoctor.model.reachability import TestRun

    if snapshot is not None and manifests:
        raise SvcdoctorError("--snapshot and -f exclude each other")
    probing.check("--snapshot" if snapshot is not None else "-f" if manifests else "")
    outputs = _outputs(output or [])
    source, namespace = open_source(connection, snapshot, manifests, node_facts, ())
    expectations = _read(files, namespace)
    held = Predicted(source)

    def ask(expectation: Expectation) -> Trace:
        if not probing.wanted:
            return held.trace(expectation)
        return probing.answer(source, expectation.request, expectation.namespace, node_facts.yes)

    results = []
    for number, expectation in enumerate(expectations, 1):
        progress(f"{number} of {len(expectations)}: {expectation.name}")
        results.append(judge(expectation, ask, held, probed=probing.wanted))
    run = TestRun(held.snapshot.source, tuple(results))
    deliver(outputs, lambda output: _rendered(run, output))
    raise typer.Exit(run.exit_code)


def _outputs(said: list[str]) -> tuple[Output, ...]:
    """Raises SvcdoctorError for a form that there is not."""
    from svcdoctor.cli.outputs import Format, parse_outputs

    outputs = parse_outputs(said)
    forms = (Format.TERMINAL, Format.TABLE, Format.JSON, Format.YAML, Format.JUNIT)
    for output in outputs:
        if output.format not in forms:
            raise SvcdoctorError(f"-o {output.format}: of tests there are {', '.join(forms)}")
    return outputs


def _read(files: list[str], namespace: str) -> list[Expectation]:
    """The tests of all files. Ends the program with exit code 2 where one of them is no test."""
    from svcdoctor.cli.main import program_name
    from svcdoctor.path.expectations import Expectations
    from svcdoctor.report.printable import printable
    from svcdoctor.sources.files import MAX_YAML, as_text

    expectations = Expectations(namespace)
    for name in dict.fromkeys(files):
        where = "standard input" if name == "-" else name
        try:
            with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as stream:
                data = stream.read(MAX_YAML + 1)
        except OSError as e:
            raise SvcdoctorError(f"{name}: {e.strerror}") from None
        if len(data) > MAX_YAML:
            raise SvcdoctorError(f"{where}: more than {MAX_YAML >> 20} MiB")
        expectations.read(as_text(data, where), where)
    for problem in expectations.problems:
        place = problem.place
        shown = f"{place.file}{f' line {place.line}' if place.line else ''}: " if place is not None else ""
        print(printable(f"{program_name()}: error: {shown}{problem.message}"), file=sys.stderr)
    if expectations.problems:
        raise typer.Exit(2)
    return expectations.found


def _rendered(run: TestRun, output: Output) -> str:
    from svcdoctor.cli.outputs import Format, console_for
    from svcdoctor.report import machine, reachability

    match output.format:
        case Format.TERMINAL:
            console = console_for("auto", sys.stdout if output.file is None else None)
            with console.capture() as captured:
                reachability.render(run, console)
            return captured.get()
        case Format.TABLE:
            return reachability.table(run)
        case Format.JUNIT:
            return reachability.junit(run)
        case Format.YAML:
            return machine.form_as_yaml(reachability.run_json(run))
        case _:
            return machine.form_as_json(reachability.run_json(run))
