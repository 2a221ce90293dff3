"""Everything of a cluster, or of one namespace, for saving it."""

from __future__ import annotations

from collections.abc import Callable

from svcdoctor.cluster.kinds import KINDS
from svcdoctor.model.facts import EVERYTHING, Kind, Need, Scope
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.sources.live import LiveSource


def gather(
    source: LiveSource,
    namespace: str | None,
    progress: Callable[[str], None],
    snapshot: Snapshot | None = None,
) -> Snapshot:
    """All kinds, of all namespaces or of one; what may not be read is Unknown in the result.

    ``snapshot`` is what is known already. ``progress`` hears a line for each kind. Raises SvcdoctorError when
    the API cannot be reached.
    """
    if snapshot is None:
        snapshot = source.snapshot()
    for kind in Kind:
        info = KINDS[kind]
        scope = (
            Scope(namespace) if namespace and info.namespaced and kind is not Kind.CONFIG_MAP else EVERYTHING
        )
        snapshot = source.refill(snapshot, (Need(kind, scope),))
        progress(f"read {info.plural}: {len(snapshot.of(kind)):,}")
    return snapshot
