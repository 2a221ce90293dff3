"""The server of metrics, asked over real sockets while its loop does other things."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from svcdoctor.proxy import httpanswers
from svcdoctor.proxy.httpanswers import AnswerServer
from svcdoctor.proxy.listener import listening_socket
from svcdoctor.proxy.loop import Loop
from svcdoctor.proxy.scrapes import scraped


class Serving:
    """A loop on a thread with a server."""

    def __init__(self, host: str) -> None:
        self.text = "a_total 1\n"
        self.loop = Loop()
        sock = listening_socket(host, 0)
        self.address = sock.getsockname()[:2]
        self.server = AnswerServer(self.loop, [sock], scraped(lambda done: done(self.text)))
        self.thread = threading.Thread(target=self.loop.run)
        self.thread.start()

    def ask(self, method: str = "GET", path: str = "/metrics") -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=10)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def raw(self, *pieces: bytes) -> bytes:
        with socket.create_connection(self.address, 10) as client:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(0.01)
            found = b""
            while data := client.recv(65536):
                found += data
            return found

    def close(self) -> None:
        self.loop.call_soon_threadsafe(lambda: (self.server.close(), self.loop.stop()))
        self.thread.join(5)
        self.loop.turn(0)
        self.loop.free()


@pytest.fixture
def serving(host: str) -> Iterator[Serving]:
    made = Serving(host)
    yield made
    made.close()


def test_metrics(serving: Serving) -> None:
    answer, body = serving.ask()
    assert (answer.status, body) == (200, b"a_total 1\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert serving.ask(path="/metrics?name[]=up")[1] == body
    answer, body = serving.ask("HEAD")
    assert (answer.status, answer.headers["Content-Length"], body) == (200, "10", b"")


def test_what_is_not_there(serving: Serving) -> None:
    assert serving.ask(path="/")[0].status == 404
    answer, _ = serving.ask("POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert serving.raw(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert serving.raw(b"GET /metrics SPDY/3.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")


def test_a_request_in_pieces(serving: Serving) -> None:
    found = serving.raw(b"GET /met", b"rics HTTP/1.1\r\nHost: x\r", b"\n\r", b"\n")
    assert found.endswith(b"\r\n\r\na_total 1\n")


def test_a_long_text_arrives_whole(serving: Serving) -> None:
    serving.text = "".join(f'a_total{{n="{n}"}} {n}\n' for n in range(200_000))
    _, body = serving.ask()
    assert body.decode() == serving.text


def test_a_head_without_end_is_ended(serving: Serving) -> None:
    with socket.create_connection(serving.address, 10) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 10_000)
        assert client.recv(100).startswith(b"HTTP/1.1 400 ")


def test_slow_clients_are_ended_and_more_than_a_few_not_served(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(httpanswers, "SECONDS", 0.5)
    silent = [socket.create_connection(serving.address, 10) for _ in range(httpanswers.MOST)]
    time.sleep(0.1)
    with pytest.raises((OSError, http.client.HTTPException)):
        serving.ask()
    for client in silent:
        assert client.recv(10) == b""
        client.close()
    assert serving.ask()[0].status == 200
