"""``svcdoctor snapshot``: parse, gather, write or describe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from svcdoctor.cli.connected import connected

if TYPE_CHECKING:
    from svcdoctor.sources.connection import Connection

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, no_args_is_help=True
)


@app.callback()
def snapshot() -> None:
    """Save what a cluster's Services rest on, or look into a saved one."""


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


@app.command()
@connected
def save(
    connection: Connection,
    path: Annotated[Path, typer.Argument(help="Where to: a folder, or an archive ending in .tar.gz.")],
    snapshot: Annotated[
        Path | None,
        typer.Option("--snapshot", help="Save this folder or archive of dumps anew.", show_default=False),
    ] = None,
    all_namespaces: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="The whole cluster; the default without -n.")
    ] = False,
    anonymize: Annotated[
        bool, typer.Option("--anonymize", help="Replace names and addresses; no map is kept.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing snapshot.")] = False,
) -> None:
    """Save the cluster's objects, redacted, to a folder or archive.

    Only the fields that svcdoctor reads are written: no Secrets, environment, commands, arguments, probe
    headers, free annotations or logs; credentials in a Corefile are masked.
    """
    from svcdoctor.sources.anonymize import anonymize as anonymized
    from svcdoctor.sources.archive import node_dumps, read_snapshot
    from svcdoctor.sources.gathering import gather
    from svcdoctor.sources.writing import write_snapshot

    dumps = {}
    left_out: tuple[str, ...] = ()
    if snapshot is not None:
        held = read_snapshot(snapshot)
        dumps = node_dumps(snapshot)
    else:
        from svcdoctor.sources.connection import open_connection
        from svcdoctor.sources.live import LiveSource

        namespace = None if all_namespaces else connection.namespace
        held = gather(LiveSource(open_connection(connection)), namespace, _progress)
    if anonymize:
        result = anonymized(held, dumps)
        held, dumps, left_out = result.snapshot, result.dumps, result.left_out
    written = write_snapshot(held, path, dumps=dumps, left_out=left_out, progress=_progress, force=force)
    print(
        f"{written.path}: {written.objects:,} objects, {len(written.nodes)} nodes' dumps, {written.size:,} bytes"
    )
    for what in left_out:
        print(f"left out: {what}", file=sys.stderr)


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
