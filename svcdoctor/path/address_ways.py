"""The reverse question: what answers at an address, and which way that is."""

from __future__ import annotations

from svcdoctor.model.request import ClientSpec
from svcdoctor.model.snapshot import in_networks
from svcdoctor.model.trace import (
    ClientKind,
    Entry,
    EntryKind,
    Hop,
    HopKind,
    Path,
    Status,
)
from svcdoctor.path import hops as h
from svcdoctor.path.balancer import balanced_path
from svcdoctor.path.deliver import Packet, deliver
from svcdoctor.path.policed import policed
from svcdoctor.path.tracing import ANY_POD, OUTSIDE, Tracing, basis_of

NO_LISTENER = (
    "forwarded by the node's packet rules (CNI port mapping): no process listens on it, so lsof and ss show "
    "nothing on {port}"
)


def address_path(t: Tracing, ip: str, port: int, protocol: str) -> Path:
    """The reverse question: what answers at this address."""
    family = 6 if ":" in ip else 4
    kind, node, default = _entry_of(t, ip, port, protocol)
    asker = t.request.client
    outside = asker is None or asker.kind is ClientKind.EXTERNAL
    balanced = t.world.frontends.get((ip, protocol, port))
    if kind is EntryKind.LOAD_BALANCER and balanced is not None and outside and t.request.node is None:
        return balanced_path(t, balanced, ip, family)
    client, source = t.source(default, family, t.request.node if default is ANY_POD else None)
    enter = t.request.node or (node if kind is EntryKind.NODE_PORT else None)
    packet = Packet(source, ip, port, protocol, enter)
    delivery = policed(t.view, packet, t.ruled(packet, deliver(t.world, packet), t.stand_in))
    entry = Entry(kind, node or delivery.node, ip, port, protocol)
    frontend = delivery.frontend
    if frontend is not None and delivery.choice is not None:
        return t.assemble(client, entry, frontend, delivery)
    steps = [h.client_hop(client)]
    if node is not None:
        steps.append(h.node_hop(t.snapshot, node, ip))
    if kind is not EntryKind.DNS:
        status = next((o.status for o in delivery.outcomes if o.status is not Status.OK), Status.OK)
        detail = delivery.outcomes[0].reason
        if kind is EntryKind.HOST_PORT and delivery.outcomes[0].backend is not None:
            detail = NO_LISTENER.format(port=port)
        title = "cluster IP" if kind is EntryKind.CLUSTER_IP else f"{kind} {port}"
        steps.append(Hop(HopKind(kind.value), title, ip, port, status, detail))
    steps += delivery.policies
    if any(o.backend for o in delivery.outcomes):
        steps += h.backend_hops(delivery.outcomes)
    service = frontend.service if frontend else None
    steps = h.with_rules(steps, delivery)
    number = frontend.port if frontend else None
    return t.path(client, entry, service, number, steps, delivery.outcomes, basis_of(delivery))


def _entry_of(t: Tracing, ip: str, port: int, protocol: str) -> tuple[EntryKind, str | None, ClientSpec]:
    """Which kind of entry an address is, on which node, and who usually asks there."""
    frontend = t.world.frontends.get((ip, protocol, port))
    if frontend is not None:
        return frontend.kind, None, ANY_POD if frontend.kind is EntryKind.CLUSTER_IP else OUTSIDE
    node = t.snapshot.nodes_by_ip.get(ip)
    client = t.request.client
    if client is not None and client.kind is ClientKind.NODE and (ip.startswith("127.") or ip == "::1"):
        node = client.name
    if node is not None:
        held = (protocol, port) in t.world.host_ports and (protocol, port) not in t.world.node_ports
        return EntryKind.HOST_PORT if held else EntryKind.NODE_PORT, node, OUTSIDE
    claimed = t.world.claimed.get(ip)
    if claimed is not None:
        return claimed[0], None, ANY_POD if claimed[0] is EntryKind.CLUSTER_IP else OUTSIDE
    if ip in t.snapshot.pods_by_ip:
        return EntryKind.DNS, None, ANY_POD
    in_range = in_networks(ip, t.snapshot.service_cidrs)
    return EntryKind.CLUSTER_IP if in_range else EntryKind.EXTERNAL_IP, None, ANY_POD
