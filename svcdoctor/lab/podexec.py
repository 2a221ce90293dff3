"""`pods/exec` over WebSocket channels, as kubectl and the client libraries speak it.

One thread reads and writes the connection, because TLS does not take two; the command runs on another and
hands its output over in a queue that is bounded, so that a slow client slows the command down. SPDY, which
older clients use, is refused: kubectl tries WebSocket first since 1.30.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/, KEP-4006
"""

from __future__ import annotations

import queue
import select
import socket
import ssl
import threading
from dataclasses import replace
from typing import Any

import msgspec
from websockets.frames import Opcode
from websockets.protocol import Side

from svcdoctor.lab.podruntime import Call, NotStarted, PodRuntime
from svcdoctor.lab.rbac import Authorizer
from svcdoctor.lab.requests import Answer, Request
from svcdoctor.lab.resources import PODS, Object
from svcdoctor.lab.status import bad_request
from svcdoctor.lab.store import ObjectStore
from svcdoctor.lab.upgrades import header_words, switch_to_websocket
from svcdoctor.tunnel.websocket import WebSocket

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")

_STDIN, _STDOUT, _STATUS, _CLOSED = 0, 1, 3, 255
_SEND_SECONDS = 30.0
_TICK = 0.02  # seconds until new output is noticed


class PodExec:
    """The handler of `pods/exec`: who may, which container, and then the command's streams."""

    def __init__(self, store: ObjectStore, authorizer: Authorizer, runtime: PodRuntime) -> None:
        self._store = store
        self._authorizer = authorizer
        self._runtime = runtime

    def answer(self, request: Request) -> Answer:
        """Executes the command on the request's connection. Raises `ApiError`."""
        action = request.target.action
        # Since 1.35 a WebSocket, which is a GET, also takes the verb that a POST always took.
        self._authorizer.check(request.user, replace(action, verb="create"))
        pod = self._store.get(PODS, action.namespace, action.name)
        container = container_of(pod, request.text("container"))
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise bad_request("Upgrade request required: this server executes commands over WebSocket only")
        offered = header_words(request, "Sec-WebSocket-Protocol")
        chosen = next((protocol for protocol in offered if protocol in PROTOCOLS), None)
        if chosen is None:
            raise bad_request(f"no common protocol: this server speaks {', '.join(PROTOCOLS)}")
        arguments = tuple(request.query.get("command", ()))
        if not arguments:
            raise bad_request("you must specify at least 1 command for the container")
        switch_to_websocket(request, chosen)
        call = Call(action.namespace, action.name, container, arguments)
        if not request.flag("stdin"):
            call.input.put(b"")
        _Session(request.connection, call, self._runtime).run()
        return None


def container_of(pod: Object, asked: str) -> str:
    """The container that is meant. Raises `ApiError` 400 where there is none of that name, or no telling."""
    name, containers = pod["metadata"]["name"], [c["name"] for c in pod["spec"].get("containers", ())]
    if not asked and len(containers) == 1:
        return str(containers[0])
    if not asked:
        choice = " ".join(containers)
        raise bad_request(f"a container name must be specified for pod {name}, choose one of: [{choice}]")
    debugging = [c["name"] for c in pod["spec"].get("ephemeralContainers", ())]
    if asked not in containers + debugging:
        raise bad_request(f"container {asked} is not valid for pod {name}")
    return asked


class _Session:
    """One command and its connection."""

    def __init__(self, connection: socket.socket, call: Call, runtime: PodRuntime) -> None:
        self._connection = connection
        self._peer = WebSocket(Side.SERVER)
        self._call = call
        self._runtime = runtime
        self._ended = threading.Event()
        self._status: Object | None = None

    def run(self) -> None:
        """Serves the connection until the command has ended or the client has left."""
        worker = threading.Thread(target=self._execute, name="lab-exec")
        self._send(bytes((_STDOUT,)))
        worker.start()
        try:
            self._serve()
        except OSError:
            pass  # the client has left
        finally:
            self._call.gone.set()
            worker.join()

    def _execute(self) -> None:
        try:
            code = self._runtime.execute(self._call)
            self._status = _success() if code == 0 else _ended_with(code)
        except NotStarted as e:
            self._status = _not_started(str(e))
        except ConnectionAbortedError:
            pass
        finally:
            self._ended.set()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        while True:
            ended = self._ended.is_set()  # before the queue is looked at: what was written is in it by then
            if self._receive(poll, 0.0 if not self._call.output.empty() else _TICK):
                return
            while True:
                try:
                    written = self._call.output.get_nowait()
                except queue.Empty:
                    break
                self._send(bytes((written.channel,)) + written.data)
            if ended:
                break
        if self._status is not None:
            self._send(bytes((_STATUS,)) + msgspec.json.encode(self._status))
            self._peer.close()
            self._flush()

    def _receive(self, poll: select.poll, seconds: float) -> bool:
        """Takes what the client sends, waiting so long for it; whether it has left."""
        untyped: Any = self._connection
        if not untyped.pending() and not poll.poll(seconds * 1000):
            return False
        self._connection.settimeout(0)
        try:
            data = self._connection.recv(1 << 16)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        if not data:
            return True
        messages = self._peer.receive(data)
        self._flush()
        for message in messages:
            if message.opcode is Opcode.CLOSE:
                return True
            if message.opcode is Opcode.BINARY and message.data[:1] == bytes((_STDIN,)):
                self._feed(message.data[1:])
            elif message.data[:2] == bytes((_CLOSED, _STDIN)):
                self._feed(b"")
        return self._peer.error is not None

    def _feed(self, data: bytes) -> None:
        try:
            self._call.input.put(data, timeout=_SEND_SECONDS)
        except queue.Full:
            raise ConnectionAbortedError from None

    def _send(self, data: bytes) -> None:
        self._peer.send(data)
        self._flush()

    def _flush(self) -> None:
        if data := self._peer.outgoing():
            self._connection.settimeout(_SEND_SECONDS)
            self._connection.sendall(data)


def _success() -> Object:
    return {"metadata": {}, "status": "Success"}


def _ended_with(code: int) -> Object:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: command terminated with exit code {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _not_started(message: str) -> Object:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: error executing command in container: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }
