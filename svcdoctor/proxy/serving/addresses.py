"""Where Services are listened for: on addresses of the user's choice, or on the Services' own.

Theory. Without a word it is loopback and the Service's ports. A node's fallback answers where kube-proxy would: on
cluster IPs, external and load balancer addresses, and on nodePorts at the addresses that kube-proxy's configuration
names. What is no address of this machine is held on a device in user space; never
that of default/kubernetes: whoever controls the run may be reaching the API server by it.

Pure: no I/O.
"""

from __future__ import annotations

from dataclasses import dataclass

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.facts import Kind
from svcdoctor.model.service import Service, ServicePort
from svcdoctor.model.snapshot import Snapshot, canonical_or_none
from svcdoctor.path import nodeplan
from svcdoctor.path.nodeplan import PortPlan
from svcdoctor.path.world import World
from svcdoctor.proxy.arguments import ListenAddress, parse_addresses, parse_listening
from svcdoctor.proxy.serving.planned import Own
from svcdoctor.proxy.serving.served import Kind as ListenKind
from svcdoctor.proxy.serving.served import Listen

API = ("default", "kubernetes")
"""The API server's own Service."""

API_REFUSED = (
    "service default/kubernetes: its cluster IP leads to the API server, and this machine must not take it over; "
    "use --listen"
)

HELD: frozenset[ListenKind] = frozenset({"clusterIP", "loadBalancer", "externalIP"})
"""The kinds whose addresses need not be this machine's own."""


@dataclass(frozen=True, slots=True)
class Where:
    """Of all that may listen, the parts that are wanted. ``addresses`` are the user's, with ``port`` or the Service's
    own ports where that is 0. ``only`` is the one port of the Service that is wanted, by number or name, ``protocol``
    the one protocol. ``machine``
    are this machine's own addresses that nodePorts may have. ``user_space`` is not kernel mode."""

    addresses: tuple[ListenAddress, ...] = ()
    port: int = 0
    cluster_ips: bool = False
    node_ports: bool = False
    others: bool = False
    only: str = ""
    protocol: str = ""
    machine: tuple[str, ...] = ()
    user_space: bool = True

    def listens(self, service: Service, plan: PortPlan, family: int, own: Own) -> tuple[Listen, ...]:
        """Where this machine, which is that node, listens for one port of the Service in one IP family."""
        if self.only not in ("", str(plan.port), plan.name.port):
            return ()
        if self.protocol not in ("", plan.name.protocol.upper()):
            return ()
        if self.port and not _fit_one_number(self._wanted(service)):
            return ()
        found = [
            Listen(address.ip, self.port or plan.port, "local")
            for address in self.addresses
            if (":" in address.ip) == (family == 6)
        ]
        theirs = not (self.user_space and (service.namespace, service.name) == API)
        if self.cluster_ips and theirs:
            found.append(Listen(plan.cluster_ip, plan.port, "clusterIP"))
        if self.node_ports and plan.node_port:
            found += [
                Listen(ip, plan.node_port, "nodePort")
                for ip in node_port_addresses(own, self.machine, family)
            ]
        if self.others and theirs:
            found += [Listen(ip, plan.port, "loadBalancer") for ip in plan.load_balancer_ips]
            found += [Listen(ip, plan.port, "externalIP") for ip in plan.external_ips]
        return tuple(found)

    def problem(self, service: Service) -> str:
        """Why a Service that could be served is listened for nowhere; empty where it is the Service's own fault."""
        if service.type == "ExternalName" or not service.cluster_ips or service.foreign_proxy:
            return ""
        wanted = self._wanted(service)
        name = f"service {service.namespace}/{service.name}"
        if not wanted:
            word = "/".join(filter(None, (self.only, self.protocol)))
            return f"{name} has no port {word}; it has {_ports(service)}"
        if self.user_space and all(port.protocol == "SCTP" for port in wanted):
            return f"{name} is of SCTP, which user space does not carry; kernel mode does: --mode nftables"
        if self.port and not _fit_one_number(wanted):
            return (
                f"{name} has the ports {_ports(service)}: say which one with svc/{service.name}:PORT, or leave the "
                "port of --listen out"
            )
        if self.node_ports and not any(port.node_port for port in wanted):
            return f"{name} is of type {service.type} and has no nodePort; use --clusterip or --listen"
        if self.node_ports:
            return f"{name}: no address of this machine to open its nodePort on; use --listen"
        families = {6 if ":" in a.ip else 4 for a in self.addresses}
        own = {6 if ":" in ip else 4 for ip in service.cluster_ips}
        if families and own and not families & own:
            has = "IPv6" if own == {6} else "IPv4"
            return f"{name} has {has} alone; listen on an {has} address"
        return ""

    def _wanted(self, service: Service) -> list[ServicePort]:
        return [
            port
            for port in service.ports
            if self.only in ("", str(port.port), port.name) and self.protocol in ("", port.protocol)
        ]


def _fit_one_number(ports: list[ServicePort]) -> bool:
    return len({port.protocol for port in ports}) == len(ports)


def _ports(service: Service) -> str:
    return (
        ", ".join(f"{p.port}/{p.protocol}{f' ({p.name})' if p.name else ''}" for p in service.ports) or "none"
    )


def node_port_addresses(own: Own, machine: tuple[str, ...], family: int) -> tuple[str, ...]:
    """Where nodePorts answer, of ``machine``: where kube-proxy's nodePortAddresses and mode say. By default that is in
    nftables mode the node's first address of the family (the first that this machine has), in others every one; and
    every one on a machine whose node is not known."""
    here = tuple(ip for ip in machine if (":" in ip) == (family == 6))
    settings = own.kube_proxy
    wanted = settings.node_port_addresses or (("primary",) if settings.mode == "nftables" else ())
    if wanted != ("primary",):
        world = World(Snapshot({Kind.NODE: () if own.node is None else (own.node,)}, {}))
        chosen = nodeplan.node_port_addresses(world, own.name, settings, family, here)
        return here if chosen is None else tuple(ip for ip in chosen if ip in here)
    named = (canonical_or_none(a) for a in (own.node.addresses() if own.node is not None else ()))
    return next(((ip,) for ip in named if ip in here), here)


def parse_listen(text: str) -> tuple[tuple[ListenAddress, ...], int, str]:
    """What ``--listen`` says: ``8080`` (on localhost), ``0.0.0.0:8080``, ``[::]:8080``, each perhaps with /tcp or /udp,
    or an address alone, with the Service's ports (0); the protocol is empty for any. Raises SvcdoctorError."""
    place, slash, suffix = text.partition("/")
    protocol = suffix.upper()
    if slash and protocol not in ("TCP", "UDP"):
        raise SvcdoctorError(f"--listen {text!r}: {suffix!r} is no protocol; say /tcp or /udp")
    bare = place[1:-1] if place.startswith("[") and place.endswith("]") else place
    if place == "localhost" or canonical_or_none(bare) is not None:
        return parse_addresses([bare]), 0, protocol
    addresses, port = parse_listening("--listen", place, parse_addresses(["localhost"]))
    if not port:
        raise SvcdoctorError(
            f"--listen {text!r}: name the port, from 1 on, or leave it out for the Service's ports"
        )
    return addresses, port, protocol


def parse_endpoints(text: str) -> tuple[tuple[str, int], ...]:
    """The ``IP:PORT,…`` of ``--endpoints``. Raises SvcdoctorError."""
    found: dict[tuple[str, int], None] = {}
    for word in (w.strip() for w in text.split(",")):
        host, _, digits = word.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        ip = canonical_or_none(host[1:-1] if bracketed else host)
        port = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 6 else 0
        if ip is None or (":" in host and not bracketed) or not 0 < port < 65536:
            raise SvcdoctorError(
                f"--endpoints: {word!r} is no endpoint; say IP:PORT or [IPV6]:PORT, with commas"
            )
        found[ip, port] = None
    return tuple(found)
