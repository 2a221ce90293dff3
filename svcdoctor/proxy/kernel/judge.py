"""This node's rules as they are, and what the evaluator says of served ports: without svcdoctor's rules and with them.

What may live here: collecting this node's rules and routes, and putting compiled ones among them.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from functools import cached_property
from ipaddress import ip_network

from svcdoctor.dataplane.hosts import IPVS_DUMPS, NFT, SAVES, Host
from svcdoctor.dataplane.language import Ruleset as Rules
from svcdoctor.dataplane.nftables import NftablesRules
from svcdoctor.node.nftjson import NftDump, read_nft_json
from svcdoctor.proxy.kernel.compile import Ruleset
from svcdoctor.proxy.kernel.evaluated import evaluated
from svcdoctor.proxy.kernel.layout import TABLE
from svcdoctor.proxy.kernel.site import Site
from svcdoctor.proxy.kernel.verify import NOTHING, Verified, verify
from svcdoctor.proxy.serving.served import ServedPort
from svcdoctor.sources.collecting import DEFAULT_LIMITS, collect
from svcdoctor.sources.localnode import run

_AT_ONCE = 25  # ports whose rules are read together
_NEAR = 8  # addresses that are tried at each end of a network
_ENOUGH = 200

_NAMES = (
    *(*SAVES, NFT, *IPVS_DUMPS, "ipset.txt", "ip-addr.json", "ip-link.json", "sysctl.txt"),
    *("ip-route.json", "ip-6-route.json", "ip-rule.json", "ip-6-rule.json"),
    *("proc-net-fib_trie.txt", "proc-net-route.txt", "proc-net-if_inet6.txt", "proc-net-ipv6_route.txt"),
)
"""The dumps that say what becomes of a packet."""


class Judge:
    """As the node is when this is made. Collecting takes a second or more where there are many rules."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._facts = collect(socket.gethostname().lower(), run, DEFAULT_LIMITS, names=_NAMES)
        self._host = Host(self._facts)

    @property
    def unknown(self) -> str:
        """Why the evaluator cannot tell anything; empty where it can."""
        return self._host.damage or self._host.unknown

    def tables(self) -> NftDump:
        """The nftables rules, svcdoctor's own among them."""
        dump = self._facts.raw.get(NFT)
        return read_nft_json(dump.data, dump.where) if dump is not None else NftDump("", {})

    def others(self, ports: Iterable[ServedPort], seconds: float) -> Verified:
        """What becomes of packets without any table of ours."""
        node = self._host.node_of(self._others)
        return verify(node, ports, self.site, self._pods, seconds=seconds) if node is not None else NOTHING

    def compiled(self, ruleset: Ruleset, keys: Iterable[str], seconds: float) -> Verified:
        """What becomes of them once these rules are loaded. All rules are rarely read: it is done by and by."""
        ports = [ruleset.ports[key] for key in keys if key in ruleset.ports]
        until = time.monotonic() + seconds
        found = NOTHING
        for first in range(0, len(ports), _AT_ONCE):
            left = until - time.monotonic()
            if first and left < 0:
                break
            some = ports[first : first + _AT_ONCE]
            rules = NftablesRules(evaluated(ruleset, (port.key for port in some)), self._host.router)
            node = self._host.node_of((*self._others, rules))
            if node is not None:
                found = found.beside(verify(node, some, self.site, self._pods, ruleset.has, left))
        return found

    def loaded(self, ruleset: Ruleset, seconds: float) -> Verified:
        """What becomes of them by the rules as the kernel lists them."""
        node = self._host.node
        if node is None:
            return NOTHING
        return verify(node, ruleset.ports.values(), self.site, self._pods, ruleset.has, seconds)

    @cached_property
    def _others(self) -> tuple[Rules, ...]:
        return self._host.rulesets_but(TABLE)

    @cached_property
    def _pods(self) -> dict[int, tuple[int, ...]]:
        """Addresses that are routed to pods on the links of this node: of each such network the first and last."""
        found: dict[int, tuple[int, ...]] = {}
        for family, pods in self.site.pods.items():
            if pods is None or not pods.network:
                continue
            whole = ip_network(pods.network, strict=False)
            addresses: dict[int, None] = {}
            low = int(whole.network_address)
            for route in self._host.router.unicast_routes(family):
                if route.gateway is None and low <= route.network < low + whole.num_addresses:
                    size = 1 << whole.max_prefixlen - route.prefix
                    near = range(1, min(size - 1, _NEAR)) if size > 1 else range(1)
                    far = range(max(size - _NEAR, 1), size - 1)
                    addresses |= dict.fromkeys(route.network + n for n in (*near, *far))
            own = self._host.router.is_local
            found[family] = tuple(a for a in addresses if not own(family, a))[:_ENOUGH]
        return found
