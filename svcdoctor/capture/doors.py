"""Which addresses and ports belong to a Service: where its packets enter, and where they end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from ipaddress import ip_address

from svcdoctor.capture.frame import SCTP, TCP, UDP
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.path.endpoints import endpoints_of

NUMBERS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
NAMES = {number: name for name, number in NUMBERS.items()}


class Role(StrEnum):
    """What an address and port is to the Service."""

    CLUSTER_IP = "clusterIP"
    NODE_PORT = "nodePort"
    LOAD_BALANCER = "loadBalancer"
    EXTERNAL_IP = "externalIP"
    ENDPOINT = "endpoint"


@dataclass(frozen=True, slots=True)
class Door:
    """One address and port. ``ip`` is ``None`` for a nodePort on nodes whose addresses are not known."""

    ip: str | None
    port: int
    protocol: str
    role: Role

    @property
    def key(self) -> bytes:
        """As ``Doors`` looks it up."""
        packed = b"" if self.ip is None else ip_address(self.ip).packed
        return bytes((NUMBERS[self.protocol],)) + packed + self.port.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Doors:
    """The doors of a Service, and the names of pods and nodes by their addresses. Without doors all are looked at."""

    doors: tuple[Door, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)

    def table(self) -> dict[bytes, Door]:
        """The doors by protocol, packed address and packed port; those on any address without it."""
        return {door.key: door for door in self.doors}

    def also(self, door: Door) -> Doors:
        """These and one more."""
        return replace(self, doors=(*self.doors, door))


@lru_cache(maxsize=16384)
def address_text(packed: bytes) -> str:
    """An address of 4 or 16 bytes as it is written."""
    return str(ip_address(packed))


def doors_of(snapshot: Snapshot, service: Service, port: str | None, here: Iterable[str] = ()) -> Doors:
    """The doors of a Service, or of one of its ports by name or number. ``here`` are addresses of this node."""
    found: dict[tuple[str | None, int, str], Door] = {}
    nodes = [ip for ip in map(canonical_or_none, [*snapshot.nodes_by_ip, *here]) if ip and not _local(ip)]
    for p in service.ports:
        if p.protocol not in NUMBERS or (port is not None and port not in (p.name, str(p.port))):
            continue
        entered: list[tuple[Role, str | None, int]] = [(role, ip, p.port) for role, ip in _addresses(service)]
        if p.node_port:
            # Where no node is known, not even this one, the port is looked for on every address.
            entered += [(Role.NODE_PORT, ip, p.node_port) for ip in nodes] or [
                (Role.NODE_PORT, None, p.node_port)
            ]
        for family in (4, 6):
            for e in endpoints_of(snapshot, service, p, family):
                entered.append((Role.ENDPOINT, e.ip, e.port))
        for role, ip, number in entered:
            found.setdefault((ip, number, p.protocol), Door(ip, number, p.protocol, role))
    return Doors(tuple(found.values()), _names(snapshot, service))


def _local(ip: str) -> bool:
    address = ip_address(ip)
    return address.is_link_local or address.is_unspecified


def _addresses(service: Service) -> Iterator[tuple[Role, str]]:
    """The addresses at which the Service's own port numbers answer."""
    said = [(Role.CLUSTER_IP, ip) for ip in service.cluster_ips]
    said += [(Role.EXTERNAL_IP, ip) for ip in service.spec.external_ips or ()]
    said += [(Role.LOAD_BALANCER, point.ip) for point in service.ingress_points]
    for role, text in said:
        ip = canonical_or_none(text)
        if ip is not None:
            yield role, ip


def _names(snapshot: Snapshot, service: Service) -> dict[str, str]:
    names = {ip: f"node {name}" for ip, name in snapshot.nodes_by_ip.items()}
    for p in service.ports:
        for family in (4, 6):
            for e in endpoints_of(snapshot, service, p, family):
                if e.pod is not None:
                    names.setdefault(e.ip, f"pod {e.pod[1]}")
    return names
