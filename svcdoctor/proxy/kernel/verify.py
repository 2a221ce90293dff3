"""The rules of this node against what served ports promise: the evaluator sends a packet to each address.

Theory. Each address of a port is asked by a client outside, by a pod, by the node itself and, where source ranges
guard it, by a client that they keep out. The packets go through all rules and routes of the node, also those of others:
no table can override what another one drops.

What may live here: comparing. What a packet must meet is in ``promise``; what the rules are is in ``evaluated``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from svcdoctor.dataplane.hooks import Fate, Node, Outcome
from svcdoctor.dataplane.packet import PROTOCOLS, Packet, address_text, endpoint_text
from svcdoctor.model.snapshot import in_networks
from svcdoctor.proxy.kernel.layout import TABLE
from svcdoctor.proxy.kernel.portrules import ANY, family_of
from svcdoctor.proxy.kernel.promise import ClientKind, Ended, Promise, promised
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.serving.served import Listen, ServedPort

OUTSIDE = {4: "192.0.2.77", 6: "2001:db8::77"}
"""A client outside, of the addresses that are nobody's (RFC 5737, RFC 3849)."""

Pods = Mapping[int, Sequence[int]]
"""Addresses of this node's pods by IP family."""

_ENDED = {Fate.DROPPED: Ended.DROPPED, Fate.REJECTED: Ended.REFUSED}


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A packet that does not end as promised. ``rule`` is another table's that ends it, empty where none does.

    ``certain`` is false where the evaluator cannot tell. ``masquerading`` is true where the packet arrives, with a
    source address that it should not have.
    """

    key: str
    listen: Listen
    client: ClientKind
    problem: str
    rule: str = ""
    certain: bool = True
    masquerading: bool = False

    def __str__(self) -> str:
        return f"{self.key}: a packet from {self.client.value} to {self.listen} {self.problem}"


@dataclass(frozen=True, slots=True)
class Verified:
    """``ports`` were looked at, with so many packets; of those ``carried`` some packet ends as promised."""

    ports: int
    packets: int
    contradictions: tuple[Contradiction, ...]
    carried: frozenset[str]

    def beside(self, other: Verified) -> Verified:
        """Both together."""
        return Verified(
            self.ports + other.ports,
            self.packets + other.packets,
            self.contradictions + other.contradictions,
            self.carried | other.carried,
        )


NOTHING = Verified(0, 0, (), frozenset())


def verify(
    node: Node,
    ports: Iterable[ServedPort],
    site: Site,
    pods: Pods,
    owns: Callable[[ServedPort, Listen], bool] = lambda port, listen: True,
    seconds: float = float("inf"),
) -> Verified:
    """Ask the evaluator about the ports, until ``seconds`` are over. Of the ``pods`` one asks that is no endpoint.
    ``owns`` says whether an address that others claim too is this port's."""
    until = time.monotonic() + seconds
    looked = packets = 0
    found: list[Contradiction] = []
    carried: set[str] = set()
    for port in ports:
        if looked and time.monotonic() > until:
            break
        looked += 1
        for listen in port.listens:
            if not owns(port, listen):
                continue
            for kind, packet, promise in _asked(node, port, listen, site, pods):
                packets += 1
                problems = list(_compare(node, kind, packet, promise))
                found += (Contradiction(port.key, listen, kind, *problem) for problem in problems)
                if not problems or all(masquerading for *_, masquerading in problems):
                    carried.add(port.key)
    return Verified(looked, packets, tuple(found), frozenset(carried))


def _asked(
    node: Node, port: ServedPort, listen: Listen, site: Site, pods: Pods
) -> Iterator[tuple[ClientKind, Packet, Promise]]:
    """The packets to one address, with what each must meet."""
    family = family_of(port.key)
    target = int(ip_address(listen.ip))
    if listen.ip in ANY:
        own = node.router.source_towards(family, int(ip_address(OUTSIDE[family])))
        if own is None:
            return
        target = own
    for kind, source in _clients(node, port, listen, site, pods, target):
        packet = Packet(family, PROTOCOLS[port.protocol.lower()], source, target, listen.port)
        if kind is not ClientKind.NODE:
            packet.iif = node.router.interface_from(family, source)
        yield kind, packet, promised(port, listen, kind, address_text(family, source), site)


def _clients(
    node: Node, port: ServedPort, listen: Listen, site: Site, pods: Pods, target: int
) -> Iterator[tuple[ClientKind, int]]:
    family = family_of(port.key)
    sources = port.sources if listen.kind == "loadBalancer" else ()
    stranger = OUTSIDE[family]
    outside: str | None = stranger
    if sources and not in_networks(stranger, sources):
        yield ClientKind.BARRED, int(ip_address(stranger))
        outside = _allowed(sources, site, family)
    if outside is not None and not node.is_local(family, int(ip_address(outside))):
        yield ClientKind.OUTSIDE, int(ip_address(outside))
    pod = _pod(port, family, pods)
    if pod is not None:
        yield ClientKind.POD, pod
    own = node.router.source_towards(family, target)
    if own is not None:
        yield ClientKind.NODE, own


def _allowed(sources: Iterable[str], site: Site, family: int) -> str | None:
    """An address that the source ranges admit, and that is no pod's."""
    pods = site.pods.get(family)
    for network in (ip_network(source, strict=False) for source in sources):
        address = str(network[min(1, network.num_addresses - 1)])
        if network.version == family and not (
            pods and pods.network and in_networks(address, (pods.network,))
        ):
            return address
    return None


def _pod(port: ServedPort, family: int, pods: Pods) -> int | None:
    """A pod that only asks."""
    taken = {int(ip_address(b.ip)) for b in (*port.cluster, *port.local)}
    return next((pod for pod in pods.get(family, ()) if pod not in taken), None)


def _compare(
    node: Node, kind: ClientKind, packet: Packet, promise: Promise
) -> Iterator[tuple[str, str, bool, bool]]:
    """Problem, another table's rule, whether it is certain, whether it is about masquerading alone."""
    family = packet.family
    outcomes = node.send(packet) if kind is ClientKind.NODE else node.receive(packet)
    reached: dict[tuple[str, int], Outcome] = {}
    for outcome in outcomes:
        live = outcome.packet
        if outcome.fate is Fate.UNKNOWN:
            yield f"ends where the evaluator cannot tell: {outcome.reason}", "", False, False
            return
        ended = _ENDED.get(outcome.fate)
        if ended is not None:
            if ended is not promise.ended:
                yield f"is {ended.value}{_by(outcome)}{_instead(promise)}", _foreign(outcome), True, False
                return
        elif not outcome.translated:
            yield f"is sent to no endpoint{_instead(promise)}", "", True, False
            return
        else:
            reached.setdefault((address_text(family, live.dst), live.dport or 0), outcome)
    strays = sorted(reached.keys() - promise.endpoints)
    if strays:
        text = endpoint_text(family, int(ip_address(strays[0][0])), strays[0][1])
        yield (
            f"is sent to {text}, no endpoint for it{_instead(promise)}",
            _foreign(reached[strays[0]]),
            True,
            False,
        )
    missing = sorted(promise.endpoints - reached.keys()) if reached and not strays else ()
    if missing:
        text = endpoint_text(family, int(ip_address(missing[0][0])), missing[0][1])
        yield f"is never sent to {text}", "", True, False
    for (ip, port), outcome in reached.items():
        live = outcome.packet
        hidden = live.masquerade or live.snat is not None
        if outcome.fate is Fate.LOCAL or promise.masqueraded is None:
            continue
        if hidden is not promise.masqueraded:
            text = endpoint_text(family, int(ip_address(ip)), port)
            verb = "loses" if hidden else "keeps"
            yield f"{verb} its source address on the way to {text}", _foreign(outcome), True, True
            return


def _instead(promise: Promise) -> str:
    return f" and should be {promise.ended.value}" if promise.ended is not None else ""


def _by(outcome: Outcome) -> str:
    if outcome.rules and not outcome.reason.startswith("policy") and outcome.route is None:
        return f" by {outcome.rules[-1]}"
    return f" by {outcome.reason}" if outcome.reason else ""


def _foreign(outcome: Outcome) -> str:
    """The other table's rule that decided, in its own words."""
    if outcome.reason.startswith("policy"):
        return outcome.reason
    if outcome.route is not None or not outcome.rules:
        return ""
    rule = outcome.rules[-1]
    return "" if rule.chain.table.endswith(f" {TABLE}") else str(rule)
