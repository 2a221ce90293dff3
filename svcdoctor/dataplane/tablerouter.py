"""A node's own routing: its addresses, routing rules and routes, and the settings that decide what is forwarded.

Theory. An address of the node is local. For every other one the routing rules are asked in order, and each names a
table in which the longest prefix wins. A packet from outside is forwarded only where the node forwards at all, and
where its source could have come by that interface (rp_filter). Dumps that are missing leave a decision open: without
routes every address is taken as reachable, by an interface that is not known.

What may live here: the kernel's routing decision for one packet. Specified by ip-rule(8), ip-route(8) and the kernel's
Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from svcdoctor.dataplane.packet import Packet, address_text
from svcdoctor.dataplane.routing import LOOPBACK4, LOOPBACK6, Decision, Way, is_loopback
from svcdoctor.dataplane.surroundings import fixed_type
from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.ipsets import IpSet
from svcdoctor.node.links import Address, Link, read_links
from svcdoctor.node.routerules import TABLES, RouteRule, read_rules
from svcdoctor.node.routes import Route, RoutingTable, read_routes
from svcdoctor.node.sysctls import Sysctls, read_sysctls

ROUTES = {4: ("ip-route.json", "ip-route.txt"), 6: ("ip-6-route.json", "ip-6-route.txt")}
RULES = {4: ("ip-rule.json", "ip-rule.txt"), 6: ("ip-6-rule.json", "ip-6-rule.txt")}
LINKS = ("ip-addr.json", "ip-link.json", "bridge-link.json")
BRIDGES = ("bridge", "bridge_slave")


class TableRouter:
    """One node's routing. Satisfies ``Router`` and ``Surroundings``. Raises SvcdoctorError for a broken dump."""

    def __init__(
        self, raw: Mapping[str, Dump], addresses: Iterable[str] = (), sets: Mapping[str, IpSet] | None = None
    ) -> None:
        self.links: dict[str, Link] = {}
        for name in reversed(LINKS):
            dump = raw.get(name)
            if dump is not None and dump.data:
                for link in read_links(dump.data, dump.where):
                    held = self.links.get(link.name)
                    self.links[link.name] = link.beside(held) if held is not None else link
        own: set[tuple[int, int]] = {(ip.version, int(ip)) for ip in map(ip_address, addresses)}
        own |= {(a.family, a.ip) for link in self.links.values() for a in link.addresses}
        self.addresses = frozenset(own)
        dump = raw.get("sysctl.txt")
        self.sysctls = read_sysctls(dump.data) if dump is not None else Sysctls({})
        self.sets = sets
        self._tables = {family: self._read_tables(raw, family) for family in (4, 6)}
        self._rules = {family: self._read_rules(raw, family) for family in (4, 6)}
        self._broadcasts = frozenset(
            a.ip | ((1 << (32 - a.prefix)) - 1)
            for link in self.links.values()
            for a in link.addresses
            if a.family == 4 and a.prefix < 31
        )

    @staticmethod
    def _read_tables(raw: Mapping[str, Dump], family: int) -> dict[str, RoutingTable]:
        by_table: dict[str, list[Route]] = {}
        for name in ROUTES[family]:
            dump = raw.get(name)
            if dump is not None and dump.data:
                for route in read_routes(dump.data, dump.where, family):
                    table = TABLES.get(route.table, route.table)
                    if table != "local":  # what is local, the node's addresses say
                        by_table.setdefault(table, []).append(route)
                break
        return {table: RoutingTable(family, routes) for table, routes in by_table.items()}

    @staticmethod
    def _read_rules(raw: Mapping[str, Dump], family: int) -> tuple[RouteRule, ...]:
        for name in RULES[family]:
            dump = raw.get(name)
            if dump is not None and dump.data:
                return tuple(r for r in read_rules(dump.data, dump.where, family) if r.table != "local")
        return (RouteRule(32766, "main"),)

    # --- whose an address is

    def is_local(self, family: int, address: int) -> bool:
        return is_loopback(family, address) or (family, address) in self.addresses

    def address_type(self, family: int, address: int) -> str | None:
        fixed = fixed_type(family, address)
        if fixed is not None:
            return fixed
        if family == 4 and address in self._broadcasts:
            return "broadcast"
        return "local" if self.is_local(family, address) else "unicast"

    def in_set(self, name: str, packet: Packet, directions: tuple[str, ...]) -> bool | str:
        if self.sets is None:
            return f"what ipset {name} holds is not in the dumps; add the output of: ipset save"
        held = self.sets.get(name)
        if held is None:
            return f"ipset {name} is not in the dump of ipset save"
        return held.holds(
            packet.family, packet.proto, packet.src, packet.dst, packet.sport, packet.dport, directions
        )

    # --- routing

    def lookup(self, packet: Packet, address: int, source: int | None) -> tuple[Route, ...] | str:
        """The routes that the packet would take to an address, or why that cannot be said."""
        family = packet.family
        tables = self._tables[family]
        for rule in self._rules[family]:
            matches = self._selects(rule, packet, address, source)
            if matches is False:
                continue
            if matches is not True:
                return matches
            if rule.action:
                return (Route(family, 0, 0, kind=rule.action),)
            table = tables.get(rule.table)
            if table is None:
                if rule.table in ("main", "default"):
                    continue
                return f"routing table {rule.table} is not in the dump (ip route show table all)"
            found = table.lookup(address)
            if found and found[0].kind != "throw":
                return found
        return ()

    def _selects(self, rule: RouteRule, packet: Packet, address: int, source: int | None) -> bool | str:
        width = 32 if packet.family == 4 else 128
        unknown = ""
        matches = True
        for network, value in ((rule.source, source), (rule.destination, address)):
            if network is None:
                continue
            base, prefix = network
            if value is None:
                matches = matches and prefix == 0  # a source that is not chosen yet is 0.0.0.0
            elif value >> (width - prefix) != base >> (width - prefix):
                matches = False
        if rule.mark is not None and packet.mark & rule.mark[1] != rule.mark[0]:
            matches = False
        for wanted, has in ((rule.iif, packet.iif or ("lo" if packet.local else None)), (rule.oif, None)):
            if wanted is not None and has is None:
                unknown = f"the routing rule {rule.priority} asks for an interface that is not known"
            elif wanted is not None and wanted != has:
                matches = False
        if matches and rule.other:
            unknown = f"the routing rule {rule.priority} asks for what is not modelled: {rule.other}"
        if matches and unknown:
            return unknown
        return matches is not rule.negated

    def incoming(self, packet: Packet) -> Decision:
        family, iif = packet.family, packet.iif
        if iif != "lo" and iif is not None:
            refused = self._source_refused(packet)
            if refused is not None:
                return refused
        if is_loopback(family, packet.dst) and iif != "lo" and self._no_localnet(family, iif):
            reason = f"{address_text(family, packet.dst)} from outside, and route_localnet is off"
            return Decision(Way.DROPPED if family == 4 else Way.UNREACHABLE, reason=reason)
        if self.is_local(family, packet.dst):
            return Decision(Way.LOCAL, "lo")
        if self.sysctls.forwards(family) is False:
            name = "net.ipv4.ip_forward" if family == 4 else "net.ipv6.conf.all.forwarding"
            return Decision(Way.DROPPED, reason=f"{name} is 0: the node forwards nothing", code="NOD001")
        return self._away(packet, packet.src)

    def _source_refused(self, packet: Packet) -> Decision | None:
        """Source validation (fib_validate_source): a source of the node itself, or one from elsewhere."""
        family, iif = packet.family, packet.iif
        assert iif is not None
        source = address_text(family, packet.src)
        if family == 4 and self.is_local(family, packet.src) and not is_loopback(family, packet.src):
            return Decision(Way.DROPPED, reason=f"{source} comes in by {iif}, but is the node's own address")
        if family == 4 and is_loopback(family, packet.src) and self._no_localnet(family, iif):
            return Decision(Way.DROPPED, reason=f"{source} comes in by {iif}, and route_localnet is off")
        mode = self.sysctls.rp_filter(iif) if family == 4 else None
        if not mode or self.reverse_path_ok(packet, mode == 2) is not False:
            return None
        reason = f"rp_filter of {iif} is {mode}: the way back to {source} is not by {iif}"
        return Decision(Way.DROPPED, reason=reason, code="NOD003")

    def reverse_path_ok(self, packet: Packet, loose: bool) -> bool | str:
        if not self._tables[packet.family]:
            return "the node's routes, which reverse path filtering looks up, are not known"
        if self.is_local(packet.family, packet.src):
            return packet.iif == "lo"
        found = self.lookup(packet, packet.src, packet.dst)
        if isinstance(found, str):
            return found
        if not found or found[0].kind != "unicast":
            return False
        if loose:
            return True
        if packet.iif is None:
            return "the interface by which the packet comes in is not known"
        return any(route.dev == packet.iif for route in found)

    def outgoing(self, packet: Packet) -> Decision:
        if self.is_local(packet.family, packet.dst):
            return Decision(Way.LOCAL, "lo")
        found = self._away(packet, packet.src)
        if (
            found.way is Way.FORWARD
            and packet.family == 4  # IPv6 lets it go
            and is_loopback(4, packet.src)
            and self._no_localnet(packet.family, found.oif)
        ):
            reason = f"{address_text(packet.family, packet.src)} cannot leave by {found.oif}: route_localnet is off"
            return Decision(Way.DROPPED, reason=reason)
        return found

    def _away(self, packet: Packet, source: int | None) -> Decision:
        if not self._tables[packet.family]:
            return Decision(Way.FORWARD)
        found = self.lookup(packet, packet.dst, source)
        text = address_text(packet.family, packet.dst)
        if isinstance(found, str):
            return Decision(Way.UNKNOWN, reason=found)
        if not found:
            return Decision(Way.UNREACHABLE, reason=f"no route to {text}", code="NOD008")
        first = found[0]
        if first.kind == "blackhole":
            return Decision(Way.DROPPED, reason=f"the route to {text} is a blackhole", code="NOD008")
        if first.kind != "unicast":
            return Decision(Way.UNREACHABLE, reason=f"the route to {text} says {first.kind}", code="NOD008")
        devs, gateways = {r.dev for r in found}, {r.gateway for r in found}
        return Decision(
            Way.FORWARD,
            first.dev if len(devs) == 1 else None,
            first.gateway if len(gateways) == 1 else None,
            "",
            first.prefix,
        )

    def _no_localnet(self, family: int, interface: str | None) -> bool:
        """Whether loopback addresses may surely not pass an interface: never for IPv6."""
        return family == 6 or self.sysctls.route_localnet(interface) is False

    # --- the node's own addresses

    def own_address(self, family: int, interface: str | None, towards: int) -> int | None:
        if interface is None:
            return None
        if family == 6 and self.is_local(family, towards):
            return towards  # the first rule of RFC 6724: prefer the same address
        link = self.links.get(interface)
        held = [
            a
            for a in (link.addresses if link is not None else ())
            if a.family == family and a.scope not in ("link", "host")
        ]
        chosen = _nearest(held, towards, 32 if family == 4 else 128)
        if chosen is not None:
            return chosen
        others = [
            a
            for name, other in self.links.items()
            for a in other.addresses
            if a.family == family and a.scope == "global" and name != interface
        ]
        return others[0].ip if others else None

    def source_towards(self, family: int, destination: int) -> int | None:
        if is_loopback(family, destination):
            return LOOPBACK4 + 1 if family == 4 else LOOPBACK6
        if self.is_local(family, destination):
            return destination
        route = self._route(family, destination)
        if route is None:
            return None
        towards = route.gateway if route.gateway is not None else destination
        return route.source if route.source is not None else self.own_address(family, route.dev, towards)

    def _route(self, family: int, address: int) -> Route | None:
        """The first route of table main."""
        table = self._tables[family].get("main")
        found = table.lookup(address) if table is not None else ()
        return found[0] if found else None

    def interface_from(self, family: int, source: int) -> str | None:
        if self.is_local(family, source):
            return "lo"
        route = self._route(family, source)
        return route.dev if route is not None else None

    def interface_of(self, family: int, address: int) -> str | None:
        """The interface that has an address of the node."""
        for name, link in self.links.items():
            if any((a.family, a.ip) == (family, address) for a in link.addresses):
                return name
        return None

    def next_hop(self, family: int, destination: int) -> int | None:
        route = self._route(family, destination)
        return route.gateway if route is not None else None

    def has_gateways(self) -> bool:
        """Whether any route but the default ones leads through a gateway: the node knows ways to others' pods."""
        return any(
            route.gateway is not None and route.prefix
            for tables in self._tables.values()
            for table in tables.values()
            for route in table.routes()
        )

    def unicast_routes(self, family: int) -> Iterator[Route]:
        """Every route of any table that leads to other machines."""
        for table in self._tables[family].values():
            yield from (route for route in table.routes() if route.kind == "unicast")

    # --- bridges

    def shared_bridge(self, family: int, one: int, other: int) -> str | None:
        first, second = self._route(family, one), self._route(family, other)
        if first is None or second is None or first.dev is None or first.dev != second.dev:
            return None
        if first.gateway is not None or second.gateway is not None:
            return None
        link = self.links.get(first.dev)
        return first.dev if link is not None and self.is_bridge(link.name) else None

    def is_bridge(self, name: str) -> bool:
        """Whether an interface is a bridge: by its kind, or because others have it as their master."""
        link = self.links.get(name)
        return (link is not None and link.kind == "bridge") or any(
            other.master == name and other.kind in ("", "veth") for other in self.links.values()
        )

    def refusing_bridge(self, family: int, address: int) -> str | None:
        """The bridge that does not take a packet back to the pod at ``address`` which sent it to its own Service.

        Where bridged packets meet the rules, a destination that they translate to the same bridge is not routed but
        bridged on, and a port without hairpin does not send out what came in by it. Which port a pod is behind the
        dumps do not tell, so all of the bridge's must be like that. Of a promiscuous bridge nothing is said: the node
        gets such packets too, and kernels differ in what becomes of them.
        """
        name = self.shared_bridge(family, address, address)
        if name is None or self.links[name].promiscuous or self.bridge_calls_netfilter(family) is not True:
            return None
        ports = self.pod_ports(name)
        return name if ports and all(p.hairpin is False for p in ports) else None

    def pod_ports(self, bridge: str) -> tuple[Link, ...]:
        """The ports of a bridge that pods are behind: its veths."""
        return tuple(
            link
            for link in self.links.values()
            if link.master == bridge
            and (link.kind == "veth" or (not link.kind and link.name.startswith("veth")))
        )

    def bridge_calls_netfilter(self, family: int) -> bool | None:
        value = self.sysctls.number(f"net.bridge.bridge-nf-call-ip{'6' if family == 6 else ''}tables")
        return None if value is None else value != 0


def _nearest(held: list[Address], towards: int, width: int) -> int | None:
    """The address that the kernel takes: the first on the destination's network, else the first primary one."""
    for address in held:
        if (
            address.ip >> (width - address.prefix) == towards >> (width - address.prefix)
            and not address.secondary
        ):
            return address.ip
    return next((a.ip for a in held if not a.secondary), held[0].ip if held else None)
