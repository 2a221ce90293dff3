"""One packet through one node: netfilter's hooks in the kernel's order, with routing between them.

    from an interface:   ingress → prerouting → routing → input               (for this node)
                                                        → forward → postrouting (for another)
    made on the node:    routing → output → routing again → postrouting       (for another)
                                                          → postrouting → prerouting → input   (for itself)

At a hook the base chains of iptables-legacy, iptables-nft and nftables run together in the order of their
priorities. An accept ends its base chain only. Conntrack stands at priority -200 of prerouting and output: rules
before it see no connection. NAT chains see the first packet of a connection only, at the priority of NAT itself
(-100 for destinations, 100 for sources), and the first that translates is the last one asked. A packet that comes
back over lo keeps its connection, so it meets no NAT a second time.

IPVS stands behind the filter of input (98) and behind NAT of output (-98): a packet to one of its virtual servers
gets a real one, and leaves by output and postrouting as if the node had made it.

Order and priorities: include/uapi/linux/netfilter_ipv4.h; NAT: net/netfilter/nf_nat_core.c (nf_nat_inet_fn);
IPVS: net/netfilter/ipvs/ip_vs_core.c (ip_vs_ops4).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import msgspec

from svcdoctor.dataplane.evaluate import DROPPED, POLICY, REJECTED, TRANSLATED, run
from svcdoctor.dataplane.language import HOOKS, BaseChain, Op, Rule, Ruleset, Trail
from svcdoctor.dataplane.packet import (
    DNATTED,
    NEW,
    RELATED,
    SNATTED,
    UNTRACKED,
    Answered,
    Packet,
    Passed,
    WatchedPacket,
)
from svcdoctor.dataplane.routing import LOOPBACK4, LOOPBACK6, Decision, Router, Way

CONNTRACK = -200
KEPT = 1_000  # ways that a node remembers
SCOUTS = 8  # packets that may go ahead in vain before no more are sent
IPVS = {"input": 98, "output": -98}
NAT_PRIORITY = {"prerouting": -100, "output": -100, "input": 100, "postrouting": 100}


class Fate(Enum):
    """What becomes of a packet on a node."""

    LOCAL = "local"  # handed to a socket of the node, if one listens
    FORWARDED = "forwarded"  # leaves by an interface
    DROPPED = "dropped"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Outcome(msgspec.Struct, frozen=True):  # one for each endpoint: a dataclass takes four times as long
    """One way that a packet can go. ``reason`` says how it was dropped or rejected, or what is not known."""

    fate: Fate
    packet: Packet
    reason: str = ""
    route: Decision | None = None

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules that the packet passed through, in order. The last one decided, if a rule did."""
        return tuple(_backwards(self.packet.trail))[::-1]

    @property
    def translated(self) -> bool:
        """Whether the destination is another one than the packet was sent to."""
        packet = self.packet
        return (packet.dst, packet.dport) != (packet.original_dst, packet.original_dport)

    @property
    def accepted(self) -> bool:
        """Whether a rule said ACCEPT on the way."""
        return any(op is Op.ACCEPT for rule in self.rules for op, _ in rule.actions)


class Balancer(Protocol):
    """IPVS on a node."""

    def real_servers(self, packet: Packet) -> Sequence[tuple[float, int, int | None]] | str | None:
        """Probability, address and port of each real server that the packet may get.

        ``None`` where it is for no virtual server, nothing where that has no server to send to, a text where
        it cannot be said.
        """


class _Stage:
    """One step of a hook: a filter chain, conntrack, all NAT chains of the hook, or IPVS."""

    __slots__ = ("bases", "kind")

    def __init__(self, kind: str, bases: tuple[BaseChain, ...] = ()) -> None:
        self.kind = kind
        self.bases = bases


@dataclass(frozen=True, slots=True)
class _Way:
    """What one packet met at its last hooks, for all that differ in destination, probability and trail only.

    ``outcomes`` come with the rules that were met on this way, ``passed`` are the indexes of chains that the
    packet was looked up in, ``answers`` what tests of its destination said. ``original`` is whether the destination
    before NAT was read as well.
    """

    outcomes: tuple[tuple[Outcome, tuple[Rule, ...]], ...]
    passed: tuple[Passed, ...]
    answers: tuple[Answered, ...]
    original: bool

    def holds_for(self, packet: Packet) -> bool:
        """Whether the indexes have the same rules for this packet, and the tests the same answers."""
        dst, dport = packet.dst, packet.dport
        for by_address, by_port, address, port in self.passed:
            if (dst if dst in by_address else None) != address or (
                dport if dport in by_port else None
            ) != port:
                return False
        for test, then, answer in self.answers:
            then.dst, then.dport = dst, dport
            if test(then) != answer:
                return False
        return True

    def follow(self, live: Packet, route: Decision, ended: list[Outcome]) -> None:
        """Lead this packet, which leaves by its own route, to the same outcomes; they are added to ``ended``."""
        last = len(self.outcomes) - 1
        for position, (outcome, met) in enumerate(self.outcomes):
            model, new = outcome.packet, live if position == last else live.copy()
            new.src, new.sport, new.oif, new.mark = model.src, model.sport, model.oif, model.mark
            new.ct, new.ctmark, new.ctstatus, new.state = model.ct, model.ctmark, model.ctstatus, model.state
            new.masquerade, new.snat, new.remembered = model.masquerade, model.snat, model.remembered
            for rule in met:
                new.trail = (rule, new.trail)
            way = route if outcome.fate is Fate.FORWARDED else outcome.route
            ended.append(Outcome(outcome.fate, new, outcome.reason, way))


class Node:
    """A node's rules and routing: send packets through it. Rules are translated as packets reach them.

    ``families`` are those whose rules are known; a packet of another one ends as unknown.
    """

    def __init__(
        self,
        rulesets: Iterable[Ruleset],
        router: Router,
        ipvs: Balancer | None = None,
        families: Collection[int] = (4, 6),
    ) -> None:
        self.rulesets = tuple(rulesets)
        self.families = families
        self.router = router
        self.ipvs = ipvs
        self._scouts = SCOUTS
        self._ways: dict[tuple[object, ...], _Way] = {}  # those that hang on no one request
        self.bases = tuple(base for ruleset in self.rulesets for base in ruleset.base_chains())
        self._stages = {(family, hook): self._of_hook(family, hook) for family in (4, 6) for hook in HOOKS}

    def _of_hook(self, family: int, hook: str) -> tuple[_Stage, ...]:
        # Of chains with one priority the kernel calls that first which was registered last (nf_hook_entries_grow).
        bases = [b for b in reversed(self.bases) if b.hook == hook and family in b.families]
        order = [
            ((b.priority, 1), _Stage("filter", (b,)))
            for b in bases
            if b.kind != "nat" and (len(b.chain) or not b.accepts)
        ]
        if hook in ("prerouting", "output"):
            order.append(((CONNTRACK, 0), _Stage("conntrack")))
        nat = tuple(sorted((b for b in bases if b.kind == "nat"), key=lambda b: b.priority))
        if nat:
            order.append(((NAT_PRIORITY.get(hook, 0), 0), _Stage("nat", nat)))
        if self.ipvs is not None and hook in IPVS:
            order.append(((IPVS[hook], 0), _Stage("ipvs")))
        order.sort(key=lambda entry: entry[0])
        return tuple(stage for _, stage in order)

    def is_local(self, family: int, address: int) -> bool:
        """Whether an address is the node's own."""
        return self.router.is_local(family, address)

    def receive(self, packet: Packet) -> list[Outcome]:
        """Every way that a packet goes which came in by an interface (``packet.iif``)."""
        if packet.family not in self.families:
            return [_without_rules(packet)]
        if packet.family == 6 and packet.iif != "lo" and LOOPBACK6 in (packet.src, packet.dst):
            return [
                Outcome(Fate.DROPPED, packet, "::1 comes in by an interface")
            ]  # ip6_rcv_core, before any hook
        ended: list[Outcome] = []
        onward: list[tuple[Packet, Decision]] = []
        coming = [q for p in self._ingress(packet, ended) for q in self._hook("prerouting", p, ended)]
        for live in coming:
            route = self.router.incoming(live)
            if route.way is Way.LOCAL:
                self._input(live, ended)
            elif route.way is Way.FORWARD:
                live.oif = route.oif
                onward.append((live, route))
            else:
                ended.append(_by_route(route, live))
        self._onward(onward, ("forward", "postrouting"), ended)
        return ended

    def send(self, packet: Packet) -> list[Outcome]:
        """Every way that a packet goes which a process of the node makes."""
        if packet.family not in self.families:
            return [_without_rules(packet)]
        packet.local = True
        packet.iif = ""
        ended: list[Outcome] = []
        first = self.router.outgoing(packet)
        if first.way not in (Way.LOCAL, Way.FORWARD):
            return [_by_route(first, packet)]
        packet.oif = first.oif
        was = packet.dst, packet.mark
        onward: list[tuple[Packet, Decision]] = []
        for live in self._hook("output", packet, ended):
            route = first if (live.dst, live.mark) == was else self.router.outgoing(live)
            live.oif = route.oif
            if route.way is Way.LOCAL:
                for looped in self._hook("postrouting", live, ended, route=route):
                    looped.iif, looped.oif = "lo", ""
                    for again in self._hook("prerouting", looped, ended, nat=False):
                        self._input(again, ended, nat=False)
            elif route.way is Way.FORWARD:
                onward.append((live, route))
            else:
                ended.append(_by_route(route, live))
        self._onward(onward, ("postrouting",), ended)
        return ended

    def _ingress(self, packet: Packet, ended: list[Outcome]) -> list[Packet]:
        """The packets that pass the ingress chains of the interface by which they come in."""
        live = [packet]
        for stage in self._stages[packet.family, "ingress"]:
            base = stage.bases[0]
            if packet.iif is not None and base.devices is not None:
                if packet.iif in base.devices:
                    live = [q for p in live for q in _filter(base, p, ended)]
                continue
            lost: list[Outcome] = []
            for asked in live:
                _filter(base, asked.copy(), lost)
            if lost:  # by a chain that may be another interface's
                chain = f"{base.chain.table} {base.chain.name}"
                reason = (
                    f"whether the packet comes in by an interface of the ingress chain {chain} is not known"
                )
                ended.append(Outcome(Fate.UNKNOWN, lost[0].packet, reason))
                return []
        return live

    def _input(self, packet: Packet, ended: list[Outcome], nat: bool = True) -> None:
        packet.oif = ""
        for live in self._hook("input", packet, ended, nat):
            ended.append(Outcome(Fate.LOCAL, live))

    def _onward(
        self, packets: list[tuple[Packet, Decision]], hooks: tuple[str, ...], ended: list[Outcome]
    ) -> None:
        """Through the last hooks and out.

        The endpoints of a Service mostly meet the same rules there, so of each group of packets one goes ahead,
        and the others follow its way where nothing on it asked for the destination.
        """
        ways: dict[tuple[object, ...], _Way | None] = {}
        for live, route in packets:
            way = None
            if len(packets) > 1 and self._scouts:
                source = None
                if route.gateway is None:
                    source = self.router.own_address(live.family, route.oif, live.dst)
                marks = (live.ct, live.mark, live.ctmark, live.ctstatus, live.remembered)
                key = (live.src, live.sport, marks, route.oif, route.gateway, source)
                if key not in ways:
                    ways[key] = self._way(live, route, hooks, key)
                way = ways[key]
            if way is not None and way.holds_for(live):
                way.follow(live, route, ended)
                continue
            passing = [live]
            for hook in hooks:
                passing = [q for p in passing for q in self._hook(hook, p, ended, route=route)]
            ended += [Outcome(Fate.FORWARDED, leaving, route=route) for leaving in passing]

    def _way(
        self, live: Packet, route: Decision, hooks: tuple[str, ...], key: tuple[object, ...]
    ) -> _Way | None:
        """The way of a packet that went here earlier, or the one that this finds by going ahead."""
        request = (hooks, live.family, live.proto, live.iif, live.local, live.state, live.redirected)
        found = self._ways.get((request, key))
        if found is not None and found.holds_for(live):
            return found
        found = self._scout(live, route, hooks)
        if found is not None and not found.original:
            if len(self._ways) >= KEPT:
                self._ways.clear()
            self._ways[request, key] = found
        return found

    def _scout(self, live: Packet, route: Decision, hooks: tuple[str, ...]) -> _Way | None:
        """What a packet meets at the hooks; ``None`` where that may hang on its destination."""
        first = WatchedPacket(live)
        ended: list[Outcome] = []
        passing: list[Packet] = [first]
        for hook in hooks:
            passing = [q for p in passing for q in self._hook(hook, p, ended, route=route)]
        if first.asked:
            self._scouts -= 1
            return None
        found = [*ended, *(Outcome(Fate.FORWARDED, p) for p in passing)]
        before = sum(1 for _ in _backwards(live.trail))
        outcomes = tuple((o, o.rules[before:]) for o in found)
        return _Way(outcomes, tuple(first.passed or ()), tuple(first.answers), first.asked_original)

    def _hook(
        self,
        hook: str,
        packet: Packet,
        ended: list[Outcome],
        nat: bool = True,
        route: Decision | None = None,
    ) -> list[Packet]:
        """The packets that pass a hook; those that do not are added to ``ended``.

        NAT rewrites the packet where it stands: chains behind it see the new addresses.
        """
        live = [packet]
        for stage in self._stages[packet.family, hook]:
            if stage.kind == "conntrack":
                for passing in live:
                    if passing.ct != UNTRACKED:
                        passing.ct = passing.state
            elif stage.kind == "nat":
                if nat:
                    live = [q for p in live for q in self._nat(stage.bases, p, ended)]
                    for passing in live:
                        self._rewrite(hook, passing, route)
                    if hook == "output":
                        live = [p for p in live if self._led_on(p, ended)]
            elif stage.kind == "ipvs":
                live = [q for p in live for q in self._balance(hook, p, ended)]
            else:
                live = [q for p in live for q in _filter(stage.bases[0], p, ended)]
            if not live:
                break
        return live

    def _balance(self, hook: str, packet: Packet, ended: list[Outcome]) -> list[Packet]:
        """IPVS: packets that it does not take, and in output also those that it sends on."""
        assert self.ipvs is not None
        servers = self.ipvs.real_servers(packet)
        if servers is None:
            return [packet]
        if isinstance(servers, str):
            ended.append(Outcome(Fate.UNKNOWN, packet, servers))
            return []
        if not servers:
            ended.append(Outcome(Fate.REJECTED, packet, "ipvs: no real server"))
            return []
        sent = []
        for probability, address, port in servers:
            live = packet.copy()
            live.probability *= probability
            live.dst = address
            live.dport = live.dport if port is None else port
            sent.append(live)
        if hook == "output":
            return sent
        for live in sent:
            route = self.router.outgoing(live)
            if route.way is Way.LOCAL:
                ended.append(Outcome(Fate.LOCAL, live))
            elif route.way is Way.FORWARD:
                live.iif, live.oif = "", route.oif
                leaving = [(p, route) for p in self._hook("output", live, ended, nat=False)]
                self._onward(leaving, ("postrouting",), ended)
            else:
                ended.append(_by_route(route, live))
        return []

    def _nat(self, bases: tuple[BaseChain, ...], packet: Packet, ended: list[Outcome]) -> list[Packet]:
        if not packet.ct & (NEW | RELATED):
            return [packet]
        passed: list[Packet] = []
        asking = [packet]
        for base in bases:
            further: list[Packet] = []
            for asked in asking:
                for how, live, why in run(base, asked):
                    if how == TRANSLATED:
                        passed.append(live)
                    elif how <= POLICY:
                        further.append(live)
                    else:
                        ended.append(_by_rule(how, live, why))
            asking = further
        return passed + asking

    def _led_on(self, packet: Packet, ended: list[Outcome]) -> bool:
        """Whether a route leads to the destination that NAT chose for a packet of the node: it is asked at once."""
        if packet.dst == packet.original_dst:
            return True
        route = self.router.outgoing(packet)
        if route.way in (Way.LOCAL, Way.FORWARD):
            return True
        ended.append(_by_route(route, packet))
        return False

    def _rewrite(self, hook: str, packet: Packet, route: Decision | None) -> None:
        """Give the packet the addresses that NAT chose, as far as they are known."""
        if hook in ("input", "postrouting"):
            self._take_source(packet, route)
        elif packet.redirected:
            self._redirect(packet)

    def _redirect(self, packet: Packet) -> None:
        """REDIRECT sends to the node itself: loopback for its own packets, else the interface's address."""
        loopback = LOOPBACK4 + 1 if packet.family == 4 else LOOPBACK6
        own = None if packet.local else self.router.own_address(packet.family, packet.iif, packet.src)
        to = loopback if own is None else own  # any local address: only the port is known
        if to != packet.dst:
            packet.ctstatus |= DNATTED
        packet.dst = to

    def _take_source(self, packet: Packet, route: Decision | None) -> None:
        if packet.snat is not None:
            address, port = packet.snat
            if (address, port) != (packet.src, packet.sport):
                packet.ctstatus |= SNATTED
            packet.src = address
            packet.sport = port if port is not None else packet.sport
        elif packet.masquerade and route is not None:
            towards = route.gateway if route.gateway is not None else packet.destination[0]
            own = self.router.own_address(packet.family, route.oif, towards)
            if own != packet.src:  # conntrack notes a change only
                packet.ctstatus |= SNATTED
            if own is not None:
                packet.src = own


def _backwards(trail: Trail) -> Iterator[Rule]:
    """The rules of a trail, the last one first."""
    while trail is not None:
        rule, trail = trail
        yield rule


def _filter(base: BaseChain, packet: Packet, ended: list[Outcome]) -> list[Packet]:
    passed = []
    for how, live, why in run(base, packet):
        if how <= POLICY:
            passed.append(live)
        else:
            ended.append(_by_rule(how, live, why))
    return passed


def _without_rules(packet: Packet) -> Outcome:
    tool = "ip6tables-save" if packet.family == 6 else "iptables-save"
    return Outcome(Fate.UNKNOWN, packet, f"the dumps hold no IPv{packet.family} rules (add {tool})")


def _by_rule(how: int, packet: Packet, why: str) -> Outcome:
    fate = Fate.DROPPED if how == DROPPED else Fate.REJECTED if how == REJECTED else Fate.UNKNOWN
    return Outcome(fate, packet, why)


def _by_route(route: Decision, packet: Packet) -> Outcome:
    fates = {Way.UNREACHABLE: Fate.REJECTED, Way.DROPPED: Fate.DROPPED}
    return Outcome(fates.get(route.way, Fate.UNKNOWN), packet, route.reason, route)
