"""``svcdoctor proxy``: parse, run, print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.answering import SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    import socket

    from svcdoctor.model.request import ObjectTarget
    from svcdoctor.proxy.serving.control import Event
    from svcdoctor.proxy.serving.planned import Options
    from svcdoctor.proxy.serving.proxyrun import ProxyRun, Source
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

CLEANUP = "cleanup"


class Mode(StrEnum):
    USERSPACE = "userspace"
    NFTABLES = "nftables"


class Balance(StrEnum):
    RANDOM = "random"
    ROUND_ROBIN = "round-robin"
    LEAST_CONN = "least-conn"
    CONSISTENT_HASH = "consistent-hash"


class DialOption(StrEnum):
    AUTO = "auto"
    TUNNEL = "tunnel"
    DIRECT = "direct"
    NETNS = "netns"


@app.command()
@connected
def proxy(
    connection: Connection,
    target: Annotated[
        str | None,
        typer.Argument(
            help="svc/NAME[:PORT]; without it, many: -n NAMESPACE, -l LABELS or -A. Or the word cleanup.",
            show_default=False,
        ),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="All Services of the cluster.")
    ] = False,
    selector: Annotated[
        str | None,
        typer.Option(
            "-l", "--selector", help="Only Services with these labels: app=web.", show_default=False
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen",
            metavar="ADDR:PORT",
            help="Listen there: ADDR:PORT, PORT (on localhost) or ADDR (with the Service's ports).",
            show_default="localhost, for one Service",
        ),
    ] = None,
    nodeport: Annotated[
        bool, typer.Option("--nodeport", help="Listen on nodePorts, at this node's addresses.")
    ] = False,
    clusterip: Annotated[
        bool,
        typer.Option(
            "--clusterip", help="Listen on cluster IPs, which this machine holds for the time being."
        ),
    ] = False,
    mode: Annotated[
        Mode,
        typer.Option("--mode", help="What carries the traffic: processes, or the kernel by rules."),
    ] = Mode.USERSPACE,
    takeover: Annotated[
        bool,
        typer.Option("--takeover", help="With nftables: come before a kube-proxy whose rules work."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the rules, or what would be listened on, and end.")
    ] = False,
    balance: Annotated[
        Balance, typer.Option("--balance", help="Which endpoint a new connection goes to.")
    ] = Balance.RANDOM,
    endpoints: Annotated[
        str | None,
        typer.Option(
            "--endpoints",
            metavar="IP:PORT,…",
            help="Forward to these, without any API server; with --listen.",
            show_default=False,
        ),
    ] = None,
    snapshot: SnapshotOption = None,
    node: Annotated[
        str | None,
        typer.Option("--node", help="The node that this machine is.", show_default="found by its addresses"),
    ] = None,
    dial: Annotated[
        DialOption | None,
        typer.Option(
            "--dial",
            help="How endpoints are reached: as forward has it.",
            show_default="direct for nodePorts, cluster IPs and --endpoints, else auto",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=64, help="Processes that carry traffic.", show_default="one a core"
        ),
    ] = None,
    drain_timeout: Annotated[
        str, typer.Option("--drain-timeout", help="How long connections may take to end after Ctrl-C.")
    ] = "30s",
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics",
            metavar="ADDR:PORT",
            help="Metrics for Prometheus at PORT or IP:PORT, under /metrics.",
            show_default=False,
        ),
    ] = None,
    healthz: Annotated[
        str | None,
        typer.Option(
            "--healthz",
            metavar="ADDR:PORT",
            help="Health at PORT or IP:PORT, under /healthz and /NAMESPACE/NAME, as healthCheckNodePorts answer.",
            show_default=False,
        ),
    ] = None,
    access_log: Annotated[
        str | None,
        typer.Option(
            "--access-log",
            metavar="FILE",
            help="A line of JSON for each connection; - for standard output.",
            show_default=False,
        ),
    ] = None,
    send_proxy_v2: Annotated[
        bool, typer.Option("--send-proxy-v2", help="Tell endpoints the client's address (PROXY protocol 2).")
    ] = False,
    connection_limit: Annotated[
        int | None,
        typer.Option(
            "--connection-limit",
            min=1,
            help="The most connections to one endpoint, from all workers together.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Forward for a Service yourself where kube-proxy does not: in user space, or with rules of svcdoctor's own.

    By default the Service's ports are opened on localhost, on whatever machine. On a node --nodeport opens its
    nodePorts, and --clusterip its cluster IPs, which the node then holds on a device of svcdoctor's, svcdoctor0; many
    Services (-A, -n, -l) are served everywhere that kube-proxy would serve them: a whole node's fallback. Services and
    endpoints are followed; while the API server is away, the last state holds. Ctrl-C ends it when the last connection
    has ended, a second one at once. Workers whose control process was killed go on, and the same command adopts them.

    --mode nftables has the kernel do it, by a table svcdoctor that comes before kube-proxy's rules; nothing else is
    touched, and at the end it is removed. What crashed runs left, svcdoctor proxy cleanup removes.

    Exit codes: 0 ended by a signal; 1 no such Service; 2 bad usage, or a port in use; 3 the API server cannot be
    reached, or refuses, or this user may not do it.
    """
    import sys

    from svcdoctor import __version__
    from svcdoctor.proxy.balance import BalancerPolicy
    from svcdoctor.proxy.serving import words
    from svcdoctor.proxy.serving.addresses import API, API_REFUSED
    from svcdoctor.proxy.serving.planned import KERNEL, USER_SPACE, Options
    from svcdoctor.proxy.serving.proxyrun import Asked, Kernel, ProxyRun
    from svcdoctor.proxy.serving.wire import Settings
    from svcdoctor.report.forwarding import say
    from svcdoctor.report.proxying import ServedLines
    from svcdoctor.sources.connection import parse_duration

    if target == CLEANUP:
        _clean_up()
        return
    kernel = mode is Mode.NFTABLES
    words.check_mode(
        kernel,
        takeover,
        {
            "--dial": dial is not None,
            "--workers": workers is not None,
            "--access-log": access_log is not None,
            "--send-proxy-v2": send_proxy_v2,
            "--connection-limit": connection_limit is not None,
        },
    )
    named = _named(target)
    given = endpoints is not None
    selection = words.selected(named, all_namespaces, connection.namespace, selector, given)
    only = (named.port if named is not None else None) or ""
    where = words.where(only, not (named or given), listen, nodeport, clusterip, kernel)
    count, limit = words.processes(workers, connection_limit)
    options = Options(
        where.listens,
        KERNEL if kernel else USER_SPACE,
        BalancerPolicy(str(balance)),
        limit,
        send_proxy_v2,
    )
    source: Source
    if endpoints is not None:
        if snapshot is not None:
            raise SvcdoctorError("--endpoints and --snapshot both say where to forward to; say one of them")
        source = words.fixed_ports(endpoints, selection, where, options)
    else:
        source, namespace, options = _source(connection, snapshot, node or "", options)
        if not all_namespaces:
            selection = replace(selection, namespace=selection.namespace or namespace)
    if clusterip and (selection.namespace, selection.name) == API and not kernel:
        raise SvcdoctorError(API_REFUSED)
    direct = given or snapshot is not None or where.node_ports or where.cluster_ips
    way = dial or (DialOption.DIRECT if direct else DialOption.AUTO)
    if way in (DialOption.AUTO, DialOption.TUNNEL) and not kernel:
        words.check_found_again(connection)
    lines = ServedLines(lambda: run.unserved)

    def tell(event: Event) -> None:
        for line, served in lines.lines(event):
            say(line, sys.stdout if served else sys.stderr)

    run = ProxyRun(
        Asked(
            source,
            selection,
            where,
            options,
            Settings(
                __version__,
                str(way),
                _path(connection.kubeconfig),
                connection.context,
                "" if access_log in (None, "-") else _path(Path(access_log)),
                parse_duration(drain_timeout, "--drain-timeout", "ending connections at once"),
            ),
            count,
            node or "",
            Kernel(takeover) if kernel else None,
            _to_stdout if access_log == "-" else None,
        ),
        tell,
    )
    if dry_run:
        _dry_run(run, kernel)
        return
    if metrics is not None:
        _answer_metrics(run, metrics)
    if healthz is not None:
        _answer_health(run, healthz)
    raise typer.Exit(run.run())


def _named(target: str | None) -> ObjectTarget | None:
    from svcdoctor.path.target import parse_service

    return parse_service(target, "") if target is not None else None


def _source(
    connection: Connection, snapshot: Path | None, node: str, options: Options
) -> tuple[Source, str, Options]:
    """Who says what is served, the namespace of what is named without one, and the options with what is known of
    kube-proxy."""
    if snapshot is not None:
        from svcdoctor.path.world import World
        from svcdoctor.sources.archive import read_snapshot
        from svcdoctor.sources.localnode import node_here

        held = read_snapshot(snapshot)
        settings = World(held).proxy(node or node_here(held.nodes) or None)
        return held, "default", replace(options, kube_proxy=settings or options.kube_proxy)
    from svcdoctor.sources.connection import open_connection

    session = open_connection(connection)
    return session, session.namespace, options


def _path(path: Path | None) -> str:
    """As other processes find it."""
    return str(path.absolute()) if path is not None else ""


def _to_stdout(lines: bytes) -> None:
    import sys

    from svcdoctor.report.forwarding import say

    say(lines.decode("utf-8", "replace").rstrip("\n"), sys.stdout)


def _answering(option: str, text: str) -> tuple[list[socket.socket], str]:
    """Sockets that listen where the option says, and the first of their addresses."""
    import sys

    from svcdoctor.proxy.arguments import parse_addresses, parse_listening
    from svcdoctor.proxy.listening import bound_addresses, local_sockets
    from svcdoctor.report.forwarding import address_text, say

    addresses, port = parse_listening(option, text, parse_addresses(["localhost"]))
    sockets = local_sockets(addresses, port, lambda error: say(error.message, sys.stderr))
    return sockets, address_text(bound_addresses(sockets)[0])


def _answer_metrics(run: ProxyRun, text: str) -> None:
    import sys

    from svcdoctor.proxy.scrapes import PATH, scraped
    from svcdoctor.report.forwarding import say
    from svcdoctor.report.proxymetrics import as_prometheus

    sockets, address = _answering("--metrics", text)
    say(f"Metrics on http://{address}{PATH}", sys.stderr)

    def render(done: Callable[[str], None]) -> None:
        run.count(lambda counters: done(as_prometheus(run.ports, counters, run.healthy)))

    run.answer(sockets, scraped(render))


def _answer_health(run: ProxyRun, text: str) -> None:
    import sys

    from svcdoctor.report.forwarding import say

    sockets, address = _answering("--healthz", text)
    say(f"Health on http://{address}/healthz", sys.stderr)
    run.answer(sockets, run.healthz)


def _dry_run(run: ProxyRun, kernel: bool) -> None:
    from svcdoctor.proxy.kernel.compile import compiled
    from svcdoctor.report.proxying import served_lines

    ports = run.dry_run()
    if kernel:
        print(compiled(ports, run.site()).text, end="")
    for line in () if kernel else served_lines(ports):
        print(line)


def _clean_up() -> None:
    from svcdoctor.proxy.serving.leftovers import clean_up

    removed, problems = clean_up()
    for line in removed:
        print(line)
    if problems:
        raise SvcdoctorError("; ".join(problems), 3)
    if not removed:
        print("nothing is left")
