"""What NetworkPolicies make of a delivery: which outcomes they drop, by which policy, and whether anything enforces it.

Theory. The pod's side decides by the source that the packet shows there. Where a node on the way masqueraded, that is
one of the node's addresses. Where the pod's own node masqueraded, the API leaves open whether policies see the packet
before or after it, so both are asked, and only what both say is said. The client's own side decides by the backend's
address and port: kube-proxy translates before policies look.

A packet that nodes' rules were seen to let through is not dropped by a plugin that works by such rules. Where nothing
is seen that enforces policies, an outcome stays what it is and says what a plugin would make of it.

What may live here: changing outcomes, and saying so in hops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace as replace_fields
from itertools import islice

from msgspec.structs import replace

from svcdoctor.dataplane.policy import Answer, Direction, Party, PartyKind, Ruling
from svcdoctor.model.facts import Kind
from svcdoctor.model.pod import Pod
from svcdoctor.model.policy import NetworkPolicy
from svcdoctor.model.service import ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.model.trace import (
    Backend,
    ClientKind,
    Hop,
    HopKind,
    Outcome,
    Result,
    SourceSeen,
    Status,
)
from svcdoctor.path.deliver import Delivery, Packet, Source
from svcdoctor.path.ends import End
from svcdoctor.path.enforcement import Enforced, by_plugin, enforced
from svcdoctor.path.policies import known_in, pod_party, policy_names, ruled
from svcdoctor.path.senders import Senders, Sources
from svcdoctor.path.view import View

DENIED = "NOD012"
HIDDEN = "NOD013"
SERVICE_PORT = "NOD014"
MOST_PROXIES = 4
BY_POLICY = frozenset({DENIED, HIDDEN, SERVICE_PORT})


def policed(
    view: View, packet: Packet, delivery: Delivery, service_port: ServicePort | None = None
) -> Delivery:
    """The delivery under the NetworkPolicies that are held.

    ``service_port`` is the Service's port that leads there, where it is not the frontend's.
    """
    if not view.world.policies:
        return delivery
    if delivery.frontend is not None:
        service_port = delivery.frontend.port
    judge = _Judge(view, packet, delivery.node, service_port)
    ends: Iterable[End | None] = delivery.ends or (None,) * len(delivery.outcomes)
    outcomes = tuple(judge.outcome(o, e) for o, e in zip(delivery.outcomes, ends, strict=True))
    if not judge.hops:
        return delivery
    return replace(delivery, outcomes=outcomes, policies=judge.steps)


def policed_from(
    view: View, pods: Iterable[Pod], outcomes: tuple[Outcome, ...], port: ServicePort
) -> tuple[Outcome, ...]:
    """What policies leave of requests that a proxy's pods make themselves, to endpoints of a Service's port.

    An outcome that one of the pods gets stays as it is: which of them a request comes by is not known.
    """
    ends = [o.backend for o in outcomes if o.backend is not None and o.backend.pod is not None]
    namespaces = {(end.pod or "").partition("/")[0] for end in ends}
    if not namespaces & view.world.policies.keys():
        return outcomes
    direct = Delivery(tuple(replace(o, source_seen=SourceSeen.CLIENT) for o in outcomes))
    family = 6 if any(":" in (end.ip or "") for end in ends) else 4
    found: list[tuple[Outcome, ...]] = []
    for pod in islice(pods, MOST_PROXIES):
        source = Source(ClientKind.POD, None, pod.spec.node_name or None, (pod.namespace, pod.name))
        packet = Packet(source, "::" if family == 6 else "0.0.0.0", port.port, port.protocol)
        found.append(policed(view, packet, direct, port).outcomes)
    return tuple(
        replace(by_each[0], source_seen=o.source_seen)
        if by_each and all(e.code in BY_POLICY for e in by_each)
        else o
        for o, *by_each in zip(outcomes, *found, strict=True)
    )


class _Judge:
    """The policies on one packet's ways, and what they do, as hops."""

    def __init__(self, view: View, packet: Packet, at: str | None, service_port: ServicePort | None) -> None:
        self.view = view
        self.world = view.world
        self.snapshot = view.snapshot
        self.packet = packet
        self.senders = Senders(view, packet, at)
        self.service_port = service_port
        self.hops: dict[tuple[str, str], Hop] = {}

    @property
    def steps(self) -> tuple[Hop, ...]:
        return tuple(self.hops.values())

    def outcome(self, outcome: Outcome, end: End | None) -> Outcome:
        """The outcome as the policies leave it."""
        backend = _reached(outcome, end, self.snapshot)
        if backend is None:
            return outcome
        out = self._egress(backend)
        if out is not None and out.answer is Answer.DENIED:
            return self._denied(outcome, end, out, *self._out(backend))
        self._allowed(out)
        pod = self._pod(backend)
        if pod is None or pod.spec.host_network or pod.namespace not in self.world.policies:
            return outcome
        if not known_in(self.view, pod.namespace) or self.packet.source.pod == (pod.namespace, pod.name):
            return outcome
        return self._ingress(outcome, backend, end, pod)

    # --- the client's side

    def _egress(self, backend: Backend) -> Ruling | None:
        """What the client's own policies say; ``None`` where it is no known pod with a network of its own."""
        client = self.senders.client
        if client.kind is not PartyKind.POD or client.namespace not in self.world.policies:
            return None
        if not known_in(self.view, client.namespace):
            return None
        return self._out_to(*self._destination(backend))

    def _out_to(self, other: Party, port: int) -> Ruling:
        return ruled(self.view, Direction.EGRESS, self.senders.client, other, port, self.packet.protocol)

    def _destination(self, backend: Backend) -> tuple[Party, int]:
        """Where the packet goes when it leaves the client's node: another node's nodePort is translated there."""
        packet = self.packet
        far = self.snapshot.nodes_by_ip.get(packet.ip)
        if far is not None and far != packet.source.node:
            return Party(PartyKind.NODE, packet.ip, packet.family, node=far), packet.port
        port = backend.port or packet.port
        pod = self._pod(backend)
        if pod is not None:
            return pod_party(self.view, pod, packet.family, backend.ip), port
        address = canonical_or_none(backend.ip or "")
        node = self.snapshot.nodes_by_ip.get(address or "")
        kind = PartyKind.NODE if node is not None else PartyKind.OUTSIDE
        return Party(kind, address, packet.family, node=node), port

    def _out(self, backend: Backend) -> tuple[str, str]:
        """The code of a denial on the client's side, and its words."""
        other, port = self._destination(backend)
        client, to = self.senders.client.name, f"pod {other.name}" if other.name else other.address
        words = f"lets pod {client} out to {to} on {port}/{self.packet.protocol}"
        asked = self.service_port
        if asked is not None:
            if asked.port != port and self._out_to(other, asked.port).answer is not Answer.DENIED:
                return SERVICE_PORT, f"{words}; {_its_number(asked)}"
            if self._out_to(_with_port(other, asked, port), port).answer is not Answer.DENIED:
                return SERVICE_PORT, f"{words}; {_its_name(asked)}"
        return DENIED, words

    # --- the pod's side

    def _ingress(self, outcome: Outcome, backend: Backend, end: End | None, pod: Pod) -> Outcome:
        server = pod_party(self.view, pod, self.packet.family, backend.ip)
        port = backend.port or self.packet.port
        sources = self.senders.seen(outcome, end, server)
        rulings = [self._of_any(server, alike, port) for alike in sources]
        answers = {r.answer for r in rulings}
        if answers == {Answer.DENIED}:
            code, why = self._cause(server, sources, port)
            who = self.senders.words(sources[-1][0])
            words = f"lets {who} in on {port}/{self.packet.protocol}{why}"
            return self._denied(outcome, end, rulings[0], code, words)
        if answers == {Answer.ALLOWED}:
            self._allowed(rulings[0])
        elif Answer.UNDECIDED not in answers:
            return self._contested(outcome, end, rulings, sources)
        return outcome

    def _into(self, server: Party, other: Party, port: int) -> Ruling:
        return ruled(self.view, Direction.INGRESS, server, other, port, self.packet.protocol)

    def _of_any(self, server: Party, alike: tuple[Party, ...], port: int) -> Ruling:
        """The ruling on a source of which one of several addresses is seen."""
        rulings = [self._into(server, party, port) for party in alike]
        if len({r.answer for r in rulings}) == 1:
            return rulings[0]
        return Ruling(Direction.INGRESS, Answer.UNDECIDED, rulings[0].policies)

    def _cause(self, server: Party, sources: Sources, port: int) -> tuple[str, str]:
        """The code of a denial, and what would not be denied."""
        client = self.senders.client
        hidden = (client,) not in sources
        if hidden and self._into(server, client, port).answer is not Answer.DENIED:
            return HIDDEN, "; it would let the client in, whose address masquerading hides"
        asked = self.service_port
        if asked is not None:
            for alike in (*sources, (client,)):
                if asked.port != port and self._of_any(server, alike, asked.port).answer is not Answer.DENIED:
                    return SERVICE_PORT, f"; {_its_number(asked)}"
                if self._of_any(_with_port(server, asked, port), alike, port).answer is not Answer.DENIED:
                    return SERVICE_PORT, f"; {_its_name(asked)}"
        return DENIED, ""

    def _contested(
        self, outcome: Outcome, end: End | None, rulings: list[Ruling], sources: Sources
    ) -> Outcome:
        """The outcome where it hangs on which of two sources the policies see."""
        if self._enforced(end)[0] is not Enforced.YES:
            return outcome
        denied = next(r for r in rulings if r.answer is Answer.DENIED)
        who = {r.answer: self.senders.words(alike[0]) for alike, r in zip(sources, rulings, strict=True)}
        reason = (
            f"{policy_names(denied.policies)} lets {who[Answer.ALLOWED]} in and not {who[Answer.DENIED]}; "
            f"which of them is seen at the pod depends on the network plugin"
        )
        self._hop(denied.policies, Status.WARN, reason)
        code = HIDDEN if rulings[0].answer is Answer.ALLOWED else DENIED
        return replace(outcome, result=Result.UNKNOWN, status=Status.WARN, code=code, reason=reason)

    def _pod(self, backend: Backend) -> Pod | None:
        namespace, _, name = (backend.pod or "").partition("/")
        return self.snapshot.pod(namespace, name) if name else None

    # --- what it means

    def _denied(self, outcome: Outcome, end: End | None, denied: Ruling, code: str, words: str) -> Outcome:
        """The outcome that no rule of the policies allows."""
        reason = f"no rule of {policy_names(denied.policies)} {words}"
        enforced, why = self._enforced(end)
        if enforced is Enforced.NO:
            self._hop(denied.policies, Status.OK, f"no rule {words}; {why}")
            return outcome
        if enforced is Enforced.YES:
            self._hop(denied.policies, Status.FAIL, f"no rule {words}")
            if outcome.backend is None:
                reason = f"{outcome.reason}; {reason}"
                return replace(outcome, code=code, reason=reason)
            return replace(outcome, result=Result.DROPPED, status=Status.FAIL, code=code, reason=reason)
        self._hop(denied.policies, Status.WARN, f"no rule {words}; {why}")
        if outcome.status is not Status.OK:
            return outcome
        reason = f"dropped if the network plugin enforces NetworkPolicies: {reason}"
        return replace(outcome, status=Status.WARN, code=code, reason=reason)

    def _enforced(self, end: End | None) -> tuple[Enforced, str]:
        """Whether a denial is a drop, and how that is known."""
        plugin = self.world.network_plugin
        found = enforced(plugin, self.world.hosts, end)
        if found[0] is Enforced.UNKNOWN and plugin is None and not self.snapshot.would_be:
            self.view.complete(Kind.DAEMON_SET)
        return found

    def _allowed(self, ruling: Ruling | None) -> None:
        if ruling is None or ruling.answer is not Answer.ALLOWED or not ruling.policies:
            return
        direction = ruling.direction
        if ruling.by is not None:
            self._hop((ruling.by,), Status.OK, f"{direction}: rule {ruling.rule + 1} allows it")
        else:
            self._hop(ruling.policies, Status.OK, f"{direction}: a pod's own node may always")

    def _hop(self, policies: tuple[NetworkPolicy, ...], status: Status, detail: str) -> None:
        """One hop for each policy, by the worst that it does."""
        for policy in policies:
            held = self.hops.get((policy.namespace, policy.name))
            if held is None or (held.status is Status.OK and status is not Status.OK):
                title = f"NetworkPolicy {policy.namespace}/{policy.name}"
                hop = Hop(HopKind.NETWORK_POLICY, title, None, None, status, detail)
                self.hops[policy.namespace, policy.name] = hop


def _reached(outcome: Outcome, end: End | None, snapshot: Snapshot) -> Backend | None:
    """The end that policies decide about: the backend, or the pod that rules keep the packet from."""
    if outcome.backend is not None:
        return None if outcome.status is Status.FAIL else outcome.backend
    if end is None or outcome.code is not None or not by_plugin(end):
        return None
    pods = snapshot.pods_by_ip.get(end.ip, ())
    return Backend(f"{pods[0].namespace}/{pods[0].name}", end.ip, end.port, end.node) if pods else None


def _with_port(server: Party, port: ServicePort, number: int) -> Party:
    """The pod as if it had the Service's name of the port."""
    extra = ((port.name, number, port.protocol),) if port.name else ()
    return replace_fields(server, ports=(*server.ports, *extra))


def _its_number(port: ServicePort) -> str:
    return f"it allows port {port.port}, which is the Service's and not the pod's"


def _its_name(port: ServicePort) -> str:
    return f"it allows port {port.name}, which is the Service's name for it and not the pod's"
