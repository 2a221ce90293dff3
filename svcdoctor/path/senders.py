"""Who a packet comes from, as the policies at a pod see it: its sender, or a node that masqueraded on the way.

Specification: https://kubernetes.io/docs/tutorials/services/source-ip/
"""

from __future__ import annotations

from functools import cached_property

from svcdoctor.dataplane.policy import Party, PartyKind
from svcdoctor.model.snapshot import in_networks, network
from svcdoctor.model.trace import ClientKind, Outcome, SourceSeen
from svcdoctor.path.clients import node_address
from svcdoctor.path.deliver import Packet
from svcdoctor.path.ends import End
from svcdoctor.path.policies import pod_party
from svcdoctor.path.view import View

MOST_NODES = 4  # asked for their addresses where it is not known which one masquerades

Sources = tuple[tuple[Party, ...], ...]


class Senders:
    """The senders of one packet. ``at`` is the node that chose its backend, where one is known."""

    def __init__(self, view: View, packet: Packet, at: str | None) -> None:
        self.view = view
        self.world = view.world
        self.snapshot = view.snapshot
        self.packet = packet
        self.at = at

    @cached_property
    def client(self) -> Party:
        """The sender itself."""
        source, family = self.packet.source, self.packet.family
        if source.kind is ClientKind.NODE:
            return Party(PartyKind.NODE, source.ip, family, node=source.node)
        if source.kind is ClientKind.EXTERNAL:
            return Party(PartyKind.OUTSIDE, source.ip, family)
        pod = self.snapshot.pod(*source.pod) if source.pod is not None else None
        if pod is None:
            return Party(PartyKind.POD, None, family)
        return pod_party(self.view, pod, family, source.ip)

    def seen(self, outcome: Outcome, end: End | None, server: Party) -> Sources:
        """Everybody that the packet may come from at the pod, each by the addresses that it may have there.

        There are two where it is not determined whether the policies see the packet masqueraded.
        """
        if end is not None:
            if end.kept:
                return ((self.client,),)
            node = self._node_with(end.source) or self.at
            hidden: tuple[Party, ...] = (self._node(node, end.source),)
        elif outcome.source_seen is SourceSeen.CLIENT:
            return ((self.client,),)
        else:
            names = self.snapshot.node_names
            node = self.at or (names[0] if len(names) == 1 else None)
            hidden = self._masquerading(node, server)
        unsure = end is None and outcome.source_seen is SourceSeen.UNKNOWN
        both = unsure or (node is not None and node == server.node)
        return ((self.client,), hidden) if both else (hidden,)

    def words(self, party: Party) -> str:
        if party.kind is PartyKind.POD:
            return f"pod {party.name}" if party.name else "any pod"
        if party.kind is PartyKind.OUTSIDE:
            return party.address or "clients outside"
        if party == self.client:
            return f"node {party.node}" if party.node else "nodes"
        return f"{f'node {party.node}' if party.node else 'a node'} in the place of its client"

    def _node(self, node: str | None, address: str | None) -> Party:
        return Party(PartyKind.NODE, address, self.packet.family, node=node)

    def _masquerading(self, node: str | None, server: Party) -> tuple[Party, ...]:
        """A node by the addresses that it may masquerade with: its own, and its tunnel's or bridge's among its pods'.

        Where it is not known which node, any of the first other ones than the pod's.
        """
        if node is None:
            others = [n for n in self.snapshot.node_names if n != server.node][:MOST_NODES]
            found = tuple(p for n in others for p in self._masquerading(n, server))
            return found or (self._node(None, None),)
        family = self.packet.family
        addresses = [node_address(self.snapshot, node, family)]
        for cidr in self.world.pod_cidrs.get(node, ()):
            pods = network(cidr)
            if pods is not None and pods.version == family:
                addresses += [str(pods[0]), str(pods[min(1, pods.num_addresses - 1)])]
        return tuple(self._node(node, address) for address in addresses)

    def _node_with(self, address: str) -> str | None:
        """The node that an address is of: its own, or one of its pod range, as bridges and tunnels have."""
        found = self.snapshot.nodes_by_ip.get(address)
        if found is not None:
            return found
        return next((n for n, cidrs in self.world.pod_cidrs.items() if in_networks(address, cidrs)), None)
