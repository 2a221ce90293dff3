"""Whether the Services' address range is also something else's: pods', nodes', or a network that nodes have a route to.

Theory. Service addresses exist in rules only, so their range must be nobody else's. Where it is, an address means two
things: a node translates packets that were meant for a pod or a machine behind a VPN, and a pod on a bridge asks its
neighbours for what it takes for one of them. What is compared are the ServiceCIDR objects; where there are none
(Kubernetes before 1.33) the Services' own addresses.

What may live here: comparing networks, once for a Snapshot. What a finding makes of it is in ``checks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from svcdoctor.dataplane.hosts import Hosts
from svcdoctor.model.facts import Kind
from svcdoctor.model.snapshot import Snapshot, canonical_or_none, network
from svcdoctor.model.trace import Value

Network = IPv4Network | IPv6Network


class Whose(StrEnum):
    PODS = "pods"
    NODE = "node"
    ROUTE = "route"


class Overlap(Value, frozen=True):
    """One Service range, or address, that is also ``other``, which is in words.

    ``wider`` says of a route that it leads to more than the range: then only that part of its network is hidden.
    ``service`` is (namespace, name) where what overlaps is one Service's address.
    """

    service_range: str
    whose: Whose
    other: str
    nodes: tuple[str, ...] = ()
    wider: bool = False
    service: tuple[str, str] | None = None


def overlaps(snapshot: Snapshot, hosts: Hosts) -> tuple[Overlap, ...]:
    """Every overlap of the Services' ranges. Linear in nodes, Services and endpoints."""
    ranges = [n for c in snapshot.service_cidrs if (n := network(c)) is not None]
    if not ranges:
        return tuple(_of_addresses(snapshot))
    return tuple(
        o
        for service_range in ranges
        for o in (
            *_of_nodes(snapshot, service_range),
            *_of_endpoints(snapshot, service_range),
            *_of_routes(hosts, service_range),
        )
    )


def _of_nodes(snapshot: Snapshot, service_range: Network) -> Iterator[Overlap]:
    by_cidr: dict[str, list[str]] = {}
    by_address: dict[str, str] = {}
    for node in snapshot.nodes:
        for cidr in node.pod_cidrs:
            pods = network(cidr)
            if pods is not None and _overlap(service_range, pods):
                by_cidr.setdefault(cidr, []).append(node.name)
        for text in node.addresses():
            if _inside(text, service_range):
                by_address[text] = node.name
    for cidr, names in by_cidr.items():
        yield Overlap(str(service_range), Whose.PODS, f"pod range {cidr} of {names[0]}", tuple(names))
    for address, name in by_address.items():
        yield Overlap(str(service_range), Whose.NODE, f"{address} is an address of {name}", (name,))


def _of_endpoints(snapshot: Snapshot, service_range: Network) -> Iterator[Overlap]:
    """Endpoints within the range: pods whose addresses do not come from their node's range (cloud networks)."""
    found: dict[str, str] = {}
    seen: set[str] = set()
    separator, bits = (".", 24) if service_range.version == 4 else (":", 112)
    for s in snapshot.of(Kind.ENDPOINT_SLICE):
        if s.address_type != f"IPv{service_range.version}":
            continue
        for e in s.endpoints or ():
            for address in e.addresses or ():
                # Neighbours are inside or outside together, unless the range is smaller than they are apart.
                group = address.rpartition(separator)[0] if service_range.prefixlen <= bits else address
                if group not in seen:
                    seen.add(group)
                    if _inside(address, service_range):
                        who = (
                            f"{e.target_ref.namespace}/{e.target_ref.name}"
                            if e.target_ref
                            else s.service_name
                        )
                        found[address] = f"{address} is an endpoint ({who})"
    for words in found.values():
        yield Overlap(str(service_range), Whose.PODS, words)


def _of_routes(hosts: Hosts, service_range: Network) -> Iterator[Overlap]:
    """Routes of nodes into a part of the range. One to all of it, on the link itself, is a known way to choose the
    source address on nodes with several interfaces; one to more than it (a VPN to 10.0.0.0/8) hides this part only."""
    for name in hosts.names:
        host = hosts.host(name)
        for route in host.router.unicast_routes(service_range.version) if host is not None else ():
            if route.dev == "kube-ipvs0" or not route.prefix:
                continue
            other = network(f"{_text(route.network, service_range.version)}/{route.prefix}")
            if other is None or not _overlap(service_range, other):
                continue
            if other == service_range and route.gateway is None:
                continue
            by = f" by {route.dev}" if route.dev else ""
            words = f"{name} has a route to {other}{by}"
            wider = other.prefixlen < service_range.prefixlen
            yield Overlap(str(service_range), Whose.ROUTE, words, (name,), wider)


def _text(number: int, version: int) -> str:
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))


def _of_addresses(snapshot: Snapshot) -> Iterator[Overlap]:
    """Services' own addresses that lie in a node's pod range or are a node's."""
    held: dict[tuple[int, int], dict[int, tuple[str, str]]] = {}
    for node in snapshot.nodes:
        for cidr in node.pod_cidrs:
            pods = network(cidr)
            if pods is not None:
                index = held.setdefault((pods.version, pods.prefixlen), {})
                index.setdefault(int(pods.network_address), (cidr, node.name))
    for service in snapshot.services if held else ():
        name = (service.namespace, service.name)
        for text in service.cluster_ips:
            ip = canonical_or_none(text)
            if ip is None:
                continue
            if ip in snapshot.nodes_by_ip:
                node_name = snapshot.nodes_by_ip[ip]
                yield Overlap(
                    ip, Whose.NODE, f"{ip} is an address of {node_name}", (node_name,), service=name
                )
            address = ip_address(ip)
            for (version, length), index in held.items():
                if version != address.version:
                    continue
                shift = address.max_prefixlen - length
                hit = index.get(int(address) >> shift << shift)
                if hit is not None:
                    yield Overlap(ip, Whose.PODS, f"pod range {hit[0]} of {hit[1]}", (hit[1],), service=name)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _inside(text: str, service_range: Network) -> bool:
    ip = canonical_or_none(text)
    if ip is None:
        return False
    address = ip_address(ip)
    return address.version == service_range.version and address in service_range
