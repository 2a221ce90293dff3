"""kubectl's connection flags, added to every command that may talk to a cluster; and how options are added."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

_PANEL: dict[str, Any] = {"show_default": False}

Flags = dict[str, tuple[Any, tuple[str, ...], str]]
"""Options by the name of their parameter: type, flags, help."""

# Each is a field of Connection. The words are kubectl's.
FLAGS: Flags = {
    "kubeconfig": (Path | None, ("--kubeconfig",), "Path to the kubeconfig file."),
    "context": (str | None, ("--context",), "The kubeconfig context to use."),
    "cluster": (str | None, ("--cluster",), "The kubeconfig cluster to use."),
    "user": (str | None, ("--user",), "The kubeconfig user to use."),
    "namespace": (str | None, ("--namespace", "-n"), "The namespace of the target and of short names."),
    "as_user": (str | None, ("--as",), "Username to impersonate."),
    "as_groups": (list[str] | None, ("--as-group",), "Group to impersonate; may be repeated."),
    "as_uid": (str | None, ("--as-uid",), "UID to impersonate."),
    "server": (str | None, ("--server", "-s"), "Address of the API server."),
    "token": (str | None, ("--token",), "Bearer token for the API server."),
    "certificate_authority": (Path | None, ("--certificate-authority",), "File with the CA's certificate."),
    "insecure_skip_tls_verify": (
        bool,
        ("--insecure-skip-tls-verify",),
        "Do not check the server's certificate.",
    ),
    "client_certificate": (Path | None, ("--client-certificate",), "File with the client's certificate."),
    "client_key": (Path | None, ("--client-key",), "File with the client's key."),
    "tls_server_name": (str | None, ("--tls-server-name",), "Name to expect in the server's certificate."),
    "request_timeout": (
        str | None,
        ("--request-timeout",),
        "How long one request may take: 30s, 1m, 0 for ever.",
    ),
}


def connected(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a command kubectl's connection flags; the command takes them as ``connection``."""

    def made(flags: dict[str, Any]) -> Any:
        from svcdoctor.sources.connection import Connection

        flags["as_groups"] = tuple(flags["as_groups"] or ())
        return Connection(**{k: v for k, v in flags.items() if v is not None})

    return bundled(function, "connection", FLAGS, made)


def bundled(
    function: Callable[..., Any], name: str, flags: Flags, made: Callable[[dict[str, Any]], Any]
) -> Callable[..., Any]:
    """Gives a command more options, which it takes as one value: ``name``, ``made`` of what was said.

    A word that an option of the command's own has already is left to it.
    """
    function.__annotations__.pop(name)  # its type's module is imported when a command runs
    signature = inspect.signature(function, eval_str=True)
    own = [p for p in signature.parameters.values() if p.name != name]
    # Of an annotation's option the first word is where others have their default.
    options = [o for p in own for o in getattr(p.annotation, "__metadata__", ())]
    taken = {w for o in options for w in (o.default, *(o.param_decls or ()))}
    added = [
        inspect.Parameter(
            option,
            inspect.Parameter.KEYWORD_ONLY,
            default=False if kind is bool else None,
            annotation=Annotated[
                kind, typer.Option(*(w for w in words if w not in taken), help=text, **_PANEL)
            ],
        )
        for option, (kind, words, text) in flags.items()
    ]

    @wraps(function)
    def command(**values: Any) -> Any:
        said = {option: values.pop(option) for option in flags}
        return function(**{name: made(said)}, **values)

    keyword_only = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    command.__signature__ = inspect.Signature([*keyword_only, *added])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in [*own, *added]}
    return command
