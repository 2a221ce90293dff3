"""Answers of the API server for completion, which a person waits for at every press of a key.

Theory. Importing the ``kubernetes`` package takes several times as long as the answer itself. Where the credentials
are a token or a client certificate and no proxy stands between, as in most kubeconfigs, a few lines here ask; where an
exec plugin, an auth-provider or a proxy is needed, ``ApiSession`` does, which knows them all. Nothing is tried again.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.sources.connection import SERVICE_ACCOUNT, Connection, open_connection, resolve

if TYPE_CHECKING:
    import ssl

    from svcdoctor.sources.apitarget import Target

SECONDS = 2.0
"""How long the server may take for one step, unless --request-timeout says less."""

PAGE = 500
MOST = 20_000
"""Objects that are asked for at most."""

# The server leaves out all but the metadata; one that cannot sends whole objects.
_METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"

# What a user's entry may hold for that. Impersonation has become headers by then.
_DIRECT = frozenset(
    (
        "token", "tokenFile",
        "client-certificate", "client-certificate-data", "client-key", "client-key-data",
        "as", "as-groups", "as-uid", "as-user-extra",
    )
)  # fmt: skip


class QuickAnswers:
    """Questions to one API server, with the flags and the kubeconfig applied.

    Whatever goes wrong raises SvcdoctorError, OSError or ValueError, for callers that then offer nothing.
    """

    def __init__(self, connection: Connection, environ: Mapping[str, str] = os.environ) -> None:
        self._connection = connection
        self._environ = environ
        self._target = resolve(connection, environ, SERVICE_ACCOUNT)

    @property
    def namespace(self) -> str:
        """The namespace of short names."""
        return self._target.namespace

    def names(self, path: str) -> list[str]:
        """The names of the objects in a list, in the API's order."""
        query = {"limit": str(PAGE)}
        found: list[str] = []
        while True:
            page = self._ask(path, query, _METADATA)
            found += [item["metadata"]["name"] for item in page.get("items") or ()]
            after = (page.get("metadata") or {}).get("continue")
            if not after or len(found) >= MOST:
                return found
            query["continue"] = after

    def one(self, path: str) -> dict[str, Any]:
        """The object at a path."""
        return self._ask(path, {}, "application/json")

    def _ask(self, path: str, params: Mapping[str, str], accept: str) -> dict[str, Any]:
        if _is_direct(self._target, self._environ):
            url = f"{path}?{urlencode(params)}" if params else path
            status, data = _asked(self._target, url, accept)
        else:
            response = open_connection(self._connection, environ=self._environ).get(path, params)
            status, data = response.status, response.data
        answer = json.loads(data) if status == 200 else None
        if not isinstance(answer, dict):
            raise SvcdoctorError(f"{self._target.place}: {path}: no object or list (status {status})", 3)
        return answer


def _is_direct(target: Target, environ: Mapping[str, str]) -> bool:
    used = {key for key, value in target.credentials.items() if value}
    if not used <= _DIRECT or target.cluster.get("proxy-url"):
        return False
    return not any(
        value for key, value in environ.items() if key.lower() in ("https_proxy", "http_proxy", "all_proxy")
    )


def _asked(target: Target, url: str, accept: str) -> tuple[int, bytes]:
    """Status and body of one answer, from a connection that is made for it.

    HTTP/1.0, whose answers end with the connection: h11 and http.client take a tenth and a fifth of the whole time to
    import. What is cut off is no JSON, and no answer.
    """
    parts = urlsplit(target.server)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    token = target.credentials.get("token")
    if not token and target.credentials.get("tokenFile"):
        token = Path(target.credentials["tokenFile"]).read_text(encoding="utf-8").strip()
    headers = [("Host", parts.netloc.rpartition("@")[2]), ("Accept", accept), *target.headers]
    if token:
        headers.append(("Authorization", f"Bearer {token}"))
    lines = [f"GET {parts.path}{url} HTTP/1.0", *(f"{name}: {value}" for name, value in headers)]
    if any(not line.isprintable() for line in lines):
        raise ValueError("a line break would begin another header")
    seconds = min(target.timeout or SECONDS, SECONDS)
    answer = bytearray()
    with socket.create_connection((host, parts.port or (443 if secure else 80)), seconds) as plain:
        name = str(target.cluster.get("tls-server-name") or host)
        with _tls(target).wrap_socket(plain, server_hostname=name) if secure else plain as stream:
            stream.sendall("\r\n".join([*lines, "", ""]).encode())
            while piece := stream.recv(1 << 18):
                answer += piece
    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    return int(head.split(None, 2)[1]), body


def _tls(target: Target) -> ssl.SSLContext:
    """What kubectl trusts: any certificate of the bundle is an anchor."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    cluster, credentials = target.cluster, target.credentials
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif cluster.get("certificate-authority-data"):
        context.load_verify_locations(
            cadata=_decoded(cluster["certificate-authority-data"]).decode("ascii", "ignore")
        )
    elif cluster.get("certificate-authority"):
        context.load_verify_locations(cafile=cluster["certificate-authority"])
    else:
        context.load_default_certs()
    if any(credentials.get(key) for key in ("client-certificate", "client-certificate-data")):
        _load_client(context, credentials)
    return context


def _load_client(context: ssl.SSLContext, credentials: Mapping[str, Any]) -> None:
    """Python takes certificates and keys from files only; data gets files that are gone right after."""
    from tempfile import NamedTemporaryFile

    with NamedTemporaryFile() as certificate, NamedTemporaryFile() as key:
        names = []
        for file, what in ((certificate, "client-certificate"), (key, "client-key")):
            data = credentials.get(f"{what}-data")
            if data:
                file.write(_decoded(data))
                file.flush()
            names.append(file.name if data else str(credentials.get(what, "")))
        # An encrypted key would have Python ask for its password on the terminal.
        context.load_cert_chain(names[0], names[1], password=lambda: "")


def _decoded(text: str) -> bytes:
    import base64

    return base64.b64decode(text)
