"""The dumps that a node may have in a snapshot: their file names, and the commands that make each.

One table for everybody: ``--node-facts`` runs these argument lists on the node, in its kube-proxy pod or in a
short-lived pod, and ``snapshot show`` names the first one to a person who has to take a dump by hand. All of
them only read. Of iptables-legacy only the ``-save`` programs are there: ``iptables-legacy`` itself creates the
tables that it is asked to list. ``ipset``, ``ipvsadm`` and ``conntrack`` make the kernel load its part where it
is not loaded, so they run only where a file shows that it is.
"""

from __future__ import annotations

from dataclasses import dataclass

Arguments = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """One dump: ``commands`` in the order in which they are tried; ``nodedumps`` makes one format of theirs.

    ``shows`` is a file that can be read where the kernel has loaded what the command asks for. ``tolerant``
    dumps count though the command ends with an error: it met something that it could not read. ``unless`` names
    an earlier dump that tells more: where that is there, this one is not taken.
    """

    name: str
    commands: tuple[Arguments, ...]
    shows: str = ""
    tolerant: bool = False
    unless: str = ""


def _from(words: str, *more: str) -> tuple[Arguments, ...]:
    return tuple(tuple(one.split()) for one in (words, *more))


_PROXY = "curl -sf http://127.0.0.1:10249"
_CONNTRACK = "/proc/sys/net/netfilter/nf_conntrack_max"
_IP_SET = "/sys/module/ip_set/parameters/max_sets"
_IP_VS = "/proc/net/ip_vs"

# Rules first: where a node's time runs out, they are what matters.
COLLECTED: tuple[Collected, ...] = (
    Collected("iptables-save.txt", _from("iptables-save")),
    Collected("ip6tables-save.txt", _from("ip6tables-save")),
    Collected("nft.json", _from("nft -j list ruleset")),
    # In its own container kube-proxy's settings are a file, where kubeadm and EKS mount it.
    Collected(
        "kube-proxy-configz.json",
        _from(
            f"{_PROXY}/configz",
            "cat /var/lib/kube-proxy/config.conf",
            "cat /var/lib/kube-proxy-config/config",
        ),
    ),
    Collected("kube-proxy-mode.txt", _from(f"{_PROXY}/proxyMode")),
    Collected("ipset.txt", _from("ipset save"), _IP_SET),
    Collected("ipvsadm.txt", _from("ipvsadm -Sn"), _IP_VS),
    Collected("ip-addr.json", _from("ip -j addr")),
    Collected("ip-route.json", _from("ip -4 -j route show table all")),
    Collected("ip-6-route.json", _from("ip -6 -j route show table all")),
    Collected("ip-rule.json", _from("ip -4 -j rule")),
    Collected("ip-6-rule.json", _from("ip -6 -j rule")),
    Collected("sysctl.txt", _from("sysctl -a -e -r ^net\\.", "grep -rs . /proc/sys/net"), tolerant=True),
    Collected("ss-listen.txt", _from("ss -lntup")),
    Collected("conntrack.txt", _from("conntrack -L -f ipv4"), _CONNTRACK),
    Collected("conntrack-6.txt", _from("conntrack -L -f ipv6"), _CONNTRACK),
    Collected("iptables-nft-save.txt", _from("iptables-nft-save")),
    Collected("ip6tables-nft-save.txt", _from("ip6tables-nft-save")),
    Collected("iptables-legacy-save.txt", _from("iptables-legacy-save")),
    Collected("ip6tables-legacy-save.txt", _from("ip6tables-legacy-save")),
    Collected("ip-link.json", _from("ip -j -d link")),
    Collected("ip-neigh.json", _from("ip -j neigh")),
    Collected("bridge-link.json", _from("bridge -j -d link")),
    Collected("ipvsadm-Ln.txt", _from("ipvsadm -Ln"), _IP_VS),
    Collected("kube-proxy-metrics.txt", _from(f"{_PROXY}/metrics")),
    # What a container without ip and ss still tells: kube-proxy's own has cat.
    Collected("proc-net-fib_trie.txt", _from("cat /proc/net/fib_trie"), unless="ip-addr.json"),
    Collected("proc-net-route.txt", _from("cat /proc/net/route"), unless="ip-route.json"),
    Collected("proc-net-if_inet6.txt", _from("cat /proc/net/if_inet6"), unless="ip-addr.json"),
    Collected("proc-net-ipv6_route.txt", _from("cat /proc/net/ipv6_route"), unless="ip-6-route.json"),
    Collected("proc-net-tcp.txt", _from("cat /proc/net/tcp"), unless="ss-listen.txt"),
    Collected("proc-net-tcp6.txt", _from("cat /proc/net/tcp6"), unless="ss-listen.txt"),
    Collected("proc-net-udp.txt", _from("cat /proc/net/udp"), unless="ss-listen.txt"),
    Collected("proc-net-udp6.txt", _from("cat /proc/net/udp6"), unless="ss-listen.txt"),
    # Of both families.
    Collected("proc-net-nf_conntrack.txt", _from("cat /proc/net/nf_conntrack"), unless="conntrack.txt"),
)

# Names that only dumps taken by hand have.
_BY_HAND: dict[str, str] = {
    "ip-6-route.txt": "ip -6 route",
    "ip-rule.txt": "ip rule",
    "iptables-save-counters.txt": "iptables-save -c",
}

DUMPS: dict[str, str] = dict(
    sorted((_BY_HAND | {one.name: " ".join(one.commands[0]) for one in COLLECTED}).items())
)
"""Every known file name, with the command that makes it."""

# For which of kube-proxy's modes a dump matters; one without an entry matters for all.
MODES: dict[str, tuple[str, ...]] = {
    "ip6tables-save.txt": ("iptables", "ipvs"),
    "ipset.txt": ("ipvs",),
    "iptables-save.txt": ("iptables", "ipvs"),
    "ipvsadm.txt": ("ipvs",),
    "nft.json": ("nftables",),
}

# A dump that holds what another one would.
INSTEAD: dict[str, str] = {
    "ip-6-route.txt": "ip-6-route.json",
    "ip-rule.txt": "ip-rule.json",
    "kube-proxy-mode.txt": "kube-proxy-configz.json",
}

_NEEDED = frozenset(
    {
        "ip-6-route.txt",
        "ip-addr.json",
        "ip-route.json",
        "ip-rule.txt",
        "kube-proxy-configz.json",
        "kube-proxy-mode.txt",
        "ss-listen.txt",
        "sysctl.txt",
        *MODES,
    }
)

# Useful, but nothing that is said of a path rests on them.
OPTIONAL = frozenset(DUMPS) - _NEEDED
