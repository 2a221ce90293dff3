"""The dumps that a node may have in a snapshot: their file names, and the command that makes each.

``MODES`` says for which of kube-proxy's modes a dump matters; a dump without an entry matters for all.
"""

from __future__ import annotations

DUMPS: dict[str, str] = {
    "conntrack.txt": "conntrack -L",
    "ip-6-route.txt": "ip -6 route",
    "ip-addr.json": "ip -j addr",
    "ip-route.json": "ip -j route",
    "ip-rule.txt": "ip rule",
    "ip6tables-save.txt": "ip6tables-save",
    "ipset.txt": "ipset save",
    "iptables-save.txt": "iptables-save",
    "iptables-save-counters.txt": "iptables-save -c",
    "ipvsadm.txt": "ipvsadm -Sn",
    "kube-proxy-configz.json": "curl -s http://127.0.0.1:10249/configz",
    "kube-proxy-metrics.txt": "curl -s http://127.0.0.1:10249/metrics",
    "kube-proxy-mode.txt": "curl -s http://127.0.0.1:10249/proxyMode",
    "nft.json": "nft -j list ruleset",
    "ss-listen.txt": "ss -lntup",
    "sysctl.txt": "sysctl -a",
}

MODES: dict[str, tuple[str, ...]] = {
    "ip6tables-save.txt": ("iptables", "ipvs"),
    "ipset.txt": ("ipvs",),
    "iptables-save.txt": ("iptables", "ipvs"),
    "ipvsadm.txt": ("ipvs",),
    "nft.json": ("nftables",),
}

# Useful, but nothing that is said of a path rests on them.
OPTIONAL = frozenset({"conntrack.txt", "iptables-save-counters.txt", "kube-proxy-metrics.txt"})
