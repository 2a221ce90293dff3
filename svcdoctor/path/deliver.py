"""Where a packet ends, from the objects alone: what kube-proxy's rules would do with it.

Theory. A packet is evaluated on the first node that it reaches: the client's own node for pods and nodes,
the node that it enters for clients outside. There its destination is, in this order, a Service's address, an
address of a node, a pod, an unused part of the Service range, or something outside. A packet to another
node's address is evaluated again on that node. The answers are the behaviour of kube-proxy's iptables and
nftables modes as its documentation and its rules give it (Kubernetes documentation: Virtual IPs and Service
Proxies). Where modes or settings differ and are not known, the result is ``unknown``: never a guess.

What may live here: the decision for one packet. Which packets to ask about is in ``trace``.
"""

from __future__ import annotations

from msgspec.structs import replace

from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import ContainerPort, Pod
from svcdoctor.model.service import Service
from svcdoctor.model.snapshot import Snapshot, in_networks
from svcdoctor.model.trace import (
    Backend,
    ClientKind,
    EntryKind,
    Hop,
    Outcome,
    Result,
    SourceSeen,
    Status,
    Value,
)
from svcdoctor.path.backends import endpoint_outcome, pod_outcome
from svcdoctor.path.endpoints import Choice, Endpoint, endpoints_known
from svcdoctor.path.ends import End
from svcdoctor.path.world import Frontend, World

NODE_PORT_RANGE = range(30000, 32768)


class Source(Value, frozen=True):
    """Who sends. A host-network pod is a node. ``node`` is where the sender is, ``None`` outside."""

    kind: ClientKind
    ip: str | None = None
    node: str | None = None
    pod: tuple[str, str] | None = None


class Packet(Value, frozen=True):
    """``enter`` is the node that a packet from outside reaches first, where that is known."""

    source: Source
    ip: str
    port: int
    protocol: str = "TCP"
    enter: str | None = None

    @property
    def family(self) -> int:
        return 6 if ":" in self.ip else 4


class Delivery(Value, frozen=True):
    """What becomes of a packet. ``node`` is where the decision fell, ``choice`` what it chose from.

    ``ends`` are the outcomes' ends by the nodes' real rules, where those were collected; ``policies`` the
    NetworkPolicies that pods on the way are isolated by.
    """

    outcomes: tuple[Outcome, ...]
    frontend: Frontend | None = None
    node: str | None = None
    choice: Choice | None = None
    masquerade: SourceSeen = SourceSeen.CLIENT
    ends: tuple[End, ...] = ()
    policies: tuple[Hop, ...] = ()


def failed(result: Result, reason: str, code: str | None = None, status: Status | None = None) -> Outcome:
    """An outcome that ends before any backend."""
    if status is None:
        status = Status.UNKNOWN if result is Result.UNKNOWN else Status.FAIL
    return Outcome(result, 1.0, None, SourceSeen.UNKNOWN, reason, code, status)


def none_ready(snapshot: Snapshot, service: Service, reason: str, code: str | None = None) -> Outcome:
    """What a request meets where no endpoint is held: refused for this reason, unless some may not be read."""
    if endpoints_known(snapshot, service):
        return failed(Result.REFUSED, reason, code)
    return failed(
        Result.UNKNOWN, f"the endpoints of Service {service.namespace}/{service.name} are not known"
    )


def deliver(world: World, packet: Packet) -> Delivery:
    """What the objects say becomes of the packet."""
    at = packet.source.node if packet.source.kind is not ClientKind.EXTERNAL else packet.enter
    source = packet.source.ip if packet.source.kind is ClientKind.EXTERNAL else None
    if source is not None and (":" in source) != (packet.family == 6):
        reason = f"{source} cannot send to {packet.ip}: another IP family"
        return Delivery((failed(Result.DROPPED, reason, "EXT004"),), node=at)
    frontend = world.frontends.get((packet.ip, packet.protocol, packet.port))
    if frontend is not None and not _is_node_address(world, packet):
        return to_frontend(world, packet, frontend, at)
    if _is_node_address(world, packet):
        return _to_node(world, packet)
    claimed = world.claimed.get(packet.ip)
    if claimed is not None:
        return _to_claimed(world, packet, *claimed, at)
    pods = world.snapshot.pods_by_ip.get(packet.ip)
    if pods:
        return Delivery((_direct(world, packet, pods[0]),), node=at)
    return Delivery((elsewhere(world, packet),), node=at)


# --- addresses that are not a Service's --------------------------------------------------------------


def _is_node_address(world: World, packet: Packet) -> bool:
    return packet.ip in world.snapshot.nodes_by_ip or _loopback(packet.ip)


def _loopback(ip: str) -> bool:
    return ip.startswith("127.") or ip == "::1"


def _direct(world: World, packet: Packet, pod: Pod) -> Outcome:
    outcome = pod_outcome(world, pod, packet.ip, packet.port, packet.protocol, 1.0)
    if packet.source.kind is ClientKind.EXTERNAL and packet.enter is None and outcome.status is Status.OK:
        return replace(
            outcome,
            result=Result.UNKNOWN,
            status=Status.UNKNOWN,
            reason="pod addresses are usually not routed outside the cluster",
        )
    return outcome


def elsewhere(world: World, packet: Packet) -> Outcome:
    snapshot = world.snapshot
    if in_networks(packet.ip, snapshot.service_cidrs):
        return failed(
            Result.DROPPED, f"no Service has {packet.ip}; it is an unused address of the Service range"
        )
    if snapshot.knows(Kind.POD) and in_networks(
        packet.ip, (c for cidrs in world.pod_cidrs.values() for c in cidrs)
    ):
        return failed(Result.UNKNOWN, f"no pod has {packet.ip}, an address of a node's pod range")
    return failed(Result.UNKNOWN, f"{packet.ip} is no address of a Service, node or pod that is known")


def _to_claimed(world: World, packet: Packet, kind: EntryKind, service: Service, at: str | None) -> Delivery:
    """A Service's address without a frontend: another port, or a Service that kube-proxy leaves alone."""
    name = f"Service {service.namespace}/{service.name}"
    if service.headless:
        reason = f"{name} is headless: kube-proxy ignores its {kind} {packet.ip}"
        return Delivery((failed(Result.DROPPED, reason, "OBJ028"),), node=at)
    ports = ", ".join(f"{p.port}/{p.protocol}" for p in service.ports)
    reason = f"{name} has no port {packet.port}/{packet.protocol} (it has {ports or 'none'})"
    if kind is not EntryKind.CLUSTER_IP:
        return Delivery((failed(Result.DROPPED, reason, "OBJ016"),), node=at)
    settings = world.proxy(at)
    if settings is None:
        reason += "; refused in nftables mode, no answer in iptables mode"
        return Delivery((failed(Result.UNKNOWN, reason, "OBJ016", Status.FAIL),), node=at)
    result = Result.DROPPED if settings.mode == "iptables" else Result.REFUSED
    return Delivery((failed(result, reason, "OBJ016"),), node=at)


# --- a node's own addresses --------------------------------------------------------------------------


def _to_node(world: World, packet: Packet) -> Delivery:
    """A packet to an address of a node: a nodePort, a hostPort, a host-network pod or a process."""
    snapshot = world.snapshot
    loopback = _loopback(packet.ip)
    owner = packet.source.node if loopback else snapshot.nodes_by_ip[packet.ip]
    frontend = world.node_ports.get((packet.protocol, packet.port))
    if frontend is not None and owner is not None:
        answers = answers_node_ports(world, owner, packet.ip)
        if answers is None:
            reason = f"whether nodePorts answer on {packet.ip} depends on kube-proxy's mode and settings"
            return Delivery((failed(Result.UNKNOWN, reason, "RUL018"),), node=owner)
        if answers and str(packet.family) in _families(frontend.service):
            return to_frontend(world, packet, frontend, owner)
        if answers:
            reason = f"Service {frontend.service.namespace}/{frontend.service.name} has no IPv{packet.family}"
            return Delivery((failed(Result.REFUSED, reason, "EXT004"),), frontend, owner)
        code = "RUL019" if loopback else "RUL018"
        reason = f"nodePorts do not answer on {packet.ip} with kube-proxy's settings on {owner}"
        return Delivery((failed(Result.REFUSED, reason, code),), frontend, owner)
    external = world.frontends.get((packet.ip, packet.protocol, packet.port))
    if external is not None:
        return to_frontend(world, packet, external, owner)
    return Delivery((node_process(world, packet, owner),), node=owner)


def _families(service: Service) -> str:
    families = service.spec.ip_families
    if families:
        return "".join(f.removeprefix("IPv") for f in families)
    return "".join("6" if ":" in ip else "4" for ip in service.cluster_ips) or "46"


def answers_node_ports(world: World, node: str, ip: str) -> bool | None:
    """Whether kube-proxy on ``node`` answers nodePorts at this address of the node."""
    settings = world.proxy(node)
    primary = ip in world.primary_addresses.get(node, frozenset())
    if settings is None or not settings.complete:
        if primary:
            return True
        return False if ip == "::1" else None
    wanted = settings.node_port_addresses or (("primary",) if settings.mode == "nftables" else ())
    if _loopback(ip):
        if ip == "::1" or settings.mode == "nftables":
            return False
        allowed = not wanted or (wanted != ("primary",) and in_networks(ip, wanted))
        return allowed and settings.localhost_node_ports
    if not wanted:
        return True
    return primary if wanted == ("primary",) else in_networks(ip, wanted)


def node_process(world: World, packet: Packet, owner: str | None) -> Outcome:
    """What answers at a node's address when no Service does."""
    for pod, port in world.host_ports.get((packet.protocol, packet.port), ()):
        if pod.spec.node_name == owner and port.host_ip in ("", "0.0.0.0", "::", packet.ip):
            return _host_port(world, packet, pod, port, owner)
    for pod in world.snapshot.pods_by_ip.get(packet.ip, ()):
        if any(p.container_port == packet.port for c in pod.serving_containers for p in c.ports or ()):
            return _from_pod(
                world, packet, pod_outcome(world, pod, packet.ip, packet.port, packet.protocol, 1.0)
            )
    health = world.health_check_ports.get(packet.port)
    if health is not None:
        reason = f"kube-proxy answers health checks of Service {health.namespace}/{health.name}"
        backend = Backend(host=owner, ip=packet.ip, port=packet.port, node=owner)
        return Outcome(Result.DELIVERED, 1.0, backend, SourceSeen.UNKNOWN, reason)
    facts = world.snapshot.node_facts.get(owner or "")
    if facts is not None and facts.listeners is not None:
        for listener in facts.listeners:
            if listener.port == packet.port and listener.protocol == packet.protocol:
                reason = f"process {listener.process or '?'} of {owner} listens on {listener.address}"
                backend = Backend(host=owner, ip=packet.ip, port=packet.port, node=owner)
                ok = listener.address in ("0.0.0.0", "::", packet.ip)
                return (
                    Outcome(Result.DELIVERED, 1.0, backend, SourceSeen.UNKNOWN, reason)
                    if ok
                    else failed(Result.REFUSED, f"{reason} only")
                )
        return failed(Result.REFUSED, f"nothing on {owner} listens on port {packet.port}/{packet.protocol}")
    held = world.host_ports.get((packet.protocol, packet.port), ())
    here = [port.host_ip for pod, port in held if pod.spec.node_name == owner]
    if here:
        return failed(
            Result.REFUSED, f"hostPort {packet.port} answers on {', '.join(here)} of {owner} only", "OBJ030"
        )
    others = [pod for pod, _ in held]
    if others:
        where = ", ".join(sorted({p.spec.node_name for p in others}))
        reason = f"hostPort {packet.port} answers only on the pod's own node ({where}), not on {owner}"
        return failed(Result.REFUSED, reason, "OBJ030")
    if packet.port in NODE_PORT_RANGE:
        return failed(Result.REFUSED, f"no Service has nodePort {packet.port}/{packet.protocol}")
    return failed(
        Result.UNKNOWN, f"no Service or pod answers on {owner}:{packet.port}; a process of the node may"
    )


def _host_port(world: World, packet: Packet, pod: Pod, port: ContainerPort, owner: str | None) -> Outcome:
    if pod.spec.host_network:
        outcome = pod_outcome(world, pod, packet.ip, packet.port, packet.protocol, 1.0)
    else:
        ip = next((i for i in pod.ips if (":" in i) == (packet.family == 6)), None)
        if ip is None:
            return failed(Result.REFUSED, f"pod {pod.namespace}/{pod.name} has no IPv{packet.family} address")
        outcome = pod_outcome(world, pod, ip, port.container_port, packet.protocol, 1.0)
    return _from_pod(world, packet, outcome)


def _from_pod(world: World, packet: Packet, outcome: Outcome) -> Outcome:
    """A pod's packet to another node's address: whether the CNI masquerades it is not in the objects."""
    source = packet.source
    if source.kind is ClientKind.POD and outcome.backend and outcome.backend.node != source.node:
        return replace(outcome, source_seen=SourceSeen.UNKNOWN)
    return outcome


# --- a Service's frontends ---------------------------------------------------------------------------


class Decided(Value, frozen=True):
    """Which endpoints a packet to a frontend may get, each as likely as the others, or how it ends before that.

    ``elsewhere`` says that the answer of an endpoint on another node may go past this one.
    """

    ended: Outcome | None = None
    endpoints: tuple[Endpoint, ...] = ()
    choice: Choice | None = None
    masquerade: SourceSeen = SourceSeen.CLIENT
    elsewhere: bool = False


def to_frontend(world: World, packet: Packet, frontend: Frontend, at: str | None) -> Delivery:
    """What kube-proxy on node ``at`` (``None``: any) does with a packet to one of a Service's frontends."""
    decided = decide(world, packet, frontend, at)
    if decided.ended is not None:
        return Delivery((decided.ended,), frontend, at, decided.choice)
    outcomes = _spread(world, packet, frontend, at, decided.endpoints, decided.masquerade)
    if decided.elsewhere:
        outcomes = tuple(_past(o, at) for o in outcomes)
    return Delivery(outcomes, frontend, at, decided.choice, decided.masquerade)


def decide(world: World, packet: Packet, frontend: Frontend, at: str | None) -> Decided:
    """The endpoints that kube-proxy on node ``at`` chooses from for a packet to a frontend."""
    service, port = frontend.service, frontend.port
    if service.foreign_proxy:
        reason = f"the label {service.foreign_proxy} keeps kube-proxy away: no rules for this Service"
        return Decided(failed(Result.UNKNOWN, reason, "OBJ029", Status.WARN))
    if not frontend.proxied:
        return Decided(_proxy_mode_balancer(packet, frontend))
    asks_node = frontend.kind is EntryKind.NODE_PORT and packet.ip in world.snapshot.nodes_by_ip
    if asks_node and at is not None and answers_node_ports(world, at, packet.ip) is False:
        reason = f"nodePorts do not answer on {packet.ip} with kube-proxy's settings on {at}"
        return Decided(failed(Result.REFUSED, reason, "RUL018"))
    choice = world.choice(service, port, packet.family, at)
    external = frontend.kind is not EntryKind.CLUSTER_IP
    name = f"Service {service.namespace}/{service.name}"
    if frontend.kind is EntryKind.LOAD_BALANCER:
        allowed = in_source_ranges(service, packet.source.ip, packet.family)
        if allowed is False:
            reason = f"loadBalancerSourceRanges of {name} do not list {packet.source.ip}"
            return Decided(failed(Result.DROPPED, reason, "EXT002"), choice=choice)
    if not choice.any:
        return Decided(none_ready(world.snapshot, service, f"{name} has no ready endpoint"), choice=choice)
    if external and service.external_local:
        return _external_local(world, packet, at, choice)
    if not external and service.internal_local:
        if not choice.local:
            reason = f"internalTrafficPolicy Local and no endpoint on {at or 'this node'}"
            return Decided(failed(Result.DROPPED, reason, "RUL010"), choice=choice)
        chosen = choice.local
    else:
        chosen = choice.cluster
    masquerade = SourceSeen.NODE if external else _internal_source(world, packet.source, at)
    return Decided(None, chosen, choice, masquerade)


def in_source_ranges(service: Service, source: str | None, family: int) -> bool | None:
    """Whether loadBalancerSourceRanges let the source pass; ``None`` when the source is not known.

    kube-proxy looks at the ranges of the packet's own family only: without one, everything passes.
    """
    ranges = service.source_ranges(family)
    if not ranges:
        return True
    return None if source is None else in_networks(source, ranges)


def _proxy_mode_balancer(packet: Packet, frontend: Frontend) -> Outcome:
    name = f"{frontend.service.namespace}/{frontend.service.name}"
    if packet.enter is not None:
        reason = f"ipMode Proxy: kube-proxy has no rules for {packet.ip}, and no node has that address"
        return failed(Result.DROPPED, reason)
    reason = (
        f"ipMode Proxy: the load balancer of Service {name} decides; kube-proxy has no rules for {packet.ip}"
    )
    return failed(Result.UNKNOWN, reason)


def _internal_source(world: World, source: Source, at: str | None) -> SourceSeen:
    """What the backend sees of traffic to a cluster IP (masquerade-all, or not from the pod network)."""
    settings = world.proxy(at)
    if settings is not None and settings.complete and settings.masquerade_all:
        return SourceSeen.NODE
    if source.kind is ClientKind.POD:
        local = world.pod_traffic(source.ip, source.node, at)
        if local or world.detects_local(at) is False:
            return SourceSeen.CLIENT
        return SourceSeen.UNKNOWN if local is None else SourceSeen.NODE
    detects = world.detects_local(at)
    if detects is None:
        return SourceSeen.UNKNOWN
    return SourceSeen.NODE if detects else SourceSeen.CLIENT


def _external_local(world: World, packet: Packet, at: str | None, choice: Choice) -> Decided:
    """externalTrafficPolicy Local: only this node's endpoints, except for pods and the node itself."""
    source = packet.source
    if source.kind is ClientKind.NODE and source.node == at:
        return Decided(None, choice.cluster, choice, SourceSeen.NODE)
    none_here = f"externalTrafficPolicy Local and no endpoint on {at or 'this node'}"
    if source.kind is ClientKind.POD:
        if source.node != at:
            return _pod_to_other_node(world, packet, at, choice, none_here)
        if world.pod_traffic(source.ip, source.node, at):
            return Decided(None, choice.cluster, choice, SourceSeen.CLIENT)
    if not choice.local:
        return Decided(failed(Result.DROPPED, none_here, "RUL009"), choice=choice)
    return Decided(None, choice.local, choice, SourceSeen.CLIENT)


def _pod_to_other_node(
    world: World, packet: Packet, at: str | None, choice: Choice, none_here: str
) -> Decided:
    """A pod asks another node's nodePort under policy Local.

    Where the CNI leaves the pod's address and kube-proxy knows it for a pod's, all endpoints are chosen from,
    and those not on that node answer past it: a timeout. Where the CNI masquerades, it is outside traffic.
    Both agree only on the endpoints of that node.
    """
    short_cut = world.pod_traffic(packet.source.ip, packet.source.node, at)
    unknown = SourceSeen.UNKNOWN
    if short_cut is False or not set(choice.cluster) - set(choice.local):
        if choice.local:
            return Decided(None, choice.local, choice, unknown)
        return Decided(failed(Result.DROPPED, none_here, "RUL009"), choice=choice)
    if not choice.local and packet.source.pod not in {e.pod for e in choice.cluster}:
        reason = f"{none_here}: dropped there, or answered past it (see RUL011)"
        return Decided(failed(Result.DROPPED, reason, "RUL009"), choice=choice)
    return Decided(None, choice.cluster, choice, unknown, True)


def _past(outcome: Outcome, at: str | None) -> Outcome:
    """The outcome at an endpoint whose answer may go past the node that translated the address."""
    if outcome.backend is None or outcome.backend.node == at or outcome.result is not Result.DELIVERED:
        return outcome
    reason = f"the endpoint is not on {at}: its reply goes past that node unless the CNI masquerades"
    return replace(outcome, result=Result.UNKNOWN, status=Status.WARN, reason=reason, code="RUL011")


# --- endpoints ---------------------------------------------------------------------------------------


def _spread(
    world: World,
    packet: Packet,
    frontend: Frontend,
    at: str | None,
    endpoints: tuple[Endpoint, ...],
    seen: SourceSeen,
) -> tuple[Outcome, ...]:
    share = 1.0 / len(endpoints) if endpoints else 0.0
    return tuple(_to_endpoint(world, packet, frontend, at, e, share, seen) for e in endpoints)


def _to_endpoint(
    world: World,
    packet: Packet,
    frontend: Frontend,
    at: str | None,
    endpoint: Endpoint,
    share: float,
    seen: SourceSeen,
) -> Outcome:
    outcome = endpoint_outcome(world, endpoint, frontend.port, share)
    source = packet.source
    backend = outcome.backend
    node = backend.node if backend else None
    if source.kind is ClientKind.NODE and seen is not SourceSeen.CLIENT and source.node == at:
        # Masquerading gives a packet of the node itself the address that it has anyway, except towards a
        # pod on this node (the address of the pod's own link) and from loopback.
        if _loopback(packet.ip):
            seen = SourceSeen.NODE
        elif node is None or node == at:
            seen = SourceSeen.UNKNOWN
        else:
            seen = SourceSeen.CLIENT
    elif source.kind is ClientKind.POD and seen is SourceSeen.CLIENT:
        if endpoint.pod is not None and endpoint.pod == source.pod:
            seen = SourceSeen.NODE  # hairpin: a pod that reaches itself is masqueraded
        elif not _in_pod_network(world, endpoint) and node != source.node:
            seen = SourceSeen.UNKNOWN  # the CNI may masquerade what leaves the pod network
    if seen is outcome.source_seen:
        return outcome
    o = outcome
    return Outcome(o.result, o.probability, o.backend, seen, o.reason, o.code, o.status)


def _in_pod_network(world: World, endpoint: Endpoint) -> bool:
    return endpoint.ip not in world.snapshot.nodes_by_ip and endpoint.pod is not None
