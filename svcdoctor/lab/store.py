"""The lab's cluster state: complete objects, versioned, with a short history.

Every write takes the next resourceVersion and leaves one event in a ring. Because versions are consecutive,
an event's place in the ring is its version minus the oldest one, and the state at an earlier version is the
current one with the later events undone; pages of one list therefore fit together while objects change.

Objects that go in and come out are shared, not copied: whoever hands one over must not change it any more,
whoever receives one must not change it at all.

Specification: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from itertools import islice

from svcdoctor.lab.metadata import Key, check_shape, complete, flatten, key_of, version_of, with_version
from svcdoctor.lab.paging import CURRENT, Page, decode_token, encode_token, expired_token
from svcdoctor.lab.resources import Object, Resource, resource_of
from svcdoctor.lab.selectors import Selection
from svcdoctor.lab.status import (
    ApiError,
    already_exists,
    bad_request,
    conflict,
    not_found,
    too_large_version,
    too_old_version,
)
from svcdoctor.model.errors import SvcdoctorError

HISTORY = 4096
"""Events kept for watches and pages; a client that falls further behind gets 410 and lists again."""

_EVERYTHING = Selection()


class Change(Enum):
    """What a write did."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


@dataclass(frozen=True, slots=True)
class Event:
    """One write: the object after it and before it. A deleted object carries the version of its deletion."""

    change: Change
    version: int
    resource: Resource
    obj: Object
    previous: Object | None

    @property
    def key(self) -> Key:
        """The namespace and name of the object."""
        return key_of(self.resource, self.obj)


class _Shelf:
    """The objects of one resource, with their keys in etcd's order (namespace, then name)."""

    __slots__ = ("keys", "objects")

    def __init__(self) -> None:
        self.keys: list[Key] = []
        self.objects: dict[Key, Object] = {}

    def put(self, key: Key, obj: Object) -> None:
        if key not in self.objects:
            insort(self.keys, key)
        self.objects[key] = obj

    def remove(self, key: Key) -> None:
        del self.objects[key]
        del self.keys[bisect_left(self.keys, key)]


class ObjectStore:
    """Kubernetes objects by resource, namespace and name. Safe to use from many threads.

    `objects` are complete objects as `kubectl get -o json` prints them, lists of them included. What lacks a
    resourceVersion, uid or creationTimestamp gets one; kinds that are not in the resource table, Secrets
    above all, are left out and counted in `skipped`. `now` is the clock of creation timestamps, `history`
    the number of events kept. Raises `SvcdoctorError` for what is no Kubernetes object.
    """

    def __init__(
        self,
        objects: Iterable[Object] = (),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        history: int = HISTORY,
    ) -> None:
        self._now = now
        self._changed = threading.Condition()
        self._shelves: dict[Resource, _Shelf] = {}
        self._ring: deque[Event] = deque(maxlen=history)
        self._version = 1
        self._wakes = 0
        self._skipped: Counter[str] = Counter()
        self._load(objects)

    def _load(self, objects: Iterable[Object]) -> None:
        loaded: list[tuple[Resource, Object]] = []
        for obj in flatten(objects):
            resource = resource_of(obj)
            if resource is None or not resource.stored:
                self._skipped[f"{obj.get('apiVersion', '')}/{obj.get('kind', '')}"] += 1
            else:
                loaded.append((resource, obj))
        try:
            for resource, obj in loaded:
                check_shape(resource, obj)
            versions = [int(version) for _, obj in loaded if (version := version_of(obj)).isdecimal()]
            self._version = max(versions, default=self._version)
            for resource, obj in loaded:
                version = version_of(obj)
                if not version.isdecimal():
                    self._version += 1
                    version = str(self._version)
                completed = complete(resource, obj, int(version), self._now())
                self._shelves.setdefault(resource, _Shelf()).put(key_of(resource, completed), completed)
        except ApiError as error:
            raise SvcdoctorError(f"an object cannot be loaded: {error.message}") from error

    def __len__(self) -> int:
        """How many objects there are."""
        with self._changed:
            return sum(len(shelf.objects) for shelf in self._shelves.values())

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many loaded objects were left out, by `apiVersion/kind`."""
        return self._skipped

    @property
    def version(self) -> int:
        """The current resourceVersion."""
        with self._changed:
            return self._version

    def holds(self, resource: Resource) -> bool:
        """Whether there is any object of the resource."""
        with self._changed:
            shelf = self._shelves.get(resource)
            return bool(shelf and shelf.objects)

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        """One object; the namespace of cluster-scoped ones is empty. Raises `ApiError` 404."""
        with self._changed:
            shelf = self._shelves.get(resource)
            obj = shelf.objects.get((namespace, name)) if shelf else None
        if obj is None:
            raise not_found(resource, name)
        return obj

    def list_page(
        self,
        resource: Resource,
        namespace: str | None = None,
        selection: Selection = _EVERYTHING,
        *,
        limit: int = 0,
        token: str = "",
        version: int | None = None,
    ) -> Page:
        """The selected objects of a namespace (None: of all), at most `limit` of them (0: all).

        `token` goes on where an earlier page ended, `version` asks for the state at that version. Raises
        `ApiError` 400 for a bad token, 410 where the version is no longer in the history, 504 where it does
        not exist yet. Takes time linear in the objects looked at, and in the events since the version.
        """
        with self._changed:
            after: Key | None = None
            if token:
                version, after = decode_token(token, namespace)
                if version == CURRENT:
                    version = None
                elif version < self._oldest():
                    raise expired_token(after, namespace)
            shown = self._version if version is None else version
            keys, objects = self._state_at(resource, shown)
        first = bisect_left(keys, (namespace, "")) if namespace is not None else 0
        last = bisect_left(keys, (namespace + "\0", "")) if namespace is not None else len(keys)
        if after is not None:
            first = max(first, bisect_right(keys, after))
        items: list[Object] = []
        for position in range(first, last):
            obj = objects[keys[position]]
            if selection and not selection.matches(obj):
                continue
            if limit and len(items) == limit:
                end = (items[-1]["metadata"].get("namespace", ""), items[-1]["metadata"]["name"])
                remaining = None if selection else last - position
                return Page(items, shown, encode_token(shown, end, namespace), remaining)
            items.append(obj)
        return Page(items, shown)

    def _oldest(self) -> int:
        return self._version - len(self._ring)

    def _state_at(self, resource: Resource, version: int) -> tuple[list[Key], dict[Key, Object]]:
        shelf = self._shelves.get(resource) or _Shelf()
        keys, objects = list(shelf.keys), dict(shelf.objects)
        undone = [event for event in self._since(version) if event.resource == resource]
        for event in reversed(undone):
            if event.previous is None:
                del objects[event.key]
            else:
                objects[event.key] = event.previous
        return (sorted(objects) if undone else keys), objects

    def _since(self, version: int) -> Iterator[Event]:
        self.check_reached(version)
        oldest = self._oldest()
        if version < oldest:
            raise too_old_version(version, oldest)
        return islice(self._ring, version - oldest, None)

    def create(self, obj: Object) -> Object:
        """Add an object and return it as stored. Raises `ApiError` 409 where the name is taken, 400 for
        kinds that are not served."""
        resource = _served(obj)
        with self._changed:
            version = self._version + 1
            completed = complete(resource, obj, version, self._now())
            key = key_of(resource, completed)
            shelf = self._shelves.setdefault(resource, _Shelf())
            if key in shelf.objects:
                raise already_exists(resource, key[1])
            return self._write(shelf, Event(Change.ADDED, version, resource, completed, None))

    def update(self, obj: Object) -> Object:
        """Replace an object and return it as stored; without a change nothing is written.

        An object that names a resourceVersion must name the current one. Raises `ApiError` 404 and 409.
        """
        resource = _served(obj)
        key = key_of(resource, obj)
        with self._changed:
            previous = self.get(resource, *key)
            if version_of(obj) not in ("", version_of(previous)):
                raise conflict(resource, key[1])
            kept = {name: previous["metadata"][name] for name in ("uid", "creationTimestamp")}
            obj = obj | {"metadata": obj["metadata"] | kept}
            if complete(resource, obj, int(version_of(previous)), self._now()) == previous:
                return previous
            version = self._version + 1
            completed = complete(resource, obj, version, self._now())
            event = Event(Change.MODIFIED, version, resource, completed, previous)
            return self._write(self._shelves[resource], event)

    def delete(self, resource: Resource, namespace: str, name: str) -> Object:
        """Remove an object at once, finalizers or not (no controller would ever clear them), and return it
        as it was. Raises `ApiError` 404."""
        with self._changed:
            previous = self.get(resource, namespace, name)
            version = self._version + 1
            last = with_version(previous, version)
            self._write(self._shelves[resource], Event(Change.DELETED, version, resource, last, previous))
            return previous

    def _write(self, shelf: _Shelf, event: Event) -> Object:
        if event.change is Change.DELETED:
            shelf.remove(event.key)
        else:
            shelf.put(event.key, event.obj)
        self._version = event.version
        self._ring.append(event)
        self._changed.notify_all()
        return event.obj

    def events_since(self, version: int, timeout: float) -> list[Event]:
        """The events after a version; waits up to `timeout` seconds for the first one or for `wake`.

        Raises `ApiError` 410 where the history no longer reaches back to the version.
        """
        with self._changed:
            wakes = self._wakes
            self._changed.wait_for(lambda: self._version > version or self._wakes != wakes, timeout)
            return list(self._since(version)) if self._version > version else []

    def check_reached(self, version: int) -> None:
        """Raises `ApiError` 504 for a version that does not exist yet."""
        with self._changed:
            if version > self._version:
                raise too_large_version(version, self._version)

    def wake(self) -> None:
        """Let everybody who waits in `events_since` return now."""
        with self._changed:
            self._wakes += 1
            self._changed.notify_all()

    def compact(self) -> None:
        """Forget the history, as etcd does every few minutes: older tokens and watches now get 410."""
        with self._changed:
            self._ring.clear()


def _served(obj: Object) -> Resource:
    resource = resource_of(obj)
    if resource is None or not resource.stored:
        raise bad_request(f"no resource is served for {obj.get('apiVersion', '')} {obj.get('kind', '')}")
    return resource
