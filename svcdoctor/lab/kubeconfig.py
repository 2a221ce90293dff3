"""The kubeconfig of a running server, self-contained: certificates and tokens are inside.

Specification: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import yaml

CONTEXT = "svcdoctor-lab"
"""The name of the one context, cluster and user entry."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """How one user can prove who it is: by bearer token, or by certificate and key files."""

    token: str
    certificate: Path
    key: Path


def kubeconfig_text(
    server: str, authority: Path, credentials: Credentials, *, by_certificate: bool, namespace: str
) -> str:
    """The YAML text for the server's URL, trusting the authority's certificate file."""
    if by_certificate:
        user = {
            "client-certificate-data": _encoded(credentials.certificate),
            "client-key-data": _encoded(credentials.key),
        }
    else:
        user = {"token": credentials.token}
    context = {"cluster": CONTEXT, "user": CONTEXT, "namespace": namespace}
    cluster = {"server": server, "certificate-authority-data": _encoded(authority)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": CONTEXT, "cluster": cluster}],
        "users": [{"name": CONTEXT, "user": user}],
        "contexts": [{"name": CONTEXT, "context": context}],
        "current-context": CONTEXT,
    }
    return yaml.safe_dump(config, sort_keys=False)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
