"""RUL012 to RUL014: a node's bridges and tracked connections against the Service.

What was not collected raises nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from svcdoctor.checks.nodes import NODE_CHECKS, first_subject, node_check
from svcdoctor.checks.registry import Case, Raised, check, listed, subject
from svcdoctor.dataplane.hosts import Host
from svcdoctor.dataplane.packet import PROTOCOLS, endpoint_text
from svcdoctor.model.facts import Kind, Scope
from svcdoctor.model.finding import Severity
from svcdoctor.model.service import Service
from svcdoctor.model.trace import EntryKind
from svcdoctor.node.conntrack import Entry
from svcdoctor.path.deliver import answers_node_ports
from svcdoctor.path.endpoints import SERVICE_LABEL
from svcdoctor.path.world import Frontend, World

NEARLY = 0.95  # of the conntrack table
SHOWN = 4  # entries in the evidence


def no_hairpin(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    """Endpoints of this node behind a bridge that sends nothing back to where it came from."""
    if all(link.hairpin is not False for link in host.router.links.values()):
        return
    for service in services:
        pods: dict[str, dict[str, None]] = {}
        for port in service.ports:
            for family in (4, 6):
                for endpoint in world.endpoints(service, port, family):
                    if endpoint.node != host.name or endpoint.pod is None:
                        continue
                    if endpoint.ip in world.snapshot.nodes_by_ip:
                        continue  # on the node's own network
                    bridge = host.router.refusing_bridge(family, int(ip_address(endpoint.ip)))
                    if bridge is not None:
                        pods.setdefault(bridge, {})["/".join(endpoint.pod)] = None
        for bridge, names in pods.items():
            ports = tuple(port.name for port in host.router.pod_ports(bridge))
            yield Raised(
                (subject(service), f"Node/{host.name}"),
                (
                    f"{host.name}: hairpin is off on {listed(ports)} of bridge {bridge}",
                    f"pods of the Service behind it: {listed(names)}",
                ),
                "Whenever one of these pods asks the Service and is chosen itself, the bridge drops the packet. "
                'Let the CNI plugin bridge set it for new pods ("hairpinMode": true), and set it on the ports '
                "that there are.",
                f"bridge link set dev {ports[0]} hairpin on (on {host.name}, for each port)",
                Severity.WARNING,
            )


NODE_CHECKS["RUL012"] = no_hairpin


@check(
    "RUL012",
    "A pod does not reach itself through its Service",
    Severity.ERROR,
    meaning=(
        "A pod that asks its own Service may be chosen itself. Its packet must then get the node's address, or the "
        "pod drops it as its own; and where the pod is behind a bridge, the bridge must send the packet out by "
        "the port that it came in by (hairpin)."
    ),
    look="bridge -d link (hairpin, on the node); kubectl exec into the pod and ask the Service several times",
    mend=(
        "Turn hairpin on for the ports of the bridge (hairpinMode in the CNI's configuration), and keep "
        "kube-proxy's masquerading rule for it."
    ),
    links=(
        "https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/#a-pod-fails-to-reach-itself-via-the-service-ip",
        "https://kubernetes.io/docs/concepts/extend-kubernetes/compute-storage-net/network-plugins/",
    ),
)
def itself(case: Case) -> Iterator[Raised]:
    """An error where the packets of the question met it, else a warning for each node whose bridges are like that."""
    met = {o.reason: None for o in case.outcomes("RUL012")} if case.hosts else {}
    for host in case.hosts if case.trace.paths else ():
        here = tuple(reason for reason in met if reason.startswith(f"{host.name}: "))
        for raised in no_hairpin(case.world, host, case.services):
            if here:
                raised = replace(raised, evidence=(*here, *raised.evidence), severity=None)
            yield raised
    unmasqueraded = tuple(reason for reason in met if "not masqueraded" in reason)
    for service in case.services[:1] if unmasqueraded else ():
        yield Raised(
            (subject(service),),
            unmasqueraded,
            "The node's rules send the pod's packet back to it without the node's address. kube-proxy masquerades "
            "such packets: its rule for that is missing, or something else translated the address first.",
            f"svcdoctor rules show svc/{service.name} -n {service.namespace}",
        )


@node_check(
    "RUL013",
    "A tracked UDP connection leads to an endpoint that is gone",
    Severity.WARNING,
    meaning=(
        "The kernel chooses an endpoint for a connection's first packet only. UDP has no end: a client that keeps "
        "sending from the same port keeps its entry, and all of its packets go to the old address, whatever the "
        "rules say by now. kube-proxy deletes such entries when endpoints change, but not in every version and case."
    ),
    look="conntrack -L -p udp --orig-dst SERVICE-IP (on the node)",
    mend=(
        "Delete the entries (conntrack -D -p udp --orig-dst ADDRESS); clients that open a new socket now and"
        " then lose less."
    ),
    links=(
        "https://kubernetes.io/docs/reference/networking/virtual-ips/",
        "https://docs.kernel.org/networking/nf_conntrack-sysctl.html",
    ),
)
def stale_udp(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    asked = {
        (s.namespace, s.name): s
        for s in services
        if any(p.protocol == "UDP" for p in s.ports) and _endpoints_known(world, s)
    }
    if not asked or host.bypassed:
        return
    found: dict[tuple[str, str], _Stale] = {}
    for entry in host.conntrack():
        frontend = _frontend(world, host, entry)
        if frontend is None or entry.zones:
            continue
        name = frontend.service.namespace, frontend.service.name
        if name in asked and _is_stale(world, host, entry, frontend):
            found.setdefault(name, _Stale()).add(entry)
    for name, stale in found.items():
        yield stale.raised(asked[name], host)


def _endpoints_known(world: World, service: Service) -> bool:
    scope = Scope(service.namespace, ((SERVICE_LABEL, service.name),))
    return service.foreign_proxy is None and world.snapshot.knows(Kind.ENDPOINT_SLICE, scope)


def _frontend(world: World, host: Host, entry: Entry) -> Frontend | None:
    """The frontend that a UDP packet was sent to, nodePorts of this node only: others' are translated there."""
    address, port = entry.original.dst, entry.original.dport
    if entry.proto != PROTOCOLS["udp"] or port is None:
        return None
    found = world.frontends.get((address, "UDP", port))
    if found is not None:
        return found if found.proxied else None
    found = world.node_ports.get(("UDP", port))
    own = found is not None and host.router.is_local(entry.family, int(ip_address(address)))
    return found if own else None


def _is_stale(world: World, host: Host, entry: Entry, frontend: Frontend) -> bool:
    service, port = frontend.service, frontend.port
    if entry.translated:
        endpoints = world.endpoints(service, port, entry.family)
        return not any((e.ip, e.port) == (entry.reply.src, entry.reply.sport) for e in endpoints)
    # Made when no rule took it. An address that the node has itself may be served by one of its processes.
    if not entry.unreplied:
        return False
    if frontend.kind is EntryKind.NODE_PORT:
        reached = answers_node_ports(world, host.name, entry.original.dst) is True
    else:
        reached = not host.router.is_local(entry.family, int(ip_address(entry.original.dst)))
    choice = world.choice(service, port, entry.family, host.name)
    return reached and bool(choice.cluster or choice.local)


class _Stale:
    """The entries of one Service that lead nowhere: how many, the first ones, and what deletes these."""

    def __init__(self) -> None:
        self.count = 0
        self.first: list[Entry] = []
        self.commands: dict[str, None] = {}

    def add(self, entry: Entry) -> None:
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(entry)
        if len(self.commands) < SHOWN:
            sent = entry.original
            words = f"conntrack -D -p udp --orig-dst {sent.dst} --dport {sent.dport} --reply-src {entry.reply.src}"
            self.commands[words] = None

    def raised(self, service: Service, host: Host) -> Raised:
        evidence = []
        for entry in self.first:
            client = _text(entry, entry.original.src, entry.original.sport)
            where = f"{_text(entry, entry.reply.src, entry.reply.sport)}, no endpoint of the Service"
            if not entry.translated:
                where = "no endpoint: it was first sent when no rule took it"
            evidence += [f"{host.name}: what {client} sends goes to {where}", entry.text]
        if self.count > SHOWN:
            evidence.append(f"{self.count - SHOWN} more entries")
        return Raised(
            (subject(service), f"Node/{host.name}"),
            tuple(evidence),
            "Clients of these entries get no answer for as long as they send from the same port. Deleting the "
            "entries lets the rules choose anew.",
            f"{'; '.join(self.commands)} (on {host.name})",
        )


def _text(entry: Entry, address: str, port: int | None) -> str:
    return endpoint_text(entry.family, int(ip_address(address)), port)


@node_check(
    "RUL014",
    "The conntrack table is full, or nearly",
    Severity.ERROR,
    meaning=(
        "The kernel tracks every connection; Service rules need that. When the table is full it drops the first "
        "packet of new ones: clients time out now and then, whatever they ask."
    ),
    look="sysctl -ar 'nf_conntrack_(count|max)$'; dmesg | grep 'table full' (on the node)",
    mend=(
        "Find out who opens so many connections, or let the table grow: net.netfilter.nf_conntrack_max, "
        "which kube-proxy sets from conntrack.maxPerCore."
    ),
    links=(
        "https://docs.kernel.org/networking/nf_conntrack-sysctl.html",
        "https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/",
    ),
)
def full_table(world: World, host: Host, services: tuple[Service, ...]) -> Iterator[Raised]:
    count = host.router.sysctls.number("net.netfilter.nf_conntrack_count")
    most = host.router.sysctls.number("net.netfilter.nf_conntrack_max")
    if count is None or not most or count < NEARLY * most:  # 0 is no limit
        return
    yield Raised(
        (*first_subject(services), f"Node/{host.name}"),
        (f"{host.name} tracks {count} connections of at most {most} ({100 * count / most:.0f} %)",),
        "Find out who makes so many connections; where they are wanted, let the table grow (kube-proxy sets it from "
        "conntrack.maxPerCore and conntrack.min of its configuration).",
        f"sysctl -w net.netfilter.nf_conntrack_max={2 * most} (on {host.name})",
        None if count >= most else Severity.WARNING,
    )
