"""The Services that kube-proxy's rules name, and where they send to: what a node knows of them without the API.

Theory. In iptables mode a comment names the Service port of each cluster IP, and the names of the port's chains are
computed from that (comments of endpoints are left out in large clusters); in nftables mode the names of chains tell
it. From a port's chain jumps lead to the endpoints. IPVS's rules are addresses only, and a headless Service has none.

What may live here: dumps in, names and endpoints out. A Service port whose chain's name was cut, as the longest are
in nftables mode, is not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from svcdoctor.model.nodefacts import Dump
from svcdoctor.node.chainnames import (
    ServicePortName,
    iptables_hash,
    nftables_base,
    parse_nftables_base,
    split_chain,
)
from svcdoctor.node.iptablessave import IptablesTable, read_iptables_save
from svcdoctor.node.nftjson import NftTable, read_nft_json

SAVES = tuple(f"ip{six}tables{of}-save.txt" for six in ("", "6") for of in ("", "-nft", "-legacy"))
NFT = "nft.json"
RULES = (*SAVES, NFT)
"""The names of the dumps that are read."""

# iptables-save puts what holds a slash into quotes; kube-proxies before 1.18 wrote a colon without a port's name.
_ENTRY = re.compile(
    rb"^.*?-A KUBE-SERVICES .*?-p (?P<protocol>[a-z]+) .*?"
    rb'--comment "(?P<namespace>[^/" ]+)/(?P<name>[^:" ]+)(?::(?P<port>[^" ]*))? '
    rb'(?:cluster IP|has no (?:local )?endpoints)" .*?--dport (?P<number>\d+)',
    re.MULTILINE,
)
_JUMP = re.compile(rb"-j (KUBE-SEP-[A-Z2-7]{16})$")
_DNAT = re.compile(rb"-j DNAT --to-destination (?:\[([0-9a-fA-F:]+)\]|([\d.]+)):(\d+)")
# Policy Cluster, whose chain has all endpoints where there is one, and policy Local.
_POLICIES = ("KUBE-SVC-", "KUBE-SVL-")

_NFT_ENDPOINT = "endpoint-"
_NFT_POLICIES = ("service-", "local-")


@dataclass(frozen=True, slots=True)
class RuledPort:
    """A Service's port: its own number, and the endpoints that are ready, as addresses and numbers, IPv4 first."""

    name: ServicePortName
    number: int
    endpoints: tuple[tuple[str, int], ...]


def ruled_names(dumps: Mapping[str, Dump]) -> set[tuple[str, str]]:
    """Namespace and name of each Service that the rules name. Raises SvcdoctorError for a dump that is none."""
    return {(e.name.namespace, e.name.name) for e in (*_iptables(dumps), *_nftables(dumps))}


def ruled_ports(dumps: Mapping[str, Dump], namespace: str, name: str) -> tuple[RuledPort, ...]:
    """The ports of a Service. Raises SvcdoctorError for a dump that is none."""
    found: dict[tuple[ServicePortName, int], dict[tuple[str, int], None]] = {}
    for entry in (*_iptables(dumps), *_nftables(dumps)):
        if (entry.name.namespace, entry.name.name) == (namespace, name):
            held = found.setdefault((entry.name, entry.number), {})
            held.update(dict.fromkeys(entry.endpoints()))
    return tuple(
        RuledPort(port, number, tuple(sorted(endpoints, key=lambda e: ":" in e[0])))
        for (port, number), endpoints in found.items()
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where traffic to a Service port begins in one table."""

    name: ServicePortName
    number: int
    table: IptablesTable | NftTable | None

    def endpoints(self) -> Iterable[tuple[str, int]]:
        if isinstance(self.table, IptablesTable):
            return _of_chains(self.table, self.name)
        return _of_table(self.table, self.name) if self.table is not None else ()


def _iptables(dumps: Mapping[str, Dump]) -> Iterable[_Entry]:
    for dump in (dumps[name] for name in SAVES if name in dumps):
        saves = read_iptables_save(dump.data, dump.where)
        for match in _ENTRY.finditer(dump.data):
            words = {
                key: (value or b"").decode("ascii", "replace") for key, value in match.groupdict().items()
            }
            name = ServicePortName(words["namespace"], words["name"], words["port"], words["protocol"])
            for save in saves:
                yield _Entry(name, int(words["number"]), save.tables.get("nat"))


def _of_chains(table: IptablesTable, name: ServicePortName) -> Iterable[tuple[str, int]]:
    chains = (f"{prefix}{iptables_hash(name, old=old)}" for prefix in _POLICIES for old in (False, True))
    chosen = next(filter(None, map(table.rules, chains)), ())
    for jump in filter(None, map(_JUMP.search, chosen)):
        for rule in table.rules(jump[1].decode()) or ():
            if dnat := _DNAT.search(rule):
                yield (dnat[1] or dnat[2]).decode(), int(dnat[3])


def _nftables(dumps: Mapping[str, Dump]) -> Iterable[_Entry]:
    dump = dumps.get(NFT)
    tables = read_nft_json(dump.data, dump.where).tables if dump is not None else {}
    for table in (tables[name] for name in ("ip kube-proxy", "ip6 kube-proxy") if name in tables):
        for key, name in _elements(table):
            yield _Entry(name, key, table)


def _elements(table: NftTable) -> Iterable[tuple[int, ServicePortName]]:
    """The port numbers of the cluster IPs, and whose they are."""
    for element in _decoded(table, "service-ips"):
        match element:
            case [key, {"goto": {"target": str(chain)}}]:
                split = split_chain(chain)
                name = parse_nftables_base(split[1]) if split is not None else None
                if isinstance(name, ServicePortName) and (number := _number(key)):
                    yield number, name
    for element in _decoded(table, "no-endpoint-services"):
        match element:
            case [{"elem": {"val": key, "comment": str(comment)}}, _]:
                namespace, _, rest = comment.partition("/")
                service, _, port = rest.partition(":")
                if number := _number(key):
                    yield number, ServicePortName(namespace, service, port, _protocol(key))


def _decoded(table: NftTable, name: str) -> list[object]:
    held = table.sets.get(name)
    elements = msgspec.json.decode(held.elem) if held is not None else None
    return elements if isinstance(elements, list) else []


def _number(key: object) -> int:
    match key:
        case {"elem": {"val": inner}}:
            return _number(inner)
        case {"concat": [_, _, int(number)]}:
            return number
    return 0


def _protocol(key: object) -> str:
    match key:
        case {"concat": [_, str(protocol), _]}:
            return protocol
    return ""


def _of_table(table: NftTable, name: ServicePortName) -> Iterable[tuple[str, int]]:
    base = nftables_base(name)
    chains = [f"{prefix}{base}" for prefix in _NFT_POLICIES]
    chosen = next((c for c in chains if c in table.rules), "")
    for rule in table.rules.get(chosen, ()):
        for end in _ends(msgspec.json.decode(rule.expr)):
            if isinstance(end, tuple):
                yield end
            elif end.startswith(_NFT_ENDPOINT):  # with session affinity each has a chain
                for further in table.rules.get(end, ()):
                    yield from (e for e in _ends(msgspec.json.decode(further.expr)) if isinstance(e, tuple))


def _ends(expression: object) -> Iterable[tuple[str, int] | str]:
    """The addresses with ports that a rule sends to, and the chains that it goes to."""
    match expression:
        case {"goto": {"target": str(chain)}}:
            yield chain
        case {"addr": str(ip), "port": int(port)} | {"concat": [str(ip), int(port)]}:
            yield ip, port
        case dict():
            for value in expression.values():
                yield from _ends(value)
        case list():
            for value in expression:
                yield from _ends(value)
