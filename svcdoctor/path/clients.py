"""``--from``: who asks. The words, and what they stand for in a Snapshot."""

from __future__ import annotations

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.request import ClientSpec
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import Client, ClientKind
from svcdoctor.path.deliver import Source
from svcdoctor.path.view import View


def parse_client(text: str) -> ClientSpec:
    """``external[/IP]``, ``node[/NAME]`` or ``pod[/[NS/]NAME]``. Raises SvcdoctorError."""
    kind, _, rest = text.partition("/")
    if kind == "external":
        if not rest:
            return ClientSpec(ClientKind.EXTERNAL)
        ip = canonical_or_none(rest)
        if ip is None:
            raise SvcdoctorError(f"--from {text}: {rest!r} is no IP address; say external/203.0.113.7")
        return ClientSpec(ClientKind.EXTERNAL, ip=ip)
    if kind == "node" and "/" not in rest:
        return ClientSpec(ClientKind.NODE, name=rest or None)
    if kind == "pod" and rest.count("/") <= 1:
        namespace, slash, name = rest.rpartition("/")
        return ClientSpec(ClientKind.POD, name=name or None, namespace=namespace if slash else None)
    raise SvcdoctorError(f"--from {text}: say external[/IP], node/NAME or pod/[NAMESPACE/]NAME")


def source_of(view: View, spec: ClientSpec, namespace: str, family: int) -> Source:
    """The sender as the packet's evaluation sees it. Raises SvcdoctorError for one that does not exist.

    A host-network pod sends as its node does.
    """
    snapshot = view.snapshot
    if spec.kind is ClientKind.EXTERNAL:
        return Source(ClientKind.EXTERNAL, spec.ip)
    if spec.kind is ClientKind.NODE:
        if spec.name is None:
            return Source(ClientKind.NODE)
        if view.complete(Kind.NODE) and spec.name not in snapshot.node_names:
            known = ", ".join(snapshot.node_names[:8]) or "none"
            raise SvcdoctorError(f"--from node/{spec.name}: no such node (there are {known})")
        return Source(ClientKind.NODE, node_address(snapshot, spec.name, family), spec.name)
    if spec.name is None:
        return Source(ClientKind.POD)
    ns = spec.namespace or namespace
    complete = view.complete(Kind.POD, Scope(ns, name=spec.name))
    pod = snapshot.pod(ns, spec.name)
    if pod is None:
        if complete:
            raise SvcdoctorError(f"--from pod/{ns}/{spec.name}: no such pod")
        return Source(ClientKind.POD, pod=(ns, spec.name))
    node = pod.spec.node_name or None
    if pod.spec.host_network:
        return Source(ClientKind.NODE, node_address(snapshot, node or "", family), node)
    ip = next((c for i in pod.ips if (":" in i) == (family == 6) and (c := canonical_or_none(i))), None)
    return Source(ClientKind.POD, ip, node, (ns, spec.name))


def client_of(spec: ClientSpec, source: Source, namespace: str) -> Client:
    """The client as the report names it."""
    name = spec.name
    if spec.kind is ClientKind.POD and name is not None:
        name = f"{spec.namespace or namespace}/{name}"
    return Client(spec.kind, name, source.ip)


def node_address(snapshot: Snapshot, name: str, family: int) -> str | None:
    """The node's first internal address of the family."""
    node = snapshot.node(name)
    for address in node.addresses() if node else ():
        ip = canonical_or_none(address)
        if ip is not None and (":" in ip) == (family == 6):
            return ip
    return None
