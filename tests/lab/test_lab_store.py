"""The object store: versions, pages, history."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from svcdoctor.lab.paging import decode_token
from svcdoctor.lab.resources import PODS, SERVICES, Object
from svcdoctor.lab.selectors import selection
from svcdoctor.lab.status import ApiError
from svcdoctor.lab.store import Change, ObjectStore
from svcdoctor.model.errors import SvcdoctorError

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def pod(name: str, namespace: str = "a", **more: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **more},
        "spec": {"nodeName": "node1"},
    }


def names(items: list[Object]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


@pytest.fixture
def pods() -> ObjectStore:
    return ObjectStore([pod(name) for name in "bdace"] + [pod("x", "b")], now=lambda: NOW)


def test_objects_get_what_they_lack() -> None:
    store = ObjectStore([pod("old", resourceVersion="41", uid="u"), pod("new")], now=lambda: NOW)
    old, new = store.list_page(PODS).items[1], store.list_page(PODS).items[0]
    assert (old["metadata"]["resourceVersion"], old["metadata"]["uid"]) == ("41", "u")
    assert new["metadata"]["resourceVersion"] == str(store.version) == "42"
    assert new["metadata"]["creationTimestamp"] == "2026-11-21T00:00:00Z"
    assert new["metadata"]["uid"]


def test_lists_are_opened_and_items_inherit_their_kind() -> None:
    bare = {key: value for key, value in pod("p").items() if key not in ("kind", "apiVersion")}
    typed = {"kind": "PodList", "apiVersion": "v1", "items": [bare]}
    store = ObjectStore([{"kind": "List", "apiVersion": "v1", "items": [typed, pod("q")]}])
    assert names(store.list_page(PODS).items) == ["p", "q"]
    assert store.get(PODS, "a", "p")["kind"] == "Pod"


def test_secrets_and_unknown_kinds_are_left_out_and_counted() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "a"}}
    store = ObjectStore([secret, secret, {"apiVersion": "x.io/v1", "kind": "Y", "metadata": {"name": "y"}}])
    assert store.skipped == {"v1/Secret": 2, "x.io/v1/Y": 1}
    with pytest.raises(ApiError, match="no resource is served for v1 Secret"):
        store.create(secret)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"metadata": {}}, "name or generateName is required"),
        ({}, "name or generateName is required"),
        ({"metadata": []}, "metadata.* name or generateName is required"),
        ({"metadata": ["x"]}, "metadata: Invalid value"),
        ({"metadata": {"name": 1}}, "metadata.name: Invalid value"),
        ({"metadata": {"name": "x", "labels": {"a": 1}}}, "metadata.labels: Invalid value"),
        ({"metadata": {"name": "x"}, "spec": "y"}, "spec: Invalid value"),
    ],
)
def test_what_is_no_object_cannot_be_loaded(parts: Object, message: str) -> None:
    with pytest.raises(SvcdoctorError, match=message):
        ObjectStore([{"apiVersion": "v1", "kind": "Pod"} | parts])


def test_lists_are_in_order_and_by_namespace(pods: ObjectStore) -> None:
    assert names(pods.list_page(PODS).items) == ["a", "b", "c", "d", "e", "x"]
    assert names(pods.list_page(PODS, "a").items) == ["a", "b", "c", "d", "e"]
    assert names(pods.list_page(PODS, "nowhere").items) == []


def test_pages_are_of_one_version_while_objects_change(pods: ObjectStore) -> None:
    first = pods.list_page(PODS, limit=2)
    assert (names(first.items), first.remaining) == (["a", "b"], 4)
    pods.delete(PODS, "a", "c")
    pods.create(pod("bb"))
    pods.update(pod("d") | {"spec": {"nodeName": "node2"}})
    second = pods.list_page(PODS, limit=3, token=first.token)
    assert second.version == first.version
    assert (names(second.items), second.remaining) == (["c", "d", "e"], 1)
    assert second.items[1]["spec"]["nodeName"] == "node1"
    third = pods.list_page(PODS, limit=3, token=second.token)
    assert (names(third.items), third.token, third.remaining) == (["x"], "", None)


def test_a_selector_hides_how_many_remain(pods: ObjectStore) -> None:
    chosen = selection(PODS, field_selector="metadata.namespace=a")
    page = pods.list_page(PODS, None, chosen, limit=4)
    assert page.remaining is None
    assert names(pods.list_page(PODS, None, chosen, token=page.token).items) == ["e"]


def test_an_expired_token_is_410_with_a_token_to_go_on(pods: ObjectStore) -> None:
    page = pods.list_page(PODS, "a", limit=2)
    pods.create(pod("bb"))
    pods.compact()
    with pytest.raises(ApiError) as caught:
        pods.list_page(PODS, "a", token=page.token)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
    rest = pods.list_page(PODS, "a", token=caught.value.next_page)
    assert names(rest.items) == ["bb", "c", "d", "e"]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("bogus", "illegal base64 data at input byte 4"),
        ("bo*us", "illegal base64 data at input byte 2"),
        ("e30", "it is not one of this server's tokens"),
        ("eyJ2IjoidjIiLCJydiI6MSwic3RhcnQiOiIvYVx1MDAwMCJ9", 'this encoded version "v2"'),
    ],
)
def test_bad_tokens(token: str, message: str) -> None:
    with pytest.raises(ApiError, match="invalid continue token: continue key is not valid") as caught:
        decode_token(token, None)
    assert caught.value.code == 400
    assert message in caught.value.message


def test_writes_take_consecutive_versions_and_leave_events(pods: ObjectStore) -> None:
    start = pods.version
    pods.create(pod("new"))
    pods.update(pod("new") | {"spec": {}})
    pods.update(pod("new") | {"spec": {}})  # changes nothing
    pods.delete(PODS, "a", "new")
    events = pods.events_since(start, 0)
    assert [event.change for event in events] == [Change.ADDED, Change.MODIFIED, Change.DELETED]
    assert [event.version for event in events] == [start + 1, start + 2, start + 3]
    assert events[2].obj["metadata"]["resourceVersion"] == str(pods.version) == str(start + 3)


def test_conflicts(pods: ObjectStore) -> None:
    with pytest.raises(ApiError, match=r'^pods "a" already exists$'):
        pods.create(pod("a"))
    stale = pods.get(PODS, "a", "a")
    pods.update(pod("a") | {"spec": {}})
    with pytest.raises(ApiError, match="the object has been modified") as caught:
        pods.update(stale | {"spec": {"nodeName": "node3"}})
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    with pytest.raises(ApiError, match=r'^services "a" not found$'):
        pods.get(SERVICES, "a", "a")


def test_an_update_keeps_uid_and_creation_time(pods: ObjectStore) -> None:
    before = pods.get(PODS, "a", "a")["metadata"]
    after = pods.update(pod("a", uid="other") | {"spec": {}})["metadata"]
    assert (after["uid"], after["creationTimestamp"]) == (before["uid"], before["creationTimestamp"])


def test_names_are_generated_the_same_way_every_time() -> None:
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "web-"}}
    made = [ObjectStore().create(obj)["metadata"]["name"] for _ in range(2)]
    assert made[0] == made[1]
    assert made[0].startswith("web-")
    assert len(made[0]) == 9


def test_history_is_bounded() -> None:
    store = ObjectStore(history=3)
    start = store.version
    for number in range(5):
        store.create(pod(f"p{number}"))
    assert len(store.events_since(start + 2, 0)) == 3
    with pytest.raises(ApiError, match=rf"^too old resource version: {start + 1} \({start + 2}\)$"):
        store.events_since(start + 1, 0)


def test_a_version_from_the_future_is_a_timeout(pods: ObjectStore) -> None:
    with pytest.raises(ApiError, match="Too large resource version: 999, current:") as caught:
        pods.list_page(PODS, version=999)
    assert caught.value.code == 504


def test_waiting_ends_with_the_first_event_or_with_wake(pods: ObjectStore) -> None:
    start, seen = pods.version, []
    waiter = threading.Thread(target=lambda: seen.append(pods.events_since(start, 10)))
    waiter.start()
    pods.create(pod("new"))
    waiter.join(5)
    assert len(seen[0]) == 1
    waiter = threading.Thread(target=lambda: seen.append(pods.events_since(pods.version, 10)))
    waiter.start()
    while waiter.is_alive():
        pods.wake()
        waiter.join(0.01)
    assert seen[1] == []


def test_many_writers_lose_nothing() -> None:
    store = ObjectStore()
    start = store.version

    def write(prefix: str) -> None:
        for number in range(200):
            store.create(pod(f"{prefix}{number}"))

    writers = [threading.Thread(target=write, args=(prefix,)) for prefix in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert store.version == start + 800
    assert len(store.list_page(PODS).items) == 800
    assert [event.version for event in store.events_since(start, 0)] == list(range(start + 1, start + 801))
