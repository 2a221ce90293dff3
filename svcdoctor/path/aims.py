"""What ``--probe`` tries of a trace: its entries and its endpoints, and what is said at them.

What a port speaks is taken from the Service's own words (appProtocol, the port's name), which are *declared*, else
guessed from the container's port and from well-known numbers. A guess that turns out wrong is nobody's mistake.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from svcdoctor.model.observed import Aim, ProbeKind
from svcdoctor.model.pod import Pod
from svcdoctor.model.service import ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import ROUTED, Client, ClientKind, EntryKind, Path, Trace

HEALTH_PATH = "/healthz"  # of a healthCheckNodePort
ENDPOINTS = 300  # that are tried by themselves at most

# A query for the root's name servers (RFC 1035): what any DNS server answers, with whatever code.
DNS_QUERY = bytes.fromhex("5d0c01000001000000000000" + "00" + "0002" + "0001")

_WORDS = {
    "http": (ProbeKind.HTTP, False),
    "https": (ProbeKind.HTTP, True),
    "grpc": (ProbeKind.GRPC, False),
    "grpcs": (ProbeKind.GRPC, True),
    "tls": (ProbeKind.TLS, False),
    "tcp": (ProbeKind.TCP, False),
    "kubernetes.io/h2c": (
        ProbeKind.TCP,
        False,
    ),  # HTTP/2 from the first byte on, which no probe speaks but gRPC's
    "kubernetes.io/ws": (ProbeKind.HTTP, False),
    "kubernetes.io/wss": (ProbeKind.HTTP, True),
}
_NUMBERS = dict.fromkeys((80, 8000, 8080), "http") | dict.fromkeys((443, 6443, 8443), "https")


@dataclass(frozen=True, slots=True)
class Speech:
    """What is said at a port, and whether the Service itself says that it be so."""

    kind: ProbeKind
    tls: bool = False
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Aims:
    """What is tried from the place, many times or a few; and through tunnels into pods. ``guessed`` are those of
    which nobody says what they speak."""

    entries: tuple[Aim, ...] = ()
    endpoints: tuple[Aim, ...] = ()
    tunnels: tuple[Aim, ...] = ()
    health: tuple[Aim, ...] = ()
    guessed: frozenset[Aim] = frozenset()


def fits(path: Path, client: Client) -> bool:
    """Whether requests of this client are requests by this path."""
    return path.client.kind is client.kind and path.client.name in (None, client.name)


def aims_of(traced: Trace, snapshot: Snapshot, client: Client, payload_size: int) -> Aims:
    """What is tried for a trace, from where the client is."""
    entries: dict[Aim, bool] = {}  # and whether its kind is declared
    endpoints: dict[Aim, bool] = {}
    for path in traced.paths:
        speech = speech_of(path, traced, snapshot)
        entry = path.entry
        address = canonical_or_none(entry.address or "")
        tried = entry.kind not in ROUTED and entry.protocol != "SCTP"
        if tried and address is not None and entry.port and fits(path, client):
            entries[_aim(address, entry.port, entry.protocol, speech)] = speech.declared
        for outcome in path.outcomes:
            end = outcome.backend
            ip = canonical_or_none(end.ip or "") if end is not None and end.pod is not None else None
            if end is not None and ip is not None and end.port and entry.protocol != "SCTP":
                endpoints[_aim(ip, end.port, entry.protocol, speech, end.pod or "")] = speech.declared
    ends = tuple(endpoints)[:ENDPOINTS]
    tunnels = tuple(a for a in ends if a.protocol == "TCP")
    every = entries | endpoints
    return Aims(
        _with_large(entries, payload_size),
        _with_large(ends, payload_size),
        tunnels,
        _health(traced, snapshot),
        frozenset(aim for aim, declared in every.items() if not declared),
    )


def _aim(ip: str, port: int, protocol: str, speech: Speech, pod: str = "") -> Aim:
    if protocol == "UDP":
        return Aim(ip, port, ProbeKind.UDP, payload=DNS_QUERY if port == 53 else b"", pod=pod)
    return Aim(ip, port, speech.kind, speech.tls, pod=pod)


def _with_large(aims: Iterable[Aim], payload_size: int) -> tuple[Aim, ...]:
    small = tuple(aims)
    if not payload_size:
        return small
    return small + tuple(
        Aim(a.ip, a.port, a.kind, a.tls, a.host, a.path, a.payload, payload_size, a.pod) for a in small
    )


def _health(traced: Trace, snapshot: Snapshot) -> tuple[Aim, ...]:
    """The health check ports of the Services on the way, on every node that is an entry."""
    found: dict[Aim, None] = {}
    for name in traced.services:
        service = snapshot.service(*name)
        port = service.spec.health_check_node_port if service is not None else 0
        for path in traced.paths if port else ():
            address = canonical_or_none(path.entry.address or "")
            if path.entry.kind is EntryKind.NODE_PORT and address is not None and path.entry.node:
                found[Aim(address, port, ProbeKind.HTTP, path=HEALTH_PATH)] = None
    return tuple(found)


def speech_of(path: Path, traced: Trace, snapshot: Snapshot) -> Speech:
    """What is said at the path's Service port."""
    port = service_port(path, traced, snapshot)
    words = (port.app_protocol or "", port.name.partition("-")[0]) if port is not None else ()
    for word in words:
        if word.lower() in _WORDS:
            return Speech(*_WORDS[word.lower()], declared=True)
    numbers = [path.entry.port, port.port if port is not None else None]
    for outcome in path.outcomes:
        end = outcome.backend
        pod = snapshot.pod(*end.pod.split("/")) if end is not None and end.pod else None
        if end is not None and pod is not None and end.port:
            guess = _container_word(pod, end.port)
            if guess:
                return Speech(*_WORDS[guess])
            numbers.insert(0, end.port)
    guess = next((_NUMBERS[n] for n in numbers if n in _NUMBERS), "tcp")
    return Speech(*_WORDS[guess])


def service_port(path: Path, traced: Trace, snapshot: Snapshot) -> ServicePort | None:
    """The port, of the Services on the way, that the path goes through."""
    named = path.service_port
    for name in traced.services if named is not None else ():
        service = snapshot.service(*name)
        for port in service.ports if service is not None else ():
            if named is not None and (port.name, port.port) == (named.name, named.port):
                return port
    return None


def _container_word(pod: Pod, number: int) -> str:
    """What the container's port is called, or how the kubelet asks it."""
    for container in pod.serving_containers:
        names = {p.container_port: p.name for p in container.ports or ()}
        word = names.get(number, "").partition("-")[0].lower()
        if word in _WORDS:
            return word
        probe = container.readiness_probe
        if probe is not None and probe.port in (number, names.get(number)):
            return "grpc" if probe.grpc is not None else "http" if probe.http_get is not None else ""
    return ""


def client_here(snapshot: Snapshot, addresses: Iterable[str]) -> Client:
    """Who a machine with these addresses is to the cluster: a pod, a node, or somebody outside."""
    for ip in addresses:
        pods = [p for p in snapshot.pods_by_ip.get(ip, ()) if not p.spec.host_network]
        if pods:
            return Client(ClientKind.POD, f"{pods[0].namespace}/{pods[0].name}", ip)
        if ip in snapshot.nodes_by_ip:
            return Client(ClientKind.NODE, snapshot.nodes_by_ip[ip], ip)
    return Client(ClientKind.EXTERNAL)
