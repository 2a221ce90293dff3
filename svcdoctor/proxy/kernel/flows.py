"""UDP flows that conntrack sends elsewhere than the rules: forgotten, so that their next packet meets the rules.

Theory. Only the first packet of a flow meets NAT rules. A client that goes on sending from one port keeps its flow, and
with it an endpoint that is gone, or none, where it asked before the rules were there. TCP ends such connections itself;
for UDP kube-proxy deletes the entries, and so does this.

What may live here: which flows are stale, and conntrack's entries over netlink. Needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from ipaddress import ip_address

from svcdoctor.capture.ctnetlink import Translation, deletion_request, listing_request, messages
from svcdoctor.proxy.kernel.portrules import ANY
from svcdoctor.proxy.serving.served import ServedPort
from svcdoctor.sources.localnode import own_addresses

_NETFILTER = 12
_UDP = 17
_AT_ONCE = 1 << 16
_ROOM = 8 << 20  # bytes of messages that the kernel keeps for us
_PATIENCE = 10.0  # seconds for the listing


def forget_stale(served: Iterable[ServedPort], gone: Iterable[ServedPort] = ()) -> int:
    """Forget the UDP flows to addresses of these ports that go to none of their endpoints, and all to those that are
    ``gone``; how many there were. Reads the whole connection table, but only where a port is of UDP. Raises OSError."""
    allowed: dict[bytes, frozenset[bytes]] = {}
    own = [ip_address(a).packed for a in own_addresses()]
    for port, lives in (*((p, True) for p in served), *((p, False) for p in gone)):
        if port.protocol != "UDP":
            continue
        ends = (*port.cluster, *port.local) if lives else ()
        endpoints = frozenset(ip_address(b.ip).packed + b.port.to_bytes(2, "big") for b in ends)
        for listen in port.listens:
            size = 16 if ":" in listen.ip else 4
            ips = own if listen.ip in ANY else [ip_address(listen.ip).packed]
            for ip in ips:
                if len(ip) == size:
                    allowed[ip + listen.port.to_bytes(2, "big")] = endpoints
    return _forget(allowed) if allowed else 0


def _forget(allowed: dict[bytes, frozenset[bytes]]) -> int:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETFILTER) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
        sock.bind((0, 0))
        sock.settimeout(_PATIENCE)
        sock.send(listing_request(1))
        stale = [flow for flow in _listed(sock) if flow.protocol == _UDP and _is_stale(flow, allowed)]
        for number, flow in enumerate(stale, 2):
            sock.send(deletion_request(number, flow))
    return len(stale)


def _is_stale(flow: Translation, allowed: dict[bytes, frozenset[bytes]]) -> bool:
    endpoints = allowed.get(_destination(flow.original))
    return endpoints is not None and _destination(flow.translated) not in endpoints


def _destination(key: bytes) -> bytes:
    size = (len(key) - 4) // 2
    return key[size : 2 * size] + key[-2:]


def _listed(sock: socket.socket) -> Iterator[Translation]:
    while True:
        for message in messages(sock.recv(_AT_ONCE)):
            if isinstance(message, Translation):
                yield message
            elif message.error:
                raise OSError(message.error, errno.errorcode.get(message.error, "conntrack"))
            else:
                return
