"""The lab's cluster DNS: answers as its Corefile says, which is the ConfigMap kube-system/coredns.

The zones of ``kubernetes`` come from the objects, all others are forwarded to the server
that ``forward`` names (``/etc/resolv.conf`` is the node's).

Specification: the manual of CoreDNS, https://coredns.io/plugins/
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from svcdoctor.dns.corefile import Corefile, forwards, kubernetes_zones, parse, within
from svcdoctor.dns.records import Records, records
from svcdoctor.lab.net.dnsserver import message_from
from svcdoctor.lab.net.world import COREFILE, DNS_IP, MASTER4
from svcdoctor.model.cluster import ConfigMap
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.snapshot import Snapshot

TTL = 5
FORWARD_SECONDS = 2.0

MakeSocket = Callable[[socket.SocketKind], socket.socket]
"""A socket of the pod's own network namespace."""


class CoreDns:
    """Answers from what ``snapshot`` returns at the time.

    ``frozen`` is a state of the cluster that it does not get past, as when it has lost its watch.
    """

    def __init__(self, snapshot: Callable[[], Snapshot], outgoing: MakeSocket) -> None:
        self._snapshot = snapshot
        self._outgoing = outgoing
        self._held: dict[str, tuple[Snapshot, Records]] = {}
        self.frozen: Snapshot | None = None

    def freeze(self) -> None:
        """Know nothing of what changes from now on, but for the Corefile."""
        self.frozen = self._snapshot()

    def answer(self, query: dns.message.Message, wire: bytes) -> bytes:
        """The answer to a query, as ``DnsServer`` wants it."""
        name = query.question[0].name.to_text(omit_final_dot=True).lower()
        corefile = self._corefile()
        zone = max((z for z in kubernetes_zones(corefile) if within(name, z)), key=len, default=None)
        domain = next((z for z in kubernetes_zones(corefile) if not z.endswith(".arpa")), "")
        if zone is not None and (not zone.endswith(".arpa") or self._records(domain).exists(name)):
            return self._own(query, name, domain)
        return self._forwarded(wire, query, name, corefile)

    def _own(self, query: dns.message.Message, name: str, domain: str) -> bytes:
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA | dns.flags.RA
        question = query.question[0]
        known = self._records(domain)
        kind = dns.rdatatype.to_text(question.rdtype)
        data = known.get(name, kind)
        alias = known.get(name, "CNAME")
        if data or alias:
            kind = kind if data else "CNAME"
            response.answer.append(dns.rrset.from_text(question.name, TTL, "IN", kind, *(data or alias)))
        elif not known.exists(name):
            response.set_rcode(dns.rcode.NXDOMAIN)
        return response.to_wire()

    def _forwarded(self, wire: bytes, query: dns.message.Message, name: str, corefile: Corefile) -> bytes:
        """What the server says that names outside are forwarded to; SERVFAIL where it says nothing."""
        fitting = (f for f in forwards(corefile) if within(name, f.zone) and f.to)
        forward = next(fitting, None)
        if forward is None:
            return _failed(query, dns.rcode.REFUSED)
        target = MASTER4 if forward.to[0].startswith("/") else forward.to[0].removeprefix("dns://")
        host, colon, port = target.partition(":")
        if host in (DNS_IP, "127.0.0.1"):
            return _failed(query, dns.rcode.SERVFAIL)  # itself: the plugin loop ends CoreDNS then
        with self._outgoing(socket.SOCK_DGRAM) as sock:
            sock.settimeout(FORWARD_SECONDS)
            try:
                sock.connect((host, int(port) if colon else 53))
                sock.send(wire)
                answer = sock.recv(4096)
            except OSError:
                return _failed(query, dns.rcode.SERVFAIL)
        if answer[2:3] and answer[2] & 0x02:  # truncated: the whole of it over TCP
            with contextlib.suppress(OSError), self._outgoing(socket.SOCK_STREAM) as sock:
                sock.settimeout(FORWARD_SECONDS)
                sock.connect((host, int(port) if colon else 53))
                sock.sendall(len(wire).to_bytes(2) + wire)
                return message_from(sock)
        return answer

    def _corefile(self) -> Corefile:
        found = self._snapshot().find(Kind.CONFIG_MAP, "kube-system", "coredns", ConfigMap)
        text = (found.data or {}).get("Corefile", "") if found is not None else ""
        with contextlib.suppress(SvcdoctorError):
            return parse(text)
        return parse(COREFILE)  # one that cannot be read is not taken over

    def _records(self, domain: str) -> Records:
        snapshot = self.frozen or self._snapshot()
        held = self._held.get(domain)
        if held is None or held[0] is not snapshot:
            held = self._held[domain] = snapshot, records(snapshot, domain)
        return held[1]


def _failed(query: dns.message.Message, code: dns.rcode.Rcode) -> bytes:
    response = dns.message.make_response(query)
    response.set_rcode(code)
    return response.to_wire()
