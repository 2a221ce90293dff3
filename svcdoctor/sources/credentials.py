"""From a target to a client: the ``kubernetes`` package's authentication and connection pool.

Theory. Tokens, certificates, basic authentication, auth-providers (OIDC) and proxies are the package's.
Three things are done here, because it does them otherwise than kubectl: an exec plugin's failure is an error
and not a request without credentials; a token file's line end is no part of the token; and certificates are
verified by Go's rules, which accept authorities that Python's strict ones do not.

Specification: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from urllib3 import HTTPHeaderDict, PoolManager, disable_warnings
from urllib3.exceptions import InsecureRequestWarning
from urllib3.util.ssl_ import create_urllib3_context

from svcdoctor import __version__
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.apitarget import Target
from svcdoctor.sources.authprovider import prepared

CONNECTIONS = 8
"""Connections that are kept open: as many as lists are asked for at once, and some for others."""


@dataclass(frozen=True, slots=True)
class Client:
    """A connection pool and the headers of each request.

    ``expires`` is when the credentials do, in seconds since 1970; ``renewable`` tells whether making a new
    client may get newer ones. ``proxy`` is the proxy's URL without its password. ``certificate`` is the
    file of the client certificate.
    """

    pool: PoolManager
    headers: HTTPHeaderDict
    expires: float | None
    renewable: bool
    proxy: str
    certificate: str | None


def connect(target: Target) -> Client:
    """A client for the target. Runs its exec plugin, if there is one.

    Raises SvcdoctorError: exit code 2 for credentials that are malformed or missing, 3 for a plugin or an
    auth-provider that fails.
    """
    from kubernetes.client import Configuration
    from kubernetes.client.rest import RESTClientObject

    credentials = dict(target.credentials)
    renewable = any(key in credentials for key in ("exec", "tokenFile", "auth-provider"))
    expires = None
    if not credentials.get("token"):
        if credentials.get("tokenFile"):
            credentials["token"] = _read_token(credentials["tokenFile"])
        elif "exec" in credentials:
            expires = _run_plugin(target, credentials)
    for used in ("tokenFile", "exec"):
        credentials.pop(used, None)

    configuration: Any = Configuration()
    _load(configuration, target, credentials)
    configuration.connection_pool_maxsize = CONNECTIONS
    if target.cluster.get("proxy-url"):
        configuration.no_proxy = None  # the kubeconfig's proxy is meant for this very server
    elif _is_loopback(target.server):
        configuration.proxy = None  # Go's clients never ask a proxy of the environment for these
    try:
        pool: PoolManager = RESTClientObject(configuration).pool_manager
    except ImportError as e:
        raise SvcdoctorError(
            f"{target.place}: the proxy needs a package that is not installed: {e}"
        ) from None
    except ValueError as e:
        raise SvcdoctorError(f"{target.place}: proxy {without_password(configuration.proxy)}: {e}") from None
    if target.server.startswith("https:"):
        _verify_as_go_does(pool, configuration, target)
    return Client(
        pool,
        _headers(configuration, target),
        expires,
        renewable,
        without_password(configuration.proxy or ""),
        configuration.cert_file,
    )


def _load(configuration: Any, target: Target, credentials: dict[str, Any]) -> None:
    from kubernetes.config.kube_config import KubeConfigLoader

    name, persist = "target", target.save
    provider = credentials.get("auth-provider")
    if isinstance(provider, dict):
        fields, persist = prepared(provider, target.save)
        credentials = credentials | {"auth-provider": fields}
    config = {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "clusters": [{"name": name, "cluster": {k: v for k, v in target.cluster.items() if v}}],
        "users": [{"name": name, "user": credentials}],
    }
    untyped: Any = KubeConfigLoader
    try:
        untyped(config, config_base_path="", config_persister=persist).load_and_set(configuration)
    except SvcdoctorError:
        raise
    except Exception as e:
        # The package lets through whatever its parts raise: for a file that is missing, for base64 that is
        # none, and for an identity provider that does not answer.
        problem = " ".join(str(e).split()) or type(e).__name__
        if isinstance(provider, dict):
            raise SvcdoctorError(
                f'{target.place}: the auth-provider "{provider.get("name")}" of user "{target.user}" gives no '
                f"token: {problem}; log in again, or use an exec plugin",
                3,
            ) from None
        raise SvcdoctorError(f"{target.place}: {problem}; mend the kubeconfig") from None
    if isinstance(provider, dict) and not configuration.api_key:
        raise SvcdoctorError(
            f'{target.place}: the auth-provider "{provider.get("name")}" of user "{target.user}" is not '
            "supported, or its token is malformed; use an exec plugin",
            3,
        )


def _read_token(path: str) -> str:
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as e:
        problem = (e.strerror if isinstance(e, OSError) else None) or "not text"
        raise SvcdoctorError(f"token file {path}: cannot be read: {problem}") from None
    if not token:
        raise SvcdoctorError(f"token file {path}: it is empty")
    return token


def _run_plugin(target: Target, credentials: dict[str, Any]) -> float | None:
    """Puts what the exec plugin answers into ``credentials``; returns when it expires, if it says so.

    Specification: https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
    """
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.config.exec_provider import ExecProvider
    from kubernetes.config.kube_config import ConfigNode

    plugin = credentials["exec"] if isinstance(credentials["exec"], dict) else {}
    named = f'{target.place}: the exec plugin "{plugin.get("command", "")}" of user "{target.user}"'
    untyped_provider: Any = ExecProvider
    untyped_node: Any = ConfigNode
    try:
        cluster = untyped_node("cluster", target.cluster)
        status = untyped_provider(untyped_node("exec", plugin), None, cluster).run()
        if not isinstance(status, dict):
            raise ConfigException("its answer has no status")
        certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
        if not status.get("token") and not (certificate and key):
            raise ConfigException("its answer has neither a token nor a client certificate with its key")
        if status.get("token"):
            credentials["token"] = str(status["token"])
        if certificate and key:
            credentials["client-certificate-data"] = base64.b64encode(certificate.encode()).decode()
            credentials["client-key-data"] = base64.b64encode(key.encode()).decode()
        expiry = status.get("expirationTimestamp")
        return datetime.fromisoformat(expiry).timestamp() if expiry else None
    except FileNotFoundError:
        hint = " ".join(str(plugin.get("installHint") or "install it or correct PATH").split())
        raise SvcdoctorError(f"{named} is not installed: {hint}", 3) from None
    except OSError as e:
        raise SvcdoctorError(f"{named} cannot be run: {e.strerror or e}", 3) from None
    except AttributeError:
        # On a terminal the package hands the plugin's stderr through, and then stumbles over having none.
        raise SvcdoctorError(f"{named} failed; its own message stands above", 3) from None
    except (ConfigException, TypeError, ValueError, KeyError) as e:
        problem = " ".join(str(e).removeprefix("exec: ").split())[:300]
        raise SvcdoctorError(f"{named} failed: {problem}", 3) from None


def _verify_as_go_does(pool: PoolManager, configuration: Any, target: Target) -> None:
    """One TLS context for all connections, with what kubectl trusts.

    Python 3.13 and later demands key identifiers in authorities' certificates (VERIFY_X509_STRICT), which
    those of many clusters lack; and Go accepts any certificate of the bundle as an anchor.
    """
    context = create_urllib3_context(
        cert_reqs=ssl.CERT_REQUIRED if configuration.verify_ssl else ssl.CERT_NONE,
        verify_flags=ssl.VERIFY_X509_PARTIAL_CHAIN,
    )
    authority, certificate, key = configuration.ssl_ca_cert, configuration.cert_file, configuration.key_file
    try:
        if authority:
            context.load_verify_locations(authority)
        elif configuration.verify_ssl:
            context.load_default_certs()
    except (OSError, ValueError):
        where = target.cluster.get("certificate-authority", "certificate-authority-data")
        raise SvcdoctorError(f"{target.place}: {where}: no certificate in PEM form in it") from None
    try:
        if certificate:
            context.load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as e:
        problem = getattr(e, "reason", None) or e
        raise SvcdoctorError(
            f'{target.place}: the client certificate and key of user "{target.user}" cannot be used: {problem}'
        ) from None
    if not configuration.verify_ssl:
        disable_warnings(InsecureRequestWarning)  # the user said so; once per request is no help
    pool.connection_pool_kw["ssl_context"] = context
    for loaded in ("ca_certs", "cert_file", "key_file"):
        pool.connection_pool_kw.pop(loaded, None)


def _headers(configuration: Any, target: Target) -> HTTPHeaderDict:
    headers = HTTPHeaderDict(
        {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"svcdoctor/{__version__}"}
    )
    for setting in configuration.auth_settings().values():
        headers["Authorization"] = _header(target, "Authorization", setting["value"])
    for name, value in target.headers:
        headers.add(name, _header(target, name, value))
    return headers


def _header(target: Target, name: str, value: str) -> str:
    """A header's value as http.client takes it, which writes Latin-1; API servers read UTF-8."""
    if not value.isprintable():
        raise SvcdoctorError(
            f"{target.place}: the header {name} cannot be sent: its value holds a control character"
        )
    return value.encode().decode("latin-1")


def without_password(url: str) -> str:
    """The URL without user and password, fit to be shown."""
    scheme, mark, rest = url.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def _is_loopback(server: str) -> bool:
    host = urlsplit(server).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
