"""The DNS server outside the cluster, whom the nodes ask: a few names of a zone of its own.

It listens on the LAN. ``delay`` is how long it thinks about what it does not have, in seconds.
"""

from __future__ import annotations

import socket
import time

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from svcdoctor.lab.net.dnsserver import DnsServer

TTL = 60
OUTSIDE = "www.shop.example"
MANY = "many.shop.example"  # more addresses than fit into 512 bytes

_DATA = {
    (OUTSIDE, "A"): ("198.51.100.80",),
    (OUTSIDE, "AAAA"): ("2001:db8::80",),
    (MANY, "A"): tuple(f"198.51.100.{n}" for n in range(1, 61)),
}


class Upstream:
    """Serves on an address of this process's own network."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.delay = 0.0

    def start(self) -> None:
        """Serve until the process ends. Raises OSError where the address cannot be bound."""
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind((self._address, 53))
        tcp = socket.create_server((self._address, 53))
        DnsServer(self.answer).serve(udp, tcp)

    def answer(self, query: dns.message.Message, wire: bytes) -> bytes:
        """The answer to a query, as ``DnsServer`` wants it."""
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        question = query.question[0]
        name = question.name.to_text(omit_final_dot=True).lower()
        kind = dns.rdatatype.to_text(question.rdtype)
        data = _DATA.get((name, kind))
        if data:
            response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *data))
        elif not any(name == known for known, _ in _DATA):
            time.sleep(self.delay)
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()
