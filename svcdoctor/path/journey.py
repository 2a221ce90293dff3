"""A packet from its sender through the real rules of every node on its way, and whether the answer comes back.

Theory. Each node's rules and routes decide what it does with the packet: hand it to one of its own sockets, send
it on, or end it. A packet that is sent on reaches a pod of that node, another node, or leaves the cluster. On
another node it is a new packet: marks and translations do not travel, addresses do. Where it arrives, the answer
must come back to the node that translated the destination; otherwise the client gets an answer from an address
that it never asked, and drops it. A node on the way whose rules were not collected is taken to pass what reaches
it; the first node must be known, or there is no journey.

What may live here: following one packet from node to node. What a node does is in ``dataplane``, what the packet
meets at a pod in ``backends``, what the objects demand in ``deliver``.
"""

from __future__ import annotations

from ipaddress import ip_address

from svcdoctor.dataplane.hooks import Fate, Node, Outcome
from svcdoctor.dataplane.packet import PROTOCOLS, Packet, address_text
from svcdoctor.dataplane.routing import Decision, is_loopback
from svcdoctor.model.trace import ClientKind, Result
from svcdoctor.path.deliver import Packet as Asked
from svcdoctor.path.ends import End, Passage
from svcdoctor.path.world import World

LONGEST = 8  # nodes that a packet may pass


class Journeys:
    """The nodes of a Snapshot whose rules were collected, and the packets through them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.snapshot = world.snapshot

    def ends(self, packet: Asked) -> tuple[End, ...] | None:
        """Every end of the packet; ``None`` where the first node is not known, or its rules were not collected or are
        not what serves Services there."""
        start = self._start(packet)
        if start is None:
            return None
        name, node, first = start
        found: list[End] = []
        local = packet.source.kind is ClientKind.NODE
        outcomes = node.send(first) if local else node.receive(first)
        origin = first.original_src
        for outcome in outcomes:
            _Follower(self, packet, origin, found).follow(name, node, outcome, ())
        return tuple(found)

    def _start(self, asked: Asked) -> tuple[str, Node, Packet] | None:
        """The first node, and the packet as it reaches or leaves it."""
        source = asked.source
        family = asked.family
        target = int(ip_address(asked.ip))
        outside = source.kind is ClientKind.EXTERNAL
        name = asked.enter if outside else source.node
        if outside and name is None:
            name = self.snapshot.nodes_by_ip.get(asked.ip)
        host = self.world.hosts.host(name) if name is not None else None
        node = host.node if host is not None and not host.bypassed else None
        if name is None or node is None:
            return None
        proto = PROTOCOLS[asked.protocol.lower()]
        if source.kind is ClientKind.NODE:
            own = node.router.source_towards(family, target)
            if own is None and source.ip is not None and (":" in source.ip) == (family == 6):
                own = int(ip_address(source.ip))
            return None if own is None else (name, node, Packet(family, proto, own, target, asked.port))
        if source.ip is None or (":" in source.ip) != (family == 6) or source.ip == asked.ip:
            return None  # a pod that asks its own address never leaves itself
        origin = int(ip_address(source.ip))
        first = Packet(family, proto, origin, target, asked.port)
        entry = self.world.entry_interface(name, family) if outside else None
        first.iif = entry or node.router.interface_from(family, origin)
        return name, node, first


class _Follower:
    """One packet from node to node."""

    def __init__(self, journeys: Journeys, asked: Asked, origin: int, found: list[End]) -> None:
        self.journeys = journeys
        self.world = journeys.world
        self.snapshot = journeys.snapshot
        self.asked = asked
        self.origin = origin  # the source address that the packet set out with
        self.found = found

    def follow(
        self,
        name: str,
        node: Node,
        outcome: Outcome,
        before: tuple[Passage, ...],
        translator: str | None = None,
    ) -> None:
        """From what node ``name`` did with the packet to its end. ``translator`` translated its destination."""
        packet = outcome.packet
        passages = (*before, Passage(name, outcome.rules))
        if outcome.translated:
            translator = name
        if outcome.fate is Fate.LOCAL:
            self._arrive(name, packet, passages, translator, local=True)
        elif outcome.fate is Fate.FORWARDED:
            self._forwarded(name, node, packet, outcome.route, passages, translator)
        else:
            results = {Fate.DROPPED: Result.DROPPED, Fate.REJECTED: Result.REFUSED}
            result = results.get(outcome.fate, Result.UNKNOWN)
            reason, code = _why(name, outcome)
            self._end(result, name, packet, passages, translator, reason=reason, code=code)

    def _forwarded(
        self,
        name: str,
        node: Node,
        packet: Packet,
        route: Decision | None,
        passages: tuple[Passage, ...],
        translator: str | None,
    ) -> None:
        text = address_text(packet.family, packet.dst)
        pods = self.snapshot.pods_by_ip.get(text, ())
        owner = self.snapshot.nodes_by_ip.get(text)
        home = owner or next((p.spec.node_name for p in pods if p.spec.node_name), None)
        if home == name and owner is None:
            self._arrive(name, packet, passages, translator)
            return
        gateway = None
        if route is not None and route.gateway is not None:
            gateway = self.snapshot.nodes_by_ip.get(address_text(packet.family, route.gateway))
        following = gateway or home
        if home is None and gateway is None:
            self._nowhere(name, packet, text, passages, translator)
            return
        assert following is not None
        if gateway is None and owner is None and self.world.hosts.astray(route, home):
            via = address_text(packet.family, route.gateway) if route and route.gateway is not None else "?"
            reason = (
                f"{name} has no route to the pods of {home}: it sends {text} to its default gateway {via}"
            )
            self._end(Result.DROPPED, name, packet, passages, translator, reason=reason, code="NOD008")
            return
        if len(passages) >= LONGEST or following == name:
            reason = f"{text} goes in circles between the nodes ({', '.join(p.node for p in passages)})"
            self._end(Result.DROPPED, name, packet, passages, translator, reason=reason, code="NOD008")
            return
        far = self.world.hosts.node(following)
        if far is None:
            self._arrive(following, packet, passages, translator, local=owner is not None)
            return
        again = Packet(packet.family, packet.proto, packet.src, packet.dst, packet.dport, packet.sport)
        again.probability = packet.probability
        again.iif = far.router.interface_from(packet.family, packet.src)
        for outcome in far.receive(again):
            self.follow(following, far, outcome, passages, translator)

    def _nowhere(
        self, name: str, packet: Packet, text: str, passages: tuple[Passage, ...], translator: str | None
    ) -> None:
        """Towards an address that is neither a pod's nor a node's."""
        self._end(Result.DELIVERED, name, packet, passages, translator)

    def _arrive(
        self,
        name: str,
        packet: Packet,
        passages: tuple[Passage, ...],
        translator: str | None,
        local: bool = False,
    ) -> None:
        """At a pod of node ``name``, or at the node itself: will the answer come back the right way?"""
        lost = self._answer_lost(name, packet, passages, translator)
        if lost is not None:
            reason, code = lost
            self._end(Result.DROPPED, name, packet, passages, translator, reason=reason, code=code)
            return
        self._end(Result.DELIVERED, name, packet, passages, translator, local=local)

    def _answer_lost(
        self, name: str, packet: Packet, passages: tuple[Passage, ...], translator: str | None
    ) -> tuple[str, str | None] | None:
        """Why the pod's answer does not come back to the client as its answer; ``None`` when it does."""
        if packet.src == packet.dst and self.asked.source.kind is ClientKind.POD:
            pod = address_text(packet.family, packet.dst)
            return f"pod {pod} gets a packet from its own address, not masqueraded, and drops it", "RUL012"
        if packet.dst == self.origin and self.asked.source.kind is ClientKind.POD and translator == name:
            return self._turned_back(name, packet)
        if translator is None:
            return None
        home = self._home(packet.family, packet.src)
        if translator in (name, home):
            if home == name == translator:
                return self._bridged(name, packet)
            return None
        if home is None and is_loopback(packet.family, packet.src):
            return f"the packet left {translator} with a loopback address", None
        answering = self.world.hosts.node(name)
        if answering is not None:
            back = answering.router.next_hop(packet.family, packet.src)
            if (
                back is not None
                and self.snapshot.nodes_by_ip.get(address_text(packet.family, back)) == translator
            ):
                return None
        source = address_text(packet.family, packet.src)
        reason = (
            f"{translator} translated the destination and left the source {source}: the answer from {name} goes "
            f"to {source} past {translator}, from an address that the client never asked"
        )
        inside = self.asked.source.kind is ClientKind.POD
        return reason, "RUL011" if inside else None

    def _bridged(self, name: str, packet: Packet) -> tuple[str, str | None] | None:
        """Client and backend on one bridge: the answer takes no routed way, so only bridge-nf translates it."""
        node = self.world.hosts.node(name)
        if node is None or packet.src != self.origin:
            return None
        bridge = node.router.shared_bridge(packet.family, packet.src, packet.dst)
        if bridge is None or node.router.bridge_calls_netfilter(packet.family) is not False:
            return None
        setting = f"net.bridge.bridge-nf-call-ip{'6' if packet.family == 6 else ''}tables"
        reason = f"the answer crosses bridge {bridge} of {name} untranslated: {setting} is 0"
        return reason, "NOD002"

    def _turned_back(self, name: str, packet: Packet) -> tuple[str, str | None] | None:
        """A pod that chose itself: the bridge must let the packet out by the port that it came in by."""
        host = self.world.hosts.host(name)
        bridge = host.router.refusing_bridge(packet.family, packet.dst) if host is not None else None
        if bridge is None:
            return None
        pod = address_text(packet.family, packet.dst)
        return (
            f"{name}: pod {pod} chose itself, and bridge {bridge} sends nothing back (hairpin off)",
            "RUL012",
        )

    def _home(self, family: int, address: int) -> str | None:
        """The node that an address is on: its own, or its pod's."""
        text = address_text(family, address)
        if address == self.origin and self.asked.source.kind is not ClientKind.EXTERNAL:
            return self.asked.source.node
        owner = self.snapshot.nodes_by_ip.get(text)
        if owner is not None:
            return owner
        pods = self.snapshot.pods_by_ip.get(text, ())
        return next((p.spec.node_name for p in pods if p.spec.node_name), None)

    def _end(
        self,
        result: Result,
        node: str,
        packet: Packet,
        passages: tuple[Passage, ...],
        translator: str | None,
        *,
        local: bool = False,
        reason: str = "",
        code: str | None = None,
    ) -> None:
        self.found.append(
            End(
                result,
                packet.probability,
                node,
                address_text(packet.family, packet.dst),
                packet.dport or 0,
                address_text(packet.family, packet.src),
                passages,
                local,
                packet.src == self.origin,
                translator is not None,
                reason,
                code,
            )
        )


def _why(name: str, outcome: Outcome) -> tuple[str, str | None]:
    """Why a node ended the packet, and which finding that is where the node's settings tell."""
    rules = outcome.rules
    if outcome.route is not None:
        return f"{name}: {outcome.reason}", outcome.route.code
    if outcome.fate is Fate.UNKNOWN:
        rule = f" at {rules[-1]}" if rules else ""
        return f"{name}: {outcome.reason}{rule}", None
    if outcome.reason.startswith("policy"):
        return f"{name}: {outcome.reason}", None
    word = "dropped" if outcome.fate is Fate.DROPPED else "rejected"
    return f"{word} on {name} by {rules[-1]}" if rules else f"{word} on {name}", None
