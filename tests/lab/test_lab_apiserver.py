"""The server over HTTPS: who may talk to it, in which forms it answers, what it does under faults."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab_client import Call, connect

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.listener import MAX_BODY
from svcdoctor.lab.rbac import User
from svcdoctor.lab.requests import Request, Response
from svcdoctor.lab.resources import PODS, SERVICES
from svcdoctor.lab.routes import Route
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError

PODS_PATH = "/api/v1/namespaces/truth/pods"


def test_a_certificate_says_who_one_is(call: Call) -> None:
    assert call("/api/v1/nodes", by_certificate=True).status == 200
    reply = call("/api/v1/nodes", user="alice", by_certificate=True)
    assert (reply.status, reply.json()["details"]) == (403, {"kind": "nodes"})


def test_nobody_is_let_in_without_credentials(call: Call) -> None:
    for headers in (
        {"Authorization": ""},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic YTpi"},
    ):
        reply = call(PODS_PATH, headers=headers)
        assert (reply.status, reply.json()["reason"]) == (401, "Unauthorized")


def test_a_certificate_of_another_authority_is_refused(server: ApiServer, store: ObjectStore) -> None:
    with ApiServer(store) as stranger:
        credentials = stranger._credentials["admin"]
        context = ssl.create_default_context(cadata=server._authority.read_text())
        context.load_cert_chain(credentials.certificate, credentials.key)
        host, port = server.address.split(":")
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=5)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connection.request("GET", "/version")
            connection.getresponse()
        connection.close()


def test_impersonation(call: Call) -> None:
    def forbidden(headers: dict[str, str], path: str = PODS_PATH, user: str = "admin") -> str:
        reply = call(path, headers=headers, user=user)
        assert reply.status == 403
        return str(reply.json()["message"])

    assert 'User "nobody" cannot list' in forbidden({"Impersonate-User": "nobody"})
    assert call(PODS_PATH, headers={"Impersonate-User": "alice"}).status == 200
    masters = {"Impersonate-User": "x", "Impersonate-Group": "system:masters"}
    assert call("/api/v1/nodes", headers=masters).status == 200
    assert forbidden(masters, user="alice").startswith(
        'users "x" is forbidden: User "alice" cannot impersonate resource "users" in API group ""'
    )
    account = {"Impersonate-User": "system:serviceaccount:truth:robot"}
    assert 'cannot impersonate resource "serviceaccounts"' in forbidden(account, user="alice")
    assert call(PODS_PATH, headers={"Impersonate-Group": "x"}).status == 400


@pytest.mark.parametrize(
    ("accept", "status", "content_type"),
    [
        ("", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/vnd.kubernetes.protobuf,application/json", 200, "application/json"),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/yaml", 200, "application/yaml"),
        ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", 406, "application/json"),
        ("text/html", 406, "application/json"),
    ],
)
def test_negotiation(call: Call, accept: str, status: int, content_type: str) -> None:
    reply = call(PODS_PATH, accept=accept)
    assert (reply.status, reply.headers["Content-Type"]) == (status, content_type)


def test_lists_and_objects_are_complete(call: Call, objects: list[Any]) -> None:
    known = next(o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == "dual")
    path = "/api/v1/namespaces/truth/services"
    assert call(f"{path}/dual").json() == known
    assert yaml.safe_load(call(f"{path}/dual", accept="application/yaml").body) == known
    listed = call(path).json()
    assert (listed["kind"], listed["apiVersion"]) == ("ServiceList", "v1")
    item = next(item for item in listed["items"] if item["metadata"]["name"] == "dual")
    assert item == {key: known[key] for key in known if key not in ("kind", "apiVersion")}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/livez", 200),
        ("/readyz", 200),
        ("/version", 200),
        ("/openapi/v3", 200),
        ("/openapi/v3/apis/apps/v1", 200),
        ("/openapi/v3/apis/nosuch/v1", 404),
        ("/apis/apps", 200),
        ("/apis/nosuch", 404),
        ("/apis/apps/v9", 404),
        ("/api/v1/secrets", 404),
        ("/api/v1/nosuch", 404),
        ("/nosuch", 404),
        ("/", 404),
        ("/api/v1/namespaces/truth/pods/edge-1/log", 404),
        ("/apis/gateway.networking.k8s.io/v1/gateways", 404),
        ("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405),
        ("/api/v1/pods?limit=x", 400),
        ("/api/v1/pods?resourceVersion=99999", 504),
        ("/api/v1/pods?watch=1&resourceVersion=99999", 504),
        ("/api/v1/pods?sendInitialEvents=true", 422),
        ("/api/v1/pods?watch=1&sendInitialEvents=true", 422),
    ],
)
def test_status_of_paths(call: Call, path: str, status: int) -> None:
    reply = call(path)
    assert reply.status == status
    if status == 404:
        assert reply.body == b"404 page not found\n"


def test_gateways_are_served_where_there_are_some_or_where_asked(
    store: ObjectStore, server: ApiServer, call: Call
) -> None:
    path = "/apis/gateway.networking.k8s.io/v1/namespaces/truth/gateways"
    assert call(path).status == 404
    metadata = {"name": "g", "namespace": "truth"}
    store.create({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": metadata})
    listed = call(path).json()
    assert (listed["items"][0]["kind"], listed["items"][0]["metadata"]["name"]) == ("Gateway", "g")
    with ApiServer(ObjectStore(), groups=["gateway.networking.k8s.io"]) as asked:
        connection, headers = connect(asked)
        connection.request("GET", "/apis/gateway.networking.k8s.io", headers=headers)
        versions = json.loads(connection.getresponse().read())["versions"]
        assert [version["version"] for version in versions] == ["v1", "v1beta1"]
        connection.close()


def test_writing(call: Call, store: ObjectStore) -> None:
    path = "/api/v1/namespaces/truth/services"
    obj = {"metadata": {"name": "new"}, "spec": {"type": "ClusterIP", "ports": [{"port": 1}]}}
    created = call(path, method="POST", body=obj)
    assert (created.status, created.json()["kind"]) == (201, "Service")
    assert call(path, method="POST", body=obj).json()["reason"] == "AlreadyExists"
    stale = created.json()
    patch = {"spec": {"type": None, "selector": {"a": "b"}}}
    merge = {"Content-Type": "application/merge-patch+json"}
    patched = call(f"{path}/new", method="PATCH", body=patch, headers=merge).json()
    assert patched["spec"] == {"ports": [{"port": 1}], "selector": {"a": "b"}}
    assert call(f"{path}/new", method="PUT", body=stale).json()["reason"] == "Conflict"
    assert call(f"{path}/new", method="PUT", body=patched | {"spec": {}}).json()["spec"] == {}
    assert call(f"{path}/other", method="PUT", body=patched).status == 400
    gone = call(f"{path}/new", method="DELETE").json()
    assert (gone["kind"], gone["metadata"]["uid"]) == ("Service", patched["metadata"]["uid"])
    assert call(f"{path}/new", method="DELETE").status == 404
    assert call(f"{path}?labelSelector=nosuch=x", method="DELETE").json()["items"] == []
    remaining = len(store.list_page(SERVICES, "truth").items)
    assert remaining > 5
    assert len(call(path, method="DELETE").json()["items"]) == remaining
    assert store.list_page(SERVICES, "truth").items == []


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", PODS_PATH, b"{", {}, 400),
        ("POST", PODS_PATH, b"[]", {}, 400),
        ("POST", PODS_PATH, {"kind": "Service", "apiVersion": "v1"}, {}, 400),
        ("POST", PODS_PATH, {"metadata": {"name": "x", "namespace": "default"}}, {}, 400),
        ("POST", PODS_PATH, {"metadata": {}}, {}, 422),
        ("POST", "/api/v1/pods", {"metadata": {"name": "x"}}, {}, 400),
        ("POST", f"{PODS_PATH}?dryRun=All", {"metadata": {"name": "x"}}, {}, 400),
        ("POST", PODS_PATH, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ("PATCH", f"{PODS_PATH}/edge-1", b"{}", {"Content-Type": "application/json-patch+json"}, 400),
        ("PATCH", f"{PODS_PATH}/edge-1", b"[{}]", {"Content-Type": "application/json-patch+json"}, 422),
        ("PATCH", f"{PODS_PATH}/edge-1", b"a", {"Content-Type": "application/apply-patch+yaml"}, 415),
        ("POST", PODS_PATH, b"k8s\0", {"Content-Type": "application/vnd.kubernetes.protobuf"}, 400),
        ("PUT", PODS_PATH, {}, {}, 405),
    ],
)
def test_bad_writes(call: Call, method: str, path: str, body: Any, headers: Any, status: int) -> None:
    assert call(path, method=method, body=body, headers=headers).status == status


def test_writes_need_permission(call: Call) -> None:
    reply = call(f"{PODS_PATH}/edge-1", method="DELETE", user="alice")
    assert reply.json()["message"] == (
        'pods "edge-1" is forbidden: User "alice" cannot delete resource "pods" in API group "" '
        'in the namespace "truth"'
    )


def events(reply: Any) -> list[Any]:
    return [json.loads(line) for line in reply.body.splitlines()]


def test_watch_ends_when_its_time_is_up(call: Call) -> None:
    started = time.monotonic()
    seen = events(call(f"{PODS_PATH}?watch=true&timeoutSeconds=1&allowWatchBookmarks=true"))
    assert 0.9 < time.monotonic() - started < 5
    kinds = [event["type"] for event in seen]
    assert kinds.count("BOOKMARK") >= 5
    assert kinds[0] == "ADDED"
    assert seen[0]["object"]["kind"] == "Pod"


def test_streaming_list(call: Call) -> None:
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    seen = events(call(f"{PODS_PATH}?{query}&timeoutSeconds=1"))
    first = next(event for event in seen if event["type"] == "BOOKMARK")
    assert first["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert seen.index(first) == sum(event["type"] == "ADDED" for event in seen) == 8


def test_a_watch_of_tables_sends_the_columns_once(call: Call) -> None:
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    seen = events(call(f"{PODS_PATH}?watch=1&timeoutSeconds=1", accept=accept))
    assert [event["object"]["columnDefinitions"] is not None for event in seen] == [True] + [False] * 7


def test_the_server_notices_when_a_watcher_leaves(server: ApiServer, store: ObjectStore) -> None:
    connection, headers = connect(server)
    connection.request("GET", f"{PODS_PATH}?watch=1&resourceVersion={store.version}", headers=headers)
    connection.getresponse()
    assert any("process_request_thread" in thread.name for thread in threading.enumerate())
    connection.sock and connection.sock.close()
    connection.close()
    deadline = time.monotonic() + 5
    while any("process_request_thread" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the watch outlived its client"
        time.sleep(0.05)


def test_stop_does_not_wait_for_watchers(store: ObjectStore) -> None:
    with ApiServer(store) as server:
        connection, headers = connect(server)
        connection.request("GET", f"{PODS_PATH}?watch=1&resourceVersion={store.version}", headers=headers)
        connection.getresponse()
        started = time.monotonic()
    assert time.monotonic() - started < 5
    connection.close()


class TestFaults:
    def test_throttle(self, server: ApiServer, call: Call) -> None:
        server.faults.throttle(2, resource="pods", retry_after=3)
        replies = [call(PODS_PATH) for _ in range(3)]
        assert [reply.status for reply in replies] == [429, 429, 200]
        assert replies[0].headers["Retry-After"] == "3"
        assert replies[0].json()["reason"] == "TooManyRequests"

    def test_fail(self, server: ApiServer, call: Call) -> None:
        server.faults.fail(1)
        assert [call(PODS_PATH).status for _ in range(2)] == [500, 200]

    def test_forbid(self, server: ApiServer, call: Call) -> None:
        server.faults.forbid("pods")
        assert call(PODS_PATH).status == 403
        assert call("/api/v1/services").status == 200
        server.faults.clear()
        assert call(PODS_PATH).status == 200

    def test_delay(self, server: ApiServer, call: Call) -> None:
        server.faults.delay(0.2, resource="pods")
        started = time.monotonic()
        call(PODS_PATH)
        assert time.monotonic() - started >= 0.2

    def test_cut(self, server: ApiServer, call: Call) -> None:
        server.faults.cut(2)
        for path in (PODS_PATH, f"{PODS_PATH}?watch=1"):
            with pytest.raises((http.client.IncompleteRead, ConnectionError, ssl.SSLError)):
                call(path)
        assert call(PODS_PATH).status == 200

    def test_expire_tokens(self, server: ApiServer, call: Call) -> None:
        server.faults.expire_tokens(1)
        token = call(f"{PODS_PATH}?limit=3").json()["metadata"]["continue"]
        expired = call(f"{PODS_PATH}?limit=3&continue={token}").json()
        assert (expired["code"], expired["reason"]) == (410, "Expired")
        rest = call(f"{PODS_PATH}?continue={expired['metadata']['continue']}").json()
        assert len(rest["items"]) == 5


def test_requests_are_logged(server: ApiServer, call: Call) -> None:
    call(f"{PODS_PATH}?limit=1", headers={"User-Agent": "probe/1"})
    call("/api/v1/nodes", user="alice")
    call("/version", headers={"Authorization": "Bearer wrong"})
    first, second, third = server.requests
    assert (first.method, first.path, first.query) == ("GET", PODS_PATH, "limit=1")
    assert (first.user, first.user_agent, first.status) == ("admin", "probe/1", 200)
    assert (second.user, second.status) == ("alice", 403)
    assert (third.user, third.status) == ("", 401)
    assert server.requests.count(PODS_PATH) == 1
    assert server.requests.count("/api/v1/nodes", status=200) == 0
    server.requests.clear()
    assert len(server.requests) == 0


def test_bodies_are_bounded(call: Call) -> None:
    reply = call(PODS_PATH, method="POST", headers={"Content-Length": str(MAX_BODY + 1)}, body=b"")
    assert (reply.status, reply.json()["reason"]) == (413, "RequestEntityTooLarge")
    assert (
        call(PODS_PATH, method="POST", headers={"Transfer-Encoding": "chunked"}, body=b"0\r\n\r\n").status
        == 411
    )


def test_heads_are_bounded(server: ApiServer) -> None:
    for head in (b"GET /" + b"x" * 70_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200, b"nonsense\r\n"):
        connection, _ = connect(server)
        connection.connect()
        connection.sock.sendall(head + b"\r\n\r\n")
        answer = connection.sock.recv(4096)
        assert answer.split(b" ")[1] in (b"400", b"414", b"431")
        connection.close()


def test_a_silent_connection_holds_up_nobody(server: ApiServer, call: Call) -> None:
    host, port = server.address.split(":")
    with socket.create_connection((host, int(port))):
        assert call("/version").status == 200


def test_ipv6(store: ObjectStore) -> None:
    try:
        server = ApiServer(store, host="::1")
        server.start()
    except SvcdoctorError:
        pytest.skip("this machine has no ::1")
    try:
        assert server.url.startswith("https://[::1]:")
        connection, headers = connect(server)
        connection.request("GET", "/api", headers=headers)
        answer = json.loads(connection.getresponse().read())
        assert answer["serverAddressByClientCIDRs"][0]["serverAddress"] == server.address
        connection.close()
    finally:
        server.stop()


def test_a_taken_port_is_said_so(server: ApiServer, store: ObjectStore) -> None:
    port = int(server.address.split(":")[1])
    with pytest.raises(SvcdoctorError, match=f"cannot listen on 127.0.0.1 port {port}: "):
        ApiServer(store, port=port).start()


def test_user_mistakes(server: ApiServer, store: ObjectStore) -> None:
    with pytest.raises(SvcdoctorError, match="has no user 'bob': its users are admin, alice"):
        server.kubeconfig("bob")
    with pytest.raises(SvcdoctorError, match="is not running"):
        ApiServer(store).kubeconfig()
    with pytest.raises(SvcdoctorError, match="at most 64"):
        ApiServer(store, users=[User("x" * 65)])


def test_files_are_private_and_removed(store: ObjectStore, tmp_path: Path) -> None:
    with ApiServer(store) as server:
        directory = server._authority.parent
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}
        path = tmp_path / "config"
        path.write_text("old")
        server.write_kubeconfig(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not directory.exists()


def test_a_route_can_take_the_connection_over(server: ApiServer) -> None:
    def upgrade(request: Request) -> None:
        assert request.target.action.full_resource == "pods/portforward"
        request.connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        request.connection.sendall(request.reader.read(4).upper())

    def plain(request: Request) -> Response:
        return Response(200, request.user.name.encode(), "text/plain")

    server.routes.insert(0, Route(re.compile(r".*/pods/[^/]+/portforward"), upgrade))
    server.routes.insert(0, Route(re.compile(r"/whoami"), plain))
    connection, headers = connect(server)
    connection.request("GET", "/whoami", headers=headers)
    assert connection.getresponse().read() == b"admin"
    token = headers["Authorization"].encode()
    path = f"{PODS_PATH}/edge-1/portforward".encode()
    connection.sock.sendall(b"POST %b HTTP/1.1\r\nAuthorization: %b\r\n\r\nping" % (path, token))
    received = b""
    while data := connection.sock.recv(100):
        received += data
    assert received == b"HTTP/1.1 101 Switching Protocols\r\n\r\nPING"
    connection.close()
    assert [entry.status for entry in server.requests] == [200, 101]


def test_serve_runs_until_it_is_told_to_end(tmp_path: Path) -> None:
    config = tmp_path / "config"
    program = (
        "import sys; from pathlib import Path\n"
        "from svcdoctor.lab.apiserver import ApiServer; from svcdoctor.lab.serving import serve\n"
        "from svcdoctor.lab.store import ObjectStore\n"
        "serve(ApiServer(ObjectStore()), Path(sys.argv[1]), lambda server: print(server.url, flush=True))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(config)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("https://127.0.0.1:")
        assert yaml.safe_load(config.read_text())["kind"] == "Config"
        process.send_signal(signal.SIGTERM)
        assert process.wait(5) == 0
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_in_the_temporary_directory(store: ObjectStore) -> None:
    before = set(Path(tempfile.gettempdir()).glob("svcdoctor-lab-*"))
    with ApiServer(store):
        assert set(Path(tempfile.gettempdir()).glob("svcdoctor-lab-*")) != before
    assert set(Path(tempfile.gettempdir()).glob("svcdoctor-lab-*")) == before


def test_objects_that_change_are_seen_at_once(call: Call, store: ObjectStore) -> None:
    before = len(call(PODS_PATH).json()["items"])
    store.delete(PODS, "truth", "edge-1")
    assert len(call(PODS_PATH).json()["items"]) == before - 1
