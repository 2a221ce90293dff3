"""A forward in this process, through the lab's API server, and a test that does something to it meanwhile."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from forward_world import NAMESPACE, World

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.proxy.arguments import parse_addresses
from svcdoctor.proxy.forwarder import Event, Listening, Settings
from svcdoctor.proxy.forwardrun import Dial, ForwardRun
from svcdoctor.proxy.plans import plans_of_words
from svcdoctor.sources.connection import Connection, open_connection

PATIENCE = 20.0


class Forwarded:
    """What runs. ``events`` are those so far."""

    def __init__(self, kubeconfig: Path, words: Sequence[str], settings: Settings) -> None:
        plans = plans_of_words(words, NAMESPACE, parse_addresses(["127.0.0.1"]), None, False)
        self.events: list[Event] = []
        self.session = open_connection(Connection(kubeconfig=kubeconfig))
        self.run = ForwardRun(self.session, plans, settings, Dial.TUNNEL, self.events.append)

    def of(self, kind: Any) -> list[Any]:
        return [e for e in self.events if isinstance(e, kind)]

    def connect(self) -> socket.socket:
        until(lambda: self.of(Listening))
        return socket.create_connection(("127.0.0.1", self.of(Listening)[0].local), PATIENCE)

    def ask(self, line: str = "hello") -> str:
        """The answer to a line."""
        with self.connect() as client:
            return ask_on(client, line)

    def until_asked(self, line: str = "hello") -> str:
        """The answer, when there is one."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with contextlib.suppress(ConnectionError):
                return self.ask(line)
        raise AssertionError("no answer")


def ask_on(client: socket.socket, line: str) -> str:
    """The answer to a line. Raises ConnectionError where it does not come whole."""
    client.sendall(line.encode() + b"\n")
    got = b""
    while not got.endswith(b"\n"):
        piece = client.recv(1000)
        if not piece:
            raise ConnectionResetError(f"ended after {got!r}")
        got += piece
    return got.decode().rstrip("\n")


def until(true: Callable[[], Any], seconds: float = PATIENCE) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def forwarded(
    world: World,
    folder: Path,
    body: Callable[[Forwarded], None],
    *words: str,
    kubeconfig: Path | None = None,
    **settings: Any,
) -> Forwarded:
    """Forward on this thread, which signals need, while ``body`` runs on another. What it raises is raised here."""
    made = Forwarded(
        kubeconfig or world.kubeconfig(folder / "kubeconfig"),
        words or ("svc/web", ":80"),
        Settings(**settings),
    )
    raised: list[BaseException] = []

    def work() -> None:
        try:
            body(made)
        except BaseException as e:
            raised.append(e)
        finally:
            with contextlib.suppress(OSError):
                made.run.loop.call_soon_threadsafe(made.run.loop.stop)

    thread = threading.Thread(target=work, name="test")
    thread.start()
    error: SvcdoctorError | None = None
    try:
        made.run.run()
    except SvcdoctorError as e:
        error = e
    finally:
        thread.join(PATIENCE)
        made.session.close()
    if raised:
        raise raised[0]
    if error is not None:
        raise error
    return made


class Proxy:
    """TCP connections to an address, until they are `frozen`: nothing passes then, and nobody is told."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listening.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._frozen: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                left = self._listening.accept()[0]
            except OSError:
                return
            right = socket.create_connection(self._to)
            self._pairs.append((left, right))
            for pair in ((left, right), (right, left)):
                thread = threading.Thread(target=self._carry, args=pair)
                self._threads.append(thread)
                thread.start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._frozen:
                    sink.sendall(data)
            if source not in self._frozen:
                sink.shutdown(socket.SHUT_WR)

    def freeze(self) -> None:
        """All connections of now go silent, and stay open."""
        self._frozen |= {end for pair in self._pairs for end in pair}

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for pair in self._pairs:
            for end in pair:
                end.close()


@contextlib.contextmanager
def proxied(world: World, kubeconfig: Path) -> Iterator[Proxy]:
    """A proxy to the API server, which the kubeconfig is changed to."""
    host, _, port = world.server.address.rpartition(":")
    made = Proxy(host, int(port))
    kubeconfig.write_text(kubeconfig.read_text().replace(f":{port}", f":{made.port}"))
    try:
        yield made
    finally:
        made.close()
