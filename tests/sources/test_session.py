"""One question: its attempts, its deadline, its bounds, and who it comes from."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from conftest import Play, Script, cut, refuse, reply

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources import session as session_module
from svcdoctor.sources.connection import Connection, resolve
from svcdoctor.sources.credentials import connect
from svcdoctor.sources.session import ApiSession


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def session_of(script: Script, clock: Time) -> Callable[..., ApiSession]:
    def make(*steps: Play, timeout: str = "30s") -> ApiSession:
        script.steps = list(steps)
        target = resolve(
            Connection(server=script.url, token="t", request_timeout=timeout), {}, Path("/nowhere")
        )
        client = connect(target)
        return ApiSession(
            target,
            client,
            renew=lambda: client,
            clock=lambda: clock.now,
            sleep=clock.sleep,
            draw=lambda: 0.5,
        )

    return make


SessionOf = Callable[..., ApiSession]


def test_an_answer_comes_as_it_is(session_of: SessionOf, script: Script) -> None:
    session = session_of(reply(200, "body", X_Remaining="7"))
    response = session.get("/api/v1/pods", {"labelSelector": "a=b,c", "limit": "5"})
    assert (response.status, response.data, response.headers["x-remaining"]) == (200, b"body", "7")
    assert script.paths == ["/api/v1/pods?labelSelector=a%3Db%2Cc&limit=5"]
    assert script.headers[0]["Authorization"] == "Bearer t"
    assert script.headers[0]["User-Agent"].startswith("svcdoctor/")
    (asked,) = session.asked
    assert (asked.path, asked.status, asked.size) == ("/api/v1/pods?labelSelector=a=b,c&limit=5", 200, 4)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again_after_growing_pauses(
    session_of: SessionOf, clock: Time, status: int
) -> None:
    session = session_of(refuse(status), refuse(status), refuse(status), reply(200, "done"))
    assert session.get("/").data == b"done"
    assert clock.pauses == [0.25, 0.5, 1.0]


def test_five_attempts_are_enough(session_of: SessionOf) -> None:
    session = session_of(refuse(503, "not ready"))
    assert session.get("/readyz").status == 503
    assert [a.status for a in session.asked] == [503] * 5


@pytest.mark.parametrize("status", [302, 400, 403, 404, 409, 410, 422])
def test_what_will_not_pass_is_not_tried_again(session_of: SessionOf, status: int) -> None:
    session = session_of(reply(status, "", Location="/elsewhere"))
    assert session.get("/").status == status
    assert session.requests == 1


def test_the_pause_is_the_servers_where_it_names_one(session_of: SessionOf, clock: Time) -> None:
    session = session_of(refuse(429, Retry_After="7"), reply(200, "done"))
    assert session.get("/").data == b"done"
    assert clock.pauses == [7.125]


def test_no_pause_goes_beyond_the_deadline(session_of: SessionOf, clock: Time) -> None:
    session = session_of(refuse(429, Retry_After="7"), timeout="5s")
    assert session.get("/").status == 429
    assert clock.pauses == [] and session.requests == 1


@pytest.mark.parametrize("timeout", ["30s", "0"])
def test_a_cut_answer_is_asked_for_again(session_of: SessionOf, timeout: str) -> None:
    session = session_of(cut('{"half":'), reply(200, "whole"), timeout=timeout)
    assert session.get("/").data == b"whole"
    assert [a.status for a in session.asked] == [0, 200]


def test_a_connection_that_is_always_cut_is_an_error(session_of: SessionOf, script: Script) -> None:
    session = session_of(cut("half"))
    with pytest.raises(SvcdoctorError) as error:
        session.get("/api/v1/pods")
    assert error.value.exit_code == 3
    assert error.value.message.startswith(f"{script.url} cut the connection: ")
    assert session.requests == 5


def test_compressed_answers_are_read(session_of: SessionOf, script: Script) -> None:
    def play(handler: BaseHTTPRequestHandler) -> None:
        data = gzip.compress(b"x" * 100_000)
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    session = session_of(play)
    assert session.get("/").data == b"x" * 100_000
    assert script.headers[0]["Accept-Encoding"] == "gzip"


@pytest.mark.parametrize("compressed", [False, True])
def test_an_answer_that_is_too_large_is_refused(
    session_of: SessionOf, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    monkeypatch.setattr(session_module, "MAX_ANSWER", 3 << 20)
    body = b"x" * (4 << 20)

    def play(handler: BaseHTTPRequestHandler) -> None:
        data = gzip.compress(body) if compressed else body
        handler.send_response(200)
        if compressed:
            handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        try:
            handler.wfile.write(data)
        except OSError:
            handler.close_connection = True

    session = session_of(play)
    with pytest.raises(
        SvcdoctorError, match="/api/v1/pods has more than 3 MiB; ask for one namespace"
    ) as error:
        session.get("/api/v1/pods")
    assert error.value.exit_code == 3
    assert session.requests == 1


@pytest.mark.parametrize("stage", ["no head", "stalled body", "late head, stalled body", "dripping body"])
def test_the_deadline_holds_for_the_whole_answer(script: Script, stage: str) -> None:
    over = threading.Event()

    def play(handler: BaseHTTPRequestHandler) -> None:
        if stage.startswith("late"):
            over.wait(0.7)
        if stage != "no head":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
        while not over.wait(0.05):
            if stage == "dripping body":
                try:
                    handler.wfile.write(b"x")
                except OSError:
                    break
        handler.close_connection = True

    script.steps = [play]
    target = resolve(Connection(server=script.url, request_timeout="800ms"), {}, Path("/nowhere"))
    client = connect(target)
    started = time.monotonic()
    with pytest.raises(SvcdoctorError) as error:
        ApiSession(target, client, renew=lambda: client).get("/")
    took = time.monotonic() - started
    over.set()
    assert 0.7 < took < 1.4
    assert error.value.exit_code == 3
    assert error.value.message.startswith(f"{script.url} did not answer within 0.8")
    assert "--request-timeout" in error.value.message


def test_refused_credentials_that_cannot_be_renewed_are_an_error(
    session_of: SessionOf, script: Script
) -> None:
    session = session_of(refuse(401, "Unauthorized"))
    with pytest.raises(SvcdoctorError) as error:
        session.get("/")
    assert error.value.exit_code == 3
    assert error.value.message == (
        f"{script.url}: 401 Unauthorized: the credentials are refused; name valid ones with --token, --user or "
        "--context"
    )
    assert session.requests == 1


def test_many_threads_may_ask(session_of: SessionOf) -> None:
    session = session_of(reply(200, "body"))
    answers: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: answers.extend(session.get("/").data for _ in range(20)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b"body"] * 120
    assert session.requests == 120
    session.close()


def test_what_is_no_http_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def greet() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
                    connection.recv(4096)

        threading.Thread(target=greet, daemon=True).start()
        target = resolve(Connection(server=f"http://127.0.0.1:{port}", token="t"), {}, tmp_path)
        client = connect(target)
        with pytest.raises(
            SvcdoctorError, match="does not speak HTTP; check the address and the port"
        ) as error:
            ApiSession(target, client, renew=lambda: client, sleep=lambda _: None).get("/")
        assert error.value.exit_code == 3
