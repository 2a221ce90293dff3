"""A connection to the API server that carries forwards to one pod: which protocol, and what a refusal means.

Theory. Three protocols carry port-forward: SPDY in a WebSocket (servers since 1.30), SPDY itself, and WebSocket
channels with one connection each (older servers without SPDY, and some proxies). They are tried in this order; what
worked is remembered for the server. A refusal that another protocol cannot change (no such pod, the user may not)
ends at once with a line for the user; WebSocket needs the verb get and since 1.35 also create, SPDY create.

Specification: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/ (connect portforward)
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import quote

import msgspec
from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError
from websockets.utils import accept_key

from svcdoctor.model.errors import Forbidden, SvcdoctorError
from svcdoctor.sources.session import ApiSession
from svcdoctor.tunnel import channels, portforward, tunnelled
from svcdoctor.tunnel.portforward import ForwardClient
from svcdoctor.tunnel.tunnelled import SingleForward, TunnelledClient

Client = ForwardClient | SingleForward

SPDY = "SPDY/3.1"
_CHUNK = 1 << 16
_SHOWN = 500  # letters of a text that is no Status


class Way(Enum):
    """The protocols, by the names that messages give them."""

    TUNNEL = "SPDY in a WebSocket"
    SPDY = "SPDY"
    CHANNELS = "WebSocket channels"


@dataclass(frozen=True, slots=True)
class Carrier:
    """An open connection, non-blocking, and the client that speaks on it. ``received`` came with the handshake."""

    connection: socket.socket
    client: Client
    way: Way
    received: bytes


class _Refused(Exception):
    """What the server answered instead of switching protocols."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class _Status(msgspec.Struct):
    message: str = ""


_STATUS = msgspec.json.Decoder(_Status)  # made once: two threads that make the first of one struct crash


class ForwardOpener:
    """Opens carriers through one API server. Safe to use from many threads."""

    def __init__(self, session: ApiSession) -> None:
        self._session = session
        self._way: Way | None = None

    def open(self, namespace: str, pod: str, port: int, seconds: float) -> Carrier:
        """A carrier to the pod; one of channels is for ``port`` only. Each step may take ``seconds``.

        Raises SvcdoctorError: exit code 1 where there is no such pod, 3 where the server cannot be reached or
        refuses.
        """
        ways = [self._way] if self._way is not None else list(Way)
        refusals: list[tuple[Way, _Refused]] = []
        for way in ways:
            try:
                carrier = self._open(way, namespace, pod, port, seconds)
            except _Refused as refused:
                refusals.append((way, refused.with_traceback(None)))  # or it would keep the connection
                if refused.status in (404, 401) or _is_about_the_pod(refused):
                    break
            except TimeoutError:
                raise SvcdoctorError(
                    f"{self._session.place} does not answer within {seconds:.3g} s when asked to forward to pod "
                    f"{namespace}/{pod}",
                    3,
                ) from None
            else:
                self._way = way
                return carrier
        self._way = None  # the server may have become another one
        raise self._failure(namespace, pod, refusals)

    def _open(self, way: Way, namespace: str, pod: str, port: int, seconds: float) -> Carrier:
        where = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}/portforward"
        key = base64.b64encode(os.urandom(16)).decode()
        client: Client
        if way is Way.SPDY:
            method, protocol, client = "POST", portforward.PROTOCOL, ForwardClient()
            headers = {"Connection": "Upgrade", "Upgrade": SPDY, "X-Stream-Protocol-Version": protocol}
        else:
            method = "GET"
            if way is Way.TUNNEL:
                protocol, client = tunnelled.PROTOCOL, TunnelledClient()
            else:
                protocol, client = channels.PROTOCOL, SingleForward(port)
                where += f"?ports={port}"
            headers = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": key,
                "Sec-WebSocket-Protocol": protocol,
            }
        answer = self._session.upgrade(where, headers, seconds, method)
        # urllib3 has no public name for what the answer's head was read from; frames may be in its buffer.
        untyped: Any = answer
        connection = untyped.connection.sock if untyped.connection is not None else None
        if answer.status != 101 or connection is None:
            refused = _Refused(answer.status, _message(answer))
            answer.close()
            raise refused
        chosen = answer.headers.get(
            "X-Stream-Protocol-Version" if way is Way.SPDY else "Sec-WebSocket-Protocol", ""
        )
        accepted = answer.headers.get("Sec-WebSocket-Accept", "")
        if chosen != protocol or (way is not Way.SPDY and accepted != accept_key(key)):
            answer.close()
            untyped.connection.close()
            raise _Refused(
                101, f"the server switches to another protocol ({chosen or 'none'}) than was asked for"
            )
        return _carrier(untyped, client, way)

    def _failure(self, namespace: str, pod: str, refusals: list[tuple[Way, _Refused]]) -> SvcdoctorError:
        statuses = {refused.status for _, refused in refusals}
        message = refusals[-1][1].message
        if 404 in statuses:
            return SvcdoctorError(f"no pod {pod} in namespace {namespace}", 1)
        if 403 in statuses:
            forbidden = next(refused.message for _, refused in refusals if refused.status == 403)
            return Forbidden(
                f"{forbidden}; port-forward needs the verbs get and create on pods/portforward in namespace "
                f"{namespace}: kubectl create role portforward -n {namespace} --verb=get,create "
                "--resource=pods/portforward",
                3,
            )
        if len(refusals) == 1:
            if "error dialing backend" in message:
                message += (
                    "; the API server does not reach the kubelet of the pod's node: see kubectl get nodes"
                )
            return SvcdoctorError(f"cannot forward to pod {namespace}/{pod}: {message}", 3)
        each = "; ".join(f"{way.value}: {refused.message}" for way, refused in refusals)
        return SvcdoctorError(f"{self._session.place} forwards by no protocol that is known here ({each})", 3)


def _carrier(answer: Any, client: Client, way: Way) -> Carrier:
    """Takes the connection away from urllib3, which would close it with the answer."""
    http, answer._connection = answer.connection, None
    connection, http.sock = http.sock, None
    if not isinstance(connection, socket.socket):
        connection.close()
        raise SvcdoctorError("port-forward through a proxy that is spoken to over HTTPS is not possible", 3)
    connection.setblocking(False)
    received = b""
    with contextlib.suppress(ssl.SSLWantReadError, BlockingIOError):
        while chunk := answer._fp.fp.read1(_CHUNK):
            received += chunk
    return Carrier(connection, client, way, received)


def _is_about_the_pod(refused: _Refused) -> bool:
    """Whether another protocol would meet the same: the pod is not running, or its node cannot be reached."""
    return any(
        words in refused.message
        for words in (
            "is not running",
            "error dialing backend",
            "sandbox",
            "pod not found",
        )
    )


def _message(answer: BaseHTTPResponse) -> str:
    """What a refusal says: the API server in a Status, the kubelet and the runtime in plain text."""
    try:
        body = answer.read(_CHUNK)
    except (HTTPError, OSError):
        body = b""
    try:
        message = _STATUS.decode(body).message
    except msgspec.DecodeError:
        plain = answer.headers.get("Content-Type", "").startswith("text/plain")
        message = body.decode("utf-8", "replace")[:_SHOWN] if plain else ""
    return " ".join(message.partition(": RBAC: ")[0].split()) or f"HTTP status {answer.status}"
