"""``svcdoctor forward``: parse, run, print."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from svcdoctor.cli.connected import connected
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.proxy.arguments import ListenAddress
    from svcdoctor.proxy.balance import BalancerPolicy
    from svcdoctor.proxy.forwarder import Plan
    from svcdoctor.proxy.forwardrun import ForwardRun
    from svcdoctor.report.forwardtable import ForwardTable
    from svcdoctor.sources.connection import Connection
    from svcdoctor.sources.session import ApiSession

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


class WithCommand(typer.core.TyperCommand):
    """Keeps what follows ``--`` apart from the targets and ports."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            at = args.index("--")
            ctx.meta["command"] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)


class Balance(StrEnum):
    ROUND_ROBIN = "round-robin"
    LEAST_CONN = "least-conn"
    RANDOM = "random"
    STICKY = "sticky"


class DialOption(StrEnum):
    AUTO = "auto"
    TUNNEL = "tunnel"
    DIRECT = "direct"
    NETNS = "netns"


class Output(StrEnum):
    LINES = "lines"
    JSON = "json"


@app.command(cls=WithCommand)
@connected
def forward(
    typer_context: typer.Context,
    connection: Connection,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TYPE/NAME [LOCAL:]REMOTE… [TYPE/NAME …]",
            help="Targets (pod, svc, deploy, rs, sts, ds, rc, job), each with its ports.",
            show_default=False,
        ),
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(
            "--address",
            help="Addresses to listen on, with commas: IPs or localhost.",
            show_default="localhost",
        ),
    ] = None,
    pod_running_timeout: Annotated[
        str, typer.Option("--pod-running-timeout", help="How long a first ready pod is waited for.")
    ] = "1m",
    wait: Annotated[
        str, typer.Option("--wait", help="How long a new connection waits while no pod can be reached.")
    ] = "30s",
    balance: Annotated[
        Balance | None,
        typer.Option(
            "--balance",
            help="Which pod a new connection goes to.",
            show_default="round-robin; sticky for a pod",
        ),
    ] = None,
    all_pods: Annotated[
        bool, typer.Option("--all-pods", help="A local port for each pod, counting up from LOCAL.")
    ] = False,
    once: Annotated[
        bool, typer.Option("--once", help="One pod, and the end when it is lost, as kubectl has it.")
    ] = False,
    dial: Annotated[
        DialOption,
        typer.Option("--dial", help="How pods are reached; auto takes the shortest way that works."),
    ] = DialOption.AUTO,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A YAML file of targets with their ports.", show_default=False),
    ] = None,
    socks5: Annotated[
        str | None,
        typer.Option(
            "--socks5",
            metavar="ADDR",
            help="A SOCKS 5 proxy at PORT or IP:PORT to every Service, by its name: NAME.NAMESPACE.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="ADDR",
            help="Metrics for Prometheus at PORT or IP:PORT, under /metrics.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Output | None,
        typer.Option(
            "-o",
            "--output",
            help="lines, or json: one event a line.",
            show_default="a table on a terminal, else lines",
        ),
    ] = None,
) -> None:
    """Forward local ports to pods, over their restarts and rollouts, until Ctrl-C.

    The words are kubectl port-forward's: svc/web 8080:80, deploy/web http, pod/web-1 :5000 :6000. Ports may end in
    /udp. Several targets may be named, each with its ports. With -- COMMAND the command is run with the local ports
    in its environment (SVCDOCTOR_PORT, SVCDOCTOR_PORT_80, SVCDOCTOR_ADDRESS); the forwards end with it. With
    --socks5 no targets are needed: curl --proxy socks5h://localhost:1080 http://web.shop:8080/

    On a node, as root, pods are reached in their network namespaces (--dial netns, which auto takes there). That needs
    no API server: pods of the node are then found by its files, Services by its rules.

    Exit codes: 0 ended by Ctrl-C; the command's own; 1 no such target, or no pod in time; 2 bad usage; 3 the API
    server cannot be reached, or refuses.
    """
    import sys

    from svcdoctor.proxy.arguments import parse_addresses, socks_addresses
    from svcdoctor.proxy.balance import BalancerPolicy
    from svcdoctor.proxy.dialways import Dial
    from svcdoctor.proxy.forwarder import Settings
    from svcdoctor.proxy.forwardrun import ForwardRun
    from svcdoctor.report.forwarding import Lines, as_json, say
    from svcdoctor.sources.connection import Connection, open_connection, parse_timeout

    seconds, patience = parse_timeout(wait), parse_timeout(pod_running_timeout)
    way = Dial(str(dial))
    namespace = connection.namespace or ""
    session: ApiSession | SvcdoctorError
    try:
        session = open_connection(connection)
        namespace = namespace or session.namespace
    except SvcdoctorError as e:
        if connection != Connection(namespace=connection.namespace):  # one was asked for
            raise
        session = e  # on a node it can be done without
    namespace = namespace or "default"
    policy = BalancerPolicy(str(balance)) if balance is not None else None
    addresses = parse_addresses(address or ["localhost"])
    plans = _plans(words or [], addresses, namespace, policy, all_pods, config)
    if not plans and socks5 is None:
        raise SvcdoctorError("forward what? say TYPE/NAME and its ports, e.g. svc/web 8080:80")
    command = typer_context.meta.get("command", [])
    table = _table() if output is None and not command else None
    lines = Lines() if output is not Output.JSON else lambda event: say(as_json(event), sys.stdout)
    run = ForwardRun(
        session,
        plans,
        Settings(wait=seconds if seconds is not None else float("inf"), once=once),
        way,
        table or lines,
        running_seconds=patience if patience is not None else float("inf"),
    )
    if socks5 is not None:
        run.open_socks(*socks_addresses(socks5, addresses), policy, namespace)
    if metrics is not None:
        _serve_metrics(run, metrics)
    if way in (Dial.AUTO, Dial.NETNS) and output is not Output.JSON:
        say(f"Reaching pods {run.reached_by}", sys.stderr)
    if table is not None:
        table.start(run.loop, run.status)
        run.beside.append(table)
    raise typer.Exit(run.run(command))


def _table() -> ForwardTable | None:
    """The table, where standard output is a terminal that can show it."""
    import os
    import sys

    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb"
    if plain or not sys.stdout.isatty():
        return None
    from rich.console import Console

    from svcdoctor.report.forwardtable import ForwardTable

    stream = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding=sys.stdout.encoding, errors="replace")
    return ForwardTable(Console(file=stream, highlight=False))


def _serve_metrics(run: ForwardRun, text: str) -> None:
    import sys

    from svcdoctor.proxy.arguments import parse_addresses, parse_listening
    from svcdoctor.proxy.httpanswers import AnswerServer
    from svcdoctor.proxy.listening import bound_addresses, local_sockets
    from svcdoctor.proxy.scrapes import PATH, scraped
    from svcdoctor.report.forwarding import address_text, say
    from svcdoctor.report.forwardmetrics import as_prometheus

    addresses, port = parse_listening("--metrics", text, parse_addresses(["localhost"]))
    sockets = local_sockets(addresses, port, lambda error: say(error.message, sys.stderr))
    say(f"Metrics on http://{address_text(bound_addresses(sockets)[0])}{PATH}", sys.stderr)
    respond = scraped(lambda done: done(as_prometheus(run.status())))
    run.beside.append(AnswerServer(run.loop, sockets, respond))


def _plans(
    words: list[str],
    addresses: tuple[ListenAddress, ...],
    namespace: str,
    policy: BalancerPolicy | None,
    all_pods: bool,
    config: Path | None,
) -> list[Plan]:
    from svcdoctor.proxy.plans import plans_of_file, plans_of_words

    plans = plans_of_words(words, namespace, addresses, policy, all_pods)
    if config is not None:
        plans += plans_of_file(config, namespace, addresses, policy, all_pods)
    return plans
