"""What the command line says about reaching the API, and opening it.

Theory. The flags are kubectl's own, and they are laid over the kubeconfig as kubectl does it: a context
chooses cluster, user and namespace; --cluster and --user choose others; --server, --token and the rest
replace single fields. In a pod without a kubeconfig its service account takes their place. The outcome is a
``Target``, plain values; ``credentials`` makes a client of it and ``session`` asks the questions.

Specification: https://kubernetes.io/docs/reference/kubectl/generated/kubectl_options/
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.apitarget import Target
from svcdoctor.sources.authprovider import saver
from svcdoctor.sources.impersonation import impersonation
from svcdoctor.sources.kubeconfig import Kubeconfig, near, read_kubeconfig

if TYPE_CHECKING:
    from svcdoctor.sources.session import ApiSession

DEFAULT_TIMEOUT = "30s"
"""kubectl waits for ever where nothing is said; a diagnosis must not hang."""

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own credentials."""

IN_CLUSTER = "in-cluster"
"""The name of the service account's context in messages."""


@dataclass(frozen=True, slots=True)
class Connection:
    """kubectl's connection flags, each under its own name; what is not said is empty.

    ``request_timeout`` is in kubectl's syntax: whole seconds or a duration such as "500ms", "30s", "1m";
    "0" is no timeout.
    """

    kubeconfig: Path | None = None
    context: str = ""
    cluster: str = ""
    user: str = ""
    namespace: str = ""
    as_user: str = ""
    as_groups: tuple[str, ...] = ()
    as_uid: str = ""
    server: str = ""
    # A token is a secret: it stays out of what a traceback or a log shows of this value.
    token: str = field(default="", repr=False)
    certificate_authority: Path | None = None
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    client_certificate: Path | None = None
    client_key: Path | None = None
    request_timeout: str = DEFAULT_TIMEOUT


def open_connection(
    connection: Connection,
    *,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> ApiSession:
    """A session with the API server that the flags, the environment and the kubeconfig lead to.

    Nothing is sent yet, but an exec plugin may be run. Raises SvcdoctorError: exit code 2 for bad flags, a
    kubeconfig that is missing or malformed, and names that it does not have; 3 for a failing exec plugin.
    """
    # urllib3 and kubernetes take a third of a second to import, which --help must not pay.
    from svcdoctor.sources.credentials import connect
    from svcdoctor.sources.session import ApiSession

    target = resolve(connection, environ, service_account)
    # Resolving again picks up what somebody, or another program, wrote into the files meanwhile.
    return ApiSession(
        target, connect(target), renew=lambda: connect(resolve(connection, environ, service_account))
    )


def resolve(connection: Connection, environ: Mapping[str, str], service_account: Path) -> Target:
    """The target that the flags lead to; reads the kubeconfig files. Raises SvcdoctorError, exit code 2."""
    _check_words(connection)
    timeout = parse_timeout(connection.request_timeout)
    config = read_kubeconfig(connection.kubeconfig, environ)
    named = connection.context or connection.cluster or connection.user
    if config.empty and connection.kubeconfig is None and not named:
        pod = _service_account(environ, service_account)
        if pod is not None:
            cluster, credentials, namespace = pod
            return _target(connection, timeout, IN_CLUSTER, "", namespace, cluster, credentials)
    return _from_kubeconfig(connection, timeout, config)


def _check_words(connection: Connection) -> None:
    """What the flags say becomes parts of URLs and headers. Raises SvcdoctorError for what cannot."""
    for flag, values in (
        ("--namespace", (connection.namespace,)),
        ("--context", (connection.context,)),
        ("--cluster", (connection.cluster,)),
        ("--user", (connection.user,)),
        ("--as", (connection.as_user,)),
        ("--as-group", connection.as_groups),
        ("--as-uid", (connection.as_uid,)),
        ("--server", (connection.server,)),
        ("--token", (connection.token,)),
        ("--tls-server-name", (connection.tls_server_name,)),
    ):
        if not all((value or "").isprintable() for value in values):
            raise SvcdoctorError(f"{flag}: it holds a control character, or bytes that are no UTF-8 text")
    if connection.namespace and {" ", "/"} & {*connection.namespace}:
        raise SvcdoctorError(f"--namespace {connection.namespace}: no namespace has such a name")


def _from_kubeconfig(connection: Connection, timeout: float | None, config: Kubeconfig) -> Target:
    context_name = connection.context or config.current_context
    cluster_name, user_name, namespace = connection.cluster, connection.user, ""
    if context_name:
        context = config.context(context_name)
        cluster_name = cluster_name or context.text("cluster")
        user_name = user_name or context.text("user")
        namespace = context.text("namespace")
    cluster: dict[str, Any] = {}
    if cluster_name and (connection.cluster or not connection.server or cluster_name in config.clusters):
        entry = config.cluster(cluster_name)
        entry.text("server")
        cluster = entry.resolved()
    if not connection.server and not cluster.get("server"):
        raise SvcdoctorError(_no_server(config, context_name, cluster_name))
    credentials: dict[str, Any] = {}
    save = None
    # kubectl goes on without credentials where the context's user is missing; nobody means that.
    if user_name and (connection.user or user_name in config.users or not connection.token):
        user = config.user(user_name)
        credentials = user.resolved()
        if "auth-provider" in credentials:
            save = saver(user.file, config.documents[user.file])
    return _target(
        connection,
        timeout,
        context_name,
        user_name,
        namespace,
        cluster,
        credentials,
        save,
    )


def _no_server(config: Kubeconfig, context: str, cluster: str) -> str:
    if cluster:
        return f'cluster "{cluster}" in {config.place} has no server; set one, or name one with --server'
    if config.contexts and not context:
        return (
            f"{config.place} sets no current-context; {near('', config.contexts, 'context')}, with --context"
        )
    if context:
        return f'context "{context}" in {config.place} names no cluster; set one, or name one with --cluster'
    return (
        "no kubeconfig found, and no service account of a pod: set KUBECONFIG, name a file with --kubeconfig, "
        "or a server with --server"
    )


def _target(
    connection: Connection,
    timeout: float | None,
    context: str,
    user: str,
    namespace: str,
    cluster: dict[str, Any],
    credentials: dict[str, Any],
    save: Callable[[], None] | None = None,
) -> Target:
    """Lays the flags that replace single fields over what the kubeconfig says, by client-go's rules."""
    headers = impersonation(connection.as_user, connection.as_groups, connection.as_uid, credentials)
    cluster, credentials = dict(cluster), dict(credentials)
    if connection.server:
        # Another server has another name: the kubeconfig's does not hold for it.
        cluster |= {"server": connection.server, "tls-server-name": ""}
    if connection.tls_server_name:
        cluster["tls-server-name"] = connection.tls_server_name
    if connection.insecure_skip_tls_verify or connection.certificate_authority:
        cluster.pop("certificate-authority-data", None)
        cluster.pop("certificate-authority", None)
        cluster["insecure-skip-tls-verify"] = connection.insecure_skip_tls_verify
        if connection.certificate_authority:
            cluster["certificate-authority"] = str(connection.certificate_authority.absolute())
    if connection.client_certificate:
        credentials.pop("client-certificate-data", None)
        credentials["client-certificate"] = str(connection.client_certificate.absolute())
    if connection.client_key:
        credentials.pop("client-key-data", None)
        credentials["client-key"] = str(connection.client_key.absolute())
    if connection.token:
        # A client certificate stays, as it does with kubectl.
        for other in ("tokenFile", "exec", "auth-provider", "username", "password"):
            credentials.pop(other, None)
        credentials["token"] = connection.token
    server = _url(str(cluster["server"]), cluster, credentials)
    namespace = connection.namespace or namespace or "default"
    cluster["server"] = server
    return Target(server, context, user, namespace, cluster, credentials, headers, timeout, save)


def _url(server: str, cluster: dict[str, Any], credentials: dict[str, Any]) -> str:
    """The server as a URL; what comes without a scheme is HTTPS where anything about TLS is said."""
    url = server.rstrip("/")
    if "://" not in server:
        tls = ("certificate-authority", "certificate-authority-data", "insecure-skip-tls-verify")
        secure = any(cluster.get(key) for key in tls) or any(
            "client-certificate" in key for key in credentials
        )
        url = f"https://{url}" if secure else f"http://{url}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise SvcdoctorError(f"{server}: the server is no URL; it must look like https://HOST:PORT")
    return url


def _service_account(
    environ: Mapping[str, str], folder: Path
) -> tuple[dict[str, Any], dict[str, Any], str] | None:
    """Cluster, credentials and namespace of the pod that this runs in; ``None`` outside of a cluster."""
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    token, authority = folder / "token", folder / "ca.crt"
    if not host or not port or not token.is_file():
        return None
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    cluster = {"server": server}
    if authority.is_file():
        cluster["certificate-authority"] = str(authority)
    namespace = environ.get("POD_NAMESPACE", "")
    if not namespace and (folder / "namespace").is_file():
        namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
    return cluster, {"tokenFile": str(token)}, namespace


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def parse_timeout(text: str) -> float | None:
    """Seconds of a --request-timeout in kubectl's syntax, ``None`` for "0", which is no timeout.

    Raises SvcdoctorError, exit code 2.
    """
    return parse_duration(text, "--request-timeout", "no timeout") or None


def parse_duration(text: str, flag: str, zero: str) -> float:
    """Seconds in kubectl's syntax. ``zero`` says what 0 means to the flag. Raises SvcdoctorError, exit code 2."""
    if text.isascii() and text.isdigit():
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise SvcdoctorError(
            f'{flag} "{text}": not a duration; say whole seconds or a number with a unit '
            f"(1s, 2m, 3h), or 0 for {zero}"
        )
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
