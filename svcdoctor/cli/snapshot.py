"""``svcdoctor snapshot``: parse, gather, write or describe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.connected import connected
from svcdoctor.cli.nodefacts import NodeFactsFlags, ended_by_signals, node_facts, progress

if TYPE_CHECKING:
    from svcdoctor.sources.connection import Connection

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def snapshot() -> None:
    """Save what a cluster's Services rest on, or look into a saved one."""


@app.command()
@node_facts
@connected
def save(
    connection: Connection,
    node_facts: NodeFactsFlags,
    path: Annotated[Path, typer.Argument(help="Where to: a folder, or an archive ending in .tar.gz.")],
    snapshot: Annotated[
        Path | None,
        typer.Option("--snapshot", help="Save this folder or archive of dumps anew.", show_default=False),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="The whole cluster; the default without -n.")
    ] = False,
    node: Annotated[
        list[str] | None,
        typer.Option("--node", help="Facts of this node only; may be repeated.", show_default=False),
    ] = None,
    anonymize: Annotated[
        bool, typer.Option("--anonymize", help="Replace names and addresses; no map is kept.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing snapshot.")] = False,
) -> None:
    """Save the cluster's objects, redacted, to a folder or archive; with --node-facts its nodes' rules too.

    Nodes' dumps are written as they were taken, but for sysctls that are secrets.

    Only the fields that svcdoctor reads are written: no Secrets, probe headers, free annotations or logs; of
    environment, commands and arguments only settings such as BIND=127.0.0.1 that say which sockets are opened;
    credentials in a Corefile are masked.
    """
    from svcdoctor.sources.anonymize import anonymize as anonymized
    from svcdoctor.sources.archive import node_dumps, read_snapshot
    from svcdoctor.sources.gathering import gather
    from svcdoctor.sources.writing import write_snapshot

    node_facts.check_live(snapshot is not None)
    dumps = {}
    left_out: tuple[str, ...] = ()
    if snapshot is not None:
        held = read_snapshot(snapshot)
        dumps = node_dumps(snapshot)
    else:
        from svcdoctor.sources.connection import open_connection
        from svcdoctor.sources.live import LiveSource

        namespace = None if all_namespaces else connection.namespace
        live = LiveSource(open_connection(connection))
        held = gather(live, namespace, progress, node_facts.collected(live, tuple(node or ())))
        dumps = {
            name: {n: dump.data for n, dump in facts.raw.items()}
            for name, facts in held.node_facts.items()
            if facts.raw
        }
    if anonymize:
        result = anonymized(held, dumps)
        held, dumps, left_out = result.snapshot, result.dumps, result.left_out
    written = write_snapshot(held, path, dumps=dumps, left_out=left_out, progress=progress, force=force)
    print(
        f"{written.path}: {written.objects:,} objects, {len(written.nodes)} nodes' dumps, {written.size:,} bytes"
    )
    for what in left_out:
        print(f"left out: {what}", file=sys.stderr)
    for warning in held.warnings if snapshot is None else ():
        print(f"warning: {warning}", file=sys.stderr)


@app.command()
def node(
    every: Annotated[
        str | None,
        typer.Option("--every", help="Do it again after so long, for ever: 60s, 5m.", show_default=False),
    ] = None,
) -> None:
    """Write this node's facts to standard output, in the lines that --node-facts daemonset reads from a pod's log.

    As root, on a node or in a pod on its network (plugins/manifests/node-facts.yaml). Nothing is asked of the cluster.
    """
    import socket
    import time
    from datetime import UTC, datetime

    from svcdoctor.sources.collecting import DEFAULT_LIMITS
    from svcdoctor.sources.connection import parse_duration
    from svcdoctor.sources.localnode import check_local, local_facts
    from svcdoctor.sources.reportform import report_lines

    seconds = parse_duration(every, "--every", "once") if every else 0.0
    check_local("snapshot node")
    with ended_by_signals():
        while True:
            started = time.monotonic()
            facts = local_facts(socket.gethostname().lower(), DEFAULT_LIMITS)
            sys.stdout.buffer.write(report_lines(facts, datetime.now(UTC), seconds))
            sys.stdout.buffer.flush()
            if not seconds:
                return
            time.sleep(max(seconds - (time.monotonic() - started), 1.0))


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="A folder or archive of dumps.")],
) -> None:
    """Say what a snapshot holds, what it lacks, and which command would add that."""
    from svcdoctor.sources.archive import read_snapshot
    from svcdoctor.sources.contents import describe, lines

    held = read_snapshot(path)
    print("\n".join(lines(describe(held))))
    for warning in held.warnings:
        print(f"warning: {warning}", file=sys.stderr)
