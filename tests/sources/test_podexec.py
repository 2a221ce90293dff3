"""Commands in containers, through the lab's API server: real processes, and everything that can go wrong."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Play, Script, cut, kubeconfig, pod, refuse, reply, role_binding
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from svcdoctor.lab.apiserver import ApiServer
from svcdoctor.lab.podprocess import run_process
from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime
from svcdoctor.lab.rbac import ADMIN, User
from svcdoctor.lab.store import ObjectStore
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.connection import Connection, open_connection
from svcdoctor.sources.podexec import Container, ExecError, Failure, Output, Streams, execute
from svcdoctor.sources.session import ApiSession

WEB = Container("shop", "web", "app")


class Processes(PodRuntime):
    """Executes what is asked for on this machine; a few names stand for what a node may do instead."""

    def execute(self, call: Call) -> int:
        if call.arguments[0] == "cut":
            call.stdout(b"the beginning")
            time.sleep(0.1)  # let it out
            raise ConnectionAbortedError
        if call.arguments[0] == "crio":
            call.stderr(b"exec failed: exec: crio: executable file not found in $PATH\n")
            return 255
        if call.arguments[0] == "broken":
            raise NotStarted("container not running (deadbeef)")
        return run_process(call, call.arguments)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    web = pod("shop", "web")
    web["spec"]["containers"] = [{"name": "app", "image": "app:1"}]
    roles = [*role_binding("alice", "shop", "pods"), *role_binding("bob", "shop", "pods/exec")]
    users = (ADMIN, User("alice"), User("bob"))
    before = set(threading.enumerate())
    with ApiServer(ObjectStore([web, *roles]), users=users, runtime=Processes()) as server:
        yield server
    assert not set(threading.enumerate()) - before


Open = Callable[..., ApiSession]


@pytest.fixture
def session(server: ApiServer, tmp_path: Path) -> Iterator[Open]:
    opened = []

    def make(user: str = "admin", **flags: Any) -> ApiSession:
        path = tmp_path / user
        server.write_kubeconfig(path, user, **flags)
        opened.append(open_connection(Connection(kubeconfig=path)))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def run(session: ApiSession, *words: str, **more: Any) -> Output:
    given = {"seconds": 20.0, "limit": 1 << 28, "streams": Streams()} | more
    return execute(session, given.pop("container", WEB), words, **given)


def failure(session: ApiSession, *words: str, **more: Any) -> ExecError:
    with pytest.raises(ExecError) as error:
        run(session, *words, **more)
    return error.value


def test_streams_and_exit_code(session: Open) -> None:
    said = run(session(), "sh", "-c", "printf 'a\\0b\\n\\377'; printf no >&2; exit 3")
    assert said == Output(b"a\0b\n\xff", b"no", 3)
    assert run(session(), "true") == Output(b"", b"", 0)
    assert run(session(), "printf", "%s|", "a b", "ä&?=/", "") == Output("a b|ä&?=/||".encode(), b"", 0)


def test_large_output_is_exact(session: Open, tmp_path: Path) -> None:
    data = os.urandom(3_000_000)
    (tmp_path / "data").write_bytes(data)
    assert run(session(), "cat", str(tmp_path / "data")).stdout == data


def test_a_client_certificate_serves_as_well_as_a_token(session: Open) -> None:
    assert run(session(by_certificate=True), "echo", "hi").stdout == b"hi\n"


def test_a_command_that_hangs(session: Open) -> None:
    started = time.monotonic()
    error = failure(session(), "sleep", "60", seconds=0.5)
    assert time.monotonic() - started < 5
    assert (error.failure, error.message) == (Failure.TIMEOUT, "it did not end within 0.5 s")


def test_a_command_that_never_stops_writing(session: Open) -> None:
    error = failure(session(), "cat", "/dev/zero", limit=1_000_000)
    assert (error.failure, error.message) == (Failure.TOO_LARGE, "it wrote more than 1,000,000 bytes")
    assert failure(session(), "sh", "-c", "cat /dev/zero >&2", limit=1_000_000).failure is Failure.TOO_LARGE


def test_a_connection_that_is_cut(session: Open) -> None:
    error = failure(session(), "cut")
    assert (error.failure, error.message) == (
        Failure.CUT,
        "the connection was cut before the command ended",
    )


def test_all_commands_end_at_once(session: Open) -> None:
    streams, errors = Streams(), []
    one = session()
    threads = [
        threading.Thread(target=lambda: errors.append(failure(one, "sleep", "60", streams=streams)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(streams._open) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    started = time.monotonic()
    streams.end()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started < 5
    assert [e.failure for e in errors] == [Failure.CUT] * 3
    assert failure(one, "sleep", "60", streams=streams).failure is Failure.CUT, "and none starts after that"


def test_what_is_not_there(session: Open) -> None:
    error = failure(session(), "nosuch")
    assert error.failure is Failure.NOT_STARTED
    assert 'exec: "nosuch": executable file not found in $PATH' in error.message
    assert "container not running" in failure(session(), "broken").message
    error = failure(session(), "ls", container=Container("shop", "gone", "app"))
    assert (error.failure, error.status, error.message) == (Failure.REFUSED, 404, 'pods "gone" not found')
    error = failure(session(), "ls", container=Container("shop", "web", "other"))
    assert (error.failure, error.message) == (Failure.REFUSED, "container other is not valid for pod web")


@pytest.mark.parametrize(("user", "verb"), [("alice", "get"), ("bob", "create")])
def test_who_may_not(session: Open, user: str, verb: str) -> None:
    error = failure(session(user), "ls")
    assert (error.failure, error.status) == (Failure.REFUSED, 403)
    assert f'User "{user}" cannot {verb} resource "pods/exec"' in error.message


# --- servers that do something else -------------------------------------------------------------------


def switched(
    *frames: bytes, protocol: str = "v4.channel.k8s.io", accept: str = "", wait: float = 0.0
) -> Play:
    """Answers 101 and these frames in one write, then closes the connection."""

    def play(handler: Any) -> None:
        key = accept or accept_key(handler.headers["Sec-WebSocket-Key"])
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {key}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        )
        handler.wfile.write(head.encode() + b"".join(frames))
        time.sleep(wait)
        handler.close_connection = True

    return play


def frame(opcode: Opcode, data: bytes) -> bytes:
    return Frame(opcode, data).serialize(mask=False)


SUCCESS = frame(Opcode.BINARY, b'\x03{"status":"Success"}')


def scripted(script: Script, tmp_path: Path, *steps: Play) -> ApiSession:
    script.steps[:] = steps
    return open_connection(Connection(kubeconfig=kubeconfig(tmp_path / "config", script.url)))


def test_frames_that_come_with_the_head_and_pings_between(script: Script, tmp_path: Path) -> None:
    frames = (
        frame(Opcode.BINARY, b"\x01one "),
        frame(Opcode.PING, b"?"),
        frame(Opcode.BINARY, b"\x01two"),
        frame(Opcode.BINARY, b""),
        frame(Opcode.BINARY, b"\x07from a channel that nobody knows"),
        SUCCESS,
    )
    assert run(scripted(script, tmp_path, switched(*frames)), "ls") == Output(b"one two", b"", 0)
    assert "/exec?container=app&stdout=true&stderr=true&command=ls" in script.paths[0]


def test_what_a_real_server_sent(script: Script, tmp_path: Path) -> None:
    text = b"search truth.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
    recorded = (
        b"\x82\x01\x01",
        b"\x82\x66\x01" + text,
        b'\x82\x23\x03{"metadata":{},"status":"Success"}',
        b"\x88\x02\x03\xe8",
    )
    session = scripted(script, tmp_path, switched(*recorded, protocol="v5.channel.k8s.io"))
    assert run(session, "/bin/cat", "/etc/resolv.conf") == Output(text, b"", 0)


@pytest.mark.parametrize(
    ("play", "kind", "problem"),
    [
        (switched(SUCCESS, protocol="channel.k8s.io"), Failure.REFUSED, "switches to another protocol"),
        (switched(SUCCESS, accept="bm8="), Failure.REFUSED, "switches to another protocol"),
        (switched(frame(Opcode.BINARY, b"\x01half")), Failure.CUT, "cut before the command ended"),
        (switched(frame(Opcode.CLOSE, b"\x03\xe8")), Failure.CUT, "cut before the command ended"),
        (switched(b"\xf2\x00"), Failure.CUT, "does not speak WebSocket"),
        (switched(frame(Opcode.BINARY, b"\x03nonsense")), Failure.CUT, "does not say how"),
        (switched(wait=2), Failure.TIMEOUT, "did not end within 0.5 s"),
        (lambda handler: time.sleep(1), Failure.TIMEOUT, "did not end within 0.5 s"),
        (reply(200, "a login page"), Failure.REFUSED, "200 instead of a switch to WebSocket"),
        (refuse(400, "Upgrade request required"), Failure.REFUSED, "Upgrade request required"),
        (cut('{"kind": "Status"'), Failure.REFUSED, "200 instead of"),
    ],
)
def test_a_server_that_does_not_do_its_part(
    script: Script, tmp_path: Path, play: Play, kind: Failure, problem: str
) -> None:
    error = failure(scripted(script, tmp_path, play), "ls", seconds=0.5)
    assert error.failure is kind
    assert problem in error.message


def test_credentials_that_are_refused_and_a_server_that_is_gone(script: Script, tmp_path: Path) -> None:
    session = scripted(script, tmp_path, refuse(401, "Unauthorized"))
    with pytest.raises(SvcdoctorError, match="401 Unauthorized"):
        run(session, "ls")
    gone = kubeconfig(tmp_path / "gone", "http://127.0.0.1:1")
    with pytest.raises(SvcdoctorError, match="refused the connection"):
        run(open_connection(Connection(kubeconfig=gone)), "ls")
