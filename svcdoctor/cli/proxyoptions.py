"""The options of ``proxy``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Mode(StrEnum):
    USERSPACE = "userspace"
    NFTABLES = "nftables"


class Balance(StrEnum):
    RANDOM = "random"
    ROUND_ROBIN = "round-robin"
    LEAST_CONN = "least-conn"
    CONSISTENT_HASH = "consistent-hash"


class Dial(StrEnum):
    AUTO = "auto"
    TUNNEL = "tunnel"
    DIRECT = "direct"
    NETNS = "netns"


TargetArgument = Annotated[
    str | None,
    typer.Argument(
        help="svc/NAME[:PORT]; without it, many: -n NAMESPACE, -l LABELS or -A. Or the word cleanup.",
        show_default=False,
    ),
]
EverywhereOption = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="All Services of the cluster.")
]
SelectorOption = Annotated[
    str | None,
    typer.Option("-l", "--selector", help="Only Services with these labels: app=web.", show_default=False),
]
ListenOption = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="ADDR:PORT",
        help="Listen there: ADDR:PORT, PORT (on localhost) or ADDR (with the Service's ports).",
        show_default="localhost, for one Service",
    ),
]
NodePortOption = Annotated[
    bool, typer.Option("--nodeport", help="Listen on nodePorts, at this node's addresses.")
]
ClusterIPOption = Annotated[
    bool,
    typer.Option("--clusterip", help="Listen on cluster IPs, which this machine holds for the time being."),
]
ModeOption = Annotated[
    Mode, typer.Option("--mode", help="What carries the traffic: processes, or the kernel by rules.")
]
TakeoverOption = Annotated[
    bool, typer.Option("--takeover", help="With nftables: come before a kube-proxy whose rules work.")
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print the rules, or what would be listened on, and end.")
]
BalanceOption = Annotated[Balance, typer.Option("--balance", help="Which endpoint a new connection goes to.")]
EndpointsOption = Annotated[
    str | None,
    typer.Option(
        "--endpoints",
        metavar="IP:PORT,…",
        help="Forward to these, without any API server; with --listen.",
        show_default=False,
    ),
]
NodeOption = Annotated[
    str | None,
    typer.Option("--node", help="The node that this machine is.", show_default="found by its addresses"),
]
DialOption = Annotated[
    Dial | None,
    typer.Option(
        "--dial",
        help="How endpoints are reached: as forward has it.",
        show_default="direct for nodePorts, cluster IPs and --endpoints, else auto",
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=64, help="Processes that carry traffic.", show_default="one a core"),
]
DrainOption = Annotated[
    str, typer.Option("--drain-timeout", help="How long connections may take to end after Ctrl-C.")
]
CheckOption = Annotated[
    str | None,
    typer.Option(
        "--check-interval",
        metavar="DURATION",
        help="Connect to each endpoint so often, and pass by those that take no connection three times in a row.",
        show_default="endpoints are not checked",
    ),
]
MetricsOption = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="ADDR:PORT",
        help="Metrics for Prometheus at PORT or IP:PORT, under /metrics.",
        show_default=False,
    ),
]
HealthzOption = Annotated[
    str | None,
    typer.Option(
        "--healthz",
        metavar="ADDR:PORT",
        help="Health at PORT or IP:PORT, under /healthz and /NAMESPACE/NAME, as healthCheckNodePorts answer.",
        show_default=False,
    ),
]
AccessLogOption = Annotated[
    str | None,
    typer.Option(
        "--access-log",
        metavar="FILE",
        help="A line of JSON for each connection; - for standard output.",
        show_default=False,
    ),
]
ProxyHeaderOption = Annotated[
    bool, typer.Option("--send-proxy-v2", help="Tell endpoints the client's address (PROXY protocol 2).")
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--connection-limit",
        min=1,
        help="The most connections to one endpoint, from all workers together.",
        show_default="none",
    ),
]
