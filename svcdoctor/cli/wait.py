"""``svcdoctor wait``: parse, wait, render."""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import progress
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.model.waiting import WaitAnswer
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class For(StrEnum):
    """The values of --for."""

    READY = "ready"
    REACHABLE = "reachable"
    DNS = "dns"


class Output(StrEnum):
    TERMINAL = "terminal"
    JSON = "json"


@app.command()
@connected
def wait(
    connection: Connection,
    target: Annotated[str, typer.Argument(help="svc/NAME[:PORT] or NAME.", show_default=False)],
    timeout: Annotated[
        str, typer.Option("--timeout", help="How long at most: 90s, 2m. 0 looks once.")
    ] = "60s",
    for_: Annotated[
        For,
        typer.Option(
            "--for",
            help="ready (what the API tells), reachable (a connection from here), dns (the name, asked for real).",
        ),
    ] = For.READY,
    dns_server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="IP[:PORT]",
            help="The DNS server that --for dns asks. (The API server's address is -s.)",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="Format of the answer.")] = Output.TERMINAL,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show all evidence and fixes.")] = False,
) -> None:
    """Wait until a Service is really usable, and say what it still waits for.

    ready: the Service exists, each port (or the one named) has a ready endpoint, the workloads behind it have replaced
    the pods of older templates, and no finding is an error. reachable: each port takes a connection from here; where
    nothing of the Service leads here, one through the API server into a pod counts, and that is told. dns: the name
    resolves, asked of cluster DNS from here, or through the API server.

    Exit codes: 0 usable; 1 not in time, with the pod and the probe that it waited for; 2 bad usage; 3 could not be
    determined, as when the API server refuses or cannot be reached; 130 interrupted.
    """
    from svcdoctor.cli.dns import parse_server
    from svcdoctor.model.waiting import WaitFor
    from svcdoctor.path.target import parse_service
    from svcdoctor.probe.waiting.run import Waiting, WaitRun
    from svcdoctor.sources.connection import open_connection, parse_duration
    from svcdoctor.sources.live import LiveSource

    seconds = parse_duration(timeout, "--timeout", "one look")
    if dns_server is not None and for_ is not For.DNS:
        raise SvcdoctorError(
            "--server is the DNS server to ask: add --for dns (the API server's address is -s)"
        )
    server = parse_server(dns_server) if dns_server is not None else None
    live = LiveSource(open_connection(connection))
    asked = Waiting(WaitFor(for_), parse_service(target, live.namespace), seconds, server)
    run = WaitRun(live, asked, _tell)
    answer = run.run()
    _render(answer, output, verbose)
    if run.busy:
        sys.stdout.flush()
        os._exit(answer.exit_code)  # a request under way on a thread is not waited for
    raise typer.Exit(answer.exit_code)


def _tell(seconds: float, lacking: tuple[str, ...]) -> None:
    from svcdoctor.report.printable import printable

    more = f" (and {len(lacking) - 1} more)" if len(lacking) > 1 else ""
    progress(f"{seconds:5.1f} s  {printable(lacking[0])}{more}")


def _render(answer: WaitAnswer, output: Output, verbose: bool) -> None:
    if output is Output.JSON:
        from svcdoctor.report.machine import form_as_json
        from svcdoctor.report.waiting import wait_json

        print(form_as_json(wait_json(answer)), end="")
        return
    from rich.console import Console

    from svcdoctor.report.waiting import render

    render(answer, Console(highlight=False, soft_wrap=False), verbose=verbose)
