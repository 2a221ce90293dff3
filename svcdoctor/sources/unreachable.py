"""Why the API server could not be asked, in one line that names the server and says what to do.

What may live here: errors in, SvcdoctorError out. No secret gets into a message: neither headers nor
anything out of a kubeconfig but names, addresses and dates.
"""

from __future__ import annotations

import base64
import binascii
import errno
import json
import ssl
from datetime import UTC, datetime
from http.client import BadStatusLine, RemoteDisconnected
from pathlib import Path
from urllib.parse import urlsplit

from urllib3 import exceptions

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.apitarget import Target
from svcdoctor.sources.credentials import Client

# OpenSSL's X509_V_ERR_*: what is wrong with a server's certificate.
_NOT_YET_VALID = 9
_EXPIRED = 10
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21, 24})
_WRONG_NAME = frozenset({62, 64})


def unreachable(error: Exception, target: Target, client: Client, waited: float) -> SvcdoctorError:
    """The error for an exception of urllib3's; ``waited`` is how long was waited, in seconds."""
    return SvcdoctorError(_line(error, target, client, waited), 3)


def _line(error: Exception, target: Target, client: Client, waited: float) -> str:
    place = target.place
    if isinstance(error, exceptions.ProxyError):
        return (
            f"{place}: the proxy {client.proxy} does not let the request through: {_text(_root(error))}; check "
            "proxy-url in the kubeconfig, or HTTPS_PROXY and NO_PROXY in the environment"
        )
    if isinstance(error, exceptions.NameResolutionError):
        host = urlsplit(client.proxy or target.server).hostname
        return (
            f"{place}: the host name {host} cannot be resolved; check the server's name in the kubeconfig, "
            "this machine's DNS and the VPN"
        )
    if isinstance(error, exceptions.SSLError):
        return f"{place}: {_tls(_root(error), target)}"
    if isinstance(error, exceptions.NewConnectionError):
        return f"{place} {_not_connected(_root(error))}"
    if isinstance(error, exceptions.TimeoutError):
        return (
            f"{place} did not answer within {waited:.3g} s; check the address, the VPN and firewalls, or allow "
            "more with --request-timeout"
        )
    if isinstance(error, exceptions.LocationValueError):
        return f"{place}: the server is no URL; it must look like https://HOST:PORT"
    cause = _root(error)
    if isinstance(cause, BadStatusLine) and not isinstance(cause, RemoteDisconnected):
        return f"{place} does not speak HTTP; check the address and the port"
    return (
        f"{place} cut the connection: {_text(cause)}; check that it is the address of an API server, "
        "and what stands between"
    )


def _not_connected(cause: BaseException) -> str:
    number = cause.errno if isinstance(cause, OSError) else None
    if number == errno.ECONNREFUSED:
        return (
            "refused the connection: nothing listens there; check that the API server runs and that this is "
            "its address"
        )
    if number in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return "cannot be reached: there is no route to it; check the network and the VPN"
    return f"cannot be reached: {_text(cause)}; check the address and the network"


def _tls(cause: BaseException, target: Target) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        if cause.verify_code == _EXPIRED:
            return (
                "the server's certificate has expired; renew it (kubeadm certs renew apiserver), or correct "
                "this machine's clock"
            )
        if cause.verify_code == _NOT_YET_VALID:
            return "the server's certificate is not valid yet; correct this machine's clock"
        if cause.verify_code in _UNKNOWN_AUTHORITY:
            return (
                "the server's certificate is signed by an unknown authority; put the cluster's own into "
                "certificate-authority-data, or name it with --certificate-authority"
            )
        if cause.verify_code in _WRONG_NAME:
            host = target.cluster.get("tls-server-name") or urlsplit(target.server).hostname
            return (
                f"the server's certificate is not valid for {host}; use an address that stands in it, or name "
                "one with --tls-server-name"
            )
        return f"the server's certificate is refused: {cause.verify_message}"
    if isinstance(cause, ssl.SSLEOFError):
        return "the server closes the connection instead of speaking TLS; check the port, and what stands between"
    reason = str(getattr(cause, "reason", None) or cause)
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return "the server does not speak TLS; check the port, or use http://"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        words = reason.replace("_", " ").lower()
        return f'the server refuses the client certificate of user "{target.user}" ({words}); renew it'
    return f"TLS fails: {reason.replace('_', ' ').lower()}"


def unauthorized(target: Target, client: Client) -> SvcdoctorError:
    """The error for 401: whose credentials were refused, and since when they are out of date if they are."""
    expired = _token_expiry(client) or _certificate_expiry(client)
    why = f"; {expired}" if expired else ""
    if target.user:
        return SvcdoctorError(
            f'{target.place}: 401 Unauthorized: the credentials of user "{target.user}" are refused{why}; '
            "log in again, or choose another user with --user or --context",
            3,
        )
    return SvcdoctorError(
        f"{target.place}: 401 Unauthorized: the credentials are refused{why}; name valid ones with --token, "
        "--user or --context",
        3,
    )


def _token_expiry(client: Client) -> str:
    """Whether the bearer token is a JSON Web Token (RFC 7519) that has expired, in words."""
    parts = str(client.headers.get("Authorization", "")).split(".")
    if len(parts) != 3:
        return ""
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        expiry = datetime.fromtimestamp(claims["exp"], UTC)
    except (binascii.Error, ValueError, KeyError, TypeError, OverflowError, OSError):
        return ""
    return f"the token expired at {_date(expiry)}" if expiry < datetime.now(UTC) else ""


def _certificate_expiry(client: Client) -> str:
    if not client.certificate:
        return ""
    from cryptography.x509 import load_pem_x509_certificate

    try:
        expiry = load_pem_x509_certificate(Path(client.certificate).read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        return ""
    return f"the client certificate expired at {_date(expiry)}" if expiry < datetime.now(UTC) else ""


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def _root(error: BaseException) -> BaseException:
    """The exception at the bottom: urllib3 wraps what went wrong once or twice."""
    for inner in (error.__cause__, *reversed(error.args)):
        if isinstance(inner, BaseException):
            return _root(inner)
    return error


def _text(error: BaseException) -> str:
    strerror = error.strerror if isinstance(error, OSError) else None
    return strerror or " ".join(str(error).split()) or type(error).__name__
