"""Random iptables rule sets within the modelled language, as text for ``iptables-restore``."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from oracle_draw import Draw, Pools
from oracle_packets import DESTINATIONS, INTERFACES, LOOPBACK, NETWORKS, OWN, PORTS, SERVICES, TARGETS, peers

# Builtin chains that share user chains: what may stand in one of them may stand in all.
GROUPS: dict[str, tuple[tuple[str, ...], ...]] = {
    "raw": (("PREROUTING", "OUTPUT"),),
    "mangle": (("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),),
    "nat": (("PREROUTING", "OUTPUT"), ("INPUT",), ("POSTROUTING",)),
    "filter": (("INPUT", "FORWARD", "OUTPUT"),),
}
USED = {"raw": 30, "mangle": 40, "nat": 70, "filter": 80}  # how often a group has rules at all, in percent

# Matches by their kind: a rule has one of a kind at most. Those of ports and flags follow a rule's -p.
MATCHES = {
    "source": ("{no}-s {client}", "{no}-s {network}"),
    "destination": ("{no}-d {target}", "{no}-d {network}", "{no}-d {service}", "{no}-d {bits}"),
    "iprange": ("-m iprange {no}--src-range {range}", "-m iprange {no}--dst-range {range}"),
    "addrtype": ("-m addrtype {no}--src-type {type}", "-m addrtype {no}--dst-type {type}"),
    "mark": ("-m mark {no}--mark {mark}",),
    "connmark": ("-m connmark {no}--mark {mark}",),
    "conntrack": (
        "-m conntrack {no}--ctstate {state}",
        "-m conntrack {no}--ctstate {state}",
        "-m conntrack {no}--ctorigdst {target}",
        "-m conntrack {no}--ctorigsrc {network}",
        "-m conntrack --ctproto {number} {no}--ctorigdstport {port}",
        "-m conntrack --ctproto {number} --ctorigdst {service}",
        "-m conntrack {no}--ctstatus SEEN_REPLY",
        "-m conntrack --ctstate NEW --ctdir ORIGINAL",
    ),
    "state": (
        "-m state {no}--state NEW",
        "-m state {no}--state RELATED,ESTABLISHED",
        "-m state --state UNTRACKED",
    ),
    "statistic": (
        "-m statistic --mode random --probability 0.3333",
        "-m statistic --mode random ! --probability 0.25",
        "-m statistic --mode nth --every 3 --packet 0",
    ),
    "comment": ('-m comment --comment "it\'s -j DROP \\"here\\""',),
    "limit": ("-m limit --limit 10000/sec --limit-burst 10000",),
    "ports": (
        "-m {proto} {no}--dport {port}",
        "-m {proto} {no}--dport {port}",
        "-m {proto} {no}--sport {ports}",
        "-m {proto} --sport 1024: {no}--dport {ports}",
        "-m multiport {no}--dports {several}",
        "-m multiport {no}--sports {several}",
        "-m multiport {no}--ports {several}",
    ),
}
TCP_MATCHES = {
    "flags": ("-m tcp {no}--syn", "-m tcp --tcp-flags SYN,RST SYN", "-m tcp ! --tcp-flags ACK ACK")
}
# UDP only: what the node itself answers to TCP passes too, and would be another client.
UDP_MATCHES = {
    "recent": (
        "-m recent --name {list} --set",
        "-m recent --name {list} {no}--rcheck --seconds 3600",
        "-m recent --name {list} --update --seconds 3600",
        "-m recent --name {list} --remove",
    )
}
WITH_PROTOCOL = {"ports", "flags", "recent"}

CHANGES = (
    "-j MARK --set-xmark 0x4000/0x4000",
    "-j MARK --set-mark 0x1",
    "-j MARK --or-mark 0x8000",
    "-j MARK --and-mark 0xffffbfff",
    "-j MARK --xor-mark 0x4001",
    "-j CONNMARK --set-xmark 0x4000/0xffffffff",
    "-j CONNMARK --save-mark",
    "-j CONNMARK --restore-mark",
    "-j CONNMARK --restore-mark --mask 0x4000",
)
PASSING = ("-j RETURN", "", "-j NFLOG --nflog-group 3")
VERDICTS = ("-j DROP", "-j ACCEPT", "-j ACCEPT", "-j RETURN")
ENDS = {
    "raw": ("-j CT --notrack", *VERDICTS),
    "mangle": VERDICTS,
    "filter": (*VERDICTS, "-j REJECT --reject-with {how}", "-j REJECT --reject-with {how}"),
    "nat PREROUTING": (
        "-j DNAT --to-destination {to}",
        "-j DNAT --to-destination {to}",
        "-j DNAT --to-destination {pods}",
        "-j REDIRECT",
        "-j NETMAP --to {podnet}",
    ),
    "nat INPUT": ("-j SNAT --to-source {outward}",),
    # A port of MASQUERADE's own choice would be a change that nobody knows of.
    "nat POSTROUTING": ("-j MASQUERADE", "-j SNAT --to-source {outward}", "-j NETMAP --to {servicenet}"),
}
PORT_ENDS = {
    "nat PREROUTING": ("-j DNAT --to-destination {bracketed}:{port}", "-j REDIRECT --to-ports {port}"),
    "nat POSTROUTING": ("-j SNAT --to-source {outward_ports}",),
}
TCP_ENDS = {"filter": ("-j REJECT --reject-with tcp-reset",)}
REJECTS = {
    4: ("port-unreachable", "host-unreachable", "net-prohibited", "host-prohibited", "admin-prohibited"),
    6: ("port-unreachable", "addr-unreachable", "adm-prohibited", "no-route", "policy-fail", "reject-route"),
}
LONG = 30  # rules that make a chain one that is looked up


def pools(family: int) -> Pools:
    six = family == 6
    outward = (*OWN[family][:4], *SERVICES[family])
    return {
        "no": ("", "", "", "! "),
        "client": (*peers(family), *OWN[family]),
        "target": TARGETS[family],
        "service": SERVICES[family],
        "network": (*NETWORKS[family], LOOPBACK[family]),
        "bits": ("fd00::1/ffff::1", "::10/::f0") if six else ("10.0.1.0/255.0.255.0", "0.0.0.1/0.0.0.1"),
        "range": tuple(f"{peers(family)[0]}-{last}" for last in peers(family)[1:3]),
        "type": ("LOCAL", "LOCAL", "UNICAST", "LOCAL,UNICAST", "MULTICAST"),
        "mark": ("0x1", "0x4000", "0x4000/0x4000", "0x1/0xff", "0x0/0xffff", "0xc001", "0x0/0x4000"),
        "state": (
            "NEW",
            "RELATED,ESTABLISHED",
            "INVALID",
            "UNTRACKED",
            "NEW,UNTRACKED",
            "DNAT",
            "SNAT",
            "NEW,DNAT",
        ),
        "number": ("6", "17"),
        "port": tuple(map(str, PORTS)),
        "ports": ("1:100", "8080:9000", "1024:9023", "17024:40000", ":1023", "33024:"),
        "several": ("80,443", "53,8080:9000", "53,80,443,1024:20000"),
        "list": ("one", "two"),
        "interface": (*INTERFACES, "eth+", "cni+", "e+"),
        "how": tuple(f"icmp{'6' * six}-{how}" for how in REJECTS[family]),
        "to": DESTINATIONS[family],
        "bracketed": tuple(f"[{a}]" if six else a for a in DESTINATIONS[family]),
        "pods": (f"{peers(family)[5]}-{peers(family)[7]}",),
        "podnet": ("fd00:244:1::/64" if six else "10.244.1.0/24",),
        "servicenet": ("fd00:96::/64" if six else "10.96.0.0/24",),
        "outward": outward,
        "outward_ports": tuple(f"{f'[{a}]' if six else a}:50000-60000" for a in outward),
    }


def saves(family: int) -> st.SearchStrategy[str]:
    """All four tables for packets of one family."""

    @st.composite
    def make(draw: Any) -> str:
        d = Draw(draw, family, pools(family))
        return "".join(_table(d, table) for table in GROUPS)

    return make()


def _table(d: Draw, table: str) -> str:
    """One table: chains in layers below each group of builtin ones."""
    heads, rules = [], []
    for group in GROUPS[table]:
        used = d.chance(USED[table])
        below = [f"{group[0].lower()}{n}" for n in range(d.number(0, 4) if used else 0)]
        kind = f"nat {group[0]}" if table == "nat" else table
        heads += [f":{chain} - [0:0]" for chain in below]
        for position, chain in enumerate(below):
            rules += _chain(d, chain, kind, below[position + 1 :])
        for builtin in group:
            drops = table == "filter" and used and d.chance(8)
            heads.append(f":{builtin} {'DROP' if drops else 'ACCEPT'} [0:0]")
            rules += _chain(d, builtin, kind, below) if used else []
    return "\n".join((f"*{table}", *heads, *rules, "COMMIT", ""))


def _chain(d: Draw, name: str, kind: str, below: list[str]) -> list[str]:
    rules = [_rule(d, name, kind, below) for _ in range(d.number(1, 4))]
    if d.chance(8):
        rules += _many(d, below)
    return [f"-A {name} {rule}" for rule in rules]


def _many(d: Draw, below: list[str]) -> list[str]:
    """Rules for a chain that is looked up."""
    found = []
    for number in range(LONG):
        target = below[number % len(below)] if below else "RETURN" if number % 5 else "ACCEPT"
        address = TARGETS[d.family][(number * 7) % len(TARGETS[d.family])]
        port = PORTS[number % len(PORTS)]
        if number % 3 == 2:
            found.append(f"-p udp -m udp --dport {port} -j MARK --set-xmark {number:#x}/0xff")
        else:
            found.append(f"-d {address} -p tcp -m tcp --dport {port} -j {target}")
    return found


def _rule(d: Draw, chain: str, kind: str, below: list[str]) -> str:
    proto = d.one(("tcp", "udp", "tcp", "udp", "sctp", ""))
    d.pools |= {"proto": (proto,), "chain": tuple(below)}
    offered = MATCHES | (TCP_MATCHES if proto == "tcp" else UDP_MATCHES if proto == "udp" else {})
    offered |= {"interface": _interfaces(chain)}
    kinds = [k for k in d.some(tuple(offered), 0, 3) if proto or k not in WITH_PROTOCOL]
    if "ports" in kinds and "flags" in kinds:
        kinds.remove("flags")  # both are of one module
    words = [d.fill(offered[k]) for k in kinds]
    of_protocol = bool(proto) and (bool(WITH_PROTOCOL & set(kinds)) or d.chance(40))
    if of_protocol:
        words.insert(0, f"-p {proto}")
    elif d.chance(10):
        words.insert(0, f"! -p {proto or 'udp'}")
    ends = ENDS[kind]
    if of_protocol:
        ends += PORT_ENDS.get(kind, ()) + TCP_ENDS.get(kind, ()) * (proto == "tcp")
    which = d.number(0, 9)
    jumps = ("-j {chain}", "-j {chain}", "-g {chain}")
    acts = jumps if below and which < 4 else CHANGES if which < 5 else PASSING if which == 5 else ends
    return " ".join(word for word in (*words, d.fill(acts)) if word)


def _interfaces(chain: str) -> tuple[str, ...]:
    """iptables takes no -o in the first two builtin chains, and no -i in the last two."""
    into, out = "{no}-i {interface}", "{no}-o {interface}"
    if chain in ("PREROUTING", "INPUT"):
        return (into,)
    return (out,) if chain in ("OUTPUT", "POSTROUTING") else (into, out)
