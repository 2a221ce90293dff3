"""A command in a container, run through the API's exec subresource over WebSocket channels.

Theory. A GET that is answered with 101 becomes a WebSocket; the first byte of each binary message names its
channel: 1 is stdout, 2 is stderr, 3 is one Status that says how the command ended. Nothing is sent to the
command. Output is kept byte for byte, and bounded together with the time; whoever holds the ``Streams`` can end
all commands at once.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect GET
requests to exec), KEP-4006 for v5.channel.k8s.io
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError
from websockets.frames import Opcode
from websockets.protocol import Side
from websockets.utils import accept_key

from svcdoctor.sources.session import ApiSession
from svcdoctor.tunnel.websocket import WebSocket

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
"""What both sides may speak; without an input to close they are the same."""

_STDOUT, _STDERR, _STATUS = 1, 2, 3
_CHUNK = 1 << 16


class Failure(Enum):
    """Why a command has no output that could be used."""

    REFUSED = "refused"  # the API server does not let it be run
    NOT_STARTED = "not started"  # the container has no such program, or it is gone
    TIMEOUT = "timeout"
    TOO_LARGE = "too large"
    CUT = "cut"


class ExecError(Exception):
    """A command that did not come to its end. ``status`` is HTTP's where the API server refused it."""

    def __init__(self, failure: Failure, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.failure = failure
        self.message = message
        self.status = status


@dataclass(frozen=True, slots=True)
class Container:
    """Where a command runs."""

    namespace: str
    pod: str
    name: str


@dataclass(frozen=True, slots=True)
class Output:
    """What a command wrote, and its exit code."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class Streams:
    """The connections of running commands, which end all at once. Safe to use from many threads."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()

    def add(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            if self.ended.is_set():
                _shut(connection)

    def discard(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def end(self) -> None:
        """Cut everything that is open, and whatever is opened from now on."""
        with self._lock:
            self.ended.set()
            for connection in self._open:
                _shut(connection)


def execute(
    session: ApiSession,
    container: Container,
    arguments: Sequence[str],
    *,
    seconds: float,
    limit: int,
    streams: Streams,
) -> Output:
    """What the command wrote and how it ended.

    ``seconds`` bounds all of it, ``limit`` the bytes of stdout and stderr together. Raises ExecError, and
    SvcdoctorError where the API server cannot be reached.
    """
    end = time.monotonic() + seconds
    key = base64.b64encode(os.urandom(16)).decode()
    where = f"/api/v1/namespaces/{quote(container.namespace, safe='')}/pods/{quote(container.pod, safe='')}"
    query = [("container", container.name), ("stdout", "true"), ("stderr", "true")]
    query += [("command", argument) for argument in arguments]
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": key,
        "Sec-WebSocket-Protocol": ", ".join(PROTOCOLS),
    }
    try:
        answer = session.upgrade(f"{where}/exec?{urlencode(query)}", headers, seconds)
    except TimeoutError:
        raise _timeout(seconds) from None
    # urllib3 has no public name for what the answer's head was read from; frames may be in its buffer.
    untyped: Any = answer
    connection = untyped.connection.sock if untyped.connection is not None else None
    try:
        if answer.status != 101 or connection is None:
            raise _refused(answer)
        streams.add(connection)
        _check_handshake(answer, key)
        return _output(connection, untyped._fp.fp, end, seconds, limit)
    finally:
        if connection is not None:
            streams.discard(connection)
        answer.close()
        if untyped.connection is not None:
            untyped.connection.close()


def _check_handshake(answer: BaseHTTPResponse, key: str) -> None:
    chosen = answer.headers.get("Sec-WebSocket-Protocol", "")
    accepted = answer.headers.get("Sec-WebSocket-Accept", "")
    if chosen not in PROTOCOLS or accepted != accept_key(key):
        raise ExecError(
            Failure.REFUSED,
            f"the server switches to another protocol ({chosen or 'none'}) than was asked for",
        )


def _output(connection: socket.socket, buffered: Any, end: float, seconds: float, limit: int) -> Output:
    peer = WebSocket(Side.CLIENT)
    channels: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: []}
    size = 0
    try:
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise _timeout(seconds)
            connection.settimeout(left)
            data = buffered.read1(_CHUNK)
            if not data:
                raise _cut()
            messages = peer.receive(data)
            if answers := peer.outgoing():
                connection.sendall(answers)
            for message in messages:
                if message.opcode is Opcode.CLOSE:
                    raise _cut()
                if message.opcode is not Opcode.BINARY or not message.data:
                    continue
                channel, content = message.data[0], message.data[1:]
                if channel == _STATUS:
                    code = _exit_code(content)
                    peer.close()
                    with contextlib.suppress(OSError):
                        connection.sendall(peer.outgoing())
                    return Output(b"".join(channels[_STDOUT]), b"".join(channels[_STDERR]), code)
                if channel in channels:
                    channels[channel].append(content)
                    size += len(content)
                    if size > limit:
                        raise ExecError(Failure.TOO_LARGE, f"it wrote more than {limit:,} bytes")
            if peer.error is not None:
                raise ExecError(Failure.CUT, str(peer.error))
    except TimeoutError:
        raise _timeout(seconds) from None
    except OSError:
        raise _cut() from None


class _Cause(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] = []


class _Status(msgspec.Struct):
    status: str = ""
    message: str = ""
    reason: str = ""
    details: _Details = msgspec.field(default_factory=_Details)


_ENDING = msgspec.json.Decoder(_Status)  # made once: two threads that make the first of one struct crash


def _exit_code(data: bytes) -> int:
    """The exit code that the last message tells. Raises ExecError where the command was not started."""
    try:
        status = _ENDING.decode(data)
    except msgspec.DecodeError:
        raise ExecError(Failure.CUT, "the server does not say how the command ended") from None
    if status.status == "Success":
        return 0
    for cause in status.details.causes:
        if status.reason == "NonZeroExitCode" and cause.reason == "ExitCode" and cause.message.isdecimal():
            return int(cause.message)
    raise ExecError(Failure.NOT_STARTED, " ".join(status.message.split()) or "the command was not started")


def _refused(answer: BaseHTTPResponse) -> ExecError:
    try:
        body = answer.read(_CHUNK)
        message = _ENDING.decode(body).message
    except (HTTPError, OSError, msgspec.DecodeError):
        message = ""
    message = " ".join(message.split()) or (
        f"the answer is {answer.status} instead of a switch to WebSocket; a proxy on the way may not pass it on"
    )
    return ExecError(Failure.REFUSED, message, answer.status)


def _timeout(seconds: float) -> ExecError:
    return ExecError(Failure.TIMEOUT, f"it did not end within {seconds:.3g} s")


def _cut() -> ExecError:
    return ExecError(Failure.CUT, "the connection was cut before the command ended")


def _shut(connection: socket.socket) -> None:
    # Past the TLS layer, whose own shutdown would wait for the thread that is reading.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
