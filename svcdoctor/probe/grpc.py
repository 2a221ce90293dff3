"""gRPC's health: grpc.health.v1.Health/Check over HTTP/2, with prior knowledge or in TLS.

The two messages are one field each, so they are written and read here:

    message HealthCheckRequest { string service = 1; }
    message HealthCheckResponse { enum ServingStatus {…} ServingStatus status = 1; }

Specification: https://github.com/grpc/grpc/blob/master/doc/health-checking.md,
https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, RFC 9113
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import unquote

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from svcdoctor.model.observed import Aim, Met, Speaks
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.exchange import Exchange
from svcdoctor.probe.failing import Failed
from svcdoctor.probe.http import host
from svcdoctor.probe.secured import Secured
from svcdoctor.probe.spoken import WORDS, shown, speaks
from svcdoctor.probe.tls import handshake, summary
from svcdoctor.probe.who import who

PATH = "/grpc.health.v1.Health/Check"

_MOST = 64 << 10  # bytes that are read
_SERVING = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip
_UNIMPLEMENTED = "it speaks gRPC, without the health service: nothing else can be asked of it"


@dataclass(slots=True)
class Call:
    """One call, bytes in and out."""

    aim: Aim
    size: int = 0
    _raw: bytes = b""
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _message: bytes = b""
    _peer: h2.connection.H2Connection = field(
        default_factory=lambda: h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding=None)
        )
    )

    def start(self) -> bytes:
        """The preface, the settings, and the request."""
        name = self.aim.path.encode()
        message = b"\x0a" + _varint(len(name)) + name if name else b""
        self._peer.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", "https" if self.aim.tls else "http"),
            (":path", PATH),
            (":authority", host(self.aim)),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "svcdoctor"),
        ]
        self._peer.send_headers(1, headers)
        self._peer.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message, end_stream=True)
        return self._peer.data_to_send()

    def feed(self, data: bytes) -> bool:
        """Take bytes, none at the end; whether the answer is whole. Raises `Failed`."""
        self._raw = (self._raw + data)[:256] if len(self._raw) < 256 else self._raw
        self.size += len(data)
        if self._raw and speaks(self._raw) not in (None, Speaks.HTTP2):
            spoken = speaks(self._raw) or Speaks.OTHER
            raise Failed(Met.GARBLED, f"no gRPC: {WORDS[spoken]} ({shown(self._raw)})", spoken)
        if not data:
            after = f" after {self.size:,} bytes" if self.size else ""
            raise Failed(Met.CLOSED, f"closed{after} without an answer")
        try:
            events = self._peer.receive_data(data)
        except (h2.exceptions.ProtocolError, ValueError) as e:
            raise Failed(Met.GARBLED, f"no HTTP/2: {type(e).__name__} {e} ({shown(self._raw)})") from None
        for event in events:
            if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
                self._headers |= {bytes(name): bytes(value) for name, value in event.headers or ()}
            elif isinstance(event, h2.events.DataReceived):
                self._message += bytes(event.data or b"")
            elif isinstance(event, h2.events.StreamEnded):
                return True
            elif isinstance(event, h2.events.StreamReset):
                raise Failed(Met.RESET, f"the stream was reset with HTTP/2 error {event.error_code}")
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise Failed(Met.CLOSED, f"closed with HTTP/2 error {event.error_code}")
        if self.size > _MOST:
            raise Failed(Met.GARBLED, f"no end of the answer within {_MOST >> 10} KiB")
        return False

    def outgoing(self) -> bytes:
        """Acknowledgements that wait to be sent."""
        return self._peer.data_to_send()

    def answer(self, names: tuple[str, ...]) -> Answer:
        """What the answer was: the health, else gRPC's or HTTP's status."""
        status = self._headers.get(b":status", b"").decode("latin-1")
        code = self._headers.get(b"grpc-status", b"").decode("latin-1")
        said = shown(unquote(self._headers.get(b"grpc-message", b"").decode("latin-1")).encode(), 200)
        by = who(b"", names, self._headers.items())
        if not code:
            return Answer(by, status, f"no gRPC: HTTP/2 with status {status}", Speaks.HTTP2)
        if code != "0":
            name = _CODES[int(code)] if code.isdecimal() and int(code) < len(_CODES) else f"code {code}"
            return Answer(by, name, _UNIMPLEMENTED if name == "UNIMPLEMENTED" else said)
        health = _health(self._message)
        return Answer(by, _SERVING[health] if health < len(_SERVING) else f"health {health}")


def _varint(number: int) -> bytes:
    return bytes((number,)) if number < 0x80 else bytes((number & 0x7F | 0x80,)) + _varint(number >> 7)


def _health(data: bytes) -> int:
    """The status of a message of gRPC's framing; an enumeration's 0 is not sent."""
    message = data[5 : 5 + int.from_bytes(data[1:5], "big")]
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0


async def grpc(exchange: Exchange, aim: Aim, names: tuple[str, ...]) -> Answer:
    """The answer to one health check."""
    stream: Exchange | Secured = exchange
    certificate = None
    if aim.tls:
        stream, certificate = await handshake(exchange, aim, "h2")
    call = Call(aim)
    await stream.send(call.start())
    while not call.feed(await stream.receive()):
        if data := call.outgoing():
            await stream.send(data)
    answer = call.answer(names)
    detail = "; ".join(filter(None, (answer.detail, summary(certificate) if certificate else "")))
    return Answer(answer.who, answer.status, detail, answer.speaks, certificate)
