"""What completion offers that only a cluster, a saved one, or the kubeconfig knows: names, ports, contexts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote

from svcdoctor.cli.saidwords import Said
from svcdoctor.sources.connection import Connection

Values = list[tuple[str, str]]
"""Values, each with what it means or nothing."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind whose objects can be named: how the API serves it, and the words that people say for it."""

    kind: str
    words: tuple[str, ...]
    base: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str) -> str:
        """The API's path of the list, in one namespace or in all where it is empty."""
        middle = f"/namespaces/{quote(namespace, safe='')}" if namespace and self.namespaced else ""
        return f"{self.base}{middle}/{self.plural}"


# Kinds and their API paths stand in ``cluster.kinds`` too, which imports the whole model; a test holds both equal.
_GATEWAY = "/apis/gateway.networking.k8s.io/v1"
RESOURCES = (
    Resource("Service", ("svc", "service", "services"), "/api/v1", "services"),
    Resource("Ingress", ("ingress", "ing", "ingresses"), "/apis/networking.k8s.io/v1", "ingresses"),
    Resource("HTTPRoute", ("httproute", "httproutes"), _GATEWAY, "httproutes"),
    Resource("GRPCRoute", ("grpcroute", "grpcroutes"), _GATEWAY, "grpcroutes"),
    Resource("Pod", ("pod", "po", "pods"), "/api/v1", "pods"),
    Resource("Deployment", ("deploy", "deployment", "deployments"), "/apis/apps/v1", "deployments"),
    Resource("ReplicaSet", ("rs", "replicaset", "replicasets"), "/apis/apps/v1", "replicasets"),
    Resource("StatefulSet", ("sts", "statefulset", "statefulsets"), "/apis/apps/v1", "statefulsets"),
    Resource("DaemonSet", ("ds", "daemonset", "daemonsets"), "/apis/apps/v1", "daemonsets"),
    Resource("Job", ("job", "jobs"), "/apis/batch/v1", "jobs"),
    Resource(
        "ReplicationController",
        ("rc", "replicationcontroller", "replicationcontrollers"),
        "/api/v1",
        "replicationcontrollers",
    ),
    Resource("Node", ("node",), "/api/v1", "nodes", namespaced=False),
    Resource("Namespace", ("namespace",), "/api/v1", "namespaces", namespaced=False),
)
_BY_WORD = {word: resource for resource in RESOURCES for word in resource.words}

_CONFIGURED = {"context": "contexts", "cluster": "clusters", "user": "users"}


def candidates(kind: str, said: Said, current: str) -> tuple[Values, bool]:
    """The values of a kind (``commandtree`` lists the kinds), and whether something is to be joined to them.

    Raises whatever goes wrong while asking.
    """
    kind, _, more = kind.partition(" ")
    words = more.split()
    if kind in _CONFIGURED:
        return _configured(_CONFIGURED[kind], said), False
    if kind in ("namespace", "node"):
        return [(name, "") for name in _names(_BY_WORD[kind], said)], False
    if kind == "client":
        return _clients(words, said, current)
    kinds, flags = words[0].split(","), words[1:]
    if kind == "forwarded" and "/" not in current and any("/" in word for word in said.arguments):
        return _forwarded(said, current), False
    return _targets(kinds, "ports" in flags, said, current)


def _configured(section: str, said: Said) -> Values:
    from svcdoctor.sources.kubeconfig import read_kubeconfig

    explicit = said.last("kubeconfig")
    config = read_kubeconfig(Path(explicit) if explicit else None, os.environ)
    return [(name, "") for name in getattr(config, section)]


def _targets(kinds: Sequence[str], ports: bool, said: Said, current: str) -> tuple[Values, bool]:
    """``KIND/NAME``, and ``KIND/NAME:PORT`` where there may be a port; of a Service the name alone will do."""
    word, slash, name = current.partition("/")
    if not slash:
        begun = any(f"{kind}/".startswith(current) for kind in kinds)
        if begun and len(kinds) > 1:
            return [(f"{kind}/", _BY_WORD[kind].kind) for kind in kinds], True
        before = f"{kinds[0]}/" if begun else ""
        return [(f"{before}{service}", "") for service in _names(_BY_WORD["svc"], said)], False
    resource = _BY_WORD.get(word.lower())
    if resource is None or resource.words[0] not in kinds:
        return [], False
    if not ports or ":" not in name:
        return [(f"{word}/{known}", "") for known in _names(resource, said)], False
    owner = name.partition(":")[0]
    found = _ports(_object(resource, owner, said))
    return [(f"{word}/{owner}:{port}", meaning) for port, meaning in found], False


def _forwarded(said: Said, current: str) -> Values:
    """``[LOCAL:]REMOTE`` of the target that was named last."""
    word, _, name = next(w for w in reversed(said.arguments) if "/" in w).partition("/")
    local, colon, _ = current.rpartition(":")
    found = _ports(_object(_BY_WORD[word.lower()], name, said))
    return [(f"{local}{colon}{port}", meaning) for port, meaning in found]


def _clients(words: Sequence[str], said: Said, current: str) -> tuple[Values, bool]:
    """Who asks: ``external``, ``node/NAME``, ``pod/[NAMESPACE/]NAME``, as far as the option takes them."""
    word, slash, name = current.partition("/")
    if not slash:
        return [(w, "") if w == "external" else (f"{w}/", "") for w in words], True
    if word not in words or word == "external":
        return [], False
    namespace, within, _ = name.rpartition("/")
    if word == "pod" and within:
        names = _names(_BY_WORD["pod"], said, namespace)
        return [(f"pod/{namespace}/{known}", "") for known in names], False
    return [(f"{word}/{known}", "") for known in _names(_BY_WORD[word], said)], False


def _ports(found: dict[str, Any]) -> Values:
    """The ports of a Service, or of the containers of a pod or of a workload's pods: by number, then by name."""
    spec = found.get("spec") or {}
    template = (spec.get("template") or {}).get("spec") or spec
    containers = template.get("containers") or ()
    ports = [*(spec.get("ports") or ()), *(port for c in containers for port in c.get("ports") or ())]
    numbers: Values = []
    names: Values = []
    for port in ports:
        number, protocol = port.get("port") or port.get("containerPort"), port.get("protocol") or "TCP"
        name = port.get("name") or ""
        numbers.append((str(number), f"{name} {protocol}".strip()))
        if name:
            names.append((name, f"{number}/{protocol}"))
    return list(dict.fromkeys([*numbers, *names]))


def _names(resource: Resource, said: Said, namespace: str = "") -> list[str]:
    """The names of the objects in the namespace that is meant, or in all with ``--all-namespaces``."""
    everywhere = "all_namespaces" in said.options
    files = _files(said)
    if files:
        wanted = "" if everywhere else namespace or said.last("namespace") or "default"
        held = (one["metadata"] for one in _held(files, resource))
        names = [
            m["name"]
            for m in held
            if not wanted or not resource.namespaced or m.get("namespace", "default") == wanted
        ]
        return sorted(dict.fromkeys(names))
    from svcdoctor.sources.quickanswer import QuickAnswers

    server = QuickAnswers(_connection(said))
    path = resource.path("" if everywhere else namespace or server.namespace)
    return list(dict.fromkeys(server.names(path)))


def _object(resource: Resource, name: str, said: Said) -> dict[str, Any]:
    """The object of that name. Raises LookupError where a saved cluster has none."""
    files = _files(said)
    if files:
        wanted = said.last("namespace") or "default"
        for one in _held(files, resource):
            if (one["metadata"]["name"], one["metadata"].get("namespace", "default")) == (name, wanted):
                return one
        raise LookupError(name)
    from svcdoctor.sources.quickanswer import QuickAnswers

    server = QuickAnswers(_connection(said))
    return server.one(f"{resource.path(server.namespace)}/{quote(name, safe='')}")


def _files(said: Said) -> list[str]:
    """The snapshot or manifests that are looked at instead of a cluster."""
    return said.options.get("snapshot") or said.options.get("manifests") or []


def _held(files: Sequence[str], resource: Resource) -> Iterator[dict[str, Any]]:
    from svcdoctor.sources.files import raw_objects

    for file in files:
        for document in raw_objects(Path(file)):
            kind: str = document["kind"]
            for one in document.get("items") or () if kind.endswith("List") else (document,):
                if one.get("kind", kind.removesuffix("List")) == resource.kind:
                    yield one


def _connection(said: Said) -> Connection:
    """What the words say about reaching the API: options are fields of Connection, by their parameters' names."""
    values: dict[str, Any] = {}
    for known in fields(Connection):
        if known.name not in said.options:
            continue
        text = said.last(known.name)
        if known.name == "as_groups":
            values[known.name] = tuple(said.options[known.name])
        elif known.name == "insecure_skip_tls_verify":
            values[known.name] = True
        elif "Path" in str(known.type):
            values[known.name] = Path(text)
        else:
            values[known.name] = text
    return Connection(**values)
