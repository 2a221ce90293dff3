"""Random nftables rule sets within the modelled language, as text for ``nft -f``."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from oracle_draw import Draw
from oracle_packets import (
    INTERFACES,
    LOOPBACK,
    NETWORKS,
    NOWHERE,
    OWN,
    PORTS,
    SERVICES,
    TARGETS,
    peers,
)

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
PRIORITIES = (-350, -300, -250, -190, -150, -110, -101, -99, -1, 0, 1, 50, 99, 101, 150, 300)
NAT = {
    "prerouting": (-100, -101, -105, -150),
    "output": (-100, -101, -90),
    "input": (100, 99, 50),
    "postrouting": (100, 101, 110),
}
MARKS = ("0x1", "0x4000", "0x8000", "0xc001", "0x0", "0xffffffff")
STATES = ("new", "established", "related", "invalid", "untracked", "new,untracked", "established,related")


def rulesets(family: int) -> st.SearchStrategy[str]:
    """One or two tables for packets of one family."""

    @st.composite
    def make(draw: Any) -> str:
        d = Draw(draw, family)
        names = d.some((f"{d.ip} one", f"{d.ip} two", "inet three"), 1, 2)
        return "".join(_Table(d, name).text() for name in names)

    return make()


class _Table:
    """One table: named sets and maps, user chains in layers, base chains."""

    def __init__(self, d: Draw, name: str) -> None:
        self.d = d
        self.inet = name.startswith("inet")
        self.name = name
        self.updated = False

    def text(self) -> str:
        d = self.d
        lines = [f"table {self.name} {{"]
        bodies = []
        for kind, hooks in self._groups():
            chains = [f"{kind}{n}" for n in range(d.number(0, 3))]
            for position, chain in reversed(list(enumerate(chains))):
                lines += self._chain(chain, "", kind, hooks, chains[position + 1 :])
            for hook in hooks:
                bodies.append((kind, hook, hooks, chains))
        for number, (kind, hook, hooks, chains) in enumerate(bodies):
            nat = kind in ("d", "i", "s")
            priority = d.one(NAT[hook]) if nat else d.one(PRIORITIES)
            kind_word = "nat" if nat else "route" if kind == "f" and hook == "output" and d.chance(30) else "filter"
            policy = "drop" if kind == "f" and d.chance(5) else "accept"
            head = f"type {kind_word} hook {hook} priority {priority}; policy {policy};"
            lines += self._chain(f"{hook}{number}", head, kind, (hook,), chains)
        rules = "\n".join((*lines[1:], "}", ""))
        sets = [line for line in self._sets() if f"@{line.split()[1]}" in rules]
        return "\n".join((lines[0], *sets, rules))

    def _groups(self) -> list[tuple[str, tuple[str, ...]]]:
        """Chains by what may stand in them: filter (f, r with reject), destination NAT (d), source NAT (i, s)."""
        d = self.d
        found: list[tuple[str, tuple[str, ...]]] = []
        if d.chance(75):
            found.append(("f", tuple(h for h in HOOKS if h in d.some(HOOKS, 1, 3))))
        if d.chance(75):
            found.append(("d", tuple(d.some(("prerouting", "output"), 1, 2))))
        if d.chance(30):
            found.append(("r", tuple(d.some(("input", "forward", "output"), 1, 2))))
        if d.chance(30):
            found.append(("s", ("postrouting",)))
        if d.chance(10):
            found.append(("i", ("input",)))
        return [group for group in found if group[1]]

    def _sets(self) -> list[str]:
        d = self.d
        kind = "ipv6_addr" if d.family == 6 else "ipv4_addr"
        targets = ", ".join(d.some(TARGETS[d.family]))
        networks = ", ".join(self._apart(d.some(NETWORKS[d.family])))
        services = ", ".join(
            f"{a} . {p} . {n}"
            for a, p, n in dict.fromkeys(
                (d.one(SERVICES[d.family]), d.one(("tcp", "udp")), d.one(PORTS)) for _ in range(d.number(1, 4))
            )
        )
        low = d.one(PORTS)
        return [
            f"set addresses {{ type {kind}; elements = {{ {targets} }} }}",
            f"set networks {{ type {kind}; flags interval; elements = {{ {networks} }} }}",
            f"set ports {{ type inet_service; flags interval; elements = {{ {low}-{low + 400} }} }}",
            f"set services {{ type {kind} . inet_proto . inet_service; elements = {{ {services} }} }}",
            f"set clients {{ type {kind}; flags dynamic,timeout; timeout 1h; }}",
            f"map marks {{ type inet_service : mark; elements = {{ {d.one(PORTS)} : {d.one(MARKS)} }} }}",
        ]

    def _apart(self, networks: list[str]) -> list[str]:
        """Networks that do not overlap."""
        from ipaddress import ip_network

        kept: list[Any] = []
        for text in networks:
            network = ip_network(text)
            if not any(network.overlaps(other) for other in kept):
                kept.append(network)
        return [str(network) for network in kept]

    def _chain(self, name: str, head: str, kind: str, hooks: tuple[str, ...], chains: list[str]) -> list[str]:
        d = self.d
        rules = [self._rule(kind, hooks, chains) for _ in range(d.number(1, 4))]
        if d.chance(10):
            rules += self._many(kind, chains)
        return [f"chain {name} {{", *([head] if head else []), *rules, "}"]

    def _many(self, kind: str, chains: list[str]) -> list[str]:
        """A chain that is long enough to be looked up."""
        d = self.d
        found = []
        for number in range(26):
            verdict = f"jump {chains[number % len(chains)]}" if chains else "return" if number % 5 else "accept"
            address = TARGETS[d.family][(number * 7) % len(TARGETS[d.family])]
            port = PORTS[number % len(PORTS)]
            if number % 3 == 2:
                found.append(f"meta l4proto {{ tcp, udp }} th dport {port} meta mark set {number:#x}")
            else:
                found.append(f"{d.ip} daddr {address} tcp dport {port} {verdict}")
        return found

    # --- one rule

    def _rule(self, kind: str, hooks: tuple[str, ...], chains: list[str]) -> str:
        d = self.d
        proto = d.one(("tcp", "udp", "tcp", "udp", "sctp"))  # nft takes no two protocols in one rule
        tests = [self._test(hooks, proto) for _ in range(d.number(0, 2))]
        return " ".join((*tests, self._act(kind, hooks, chains, proto)))

    def _test(self, hooks: tuple[str, ...], proto: str) -> str:
        d = self.d
        ip, family = d.ip, d.family
        which = d.number(0, 25)
        side = d.one(("saddr", "daddr"))
        pool = TARGETS[family] if side == "daddr" else (*peers(family), *OWN[family])
        port = d.one(PORTS)
        if which == 0:
            return f"{ip} {side} {d.no()}{d.one(pool)}"
        if which in (1, 2):
            return f"{ip} {side} {d.no()}{d.one((*NETWORKS[family], LOOPBACK[family]))}"
        if which == 3:
            return f"{ip} {side} {d.no()}{{ {', '.join(d.some(pool))} }}"
        if which == 4:
            return f"{ip} {side} {d.no()}{d.one(('@addresses', '@networks'))}"
        if which in (5, 6):
            return f"{proto} dport {d.no()}{port}"
        if which == 7:
            return f"meta l4proto {proto}"
        if which == 8:
            return f"{proto} dport {d.no()}{{ {port}, {d.one(('1-100', '8080-9000', '40000-50000'))} }}"
        if which == 9:
            return f"{proto} {d.one(('sport', 'dport'))} {d.one(('<', '>', '<=', '>='))} {d.one((*PORTS, 9024, 33024))}"
        if which == 10:
            return f"{proto} sport {d.no()}{d.one(('1024-9023', '17024-40000', '33024-65535'))}"
        if which == 11:
            return f"{ip} daddr . meta l4proto . th dport {d.no()}@services"
        if which == 12:
            return f"{ip} daddr . {proto} dport {d.no()}{{ {d.one(SERVICES[family])} . {port}, {d.one(OWN[family])} . 80 }}"
        if which == 13:
            interface = "oifname" if set(hooks) <= {"postrouting", "forward", "output"} and d.chance(50) else "iifname"
            return f"meta {interface} {d.no()}{d.one(tuple(f'{chr(34)}{i}{chr(34)}' for i in (*INTERFACES, 'eth*')))}"
        if which == 14:
            return f'iifname {d.no()}{{ "{d.one(INTERFACES)}", "eth1" }}'
        if which == 15:
            return f"meta mark {d.no()}{d.one(MARKS)}"
        if which == 16:
            return f"meta mark and {d.one(MARKS[1:])} {d.one(('!= 0', '== 0', '== 0x4000', '== 0x1'))}"
        if which == 17:
            return f"ct state {d.no()}{d.one(STATES)}"
        if which == 18:
            return f"ct status {d.one(('dnat', 'snat', '! dnat', 'seen-reply'))}"
        if which == 19:
            return self._original(proto)
        if which == 20:
            return f"fib {d.one(('saddr', 'daddr'))} type {d.no()}{d.one(('local', 'unicast', '{ local, broadcast }'))}"
        if which == 21:
            return f"numgen {d.one(('random', 'inc'))} mod {d.number(3, 5)} {d.one(('0', '< 2', '!= 1'))}"
        if which == 22:
            return f"{ip} {side} {d.no()}{d.one(peers(family)[:2])}-{peers(family)[1]}"
        if which == 23:
            masks = {4: ("255.255.0.255", "0.0.0.1"), 6: ("ffff::ff", "::1")}[family]
            return f"{ip} daddr and {d.one(masks)} {d.one(('==', '!='))} {d.one(('0.0.0.1', '10.244.0.10') if family == 4 else ('::1', 'fd00::10'))}"
        if proto == "tcp" and which == 24:
            return d.one(("tcp flags syn / syn,rst", "tcp flags & (syn | ack) == syn", "tcp flags ! fin,rst"))
        return f"meta nfproto ipv{family}" if self.inet else f"{ip} version {family}"

    def _original(self, proto: str) -> str:
        d = self.d
        ip, family = d.ip, d.family
        which = d.number(0, 3)
        if which == 0:
            return f"ct original {ip} daddr {d.no()}{d.one(TARGETS[family])}"
        if which == 1:
            return f"meta l4proto {proto} ct original proto-dst {d.no()}{d.one(PORTS)}"
        if which == 2:
            return f"ct original {ip} saddr {d.no()}{d.one(NETWORKS[family])}"
        return f"ct mark {d.no()}{d.one(MARKS)}"

    def _act(self, kind: str, hooks: tuple[str, ...], chains: list[str], proto: str) -> str:
        d = self.d
        which = d.number(0, 19)
        if chains and which < 8:
            if which == 7 and len(chains) > 1:
                return f"numgen random mod 3 vmap {{ 0 : jump {chains[0]}, 1 : goto {chains[1]} }}"
            if which == 6:
                verdict = d.one(("return", "accept", "drop"))
                return f"{proto} dport vmap {{ {d.one((80, 443))} : jump {d.one(chains)}, 1000-9000 : {verdict} }}"
            return f"{d.one(('jump', 'jump', 'goto'))} {d.one(chains)}"
        if which < 11:
            return self._change(proto)
        if which == 11:
            return d.one(("return", "accept", "continue", "counter", "log group 3"))
        if kind == "d":
            return self._dnat(proto)
        if kind in ("s", "i"):
            return self._snat(kind, proto)
        if kind == "r" and which > 13:
            return self._reject(proto)
        if which in (12, 13) and set(hooks) <= {"prerouting", "output"}:
            return d.one(("notrack", "accept"))
        return d.one(("drop", "accept", "accept", "return", "meta mark set 0x1 accept"))

    def _change(self, proto: str) -> str:
        d = self.d
        mark = d.one(MARKS)
        return d.one(
            (
                f"meta mark set {mark}",
                f"meta mark set mark or {mark}",
                f"meta mark set mark and {mark}",
                f"meta mark set mark xor {mark}",
                f"ct mark set {mark}",
                "meta mark set ct mark",
                "ct mark set meta mark",
                f"meta mark set {proto} dport map @marks",
                f"meta mark set numgen random mod 3 map {{ 0 : 0x1, 1 : {mark}, 2 : 0x2 }}",
                f"counter meta mark set mark or 0x4000 {d.ip} daddr {d.one(TARGETS[d.family])} meta mark set 0x2",
            )
        )

    def _family_word(self) -> str:
        return f"{self.d.ip} " if self.inet else ""

    def _endpoints(self, most: int = 3) -> list[str]:
        """Where a NAT may send to."""
        family = self.d.family
        return self.d.some((*peers(family), *OWN[family], *NOWHERE[family]), 1, most)

    def _dnat(self, proto: str) -> str:
        d = self.d
        word = self._family_word()
        address = self._endpoints(1)[0]
        with_port = f"[{address}]" if d.family == 6 else address
        port = d.one(PORTS)
        which = d.number(0, 8)
        if which <= 1:
            return f"dnat {word}to {address}"
        if which <= 3:
            return f"meta l4proto {proto} dnat {word}to {with_port}:{port}"
        if which == 4:
            many = self._endpoints()
            elements = ", ".join(f"{n} : {a} . {d.one(PORTS)}" for n, a in enumerate(many))
            to = f"{d.ip} addr . port" if not self.inet else f"{d.ip} addr . port"
            return f"meta l4proto {proto} dnat {to} to numgen random mod {len(many)} map {{ {elements} }}"
        if which == 5:
            elements = ", ".join(f"{a} : {self._endpoints(1)[0]}" for a in d.some(TARGETS[d.family]))
            return f"dnat {word}to {d.ip} daddr map {{ {elements} }}"
        if which == 6:
            return f"meta l4proto {proto} redirect to :{port}"
        if which == 7:
            return "redirect"
        return f"dnat {word}to {' '.join(peers(d.family)[5:6])}-{peers(d.family)[7]}"

    def _snat(self, kind: str, proto: str) -> str:
        d = self.d
        word = self._family_word()
        address = d.one((*OWN[d.family][:4], *SERVICES[d.family]))
        with_port = f"[{address}]" if d.family == 6 else address
        which = d.number(0, 5)
        if kind == "s" and which <= 2:
            return d.one(("masquerade", "masquerade", "masquerade fully-random", f"meta l4proto {proto} masquerade to :60000-61000"))
        if which == 5:
            return f"meta l4proto {proto} snat {word}to {with_port}:50000-60000"
        return f"snat {word}to {address}"

    def _reject(self, proto: str) -> str:
        d = self.d
        own = {4: "icmp", 6: "icmpv6"}[d.family]
        return d.one(
            (
                "reject",
                "meta l4proto tcp reject with tcp reset" if proto == "tcp" else "reject",
                f"reject with icmpx {d.one(('no-route', 'port-unreachable', 'host-unreachable', 'admin-prohibited'))}"
                if self.inet
                else "reject",
                f"{f'meta nfproto ipv{d.family} ' * self.inet}reject with {own} {d.one(('port-unreachable', 'admin-prohibited', 'no-route' if d.family == 6 else 'host-unreachable'))}",
            )
        )


