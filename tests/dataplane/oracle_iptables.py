"""Random iptables rule sets within the modelled language, as text for ``iptables-restore``."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from oracle_draw import Draw
from oracle_packets import INTERFACES, LOOPBACK, NETWORKS, NOWHERE, OWN, PORTS, SERVICES, TARGETS, peers

# Builtin chains that share user chains: what may stand in one of them may stand in all.
GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "raw": (("PREROUTING", "OUTPUT"),),
    "mangle": (("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),),
    "nat": (("PREROUTING", "OUTPUT"), ("INPUT",), ("POSTROUTING",)),
    "filter": (("INPUT", "FORWARD", "OUTPUT"),),
}
# How often a group has rules at all, in percent.
USED = {"raw": 30, "mangle": 40, "nat": 70, "filter": 80}
MARKS = ("0x1", "0x4000", "0x8000", "0x4000/0x4000", "0x1/0xff", "0x0/0xffff", "0xc001", "0x0/0x4000")
SOURCES_OF_MARKS = ("set-xmark 0x4000/0x4000", "set-mark 0x1", "or-mark 0x8000", "and-mark 0xffffbfff", "xor-mark 0x4001")
CONNMARKS = ("--set-xmark 0x4000/0xffffffff", "--save-mark", "--restore-mark", "--restore-mark --mask 0x4000")
STATES = ("NEW", "RELATED,ESTABLISHED", "INVALID", "UNTRACKED", "NEW,UNTRACKED", "DNAT", "SNAT", "NEW,DNAT")
REJECTS = {
    4: ("port-unreachable", "host-unreachable", "net-prohibited", "host-prohibited", "admin-prohibited"),
    6: ("port-unreachable", "addr-unreachable", "adm-prohibited", "no-route", "policy-fail", "reject-route"),
}
BITS = {
    4: ("10.0.1.0/255.0.255.0", "0.0.0.1/0.0.0.1", "10.96.0.10/255.255.254.255"),
    6: ("fd00::1/ffff::1", "::10/::f0", "2001:db8::/ffff:ffff:0:ffff::"),
}


def saves(family: int) -> st.SearchStrategy[str]:
    """All four tables for packets of one family."""

    @st.composite
    def make(draw: Any) -> str:
        d = Draw(draw, family)
        return "".join(_Table(d, table).text() for table in GROUPS)

    return make()


class _Table:
    """One table: chains in layers below each group of builtin ones."""

    def __init__(self, d: Draw, name: str) -> None:
        self.d = d
        self.name = name

    def text(self) -> str:
        d = self.d
        heads, rules = [], []
        for group in GROUPS[self.name]:
            used = d.chance(USED[self.name])
            chains = [f"{group[0].lower()}{n}" for n in range(d.number(0, 4) if used else 0)]
            heads += [f":{chain} - [0:0]" for chain in chains]
            for position, chain in enumerate(chains):
                rules += self._chain(chain, group, chains[position + 1 :])
            for builtin in group:
                drops = self.name == "filter" and used and d.chance(8)
                heads.append(f":{builtin} {'DROP' if drops else 'ACCEPT'} [0:0]")
                if used:
                    rules += self._chain(builtin, group, chains)
        return "\n".join((f"*{self.name}", *heads, *rules, "COMMIT", ""))

    def _chain(self, name: str, group: tuple[str, ...], chains: list[str]) -> list[str]:
        d = self.d
        rules = [self._rule(name, group, chains) for _ in range(d.number(1, 4))]
        if d.chance(8):
            rules += self._many(chains)
        return [f"-A {name} {rule}" for rule in rules]

    def _many(self, chains: list[str]) -> list[str]:
        """Rules for a chain that is long enough to be looked up."""
        found = []
        for number in range(30):
            target = f"-j {chains[number % len(chains)]}" if chains else "-j RETURN" if number % 5 else "-j ACCEPT"
            address = TARGETS[self.d.family][(number * 7) % len(TARGETS[self.d.family])]
            port = PORTS[number % len(PORTS)]
            if number % 3 == 2:
                found.append(f"-p udp -m udp --dport {port} -j MARK --set-xmark {number:#x}/0xff")
            else:
                found.append(f"-d {address} -p tcp -m tcp --dport {port} {target}")
        return found

    # --- one rule

    def _rule(self, chain: str, group: tuple[str, ...], chains: list[str]) -> str:
        d = self.d
        proto = d.one(("tcp", "udp", "tcp", "udp", "sctp", ""))
        words: dict[str, str] = {}
        for _ in range(d.number(0, 3)):
            key, text = self._match(chain, proto)
            words.setdefault(key, text)
        if proto and (any(key in words for key in ("ports", "flags", "recent")) or d.chance(40)):
            words["p"] = f"-p {proto}"
        elif "p" not in words and d.chance(10):
            words["p"] = f"! -p {proto or 'udp'}"
            for key in ("ports", "flags"):
                words.pop(key, None)
        target = self._target(proto if words.get("p", "!")[0] != "!" else "", chain, group, chains)
        first = words.pop("p", "")
        return " ".join(word for word in (first, *words.values(), target) if word)

    def _match(self, chain: str, proto: str) -> tuple[str, str]:
        """A match by its kind: two of one kind do not stand in one rule."""
        d = self.d
        family, no, port = d.family, d.bang(), d.one(PORTS)
        which = d.number(0, 22)
        if which == 0:
            return "s", f"{no}-s {d.one((*peers(family), *OWN[family]))}"
        if which == 1:
            return "d", f"{no}-d {d.one(TARGETS[family])}"
        if which == 2:
            return "s", f"{no}-s {d.one((*NETWORKS[family], LOOPBACK[family]))}"
        if which == 3:
            return "d", f"{no}-d {d.one((*NETWORKS[family], LOOPBACK[family], *BITS[family]))}"
        if which in (4, 5, 6) and proto:
            return "ports", self._ports(proto, no, port)
        if which == 7:
            return self._interface(chain, no)
        if which == 8:
            side = d.one(("src", "dst"))
            return "iprange", f"-m iprange {no}--{side}-range {peers(family)[0]}-{d.one(peers(family)[1:3])}"
        if which in (9, 10):
            kinds = ("LOCAL", "LOCAL", "UNICAST", "LOCAL,UNICAST", "MULTICAST")
            return "addrtype", f"-m addrtype {no}--{d.one(('src', 'dst'))}-type {d.one(kinds)}"
        if which in (11, 12):
            return "mark", f"-m mark {no}--mark {d.one(MARKS)}"
        if which == 13:
            return "connmark", f"-m connmark {no}--mark {d.one(MARKS)}"
        if which in (14, 15):
            return "conntrack", f"-m conntrack {self._connection(no, port)}"
        if which == 16:
            return "state", f"-m state {no}--state {d.one(STATES[:4])}"
        if which == 17:
            chances = ("--mode random --probability 0.3333", "--mode random ! --probability 0.25", "--mode nth --every 3 --packet 0")
            return "statistic", f"-m statistic {d.one(chances)}"
        if which == 18:
            return "comment", '-m comment --comment "it\'s -j DROP \\"here\\""'
        if which == 19:
            return "limit", "-m limit --limit 10000/sec --limit-burst 10000"
        if which == 20 and proto == "tcp":
            return "flags", d.one(("-m tcp --syn", "-m tcp ! --syn", "-m tcp --tcp-flags SYN,RST SYN", "-m tcp ! --tcp-flags ACK ACK"))
        if which == 21:
            icmp = {4: "-p icmp -m icmp --icmp-type 8", 6: "-p ipv6-icmp -m icmp6 --icmpv6-type 128"}
            return ("p", icmp[family]) if not proto else ("d", f"-d {d.one(TARGETS[family])}")
        return "d", f"-d {d.one(SERVICES[family])}"

    def _ports(self, proto: str, no: str, port: int) -> str:
        d = self.d
        side = d.one(("dport", "dport", "sport"))
        ranges = ("1:100", "8080:9000", "1024:9023", "17024:40000", ":1023", "33024:")
        which = d.number(0, 3)
        if which == 0:
            several = d.one((f"{port},443", f"{port},8080:9000", "53,80,443,1024:20000"))
            return f"-m multiport {no}--{d.one(('dports', 'sports', 'ports'))} {several}"
        if which == 1:
            return f"-m {proto} {no}--{side} {d.one(ranges)}"
        if which == 2 and proto != "sctp":
            return f"-m {proto} --sport 1024: {no}--dport {port}"
        return f"-m {proto} {no}--{side} {port}"

    def _interface(self, chain: str, no: str) -> tuple[str, str]:
        d = self.d
        outward = not chain.startswith(("PREROUTING", "INPUT")) and d.chance(40)
        if chain.startswith(("OUTPUT", "POSTROUTING")):
            outward = True
        return ("o" if outward else "i"), f"{no}-{'o' if outward else 'i'} {d.one((*INTERFACES, 'eth+', 'cni+', 'e+'))}"

    def _connection(self, no: str, port: int) -> str:
        d = self.d
        family = d.family
        which = d.number(0, 7)
        if which <= 2:
            return f"{no}--ctstate {d.one(STATES)}"
        if which == 3:
            return f"{no}--ctorigdst {d.one((*TARGETS[family], *NETWORKS[family]))}"
        if which == 4:
            return f"--ctproto {d.one(('6', '17'))} {no}--ctorigdstport {port}"
        if which == 5:
            return f"{no}--ctorigsrc {d.one((*peers(family), *NETWORKS[family]))}"
        if which == 6:
            return f"--ctproto {d.one(('6', '17'))} --ctorigdst {d.one(SERVICES[family])}"
        return d.one((f"{no}--ctstatus SEEN_REPLY", "--ctdir ORIGINAL", "--ctstate NEW --ctdir ORIGINAL"))

    def _target(self, proto: str, chain: str, group: tuple[str, ...], chains: list[str]) -> str:
        d = self.d
        which = d.number(0, 19)
        if chains and which < 8:
            return f"-{'g' if which == 0 else 'j'} {d.one(chains)}"
        if which < 11:
            return d.one((f"-j MARK --{d.one(SOURCES_OF_MARKS)}", f"-j CONNMARK {d.one(CONNMARKS)}"))
        if which == 11:
            return d.one(("-j RETURN", "", "-j NFLOG --nflog-group 3"))
        if self.name == "nat":
            return self._nat(proto, group)
        if self.name == "raw":
            return d.one(("-j CT --notrack", "-j ACCEPT", "-j RETURN", "-j DROP", "-j ACCEPT"))
        if self.name == "filter" and which > 14:
            how = d.one(REJECTS[d.family])
            reset = "tcp-reset" if proto == "tcp" and d.chance(50) else f"icmp{'6' * (d.family == 6)}-{how}"
            return f"-j REJECT --reject-with {reset}"
        return d.one(("-j DROP", "-j ACCEPT", "-j ACCEPT", "-j RETURN"))

    def _nat(self, proto: str, group: tuple[str, ...]) -> str:
        d = self.d
        family = d.family
        six = family == 6
        inward = d.one((*peers(family), *OWN[family], *NOWHERE[family]))
        outward = d.one((*OWN[family][:4], *SERVICES[family]))
        port = d.one(PORTS)
        which = d.number(0, 9)
        if "OUTPUT" in group:
            if which == 0:
                return f"-j NETMAP --to {'fd00:244:1::/64' if six else '10.244.1.0/24'}"
            if which == 1:
                return f"-j DNAT --to-destination {peers(family)[5]}-{peers(family)[7]}"
            if which == 2 and proto:
                return f"-j REDIRECT --to-ports {port}"
            if which == 3:
                return "-j REDIRECT"
            with_port = f"[{inward}]:{port}" if six else f"{inward}:{port}"
            return f"-j DNAT --to-destination {with_port if proto and which > 5 else inward}"
        if which == 0 and "POSTROUTING" in group:
            return f"-j NETMAP --to {'fd00:96::/64' if six else '10.96.0.0/24'}"
        if which < 6 and "POSTROUTING" in group:
            return d.one(("-j MASQUERADE", "-j MASQUERADE --random-fully"))
        if which == 6 and proto:
            address = f"[{outward}]" if six else outward
            return f"-j SNAT --to-source {address}:50000-60000"
        return f"-j SNAT --to-source {outward}"
