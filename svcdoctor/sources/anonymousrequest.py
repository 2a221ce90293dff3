"""A question in other names: what it asks about a cluster, asked about the anonymised one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from svcdoctor.model.request import AddressTarget, ClientSpec, ObjectTarget, Request
from svcdoctor.sources.pseudonyms import Pseudonyms

_SCHEMES = frozenset({"http", "https", "ws", "wss", "grpc", "tcp", "udp"})


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a snapshot: a request, or ``None`` for a check of everything, in a namespace (``None``: all)."""

    request: Request | None
    namespace: str | None


def anonymous_question(names: Pseudonyms, question: Question) -> Question:
    """The question with every name, address and path mapped as in the objects."""
    request = question.request
    return Question(
        request
        and replace(
            request,
            target=_target(names, request.target),
            client=request.client and _client(names, request.client),
            node=request.node and names.name(request.node),
        ),
        question.namespace and names.name(question.namespace),
    )


def _target(names: Pseudonyms, target: ObjectTarget | AddressTarget) -> ObjectTarget | AddressTarget:
    path = target.path and names.path(target.path)
    if isinstance(target, AddressTarget):
        scheme = target.scheme if target.scheme in _SCHEMES else None
        return replace(target, host=names.host(target.host), scheme=scheme, path=path)
    port = target.port
    return replace(
        target,
        name=names.name(target.name),
        namespace=names.name(target.namespace),
        port=port if port is None or port.isdecimal() else names.name(port),
        path=path,
        host=target.host and names.host(target.host),
    )


def _client(names: Pseudonyms, client: ClientSpec) -> ClientSpec:
    return replace(
        client,
        name=client.name and names.name(client.name),
        namespace=client.namespace and names.name(client.namespace),
        ip=client.ip and names.host(client.ip),
    )
