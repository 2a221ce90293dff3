"""What is known of one node beside its Node object: kube-proxy's settings, addresses, listeners.

Plain values; ``node`` reads the dumps, ``path`` uses them. ``None`` means not collected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """kube-proxy's configuration on a node (KubeProxyConfiguration v1alpha1).

    ``mode`` is ``iptables``, ``nftables`` or ``ipvs``. ``cluster_cidrs`` is empty when not set.
    ``node_port_addresses`` is empty for the mode's default: every local address in iptables and ipvs
    mode, ``primary`` in nftables mode. ``pod_interface`` is the name for BridgeInterface, the beginning of
    the names for InterfaceNamePrefix.
    """

    mode: str
    detect_local: str = "ClusterCIDR"
    cluster_cidrs: tuple[str, ...] = ()
    masquerade_all: bool = False
    localhost_node_ports: bool = True
    node_port_addresses: tuple[str, ...] = ()
    complete: bool = True  # False when only the mode is known
    pod_interface: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket on the node: ``address`` is ``0.0.0.0``, ``::`` or one address."""

    protocol: str
    address: str
    port: int
    process: str = ""


@dataclass(frozen=True, slots=True)
class Dump:
    """One file or command output of a node as it is. ``where`` names it in messages."""

    where: str = field(compare=False)
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Facts gathered on one node. ``dumps`` names every file or command output that was found.

    ``raw`` holds those that are read only when a packet needs them: rules, routes, sysctls, conntrack.
    ``missing`` says of dumps that were asked for and are not there why, and what to do; where a node could not
    be asked at all it names every dump.
    """

    name: str
    proxy: ProxySettings | None = None
    addresses: tuple[str, ...] | None = None
    listeners: tuple[Listener, ...] | None = None
    dumps: tuple[str, ...] = field(default=())
    raw: Mapping[str, Dump] = field(default_factory=dict, repr=False)
    missing: Mapping[str, str] = field(default_factory=dict)
