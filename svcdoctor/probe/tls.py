"""TLS: a handshake, and the certificate that the server shows for the name that is used."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress

from svcdoctor.model.observed import Aim, Certificate
from svcdoctor.probe.answer import Answer
from svcdoctor.probe.certificates import inspected
from svcdoctor.probe.exchange import Exchange
from svcdoctor.probe.secured import Secured

_ALERT_SECONDS = 0.15
"""In TLS 1.3 a server that wants a client's certificate says so after the client's side of the handshake is over."""


async def tls(exchange: Exchange, aim: Aim, names: tuple[str, ...]) -> Answer:
    """The handshake is the answer."""
    secured, certificate = await handshake(exchange, aim)
    if secured.version == "TLSv1.3":
        with contextlib.suppress(TimeoutError, ConnectionError):
            await asyncio.wait_for(secured.receive(), _ALERT_SECONDS)
    return Answer(status=secured.version, detail=summary(certificate), certificate=certificate)


async def handshake(exchange: Exchange, aim: Aim, *protocols: str) -> tuple[Secured, Certificate | None]:
    """The exchange inside TLS, and the certificate. Raises `Failed`."""
    name = "" if _is_address(aim.host) else aim.host
    secured = Secured(exchange, name, *protocols)
    await secured.handshake()
    return secured, _inspected(secured.certificates, aim.host or aim.ip, secured.version)


def summary(certificate: Certificate | None) -> str:
    """The certificate's problems in one line."""
    if certificate is None:
        return "the server shows no certificate"
    return "; ".join(line for _, line in certificate.problems)


@functools.lru_cache(maxsize=1024)
def _inspected(chain: tuple[bytes, ...], host: str, version: str) -> Certificate | None:
    """Once for all tries: reading certificates takes longer than a handshake on a LAN."""
    return inspected(chain, host, version)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
