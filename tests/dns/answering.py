"""Servers that are no good, beside BIND: one that is silent, and one that treats A and AAAA differently."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from named_server import Asked

from svcdoctor.dns.expansion import Status
from svcdoctor.lab.net.sockets import socket_in

FOUR, SIX = "10.1.1.1", "fd00:10:1::1"


@contextlib.contextmanager
def silent(pid: int, address: str) -> Iterator[list[Asked]]:
    """A port 53 that takes queries over UDP and never answers; gives what it took."""
    with bad_server(pid, address, {}) as asked:
        yield asked


@contextlib.contextmanager
def bad_server(pid: int, address: str, zones: Mapping[str, Mapping[str, Status]]) -> Iterator[list[Asked]]:
    """Answers each type as its zone says, over UDP and TCP; TIMEOUT, and every other name, is silence."""
    asked: list[Asked] = []
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    udp = socket_in(pid, family, socket.SOCK_DGRAM, address, 53)

    def answer(wire: bytes) -> bytes | None:
        query = dns.message.from_wire(wire)
        question = query.question[0]
        name, rtype = question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype)
        asked.append(Asked(name, rtype, address, False))
        zone = next((z for z in zones if name.endswith(f".{z}")), None)
        status = zones[zone].get(rtype, Status.TIMEOUT) if zone else Status.TIMEOUT
        if status is Status.TIMEOUT:
            return None
        response = dns.message.make_response(query)
        response.flags |= dns.flags.AA
        match status:
            case Status.DATA:
                data = FOUR if rtype == "A" else SIX
                response.answer.append(dns.rrset.from_text(question.name, 5, "IN", rtype, data))
            case Status.NXDOMAIN | Status.SERVFAIL | Status.REFUSED:
                response.set_rcode(dns.rcode.from_text(status))
        return response.to_wire()

    def serve() -> None:
        while True:
            wire, client = udp.recvfrom(4096)
            if not wire:
                return
            response = answer(wire)
            if response is not None:
                udp.sendto(response, client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        with contextlib.suppress(OSError):
            udp.sendto(b"", udp.getsockname()[:2])
        thread.join(5)
        udp.close()
