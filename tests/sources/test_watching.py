"""Objects as they change, watched through the lab's API server and through servers that misbehave."""

from __future__ import annotations

import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from conftest import Play, Script, kubeconfig, pod, refuse, reply, role_binding

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.resources import PODS, ROLES, SERVICES
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.base import KubeObject
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Pod
from svcdoctor.sources import session as session_module
from svcdoctor.sources import watchevents, watching
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.session import ApiSession
from svcdoctor.sources.watching import Watcher

LIST = "/api/v1/namespaces/shop/pods"


class Seen:
    """What a watcher tells, in order: tuples of objects, errors, and `outage` with its error or None."""

    def __init__(self) -> None:
        self.told: queue.Queue[Any] = queue.Queue()
        self.outages: queue.Queue[SvcdoctorError | None] = queue.Queue()
        self.pauses: list[float] = []

    def next(self) -> Any:
        return self.told.get(timeout=20)

    def names(self) -> list[str]:
        objects = self.next()
        assert isinstance(objects, tuple), objects
        return [obj.name for obj in objects]

    def until(self, names: list[str]) -> None:
        """Waits until exactly these are there; several changes may have been told as one."""
        while self.names() != names:
            pass

    def quiet(self, seconds: float = 0.2) -> bool:
        time.sleep(seconds)
        return self.told.empty()


Watch = Callable[..., Watcher]


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def watch(seen: Seen) -> Iterator[Watch]:
    """Starts a watcher of the pods of ``shop``; its pauses are noted and short."""
    before = set(threading.enumerate())
    with ExitStack() as stack:

        def start(
            session: ApiSession, kind: Kind = Kind.POD, namespace: str = "shop", **more: Any
        ) -> Watcher:
            def sleep(seconds: float) -> None:
                seen.pauses.append(seconds)
                time.sleep(0.01)

            settings: dict[str, Any] = {
                "changed": seen.told.put,
                "failed": seen.told.put,
                "outage": seen.outages.put,
                "sleep": sleep,
                "draw": lambda: 0.5,
            }
            watcher = Watcher(session, kind, namespace, **(settings | more))
            stack.callback(session.close)
            stack.callback(watcher.close)
            watcher.start()
            return watcher

        yield start
    assert not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("watch-")]


@pytest.fixture
def session(api: ApiServer, tmp_path: Path) -> ApiSession:
    return session_of(api, tmp_path)


def session_of(api: ApiServer, folder: Path, user: str = "admin") -> ApiSession:
    path = folder / f"{user}.kubeconfig"
    api.write_kubeconfig(path, user, namespace="shop")
    return open_connection(Connection(kubeconfig=path))


def scripted(script: Script, *steps: Play) -> ApiSession:
    script.steps = list(steps)
    return open_connection(Connection(server=script.url, token="t"), environ={"HOME": "/nowhere"})


def watches(api: ApiServer, path: str = LIST) -> list[str]:
    return [r.query for r in api.requests if r.path == path and "watch=true" in r.query]


def lists(api: ApiServer, path: str = LIST) -> int:
    return sum(r.path == path and "watch=true" not in r.query for r in api.requests)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


CARTS = ["cart-0", "cart-1", "cart-2"]


def test_pods_of_one_name_in_two_namespaces_are_two(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen
) -> None:
    watch(session, namespace="", labels="app=front")
    assert seen.names() == ["front-0"]
    api.store.create(pod("shop", "front-0", app="front"))
    assert seen.names() == ["front-0", "front-0"]
    api.store.delete(PODS, "web", "front-0")
    (left,) = seen.next()
    assert (left.namespace, left.name) == ("shop", "front-0")


def test_what_is_added_changed_and_deleted_is_told(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen
) -> None:
    watch(session, labels="app=cart")
    assert seen.names() == CARTS
    api.store.create(pod("shop", "cart-3", app="cart"))
    assert seen.names() == [*CARTS, "cart-3"]
    api.store.update(pod("shop", "cart-0", app="cart") | {"status": {"phase": "Running"}})
    objects = seen.next()
    assert [p.status.phase for p in objects if isinstance(p, Pod) and p.name == "cart-0"] == ["Running"]
    api.store.delete(PODS, "shop", "cart-1")
    assert seen.names() == ["cart-0", "cart-2", "cart-3"]
    api.store.update(pod("shop", "cart-2", app="other"))
    assert seen.names() == ["cart-0", "cart-3"]
    api.store.create(pod("shop", "db-1", app="db"))
    api.store.create(pod("web", "cart-9", app="cart"))
    assert seen.quiet()
    assert len(watches(api)) == lists(api) == 1


def test_one_object_by_name(api: ApiServer, session: ApiSession, watch: Watch, seen: Seen) -> None:
    watch(session, name="cart-1")
    assert seen.names() == ["cart-1"]
    api.store.delete(PODS, "shop", "cart-1")
    assert seen.names() == []
    api.store.create(pod("shop", "cart-1"))
    assert seen.names() == ["cart-1"]


def test_other_kinds_have_their_own_shape(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen
) -> None:
    watch(session, Kind.SERVICE, name="cart")
    (service,) = seen.next()
    assert (service.kind, service.cluster_ips) == ("Service", ("10.96.0.10",))
    api.store.delete(SERVICES, "shop", "cart")
    assert seen.names() == []


def test_an_empty_list_is_told(session: ApiSession, watch: Watch, seen: Seen) -> None:
    watch(session, labels="app=none")
    assert seen.names() == []


def test_a_list_of_many_pages_is_one(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PAGE", 2)
    watch(session)
    assert seen.names() == [*CARTS, "db-0"]
    assert lists(api) == 2


def test_changes_that_come_together_are_told_together(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen
) -> None:
    held, go_on = threading.Event(), threading.Event()
    told: list[int] = []

    def changed(objects: tuple[KubeObject, ...]) -> None:
        told.append(len(objects))
        if len(told) == 2:
            held.set()
            go_on.wait(5)

    watch(session, changed=changed)
    until(lambda: bool(told))
    api.store.create(pod("shop", "new-0"))
    assert held.wait(5)
    for number in range(1, 200):
        api.store.create(pod("shop", f"new-{number}"))
    until(lambda: len(watches(api)) == 1)
    time.sleep(0.3)
    go_on.set()
    until(lambda: told[-1] == 204)
    assert len(told) < 40


def test_what_changes_nothing_is_not_told(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen
) -> None:
    watch(session, labels="app=db")
    assert seen.names() == ["db-0"]
    annotated = pod("shop", "db-0", app="db")
    annotated["metadata"]["annotations"] = {"looked": "at"}
    api.store.update(annotated)
    assert seen.quiet()


class Restarting:
    """An API server on one port whose certificates and tokens change when it restarts, as after a disaster."""

    def __init__(self, folder: Path, objects: list[Any]) -> None:
        self.store = ObjectStore(objects)
        self._token = folder / "token"
        self._folder = folder
        self._server = ApiServer(self.store)
        self.start()
        self._port = int(self._server.address.rpartition(":")[2])

    def start(self) -> None:
        self._server.start()
        config = self._server.kubeconfig().splitlines()
        (line,) = (line for line in config if line.strip().startswith("token:"))
        self._token.write_text(line.partition(":")[2].strip().strip("'\""))

    def stop(self) -> None:
        """Stop in the middle of a watch."""
        until(lambda: any("watch=true" in query and status == 200 for query, status in self.requests))
        self._server.stop()

    def again(self, store: ObjectStore | None = None) -> None:
        self.store = store or self.store
        self._server = ApiServer(self.store, port=self._port)
        self.start()

    @property
    def requests(self) -> list[tuple[str, int]]:
        return [(r.query, r.status) for r in self._server.requests]

    def session(self, **user: Any) -> ApiSession:
        path = kubeconfig(
            self._folder / "config",
            self._server.url,
            cluster={"insecure-skip-tls-verify": True},
            user=user or {"tokenFile": str(self._token)},
        )
        return open_connection(Connection(kubeconfig=path))


@pytest.fixture
def restarting(tmp_path: Path) -> Iterator[Restarting]:
    server = Restarting(tmp_path, [pod("shop", "a"), pod("shop", "b")])
    yield server
    server._server.stop()


@pytest.mark.parametrize("credentials", ["token file", "exec plugin"])
def test_a_restarted_server_is_followed_on_with_new_credentials(
    restarting: Restarting, watch: Watch, seen: Seen, tmp_path: Path, credentials: str
) -> None:
    user: dict[str, Any] = {}
    if credentials == "exec plugin":
        code = (
            "import json; print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', "
            f"'kind': 'ExecCredential', 'status': {{'token': open({str(tmp_path / 'token')!r}).read()}}}}))"
        )
        user = {
            "exec": {
                "apiVersion": "client.authentication.k8s.io/v1",
                "command": sys.executable,
                "args": ["-c", code],
                "interactiveMode": "Never",
            }
        }
    watch(restarting.session(**user))
    assert seen.names() == ["a", "b"]
    restarting.stop()
    error = seen.outages.get(timeout=20)
    assert error is not None and error.exit_code == 3
    restarting.store.create(pod("shop", "c"))
    restarting.again()
    assert seen.names() == ["a", "b", "c"]
    assert seen.outages.get(timeout=20) is None
    *refused, (asked, status) = restarting.requests
    assert {status for _, status in refused} == {401}
    assert status == 200 and all("watch=true" in query for query in (asked, *(query for query, _ in refused)))
    restarting.store.delete(PODS, "shop", "a")
    assert seen.names() == ["b", "c"]


def test_a_server_whose_state_was_set_back_is_listed_anew(
    restarting: Restarting, watch: Watch, seen: Seen
) -> None:
    for name in "cdefgh":
        restarting.store.create(pod("shop", name))
    watch(restarting.session())
    assert seen.names() == list("abcdefgh")
    restarting.stop()
    restarting.again(ObjectStore([pod("shop", "a")]))
    assert seen.names() == ["a"]
    restarting.store.create(pod("shop", "z"))
    assert seen.names() == ["a", "z"]


def test_a_version_that_was_forgotten_is_listed_anew(
    restarting: Restarting, watch: Watch, seen: Seen
) -> None:
    watch(restarting.session())
    assert seen.names() == ["a", "b"]
    restarting.stop()
    restarting.store.create(pod("web", "elsewhere"))
    restarting.store.delete(PODS, "shop", "b")
    restarting.store.compact()
    restarting.again()
    assert seen.names() == ["a"]
    restarting.store.create(pod("shop", "c"))
    assert seen.names() == ["a", "c"]


class Cutter:
    """A TCP relay before a server, whose connections can be cut; for a while it may take none."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.limit: int | None = None
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._server))
            self._open += [client, server]
            for source, sink, limited in ((client, server, False), (server, client, True)):
                thread = threading.Thread(target=self._relay, args=(source, sink, limited))
                self._threads.append(thread)
                thread.start()

    def _relay(self, source: socket.socket, sink: socket.socket, limited: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if limited and self.limit is not None:
                    data, rest = data[: self.limit], data[self.limit :]
                    self.limit -= len(data)
                    sink.sendall(data)
                    if rest:
                        self.limit = None
                        break
                else:
                    sink.sendall(data)
        except OSError:
            pass
        for side in (source, sink):
            _shut(side)

    def cut(self) -> None:
        """Cut every connection."""
        for side in self._open:
            _shut(side)

    def close(self) -> None:
        _shut(self._listener)
        self._listener.close()
        self._threads[0].join()
        self.cut()
        for thread in self._threads:
            thread.join()
        for side in self._open:
            side.close()


def _shut(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def bookmarking() -> Iterator[ApiServer]:
    """A server that sends twenty bookmarks a second."""
    with ApiServer(ObjectStore([pod("shop", "a")]), bookmark_interval=0.05) as api:
        yield api


@pytest.fixture
def cutter(bookmarking: ApiServer) -> Iterator[Cutter]:
    cutter = Cutter(int(bookmarking.address.rpartition(":")[2]))
    yield cutter
    cutter.close()


@pytest.fixture
def through(bookmarking: ApiServer, cutter: Cutter, tmp_path: Path) -> ApiSession:
    path = tmp_path / "config"
    path.write_text(bookmarking.kubeconfig().replace(bookmarking.address, f"127.0.0.1:{cutter.port}"))
    return open_connection(Connection(kubeconfig=path))


def test_bookmarks_move_the_version_on(
    bookmarking: ApiServer, cutter: Cutter, through: ApiSession, watch: Watch, seen: Seen
) -> None:
    watch(through)
    assert seen.names() == ["a"]
    until(lambda: len(watches(bookmarking)) == 1)
    bookmarking.store.create(pod("web", "elsewhere"))
    time.sleep(0.2)  # a bookmark comes after it
    bookmarking.store.compact()
    cutter.cut()
    until(lambda: len(watches(bookmarking)) == 2)
    bookmarking.store.create(pod("shop", "b"))
    seen.until(["a", "b"])
    assert lists(bookmarking) == 1


def test_a_cut_at_any_byte_loses_nothing(
    bookmarking: ApiServer, cutter: Cutter, through: ApiSession, watch: Watch, seen: Seen
) -> None:
    watch(through)
    expected = ["a"]
    assert seen.names() == expected
    until(lambda: len(watches(bookmarking)) == 1)
    for number in range(20):
        # Each event takes about 500 bytes on the wire and a bookmark 200: many cuts are within events, and some in
        # the handshake of the next connection.
        cutter.limit = number * 40
        bookmarking.store.create(pod("shop", f"n{number}"))
        bookmarking.store.delete(PODS, "shop", expected.pop(0))
        expected.append(f"n{number}")
        seen.until(expected)
        until(lambda: cutter.limit is None)
    assert lists(bookmarking) == 1 and len(watches(bookmarking)) > 10
    assert max(seen.pauses) < 2  # what was seen in between counts as success


def test_a_list_that_is_cut_is_asked_for_again(
    api: ApiServer, session: ApiSession, watch: Watch, seen: Seen
) -> None:
    api.faults.cut(3, resource="pods")
    watch(session)
    assert seen.names() == [*CARTS, "db-0"]
    error = seen.outages.get(timeout=20)
    assert error is not None and "cut the connection" in error.message
    assert seen.outages.get(timeout=20) is None


def test_pauses_grow_to_half_a_minute(script: Script, watch: Watch, seen: Seen) -> None:
    watch(scripted(script, refuse(500, "etcd is away")), outage=seen.told.put)
    error = seen.next()
    assert isinstance(error, SvcdoctorError) and error.exit_code == 3
    assert error.message == f"{script.url}: {LIST}: the API server answers 500: etcd is away"
    until(lambda: len(seen.pauses) >= 10)
    assert seen.pauses[:10] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert seen.quiet()


def test_a_server_may_say_how_long_to_wait(script: Script, watch: Watch, seen: Seen) -> None:
    watch(
        scripted(script, refuse(429, Retry_After="7"), refuse(429, Retry_After="3600"), listed("a"), events())
    )
    assert seen.names() == ["a"]
    assert seen.pauses[:2] == [7.25, 30.0]


def test_who_may_not_list_is_told_what_to_grant(
    api: ApiServer, tmp_path: Path, watch: Watch, seen: Seen
) -> None:
    watch(session_of(api, tmp_path, "carol"), labels="app=cart")
    error = seen.next()
    assert isinstance(error, SvcdoctorError) and error.exit_code == 3
    assert error.message == (
        f'{api.url} (context svcdoctor-lab): pods is forbidden: User "carol" cannot list resource "pods" in API '
        'group "" in the namespace "shop"; grant verbs list and watch on pods in namespace shop: kubectl create role '
        "svcdoctor-pods --verb=get,list,watch --resource=pods -n shop && kubectl create rolebinding svcdoctor-pods "
        "--role=svcdoctor-pods --user=carol -n shop"
    )
    assert seen.pauses == [] and seen.quiet()


def test_who_may_not_watch_gets_lists(api: ApiServer, tmp_path: Path, watch: Watch, seen: Seen) -> None:
    watch(session_of(api, tmp_path, "alice"), labels="app=cart")
    assert seen.names() == CARTS
    api.store.create(pod("shop", "cart-3", app="cart"))
    assert seen.names() == [*CARTS, "cart-3"]
    assert set(seen.pauses) == {5.0}
    assert len(watches(api)) < 0.2 * lists(api) + 2
    role = next(o for o in api.store.list_page(ROLES, "shop").items if o["metadata"]["name"] == "alice-reads")
    rules = [role["rules"][0] | {"verbs": ["get", "list", "watch"]}]
    api.store.update(role | {"rules": rules})
    until(lambda: any(r.status == 200 and "watch=true" in r.query for r in api.requests))
    pauses = len(seen.pauses)
    api.store.delete(PODS, "shop", "cart-3")
    assert seen.names() == CARTS
    assert len(seen.pauses) == pauses


def test_who_cannot_watch_is_told_once_what_to_grant(
    api: ApiServer, tmp_path: Path, watch: Watch, seen: Seen
) -> None:
    told: list[SvcdoctorError] = []
    watch(session_of(api, tmp_path, "alice"), labels="app=cart", polling=told.append)
    assert seen.names() == CARTS
    until(lambda: len(watches(api)) >= 2)  # it was tried again meanwhile
    [error] = told
    assert 'User "alice" cannot watch resource "pods"' in error.message
    assert "grant verbs list and watch on pods in namespace shop: kubectl create role " in error.message


def test_who_may_only_get_a_pod_gets_that_one(tmp_path: Path, watch: Watch, seen: Seen) -> None:
    objects = [pod("shop", "a"), *_may("dave", "get")]
    with ApiServer(ObjectStore(objects), users=(ADMIN, User("dave"))) as api:
        told: list[SvcdoctorError] = []
        watch(session_of(api, tmp_path, "dave"), name="a", polling=told.append)
        assert seen.names() == ["a"]
        api.store.delete(PODS, "shop", "a")
        assert seen.names() == []
        api.store.create(pod("shop", "a"))
        assert seen.names() == ["a"]
        assert set(seen.pauses) == {5.0}
        assert ["grant verbs list and watch on pods" in error.message for error in told] == [True]


def test_who_may_not_even_get_it_is_told(api: ApiServer, tmp_path: Path, watch: Watch, seen: Seen) -> None:
    watch(session_of(api, tmp_path, "carol"), name="cart-0")
    assert "grant verbs list and watch on pods in namespace shop: " in seen.next().message


def test_a_grant_that_goes_away_ends_nothing(
    api: ApiServer, tmp_path: Path, watch: Watch, seen: Seen
) -> None:
    watch(session_of(api, tmp_path, "alice"))
    assert seen.names() == [*CARTS, "db-0"]
    api.faults.forbid("pods")
    error = seen.outages.get(timeout=20)
    assert error is not None and "is forbidden" in error.message
    api.faults.clear()
    assert seen.outages.get(timeout=20) is None
    assert seen.quiet()


def _may(user: str, *verbs: str) -> list[dict[str, Any]]:
    role, binding = role_binding(user, "shop", "pods")
    role["rules"][0]["verbs"] = list(verbs)
    return [role, binding]


def listed(*names: str, version: str = "7") -> Play:
    items = [{"metadata": {"name": name, "namespace": "shop"}} for name in names]
    return reply(
        200, {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}
    )


def event(kind: str, name: str, version: int) -> bytes:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version)}
    obj = {"kind": "Pod", "apiVersion": "v1", "metadata": metadata}
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def events(*pieces: bytes, hold: float = 0.0, chunked: bool = True, cut: bool = False) -> Play:
    """Answer a watch with these pieces, a few milliseconds between them, and then end, cut or hold it."""

    def play(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header(*(("Transfer-Encoding", "chunked") if chunked else ("Connection", "close")))
        handler.end_headers()
        try:
            for piece in pieces:
                handler.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
                time.sleep(0.005)
            time.sleep(hold)
            if chunked and not cut:
                handler.wfile.write(b"0\r\n\r\n")
            handler.close_connection = cut or not chunked
        except OSError:
            handler.close_connection = True

    return play


@pytest.mark.parametrize(("chunked", "size"), [(True, 7), (True, 1000), (False, 7), (False, 1000)])
def test_an_event_may_come_in_any_pieces(
    script: Script, watch: Watch, seen: Seen, chunked: bool, size: int
) -> None:
    whole = event("ADDED", "b", 8) + event("DELETED", "a", 9) + event("BOOKMARK", "", 12)
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    watch(scripted(script, listed("a"), events(*pieces, hold=0.3, chunked=chunked), events(hold=2)))
    seen.until(["b"])
    assert len(script.paths) == 2  # nothing waits for the watch's end
    until(lambda: len(script.paths) == 3)
    assert "resourceVersion=12" in script.paths[2] and not seen.pauses


@pytest.mark.parametrize("at", [0, 1, 60, 118, 119])
def test_half_an_event_at_a_cut_is_asked_for_again(script: Script, watch: Watch, seen: Seen, at: int) -> None:
    whole = event("ADDED", "b", 8)
    steps = [listed("a"), events(whole[:at], cut=True) if at else events(cut=True), events(whole, hold=2)]
    watch(scripted(script, *steps))
    seen.until(["a", "b"])
    until(lambda: len(script.paths) == 3)
    assert "resourceVersion=7" in script.paths[2]
    assert seen.pauses == [0.25] and seen.outages.empty()


GONE = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version: 7 (9)"}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (json.dumps({"type": "ERROR", "object": GONE}).encode(), "410: too old resource version: 7 (9)"),
        (b"<html>", "not a watch event: "),
        (b'{"type":"ADDED"}', "not a watch event: "),
        (b'{"type":"ADDED","object":[]}', "not a watch event: "),
        (b'{"type":"ADDED","object":{"metadata":{"name":5}}}', "not a watch event: "),
        (
            b'{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"x","labels":3}}}',
            "Pod x is not a valid Pod",
        ),
    ],
)
def test_what_is_no_event_is_listed_anew(
    script: Script, watch: Watch, seen: Seen, line: bytes, problem: str
) -> None:
    bad = events(line + b"\n", hold=2)
    watch(scripted(script, listed("a"), bad, listed("a", "b"), bad, listed("c"), events(hold=2)))
    assert [seen.names() for _ in range(3)] == [["a"], ["a", "b"], ["c"]]
    error = seen.outages.get(timeout=20)
    assert error is not None and problem in error.message
    assert seen.outages.get(timeout=20) is None


def test_an_event_that_never_ends_is_cut_off(
    script: Script, watch: Watch, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchevents, "MAX_LINE", 1 << 20)
    endless = events(*[b"x" * (1 << 16)] * 40, hold=2)
    watch(scripted(script, listed("a"), endless, listed("b"), events(hold=2)))
    assert [seen.names(), seen.names()] == [["a"], ["b"]]


def test_a_watch_that_ends_at_once_every_time_is_not_hammered(
    script: Script, watch: Watch, seen: Seen
) -> None:
    watch(scripted(script, listed("a"), events()))
    until(lambda: len(seen.pauses) >= 8)
    assert seen.pauses[:8] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0]
    error = seen.outages.get(timeout=20)
    assert error is not None and "a watch ends as soon as it begins" in error.message


def test_a_silent_watch_is_asked_for_again(
    script: Script, watch: Watch, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(watching, "_SETTLE_SECONDS", 0.05)
    watch(
        scripted(script, listed("a"), events(hold=1), events(event("ADDED", "b", 8), hold=1), events(hold=1))
    )
    seen.until(["a", "b"])
    assert not seen.pauses


def test_until_when_changes_are_known(
    script: Script, restarting: Restarting, watch: Watch, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a connection was cut; where it only fell silent, until the last that came."""
    watcher = watch(restarting.session())
    assert seen.names() == ["a", "b"]
    time.sleep(0.4)
    stopped = time.monotonic()
    restarting.stop()
    assert seen.outages.get(timeout=20) is not None
    assert stopped <= watcher.known_until <= time.monotonic()
    monkeypatch.setattr(watching, "SILENT_SECONDS", 1.0)
    watcher = watch(scripted(script, listed("c"), events(hold=4), refuse(500), refuse(500)))
    seen.until(["c"])
    began = time.monotonic()
    assert seen.outages.get(timeout=20) is not None
    assert time.monotonic() - began > 0.9
    assert watcher.known_until < began + 0.9


def test_an_answer_that_is_not_kubernetes_is_an_outage(script: Script, watch: Watch, seen: Seen) -> None:
    page = reply(200, "<html>maintenance</html>", Content_Type="text/html")
    watch(scripted(script, page, page, listed("a"), events(hold=2)))
    assert seen.names() == ["a"]
    assert seen.outages.get(timeout=20) is not None and seen.outages.get(timeout=20) is None


def test_a_kind_that_is_not_served_fails(script: Script, watch: Watch, seen: Seen) -> None:
    watch(scripted(script, refuse(404, "the server could not find the requested resource")))
    error = seen.next()
    assert isinstance(error, SvcdoctorError) and "answers 404: the server could not find" in error.message


def test_nobody_there_is_an_outage(tmp_path: Path, watch: Watch, seen: Seen) -> None:
    nobody = open_connection(Connection(server="http://127.0.0.1:1", token="t"), environ={"HOME": "/nowhere"})
    watch(nobody)
    error = seen.outages.get(timeout=20)
    assert error is not None and "refused the connection" in error.message


@pytest.mark.parametrize("place", ["quiet watch", "half a list", "half an event", "pause", "callback"])
def test_closing_takes_no_time(
    api: ApiServer, session: ApiSession, script: Script, watch: Watch, seen: Seen, place: str
) -> None:
    if place == "quiet watch":
        watcher = watch(session)
        seen.next()
        until(lambda: len(watches(api)) == 1)
    elif place == "pause":
        watcher = watch(scripted(script, refuse(500, Retry_After="30")), sleep=None)
        until(lambda: len(script.paths) == 1)
    elif place == "callback":
        closed = threading.Event()
        watcher = watch(session, changed=lambda objects: (watcher.close(), closed.set()))
        assert closed.wait(5)
    else:
        half = events(b'{"type":', hold=30)
        watcher = watch(scripted(script, *([half] if place == "half a list" else [listed("a"), half])))
        until(lambda: len(script.paths) == (1 if place == "half a list" else 2))
    time.sleep(0.1)
    started = time.monotonic()
    watcher.close()
    assert time.monotonic() - started < 5
    assert not [t for t in threading.enumerate() if t.name == "watch-pods"]
    while not seen.told.empty():
        assert isinstance(seen.told.get(), tuple)


def test_memory_does_not_grow_with_requests(script: Script) -> None:
    session = scripted(script, reply(200, "x"))
    for _ in range(3):
        session.get("/")
    assert session.requests == len(session.asked) == 3
    assert session._asked.maxlen == session_module.MOST_ASKED
