"""A watch: the stream of what happens to the selected objects of one resource.

An object that begins to match the selection is ADDED for this watcher, one that ceases to match is DELETED,
whatever was done to it. Watchers read from the store's history instead of a queue of their own, so a slow
one costs nothing: when the history has moved past it, its stream ends with a 410 and it lists again.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from svcdoctor.lab.metadata import with_version
from svcdoctor.lab.resources import Object, Resource
from svcdoctor.lab.selectors import Selection
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import Change, Event, ObjectStore

IDLE_SECONDS = 1.0
"""How long a quiet watch goes without telling its reader that it is still there."""

_END_OF_INITIAL_EVENTS = {"k8s.io/initial-events-end": "true"}


@dataclass(frozen=True, slots=True)
class Watch:
    """What one watcher asks for.

    `since` is the resourceVersion to go on from; None begins with the existing objects as ADDED events.
    `initial_events` marks their end with a bookmark (the streaming list). `timeout` is in seconds;
    `bookmark_interval`, in seconds, is None for watchers that want no bookmarks.
    """

    resource: Resource
    namespace: str | None
    selection: Selection
    since: int | None
    timeout: float
    bookmark_interval: float | None = None
    initial_events: bool = False

    def events(self, store: ObjectStore) -> Iterator[Object | None]:
        """Watch events, `{"type": …, "object": …}`, until the time is up.

        None is a sign of life: at least one a second while nothing happens, for the reader to look whether
        its client is still there. A 410 is the last event of the stream, as on the wire.
        """
        deadline = time.monotonic() + self.timeout
        try:
            yield from self._follow(store, deadline)
        except ApiError as error:
            yield {"type": "ERROR", "object": error.status()}

    def _follow(self, store: ObjectStore, deadline: float) -> Iterator[Object | None]:
        version = self.since
        if version is None:
            page = store.list_page(self.resource, self.namespace, self.selection)
            version = page.version
            for obj in page.items:
                yield {"type": "ADDED", "object": obj}
        if self.initial_events:
            yield self._bookmark(version, _END_OF_INITIAL_EVENTS)
        next_bookmark = time.monotonic() + (self.bookmark_interval or 0)
        while (now := time.monotonic()) < deadline:
            if self.bookmark_interval is not None and now >= next_bookmark:
                next_bookmark = now + self.bookmark_interval
                yield self._bookmark(version)
            wait = min(IDLE_SECONDS, deadline - now)
            if self.bookmark_interval is not None:
                wait = min(wait, next_bookmark - now)
            events = store.events_since(version, max(wait, 0.0))
            for event in events:
                version = event.version
                if (seen := self._seen(event)) is not None:
                    yield seen
            yield None

    def _seen(self, event: Event) -> Object | None:
        if event.resource != self.resource or self.namespace not in (None, event.key[0]):
            return None
        before = event.previous is not None and self.selection.matches(event.previous)
        after = event.change is not Change.DELETED and self.selection.matches(event.obj)
        if after:
            return {"type": "MODIFIED" if before else "ADDED", "object": event.obj}
        if before and event.previous is not None:
            return {"type": "DELETED", "object": with_version(event.previous, event.version)}
        return None

    def _bookmark(self, version: int, annotations: dict[str, str] | None = None) -> Object:
        metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        obj = {"kind": self.resource.kind, "apiVersion": self.resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": obj}
