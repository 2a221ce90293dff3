"""UDP flows that conntrack sends elsewhere than the rules: forgotten, so that their next packet meets the rules.

Theory. Only the first packet of a flow meets NAT rules. A client that goes on sending from one port keeps its flow, and
with it an endpoint that is gone, or none, where it asked before the rules were there. TCP ends such connections itself;
for UDP kube-proxy deletes the entries, and so does this.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from svcdoctor.capture.ctnetlink import Translation
from svcdoctor.proxy.kernel.conntrack import UDP, Conntrack, destination
from svcdoctor.proxy.kernel.portrules import ANY
from svcdoctor.proxy.serving.served import ServedPort
from svcdoctor.sources.localnode import own_addresses


def forget_stale(served: Iterable[ServedPort], gone: Iterable[ServedPort] = ()) -> int:
    """Forget the UDP flows to addresses of these ports that go to none of their endpoints, and all to those that are
    ``gone``; how many there were. Reads the whole connection table, but only where a port is of UDP. Raises OSError."""
    allowed: dict[bytes, frozenset[bytes]] = {}
    for port, lives in (*((p, True) for p in served), *((p, False) for p in gone)):
        if port.protocol == "UDP":
            ends = (*port.cluster, *port.local) if lives else ()
            endpoints = frozenset(ip_address(b.ip).packed + b.port.to_bytes(2, "big") for b in ends)
            allowed |= dict.fromkeys(destinations([port]), endpoints)
    if not allowed:
        return 0
    with Conntrack() as table:
        stale = [flow for flow in table.entries() if flow.protocol == UDP and _is_stale(flow, allowed)]
        table.forget(stale)
    return len(stale)


def destinations(ports: Iterable[ServedPort]) -> Iterator[bytes]:
    """Where these are served, as connections have it (`conntrack.destination`)."""
    own: list[bytes] | None = None
    for port in ports:
        for listen in port.listens:
            ips = [ip_address(listen.ip).packed]
            if listen.ip in ANY:
                own = [ip_address(a).packed for a in own_addresses()] if own is None else own
                ips = [ip for ip in own if len(ip) == len(ips[0])]
            yield from (ip + listen.port.to_bytes(2, "big") for ip in ips)


def _is_stale(flow: Translation, allowed: dict[bytes, frozenset[bytes]]) -> bool:
    endpoints = allowed.get(destination(flow.original))
    return endpoints is not None and destination(flow.translated) not in endpoints
