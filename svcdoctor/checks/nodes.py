"""RUL002, RUL005, RUL007, RUL020, RUL022, RUL023, NOD002, NOD006: what is wrong with a node as a whole.

Each check looks at one node's dumps, beside the Service's packets. What was not collected raises nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network

from svcdoctor.checks.meanwhile import meanwhile
from svcdoctor.checks.noderules import raised
from svcdoctor.checks.registry import Case, Raised, check, listed, port_field, subject
from svcdoctor.dataplane.hosts import Host
from svcdoctor.model.finding import Severity
from svcdoctor.model.nodefacts import ProxySettings
from svcdoctor.model.service import Service
from svcdoctor.path.world import World

SERVICE_CHAIN = re.compile(r"^KUBE-(SVC|SVL|SEP|EXT|FW|XLB)-")
EBPF = {"CILIUM_": "Cilium", "cilium": "Cilium", "cali": "Calico"}
LATE = 30.0  # seconds that a queued sync may wait before it counts as stuck
MASQUERADE_MARK = 0x4000

NodeCheck = Callable[[World, Host, tuple[Service, ...]], Iterator[Raised]]
NODE_CHECKS: dict[str, NodeCheck] = {}


def node_check(
    code: str,
    title: str,
    severity: Severity,
    *,
    meaning: str,
    look: str,
    mend: str,
    links: tuple[str, ...],
    explains: Iterable[str] = (),
) -> Callable[[NodeCheck], NodeCheck]:
    """Registers a check of one node, run for every node whose facts were collected."""

    def register(function: NodeCheck) -> NodeCheck:
        NODE_CHECKS[code] = function

        def run(case: Case) -> Iterator[Raised]:
            yield from raised(code, case.differences)
            if case.trace.paths:
                for host in case.hosts:
                    yield from function(case.world, host, case.services)

        check(code, title, severity, meaning=meaning, look=look, mend=mend, links=links, explains=explains)(
            run
        )
        return function

    return register


def first_subject(services: tuple[Service, ...]) -> tuple[str, ...]:
    return tuple(subject(s) for s in services[:1])


@node_check(
    "RUL002",
    "kube-proxy's rules on the node are stale",
    Severity.ERROR,
    meaning=(
        "kube-proxy writes the rules after every change of Services and endpoints. When that fails or hangs, the "
        "node goes on with an older state: new Services are missing, old endpoints stay."
    ),
    look="curl -s localhost:10249/metrics | grep kubeproxy_sync_proxy_rules (on the node)",
    mend=(
        "Read kube-proxy's log on the node: it names the rule or object that it cannot write. Restart it "
        "once the cause is gone."
    ),
    links=(
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#optimizing-iptables-mode-performance",
        "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
    ),
)
def stale_rules(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    values = host.proxy_metrics
    queued = values.get("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", {})
    done = values.get("kubeproxy_sync_proxy_rules_last_timestamp_seconds", {})
    evidence = []
    for labels, asked in queued.items():
        last = done.get(labels)
        if last is not None and asked - last > LATE:
            family = f" ({labels})" if labels else ""
            evidence.append(
                f"a sync was asked for {asked - last:.0f} s after the last one that succeeded{family}"
                if last
                else f"a sync was asked for, none ever succeeded{family}"
            )
    if not evidence:
        return
    for name in ("iptables_restore", "nftables_sync"):
        failures = sum(values.get(f"kubeproxy_sync_proxy_rules_{name}_failures_total", {}).values())
        if failures:
            evidence.append(f"{failures:.0f} failures of {name.replace('_', ' ')}")
    yield Raised(
        (*first_subject(services), f"Node/{host.name}"),
        tuple(evidence),
        "kube-proxy's log on the node names what it cannot write.",
        f"kubectl -n kube-system logs -l k8s-app=kube-proxy --field-selector spec.nodeName={host.name} --tail=50"
        + meanwhile("RUL002", services, (host.name,)),
    )


@node_check(
    "RUL005",
    "Service rules in iptables-legacy and in iptables-nft",
    Severity.WARNING,
    meaning=(
        "Both backends of iptables hold Service rules: the kernel runs both, and what one of them says may be "
        "old. It happens when kube-proxy (or its image's iptables) was changed to the other backend without a "
        "restart of the node."
    ),
    look="iptables-legacy-save | grep -c KUBE-SVC; iptables-nft-save | grep -c KUBE-SVC (on the node)",
    mend=(
        "Remove the rules of the backend that is no longer used, or restart the node; give kube-proxy, the "
        "CNI and the host the same iptables."
    ),
    links=(
        "https://github.com/kubernetes/enhancements/tree/master/keps/sig-network/3178-iptables-cleanup",
        "https://wiki.nftables.org/wiki-nftables/index.php/Legacy_xtables_tools",
    ),
)
def two_backends(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    backends = ("iptables-legacy", "iptables-nft")
    if not {r.backend for r in host.rulesets}.issuperset(backends):
        return
    counts = {
        backend: count
        for backend in backends
        if (count := sum(bool(SERVICE_CHAIN.match(c)) for c in host.chain_names(backend, "nat")))
    }
    if len(counts) < 2:
        return
    hint = [b for b in counts if "KUBE-IPTABLES-HINT" in host.chain_names(b, "mangle")]
    evidence = [f"{backend} holds {count} Service chains" for backend, count in counts.items()]
    if hint:
        evidence.append(f"kubelet's hint chain is in {listed(hint)}: that is the backend in use")
    old = next((b for b in counts if b not in hint), "iptables-legacy")
    yield Raised(
        (*first_subject(services), f"Node/{host.name}"),
        tuple(evidence),
        "Packets meet the rules of both. Remove those of the backend that kube-proxy no longer uses.",
        f"{old} -t nat -F && {old} -t filter -F (on {host.name}), then restart kube-proxy there"
        + meanwhile("RUL005", services, (host.name,)),
    )


@node_check(
    "RUL007",
    "Rules of another proxy mode are left over",
    Severity.WARNING,
    meaning=(
        "The node holds Service rules of a mode that kube-proxy does not run in: from before a change of mode, or "
        "of a second proxy. They stay as they are when Services change, and may take packets first."
    ),
    look="kube-proxy --cleanup (on the node, with the node's configuration)",
    mend=(
        "Stop kube-proxy on the node, run kube-proxy --cleanup, and start it again; restarting the node does"
        " the same."
    ),
    links=(
        "https://kubernetes.io/docs/reference/command-line-tools-reference/kube-proxy/",
        "https://kubernetes.io/docs/reference/networking/virtual-ips/#proxy-modes",
    ),
)
def left_over(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    settings = host.facts.proxy
    if settings is None:
        return
    evidence = []
    if settings.mode == "nftables":
        for backend in ("iptables-nft", "iptables-legacy"):
            count = sum(bool(SERVICE_CHAIN.match(c)) for c in host.chain_names(backend, "nat"))
            if count:
                evidence.append(f"kube-proxy runs in nftables mode; {backend} holds {count} Service chains")
    else:
        tables = [t for t in ("ip kube-proxy", "ip6 kube-proxy") if host.chain_names("nftables", t)]
        if tables:
            evidence.append(f"kube-proxy runs in {settings.mode} mode; nftables holds {' and '.join(tables)}")
    if settings.mode != "ipvs" and "kube-ipvs0" in host.interfaces:
        evidence.append(
            "interface kube-ipvs0 of the ipvs mode is still there: it makes Service addresses local"
        )
    if evidence:
        yield Raised(
            (*first_subject(services), f"Node/{host.name}"),
            tuple(evidence),
            "Old rules keep sending to the endpoints of their time. Let kube-proxy remove them.",
            f"kube-proxy --cleanup (on {host.name}), then start kube-proxy again"
            + meanwhile("RUL007", services, (host.name,)),
        )


@node_check(
    "RUL020",
    "The masquerade mark is used by another component",
    Severity.WARNING,
    meaning=(
        "kube-proxy marks packets that it will masquerade with one bit (0x4000 unless configured). Where others "
        "set the same bit, their packets are masqueraded too."
    ),
    look="iptables-save | grep -i mark; nft list ruleset | grep 'mark set' (on the node)",
    mend="Give one of the two another bit: kube-proxy's is iptables.masqueradeBit in its configuration.",
    links=("https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",),
)
def shared_mark(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    rules = [
        r
        for r in host.marking_rules(MASQUERADE_MARK)
        if not r.partition(" #")[0].split()[-1].startswith("KUBE-")
    ]
    if rules:
        yield Raised(
            (*first_subject(services), f"Node/{host.name}"),
            tuple(rules[:4]),
            "Give one of the two another bit: kube-proxy's is iptables.masqueradeBit in its configuration.",
            "kubectl -n kube-system edit configmap kube-proxy (iptables.masqueradeBit)",
        )


@node_check(
    "RUL022",
    "kube-proxy's clusterCIDR does not fit the pods",
    Severity.ERROR,
    meaning=(
        "kube-proxy takes packets from its clusterCIDR for pods and masquerades the rest that goes to a cluster "
        "IP. With a CIDR that the pods are not in, or one that holds more than pods, the wrong packets keep or "
        "lose their source address, and answers go astray."
    ),
    look="curl -s localhost:10249/configz (clusterCIDR); kubectl get nodes -o yaml (podCIDRs)",
    mend=(
        "Set clusterCIDR in kube-proxy's configuration to the network of all pods (and to nothing else), "
        "then restart it."
    ),
    links=("https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",),
)
def wrong_cluster_cidr(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    settings = host.facts.proxy
    if settings is None or not settings.complete or settings.detect_local != "ClusterCIDR":
        return
    evidence = list(_cidr_problems(world, host, settings))
    if evidence:
        pods = ", ".join(dict.fromkeys(c for cidrs in world.pod_cidrs.values() for c in cidrs))
        yield Raised(
            (*first_subject(services), f"Node/{host.name}"),
            (f"clusterCIDR is {', '.join(settings.cluster_cidrs)}", *evidence),
            f"Set clusterCIDR to the network that holds the nodes' pod ranges ({pods}), and restart kube-proxy.",
            "kubectl -n kube-system edit configmap kube-proxy (clusterCIDR)",
        )


def _cidr_problems(world: World, host: Host, settings: ProxySettings) -> Iterator[str]:
    try:
        clusters = [ip_network(c, strict=False) for c in settings.cluster_cidrs]
    except ValueError:
        return
    for name, cidrs in world.pod_cidrs.items():
        for cidr in cidrs:
            pods = ip_network(cidr, strict=False)
            same = [c for c in clusters if c.version == pods.version]
            if same and not any(pods.subnet_of(c) for c in same):  # type: ignore[arg-type]
                yield f"the pods of {name} are in {cidr}, outside of it"
    for cluster in clusters:
        for ip, name in world.snapshot.nodes_by_ip.items():
            if name not in world.primary_addresses or ip not in world.primary_addresses[name]:
                continue
            address = ip_network(ip)
            if address.version == cluster.version and address.subnet_of(cluster):  # type: ignore[arg-type]
                yield f"node {name} itself ({ip}) is inside of {cluster}: its packets are taken for a pod's"


@node_check(
    "RUL023",
    "An eBPF data plane replaces kube-proxy",
    Severity.INFO,
    meaning=(
        "Cilium and others handle Service traffic in eBPF programs, before netfilter's rules. What iptables and "
        "nftables hold is then not in the path, and nothing is said of it here."
    ),
    look="kubectl -n kube-system exec ds/cilium -- cilium-dbg status (KubeProxyReplacement)",
    mend="Ask the eBPF data plane itself how it serves the Service (cilium-dbg service list).",
    links=("https://docs.cilium.io/en/stable/network/kubernetes/kubeproxy-free/",),
    explains=("RUL001", "RUL003", "RUL007"),
)
def ebpf(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    if host.bypassed:
        yield Raised(
            (*first_subject(services), f"Node/{host.name}"),
            host.ebpf_signs,
            "Ask the data plane itself: its own status says how it serves Services.",
            "kubectl -n kube-system exec ds/cilium -- cilium-dbg service list",
        )


@node_check(
    "NOD002",
    "Bridged packets do not meet iptables",
    Severity.ERROR,
    meaning=(
        "Pods behind one bridge reach each other without routing. With net.bridge.bridge-nf-call-iptables at 0 the "
        "answers between them are not translated back, and a pod that asks a Service times out whenever the "
        "endpoint is on its own node."
    ),
    look="sysctl net.bridge.bridge-nf-call-iptables (on the node)",
    mend="Load br_netfilter and set net.bridge.bridge-nf-call-iptables to 1, now and at boot.",
    links=(
        "https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/",
        "https://docs.kernel.org/networking/bridge.html",
    ),
)
def bridge_netfilter(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    bridges = host.pod_bridges(world.pod_cidrs.get(host.name, ()))
    if not bridges:
        return
    for setting in ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"):
        if host.sysctl(setting) == "0":
            yield Raised(
                (*first_subject(services), f"Node/{host.name}"),
                (f"{setting} is 0; pods are behind {listed(bridges)}",),
                "Turn it on (module br_netfilter), now and at boot.",
                f"modprobe br_netfilter && sysctl -w {setting}=1 (on {host.name})",
            )


@node_check(
    "NOD006",
    "A nodePort collides with the node's own ports",
    Severity.WARNING,
    meaning=(
        "A process that listens on a nodePort is shadowed: Service rules take its packets first. And where the "
        "nodePort is in the range of ephemeral ports, a connection of the node may hold it."
    ),
    look="ss -lntup; sysctl net.ipv4.ip_local_port_range (on the node)",
    mend=(
        "Give the process another port or the Service another spec.ports[].nodePort, and keep nodePorts out "
        "of net.ipv4.ip_local_port_range."
    ),
    links=(
        "https://kubernetes.io/docs/concepts/services-networking/service/#type-nodeport",
        "https://docs.kernel.org/networking/ip-sysctl.html",
    ),
)
def taken_node_port(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    low, high = host.ephemeral_ports or (0, -1)
    for service in services:
        evidence, field = [], ""
        for port in service.ports:
            if not port.node_port or service.type not in ("NodePort", "LoadBalancer"):
                continue
            for listener in host.facts.listeners or ():
                if (listener.port, listener.protocol) == (port.node_port, port.protocol) and (
                    listener.process != "kube-proxy"
                ):
                    evidence.append(
                        f"{listener.process or 'a process'} of {host.name} listens on "
                        f"{listener.address}:{listener.port}/{listener.protocol}"
                    )
                    field = field or port_field(service, port, "nodePort")
            if low <= port.node_port <= high:
                evidence.append(f"nodePort {port.node_port} is in ip_local_port_range {low} to {high}")
                field = field or port_field(service, port, "nodePort")
        if evidence:
            yield Raised(
                (subject(service), f"Node/{host.name}"),
                tuple(evidence),
                "Clients from outside reach the Service, never that process. Give one of the two another port.",
                f"kubectl -n {service.namespace} edit svc {service.name} (nodePort)",
                field=field,
            )
