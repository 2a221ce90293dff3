"""``svcdoctor trace``: parse, diagnose, render."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from svcdoctor.cli.answering import Color, ColorOption, FailOn, FailOnOption, ManifestsOption, SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags, node_facts
from svcdoctor.cli.opening import open_source
from svcdoctor.cli.probing import ProbeFlags, probing
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.request import Request
from svcdoctor.model.trace import EntryKind, Trace

if TYPE_CHECKING:
    from svcdoctor.checks.diagnose import Source
    from svcdoctor.cli.outputs import Output
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Form(StrEnum):
    TERMINAL = "terminal"
    WIDE = "wide"
    TABLE = "table"
    MARKDOWN = "markdown"
    HTML = "html"
    SVG = "svg"
    MERMAID = "mermaid"
    DOT = "dot"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


TABLES: dict[StrEnum, Literal["table", "wide", "markdown"]] = {
    Form.TABLE: "table",
    Form.WIDE: "wide",
    Form.MARKDOWN: "markdown",
}


class Protocol(StrEnum):
    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"


class Family(StrEnum):
    V4 = "4"
    V6 = "6"


@app.command()
@probing
@node_facts
@connected
def trace(
    connection: Connection,
    node_facts: NodeFactsFlags,
    probing: ProbeFlags,
    target: Annotated[
        str | None,
        typer.Argument(
            help="svc/NAME[:PORT], NAME, ingress/NAME[/path], httproute/NAME[/path], grpcroute/NAME, pod/NAME:PORT, "
            "deploy/NAME, or the other way round: HOST:PORT, a URL, a DNS name.",
            show_default=False,
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="Who asks: external[/IP], node/NAME or pod/[NAMESPACE/]NAME.", show_default=False
        ),
    ] = None,
    via: Annotated[
        list[EntryKind] | None,
        typer.Option("--via", help="Only by this entry; may be repeated.", show_default=False),
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", help="Only through this node.", show_default=False)
    ] = None,
    protocol: Annotated[
        Protocol | None,
        typer.Option("--protocol", help="Only this protocol.", show_default=False, case_sensitive=False),
    ] = None,
    family: Annotated[
        Family | None, typer.Option("--family", help="Only this IP family.", show_default=False)
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="Look for the Service in all namespaces.")
    ] = False,
    snapshot: SnapshotOption = None,
    manifests: ManifestsOption = None,
    batch: Annotated[
        str | None,
        typer.Option(
            "--batch", help="Questions as JSON lines (file or -), answers as JSON lines.", show_default=False
        ),
    ] = None,
    output: Annotated[
        list[str] | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FORMAT[=FILE]",
            help="terminal (default), wide, table, markdown, html, svg, mermaid, dot, json, yaml or name; may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    fail_on: FailOnOption = FailOn.ERROR,
    color: ColorOption = Color.AUTO,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show every hop and all evidence.")
    ] = False,
) -> None:
    """Show a request's whole way through a Service, and why it breaks.

    Without --snapshot or -f the cluster of the current kubeconfig context is asked, read-only. With --probe real
    requests are sent too, and every hop shows what was observed beside what was predicted.

    Exit codes: 0 healthy, or only warnings; 1 a finding of severity error, or no such Service; 2 bad usage or
    unreadable input; 3 could not be determined.
    """
    from svcdoctor.checks.diagnose import diagnose, exit_code
    from svcdoctor.cli.outputs import deliver, parse_outputs
    from svcdoctor.path.clients import parse_client
    from svcdoctor.path.target import parse_target

    if snapshot is not None and manifests:
        raise SvcdoctorError("--snapshot and -f exclude each other")
    if (target is None) == (batch is None):
        raise SvcdoctorError("name one target (svc/NAME, HOST:PORT …) or --batch FILE")
    outputs = parse_outputs(output or [], Form)
    offline = "--snapshot" if snapshot is not None else "-f" if manifests else "--batch" if batch else ""
    probing.check(offline)
    source, namespace = open_source(connection, snapshot, manifests, node_facts, (node,) if node else ())
    if batch is not None:
        _batch(source, batch, namespace)
        return
    client = parse_client(from_) if from_ else None
    request = Request(
        parse_target(target or "", namespace, client),
        client,
        frozenset(via or ()),
        node,
        str(protocol) if protocol else None,
        int(family) if family else None,
        all_namespaces,
    )
    if probing.wanted:
        answer = probing.answer(source, request, namespace, node_facts.yes)
    else:
        answer = diagnose(source, request, namespace)
    deliver(outputs, lambda form: _rendered(answer, form, color, verbose))
    requests = getattr(source, "requests", 0)
    if verbose and requests:
        print(f"{requests} requests to the API server", file=sys.stderr)
    raise typer.Exit(exit_code(answer, str(fail_on)))


def _batch(source: Source, name: str, namespace: str) -> None:
    from svcdoctor.checks.diagnose import whole
    from svcdoctor.path.batch import answers

    held = whole(source)
    write = sys.stdout.buffer.write
    try:
        with nullcontext(sys.stdin.buffer) if name == "-" else Path(name).open("rb") as lines:
            for line in answers(held, lines, namespace):
                write(line)
    except OSError as e:
        if isinstance(e, BrokenPipeError):
            raise
        raise SvcdoctorError(f"{name}: {e.strerror}") from None
    sys.stdout.buffer.flush()


def _rendered(answer: Trace, output: Output, color: Color, verbose: bool) -> str:
    """One form as text; a renderer is imported when its form is asked for."""
    form = output.format
    if form in TABLES:
        from svcdoctor.report import tables

        return tables.render(answer, TABLES[form])
    match form:
        case Form.TERMINAL:
            from svcdoctor.cli.outputs import console_for
            from svcdoctor.report import terminal

            console = console_for(str(color), sys.stdout if output.file is None else None)
            with console.capture() as captured:
                terminal.render(answer, console, verbose=verbose)
            return captured.get()
        case Form.HTML:
            from svcdoctor.report.html.tracing import trace_page

            return trace_page(answer)
        case Form.SVG:
            from svcdoctor.report.drawing.svg import svg

            return svg(answer)
        case Form.MERMAID:
            from svcdoctor.report.drawing.mermaid import mermaid

            return mermaid(answer)
        case Form.DOT:
            from svcdoctor.report.drawing.dot import dot

            return dot(answer)
        case _:
            from svcdoctor.report import machine

            write = {Form.JSON: machine.as_json, Form.YAML: machine.as_yaml, Form.NAME: machine.as_name}
            return write[Form(form)](answer)
