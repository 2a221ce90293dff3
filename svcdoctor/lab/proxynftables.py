"""The rules of kube-proxy 1.36 in nftables mode, as text for ``nft -f``.

Theory. Table ``kube-proxy`` of each IP family looks a packet up in verdict maps: ``service-ips`` by address,
protocol and port, ``service-nodeports`` by protocol and port. They lead to ``external-`` (what comes from
outside), ``service-`` (policy Cluster) and ``local-`` (policy Local), which choose an endpoint and DNAT in one
rule; only with session affinity has each endpoint a chain and a set of its clients. Other maps refuse or drop
what has no endpoint and guard load balancers by source. What is not allocated in the Service range is dropped.

What may live here: spelling a ``ProxyPlan`` in nftables. Specified by kube-proxy (pkg/proxy/nftables).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.node.chainnames import EndpointName, nftables_base
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.nodeplan import MASQUERADE_MARK, PodTraffic, PortPlan, ProxyPlan, plan

_MASQUERADE = f"mark set mark or {MASQUERADE_MARK:#x}"
_PORT_TYPE = "inet_proto . inet_service"
_BASE_CHAINS = {
    "filter-prerouting-pre-dnat": "type filter hook prerouting priority -110",
    "filter-output-pre-dnat": "type filter hook output priority -110",
    "filter-input": "type filter hook input priority 0",
    "filter-forward": "type filter hook forward priority 0",
    "filter-output": "type filter hook output priority 0",
    "nat-prerouting": "type nat hook prerouting priority -100",
    "nat-output": "type nat hook output priority -100",
    "nat-postrouting": "type nat hook postrouting priority 100",
}
_JUMPS = {
    "filter-prerouting-pre-dnat": ("ct state new jump firewall-check",),
    "filter-output-pre-dnat": ("ct state new jump firewall-check",),
    "filter-input": (
        "ct state new jump nodeport-endpoints-check",
        "ct state new jump service-endpoints-check",
    ),
    "filter-forward": ("ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"),
    "filter-output": ("ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"),
    "nat-prerouting": ("jump services",),
    "nat-output": ("jump services",),
    "nat-postrouting": ("jump masquerading",),
}


@dataclass(slots=True)
class _Table:
    """The table as it grows. Of two values for one key of a map the first stays."""

    chains: dict[str, list[str]] = field(default_factory=dict)
    affinity_sets: dict[str, int] = field(default_factory=dict)
    cluster_ips: dict[str, None] = field(default_factory=dict)
    hairpins: dict[str, None] = field(default_factory=dict)
    service_ips: dict[str, str] = field(default_factory=dict)
    service_node_ports: dict[str, str] = field(default_factory=dict)
    firewall_ips: dict[str, str] = field(default_factory=dict)
    no_endpoint_services: dict[str, str] = field(default_factory=dict)
    no_endpoint_node_ports: dict[str, str] = field(default_factory=dict)


def nftables_rules(
    snapshot: Snapshot, node: str, settings: ProxySettings, family: int, addresses: tuple[str, ...] = ()
) -> str:
    """Table kube-proxy as kube-proxy on ``node`` leaves it for ``family`` (4 or 6).

    The text replaces that table as a whole. ``addresses`` are the node's own addresses.
    """
    whole = plan(snapshot, node, settings, family, addresses)
    ip = "ip6" if family == 6 else "ip"
    table = _Table(chains={name: list(rules) for name, rules in _JUMPS.items()})
    table.chains |= _dispatch(whole, ip)
    for port in whole.ports:
        _Port(port, whole, table, ip, node).write()
    return "\n".join(_render(whole, table, ip))


def _from_pods(pods: PodTraffic, ip: str, negated: bool = False) -> str:
    no = "!= " if negated else ""
    if pods.network:
        return f"{ip} saddr {no}{pods.network}"
    return f'iifname {no}"{pods.interface}{"*" if pods.prefix else ""}"'


def _dispatch(whole: ProxyPlan, ip: str) -> dict[str, list[str]]:
    """The chains that look a packet up, and those that act on what was found."""
    service_key = f"{ip} daddr . meta l4proto . th dport"
    to_node = f"{ip} daddr @nodeport-ips"
    if whole.node_port_addresses is None:
        to_node = f"fib daddr type local {ip} daddr != {'::1' if whole.family == 6 else '127.0.0.0/8'}"
    services = [
        f"{service_key} vmap @service-ips",
        f"{to_node} meta l4proto . th dport vmap @service-nodeports",
    ]
    if whole.masquerade_all:
        services.insert(0, f"{ip} daddr @cluster-ips {_MASQUERADE}")
    elif whole.pods is not None:
        others = _from_pods(whole.pods, ip, negated=True)
        comment = "masquerade clusterIP traffic from outside cluster"
        services.insert(0, f'{ip} daddr @cluster-ips {others} {_MASQUERADE} comment "{comment}"')
    unallocated = [
        f'{ip} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"',
    ]
    if whole.service_cidrs:
        cidrs = ", ".join(whole.service_cidrs)
        comment = "Drop traffic to unallocated ClusterIPs"
        unallocated.append(f'{ip} daddr {{ {cidrs} }} drop comment "{comment}"')
    mark = f"{MASQUERADE_MARK:#x}"
    return {
        "nodeport-endpoints-check": [f"{to_node} meta l4proto . th dport vmap @no-endpoint-nodeports"],
        "service-endpoints-check": [f"{service_key} vmap @no-endpoint-services"],
        "firewall-check": [f"{service_key} vmap @firewall-ips"],
        "services": services,
        "masquerading": [
            f"mark and {mark} != 0 mark set mark xor {mark} masquerade fully-random",
            f"ct status dnat {ip} saddr . {service_key} @hairpin-connections masquerade fully-random",
        ],
        "cluster-ips-check": unallocated,
        "reject-chain": ["reject"],
    }


class _Port:
    """One Service port's chains, and its elements of the maps and sets."""

    def __init__(self, port: PortPlan, whole: ProxyPlan, table: _Table, ip: str, node: str) -> None:
        self.port = port
        self.whole = whole
        self.table = table
        self.ip = ip
        self.node = node
        base = nftables_base(port.name)
        self.cluster_chain = f"service-{base}"
        self.local_chain = f"local-{base}"
        self.external_chain = f"external-{base}"
        self.firewall_chain = f"firewall-{base}"

    def write(self) -> None:
        port, table = self.port, self.table
        table.cluster_ips[port.cluster_ip] = None
        self._addresses()
        if port.has_endpoints and port.externally_accessible:
            table.chains[self.external_chain] = self._external()
        if port.filtered:
            sources = ", ".join(port.allowed_sources)
            table.chains[self.firewall_chain] = [f"{self.ip} saddr != {{ {sources} }} drop"]
        if port.cluster:
            table.chains[self.cluster_chain] = self._policy(port.cluster)
        if port.local:
            table.chains[self.local_chain] = self._policy(port.local)
        for endpoint in port.reachable:
            if endpoint.node == self.node:
                ip, protocol = endpoint.ip, port.name.protocol
                table.hairpins[f"{ip} . {ip} . {protocol} . {endpoint.port}"] = None
            if port.affinity_seconds:
                self._sticky(endpoint)

    def _addresses(self) -> None:
        port, table = self.port, self.table
        internal = self.local_chain if port.internal_local else self.cluster_chain
        missing = f'comment "{port.name}" : ' + ("drop" if port.has_endpoints else "goto reject-chain")
        key = self._key(port.cluster_ip)
        if port.has_internal_endpoints:
            table.service_ips.setdefault(key, f": goto {internal}")
        else:
            table.no_endpoint_services.setdefault(key, missing)
        for ip in (*port.external_ips, *port.load_balancer_ips):
            if port.has_endpoints:
                table.service_ips.setdefault(self._key(ip), f": goto {self.external_chain}")
            if not port.has_external_endpoints:
                table.no_endpoint_services.setdefault(self._key(ip), missing)
        if port.filtered:
            for ip in port.load_balancer_ips:
                table.firewall_ips.setdefault(self._key(ip), f": goto {self.firewall_chain}")
        if port.node_port:
            key = f"{port.name.protocol} . {port.node_port}"
            if port.has_endpoints:
                table.service_node_ports.setdefault(key, f": goto {self.external_chain}")
            if not port.has_external_endpoints:
                table.no_endpoint_node_ports.setdefault(key, missing)

    def _key(self, ip: str) -> str:
        return f"{ip} . {self.port.name.protocol} . {self.port.port}"

    def _external(self) -> list[str]:
        """Traffic from outside: policy Local keeps its source, save from pods and from the node itself."""
        port = self.port
        if not port.external_local:
            return [f'{_MASQUERADE} comment "masquerade"', f"goto {self.cluster_chain}"]
        rules = []
        if self.whole.pods is not None:
            pods = _from_pods(self.whole.pods, self.ip)
            rules.append(f'{pods} goto {self.cluster_chain} comment "short-circuit pod traffic"')
        rules.append(f'fib saddr type local {_MASQUERADE} comment "masquerade local traffic"')
        rules.append(f'fib saddr type local goto {self.cluster_chain} comment "short-circuit local traffic"')
        if port.has_external_endpoints:
            rules.append(f"goto {self.local_chain}")
        return rules

    def _policy(self, endpoints: tuple[Endpoint, ...]) -> list[str]:
        """Choose among the endpoints, all with the same probability, those that a client had before first."""
        choose = f"numgen random mod {len(endpoints)}"
        if not self.port.affinity_seconds:
            ends = ", ".join(f"{i} : {e.ip} . {e.port}" for i, e in enumerate(endpoints))
            return [f"meta l4proto {self.port.name.protocol} dnat {self.ip} to {choose} map {{ {ends} }}"]
        bases = [self._base(e) for e in endpoints]
        ends = ", ".join(f"{i} : goto endpoint-{base}" for i, base in enumerate(bases))
        return [
            *(f"{self.ip} saddr @affinity-{base} goto endpoint-{base}" for base in bases),
            f"{choose} vmap {{ {ends} }}",
        ]

    def _sticky(self, endpoint: Endpoint) -> None:
        """The chain of one endpoint and the set of the clients that it had."""
        base = self._base(endpoint)
        self.table.affinity_sets[f"affinity-{base}"] = self.port.affinity_seconds
        self.table.chains[f"endpoint-{base}"] = [
            f"update @affinity-{base} {{ {self.ip} saddr }}",
            f"meta l4proto {self.port.name.protocol} dnat to {endpoint.address}",
        ]

    def _base(self, endpoint: Endpoint) -> str:
        return nftables_base(EndpointName(self.port.name, endpoint.ip, endpoint.port))


def _render(whole: ProxyPlan, table: _Table, ip: str) -> Iterable[str]:
    """The file's lines. The table is made, deleted and made again, so that it need not be there before."""
    address = f"ipv{whole.family}_addr"
    service_type = f"{address} . {_PORT_TYPE}"
    yield f"add table {ip} kube-proxy"
    yield f"delete table {ip} kube-proxy"
    yield f"table {ip} kube-proxy {{"
    yield 'comment "rules for kube-proxy"'
    yield from _set("cluster-ips", address, "Active ClusterIPs", table.cluster_ips)
    if whole.node_port_addresses is not None:
        comment = "IPs that accept NodePort traffic"
        yield from _set("nodeport-ips", address, comment, whole.node_port_addresses)
    yield from _set(
        "hairpin-connections", f"{address} . {service_type}", "service hairpin connections", table.hairpins
    )
    for name, seconds in table.affinity_sets.items():
        yield f"set {name} {{ type {address}; flags dynamic,timeout; timeout {seconds}s; }}"
    yield from _map(
        "service-ips",
        service_type,
        "ClusterIP, ExternalIP and LoadBalancer IP traffic",
        table.service_ips,
    )
    yield from _map("service-nodeports", _PORT_TYPE, "NodePort traffic", table.service_node_ports)
    yield from _map(
        "firewall-ips",
        service_type,
        "destinations that are subject to LoadBalancerSourceRanges",
        table.firewall_ips,
    )
    yield from _map(
        "no-endpoint-services",
        service_type,
        "vmap to drop or reject packets to services with no endpoints",
        table.no_endpoint_services,
    )
    yield from _map(
        "no-endpoint-nodeports",
        _PORT_TYPE,
        "vmap to drop or reject packets to service nodeports with no endpoints",
        table.no_endpoint_node_ports,
    )
    for name, rules in table.chains.items():
        yield f"chain {name} {{"
        if name in _BASE_CHAINS:
            yield f"{_BASE_CHAINS[name]};"
        yield from rules
        yield "}"
    yield "}\n"


def _set(name: str, type_: str, comment: str, elements: Iterable[str]) -> Iterable[str]:
    return _block(f"set {name}", f"type {type_}", comment, tuple(elements))


def _map(name: str, type_: str, comment: str, elements: dict[str, str]) -> Iterable[str]:
    found = tuple(f"{key} {value}" for key, value in elements.items())
    return _block(f"map {name}", f"type {type_} : verdict", comment, found)


def _block(head: str, type_: str, comment: str, elements: tuple[str, ...]) -> Iterable[str]:
    yield f"{head} {{"
    yield f"{type_}"
    yield f'comment "{comment}"'
    if elements:
        yield "elements = {"
        yield ",\n".join(elements)
        yield "}"
    yield "}"
