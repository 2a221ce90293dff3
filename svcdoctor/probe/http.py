"""HTTP/1.1: one request, the answer's status, and who answered. What is read is bounded.

Specification: RFC 9110, RFC 9112
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import h11

from svcdoctor.model.observed import Aim, Met, Speaks
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.exchange import Exchange
from svcdoctor.probe.failing import Failed
from svcdoctor.probe.secured import Secured
from svcdoctor.probe.spoken import WORDS, shown, speaks
from svcdoctor.probe.tls import handshake, summary
from svcdoctor.probe.who import who

BODY = 64 << 10
"""Bytes of a body that are read."""

_HEAD = 64 << 10  # bytes of a head
_MOST = 512 << 10  # bytes that are read at all, whatever they are


def request(aim: Aim) -> bytes:
    """The request's bytes: GET, or POST where there is a payload."""
    client = h11.Connection(h11.CLIENT)
    body = aim.sent
    headers = [("Host", host(aim)), ("User-Agent", "svcdoctor"), ("Accept", "*/*"), ("Connection", "close")]
    if body:
        headers += [("Content-Type", "application/octet-stream"), ("Content-Length", str(len(body)))]
    said = h11.Request(method="POST" if body else "GET", target=aim.path or "/", headers=headers)
    sent = client.send(said) or b""
    if body:
        sent += client.send(h11.Data(data=body)) or b""
    return sent


def host(aim: Aim) -> str:
    """The Host header: the name that is used, with the port where it is not the scheme's."""
    name = aim.host or (f"[{aim.ip}]" if ":" in aim.ip else aim.ip)
    return name if aim.port == (443 if aim.tls else 80) else f"{name}:{aim.port}"


@dataclass(slots=True)
class Reading:
    """An answer that is being read, byte by byte as it comes."""

    names: tuple[str, ...] = ()
    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    size: int = 0
    cut: bool = False
    _raw: bytes = b""
    _parser: h11.Connection = field(
        default_factory=lambda: h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
    )

    def __post_init__(self) -> None:
        # The parser wants to know that something was asked; not HEAD, so that there may be a body.
        self._parser.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._parser.send(h11.EndOfMessage())

    def feed(self, data: bytes) -> bool:
        """Take bytes, none at the end; whether the answer is whole. Raises `Failed`."""
        self._raw = (self._raw + data)[:256] if len(self._raw) < 256 else self._raw
        self.size += len(data)
        spoken = speaks(self._raw)
        if spoken is not None and not self._raw.startswith(
            b"HTTP/1."
        ):  # before its end, which may never come
            raise self._other(spoken)
        try:
            self._parser.receive_data(data)
            while True:
                event = self._parser.next_event()
                if event is h11.NEED_DATA:
                    break
                if isinstance(event, h11.Response):
                    self.status, self.headers = event.status_code, [*event.headers]
                elif isinstance(event, h11.Data):
                    self.body += bytes(event.data)
                elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)) or event is h11.PAUSED:
                    return True
                if len(self.body) > BODY:
                    self.cut = True
                    return True
        except h11.RemoteProtocolError as e:
            raise self._failed(data, e) from None
        if self.size > _MOST:
            raise Failed(Met.GARBLED, f"no end of the answer within {_MOST >> 10} KiB")
        return False

    def _failed(self, data: bytes, error: h11.RemoteProtocolError) -> Failed:
        if not self._raw:
            return Failed(Met.CLOSED, "closed without an answer")
        if not data:
            return Failed(Met.CLOSED, f"closed after {self.size:,} bytes, in the middle of the answer")
        return Failed(Met.GARBLED, f"no HTTP/1.1: {error} ({shown(self._raw)})")

    def _other(self, spoken: Speaks) -> Failed:
        if spoken is Speaks.HTTP:
            return Failed(Met.GARBLED, f"no HTTP/1.1: a page without a head ({shown(self._raw)})")
        return Failed(Met.GARBLED, f"no HTTP/1.1: {WORDS[spoken]} ({shown(self._raw)})", spoken)

    def answer(self) -> Answer:
        """What the answer was."""
        spoken = speaks(self._raw + b"\r\n" + self.body[:1024])
        notes = []
        if spoken is Speaks.TLS:
            notes.append(WORDS[Speaks.TLS])
        if self.cut:
            notes.append(f"the body is longer than {BODY >> 10} KiB; the rest was not read")
        wanted = spoken if spoken is Speaks.TLS else None
        return Answer(who(self.body, self.names, self.headers), str(self.status), "; ".join(notes), wanted)


async def http(exchange: Exchange, aim: Aim, names: tuple[str, ...]) -> Answer:
    """The answer to one request."""
    stream: Exchange | Secured = exchange
    certificate = None
    if aim.tls:
        stream, certificate = await handshake(exchange, aim, "http/1.1")
    # Servers may answer, and close, before they have taken a large request whole.
    sending = asyncio.ensure_future(stream.send(request(aim)))
    try:
        reading = Reading(names)
        while not reading.feed(await stream.receive()):
            pass
    finally:
        sending.cancel()
        await asyncio.wait([sending])
        if not sending.cancelled():
            sending.exception()  # whatever it was: the answer tells
    answer = reading.answer()
    detail = "; ".join(filter(None, (answer.detail, summary(certificate) if certificate else "")))
    return Answer(answer.who, answer.status, detail, answer.speaks, certificate)
