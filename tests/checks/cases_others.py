"""RUL and NOD once more: in the nftables mode, and for IPv6."""

from cases_rules import FROM_WEB, IPTABLES, NFTABLES, asked, remembers
from codecases import CAPTURE, CodeCase
from mutations import (
    AddElement,
    DeleteElements,
    DeleteLines,
    DeleteRules,
    EditJson,
    ReplaceLines,
    SetField,
    SetSysctl,
)

SAVE6 = "ip6tables-save.txt"
SIX = {"target": "svc/v6only"}
WEB = "truth/web-clusterip/tcp/http"


def tableless(dump):
    """The ruleset without kube-proxy's tables."""
    dump["nftables"] = [
        entry
        for entry in dump["nftables"]
        if "kube-proxy"
        not in {v for thing in entry.values() for v in (thing.get("table"), thing.get("name"))}
    ]


def dropping(save):
    return ReplaceLines("node2", save, ":FORWARD ACCEPT", ":FORWARD DROP", table="filter")


def rejects(ip):
    """node2 rejects port 80 of an address as a Service's without endpoints."""
    key = {"elem": {"val": {"concat": [ip, "tcp", 80]}, "comment": "no endpoints"}}
    return AddElement("node2", "ip", "no-endpoint-services", "", [key, {"goto": {"target": "reject-chain"}}])


UNSERVED = DeleteElements("node2", "ip", "service-ips", WEB)
FORGETS = SetField("Service", "truth", "affinity", "spec.sessionAffinity", "None")

CASES = [
    CodeCase(
        "RUL001", CAPTURE,
        "nftables: node2 has no table kube-proxy", asked(NFTABLES, EditJson("node2", "nft.json", tableless)),
        "nftables: it has no chains of the kubelet's in iptables",
        asked(NFTABLES, DeleteLines("node2", "iptables-save*.txt", "KUBE-")),
    ),
    CodeCase(
        "RUL003", CAPTURE,
        "nftables: the cluster IP is missing in node2's map service-ips", asked(NFTABLES, UNSERVED),
        "nftables: another Service's is missing",
        asked(NFTABLES, DeleteElements("node2", "ip", "service-ips", "truth/np-cluster/tcp/http")),
    ),
    CodeCase(
        "RUL003", CAPTURE,
        "IPv6, nftables: the cluster IP is missing in node2's map service-ips",
        asked(NFTABLES, DeleteElements("node2", "ip6", "service-ips", "truth/v6only/tcp/http"), **SIX),
        "IPv6, nftables: another Service's is missing",
        asked(NFTABLES, DeleteElements("node2", "ip6", "service-ips", "truth/dual/tcp/http"), **SIX),
    ),
    CodeCase(
        "RUL004", CAPTURE,
        "IPv6: node2 sends to fd00:10:244:1::99, which no EndpointSlice lists",
        asked(IPTABLES, ReplaceLines("node2", SAVE6, r"\[fd00:10:244:1::6\]", "[fd00:10:244:1::99]"), **SIX),
        "the same for IPv4, which the Service does not have",
        asked(IPTABLES, ReplaceLines("node2", "iptables-save*.txt", "10.244.1.6:", "10.244.1.99:"), **SIX),
    ),
    CodeCase(
        "RUL006", CAPTURE,
        "nftables: node2's chain nat-prerouting is empty",
        asked(NFTABLES, DeleteRules("node2", "ip", "nat-prerouting", "")),
        "nftables: IPv6's is empty, which the Service does not have",
        asked(NFTABLES, DeleteRules("node2", "ip6", "nat-prerouting", "")),
    ),
    CodeCase(
        "RUL008", CAPTURE,
        "nftables: node2 has the cluster IP in no-endpoint-services, and not in service-ips",
        asked(NFTABLES, UNSERVED, rejects("10.96.1.2")),
        "nftables: it has another Service there",
        asked(NFTABLES, rejects("10.96.1.3")),
    ),
    CodeCase(
        "RUL012", CAPTURE,
        "nftables: node1 lacks a pod in hairpin-connections",
        asked(NFTABLES, DeleteElements("node1", "ip", "hairpin-connections", '"10.244.1.6","tcp",8080'), **FROM_WEB),
        "nftables: it lacks another pod there",
        asked(NFTABLES, DeleteElements("node1", "ip", "hairpin-connections", '"10.244.1.5","tcp",8080'), **FROM_WEB),
    ),
    CodeCase(
        "RUL016", CAPTURE,
        "nftables: the Service asks for sessionAffinity, no node's rules keep it",
        asked(NFTABLES, *remembers("web-clusterip")),
        "nftables: the rules keep it", asked(NFTABLES, target="svc/affinity"),
    ),
    CodeCase(
        "RUL016", CAPTURE,
        "all nodes' rules keep a session affinity that the Service no longer asks for",
        asked(IPTABLES, FORGETS, target="svc/affinity"),
        "another Service changed its mind", asked(IPTABLES, FORGETS),
    ),
    CodeCase(
        "NOD001", CAPTURE,
        "IPv6: node2 does not forward it",
        asked(IPTABLES, SetSysctl("node2", "net.ipv6.conf.all.forwarding", 0), **SIX),
        "only IPv4 is not forwarded, which the Service does not have",
        asked(IPTABLES, SetSysctl("node2", "net.ipv4.ip_forward", 0), **SIX),
    ),
    CodeCase(
        "NOD004", CAPTURE,
        "IPv6: node2's FORWARD has policy DROP", asked(IPTABLES, dropping(SAVE6), **SIX),
        "IPv4's has it, which the Service does not have",
        asked(IPTABLES, dropping("iptables-save*.txt"), **SIX),
    ),
    CodeCase(
        "NOD008", CAPTURE,
        "IPv6: node1 has no route to node3's pods",
        asked(IPTABLES, DeleteLines("node1", "ip-6-route.txt", "^fd00:10:244:3::/64"), **SIX),
        "IPv6: a wider route leads there",
        asked(IPTABLES, ReplaceLines("node1", "ip-6-route.txt", "^fd00:10:244:3::/64", "fd00:10:244::/48"), **SIX),
    ),
]  # fmt: skip
