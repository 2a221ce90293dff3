"""``svcdoctor proxy``: parse, run, print."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from svcdoctor.cli.answering import SnapshotOption
from svcdoctor.cli.connected import connected
from svcdoctor.cli.proxyoptions import (
    AccessLogOption,
    Balance,
    BalanceOption,
    CheckOption,
    ClusterIPOption,
    Dial,
    DialOption,
    DrainOption,
    DryRunOption,
    EndpointsOption,
    EverywhereOption,
    HealthzOption,
    LimitOption,
    ListenOption,
    MetricsOption,
    Mode,
    ModeOption,
    NodeOption,
    NodePortOption,
    ProxyHeaderOption,
    SelectorOption,
    TakeoverOption,
    TargetArgument,
    WorkersOption,
)
from svcdoctor.model.errors import SvcdoctorError

if TYPE_CHECKING:
    from svcdoctor.model.request import ObjectTarget
    from svcdoctor.proxy.serving.control import Event
    from svcdoctor.proxy.serving.proxyrun import Source
    from svcdoctor.sources.connection import Connection

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

CLEANUP = "cleanup"


@app.command()
@connected
def proxy(
    connection: Connection,
    target: TargetArgument = None,
    all_namespaces: EverywhereOption = False,
    selector: SelectorOption = None,
    listen: ListenOption = None,
    nodeport: NodePortOption = False,
    clusterip: ClusterIPOption = False,
    mode: ModeOption = Mode.USERSPACE,
    takeover: TakeoverOption = False,
    dry_run: DryRunOption = False,
    balance: BalanceOption = Balance.RANDOM,
    endpoints: EndpointsOption = None,
    snapshot: SnapshotOption = None,
    node: NodeOption = None,
    dial: DialOption = None,
    workers: WorkersOption = None,
    drain_timeout: DrainOption = "30s",
    check_interval: CheckOption = None,
    metrics: MetricsOption = None,
    healthz: HealthzOption = None,
    access_log: AccessLogOption = None,
    send_proxy_v2: ProxyHeaderOption = False,
    connection_limit: LimitOption = None,
) -> None:
    """Forward for a Service yourself where kube-proxy does not: in user space, or with rules of svcdoctor's own.

    By default the Service's ports are opened on localhost, on whatever machine. On a node --nodeport opens its
    nodePorts, and --clusterip its cluster IPs, which the node then holds on a device of svcdoctor's, svcdoctor0; many
    Services (-A, -n, -l) are served everywhere that kube-proxy would serve them: a whole node's fallback. Services and
    endpoints are followed; while the API server is away, the last state holds. Ctrl-C ends it when the last connection
    has ended or --drain-timeout is over, a second one at once. Workers whose control process was killed go on, and the
    same command adopts them.

    --mode nftables has the kernel do it, by a table svcdoctor that comes before kube-proxy's rules; nothing else is
    touched, and at the end it is removed. What crashed runs left, svcdoctor proxy cleanup removes.

    Exit codes: 0 ended by a signal, 128 and its number (130, 143) where a second one ended it at once; 1 no such
    Service; 2 bad usage, or a port in use; 3 the API server cannot be reached, or refuses, or this user may not do it.
    """
    import sys

    from svcdoctor import __version__
    from svcdoctor.cli.proxyanswers import answer_health, answer_metrics, clean_up_here, print_dry_run
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
        clean_up_here()
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
        0 if kernel else count,
    )
    source: Source
    if endpoints is not None:
        if snapshot is not None:
            raise SvcdoctorError("--endpoints and --snapshot both say where to forward to; say one of them")
        source = words.fixed_ports(endpoints, selection, where, options)
    else:
        source, namespace = _source(connection, snapshot)
        if not all_namespaces:
            selection = replace(selection, namespace=selection.namespace or namespace)
    if clusterip and (selection.namespace, selection.name) == API and not kernel:
        raise SvcdoctorError(API_REFUSED)
    direct = given or snapshot is not None or where.node_ports or where.cluster_ips
    way = dial or (Dial.DIRECT if direct else Dial.AUTO)
    if way in (Dial.AUTO, Dial.TUNNEL) and not kernel:
        words.check_found_again(connection)
    checks = words.check_seconds(check_interval, kernel or way is Dial.DIRECT)
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
            checks,
        ),
        tell,
    )
    if dry_run:
        print_dry_run(run, kernel)
        return
    if metrics is not None:
        answer_metrics(run, metrics)
    if healthz is not None:
        answer_health(run, healthz)
    raise typer.Exit(run.run())


def _named(target: str | None) -> ObjectTarget | None:
    from svcdoctor.path.target import parse_service

    return parse_service(target, "") if target is not None else None


def _source(connection: Connection, snapshot: Path | None) -> tuple[Source, str]:
    """Who says what is served, and the namespace of what is named without one."""
    if snapshot is not None:
        from svcdoctor.sources.archive import read_snapshot

        return read_snapshot(snapshot), "default"
    from svcdoctor.sources.connection import open_connection

    session = open_connection(connection)
    return session, session.namespace


def _path(path: Path | None) -> str:
    """As other processes find it."""
    return str(path.absolute()) if path is not None else ""


def _to_stdout(lines: bytes) -> None:
    import sys

    from svcdoctor.report.forwarding import say

    say(lines.decode("utf-8", "replace").rstrip("\n"), sys.stdout)
