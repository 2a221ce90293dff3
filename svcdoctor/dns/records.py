"""The records that a cluster's DNS must serve: Kubernetes DNS-Based Service Discovery, schema 1.1.0.

Theory. Every record follows from the Services and their EndpointSlices; an endpoint counts when it is ready, or when
its Service publishes those that are not. Where the specification leaves a choice, it is made as CoreDNS makes it:

- an endpoint without a hostname is named by its address, dashes for dots and colons (CoreDNS with
  ``endpoint_pod_names`` takes the pod's name);
- an SRV record of a headless Service has the endpoint's port, which is the one that can be connected to, not the
  Service's; priority is 0 and weight 100, and both may be anything.

CoreDNS serves more than that: names of the endpoints of Services that have a cluster IP, PTR records for these,
names of IPv6 addresses under ``pod``, and SOA, NS and ``ns.dns`` records. A server without those is right too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from svcdoctor.model.endpoints import EndpointPort
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot, canonical_or_none

SCHEMA = "1.1.0"

# Names made of an address, which need no pod (specification 2.6; CoreDNS: pods insecure).
_POD = re.compile(r"(\d{1,3}-\d{1,3}-\d{1,3}-\d{1,3})\.[a-z0-9-]+\.pod\.", re.ASCII)

Data = dict[tuple[str, str], list[str]]


@dataclass(frozen=True, slots=True)
class Records:
    """Data by name (lower case, no last dot) and type, in the words of a zone file.

    ``names`` are all names that have data, and the names above these.
    """

    domain: str
    data: Mapping[tuple[str, str], tuple[str, ...]]
    names: frozenset[str]

    def get(self, name: str, rtype: str) -> tuple[str, ...]:
        """The data of one name and type; nothing where there is none. A CNAME is a type like others."""
        name = _plain(name)
        address = self._pod_address(name)
        if address is not None:
            return (address,) if rtype == "A" else ()
        return self.data.get((name, rtype), ())

    def exists(self, name: str) -> bool:
        """Whether the name, or one below it, has a record: no data then is NODATA, not NXDOMAIN."""
        name = _plain(name)
        return name in self.names or self._pod_address(name) is not None

    def inside(self, name: str) -> bool:
        """Whether the name lies in the cluster domain."""
        name = _plain(name)
        return name == self.domain or name.endswith(f".{self.domain}")

    def _pod_address(self, name: str) -> str | None:
        found = _POD.match(name)
        if found is None or name[found.end() :] != self.domain:
            return None
        return canonical_or_none(found[1].replace("-", "."))


def records(snapshot: Snapshot, domain: str) -> Records:
    """Every record that the objects demand."""
    domain = _plain(domain)
    found: Data = {(f"dns-version.{domain}", "TXT"): [f'"{SCHEMA}"']}
    for service in snapshot.services:
        _add(found, snapshot, service, domain)
    return _records(found, domain)


def service_records(snapshot: Snapshot, service: Service, domain: str) -> Records:
    """The records of one Service."""
    domain = _plain(domain)
    found: Data = {}
    _add(found, snapshot, service, domain)
    return _records(found, domain)


def _records(found: Data, domain: str) -> Records:
    names = {domain, f"svc.{domain}", f"pod.{domain}"}
    for name, _ in found:
        while name and name not in names:
            names.add(name)
            name = name.partition(".")[2]
    return Records(domain, {key: tuple(dict.fromkeys(data)) for key, data in found.items()}, frozenset(names))


def _add(found: Data, snapshot: Snapshot, service: Service, domain: str) -> None:
    base = f"{service.name}.{service.namespace}.svc.{domain}"

    def add(name: str, rtype: str, data: str) -> None:
        found.setdefault((name.lower(), rtype), []).append(data)

    def add_address(name: str, ip: str) -> None:
        add(name, "AAAA" if ":" in ip else "A", ip)

    if service.type == "ExternalName":
        add(base, "CNAME", f"{service.spec.external_name.rstrip('.')}.")
        return
    if not service.headless:
        for ip in filter(None, map(canonical_or_none, service.cluster_ips)):
            add_address(base, ip)
            add(ipaddress.ip_address(ip).reverse_pointer, "PTR", f"{base}.")
            for port in service.ports:
                if port.name:
                    add(f"_{port.name}._{port.protocol.lower()}.{base}", "SRV", f"0 100 {port.port} {base}.")
        return
    wanted = {(port.name, port.protocol) for port in service.ports if port.name}
    for hostname, ip, ports in _published(snapshot, service):
        name = f"{hostname or ip.replace('.', '-').replace(':', '-')}.{base}"
        add_address(base, ip)
        add_address(name, ip)
        add(ipaddress.ip_address(ip).reverse_pointer, "PTR", f"{name}.")
        for offered in ports:
            protocol = offered.protocol or "TCP"
            if (offered.name, protocol) in wanted and offered.port:
                add(f"_{offered.name}._{protocol.lower()}.{base}", "SRV", f"0 100 {offered.port} {name}.")


def _published(
    snapshot: Snapshot, service: Service
) -> Iterator[tuple[str | None, str, tuple[EndpointPort, ...]]]:
    """Hostname, address and ports of every endpoint that has records."""
    unready = service.spec.publish_not_ready_addresses
    slices = snapshot.slices(service.namespace, service.name)
    for piece in slices:
        for endpoint in piece.endpoints or ():
            if piece.address_type in ("IPv4", "IPv6") and (endpoint.ready or unready):
                for ip in filter(None, map(canonical_or_none, endpoint.addresses or ())):
                    yield endpoint.hostname, ip, piece.ports or ()
    if slices or snapshot.knows(Kind.ENDPOINT_SLICE):
        return
    old = snapshot.endpoints(service.namespace, service.name)
    for subset in (old.subsets or ()) if old else ():
        for address in (*(subset.addresses or ()), *(subset.not_ready_addresses or () if unready else ())):
            canonical = canonical_or_none(address.ip)
            if canonical is not None:
                yield address.hostname, canonical, subset.ports or ()


def _plain(name: str) -> str:
    return name.lower().rstrip(".")
