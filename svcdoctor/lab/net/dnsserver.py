"""DNS for ``cluster.local``, as CoreDNS answers it: Services, headless ones, their ports, and pods by name.

Specification: Kubernetes DNS-Based Service Discovery (github.com/kubernetes/dns, docs/specification.md).
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename
import dns.rrset

from svcdoctor.lab.net.world import DOMAIN
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.path.endpoints import endpoints_of

TTL = 5
ZONE = dns.name.from_text(DOMAIN)

Records = dict[tuple[str, str], list[str]]  # name and type: data


def records(snapshot: Snapshot) -> Records:
    """Every record that the objects demand, names without the last dot."""
    found: Records = {}

    def add(name: str, kind: str, data: str) -> None:
        held = found.setdefault((name.lower(), kind), [])
        if data not in held:
            held.append(data)

    for service in snapshot.services:
        base = f"{service.name}.{service.namespace}.svc.{DOMAIN}"
        if service.type == "ExternalName":
            add(base, "CNAME", f"{service.spec.external_name}.")
            continue
        for name, ip in _addresses(snapshot, service, base):
            add(name, "AAAA" if ":" in ip else "A", ip)
            if name == base:
                add(dns.reversename.from_address(ip).to_text(omit_final_dot=True), "PTR", f"{base}.")
            for port in service.ports if name != base or not service.headless else ():
                if port.name:
                    add(f"_{port.name}._{port.protocol.lower()}.{base}", "SRV", f"0 100 {port.port} {name}.")
    return found


def _addresses(snapshot: Snapshot, service: Service, base: str) -> Iterator[tuple[str, str]]:
    """Name and address pairs: the cluster IPs, or of a headless Service every ready endpoint."""
    if not service.headless:
        for ip in service.cluster_ips:
            yield base, ip
        return
    for family in (4, 6):
        for port in service.ports:
            for endpoint in endpoints_of(snapshot, service, port, family):
                if endpoint.ready or service.spec.publish_not_ready_addresses:
                    yield base, endpoint.ip
                    host = endpoint.hostname or endpoint.ip.replace(".", "-").replace(":", "-")
                    yield f"{host}.{base}", endpoint.ip


class DnsServer:
    """Answers on sockets that somebody else made, from what ``snapshot`` returns at the time."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._held: tuple[Snapshot, Records] | None = None

    def serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Serve both until the process ends."""
        threading.Thread(target=self._udp, args=(udp,), name="lab-dns", daemon=True).start()
        threading.Thread(target=self._tcp, args=(tcp,), name="lab-dns", daemon=True).start()

    def answer(self, wire: bytes) -> bytes | None:
        """The answer to a query; ``None`` for what is no query."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return None
        if query.flags & dns.flags.QR or not query.question:
            return None
        response = dns.message.make_response(query)
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        known = self._records()
        response.flags |= dns.flags.AA
        data = known.get((name, kind))
        alias = known.get((name, "CNAME"))
        if data or alias:
            kind = kind if data else "CNAME"
            response.answer.append(
                dns.rrset.from_text(question.name, TTL, "IN", kind, *(data or alias or ()))
            )
        elif not any(n == name or n.endswith(f".{name}") for n, _ in known):
            inside = question.name.is_subdomain(ZONE) or name.endswith((".in-addr.arpa", ".ip6.arpa"))
            response.set_rcode(dns.rcode.NXDOMAIN if inside else dns.rcode.REFUSED)
        return response.to_wire()

    def _records(self) -> Records:
        snapshot = self._snapshot()
        if self._held is None or self._held[0] is not snapshot:
            self._held = snapshot, records(snapshot)
        return self._held[1]

    def _udp(self, sock: socket.socket) -> None:
        while True:
            wire, client = sock.recvfrom(4096)
            response = self.answer(wire)
            if response is not None:
                with contextlib.suppress(OSError):
                    sock.sendto(response, client)

    def _tcp(self, sock: socket.socket) -> None:
        while True:
            connection, _ = sock.accept()
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                length = int.from_bytes(_exactly(connection, 2))
                response = self.answer(_exactly(connection, length))
                if response is not None:
                    connection.sendall(len(response).to_bytes(2) + response)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data
