"""A packet's delivery by the nodes' real rules, in the words of the delivery that the objects promise.

What may live here: what an `End` of a journey means as an `Outcome`. Where rules and objects agree on a failure, the
objects' reason names the cause and the rule is its proof; where they do not, the rules decide.
"""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.facts import Kind
from svcdoctor.model.snapshot import in_networks
from svcdoctor.model.trace import Backend, ClientKind, Outcome, Result, SourceSeen, Status
from svcdoctor.path.backends import endpoint_outcome, pod_outcome
from svcdoctor.path.deliver import Delivery, Packet, elsewhere, failed, node_process
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.ends import End
from svcdoctor.path.journey import Journeys
from svcdoctor.path.world import World


def by_rules(world: World, packet: Packet, believed: Delivery) -> Delivery | None:
    """What the nodes' rules do with the packet; ``None`` where the first node's were not collected.

    ``believed`` is what the objects say of the same packet.
    """
    ends = Journeys(world).ends(packet)
    if ends is None:
        return None
    outcomes = tuple(_outcome(world, packet, end, believed) for end in ends)
    outcomes, ends = merged(outcomes, ends)
    return replace(believed, outcomes=outcomes, ends=ends)


def placed(world: World, packet: Packet, believed: Delivery, stand_in: str | None = None) -> Packet:
    """The packet with a sender that rules can be asked about: "any pod" becomes one of the node's.

    ``stand_in`` is the node for a sender whose node does not matter.
    """
    source = packet.source
    if source.kind is ClientKind.EXTERNAL:
        enter = packet.enter or (stand_in if packet.ip not in world.snapshot.nodes_by_ip else None)
        ip = source.ip
        if ip is None and believed.frontend is not None:
            ip = world.outside_address(believed.frontend, packet.family)
        return replace(packet, source=replace(source, ip=ip), enter=enter)
    node = source.node or stand_in
    if source.kind is ClientKind.NODE or node is None:
        return replace(packet, source=replace(source, node=node))
    ip = source.ip or world.asking_pod(node, packet.family, believed.frontend)
    return replace(packet, source=replace(source, node=node, ip=ip))


def merged(
    outcomes: tuple[Outcome, ...], ends: tuple[End, ...]
) -> tuple[tuple[Outcome, ...], tuple[End, ...]]:
    """Equal outcomes with their probabilities added, in order of appearance, each with its first end."""
    found: dict[tuple[object, ...], tuple[Outcome, End]] = {}
    for outcome, end in zip(outcomes, ends, strict=True):
        key = (outcome.result, outcome.backend, outcome.source_seen, outcome.reason, outcome.code)
        held = found.get(key)
        if held is None:
            found[key] = outcome, end
        else:
            summed = replace(outcome, probability=held[0].probability + outcome.probability)
            found[key] = summed, held[1]
    return tuple(o for o, _ in found.values()), tuple(e for _, e in found.values())


def _outcome(world: World, packet: Packet, end: End, believed: Delivery) -> Outcome:
    seen = _seen(packet, end)
    if end.result is not Result.DELIVERED:
        return replace(_failure(end, believed), probability=end.probability)
    if end.local:
        if not end.translated and _foreseen(believed):
            return replace(_untouched(end, believed), probability=end.probability)
        here = replace(packet, ip=end.ip, port=end.port)
        outcome = node_process(world, here, end.node)
        first = believed.outcomes[0]
        if not end.translated and first.backend is None and first.result is outcome.result and first.code:
            return replace(first, probability=end.probability)  # the objects say why
        if outcome.source_seen is not SourceSeen.UNKNOWN:
            outcome = replace(outcome, source_seen=seen)
        return replace(outcome, probability=end.probability)
    return replace(_at_backend(world, packet, end, believed), source_seen=seen)


def _at_backend(world: World, packet: Packet, end: End, believed: Delivery) -> Outcome:
    """What answers at the address that the packet reached outside the nodes."""
    endpoint = _endpoint(world, packet, end, believed)
    frontend = believed.frontend
    share = end.probability
    if endpoint is not None and frontend is not None:
        return endpoint_outcome(world, endpoint, frontend.port, share)
    pods = world.snapshot.pods_by_ip.get(end.ip, ())
    if pods:
        return pod_outcome(world, pods[0], end.ip, end.port, packet.protocol, share)
    backend = Backend(None, end.ip, end.port, end.node)
    if in_networks(end.ip, (c for cidrs in world.pod_cidrs.values() for c in cidrs)):
        node = end.passages[0].node
        if world.snapshot.knows(Kind.POD):
            reason = f"no pod has {end.ip}: the rules of {node} send to an endpoint that is gone"
            return Outcome(Result.DROPPED, share, backend, SourceSeen.UNKNOWN, reason, "RUL004", Status.FAIL)
        if frontend is not None and end.translated:
            reason = f"the rules of {node} send to {end.ip}:{end.port}, which the API does not list"
            return Outcome(Result.UNKNOWN, share, backend, SourceSeen.UNKNOWN, reason, "RUL004", Status.FAIL)
    if end.translated:
        reason = f"{end.ip}:{end.port} is no pod's: the rules cannot tell whether anything answers there"
        return Outcome(Result.UNKNOWN, share, backend, SourceSeen.UNKNOWN, reason)
    if _foreseen(believed):
        return replace(_untouched(end, believed), probability=share)
    if believed.frontend is not None or believed.outcomes[0].result is Result.DROPPED:
        return replace(believed.outcomes[0], probability=share)
    return replace(elsewhere(world, replace(packet, ip=end.ip, port=end.port)), probability=share)


def _foreseen(believed: Delivery) -> bool:
    """Whether the objects promise that a Service's endpoint answers."""
    return believed.frontend is not None and any(o.backend is not None for o in believed.outcomes)


def _untouched(end: End, believed: Delivery) -> Outcome:
    """No rule took a packet that the objects send to an endpoint."""
    assert believed.frontend is not None
    service = believed.frontend.service
    node = end.passages[0].node
    reason = f"no rule of {node} takes it to Service {service.namespace}/{service.name}"
    if end.local:
        return failed(Result.REFUSED, f"{reason}: nothing listens there", "RUL003")
    return failed(Result.DROPPED, f"{reason}: it goes on to {end.ip}, which nothing has", "RUL003")


def _endpoint(world: World, packet: Packet, end: End, believed: Delivery) -> Endpoint | None:
    """The Service's endpoint at the address, ready or not."""
    frontend = believed.frontend
    if frontend is None or not end.translated:
        return None
    family = 6 if ":" in end.ip else 4
    for endpoint in world.endpoints(frontend.service, frontend.port, family):
        if endpoint.ip == end.ip and endpoint.port == end.port:
            return endpoint
    return None


def _failure(end: End, believed: Delivery) -> Outcome:
    """A packet that a node ended: with the objects' cause where they foresaw just this."""
    foreseen = {(o.result, o.code) for o in believed.outcomes}
    if end.code is None and len(foreseen) == 1 and end.result is not Result.UNKNOWN:
        first = believed.outcomes[0]
        if first.result is end.result and first.backend is None:
            return first
        # The objects foresaw a failure but not how the client meets it.
        if first.result is Result.UNKNOWN and first.status is Status.FAIL and first.backend is None:
            return replace(first, result=end.result)
    return failed(end.result, end.reason, end.code)


def _seen(packet: Packet, end: End) -> SourceSeen:
    """Whose address the receiver sees. A node's own packet may get another of the node's addresses."""
    if end.kept:
        return SourceSeen.CLIENT
    if packet.source.kind is ClientKind.NODE and packet.source.node == end.node:
        return SourceSeen.UNKNOWN
    return SourceSeen.NODE
