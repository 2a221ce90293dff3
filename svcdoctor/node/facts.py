"""One node's light facts from its dumps: kube-proxy's settings, addresses, listening sockets.

Bytes in, values out. A dump that is not what its name says raises SvcdoctorError naming ``where``.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Any

import msgspec

from svcdoctor.model.errors import SvcdoctorError
from svcdoctor.model.nodefacts import Listener, ProxySettings
from svcdoctor.model.snapshot import canonical_or_none

MODES = ("iptables", "nftables", "ipvs")


def proxy_mode(data: bytes, where: str) -> ProxySettings:
    """kube-proxy's mode as its ``/proxyMode`` endpoint tells it."""
    mode = data.decode("utf-8", "replace").strip()
    if mode not in MODES:
        raise SvcdoctorError(f"{where}: not a kube-proxy mode ({', '.join(MODES)}): {mode[:40]!r}")
    return ProxySettings(mode, complete=False)


def proxy_settings(data: bytes, where: str) -> ProxySettings:
    """kube-proxy's configuration as its ``/configz`` endpoint tells it."""
    try:
        whole = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise SvcdoctorError(f"{where}: not kube-proxy's configz: {e}") from None
    config = whole.get("kubeproxy.config.k8s.io", whole) if isinstance(whole, dict) else None
    if not isinstance(config, dict) or config.get("kind") != "KubeProxyConfiguration":
        raise SvcdoctorError(f"{where}: not kube-proxy's configz (no KubeProxyConfiguration)")
    return settings_from_config(config)


def settings_from_config(config: dict[str, Any]) -> ProxySettings:
    """The settings in a KubeProxyConfiguration; an empty mode means iptables on Linux."""
    mode = config.get("mode") or "iptables"
    section = config.get(mode) if isinstance(config.get(mode), dict) else {}
    iptables = config.get("iptables") if isinstance(config.get("iptables"), dict) else {}
    addresses = config.get("nodePortAddresses") or ()
    detect = config.get("detectLocal") if isinstance(config.get("detectLocal"), dict) else {}
    by_interface = {"BridgeInterface": "bridgeInterface", "InterfaceNamePrefix": "interfaceNamePrefix"}
    interface = by_interface.get(str(config.get("detectLocalMode")), "")
    return ProxySettings(
        mode=str(mode),
        detect_local=config.get("detectLocalMode") or "ClusterCIDR",
        cluster_cidrs=tuple(c.strip() for c in str(config.get("clusterCIDR") or "").split(",") if c.strip()),
        masquerade_all=bool((section or {}).get("masqueradeAll")),
        localhost_node_ports=(iptables or {}).get("localhostNodePorts") is not False,
        node_port_addresses=tuple(str(a) for a in addresses),
        pod_interface=str((detect or {}).get(interface) or ""),
    )


class _Address(msgspec.Struct, frozen=True):
    local: str = ""
    prefixlen: int = 0


class _Link(msgspec.Struct, frozen=True):
    ifname: str = ""
    addr_info: list[_Address] | None = None


_LINKS = msgspec.json.Decoder(list[_Link])


def addresses(data: bytes, where: str) -> tuple[str, ...]:
    """Every address of the node from ``ip -j addr``, loopback and link-local included."""
    try:
        found = [a for link in _LINKS.decode(data) for a in link.addr_info or () if a.local]
        for address in found:
            ip_network(f"{address.local}/{address.prefixlen}", strict=False)
    except (msgspec.DecodeError, ValueError, RecursionError) as e:
        raise SvcdoctorError(f"{where}: not the output of ip -j addr: {e}") from None
    return tuple(dict.fromkeys(c for a in found if (c := canonical_or_none(a.local)) is not None))


_SS = re.compile(
    r"^(tcp|udp|sctp)\s+(?:LISTEN|UNCONN)\s+\d+\s+\d+\s+(\S+):(\d+)\s+\S+(?:\s+users:\(\(\"([^\"]+)\")?"
)


def listeners(data: bytes) -> tuple[Listener, ...]:
    """Listening sockets from ``ss -lntup``; lines that are none are passed over."""
    found = []
    for line in data.decode("utf-8", "replace").splitlines():
        match = _SS.match(line)
        if match:
            address = match[2].partition("%")[0].strip("[]")
            found.append(
                Listener(match[1].upper(), "::" if address == "*" else address, int(match[3]), match[4] or "")
            )
    return tuple(found)
