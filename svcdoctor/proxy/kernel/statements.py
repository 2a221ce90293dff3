"""The nftables statements that rules for Services are made of, as libnftables-json(5) has them.

Theory. Written as JSON a rule is at once what the evaluator runs (``dataplane``) and what nft is told
(``dataplane.nfttext`` writes the text), so that what was verified is what is loaded. ``ip`` is the table's family,
``ip`` or ``ip6``.

What may live here: statements and rules of any proxy's table: svcdoctor's own, and kube-proxy's in the lab.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, TypeAlias

from svcdoctor.path.nodeplan import PodTraffic

Statement: TypeAlias = dict[str, Any]

REJECT = {"ip": "icmp", "ip6": "icmpv6"}
DROP: Statement = {"drop": None}
RETURN: Statement = {"return": None}
NEW: Statement = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}
PROTOCOL: Statement = {"meta": {"key": "l4proto"}}
PORT: Statement = {"payload": {"protocol": "th", "field": "dport"}}
MARK: Statement = {"meta": {"key": "mark"}}
_MASQUERADE: Statement = {"masquerade": {"flags": "fully-random"}}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: it matches where all its statements do, in order."""

    statements: tuple[Statement, ...]
    comment: str | None = None


def rule(*statements: Statement, comment: str | None = None) -> Rule:
    return Rule(statements, comment)


# --- verdicts


def goto(chain: str) -> Statement:
    return {"goto": {"target": chain}}


def jump(chain: str) -> Statement:
    return {"jump": {"target": chain}}


def reject(ip: str) -> Statement:
    """Tell the sender that nothing listens (port-unreachable)."""
    return {"reject": {"type": REJECT[ip], "expr": "port-unreachable"}}


# --- what is looked up


def address(ip: str, field: str = "daddr") -> Statement:
    return {"payload": {"protocol": ip, "field": field}}


def concat(*parts: Statement) -> Statement:
    return {"concat": list(parts)}


def service(ip: str) -> Statement:
    """Destination address, protocol and port."""
    return concat(address(ip), PROTOCOL, PORT)


def vmap(key: Statement, name: str) -> Statement:
    return {"vmap": {"key": key, "data": f"@{name}"}}


def match(left: Statement, right: Any, op: str = "==") -> Statement:
    return {"match": {"op": op, "left": left, "right": right}}


def network(text: str) -> Any:
    """A network, or the one address that it has."""
    found = ip_network(text, strict=False)
    if found.prefixlen == found.max_prefixlen:
        return str(found.network_address)
    return {"prefix": {"addr": str(found.network_address), "len": found.prefixlen}}


def from_pods(pods: PodTraffic, ip: str, op: str = "==") -> Statement:
    """Whether a packet is a pod's; ``!=``: whether it is not."""
    if pods.network:
        return match(address(ip, "saddr"), network(pods.network), op)
    return match({"meta": {"key": "iifname"}}, f"{pods.interface}{'*' if pods.prefix else ''}", op)


def local(field: str) -> Statement:
    """Whether the address is one of the node's own: ``saddr`` or ``daddr``."""
    return match({"fib": {"result": "type", "flags": [field]}}, "local")


def not_loopback(ip: str) -> Statement:
    return match(address(ip), network("::1" if ip == "ip6" else "127.0.0.0/8"), "!=")


# --- masquerading


def mark(bit: int) -> Statement:
    """Ask for masquerading."""
    return {"mangle": {"key": MARK, "value": {"|": [MARK, bit]}}}


def masquerading(ip: str, bit: int, hairpins: str) -> tuple[Rule, ...]:
    """Masquerade what is marked, without its mark, and what a pod sends to itself through its Service.

    ``hairpins`` is a set of source, destination, protocol and port.
    """
    marked = match({"&": [MARK, bit]}, 0, "!=")
    unmark = {"mangle": {"key": MARK, "value": {"^": [MARK, bit]}}}
    translated = match({"ct": {"key": "status"}}, "dnat", "in")
    itself = match(concat(address(ip, "saddr"), address(ip), PROTOCOL, PORT), f"@{hairpins}")
    return (rule(marked, unmark, _MASQUERADE), rule(translated, itself, _MASQUERADE))


# --- endpoints


def _protocol(name: str) -> Statement:
    return match(PROTOCOL, name)


def _draw(mode: str, count: int, first: int = 0) -> Statement:
    return {"numgen": {"mode": mode, "mod": count, "offset": first}}


def spread(ip: str, protocol: str, count: int, of: Any, mode: str = "random", first: int = 0) -> Rule:
    """Send to one of ``count`` endpoints of a map from numbers: ``random``, or each in its turn, ``inc``. ``of`` is the
    map's name with an @, or the map itself (`numbered`); ``first`` the number of the first one."""
    drawn = {"map": {"key": _draw(mode, count, first), "data": of}}
    return rule(_protocol(protocol), {"dnat": {"family": ip, "addr": drawn}})


def numbered(endpoints: Iterable[tuple[str, int]]) -> Statement:
    """A map of addresses and ports by number, from 0 on."""
    return {"set": [[n, {"concat": [to, port]}] for n, (to, port) in enumerate(endpoints)]}


def spread_sticky(ip: str, endpoints: Iterable[tuple[str, str]], mode: str = "random") -> tuple[Rule, ...]:
    """Go to the chain of the endpoint whose set has the client, else to one of them all. ``endpoints`` are chains
    with the sets of the clients that they had."""
    pairs = tuple(endpoints)
    data = [[n, goto(chain)] for n, (chain, _) in enumerate(pairs)]
    drawn: Statement = {"vmap": {"key": _draw(mode, len(pairs)), "data": {"set": data}}}
    known = (rule(match(address(ip, "saddr"), f"@{clients}"), goto(chain)) for chain, clients in pairs)
    return (*known, rule(drawn))


def send(protocol: str, to: str, port: int) -> Rule:
    """Send to the endpoint."""
    return rule(_protocol(protocol), {"dnat": {"addr": to, "port": port}})


def sticky(ip: str, protocol: str, clients: str, to: str, port: int) -> tuple[Rule, ...]:
    """Remember the client, and send to the endpoint."""
    return (
        rule({"set": {"op": "update", "elem": address(ip, "saddr"), "set": f"@{clients}"}}),
        send(protocol, to, port),
    )


def from_outside(
    ip: str, bit: int, pods: PodTraffic | None, external_local: bool, cluster: str, here: str
) -> tuple[Rule, ...]:
    """Chain ``external-``: policy Local keeps the source address, save of pods and of the node itself.

    ``cluster`` and ``here`` are the chains of the policies, empty where a policy has no endpoint.
    """
    if not external_local:
        return (rule(mark(bit), comment="masquerade"), rule(goto(cluster)))
    rules = []
    if cluster and pods is not None:
        rules.append(rule(from_pods(pods, ip), goto(cluster), comment="short-circuit pod traffic"))
    if cluster:
        rules.append(rule(local("saddr"), mark(bit), comment="masquerade local traffic"))
        rules.append(rule(local("saddr"), goto(cluster), comment="short-circuit local traffic"))
    if here:
        rules.append(rule(goto(here)))
    return tuple(rules)


def guard(ip: str, sources: Iterable[str]) -> Rule:
    """Drop what does not come from one of these networks."""
    allowed = [network(source) for source in sources]
    among = allowed[0] if len(allowed) == 1 else {"set": allowed}
    return rule(match(address(ip, "saddr"), among, "!="), DROP)
