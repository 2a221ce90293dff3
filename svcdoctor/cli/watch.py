"""``svcdoctor watch``: parse, run, draw or print."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.connected import connected

if TYPE_CHECKING:
    from svcdoctor.model.request import ObjectTarget
    from svcdoctor.probe.watch.events import Event, WatchSummary
    from svcdoctor.report.watchscreen import WatchScreen
    from svcdoctor.sources.connection import Connection
    from svcdoctor.sources.live import LiveSource

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class Output(StrEnum):
    LINES = "lines"
    JSON = "json"


@app.command()
@connected
def watch(
    connection: Connection,
    target: Annotated[str, typer.Argument(help="svc/NAME[:PORT] or NAME.", show_default=False)],
    probe: Annotated[
        bool,
        typer.Option(
            "--probe",
            help="Connect to each endpoint and entry from here, again and again. Without it nothing is sent.",
        ),
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", min=0.1, max=3600, help="Seconds between two probes of a target.")
    ] = 1.0,
    seconds: Annotated[
        float | None,
        typer.Option("--seconds", min=0.1, help="End after so many seconds.", show_default="Ctrl-C ends it"),
    ] = None,
    output: Annotated[
        Output | None,
        typer.Option(
            "-o",
            "--output",
            help="lines, or json: one event a line, the summary last.",
            show_default="a screen on a terminal, else lines",
        ),
    ] = None,
) -> None:
    """Watch a Service's endpoints, findings and, with --probe, its answers; say at the end what was unavailable.

    Without --probe only the API server is asked: readiness is what EndpointSlices tell. With --probe a TCP connection
    is opened and closed at once, without a byte, from the machine that svcdoctor runs on to every endpoint and to
    cluster IPs, nodePorts, load balancer and external IPs: once per --interval each, at most 100 a second in all. Some
    servers log such connections, or block a client after many of them (MySQL). What has never answered from here, as
    pods' addresses from a laptop, is not counted as unavailable.

    An endpoint that starts, or terminates and leaves, was not unavailable; one that comes back under its name was in
    between. While the API server cannot be asked it is not known what changes, and that is told.

    Exit codes: 0 nothing was unavailable; 1 something was, or no such Service; 2 bad usage; 3 not known for some of
    the time, or the API server cannot be reached, or refuses.
    """
    from svcdoctor.path.target import parse_service
    from svcdoctor.sources.connection import open_connection
    from svcdoctor.sources.live import LiveSource

    live = LiveSource(open_connection(connection))
    named = parse_service(target, live.namespace)
    every = interval if probe else None
    summary = _on_screen(live, named, every, seconds) if output is None else None
    if summary is None:
        summary = _in_lines(live, named, every, seconds, output is Output.JSON)
    raise typer.Exit(summary.exit_code)


def _on_screen(
    live: LiveSource, named: ObjectTarget, interval: float | None, seconds: float | None
) -> WatchSummary | None:
    """The watch on a live screen; None where standard output is no terminal that can show one."""
    import os
    import sys

    if os.environ.get("TERM", "dumb") == "dumb" or not sys.stdout.isatty():
        return None
    from rich.console import Console

    from svcdoctor.probe.watch.run import WatchRun
    from svcdoctor.report.watchscreen import WatchScreen
    from svcdoctor.report.watchsummary import summary_lines

    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="replace")
    screen: WatchScreen
    run = WatchRun(
        live,
        named,
        interval,
        seconds,
        lambda event: screen(event),
        lambda view, now: screen.draw(view, now, run.pace),
    )
    screen = WatchScreen(Console(file=stream, highlight=False), named.namespace, run.end)
    lines: list[str] = []
    try:
        summary = run.run()
        lines = summary_lines(summary)
    finally:
        screen.close(lines)
    return summary


def _in_lines(
    live: LiveSource, named: ObjectTarget, interval: float | None, seconds: float | None, json: bool
) -> WatchSummary:
    from svcdoctor.probe.watch.run import WatchRun
    from svcdoctor.report.watchjson import event_json, summary_json
    from svcdoctor.report.watchsummary import summary_lines
    from svcdoctor.report.watchwords import clock, event_line, is_news

    began = 0.0

    def tell(event: Event) -> None:
        nonlocal began
        began = began or event.at
        if json:
            print(event_json(event), flush=True)
        elif is_news(event, began):
            print(f"{clock(event.at)}  {event_line(event, named.namespace)}", flush=True)

    summary = WatchRun(live, named, interval, seconds, tell).run()
    for line in [summary_json(summary)] if json else summary_lines(summary):
        print(line)
    return summary
