"""Switching a request's connection to another protocol: WebSocket and SPDY handshakes.

Specification: RFC 6455, section 4; https://kubernetes.io/docs/reference/using-api/api-concepts/ and, for SPDY,
k8s.io/apimachinery/pkg/util/httpstream
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import formatdate

from websockets.utils import accept_key

from svcdoctor.lab.requests import Request
from svcdoctor.lab.status import bad_request


def asked_upgrade(request: Request) -> str:
    """The protocol that the client wants to switch to, in small letters. Raises `ApiError` 400 where it does not
    want to."""
    wanted = str(request.headers.get("Upgrade", "")).lower()
    if not wanted or "upgrade" not in str(request.headers.get("Connection", "")).lower():
        raise bad_request("Upgrade request required")
    return wanted


def header_words(request: Request, name: str) -> list[str]:
    """The comma-separated words of a header, from all its lines."""
    lines = request.headers.get_all(name) or []
    return [word for line in lines for part in str(line).split(",") if (word := part.strip())]


def switch_to_websocket(request: Request, protocol: str) -> None:
    """Accept with a subprotocol, or with none where it is empty. Raises `ApiError` 400."""
    key = request.headers.get("Sec-WebSocket-Key", "")
    if request.method != "GET" or not key:
        raise bad_request("a WebSocket begins with a GET that has a Sec-WebSocket-Key")
    headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept_key(key)}
    if protocol:
        headers["Sec-WebSocket-Protocol"] = protocol
    _switch(request, headers)


def switch_to_spdy(request: Request, protocol: str) -> None:
    """Accept SPDY/3.1 with a version of the protocol on it."""
    headers = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": protocol}
    _switch(request, headers | {"Date": formatdate(usegmt=True)})


def sent_ahead(request: Request) -> bytes:
    """What the client has sent after the request's head and is not on the connection any more, which is
    non-blocking from here on."""
    request.connection.setblocking(False)
    try:
        return request.reader.read1(1 << 16) or b""
    except OSError:  # nothing was held, and nothing has arrived
        return b""


def _switch(request: Request, headers: Mapping[str, str]) -> None:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join(["HTTP/1.1 101 Switching Protocols", *lines, "", ""])
    request.connection.sendall(head.encode("latin-1"))
