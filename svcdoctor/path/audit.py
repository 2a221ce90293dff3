"""One node's rules against the API: which endpoints a frontend reaches there, and which it should.

Theory. A packet is sent to a frontend on the node, once from outside, once from a pod of the node, once from the
node itself, and goes through the node's rules. The API demands a set of endpoints (or that it is refused or
dropped), by the traffic policies and readiness; the rules reach another, or the same. Each way in which the two
can differ has its code in the catalogue.

What may live here: comparing one frontend on one node. What is wrong with a node as a whole is in ``checks``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import TypeAlias

from svcdoctor.dataplane.evaluate import TRANSLATED, run
from svcdoctor.dataplane.hooks import Fate, Node, Outcome
from svcdoctor.dataplane.language import BaseChain, Chain, Op, Rule
from svcdoctor.dataplane.packet import NEW, PROTOCOLS, Packet, address_text, endpoint_text
from svcdoctor.model.trace import ClientKind, EntryKind, Result, SourceSeen
from svcdoctor.path.deliver import Decided, Source, answers_node_ports, decide
from svcdoctor.path.deliver import Packet as Asked
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.world import Frontend, World

Number: TypeAlias = "tuple[int, int]"  # an endpoint's address and port

# Where kube-proxy's rules for Services begin: iptables' and nftables' chain.
SENDING = frozenset({Op.DNAT, Op.CHOOSE})
HIDING = frozenset({Op.MASQUERADE, Op.SNAT})
ENTRY_CHAINS = (("nat", "KUBE-SERVICES"), ("ip kube-proxy", "services"), ("ip6 kube-proxy", "services"))


@dataclass(frozen=True, slots=True)
class Place:
    """One frontend at one address of one node."""

    node: str
    frontend: Frontend
    address: str
    port: int

    @property
    def text(self) -> str:
        family = 6 if ":" in self.address else 4
        return endpoint_text(family, int(ip_address(self.address)), self.port)


@dataclass(frozen=True, slots=True)
class Difference:
    """One way in which the rules differ from the API at a place.

    ``clients`` are those that meet it: outside, pod, node. ``rules`` decide it, in iptables' or nft's words;
    ``endpoints`` are the addresses in question.
    """

    code: str
    place: Place
    clients: tuple[str, ...]
    problem: str
    rules: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A place of which the rules could not be told, and why."""

    place: Place
    reason: str


@dataclass(slots=True)
class _Reached:
    """What the rules do with one packet."""

    endpoints: dict[Number, Outcome] = field(default_factory=dict)
    rejected: list[Outcome] = field(default_factory=list)
    dropped: list[Outcome] = field(default_factory=list)
    untouched: list[Outcome] = field(default_factory=list)
    unknown: list[Outcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Differ:
    """Makes the differences of one client at one place."""

    place: Place
    client: str

    def __call__(
        self,
        code: str,
        problem: str,
        outcomes: list[Outcome],
        endpoints: list[str] | None = None,
    ) -> Difference:
        rules = outcomes[0].rules if outcomes else ()
        while endpoints and rules and not _sends(rules[-1]):
            rules = rules[:-1]  # what comes after the choice of the endpoint does not decide it
        texts = tuple(map(str, rules))
        return Difference(code, self.place, (self.client,), problem, texts, tuple(endpoints or ()))


def places(world: World, name: str, node: Node) -> Iterator[Place]:
    """Every frontend that the rules of a node should serve, with the address that it has there."""
    for (address, _, port), frontend in world.frontends.items():
        if frontend.proxied and not frontend.service.foreign_proxy:
            yield Place(name, frontend, address, port)
    own = sorted(world.primary_addresses.get(name, ()))
    for frontend in world.node_ports.values():
        if frontend.service.foreign_proxy:
            continue
        for address in own:
            version = "IPv6" if ":" in address else "IPv4"
            if answers_node_ports(world, name, address) is False:
                continue
            if version in (frontend.service.spec.ip_families or (version,)):
                yield Place(name, frontend, address, frontend.port.node_port)


class Auditor:
    """The comparison for one node."""

    def __init__(self, world: World, name: str, node: Node) -> None:
        self.world = world
        self.name = name
        self.node = node
        self._numbers: dict[str, int] = {}  # of addresses
        self._entrances = {family: world.entry_interface(name, family) for family in (4, 6)}
        own = sorted(world.primary_addresses.get(name, ()))
        self._own = {f: next((a for a in own if (":" in a) == (f == 6)), None) for f in (4, 6)}
        self._entry: dict[int, list[Chain]] = {4: [], 6: []}  # by family
        for ruleset in node.rulesets:
            for table, chain_name in ENTRY_CHAINS:
                chain = ruleset.chain(table, chain_name)
                if chain is not None and len(chain):
                    bases = [b for b in ruleset.base_chains() if b.chain.table == table]
                    for family in frozenset().union(*(b.families for b in bases)):
                        self._entry[family].append(chain)

    def differences(self, place: Place) -> list[Difference | Unanswered]:
        """Every difference at a place, clients that meet the same one together."""
        found: dict[tuple[object, ...], Difference | Unanswered] = {}
        for client, source in self._sources(place):
            asked = Asked(source, place.address, place.port, place.frontend.port.protocol, self.name)
            expected = decide(self.world, asked, place.frontend, self.name)
            for difference in self._compare(place, client, source, expected):
                if isinstance(difference, Unanswered):
                    found.setdefault((difference.reason,), difference)
                    continue
                key = (difference.code, difference.problem, difference.endpoints)
                held = found.get(key)
                clients = difference.clients if held is None else (*_clients(held), *difference.clients)
                found[key] = Difference(
                    difference.code,
                    place,
                    clients,
                    difference.problem,
                    difference.rules,
                    difference.endpoints,
                )
        return list(found.values())

    def outcomes(self, place: Place) -> Iterator[tuple[str, list[Outcome]]]:
        """What the rules do with a packet of each client to a place."""
        for client, source in self._sources(place):
            yield client, self._sent(place, source)

    # --- the packets

    def _sources(self, place: Place) -> Iterator[tuple[str, Source]]:
        family = 6 if ":" in place.address else 4
        yield "outside", Source(ClientKind.EXTERNAL, self.world.outside_address(place.frontend, family))
        pod = self.world.asking_pod(self.name, family, place.frontend)
        if pod is not None:
            yield "pod", Source(ClientKind.POD, pod, self.name)
        own = self._own[family]
        if own is not None:
            yield "node", Source(ClientKind.NODE, own, self.name)

    def _reached(self, place: Place, source: Source) -> _Reached:
        reached = _Reached()
        for outcome in self._sent(place, source):
            if outcome.fate is Fate.UNKNOWN:
                reached.unknown.append(outcome)
            elif outcome.fate is Fate.DROPPED:
                reached.dropped.append(outcome)
            elif outcome.fate is Fate.REJECTED:
                reached.rejected.append(outcome)
            elif outcome.translated:
                live = outcome.packet
                reached.endpoints.setdefault((live.dst, live.dport or 0), outcome)
            else:
                reached.untouched.append(outcome)
        return reached

    def _sent(self, place: Place, source: Source) -> list[Outcome]:
        target = self._address(place.address)
        origin = self._address(source.ip or "")
        family = 6 if ":" in place.address else 4
        packet = Packet(family, PROTOCOLS[place.frontend.port.protocol.lower()], origin, target, place.port)
        if source.kind is ClientKind.NODE:
            return self.node.send(packet)
        outside = source.kind is ClientKind.EXTERNAL
        packet.iif = (self._entrances[family] if outside else None) or self.node.router.interface_from(
            family, origin
        )
        return self.node.receive(packet)

    # --- the comparison

    def _compare(
        self, place: Place, client: str, source: Source, expected: Decided
    ) -> Iterator[Difference | Unanswered]:
        if expected.ended is not None and expected.ended.result is Result.UNKNOWN:
            return
        wanted = {self._number(e) for e in expected.endpoints}
        reached = self._reached(place, source)
        for outcome in reached.unknown[:1]:
            rule = f" ({outcome.rules[-1]})" if outcome.rules else ""
            yield Unanswered(place, f"{outcome.reason}{rule}")

        differ = _Differ(place, client)
        if reached.unknown:
            return
        family = 6 if ":" in place.address else 4
        stale, known = self._strangers(place, family, reached.endpoints.keys() - wanted)
        if stale:
            outcomes = [reached.endpoints[e] for e in stale]
            texts = _texts(family, stale)
            problem = f"{self.name} sends to {_listed(texts)}, which the API does not list"
            yield differ("RUL004", problem, outcomes, texts)
        if known:
            outcomes = [reached.endpoints[e] for e in known]
            texts = _texts(family, known)
            problem = (
                f"{self.name} sends to {_listed(texts)}, which is not to be used here"
                f" ({_policy(expected)}): its rules are older than the objects"
            )
            yield differ("RUL002", problem, outcomes, texts)
        if wanted:
            yield from self._of_ended(place, client, reached, differ)
            missing = sorted(wanted - reached.endpoints.keys()) if reached.endpoints else []
            if missing and not (stale or reached.dropped or reached.rejected):
                texts = _texts(family, missing)
                problem = f"{self.name} does not send to {_listed(texts)}"
                yield differ("RUL003", problem, list(reached.endpoints.values()), texts)
            yield from self._of_masquerading(client, expected, reached, differ)
            yield from self._of_affinity(place, reached, differ)
        elif (
            reached.untouched
            and not reached.endpoints
            and expected.ended is not None
            and expected.ended.result is Result.REFUSED
            and place.frontend.kind is EntryKind.CLUSTER_IP
        ):
            yield self._missing(place, client, reached.untouched)

    def _of_ended(
        self, place: Place, client: str, reached: _Reached, differ: _Differ
    ) -> Iterator[Difference]:
        """Packets that should reach endpoints and are ended, or pass untouched."""
        unknown_port = [o for o in reached.rejected + reached.dropped if _for_no_port(o)]
        if reached.untouched or unknown_port:
            yield self._missing(place, client, reached.untouched or unknown_port)
        if unknown_port:
            return
        lost = [o for o in reached.endpoints.values() if self._lost(o)]
        if lost:
            pods = sorted({self._home(address_text(o.packet.family, o.packet.dst)) or "?" for o in lost})
            problem = f"{self.name} has no route to the pods of {', '.join(pods)}: it sends them to its default gateway"
            yield differ("NOD008", problem, lost)
        for outcome in reached.rejected[:1]:
            rule = outcome.rules[-1] if outcome.rules else None
            if rule is not None and _of_kube_proxy(rule):
                yield differ(
                    "RUL008",
                    f"{self.name} rejects the packet although the API has ready endpoints",
                    reached.rejected,
                )
            elif outcome.route is not None:
                yield differ(
                    outcome.route.code or "NOD008", f"{self.name}: {outcome.reason}", reached.rejected
                )
            else:
                yield differ("NOD005", f"a rule of {self.name} rejects the packet", reached.rejected)
        for outcome in reached.dropped[:1]:
            rule = outcome.rules[-1] if outcome.rules else None
            if outcome.route is not None:
                yield differ(
                    outcome.route.code or "NOD008", f"{self.name}: {outcome.reason}", reached.dropped
                )
            elif outcome.reason.startswith("policy"):
                code = "NOD004" if "forward" in outcome.reason.lower() else "NOD005"
                yield differ(code, f"{self.name}: {outcome.reason} drops the packet", reached.dropped)
            elif rule is not None and _of_kube_proxy(rule):
                yield differ(
                    "RUL008",
                    f"{self.name} drops the packet although the API has endpoints for it",
                    reached.dropped,
                )
            else:
                yield differ("NOD005", f"a rule of {self.name} drops the packet", reached.dropped)

    def _home(self, ip: str) -> str | None:
        pods = self.world.snapshot.pods_by_ip.get(ip, ())
        return next((p.spec.node_name for p in pods if p.spec.node_name), None)

    def _lost(self, outcome: Outcome) -> bool:
        """Whether the packet is for a pod of another node and leaves by a route that does not lead there."""
        if outcome.route is None or outcome.route.prefix != 0:
            return False
        ip = address_text(outcome.packet.family, outcome.packet.dst)
        home = self._home(ip)
        if home in (None, self.name) or ip in self.world.snapshot.nodes_by_ip:
            return False
        gateway = outcome.route.gateway
        if gateway is not None:
            via = address_text(outcome.packet.family, gateway)
            if via in self.world.snapshot.nodes_by_ip:
                return False
        return self.world.hosts.astray(outcome.route, home)

    def _missing(self, place: Place, client: str, untouched: list[Outcome]) -> Difference:
        """No rule of the Service took the packet: none at all, not this one's, or it was never asked."""
        name = f"{place.frontend.service.namespace}/{place.frontend.service.name}"
        rules = tuple(str(r) for r in untouched[0].rules)
        entry = self._entry[untouched[0].packet.family]
        if not entry:
            problem = f"{self.name} has no Service rules at all"
            return Difference("RUL001", place, (client,), problem, rules)
        if any(self._would_take(chain, untouched[0].packet) for chain in entry):
            taken = [r for r in untouched[0].rules if not _of_kube_proxy(r)]
            if taken:
                problem = f"a rule of {self.name} takes the packet before kube-proxy's rules see it"
            else:
                problem = f"{self.name} has the rules of Service {name}, but no jump leads to them"
            return Difference("RUL006", place, (client,), problem, rules)
        problem = f"{self.name} has no rule for {place.text} of Service {name}"
        return Difference("RUL003", place, (client,), problem, rules)

    def _would_take(self, chain: Chain, seen: Packet) -> bool:
        packet = Packet(seen.family, seen.proto, seen.original_src, seen.original_dst, seen.original_dport)
        packet.ct = NEW
        packet.local = seen.local
        packet.iif = seen.iif
        base = BaseChain(chain, "prerouting", 0, "nat", frozenset({seen.family}), "")
        return any(how == TRANSLATED for how, _, _ in run(base, packet))

    def _strangers(self, place: Place, family: int, extra: set[Number]) -> tuple[list[Number], list[Number]]:
        """Endpoints that are reached and should not be: those that are gone, and those that still exist."""
        if not extra:
            return [], []
        alive = set(
            map(self._number, self.world.endpoints(place.frontend.service, place.frontend.port, family))
        )
        return sorted(extra - alive), sorted(extra & alive)

    def _number(self, endpoint: Endpoint) -> Number:
        return self._address(endpoint.ip), endpoint.port

    def _address(self, ip: str) -> int:
        number = self._numbers.get(ip)
        if number is None:
            number = self._numbers[ip] = int(ip_address(ip))
        return number

    def _of_masquerading(
        self, client: str, expected: Decided, reached: _Reached, differ: _Differ
    ) -> Iterator[Difference]:
        """Whether the application sees the address that the settings promise."""
        if client == "node" or expected.masquerade is SourceSeen.UNKNOWN:
            return
        promised = expected.masquerade is SourceSeen.NODE
        wrong = []
        for outcome in reached.endpoints.values():
            live = outcome.packet
            if (live.masquerade or live.snat is not None) is promised:
                continue
            ip = address_text(live.family, live.dst)
            if ip in self.world.snapshot.pods_by_ip and ip not in self.world.snapshot.nodes_by_ip:
                wrong.append(outcome)
        if not wrong:
            return
        if promised:
            yield differ(
                "RUL022",
                f"{self.name} does not masquerade: the answer of an endpoint on another node goes past it",
                wrong,
            )
        else:
            code = "RUL022" if client == "pod" else "RUL021"
            yield differ(code, f"{self.name} masquerades what should keep its source address", wrong)

    def _of_affinity(self, place: Place, reached: _Reached, differ: _Differ) -> Iterator[Difference]:
        """Whether the rules remember a client's endpoint, as the Service's sessionAffinity has it."""
        asked = place.frontend.service.spec.session_affinity == "ClientIP"
        for number, outcome in list(reached.endpoints.items())[:1]:
            if _remembers(outcome) is (not asked):
                family = outcome.packet.family
                problem = (
                    f"{self.name} chooses anew for every connection, the Service asks for sessionAffinity ClientIP"
                    if asked
                    else f"{self.name} sends a client to the endpoint that it got before, without sessionAffinity"
                )
                yield differ("RUL016", problem, [outcome], _texts(family, [number]))


def _sends(rule: Rule) -> bool:
    """Whether the rule chooses where the packet goes, and not which source address it shows."""
    ops = {op for op, _ in rule.actions}
    return bool(SENDING & ops) and not HIDING & ops


def _remembers(outcome: Outcome) -> bool | None:
    """Whether kube-proxy's rules kept which endpoint this packet's client got; ``None`` for other rules."""
    for rule in reversed(outcome.rules):
        if _sends(rule):
            chain = rule.chain
            if chain.table.endswith(" kube-proxy"):
                kept = (r for r in outcome.rules if r.chain is chain and chain.name.startswith("endpoint-"))
                return any("@affinity-" in r.text for r in kept)
            return "-m recent" in rule.text if _of_kube_proxy(rule) else None
    return None


def _clients(found: Difference | Unanswered) -> tuple[str, ...]:
    return found.clients if isinstance(found, Difference) else ()


def _of_kube_proxy(rule: Rule) -> bool:
    return rule.chain.name.startswith("KUBE-") or rule.chain.table.endswith(" kube-proxy")


def _for_no_port(outcome: Outcome) -> bool:
    """Whether kube-proxy's nftables rules ended it as an address or port that no Service has."""
    return bool(outcome.rules) and outcome.rules[-1].chain.name == "cluster-ips-check"


def _texts(family: int, endpoints: list[Number]) -> list[str]:
    return [endpoint_text(family, ip, port) for ip, port in endpoints]


def _listed(endpoints: list[str]) -> str:
    shown = ", ".join(endpoints[:4])
    return shown if len(endpoints) <= 4 else f"{shown} and {len(endpoints) - 4} more"


def _policy(expected: Decided) -> str:
    if expected.ended is not None:
        return expected.ended.reason
    return "another traffic policy, or an endpoint that is not ready"
