"""Random nftables rule sets within the modelled language, as text for ``nft -f``."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from hypothesis import strategies as st
from oracle_draw import Draw, Pools
from oracle_packets import DESTINATIONS, INTERFACES, LOOPBACK, NETWORKS, OWN, PORTS, SERVICES, TARGETS, peers

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
PRIORITIES = (-350, -300, -250, -190, -150, -110, -101, -99, -1, 0, 1, 50, 99, 101, 150, 300)
NAT = {
    "prerouting": (-100, -101, -105, -150),
    "output": (-100, -101, -90),
    "input": (100, 99, 50),
    "postrouting": (100, 101, 110),
}
# Sets and maps that rules may name; those that are named are written.
SETS = (
    "set addresses {{ type {addr}; elements = {{ {targets} }} }}",
    "set networks {{ type {addr}; flags interval; elements = {{ {networks} }} }}",
    "set services {{ type {addr} . inet_proto . inet_service; elements = {{ {services} }} }}",
    "set clients {{ type {addr}; flags dynamic,timeout; timeout 1h; }}",
    "map marks {{ type inet_service : mark; elements = {{ {port} : {mark} }} }}",
)
# {proto} is the same in all parts of a rule: nft takes no two protocols in one.
TESTS = (
    "{ip} saddr {no}{client}",
    "{ip} daddr {no}{target}",
    "{ip} saddr {no}{network}",
    "{ip} daddr {no}{network}",
    "{ip} saddr {no}{{ {client}, {network} }}",
    "{ip} daddr {no}{{ {target}, {network} }}",
    "{ip} saddr {no}{range}",
    "{ip} daddr {no}{range}",
    "{ip} saddr {no}@networks",
    "{ip} daddr {no}@addresses",
    "{ip} daddr and {bits} {equal} {masked}",
    "{proto} dport {no}{port}",
    "{proto} dport {no}{port}",
    "{proto} dport {no}{{ {port}, {ports} }}",
    "{proto} sport {no}{ports}",
    "{proto} dport {compared} {port}",
    "{proto} sport {compared} 33024",
    "meta l4proto {proto}",
    "{ip} daddr . meta l4proto . th dport {no}@services",
    "{ip} daddr . {proto} dport {no}{{ {service} . {port}, {own} . 80 }}",
    "{ip} saddr . {ip} daddr {no}{{ {client} . {target}, {network} . {service} }}",
    'iifname {no}"{interface}"',
    'meta iifname {no}"eth*"',
    'iifname {no}{{ "{interface}", "eth1" }}',
    "meta mark {no}{mark}",
    "meta mark and {mark} {equal} {mark}",
    "ct state {no}{state}",
    "ct status {status}",
    "ct mark {no}{mark}",
    "ct original {ip} daddr {no}{target}",
    "ct original {ip} saddr {no}{network}",
    "meta l4proto {proto} ct original proto-dst {no}{port}",
    "fib saddr type {no}{type}",
    "fib daddr type {no}{type}",
    "numgen random mod 4 {drawn}",
    "numgen inc mod 3 {drawn}",
)
LEAVING_TESTS = ('oifname {no}"{interface}"', 'oifname {no}"eth*"')
TCP_TESTS = ("tcp flags syn / syn,rst", "tcp flags & (syn | ack) == syn", "tcp flags ! fin,rst")
# UDP only: what the node itself answers to TCP passes here too, and would be another client.
UDP_TESTS = ("meta l4proto udp {ip} saddr {no}@clients",)
UDP_CHANGES = (
    "meta l4proto udp update @clients {{ {ip} saddr }}",
    "meta l4proto udp add @clients {{ {ip} saddr }}",
)

CHANGES = (
    "meta mark set {mark}",
    "meta mark set mark or {mark}",
    "meta mark set mark and {mark}",
    "meta mark set mark xor {mark}",
    "ct mark set {mark}",
    "ct mark set meta mark",
    "meta mark set ct mark",
    "meta mark set {proto} dport map @marks",
    "meta mark set numgen random mod 3 map {{ 0 : 0x1, 1 : {mark}, 2 : 0x2 }}",
    "counter meta mark set mark or 0x4000 {ip} daddr {target} meta mark set 0x2",
)
PASSING = ("return", "accept", "continue", "counter", "log group 3")
JUMPS = (
    "jump {chain}",
    "jump {chain}",
    "goto {chain}",
    "numgen random mod 3 vmap {{ 0 : jump {chain}, 1 : goto {chain} }}",
    "{proto} dport vmap {{ 80 : jump {chain}, 1000-9000 : {verdict} }}",
    "{ip} daddr vmap {{ {service} : goto {chain}, {own} : jump {chain} }}",
    "{ip} daddr . meta l4proto . th dport vmap {{ {service} . {proto} . {port} : goto {chain} }}",
    "{ip} saddr . {proto} dport vmap {{ {network} . 80-443 : jump {chain}, {network} . 8080-9000 : {verdict} }}",
)
# What a chain may end with, by its kind.
ENDS = {
    "filter": ("drop", "accept", "accept", "return", "meta mark set 0x1 accept"),
    "reject": (
        "reject",
        "{inet_family}reject with {icmp} port-unreachable",
        "{inet_family}reject with {icmp} admin-prohibited",
        "drop",
        "accept",
    ),
    "dnat": (
        "dnat {word}to {to}",
        "meta l4proto {proto} dnat {word}to {bracketed}:{port}",
        "meta l4proto {proto} dnat {word}to {bracketed}:{port}",
        "meta l4proto {proto} dnat {ip} addr . port to numgen random mod 2 "
        "map {{ 0 : {to} . {port}, 1 : {to} . {port} }}",
        "dnat {word}to {ip} daddr map {{ {service} : {to}, {own} : {to} }}",
        "dnat {word}to {pods}",
        "dnat {ip} prefix to {ip} daddr map {{ {servicenet} : {podnet} }}",
        "meta l4proto {proto} redirect to :{port}",
        "redirect",
    ),
    # A port of masquerade's own choice would be a change that nobody knows of.
    "snat": (
        "masquerade",
        "snat {word}to {outward}",
        "meta l4proto {proto} snat {word}to {outward_ports}",
        "snat {word}to {ip} daddr map {{ {service} : {outward}, {client} : {outward} }}",
    ),
    "input snat": ("snat {word}to {outward}",),
}
TCP_ENDS = {"reject": ("meta l4proto tcp reject with tcp reset",)}
INET_ENDS = {
    "reject": tuple(
        f"reject with icmpx {code}" for code in ("no-route", "host-unreachable", "admin-prohibited")
    )
}
LONG = 26  # rules that make a chain one that is looked up


def pools(family: int, inet: bool) -> Pools:
    six = family == 6
    ip = "ip6" if six else "ip"
    outward = (*OWN[family][:4], *SERVICES[family])
    own = tuple(address for address in OWN[family] if address not in SERVICES[family])
    return {
        "ip": (ip,),
        "word": (f"{ip} " if inet else "",),
        "inet_family": (f"meta nfproto ipv{family} " if inet else "",),
        "icmp": ("icmpv6" if six else "icmp",),
        "addr": ("ipv6_addr" if six else "ipv4_addr",),
        "no": ("", "", "", "!= "),
        "equal": ("==", "!="),
        "compared": ("<", ">", "<=", ">="),
        "client": (*peers(family), *OWN[family]),
        "target": TARGETS[family],
        "service": SERVICES[family],
        "own": own,
        "network": (*NETWORKS[family], LOOPBACK[family]),
        "range": tuple(f"{peers(family)[0]}-{last}" for last in peers(family)[:2]),
        "bits": ("ffff::ff", "::1") if six else ("255.255.0.255", "0.0.0.1", "255.255.0.0"),
        "masked": ("::1", "fd00::10") if six else ("0.0.0.1", "10.244.0.10", "10.96.0.0"),
        "port": tuple(map(str, PORTS)),
        "ports": ("1-100", "8080-9000", "40000-50000", "1024-9023", "33024-65535"),
        "interface": INTERFACES,
        "mark": ("0x1", "0x4000", "0x8000", "0xc001", "0x0", "0xffffffff"),
        "state": (
            "new",
            "established",
            "related",
            "invalid",
            "untracked",
            "new,untracked",
            "established,related",
        ),
        "status": ("dnat", "snat", "! dnat", "seen-reply"),
        "type": ("local", "unicast", "{ local, broadcast }"),
        "drawn": ("0", "< 2", "!= 1"),
        "verdict": ("return", "accept", "drop"),
        "to": DESTINATIONS[family],
        "bracketed": tuple(f"[{a}]" if six else a for a in DESTINATIONS[family]),
        "pods": (f"{peers(family)[5]}-{peers(family)[7]}",),
        "podnet": ("fd00:244:1::/112" if six else "10.244.1.0/24",),
        "servicenet": ("fd00:96::/112" if six else "10.96.0.0/24",),
        "outward": outward,
        "outward_ports": tuple(f"{f'[{a}]' if six else a}:50000-60000" for a in outward),
    }


def rulesets(family: int) -> st.SearchStrategy[str]:
    """One or two tables for packets of one family."""

    @st.composite
    def make(draw: Any) -> str:
        ip = "ip6" if family == 6 else "ip"
        names = Draw(draw, family).some((f"{ip} one", f"{ip} two", "inet three"), 1, 2)
        tables = [_Table(Draw(draw, family, pools(family, name.startswith("inet"))), name) for name in names]
        return "".join(table.text() for table in tables)

    return make()


class _Table:
    """One table: named sets and maps, user chains in layers, base chains."""

    def __init__(self, d: Draw, name: str) -> None:
        self.d = d
        self.name = name

    def text(self) -> str:
        d = self.d
        chains: list[str] = []
        for kind, hooks in self._groups():
            below = [f"{kind.replace(' ', '')}{n}" for n in range(d.number(0, 3))]
            for position, name in reversed(list(enumerate(below))):
                chains += self._chain(name, "", kind, hooks, below[position + 1 :])
            for hook in hooks:
                name = f"{hook}_{kind.replace(' ', '')}"
                chains += self._chain(name, self._head(kind, hook), kind, (hook,), below)
        rules = "\n".join((*chains, "}", ""))
        sets = [line for line in self._sets() if f"@{line.split()[1]}" in rules]
        return "\n".join((f"table {self.name} {{", *sets, rules))

    def _groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """Chains by what may stand in them, and their hooks."""
        d = self.d
        found: list[tuple[str, tuple[str, ...]]] = []
        if d.chance(75):
            found.append(("filter", tuple(d.some(HOOKS, 1, 3))))
        if d.chance(75):
            found.append(("dnat", tuple(d.some(("prerouting", "output"), 1, 2))))
        if d.chance(50):
            found.append(("reject", tuple(d.some(("input", "forward", "output"), 1, 2))))
        if d.chance(30):
            found.append(("snat", ("postrouting",)))
        if d.chance(10):
            found.append(("input snat", ("input",)))
        return found

    def _head(self, kind: str, hook: str) -> str:
        d = self.d
        if kind.endswith("nat"):
            return f"type nat hook {hook} priority {d.one(NAT[hook])};"
        route = kind == "filter" and hook == "output" and d.chance(30)
        policy = "drop" if kind == "filter" and d.chance(5) else "accept"
        return f"type {'route' if route else 'filter'} hook {hook} priority {d.one(PRIORITIES)}; policy {policy};"

    def _sets(self) -> list[str]:
        d = self.d
        networks: list[Any] = []
        for network in map(ip_network, d.some(NETWORKS[d.family])):
            if not any(network.overlaps(other) for other in networks):
                networks.append(network)
        services = {f"{d['service']} . {d.one(('tcp', 'udp'))} . {d['port']}" for _ in range(d.number(1, 4))}
        d.pools |= {
            "targets": (", ".join(d.some(TARGETS[d.family])),),
            "networks": (", ".join(map(str, networks)),),
            "services": (", ".join(sorted(services)),),
        }
        return [template.format_map(d) for template in SETS]  # type: ignore[arg-type]

    def _chain(self, name: str, head: str, kind: str, hooks: tuple[str, ...], below: list[str]) -> list[str]:
        d = self.d
        rules = [self._rule(kind, hooks, below) for _ in range(d.number(1, 4))]
        if d.chance(10):
            rules += self._many(below)
        return [f"chain {name} {{", *([head] if head else []), *rules, "}"]

    def _many(self, below: list[str]) -> list[str]:
        """Rules for a chain that is looked up."""
        d = self.d
        found = []
        for number in range(LONG):
            verdict = f"jump {below[number % len(below)]}" if below else "return" if number % 5 else "accept"
            address = TARGETS[d.family][(number * 7) % len(TARGETS[d.family])]
            port = PORTS[number % len(PORTS)]
            if number % 3 == 2:
                found.append(f"meta l4proto {{ tcp, udp }} th dport {port} meta mark set {number:#x}")
            else:
                found.append(f"{d['ip']} daddr {address} tcp dport {port} {verdict}")
        return found

    def _rule(self, kind: str, hooks: tuple[str, ...], below: list[str]) -> str:
        d = self.d
        proto = d.one(("tcp", "udp", "tcp", "udp", "sctp"))
        first = set(hooks) <= {"prerouting", "output"}
        inet = self.name.startswith("inet")
        d.pools |= {"proto": (proto,), "chain": tuple(below)}
        tests = TESTS + TCP_TESTS * (proto == "tcp") + UDP_TESTS * (first and proto == "udp")
        tests += LEAVING_TESTS * (set(hooks) <= {"forward", "output", "postrouting"})
        ends = ENDS[kind] + TCP_ENDS.get(kind, ()) * (proto == "tcp") + INET_ENDS.get(kind, ()) * inet
        changes = CHANGES + UDP_CHANGES * (first and proto == "udp") + ("notrack",) * first
        which = d.number(0, 9)
        acts = JUMPS if below and which < 4 else changes if which < 6 else PASSING if which == 6 else ends
        return " ".join((*(d.fill(tests) for _ in range(d.number(0, 2))), d.fill(acts)))
