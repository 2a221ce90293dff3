"""IPVS on a node: which real server a packet to a virtual one gets.

Over many connections each server gets the same share, or one by its weight; which one is next depends on the
connections before, and with the hashing schedulers on the client. A server of weight 0 gets no new connection.
Specified by ipvsadm(8).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from svcdoctor.dataplane.packet import Packet
from svcdoctor.node.ipvs import VirtualServer

BY_WEIGHT = frozenset({"wrr", "wlc", "sed", "nq", "twos"})


class Ipvs:
    """The virtual servers of a node. Satisfies ``Balancer``."""

    def __init__(self, servers: Iterable[VirtualServer]) -> None:
        self._by_address: dict[tuple[int, int, int, int], VirtualServer] = {}
        self._by_mark: dict[tuple[int, int], VirtualServer] = {}
        for server in servers:
            if server.mark:
                self._by_mark[server.family, server.mark] = server
            else:
                self._by_address[server.family, server.protocol, server.address, server.port] = server

    @property
    def addresses(self) -> frozenset[tuple[int, int]]:
        """Family and address of every virtual server: kube-proxy puts them on kube-ipvs0, so they are local."""
        return frozenset((family, address) for family, _, address, _ in self._by_address)

    def real_servers(self, packet: Packet) -> Sequence[tuple[float, int, int | None]] | str | None:
        server = self._by_mark.get((packet.family, packet.mark)) if packet.mark else None
        if server is None:
            key = (packet.family, packet.proto, packet.dst, packet.dport or 0)
            server = self._by_address.get(key)
        if server is None:
            return None
        alive = [r for r in server.real if r.weight > 0]
        if server.scheduler in BY_WEIGHT:
            total = sum(r.weight for r in alive)
            return [(r.weight / total, r.address, r.port or None) for r in alive]
        return [(1 / len(alive), r.address, r.port or None) for r in alive]
