"""The rules of kube-proxy 1.36 in iptables mode, as text for ``iptables-restore`` and ``ip6tables-restore``.

Theory. In table nat a packet to a Service goes KUBE-SERVICES (by address) or KUBE-NODEPORTS (by nodePort) →
KUBE-EXT (what comes from outside) → KUBE-SVC (policy Cluster) or KUBE-SVL (policy Local) → KUBE-SEP (one
endpoint, DNAT). KUBE-MARK-MASQ marks what KUBE-POSTROUTING masquerades. Table filter refuses what has no
endpoint, drops what has none on this node, and guards load balancers by source.

Left out are the rules and matches that count with nfacct objects, as kube-proxy leaves them out where the
kernel does not let it make such objects: none of them changes what becomes of a packet. Chains of the kubelet
(KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT) are not kube-proxy's.

What may live here: spelling a ``ProxyPlan`` in iptables rules. Specified by kube-proxy (pkg/proxy/iptables).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.snapshot import Snapshot
from svcdoctor.node.chainnames import EndpointName, iptables_hash
from svcdoctor.path.endpoints import Endpoint
from svcdoctor.path.nodeplan import MASQUERADE_MARK, PodTraffic, PortPlan, ProxyPlan, plan

MANY_ENDPOINTS = 1000
"""With more endpoints in the cluster, rules of endpoints carry no comments."""

_MARK = f"{MASQUERADE_MARK:#x}"
_NEW = "-m conntrack --ctstate NEW"
_BUILT_IN = {
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
}
_CHAINS = {
    "mangle": ("KUBE-PROXY-CANARY",),
    "filter": (
        "KUBE-EXTERNAL-SERVICES",
        "KUBE-FORWARD",
        "KUBE-NODEPORTS",
        "KUBE-PROXY-CANARY",
        "KUBE-PROXY-FIREWALL",
        "KUBE-SERVICES",
    ),
    "nat": ("KUBE-MARK-MASQ", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-PROXY-CANARY", "KUBE-SERVICES"),
}


def _comment(text: str) -> str:
    return f'-m comment --comment "{text}"'


_FIREWALL = _comment("kubernetes load balancer firewall")
_EXTERNAL = _comment("kubernetes externally-visible service portals")
_PORTALS = _comment("kubernetes service portals")
_FORWARDING = _comment("kubernetes forwarding rules")
_FILTER_FRAME = (
    f"-A INPUT {_NEW} {_FIREWALL} -j KUBE-PROXY-FIREWALL",
    f"-A INPUT {_comment('kubernetes health check service ports')} -j KUBE-NODEPORTS",
    f"-A INPUT {_NEW} {_EXTERNAL} -j KUBE-EXTERNAL-SERVICES",
    f"-A FORWARD {_NEW} {_FIREWALL} -j KUBE-PROXY-FIREWALL",
    f"-A FORWARD {_FORWARDING} -j KUBE-FORWARD",
    f"-A FORWARD {_NEW} {_PORTALS} -j KUBE-SERVICES",
    f"-A FORWARD {_NEW} {_EXTERNAL} -j KUBE-EXTERNAL-SERVICES",
    f"-A OUTPUT {_NEW} {_FIREWALL} -j KUBE-PROXY-FIREWALL",
    f"-A OUTPUT {_NEW} {_PORTALS} -j KUBE-SERVICES",
    "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
    f"-A KUBE-FORWARD {_FORWARDING} -m mark --mark {_MARK}/{_MARK} -j ACCEPT",
    f"-A KUBE-FORWARD {_comment('kubernetes forwarding conntrack rule')} "
    "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
)
_NAT_FRAME = (
    f"-A PREROUTING {_PORTALS} -j KUBE-SERVICES",
    f"-A OUTPUT {_PORTALS} -j KUBE-SERVICES",
    f"-A POSTROUTING {_comment('kubernetes postrouting rules')} -j KUBE-POSTROUTING",
    f"-A KUBE-POSTROUTING -m mark ! --mark {_MARK}/{_MARK} -j RETURN",
    f"-A KUBE-POSTROUTING -j MARK --xor-mark {_MARK}",
    f"-A KUBE-POSTROUTING {_comment('kubernetes service traffic requiring SNAT')} "
    "-j MASQUERADE --random-fully",
    f"-A KUBE-MARK-MASQ -j MARK --or-mark {_MARK}",
)


@dataclass(slots=True)
class _Rules:
    """The rules as they grow, and the chains of table nat that they are in."""

    chains: list[str] = field(default_factory=list)
    nat: list[str] = field(default_factory=list)
    filter: list[str] = field(default_factory=list)


def iptables_rules(
    snapshot: Snapshot, node: str, settings: ProxySettings, family: int, addresses: tuple[str, ...] = ()
) -> str:
    """The tables nat, filter and mangle as kube-proxy on ``node`` leaves them for ``family`` (4 or 6).

    The text replaces each of the three tables as a whole. ``addresses`` are the node's own addresses.
    """
    whole = plan(snapshot, node, settings, family, addresses)
    rules = _Rules()
    comments = whole.endpoints <= MANY_ENDPOINTS
    for port in whole.ports:
        _Port(port, whole, rules, comments).write()
    rules.nat += _node_port_jumps(whole)
    return (
        _table("mangle", (), ())
        + _table("filter", (), (*_FILTER_FRAME, *rules.filter))
        + _table("nat", rules.chains, (*_NAT_FRAME, *rules.nat))
    )


def _table(name: str, chains: list[str] | tuple[str, ...], rules: tuple[str, ...]) -> str:
    lines = [f"*{name}"]
    lines += [f":{chain} ACCEPT [0:0]" for chain in _BUILT_IN[name]]
    lines += [f":{chain} - [0:0]" for chain in (*_CHAINS[name], *chains)]
    return "\n".join((*lines, *rules, "COMMIT\n"))


def _node_port_jumps(whole: ProxyPlan) -> list[str]:
    """The end of KUBE-SERVICES: what is addressed to the node itself may be for a nodePort."""
    start = "-A KUBE-SERVICES " + _comment(
        "kubernetes service nodeports; NOTE: this must be the last rule in this chain"
    )
    if whole.node_port_addresses is not None:
        return [f"{start} -d {ip} -j KUBE-NODEPORTS" for ip in whole.node_port_addresses]
    without = ""
    if whole.family == 6:
        without = " ! -d ::1/128"
    elif not whole.localhost_node_ports:
        without = " ! -d 127.0.0.0/8"
    return [f"{start} -m addrtype --dst-type LOCAL{without} -j KUBE-NODEPORTS"]


def _from_pods(pods: PodTraffic, negated: bool = False) -> str:
    no = "! " if negated else ""
    return (
        f"{no}-s {pods.network}" if pods.network else f"{no}-i {pods.interface}{'+' if pods.prefix else ''}"
    )


class _Port:
    """One Service port's rules."""

    def __init__(self, port: PortPlan, whole: ProxyPlan, rules: _Rules, comments: bool) -> None:
        self.port = port
        self.whole = whole
        self.rules = rules
        self.comments = comments
        self.name = str(port.name)
        self.match = f"-m {port.name.protocol} -p {port.name.protocol}"
        name = iptables_hash(port.name)
        self.cluster_chain = f"KUBE-SVC-{name}"
        self.local_chain = f"KUBE-SVL-{name}"
        self.external_chain = f"KUBE-EXT-{name}"
        self.firewall_chain = f"KUBE-FW-{name}"

    def write(self) -> None:
        port = self.port
        guarded = port.filtered and port.has_endpoints
        self._internal_address()
        self._external_addresses(guarded)
        if port.health_check_node_port:
            self.rules.filter.append(
                f"-A KUBE-NODEPORTS {_comment(f'{self.name} health check node port')} -m tcp -p tcp "
                f"--dport {port.health_check_node_port} -j ACCEPT"
            )
        if port.has_endpoints and port.externally_accessible:
            self._external_chain()
        if guarded:
            self._firewall()
        chains = {e.address: self._endpoint_chain(e) for e in port.reachable}
        self._policy(self.cluster_chain, port.cluster, chains)
        self._policy(self.local_chain, port.local, chains)
        for endpoint in port.reachable:
            self._endpoint(chains[endpoint.address], endpoint)

    # --- addresses

    def _refuse(self, chain: str, to: str) -> None:
        """No endpoint anywhere: refused. None on this node, for policy Local: dropped."""
        what, target = (
            ("no local endpoints", "DROP") if self.port.has_endpoints else ("no endpoints", "REJECT")
        )
        self.rules.filter.append(f"-A {chain} {_comment(f'{self.name} has {what}')} {to} -j {target}")

    def _internal_address(self) -> None:
        port = self.port
        to = f"{self.match} -d {port.cluster_ip} --dport {port.port}"
        if not port.has_internal_endpoints:
            self._refuse("KUBE-SERVICES", to)
            return
        chain = self.local_chain if port.internal_local else self.cluster_chain
        described = f"{_comment(f'{self.name} cluster IP')} {to}"
        self.rules.nat.append(f"-A KUBE-SERVICES {described} -j {chain}")
        if self.whole.masquerade_all:
            self.rules.nat.append(f"-A {chain} {described} -j KUBE-MARK-MASQ")
        elif self.whole.pods is not None:
            others = _from_pods(self.whole.pods, negated=True)
            self.rules.nat.append(f"-A {chain} {described} {others} -j KUBE-MARK-MASQ")

    def _external_addresses(self, guarded: bool) -> None:
        port, rules = self.port, self.rules
        balanced = self.firewall_chain if guarded else self.external_chain
        entries = [(ip, "external IP", self.external_chain) for ip in port.external_ips]
        entries += [(ip, "loadbalancer IP", balanced) for ip in port.load_balancer_ips]
        for ip, kind, chain in entries:
            to = f"{self.match} -d {ip} --dport {port.port}"
            if port.has_endpoints:
                rules.nat.append(f"-A KUBE-SERVICES {_comment(f'{self.name} {kind}')} {to} -j {chain}")
            if chain == self.firewall_chain:
                text = f"{self.name} traffic not accepted by {chain}"
                rules.filter.append(f"-A KUBE-PROXY-FIREWALL {_comment(text)} {to} -j DROP")
            if not port.has_external_endpoints:
                self._refuse("KUBE-EXTERNAL-SERVICES", to)
        if port.node_port:
            to = f"{self.match} --dport {port.node_port}"
            if port.has_endpoints:
                rules.nat.append(f"-A KUBE-NODEPORTS {_comment(self.name)} {to} -j {self.external_chain}")
            if not port.has_external_endpoints:
                self._refuse("KUBE-EXTERNAL-SERVICES", f"-m addrtype --dst-type LOCAL {to}")

    # --- chains

    def _external_chain(self) -> None:
        """Traffic from outside: policy Local keeps its source, save from pods and from the node itself."""
        port, chain, nat = self.port, self.external_chain, self.rules.nat
        self.rules.chains.append(chain)
        destinations = f"for {self.name} external destinations"
        if not port.external_local:
            nat.append(f"-A {chain} {_comment(f'masquerade traffic {destinations}')} -j KUBE-MARK-MASQ")
        else:
            if self.whole.pods is not None:
                pods = _from_pods(self.whole.pods)
                text = _comment(f"pod traffic {destinations}")
                nat.append(f"-A {chain} {text} {pods} -j {self.cluster_chain}")
            local = "-m addrtype --src-type LOCAL"
            text = _comment(f"masquerade LOCAL traffic {destinations}")
            nat.append(f"-A {chain} {text} {local} -j KUBE-MARK-MASQ")
            text = _comment(f"route LOCAL traffic {destinations}")
            nat.append(f"-A {chain} {text} {local} -j {self.cluster_chain}")
        if port.has_external_endpoints:
            nat.append(f"-A {chain} -j {self.local_chain if port.external_local else self.cluster_chain}")

    def _firewall(self) -> None:
        chain, nat = self.firewall_chain, self.rules.nat
        self.rules.chains.append(chain)
        text = _comment(f"{self.name} loadbalancer IP")
        nat += [f"-A {chain} {text} -s {s} -j {self.external_chain}" for s in self.port.allowed_sources]
        nat.append(
            f"-A {chain} {_comment(f'other traffic to {self.name} will be dropped by KUBE-PROXY-FIREWALL')}"
        )

    def _endpoint_chain(self, endpoint: Endpoint) -> str:
        return f"KUBE-SEP-{iptables_hash(EndpointName(self.port.name, endpoint.ip, endpoint.port))}"

    def _policy(self, chain: str, endpoints: tuple[Endpoint, ...], chains: dict[str, str]) -> None:
        """Choose among the endpoints, all with the same probability, those that a client had before first."""
        if not endpoints:
            return
        self.rules.chains.append(chain)
        seconds = self.port.affinity_seconds
        starts = [
            (f"-A {chain} {_comment(f'{self.name} -> {e.address}')}" if self.comments else f"-A {chain}")
            for e in endpoints
        ]
        targets = [chains[e.address] for e in endpoints]
        if seconds:
            self.rules.nat += [
                f"{start} -m recent --name {to} --rcheck --seconds {seconds} --reap -j {to}"
                for start, to in zip(starts, targets, strict=True)
            ]
        count = len(endpoints)
        self.rules.nat += [
            f"{start} -m statistic --mode random --probability {1 / (count - i):.10f} -j {to}"
            for i, (start, to) in enumerate(zip(starts[:-1], targets[:-1], strict=True))
        ]
        self.rules.nat.append(f"{starts[-1]} -j {targets[-1]}")

    def _endpoint(self, chain: str, endpoint: Endpoint) -> None:
        self.rules.chains.append(chain)
        start = f"-A {chain} {_comment(self.name)}" if self.comments else f"-A {chain}"
        remember = f" -m recent --name {chain} --set" if self.port.affinity_seconds else ""
        self.rules.nat += (
            f"{start} -s {endpoint.ip} -j KUBE-MARK-MASQ",
            f"{start}{remember} {self.match} -j DNAT --to-destination {endpoint.address}",
        )
