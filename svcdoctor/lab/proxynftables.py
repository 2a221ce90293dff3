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
from svcdoctor.path.nodeplan import MASQUERADE_MARK, PortPlan, ProxyPlan, plan
from svcdoctor.proxy.kernel.statements import (
    DROP,
    NEW,
    PORT,
    PROTOCOL,
    Rule,
    Statement,
    address,
    concat,
    from_outside,
    from_pods,
    goto,
    guard,
    jump,
    local,
    mark,
    masquerading,
    match,
    network,
    not_loopback,
    numbered,
    reject,
    rule,
    service,
    spread,
    spread_sticky,
    sticky,
    vmap,
)
from svcdoctor.proxy.kernel.tabletext import (
    ADDRESS,
    PROTOCOL_PORT,
    Kept,
    Key,
    chains_text,
    element,
    kept_text,
    table_text,
)

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
    "filter-prerouting-pre-dnat": (rule(NEW, jump("firewall-check")),),
    "filter-output-pre-dnat": (rule(NEW, jump("firewall-check")),),
    "filter-input": (
        rule(NEW, jump("nodeport-endpoints-check")),
        rule(NEW, jump("service-endpoints-check")),
    ),
    "filter-forward": (rule(NEW, jump("service-endpoints-check")), rule(NEW, jump("cluster-ips-check"))),
    "filter-output": (rule(NEW, jump("service-endpoints-check")), rule(NEW, jump("cluster-ips-check"))),
    "nat-prerouting": (rule(jump("services")),),
    "nat-output": (rule(jump("services")),),
    "nat-postrouting": (rule(jump("masquerading")),),
}


@dataclass(slots=True)
class _Table:
    """The table as it grows: elements as text by their keys. Of two values for one key of a map the first stays."""

    chains: dict[str, tuple[Rule, ...]] = field(default_factory=dict)
    affinity_sets: dict[str, int] = field(default_factory=dict)
    cluster_ips: dict[Key, str] = field(default_factory=dict)
    hairpins: dict[Key, str] = field(default_factory=dict)
    service_ips: dict[Key, str] = field(default_factory=dict)
    service_node_ports: dict[Key, str] = field(default_factory=dict)
    firewall_ips: dict[Key, str] = field(default_factory=dict)
    no_endpoint_services: dict[Key, str] = field(default_factory=dict)
    no_endpoint_node_ports: dict[Key, str] = field(default_factory=dict)


def nftables_rules(
    snapshot: Snapshot, node: str, settings: ProxySettings, family: int, addresses: tuple[str, ...] = ()
) -> str:
    """Table kube-proxy as kube-proxy on ``node`` leaves it for ``family`` (4 or 6).

    The text replaces that table as a whole. ``addresses`` are the node's own addresses.
    """
    whole = plan(snapshot, node, settings, family, addresses)
    ip = "ip6" if family == 6 else "ip"
    table = _Table(chains=_JUMPS | _dispatch(whole, ip))
    for port in whole.ports:
        _Port(port, whole, table, ip, node).write()
    return "\n".join((*_render(whole, table, ip), ""))


def _dispatch(whole: ProxyPlan, ip: str) -> dict[str, tuple[Rule, ...]]:
    """The chains that look a packet up, and those that act on what was found."""
    to_node: tuple[Statement, ...] = (match(address(ip), "@nodeport-ips"),)
    if whole.node_port_addresses is None:
        to_node = (local("daddr"), not_loopback(ip))
    to_cluster = match(address(ip), "@cluster-ips")
    ports = concat(PROTOCOL, PORT)
    services = [rule(vmap(service(ip), "service-ips")), rule(*to_node, vmap(ports, "service-nodeports"))]
    if whole.masquerade_all:
        services.insert(0, rule(to_cluster, mark(MASQUERADE_MARK)))
    elif whole.pods is not None:
        others = from_pods(whole.pods, ip, "!=")
        comment = "masquerade clusterIP traffic from outside cluster"
        services.insert(0, rule(to_cluster, others, mark(MASQUERADE_MARK), comment=comment))
    unallocated = [rule(to_cluster, reject(ip), comment="Reject traffic to invalid ports of ClusterIPs")]
    if whole.service_cidrs:
        cidrs = [network(cidr) for cidr in whole.service_cidrs]
        comment = "Drop traffic to unallocated ClusterIPs"
        unallocated.append(rule(match(address(ip), {"set": cidrs}), DROP, comment=comment))
    return {
        "nodeport-endpoints-check": (rule(*to_node, vmap(ports, "no-endpoint-nodeports")),),
        "service-endpoints-check": (rule(vmap(service(ip), "no-endpoint-services")),),
        "firewall-check": (rule(vmap(service(ip), "firewall-ips")),),
        "services": tuple(services),
        "masquerading": masquerading(ip, MASQUERADE_MARK, "hairpin-connections"),
        "cluster-ips-check": tuple(unallocated),
        "reject-chain": (rule(reject(ip)),),
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
        table.cluster_ips[port.cluster_ip,] = port.cluster_ip
        self._addresses()
        if port.has_endpoints and port.externally_accessible:
            here = self.local_chain if port.has_external_endpoints else ""
            table.chains[self.external_chain] = from_outside(
                self.ip, MASQUERADE_MARK, self.whole.pods, port.external_local, self.cluster_chain, here
            )
        if port.filtered:
            table.chains[self.firewall_chain] = (guard(self.ip, port.allowed_sources),)
        if port.cluster:
            table.chains[self.cluster_chain] = self._policy(port.cluster)
        if port.local:
            table.chains[self.local_chain] = self._policy(port.local)
        for endpoint in port.reachable:
            if endpoint.node == self.node:
                key: Key = (endpoint.ip, endpoint.ip, port.name.protocol, endpoint.port)
                table.hairpins[key] = element(key)
            if port.affinity_seconds:
                self._sticky(endpoint)

    def _addresses(self) -> None:
        port, table = self.port, self.table
        internal = self.local_chain if port.internal_local else self.cluster_chain
        key: Key = (port.cluster_ip, port.name.protocol, port.port)
        if port.has_internal_endpoints:
            _claim(table.service_ips, key, goto(internal))
        else:
            self._missing(table.no_endpoint_services, key)
        for ip in (*port.external_ips, *port.load_balancer_ips):
            key = ip, port.name.protocol, port.port
            if port.has_endpoints:
                _claim(table.service_ips, key, goto(self.external_chain))
            if not port.has_external_endpoints:
                self._missing(table.no_endpoint_services, key)
        if port.filtered:
            for ip in port.load_balancer_ips:
                key = ip, port.name.protocol, port.port
                _claim(table.firewall_ips, key, goto(self.firewall_chain))
        if port.node_port:
            key = port.name.protocol, port.node_port
            if port.has_endpoints:
                _claim(table.service_node_ports, key, goto(self.external_chain))
            if not port.has_external_endpoints:
                self._missing(table.no_endpoint_node_ports, key)

    def _missing(self, elements: dict[Key, str], key: Key) -> None:
        verdict = DROP if self.port.has_endpoints else goto("reject-chain")
        elements.setdefault(key, element(key, verdict, str(self.port.name)))

    def _policy(self, endpoints: tuple[Endpoint, ...]) -> tuple[Rule, ...]:
        """Choose among the endpoints, all with the same probability, those that a client had before first."""
        if not self.port.affinity_seconds:
            ends = numbered((e.ip, e.port) for e in endpoints)
            return (spread(self.ip, self.port.name.protocol, len(endpoints), ends),)
        bases = [self._base(e) for e in endpoints]
        return spread_sticky(self.ip, ((f"endpoint-{base}", f"affinity-{base}") for base in bases))

    def _sticky(self, endpoint: Endpoint) -> None:
        """The chain of one endpoint and the set of the clients that it had."""
        base = self._base(endpoint)
        protocol, clients = self.port.name.protocol, f"affinity-{base}"
        self.table.affinity_sets[clients] = self.port.affinity_seconds
        self.table.chains[f"endpoint-{base}"] = sticky(self.ip, protocol, clients, endpoint.ip, endpoint.port)

    def _base(self, endpoint: Endpoint) -> str:
        return nftables_base(EndpointName(self.port.name, endpoint.ip, endpoint.port))


def _claim(elements: dict[Key, str], key: Key, verdict: Statement) -> None:
    elements.setdefault(key, element(key, verdict))


def _render(whole: ProxyPlan, table: _Table, ip: str) -> Iterable[str]:
    """The file's lines. The table is made, deleted and made again, so that it need not be there before."""
    address_type = ADDRESS[ip]
    to_service = (address_type, *PROTOCOL_PORT)
    kept: list[tuple[Kept, Iterable[str]]] = [
        (Kept("cluster-ips", (address_type,), comment="Active ClusterIPs"), table.cluster_ips.values())
    ]
    if whole.node_port_addresses is not None:
        comment = "IPs that accept NodePort traffic"
        kept.append((Kept("nodeport-ips", (address_type,), comment=comment), whole.node_port_addresses))
    comment = "service hairpin connections"
    kept.append(
        (Kept("hairpin-connections", (address_type, *to_service), comment=comment), table.hairpins.values())
    )
    kept += [(Kept(name, (address_type,), seconds=s), ()) for name, s in table.affinity_sets.items()]
    for name, fields, comment, elements in (
        ("service-ips", to_service, "ClusterIP, ExternalIP and LoadBalancer IP traffic", table.service_ips),
        ("service-nodeports", PROTOCOL_PORT, "NodePort traffic", table.service_node_ports),
        (
            "firewall-ips",
            to_service,
            "destinations that are subject to LoadBalancerSourceRanges",
            table.firewall_ips,
        ),
        (
            "no-endpoint-services",
            to_service,
            "vmap to drop or reject packets to services with no endpoints",
            table.no_endpoint_services,
        ),
        (
            "no-endpoint-nodeports",
            PROTOCOL_PORT,
            "vmap to drop or reject packets to service nodeports with no endpoints",
            table.no_endpoint_node_ports,
        ),
    ):
        kept.append((Kept(name, fields, True, comment), elements.values()))
    sets = (line for one, elements in kept for line in kept_text(ip, one, elements))
    chains = chains_text(table.chains, _BASE_CHAINS, ip)
    return table_text(ip, "kube-proxy", "rules for kube-proxy", (*sets, *chains))
