"""The source of facts that a command's options name: a snapshot, manifests, or the live cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from svcdoctor.cli.nodefacts import From, NodeFactsFlags

if TYPE_CHECKING:
    from svcdoctor.checks.diagnose import Source
    from svcdoctor.sources.connection import Connection


def open_source(
    connection: Connection,
    snapshot: Path | None,
    manifests: list[str] | None,
    flags: NodeFactsFlags,
    nodes: tuple[str, ...],
) -> tuple[Source, str]:
    """The source of facts that the command line names, and the namespace that completes short names.

    ``nodes`` are those whose facts are gathered, all when none is named. Raises SvcdoctorError.
    """
    flags.check_live(snapshot is not None or bool(manifests))
    if snapshot is not None:
        from svcdoctor.sources.archive import ArchiveSource

        return ArchiveSource(snapshot), connection.namespace or "default"
    if manifests:
        from svcdoctor.sources.manifests import ManifestSource

        namespace = connection.namespace or "default"
        return ManifestSource(manifests, namespace), namespace
    from svcdoctor.sources.connection import open_connection
    from svcdoctor.sources.live import LiveSource

    live = LiveSource(open_connection(connection))
    if flags.way is From.NONE:
        return live, live.namespace
    from svcdoctor.sources.nodeways import PreparedSource

    return PreparedSource(live, lambda: flags.collected(live, nodes)), live.namespace
