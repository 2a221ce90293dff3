"""TLS over a stream, with whatever certificate the server shows: it is inspected, not trusted.

Nothing secret is ever sent over it. The handshake is driven through memory so that what came instead of one can be
told: an alert, plain HTTP, an end.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Any

from svcdoctor.model.observed import Met, Speaks
from svcdoctor.probe.exchange import READ, Exchange
from svcdoctor.probe.failing import Failed
from svcdoctor.probe.spoken import WORDS, shown, speaks

CUT = "closed in the middle of the TLS handshake"

_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server asks for a client certificate (mutual TLS)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": (
        "the server refuses the handshake: no cipher in common, or it asks for a client certificate"
    ),
    "SSLV3_ALERT_BAD_CERTIFICATE": "the server asks for a client certificate (mutual TLS)",
    "TLSV1_UNRECOGNIZED_NAME": "the server has no certificate for the name that was sent (SNI)",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the server speaks no version of TLS that is known here",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the server does not speak this protocol over TLS (ALPN)",
    "UNSUPPORTED_PROTOCOL": "the server speaks no version of TLS that is known here",
}


@functools.cache
def context(*protocols: str) -> ssl.SSLContext:
    """Takes every certificate, and every version and cipher that OpenSSL still has, so that old servers are seen."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    made.set_ciphers("ALL:@SECLEVEL=0")
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made


def no_handshake(reason: str) -> Failed:
    """What OpenSSL's reason means."""
    if reason == "UNEXPECTED_EOF_WHILE_READING":
        return Failed(Met.CLOSED, CUT)
    text = shown(reason.lower().replace("_", " ").encode())
    return Failed(Met.TLS_FAILED, _ALERTS.get(reason, f"TLS failed: {text}"))


class Secured:
    """The same exchange inside TLS."""

    def __init__(self, exchange: Exchange, host: str, *protocols: str) -> None:
        """``host`` is the name to be sent (SNI), empty for none; ``protocols`` are ALPN's."""
        self._exchange = exchange
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context(*protocols).wrap_bio(self._in, self._out, server_hostname=host or None)
        self._flushing = asyncio.Lock()  # records must not mix when one task sends and another one receives

    async def handshake(self) -> None:
        """Shake hands. Raises `Failed`, or OSError."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    raise self._ended() from None
            except ssl.SSLError as e:
                raise self._failed(e) from None
            else:
                await self._flush()
                self._exchange.secured, self._exchange.received = True, 0
                return

    async def receive(self) -> bytes:
        """As a stream does; an end without TLS's own is an end too."""
        while True:
            try:
                data = self._tls.read(READ)
            except ssl.SSLWantReadError:
                await self._flush()
                if not await self._fill():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""
            except ssl.SSLError as e:
                raise self._failed(e) from None
            else:
                self._exchange.received += len(data)
                return data

    async def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view[:READ]) :]
            await self._flush()

    @property
    def version(self) -> str:
        """As OpenSSL names it: TLSv1.3."""
        return self._tls.version() or ""

    @property
    def protocol(self) -> str:
        """What ALPN agreed on, empty for nothing."""
        return self._tls.selected_alpn_protocol() or ""

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """What the server sent, its own first, in DER."""
        untyped: Any = self._tls
        if hasattr(untyped, "get_unverified_chain"):  # public since Python 3.13
            return tuple(untyped.get_unverified_chain())
        chain = untyped._sslobj.get_unverified_chain() or ()
        return tuple(ssl.PEM_cert_to_DER_cert(one.public_bytes()) for one in chain)

    async def _flush(self) -> None:
        async with self._flushing:
            if data := self._out.read():
                await self._exchange.send(data)

    async def _fill(self) -> bool:
        data = await self._exchange.receive()
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
        return bool(data)

    def _ended(self) -> Failed:
        head = self._exchange.head
        if head and speaks(head) is not Speaks.TLS:
            return self._no_tls(head)
        return Failed(Met.CLOSED, CUT)

    def _failed(self, error: ssl.SSLError) -> Failed:
        head = self._exchange.head
        spoken = speaks(head)
        if spoken is not None and spoken is not Speaks.TLS:
            return self._no_tls(head)
        return no_handshake(error.reason or str(error))

    @staticmethod
    def _no_tls(head: bytes) -> Failed:
        spoken = speaks(head) or Speaks.OTHER
        return Failed(Met.TLS_FAILED, f"no TLS: {WORDS[spoken]} ({shown(head)})", spoken)
