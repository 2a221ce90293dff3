"""What one watcher sees."""

from __future__ import annotations

from typing import Any

import pytest

from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.selectors import selection
from svcdoctor.lab.store import ObjectStore
from svcdoctor.lab.watches import Watch


def pod(name: str, app: str = "web", namespace: str = "a") -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": {"app": app}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def watch(**options: Any) -> Watch:
    settings = {"namespace": "a", "selection": selection(PODS), "since": None, "timeout": 0.05} | options
    return Watch(PODS, **settings)


def seen(store: ObjectStore, watcher: Watch) -> list[tuple[str, str]]:
    return [
        (event["type"], event["object"].get("metadata", {}).get("name", ""))
        for event in watcher.events(store)
        if event is not None
    ]


def test_without_a_version_it_begins_with_what_is_there() -> None:
    store = ObjectStore([pod("p"), pod("q", namespace="b")])
    assert seen(store, watch()) == [("ADDED", "p")]
    assert seen(store, watch(namespace=None)) == [("ADDED", "p"), ("ADDED", "q")]


def test_from_a_version_it_sees_what_came_after() -> None:
    store = ObjectStore([pod("p")])
    start = store.version
    store.create(pod("q"))
    store.create(pod("elsewhere", namespace="b"))
    store.update(pod("p", app="edge"))
    store.delete(PODS, "a", "q")
    assert seen(store, watch(since=start)) == [("ADDED", "q"), ("MODIFIED", "p"), ("DELETED", "q")]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("web", "edge", [("DELETED", "p")]),
        ("edge", "web", [("ADDED", "p")]),
        ("web", "web2", [("DELETED", "p")]),
        ("edge", "edge2", []),
    ],
)
def test_a_selection_decides_what_a_change_is(before: str, after: str, expected: list[Any]) -> None:
    store = ObjectStore([pod("p", before)])
    start = store.version
    store.update(pod("p", after))
    watcher = watch(since=start, selection=selection(PODS, "app=web"))
    events = [event for event in watcher.events(store) if event]
    assert [(event["type"], event["object"]["metadata"]["name"]) for event in events] == expected
    if expected == [("DELETED", "p")]:
        # The object as it last matched, at the version of the change.
        assert events[0]["object"]["metadata"]["labels"] == {"app": before}
        assert events[0]["object"]["metadata"]["resourceVersion"] == str(store.version)


def test_a_watch_from_before_the_history_ends_with_410() -> None:
    store = ObjectStore([pod("p")])
    store.create(pod("q"))
    store.compact()
    (event,) = [event for event in watch(since=1).events(store) if event]
    assert event["type"] == "ERROR"
    assert event["object"]["code"] == 410
    assert event["object"]["message"] == f"too old resource version: 1 ({store.version})"


def test_bookmarks_tell_the_version() -> None:
    store = ObjectStore([pod("p")])
    version = str(store.version)
    events = [e for e in watch(since=store.version, bookmark_interval=0.01).events(store) if e]
    assert events
    assert {event["type"] for event in events} == {"BOOKMARK"}
    assert {event["object"]["metadata"]["resourceVersion"] for event in events} == {version}
    assert events[0]["object"]["kind"] == "Pod"


def test_a_streaming_list_marks_the_end_of_what_was_there() -> None:
    store = ObjectStore([pod("p")])
    events = [e for e in watch(initial_events=True, bookmark_interval=9).events(store) if e]
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK"]
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_quiet_watch_gives_signs_of_life() -> None:
    assert list(watch(since=1, timeout=0.01).events(ObjectStore())) == [None]
