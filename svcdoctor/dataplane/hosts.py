"""The nodes of a Snapshot as netfilter and routing see them, each read from its dumps when first asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import ip_network

from svcdoctor.dataplane.hooks import Node
from svcdoctor.dataplane.invaliddrops import Dropped, invalid_drops
from svcdoctor.dataplane.iptables import IptablesRules
from svcdoctor.dataplane.ipvs import Ipvs
from svcdoctor.dataplane.language import Op, Ruleset
from svcdoctor.dataplane.nftables import NftablesRules, is_iptables
from svcdoctor.dataplane.packet import address_text
from svcdoctor.dataplane.routing import Decision
from svcdoctor.dataplane.tablerouter import TableRouter
from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Dump, NodeFacts
from svcdoctor.node.conntrack import Entry, read_conntrack
from svcdoctor.node.ipsets import read_ipsets
from svcdoctor.node.iptablessave import IptablesSave, read_iptables_save
from svcdoctor.node.ipvs import read_ipvs
from svcdoctor.node.nftjson import read_nft_json

# iptables' dumps, those that say more first: of each backend and family the first one counts.
SAVES = (
    "iptables-save-counters.txt",
    "iptables-save.txt",
    "ip6tables-save-counters.txt",
    "ip6tables-save.txt",
    "iptables-nft-save.txt",
    "ip6tables-nft-save.txt",
    "iptables-legacy-save.txt",
    "ip6tables-legacy-save.txt",
)
NFT = "nft.json"
IPVS_DUMPS = ("ipvsadm.txt", "ipvsadm-Ln.txt")
SERVICE_TABLES = ("ip kube-proxy", "ip6 kube-proxy")
METRICS = "kube-proxy-metrics.txt"
CONNTRACK = ("conntrack.txt", "conntrack-6.txt", "proc-net-nf_conntrack.txt")
_SETS_MARK = re.compile(
    r"(?:--set-x?mark|--or-mark|mark set (?:meta )?(?:mark )?(?:\||or)?) ?(0x[0-9a-fA-F]+|\d+)"
)
SCANNED = 2000  # rules of a chain up to which it is looked through
_SAMPLE = re.compile(r"(kubeproxy_\w+)(?:\{([^}]*)\})? ([0-9.eE+-]+)")


class Host:
    """One node: its rules, its routing, and what checks want to know of it.

    ``node`` is ``None`` where no rules were collected. Reading raises SvcdoctorError for a dump that is not what
    its name says.
    """

    def __init__(self, facts: NodeFacts) -> None:
        self.facts = facts
        self.name = facts.name

    def _dump(self, name: str) -> Dump | None:
        dump = self.facts.raw.get(name)
        return dump if dump is not None and dump.data else None

    @cached_property
    def router(self) -> TableRouter:
        sets = self._dump("ipset.txt")
        own = [*(self.facts.addresses or ()), *self._virtual_addresses()]
        return TableRouter(
            self.facts.raw, own, read_ipsets(sets.data, sets.where) if sets is not None else None
        )

    @cached_property
    def _ipvs(self) -> Ipvs | None:
        dump = next((d for name in IPVS_DUMPS if (d := self._dump(name)) is not None), None)
        if dump is None or (self.facts.proxy is not None and self.facts.proxy.mode != "ipvs"):
            return None
        return Ipvs(read_ipvs(dump.data, dump.where))

    def _virtual_addresses(self) -> Iterator[str]:
        """kube-proxy puts the addresses of virtual servers on kube-ipvs0."""
        for family, address in self._ipvs.addresses if self._ipvs is not None else ():
            yield address_text(family, address)

    @cached_property
    def _saves(self) -> tuple[IptablesSave, ...]:
        """What iptables-save showed: of each backend and family the first dump counts."""
        found: dict[tuple[str, int], IptablesSave] = {}
        for name in SAVES:
            dump = self._dump(name)
            if dump is not None:
                for save in read_iptables_save(dump.data, dump.where):
                    found.setdefault((save.backend, save.family), save)
        return tuple(found.values())

    @cached_property
    def rulesets(self) -> tuple[Ruleset, ...]:
        return self.rulesets_but()

    def rulesets_but(self, but: str = "") -> tuple[Ruleset, ...]:
        """All rules but those of nftables tables of that name."""
        found: list[Ruleset] = [IptablesRules(save, self.router) for save in self._saves]
        dump = self._dump(NFT)
        if dump is not None:
            read = read_nft_json(dump.data, dump.where)
            # iptables-save describes its own tables, and better.
            saved = {
                f"{'ip6' if save.family == 6 else 'ip'} {name}"
                for save in self._saves
                if save.backend == "iptables-nft"
                for name in save.tables
                if name not in save.incomplete
            }
            left_out = [
                name
                for name, table in read.tables.items()
                if (name in saved and is_iptables(table)) or table.name == but
            ]
            found.append(NftablesRules(read, self.router, left_out))
        return tuple(found)

    @cached_property
    def families(self) -> frozenset[int]:
        """The IP families whose rules are known."""
        if self._dump(NFT) is not None:
            return frozenset({4, 6})
        return frozenset(save.family for save in self._saves)

    @cached_property
    def damage(self) -> str:
        """What is wrong with a dump of rules, addresses or routes; empty where all can be read."""
        try:
            _ = self.rulesets
        except SvcdoctorError as e:
            return e.message
        return ""

    @property
    def unknown(self) -> str:
        """Why the node's rules are not known; empty where they are."""
        if not self.families:
            missing = (self.facts.missing.get(name) for name in (NFT, *SAVES))
            return next((why for why in missing if why), "no dump of its rules was collected")
        incomplete = sorted({name for save in self._saves for name in save.incomplete})
        if self._dump(NFT) is None and incomplete:
            return (
                f"iptables-save leaves out chains of {', '.join(incomplete)} that nft made; {NFT} is needed"
            )
        if self.facts.addresses is None:
            return self.facts.missing.get("ip-addr.json", "its addresses are not known (ip -j addr)")
        mode = self.facts.proxy.mode if self.facts.proxy is not None else ""
        if self._dump(NFT) is None and mode == "nftables":
            return self.facts.missing.get(
                NFT, "kube-proxy runs in nftables mode and nft.json was not collected"
            )
        if mode == "ipvs" and self._ipvs is None:
            return self.facts.missing.get(
                "ipvsadm.txt", "kube-proxy runs in ipvs mode and ipvsadm.txt was not collected"
            )
        return ""

    @cached_property
    def node(self) -> Node | None:
        return self.node_of(self.rulesets)

    def node_of(self, rulesets: Iterable[Ruleset]) -> Node | None:
        """The node with these rules instead of its own."""
        return Node(rulesets, self.router, self._ipvs, self.families) if not self.unknown else None

    # --- what checks ask

    def sysctl(self, name: str) -> str | None:
        return self.router.sysctls.get(name)

    @property
    def interfaces(self) -> tuple[str, ...]:
        return tuple(self.router.links)

    @property
    def ephemeral_ports(self) -> tuple[int, int] | None:
        """The range that outgoing connections take their ports from (net.ipv4.ip_local_port_range)."""
        words = (self.sysctl("net.ipv4.ip_local_port_range") or "").split()
        return (int(words[0]), int(words[1])) if len(words) == 2 and all(map(str.isdecimal, words)) else None

    def chain_names(self, backend: str, table: str) -> tuple[str, ...]:
        """The names of a table's chains in one backend, ``()`` where that has no such table."""
        return tuple(
            name for ruleset in self.rulesets if ruleset.backend == backend for name in ruleset.chains(table)
        )

    @cached_property
    def serves(self) -> bool:
        """Whether rules of kube-proxy send packets to any Service."""
        if self._ipvs is not None:
            return True
        for ruleset in self.rulesets:
            if any(name.startswith(("KUBE-SVC-", "KUBE-SVL-")) for name in ruleset.chains("nat")):
                return True
            if any(
                name.startswith(("service-", "local-")) for t in SERVICE_TABLES for name in ruleset.chains(t)
            ):
                return True
        return False

    @cached_property
    def ebpf_signs(self) -> tuple[str, ...]:
        """What shows that eBPF programs serve Services here."""
        found = [f"interface {name}" for name in self.interfaces if name.startswith("cilium_")]
        for ruleset in self.rulesets:
            for table in ruleset.tables():
                names = [n for n in ruleset.chains(table) if n.startswith("CILIUM_")]
                if names:
                    found.append(f"{table} holds {names[0]}")
        return tuple(dict.fromkeys(found))[:4]

    @property
    def bypassed(self) -> bool:
        """Whether eBPF programs serve Services here in the place of kube-proxy's rules, which are not in the path."""
        return bool(self.ebpf_signs) and not self.serves

    def pod_bridges(self, cidrs: Sequence[str]) -> tuple[str, ...]:
        """Bridges that have an address of the node's pod ranges."""
        networks = [ip_network(c, strict=False) for c in cidrs]
        return tuple(
            name
            for name, link in self.router.links.items()
            if self.router.is_bridge(name)
            and any(
                a.family == n.version and int(n.network_address) <= a.ip <= int(n.broadcast_address)
                for a in link.addresses
                for n in networks
            )
        )

    def marking_rules(self, bits: int) -> tuple[str, ...]:
        """Rules that set one of the bits of the packet mark, as text."""
        found = []
        for ruleset in self.rulesets:
            for table in ruleset.tables():
                if table in SERVICE_TABLES:
                    continue
                for name in ruleset.chains(table):
                    chain = ruleset.chain(table, name) if not name.startswith("KUBE-") else None
                    if chain is None or len(chain) > SCANNED:
                        continue
                    for rule in chain.rules():
                        if any(op is Op.CHANGE for op, _ in rule.actions) and sets_mark(rule.text, bits):
                            found.append(str(rule))
        return tuple(found)

    @cached_property
    def invalid_drops(self) -> tuple[Dropped, ...]:
        """Rules that have dropped packets that belong to no connection known here."""
        return tuple(invalid_drops(self.rulesets))

    def conntrack(self) -> Iterator[Entry]:
        """The connections that the node tracks, read anew each time."""
        for name in CONNTRACK:
            dump = self._dump(name)
            if dump is not None:
                yield from read_conntrack(dump.data, dump.where)

    @cached_property
    def proxy_metrics(self) -> Mapping[str, Mapping[str, float]]:
        """kube-proxy's own numbers by name and labels: it counts for each IP family by itself."""
        dump = self._dump(METRICS)
        values: dict[str, dict[str, float]] = {}
        for line in (dump.data if dump is not None else b"").decode("utf-8", "replace").splitlines():
            match = _SAMPLE.fullmatch(line.strip())
            if match is not None:
                values.setdefault(match[1], {})[match[2] or ""] = float(match[3])
        return values


def sets_mark(rule: str, bits: int) -> bool:
    """Whether a rule's text sets one of the bits: ``--set-xmark 0x4000/0x4000``, ``mark set mark | 0x4000``."""
    if "mark" not in rule.lower() or "connmark" in rule.lower() or "ct mark set" in rule:
        return False
    target = re.search(
        r"(?:--set-x?mark|--or-mark|mark set (?:meta )?(?:mark )?(?:\||or)?) ?(0x[0-9a-fA-F]+|\d+)", rule
    )
    return target is not None and bool(int(target[1], 0) & bits)


class Hosts:
    """The nodes of a Snapshot."""

    def __init__(self, facts: Mapping[str, NodeFacts]) -> None:
        self._facts = facts
        self._hosts: dict[str, Host] = {}
        self.names = tuple(name for name, f in facts.items() if any(n in f.raw for n in (*SAVES, NFT)))

    def host(self, name: str) -> Host | None:
        """A node whose rules were collected, and can be read."""
        if name not in self.names:
            return None
        found = self._hosts.get(name)
        if found is None:
            found = self._hosts[name] = Host(self._facts[name])
        return None if found.damage else found

    def forget(self, name: str) -> None:
        """Drop what was made of a node's dumps; it is made again when it is asked for."""
        self._hosts.pop(name, None)

    def node(self, name: str | None) -> Node | None:
        host = self.host(name) if name is not None else None
        return host.node if host is not None else None

    @property
    def damaged(self) -> dict[str, str]:
        """What is wrong with the dumps of nodes that were asked for, by node."""
        return {name: host.damage for name, host in self._hosts.items() if host.damage}

    def why(self, name: str) -> str:
        """Why a node's rules are not known."""
        facts = self._facts.get(name)
        if facts is None:
            return "its rules were not collected"
        host = self._hosts.get(name) or Host(facts)
        return host.damage or host.unknown

    def astray(self, route: Decision | None, home: str | None) -> bool:
        """Whether a packet for the pods of node ``home`` takes a default route although the nodes have routes of
        their own to each other's pods."""
        if route is None or route.prefix != 0 or home is None:
            return False
        others = (self.host(name) for name in self.names if name != home)
        return any(host is not None and host.router.has_gateways() for host in others)
