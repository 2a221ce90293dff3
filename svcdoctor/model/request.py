"""A question to trace: the target, who asks, and which entries."""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.trace import ClientKind, EntryKind


@dataclass(frozen=True, slots=True)
class ObjectTarget:
    """An object by kind and name: ``svc/web:http``, ``ingress/shop/api``, ``pod/web-1:8080``, ``deploy/web``.

    ``port`` is the number or name after the colon, ``path`` and ``host`` an Ingress request's.
    """

    kind: str
    name: str
    namespace: str
    port: str | None = None
    path: str | None = None
    host: str | None = None


@dataclass(frozen=True, slots=True)
class AddressTarget:
    """The reverse question: an address and port, or a DNS name, and which way that takes."""

    host: str
    port: int | None
    scheme: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class ClientSpec:
    """``--from``: ``external[/IP]``, ``node/NAME``, ``pod/[NS/]NAME``; names are ``None`` for any."""

    kind: ClientKind
    name: str | None = None
    namespace: str | None = None
    ip: str | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One question. ``everywhere`` looks for a named Service in all namespaces.

    With ``brief`` nodes that behave alike are entered by one of them: for who asks about thousands of Services.
    """

    target: ObjectTarget | AddressTarget
    client: ClientSpec | None = None
    via: frozenset[EntryKind] = frozenset()
    node: str | None = None
    protocol: str | None = None
    family: int | None = None
    everywhere: bool = False
    brief: bool = False
