"""Traffic outlives the control process: real workers, real endpoints, both families."""

import contextlib
import os
import signal
import socket
import threading
import time
from contextlib import ExitStack

import msgspec
import pytest
from msgspec import structs
from served_world import connected, served

from svcdoctor.proxy.serving.served import Backend


class Echo:
    """An endpoint that says its name first, and everything else back."""

    def __init__(self, name, ip):
        self._name = name
        self._door = socket.create_server((ip, 0), family=socket.AF_INET6 if ":" in ip else socket.AF_INET)
        self.backend = Backend(ip, self._door.getsockname()[1], f"shop/{name}")
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                client, _ = self._door.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client):
        with client, contextlib.suppress(ConnectionResetError):
            client.sendall(f"{self._name}\n".encode())
            while data := client.recv(65536):
                client.sendall(data)

    def close(self):
        self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def endpoints():
    with ExitStack() as stack:

        def make(*names, ip):
            made = [Echo(name, ip) for name in names]
            for one in made:
                stack.callback(one.close)
            return made

        yield make


def name_of(port):
    """The endpoint that a new connection comes to."""
    with connected(port) as sock:
        return sock.makefile().readline().strip()


def echoes(sock, text):
    sock.sendall(text)
    got = b""
    while len(got) < len(text) and (data := sock.recv(65536)):
        got += data
    return got == text


def lives(sock):
    try:
        return echoes(sock, b"still there")
    except OSError:
        return False


def given(port):
    return msgspec.to_builtins([port])


@pytest.mark.parametrize("ip", ["127.0.0.1", "::1"])
def test_connections_outlive_a_killed_control_and_the_next_one_adopts_the_workers(control, endpoints, ip):
    a, b = endpoints("a", "b", ip=ip)
    port = structs.replace(served(ip=ip), cluster=(a.backend,))
    first = control(ports=given(port), real=True)
    first.next("serving")
    with ExitStack() as stack:
        kept = [stack.enter_context(connected(port)) for _ in range(50)]
        assert {sock.recv(100) for sock in kept} == {b"a\n"}
        first.kill()
        assert all(echoes(sock, b"x" * 100_000) for sock in kept)
        assert {name_of(port) for _ in range(50)} == {"a"}
        second = control(ports=given(structs.replace(port, cluster=(b.backend,))), real=True)
        second.next("serving")
        assert {name_of(port) for _ in range(50)} == {"b"}
        assert all(echoes(sock, b"y" * 100_000) for sock in kept)
        second.signal(signal.SIGTERM)
        time.sleep(0.3)
        assert all(echoes(sock, b"z" * 100_000) for sock in kept)
    assert second.wait() == (0, "")
    with pytest.raises(ConnectionRefusedError):
        connected(port)


def test_workers_are_replaced_by_those_of_a_new_version_without_a_failed_connection(control, endpoints):
    (a,) = endpoints("a", ip="127.0.0.1")
    port = structs.replace(served(), cluster=(a.backend,))
    first = control(ports=given(port), real=True)
    first.next("serving")
    with connected(port) as kept:
        assert kept.recv(100) == b"a\n"
        first.kill()
        second = control(ports=given(port), real=True, version="2")
        failed = asked = 0
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            asked += 1
            try:
                failed += name_of(port) != "a"
            except OSError:
                failed += 1
        second.next("serving")
        notes = [second.next("note")["text"] for _ in range(2)]
        assert all("runs with other settings: it is drained" in note for note in notes)
        assert echoes(kept, b"still there")
    print(f"{asked} connections while workers were replaced, {failed} failed")
    assert (failed, asked > 100) == (0, True)


def test_a_worker_that_crashes_takes_only_its_own_connections_with_it(control, endpoints):
    (a,) = endpoints("a", ip="127.0.0.1")
    port = structs.replace(served(), cluster=(a.backend,))
    process = control(ports=given(port), real=True)
    process.next("serving")
    children = process.children()
    assert len(children) == 2
    with ExitStack() as stack:
        kept = [stack.enter_context(connected(port)) for _ in range(40)]
        assert {sock.recv(100) for sock in kept} == {b"a\n"}
        os.kill(children[0], signal.SIGKILL)
        assert process.next("note")["text"].startswith(
            f"worker {children[0]} is lost: it was ended by SIGKILL"
        )
        assert 0 < sum(lives(sock) for sock in kept) < 40
        assert {name_of(port) for _ in range(40)} == {"a"}
